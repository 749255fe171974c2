// What many clients, or slow ones, can do at once.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import http2 from 'node:http2';
import { test } from 'node:test';
import { attack, health, many, serves } from './lib/attack.mjs';
import { PING, Peer, TEXT, frame, httpRequest, request, upgradeRequest } from './lib/peer.mjs';
import { Metrics } from './lib/metrics.mjs';
import { Server, room, until, within } from './lib/server.mjs';
import { Socket } from './lib/socket.mjs';

const HOST = 'Host: 127.0.0.1';
const KIB = 'x'.repeat(1024);

/** Reads a room's events over a WebSocket until its head, and holds them against what a reader may see. */
async function readsOn(peer, busy, head) {
  let place = 0;
  let gaps = 0;
  while (place < head) {
    const event = await peer.json((event) => event.room === busy && ['broadcast', 'gap'].includes(event.type));
    assert.notEqual(event, null, `the connection was ended at ${place}`);
    if (event.type === 'gap') {
      assert.equal(event.from, place + 1);
      gaps += 1;
    } else {
      assert.equal(event.seq, place + 1);
    }
    place = event.type === 'gap' ? event.to : event.seq;
  }
  return gaps;
}

/** Publishes `count` messages of `size` KiB over one connection; resolves to the last number. */
async function floods(server, busy, count, size) {
  const socket = await Socket.open(server);
  const payload = KIB.repeat(size);
  let last = 0;
  await many(count, 100, async () => { last = Math.max(last, (await socket.broadcast(busy, payload)).seq); });
  await socket.close();
  return last;
}

for (const [kind, gaps] of [['live', 'is told of the gap'], ['feed', 'misses nothing']]) {
  attack(`a ${kind} reader that stops reading keeps little, and ${gaps} when it reads again`, async ({ server, upgrade }) => {
    const busy = room(kind);
    const peer = await upgrade();
    peer.write(request({ type: 'join', room: busy, ref: 1 }));
    await peer.json(({ ref }) => ref === 1);
    peer.socket.pause();
    const other = await Socket.open(server);
    await other.join(busy);
    const head = await floods(server, busy, 3000, 8);
    assert.equal((await other.events(busy, head)).at(-1).seq, head);
    peer.socket.resume();
    const told = await readsOn(peer, busy, head);
    assert.ok(kind === 'live' ? told > 0 : told === 0, `${told} gaps`);
    // It is live again.
    await server.publish(busy, { payload: 'last' });
    assert.equal((await peer.json(({ type }) => type === 'broadcast')).seq, head + 1);
    await other.close();
  }, { growth: 48 });
}

attack('a hundred readers that stop reading share what they are owed', async ({ server, upgrade }) => {
  const busy = room();
  const peers = await Promise.all(Array.from({ length: 100 }, () => upgrade()));
  for (const peer of peers) {
    peer.write(request({ type: 'join', room: busy, ref: 1 }));
    await peer.json(({ ref }) => ref === 1);
    peer.socket.pause();
  }
  const head = await floods(server, busy, 1500, 8);
  assert.equal(head, 1500);
}, { growth: 160 });

attack('a stream that nobody reads is ended', async ({ server, connect }) => {
  const busy = room();
  const peer = await connect();
  peer.write(httpRequest('GET', `/sse?room=${busy}`, [HOST]));
  await peer.head();
  peer.socket.pause();
  await floods(server, busy, 1500, 8);
  await until(async () => (await health(server)).connections === 1, 'the stream to be ended', 20_000);
}, { config: '[sse]\nkeep_alive_ms = 1000\n' });

attack('answers to polls that nobody reads are bounded', async ({ server, connect }) => {
  const busy = room();
  await floods(server, busy, 15, 1000);
  const peers = await Promise.all(Array.from({ length: 30 }, connect));
  for (const peer of peers) {
    peer.socket.pause();
    peer.write(httpRequest('GET', `/api/rooms/${busy}/events?limit=500`).repeat(10));
  }
  await until(async () => (await health(server)).connections > 30, 'the polls to arrive');
  await serves(server);
}, { growth: 160 });

