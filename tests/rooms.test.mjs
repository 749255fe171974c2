// What a room promises, whatever transport it is reached by, and whatever happens to the server.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Server, room, until, within } from './lib/server.mjs';
import { Socket } from './lib/socket.mjs';
import { Stream } from './lib/stream.mjs';

const upTo = (last, first = 1) => Array.from({ length: last - first + 1 }, (_, at) => first + at);
const place = ({ epoch, seq, payload }) => ({ epoch, seq, payload });

async function pollAll(server, name, since, total) {
  const events = [];
  let next = since;
  while (events.length < total) {
    const answer = await server.events(name, `?since=${next}&wait=20`);
    const page = await answer.json();
    events.push(...page.events);
    next = page.next;
  }
  return events;
}

test('a stored room lets go of what is older than its class is kept for, and says so', async (t) => {
  const server = await Server.start({ config: '[classes.brief]\nkeep = "store"\nage_ms = 1000\n' });
  t.after(() => server.close());
  for (const kind of ['brief', 'feed']) for (const n of [1, 2, 3]) await server.publish(`${kind}:r`, { payload: n });
  const { epoch } = (await (await server.events('brief:r', '?limit=1')).json()).events[0] ?? {};
  const all = async (kind) => (await server.events(`${kind}:r`, `?since=${epoch}:0`)).json();
  await until(async () => (await all('brief')).events.length === 0, 'the events to go');
  assert.deepEqual(await all('brief'), { events: [], next: `${epoch}:3`, gap: true });
  assert.equal((await all('feed')).events.length, 3);
  const { seq } = await (await server.publish('brief:r', { payload: 4 })).json();
  assert.equal(seq, 4, 'numbers go on');
});

describe('one room', () => {
  let server;
  before(async () => {
    server = await Server.start();
  });
  after(() => server.close());

  for (const kind of ['live', 'feed']) {
    test(`has one order and the same positions on every transport (${kind})`, async () => {
      const [name, each] = [room(kind), 60];
      const writers = [await Socket.open(server), await Socket.open(server, { perMessageDeflate: false })];
      const reader = await Socket.open(server);
      const { epoch } = await reader.join(name);
      const streams = [
        await Stream.open(server, `/sse?room=${name}&format=envelope`),
        await Stream.open(server, `/sse?room=${name}&room=live:other&format=envelope`),
        await Stream.openH2(server, `/sse?room=${name}&format=envelope`),
      ];
      for (const stream of streams) await stream.event('connected');
      const total = 4 * each;
      const polled = pollAll(server, name, `${epoch}:0`, total);
      const publishing = [];
      for (const n of upTo(each)) {
        writers.forEach((writer, at) => publishing.push(writer.broadcast(name, `socket ${at} ${n}`)));
        publishing.push(server.publish(name, { payload: `http ${n}` }));
        publishing.push(reader.broadcast(`${name}`, `reader ${n}`));
      }
      await Promise.all(publishing);
      const truth = (await polled).map(place);
      const own = (event) => event.payload.startsWith('reader');
      const read = (await reader.events(name, total - each)).map(place);
      assert.deepEqual(truth.map((event) => event.seq), upTo(total));
      assert.deepEqual(read, truth.filter((event) => !own(event)));
      for (const stream of streams) {
        const events = (await stream.events('message', total)).map((event) => place(JSON.parse(event.data)));
        assert.deepEqual(events, truth);
        stream.close();
      }
      for (const socket of [...writers, reader]) await socket.close();
    });
  }

  test('lets a client change its transport on the way and miss nothing', async () => {
    const [name, writer, total] = [room(), await Socket.open(server), 300];
    const { epoch } = await writer.join(name);
    for (const n of upTo(total)) writer.send({ type: 'broadcast', room: name, payload: n });
    const got = [];
    const since = () => `${epoch}:${got.length}`;
    while (got.length < total) {
      const socket = await Socket.open(server);
      await socket.join(name, { since: since() });
      got.push(...await socket.events(name, 20));
      await socket.close();
      const stream = await Stream.open(server, `/sse?room=${name}&format=envelope`, { headers: { 'Last-Event-ID': since() } });
      got.push(...(await stream.events('message', 20)).map((event) => JSON.parse(event.data)));
      stream.close();
      got.push(...(await (await server.events(name, `?since=${since()}&limit=20&wait=20`)).json()).events);
    }
    await writer.close();
    assert.deepEqual(got.map((event) => event.payload), upTo(total));
  });
});

