// What the tests of several nodes stand on: brokers that are killed and come back, lines that are cut, nodes that are one
// cluster by what they are told.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { readFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import { Balance } from './lib/balance.mjs';
import { Link } from './lib/link.mjs';
import { Nats } from './lib/nats.mjs';
import { Nodes } from './lib/nodes.mjs';
import { freePorts } from './lib/port.mjs';
import { Redis, RedisCluster } from './lib/redis.mjs';
import { room, until, within } from './lib/server.mjs';

/** Something that is closed when the test is over, however it ends. */
async function having(part, run) {
  try {
    await run(part);
  } finally {
    await part.close();
  }
}

test('ports that are asked for together are different', async () => {
  assert.equal(new Set(await freePorts(50)).size, 50);
});

describe('a Redis', () => {
  test('that is durable knows what it has acknowledged after kill -9', async () => having(await Redis.start({ durable: true }), async (redis) => {
    await redis.ask('SET', 'key', 'kept');
    await redis.crash();
    await assert.rejects(redis.ask('PING'));
    await redis.run();
    assert.equal(await redis.ask('GET', 'key'), 'kept');
    assert.match(redis.url(), /^redis:\/\/127\.0\.0\.1:\d+$/);
  }));

  test('that is not forgets it, also when it is stopped', async () => having(await Redis.start(), async (redis) => {
    await redis.ask('SET', 'key', 'lost');
    await redis.stop();
    await redis.run();
    assert.equal(await redis.ask('GET', 'key'), '');
  }));

  test('cluster serves all slots, and does again when one of it has come back', async () => having(await RedisCluster.start({ durable: true }), async (cluster) => {
    const [one, other, third] = cluster.nodes;
    const keys = Array.from({ length: 12 }, (_, at) => `key ${at}`);
    for (const key of keys) assert.equal(await one.ask('-c', 'SET', key, key), 'OK');
    for (const { size } of await Promise.all(cluster.nodes.map(async (node) => ({ size: await node.ask('DBSIZE') })))) assert.notEqual(size, '0');
    await third.crash();
    await third.run();
    await cluster.agrees();
    for (const key of keys) assert.equal(await other.ask('-c', 'GET', key), key);
  }));
});

test('a NATS has JetStream, and knows what it has kept after kill -9', async () => having(await Nats.start(), async (nats) => {
  const made = await nats.ask('$JS.API.STREAM.CREATE.kept', { name: 'kept', subjects: ['kept.>'], storage: 'file' });
  assert.equal(made.error, undefined);
  assert.equal((await nats.ask('kept.one', { n: 1 })).seq, 1);
  await nats.crash();
  await assert.rejects(nats.ask('$JS.API.INFO'));
  await nats.run();
  assert.equal((await nats.ask('$JS.API.STREAM.INFO.kept')).state.messages, 1);
}));