attack('twenty connections that flood one room with slow readers are all answered, and a reader sees all in order', async ({ server, upgrade }) => {
  const busy = room();
  const slow = await Promise.all(Array.from({ length: 20 }, () => upgrade()));
  for (const peer of slow) {
    peer.write(request({ type: 'join', room: busy, ref: 1 }));
    await peer.json(({ ref }) => ref === 1);
    peer.socket.pause();
  }
  const reader = await upgrade();
  reader.write(request({ type: 'join', room: busy, ref: 1 }));
  await reader.json(({ ref }) => ref === 1);
  const [publishers, each] = [20, 500];
  const reading = readsOn(reader, busy, publishers * each);
  const numbers = new Set();
  await many(publishers, publishers, async () => {
    const peer = await upgrade();
    peer.write(Buffer.concat(Array.from({ length: each }, (_, ref) => request({ type: 'broadcast', room: busy, payload: KIB, ref }))));
    for (let ref = 0; ref < each; ref += 1) {
      const answer = await peer.json((answer) => answer.ref !== undefined);
      assert.deepEqual([answer.type, answer.ref], ['reply', ref]);
      numbers.add(answer.payload.seq);
    }
  });
  assert.equal(numbers.size, publishers * each);
  await reading;
  for (const peer of slow) {
    peer.socket.resume();
    await readsOn(peer, busy, publishers * each);
  }
}, { growth: 128 });

attack('20,000 connections that are reset at once leave nothing behind', async ({ server, connect }) => {
  await many(20_000, 100, async (number) => {
    const peer = await connect();
    if (number % 3 === 1) peer.write('GET /ws HT');
    if (number % 3 === 2) peer.write(upgradeRequest());
    peer.reset();
    await peer.ended;
  });
  await serves(server);
}, { growth: 64 });

attack('1,500 clients that come, read, write and go leave nothing behind', async ({ server, connect, upgrade }) => {
  const busy = room();
  await server.publish(busy, { payload: 0 });
  await many(1500, 30, async (number) => {
    const own = room();
    const ends = number % 2 ? (peer) => peer.reset() : (peer) => peer.destroy();
    let peer;
    if (number % 3 === 0) {
      peer = await upgrade();
      peer.write(Buffer.concat([busy, own].map((name, ref) => request({ type: 'join', room: name, ref }))));
      peer.write(request({ type: 'broadcast', room: own, payload: number, ref: 'last' }));
      await peer.json(({ ref }) => ref === 'last');
    } else if (number % 3 === 1) {
      peer = await connect();
      peer.write(httpRequest('GET', `/sse?room=${busy}&room=${own}`));
      await peer.head();
    } else {
      peer = await connect();
      peer.write(httpRequest('GET', `/api/rooms/${busy}/events?wait=25`));
    }
    ends(peer);
    await peer.ended;
  });
}, { growth: 64 });

attack('long polls whose clients have gone are forgotten', async ({ server, connect }) => {
  const quiet = room();
  const peers = await Promise.all(Array.from({ length: 500 }, connect));
  for (const peer of peers) peer.write(httpRequest('GET', `/api/rooms/${quiet}/events?wait=25`));
  await until(async () => (await health(server)).rooms === 1, 'the polls to wait');
  for (const peer of peers) peer.destroy();
});

attack('10,000 polls of one client wait, keep nobody out, and are all answered', async ({ server }) => {
  const [connections, each] = [100, 100];
  const quiet = room();
  const sessions = Array.from({ length: connections }, () => http2.connect(server.http));
  const answers = sessions.flatMap((session) => Array.from({ length: each }, async () => {
    const stream = session.request({ ':path': `/api/rooms/${quiet}/events?wait=25` });
    stream.setEncoding('utf8');
    let body = '';
    for await (const part of stream) body += part;
    return JSON.parse(body).events?.map(({ payload }) => payload);
  }));
  await until(async () => (await Metrics.of(server)).value('denrei_polls_waiting') === connections * each, 'the polls to wait', 20_000);
  await serves(server);
  await server.publish(quiet, { payload: 'come' });
  for (const events of await within(20_000, Promise.all(answers), 'all answers')) assert.deepEqual(events, ['come']);
  await serves(server);
  for (const session of sessions) session.destroy();
}, { growth: 160 });