describe('after kill -9', () => {
  test('a stored room has everything that was acknowledged, in the same epoch', async () => {
    const server = await Server.start();
    const [name, writer] = [room('feed'), await Socket.open(server)];
    const { epoch } = await writer.join(name);
    const acknowledged = [];
    const publishes = upTo(500).map((n) => writer.broadcast(name, n).then((reply) => acknowledged.push([reply.seq, n])));
    const settled = Promise.allSettled(publishes);
    await publishes[0];
    await server.crash();
    await settled;
    const { events, next } = await (await server.events(name, `?since=${epoch}:0&limit=500`)).json();
    const kept = new Map(events.map((event) => [event.seq, event.payload]));
    assert.deepEqual(acknowledged.filter(([seq, payload]) => kept.get(seq) !== payload), []);
    assert.equal(next, `${epoch}:${events.length}`);
    await server.close();
  });

  test('a stored room goes on counting, and a reader goes on reading without a gap', async () => {
    const server = await Server.start();
    const [name, writer] = [room('feed'), await Socket.open(server)];
    const { epoch, seq } = await writer.broadcast(name, 'before');
    await server.crash();
    const [again, reader] = [await Socket.open(server), await Socket.open(server)];
    await reader.join(name, { since: `${epoch}:${seq}` });
    assert.deepEqual(await again.broadcast(name, 'after'), { epoch, seq: seq + 1, duplicate: false });
    assert.deepEqual((await reader.next(() => true)).payload, 'after');
    await server.close();
  });

  test('a resend under its id is still known in a stored room', async () => {
    const server = await Server.start();
    const name = room('feed');
    const first = await (await server.publish(name, { payload: 1, id: 'x' })).json();
    await server.crash();
    assert.deepEqual(await (await server.publish(name, { payload: 1, id: 'x' })).json(), { ...first, duplicate: true });
    await server.close();
  });

  test('a memory room begins another epoch, and its readers are told the gap from 0', async () => {
    const server = await Server.start();
    const [name, writer] = [room(), await Socket.open(server)];
    const { epoch } = await writer.broadcast(name, 'lost');
    await server.crash();
    const reader = await Socket.open(server);
    const joined = await reader.join(name, { since: `${epoch}:1` });
    assert.notEqual(joined.epoch, epoch);
    assert.deepEqual(await reader.next(() => true), { type: 'gap', room: name, from: 0, to: 0, epoch: joined.epoch });
    await server.close();
  });
});

describe('a graceful stop', () => {
  test('answers what waits, says goodbye to who listens, and exits with 0', async () => {
    const server = await Server.start();
    const [socket, stream] = [await Socket.open(server), await Stream.open(server, '/sse?room=live:stream')];
    await stream.event('connected');
    const polls = [server.events('live:poll', '?wait=25'), server.events('signal:poll', '?wait=25')];
    await until(async () => (await server.health()).rooms === 4, 'the polls to be held, beside `all` and the stream');
    const ended = server.stop();
    assert.deepEqual((await Promise.all(polls)).map((answer) => answer.status), [204, 204]);
    await stream.event('server:shutdown');
    await socket.next((frame) => frame.type === 'shutdown');
    assert.deepEqual(await ended, { code: 0, signal: null });
    await server.close();
  });

  test('keeps everything that was acknowledged, and has acknowledged everything that it keeps', async () => {
    const server = await Server.start();
    const [name, writer] = [room('feed'), await Socket.open(server)];
    const { epoch } = await writer.join(name);
    const busy = (async () => {
      // More than the server can commit, so that publishes are under way whenever it stops.
      for (let n = 1; writer.ws.readyState === writer.ws.OPEN; n += 1) {
        writer.send({ type: 'broadcast', room: name, payload: n, ref: n });
        if (n % 100 === 0) await new Promise(setImmediate);
      }
    })();
    const first = await writer.next((frame) => frame.ref === 1);
    assert.deepEqual(await server.stop(), { code: 0, signal: null });
    await Promise.all([busy, writer.closed]);
    const replies = [first, ...writer.frames.filter((frame) => frame.type === 'reply')];
    const acknowledged = replies.map((reply) => [reply.payload.seq, reply.ref]);
    const again = await Server.start({ folder: server.folder });
    const { seq } = await (await Socket.open(again)).join(name);
    const events = await pollAll(again, name, `${epoch}:0`, seq);
    assert.deepEqual(events.map((event) => [event.seq, event.payload]), acknowledged);
    await again.close();
    await server.close();
  });

  test('lets nobody in any more', async () => {
    const server = await Server.start();
    const socket = await Socket.open(server);
    const ended = server.stop();
    await socket.next((frame) => frame.type === 'shutdown');
    await assert.rejects(Socket.open(server), /ECONNREFUSED|status 503|ECONNRESET|hang up/);
    await ended;
    await server.close();
  });

  test('is asked for by SIGINT too, and a second signal ends it at once', async () => {
    const server = await Server.start({ config: '[shutdown]\ngrace_ms = 600000\n' });
    const [socket, stuck] = [await Socket.open(server), await Socket.open(server)];
    stuck.ws._socket.pause();
    server.process.kill('SIGINT');
    await socket.next((frame) => frame.type === 'shutdown');
    assert.equal((await socket.closed).code, 1012);
    assert.equal(server.process.exitCode, null, 'it waits for the one that has not gone');
    server.process.kill('SIGTERM');
    assert.deepEqual(await within(5000, server.exited, 'the exit'), { code: 130, signal: null });
    stuck.ws.terminate();
    await server.close();
  });

  test('does not wait for ever for a peer that does not go', async () => {
    const server = await Server.start({ config: '[shutdown]\ngrace_ms = 500\n' });
    const stuck = await Socket.open(server);
    stuck.ws._socket.pause();
    assert.deepEqual(await within(15_000, server.stop(), 'the exit'), { code: 0, signal: null });
    stuck.ws.terminate();
    await server.close();
  });
});
