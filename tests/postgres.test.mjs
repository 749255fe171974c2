// Stored rooms on a PostgreSQL server: the same promises, also when the server goes away for a while.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Postgres } from './lib/postgres.mjs';
import { BINARY, Server, room, until, within } from './lib/server.mjs';
import { Socket } from './lib/socket.mjs';

const upTo = (last) => Array.from({ length: last }, (_, at) => at + 1);

async function all(server, name) {
  return (await (await server.events(name, '?limit=500')).json()).events;
}

/** A process that is expected to end by itself: how, and what it said. */
async function ending(args, env = {}) {
  const folder = await mkdtemp(join(tmpdir(), 'denrei-test-'));
  const words = ['serve', '--listen', '127.0.0.1:0', '--data', join(folder, 'data'), ...args];
  const child = spawn(BINARY, words, { cwd: folder, env: { PATH: process.env.PATH, NO_COLOR: '1', ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => { said += text; });
  try {
    const [code] = await within(30_000, once(child, 'close'), 'the process to end');
    return { code, said };
  } finally {
    child.kill('SIGKILL');
    await rm(folder, { recursive: true, force: true });
  }
}

describe('a store on a PostgreSQL server', () => {
  let postgres;
  let server;
  before(async () => {
    postgres = await Postgres.start();
    server = await Server.start({ env: { DENREI_STORE: postgres.url() } });
  });
  after(async () => {
    await server?.close();
    await postgres?.close();
  });

  test('keeps what was published by any transport, and the numbers go on after kill -9', async () => {
    const name = room('feed');
    const socket = await Socket.open(server);
    for (const n of upTo(20)) {
      const id = `message-${n}`;
      if (n % 2) assert.equal((await socket.broadcast(name, n, { id })).seq, n);
      else assert.equal((await (await server.publish(name, { payload: n, id })).json()).seq, n);
    }
    const kept = await all(server, name);
    assert.deepEqual(kept.map(({ seq, payload }) => [seq, payload]), upTo(20).map((n) => [n, n]));
    await server.crash();
    assert.deepEqual(await all(server, name), kept, 'the same events, in the same epoch');
    const again = await (await server.publish(name, { payload: 7, id: 'message-7' })).json();
    assert.deepEqual([again.seq, again.duplicate], [7, true]);
    assert.equal((await (await server.publish(name, { payload: 21 })).json()).seq, 21);
    assert.deepEqual((await readdir(join(server.folder, 'data'))).filter((file) => file.endsWith('.db')), []);
  });

  test('refuses while the server is away, keeps connections, loses nothing, and goes on by itself', async () => {
    const name = room('feed');
    const live = room('live');
    const reader = await Socket.open(server);
    const publisher = await Socket.open(server);
    await reader.join(name);
    await reader.join(live);
    const first = await publisher.broadcast(name, 'before', { id: 'before' });
    await reader.events(name, 1);

    await postgres.crash();
    const answer = await publisher.ask({ type: 'broadcast', room: name, payload: 'meanwhile', id: 'meanwhile' });
    assert.equal(answer.type, 'error');
    assert.equal(answer.code, 'unavailable');
    assert.ok(answer.retryAfter > 0, JSON.stringify(answer));
    assert.ok(!/sql|server closed|postgres/i.test(answer.error), `no internals: ${answer.error}`);
    const refused = await server.publish(name, { payload: 'meanwhile', id: 'meanwhile' });
    assert.equal(refused.status, 503);
    assert.ok((await refused.json()).retryAfter > 0);
    assert.equal((await server.events(name, '?limit=10')).status, 503);
    // Rooms in memory do not need it.
    await publisher.broadcast(live, 1);
    assert.equal((await reader.events(live, 1))[0].payload, 1);

    await postgres.run();
    let after;
    await until(async () => {
      const resent = await publisher.ask({ type: 'broadcast', room: name, payload: 'meanwhile', id: 'meanwhile' });
      after = resent.payload;
      return resent.type === 'reply';
    }, 'publishes to be accepted again', 30_000);
    assert.deepEqual([after.seq, after.duplicate, after.epoch], [2, false, first.epoch]);
    assert.equal((await reader.events(name, 1))[0].payload, 'meanwhile', 'the same connection goes on');
    assert.deepEqual((await all(server, name)).map(({ payload }) => payload), ['before', 'meanwhile']);
    assert.ok(!server.log.includes('p@ss') && !server.log.includes('p%40ss'), 'the log shows no password');
    await reader.close();
    await publisher.close();
  });

  test('is written by two servers at once, in one order', async () => {
    const name = room('feed');
    const other = await Server.start({ env: { DENREI_STORE: postgres.url() } });
    try {
      const publishes = upTo(100).map((n) => (n % 2 ? server : other).publish(name, { payload: n, id: `${n >> 1}` }));
      const answers = await Promise.all((await Promise.all(publishes)).map((answer) => answer.json()));
      const fresh = answers.filter(({ duplicate }) => !duplicate);
      // 1 is alone with its id, 100 too.
      assert.deepEqual(fresh.map(({ seq }) => seq).sort((a, b) => a - b), upTo(51));
      const kept = await all(server, name);
      assert.deepEqual(kept, await all(other, name));
      for (const [at, { seq, epoch }] of answers.entries()) {
        const event = kept.find((event) => event.seq === seq);
        assert.equal(event.epoch, epoch);
        assert.equal(event.payload >> 1, (at + 1) >> 1, 'an answer names the message with that id');
      }
    } finally {
      await other.close();
    }
  });

  test('a wrong password, a wrong address and a wrong URL end the process with a sentence', async () => {
    const wrong = await ending([], { DENREI_STORE: postgres.url('hunter2') });
    assert.equal(wrong.code, 1);
    assert.match(wrong.said, /denrei: store: the database postgres:\/\/127\.0\.0\.1:\d+\/postgres refuses us: password authentication failed/);
    const nobody = await ending(['--store', 'postgres://denrei:hunter2@127.0.0.1:1/x']);
    assert.equal(nobody.code, 1);
    assert.match(nobody.said, /denrei: store: .* cannot be reached: .*is the server running/);
    const odd = await ending(['--store', 'postgres://denrei:hunter@2@127.0.0.1/x']);
    assert.equal(odd.code, 1);
    assert.match(odd.said, /denrei: store: .*%40/);
    for (const { said } of [wrong, nobody, odd]) assert.ok(!/hunter|panicked/.test(said), said);
  });
});
