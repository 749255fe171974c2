// What all connections together may hold, and what is shed first.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { attack, health, many } from './lib/attack.mjs';
import { TEXT, frame, request } from './lib/peer.mjs';
import { Server, get, room, until } from './lib/server.mjs';
import { Socket } from './lib/socket.mjs';

const KIB = 'x'.repeat(1024);

attack('readers that stop reading share a budget; who reads goes on as if they were not there', async ({ server, upgrade }) => {
  const busy = room('feed');
  const stopped = await Promise.all(Array.from({ length: 40 }, async () => {
    const peer = await upgrade();
    peer.write(request({ type: 'join', room: busy, ref: 1 }));
    await peer.json(({ ref }) => ref === 1);
    peer.socket.pause();
    return peer;
  }));
  const reader = await Socket.open(server);
  await reader.join(busy);
  const writer = await Socket.open(server);
  const payload = KIB.repeat(16);
  let last = 0;
  await many(2000, 50, async () => { last = Math.max(last, (await writer.broadcast(busy, payload)).seq); });
  const events = await reader.events(busy, last);
  assert.deepEqual(events.map(({ seq }) => seq), Array.from({ length: last }, (_, at) => at + 1));
  // Their own bounds would let them have ten times as much queued.
  const [, queued] = /^denrei_outbox_bytes (\d+)$/m.exec(await (await get(`${server.http}/metrics`)).text());
  assert.ok(queued > 3 << 20 && queued < 8 << 20, `${queued} bytes are queued`);
  // Nobody was ended for it: they read on from the log.
  for (const peer of stopped.slice(0, 3)) {
    peer.socket.resume();
    let place = 0;
    while (place < last) {
      const event = await peer.json((event) => event.room === busy && event.type === 'broadcast');
      assert.equal(event.seq, place + 1);
      place = event.seq;
    }
  }
  await Promise.all([reader.close(), writer.close()]);
}, { config: '[limits]\noutboxes_bytes = 4194304\n', growth: 128 });

attack('connections that ask and never read the answers are ended when they hold too much together', async ({ server, upgrade }) => {
  const asking = await Promise.all(Array.from({ length: 40 }, async () => {
    const peer = await upgrade();
    peer.socket.pause();
    return peer;
  }));
  const question = frame(TEXT, JSON.stringify({ type: 'call', method: 'echo', payload: KIB.repeat(500), ref: 1 }));
  // Each is read until its answers do not leave any more: that is about one answer above what the kernel takes.
  for (const peer of asking) peer.socket.write(Buffer.concat(Array(40).fill(question)));
  await until(() => server.log.includes('hold too much memory'), 'the server to shed', 30_000);
  await until(async () => (await health(server)).connections < 40, 'some to be ended');
  const socket = await Socket.open(server);
  assert.equal((await socket.ask({ type: 'call', method: 'echo', payload: 1 })).payload, 1);
  await socket.close();
}, { config: '[limits]\noutboxes_bytes = 2097152\n', growth: 160 });

test('the limit of open files bounds the connections, and leaves room for the rest', async () => {
  const server = await Server.start({ under: ['prlimit', '--nofile=400:400'] });
  try {
    assert.match(server.log, /connections=200 files=400/);
    const sockets = await Promise.all(Array.from({ length: 190 }, () => Socket.open(server)));
    const refused = await Promise.all(Array.from({ length: 30 }, () => Socket.open(server).then((socket) => sockets.push(socket), (error) => error)));
    assert.ok(refused.some((error) => /503/.test(String(error))), 'those above are told so');
    // It can still do what takes files: the database, and /health for who is in.
    await sockets[0].broadcast(room('feed'), 'kept');
    await Promise.all(sockets.map((socket) => socket.close()));
    await until(async () => (await fetch(`${server.http}/health`).catch(() => ({ status: 0 }))).status === 200, 'the server to serve on');
  } finally {
    await server.close();
  }
});