describe('a line', () => {
  let echo;
  before(async () => {
    echo = createServer({ allowHalfOpen: true }, (socket) => {
      socket.on('error', () => {});
      socket.pipe(socket);
    }).listen(0, '127.0.0.1');
    await once(echo, 'listening');
  });
  after(() => echo.close());

  /** A connection through it, or one that is to be none: what has come back so far, and its end, of whatever kind. */
  function reach(link) {
    const socket = connect(link.port, '127.0.0.1');
    const end = { socket, text: '', closed: new Promise((resolve) => { socket.on('close', resolve); }) };
    socket.on('error', () => {});
    socket.on('data', (text) => { end.text += text; });
    return end;
  }
  async function open(link) {
    const end = reach(link);
    await once(end.socket, 'connect');
    return end;
  }
  const comes = (end, text) => until(() => end.text === text, `${text} to come back`);

  test('passes on what is said, and the end of it', async () => having(await Link.start(echo.address().port), async (link) => {
    const one = await open(link);
    one.socket.write('hello');
    await comes(one, 'hello');
    assert.equal(link.connections, 1);
    one.socket.end(', world');
    await within(5000, one.closed, 'the end');
    assert.equal(one.text, 'hello, world');
    await until(() => link.connections === 0, 'the connection to be forgotten');
  }));

  test('that is cut says nothing, and then everything', async () => having(await Link.start(echo.address().port), async (link) => {
    const one = await open(link);
    one.socket.write('before');
    await comes(one, 'before');
    link.cut();
    one.socket.write(', meanwhile');
    const other = await open(link);
    other.socket.end('new');
    // Nothing can be awaited that does not come: this is how long it may take to be wrong.
    await new Promise((resolve) => setTimeout(resolve, 200));
    assert.deepEqual([one.text, other.text, one.socket.destroyed], ['before', '', false]);
    link.restore();
    await comes(one, 'before, meanwhile');
    await within(5000, other.closed, 'the end');
    assert.equal(other.text, 'new');
    one.socket.destroy();
  }));

  test('that is cut tells nobody who has gone, until it is there again', async () => having(await Link.start(echo.address().port), async (link) => {
    const one = await open(link);
    one.socket.write('before');
    await comes(one, 'before');
    link.cut();
    one.socket.destroy();
    await within(5000, one.closed, 'the end');
    assert.equal(link.connections, 1);
    link.restore();
    await until(() => link.connections === 0, 'the other side to be told');
  }));

  test('that refuses closes all connections, and lets in none until it is restored', async () => having(await Link.start(echo.address().port), async (link) => {
    const one = await open(link);
    link.refuse();
    await within(5000, one.closed, 'the connection to be closed');
    await within(5000, reach(link).closed, 'the connection to be refused');
    link.restore();
    const other = await open(link);
    other.socket.write('again');
    await comes(other, 'again');
    other.socket.destroy();
  }));

  test('carries megabytes to who reads slowly', async () => having(await Link.start(echo.address().port), async (link) => {
    const socket = connect(link.port, '127.0.0.1');
    const sent = Buffer.alloc(4_000_000, 'denrei');
    socket.end(sent);
    const chunks = [];
    for await (const chunk of socket) {
      chunks.push(chunk);
      if (chunks.length % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    }
    assert.ok(Buffer.concat(chunks).equals(sent));
  }));

  test('leads to a broker', async () => having(await Redis.start(), async (redis) => {
    await having(await Link.start(redis.port), async (link) => {
      assert.equal(redis.url(link.port), `redis://127.0.0.1:${link.port}`);
      const through = new Redis({ port: link.port });
      assert.equal(await through.ask('PING'), 'PONG');
      link.refuse();
      await assert.rejects(through.ask('PING'));
    });
  }));
});

test('nodes are told of one another, are reached through one address, and come back on their ports', async () => {
  await having(await Nodes.start({ count: 3, bus: 'redis', store: 'postgres', link: true }), async (nodes) => {
    const told = await Promise.all(nodes.servers.map(async ({ process: { pid } }) => {
      const environment = (await readFile(`/proc/${pid}/environ`, 'utf8')).split('\0').filter((line) => line.startsWith('DENREI_'));
      return Object.fromEntries(environment.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]));
    }));
    assert.deepEqual(told.map(({ DENREI_NODE_ID }) => DENREI_NODE_ID), ['node-1', 'node-2', 'node-3']);
    assert.deepEqual(told.map(({ DENREI_ADVERTISE }) => DENREI_ADVERTISE), nodes.servers.map(({ http }) => http));
    assert.deepEqual(told.map(({ DENREI_BUS }) => DENREI_BUS), nodes.links.map(({ port }) => `redis://127.0.0.1:${port}`));
    assert.equal(new Set(told.map(({ DENREI_SECRET }) => DENREI_SECRET)).size, 1);

    await having(await Balance.start(nodes.ports), async (balance) => {
      const [one, , third] = nodes.servers;
      const before = nodes.ports;
      await one.kill();
      assert.deepEqual(await third.stop(), { code: 0, signal: null });
      for (let turn = 0; turn < 5; turn += 1) assert.equal((await balance.publish(room(), { payload: turn })).status, 201);
      await Promise.all([one.again(), third.again()]);
      assert.deepEqual(nodes.ports, before);
      for (const server of nodes.servers) assert.equal((await server.publish(room(), { payload: 1 })).status, 201);
    });
  });
});