attack('200 connections that say nothing do not keep others out', async ({ server, connect }) => {
  await Promise.all(Array.from({ length: 200 }, connect));
  await serves(server);
});

attack('more connections than there may be are told so, and later ones come in', async ({ server, connect }) => {
  const peers = await Promise.all(Array.from({ length: 30 }, connect));
  await until(async () => {
    const peer = await connect();
    peer.write(upgradeRequest());
    return (await peer.head())?.status === 503;
  }, 'the limit to be reached');
  for (const peer of peers) peer.destroy();
  await until(async () => {
    const peer = await connect();
    peer.write(upgradeRequest());
    const status = (await peer.head())?.status;
    peer.destroy();
    return status === 101;
  }, 'the server to let somebody in');
}, { config: '[limits]\nconnections = 20\n' });

/** Processor time that a process has used, in ticks of 10 ms. */
async function ticks({ process }) {
  const stat = await readFile(`/proc/${process.pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return Number(fields[11]) + Number(fields[12]);
}

attack('without files left the server neither ends nor spins, and recovers', async ({ server, connect }) => {
  const peers = await Promise.all(Array.from({ length: 200 }, connect));
  await until(() => server.log.includes('no connection can be accepted'), 'the files to run out');
  const [used, logged] = [await ticks(server), server.log.length];
  await new Promise((resolve) => setTimeout(resolve, 1000));
  assert.ok(await ticks(server) - used < 50, 'the server spins');
  assert.ok(server.log.slice(logged).split('\n').length < 50, 'the log is flooded');
  assert.equal(server.process.exitCode, null);
  for (const peer of peers) peer.destroy();
  await until(() => serves(server).then(() => true, () => false), 'the server to recover', 20_000);
}, { under: ['prlimit', '--nofile=64:64'] });

test('SIGTERM under every kind of load ends the server well', async () => {
  const server = await Server.start({
    config: '[limits]\nhead_timeout_ms = 60000\nbody_timeout_ms = 60000\n[shutdown]\ngrace_ms = 5000\n',
  });
  const peers = [];
  const open = async (bytes) => {
    const peer = await Peer.connect(server);
    peers.push(peer);
    peer.write(bytes);
    return peer;
  };
  try {
    const busy = room();
    const publish = request({ type: 'broadcast', room: busy, payload: KIB, ref: 1 });
    const publishers = [];
    for (let n = 0; n < 20; n += 1) {
      publishers.push(await open(upgradeRequest()));
      const slow = await open(Buffer.concat([Buffer.from(upgradeRequest()), request({ type: 'join', room: busy })]));
      await slow.head();
      slow.socket.pause();
      await open(httpRequest('GET', `/sse?room=${busy}`));
      await open(httpRequest('GET', `/sse?room=${busy}&room=live:other`));
      await open(httpRequest('GET', `/api/rooms/${room()}/events?wait=25`));
      await open(httpRequest('POST', `/api/rooms/${busy}/events`, [HOST, 'Content-Length: 100'], '{'));
      await open('GET /ws HT');
      await open('');
      await open(Buffer.concat([Buffer.from(upgradeRequest()), frame(TEXT, 'half', { fin: false }), frame(PING)]));
    }
    await until(async () => (await health(server)).connections > 180, 'the connections to come in');
    for (const publisher of publishers) {
      const flood = () => { if (!publisher.over) publisher.write(Buffer.concat(Array(20).fill(publish))).then(() => setImmediate(flood)); };
      flood();
    }
    const head = async () => Number((await (await server.events(busy, '?limit=1')).json()).next.split(':')[1]);
    await until(async () => (await head()) > 2000, 'the flood to rise', 60_000);
    server.process.kill('SIGTERM');
    assert.deepEqual(await within(20_000, server.exited, 'the server to end'), { code: 0, signal: null });
    assert.doesNotMatch(server.log, /panick/);
  } finally {
    for (const peer of peers) peer.destroy();
    await server.close();
  }
});
