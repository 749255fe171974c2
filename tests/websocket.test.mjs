// The native protocol over a WebSocket, against npm's `ws` and, where bits matter, a raw socket.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { inflateRawSync } from 'node:zlib';
import WebSocket from 'ws';
import { ACCEPT, RawSocket, TEXT } from './lib/raw.mjs';
import { Server, room, until, within } from './lib/server.mjs';
import { Socket } from './lib/socket.mjs';

const CONFIG = `
[websocket]
subprotocols = ["chat"]
[classes.small]
keep = "memory"
events = 10
[classes.deep]
keep = "memory"
events = 5000
bytes = 268435456
[memory]
bytes = 536870912
`;

let server;
const opened = [];

before(async () => {
  server = await Server.start({ config: CONFIG });
});

after(async () => {
  for (const socket of opened) socket.ws.terminate();
  await server?.close();
});

async function client(options, at = server) {
  const socket = await Socket.open(at, options);
  opened.push(socket);
  return socket;
}

const isBroadcast = (frame) => frame.type === 'broadcast';
const isGap = (frame) => frame.type === 'gap';
const seqs = (events) => events.map((event) => event.seq);
const upTo = (last, first = 1) => Array.from({ length: last - first + 1 }, (_, at) => first + at);
const payloads = (events) => events.map((event) => event.payload);

describe('the welcome', () => {
  test('names the client, the heartbeat and the time, and nobody who is anonymous', async () => {
    const { welcome } = await client();
    const { clientId, timestamp, ...rest } = welcome;
    assert.deepEqual(rest, { type: 'welcome', heartbeat: 30_000 });
    assert.match(clientId, /^[\w-]{16,}$/);
    assert.ok(Math.abs(Date.now() - timestamp) < 60_000, `${timestamp} is not a time in ms`);
  });

  test('names the user of the token', async () => {
    const { welcome } = await client({ path: `/ws?token=${await server.token('alice')}` });
    assert.equal(welcome.userId, 'alice');
  });

  test('gives every connection an id of its own', async () => {
    const [one, other] = [await client(), await client()];
    assert.notEqual(one.welcome.clientId, other.welcome.clientId);
  });
});

describe('joining', () => {
  test('is answered with the room, the head and the count of members', async () => {
    const [name, one, other] = [room(), await client(), await client()];
    const first = await one.join(name);
    await one.broadcast(name, 1);
    const { epoch } = first;
    assert.deepEqual(first, { room: name, epoch, seq: 0, members: 1 });
    assert.deepEqual(await other.join(name), { room: name, epoch, seq: 1, members: 2 });
  });

  test('is answered before what was missed is replayed', async () => {
    const [name, writer, reader] = [room(), await client(), await client()];
    const { epoch } = await writer.broadcast(name, 'a');
    await writer.broadcast(name, 'b');
    reader.send({ type: 'join', room: name, since: `${epoch}:0`, ref: 'j' });
    const frames = [await reader.next(() => true), await reader.next(() => true), await reader.next(() => true)];
    assert.deepEqual(frames.map((frame) => frame.payload.seq ?? frame.payload), [2, 'a', 'b']);
  });

  test('without a position begins now', async () => {
    const [name, writer, reader] = [room(), await client(), await client()];
    await writer.broadcast(name, 'before');
    await reader.join(name);
    await writer.broadcast(name, 'after');
    assert.deepEqual(payloads([await reader.next(isBroadcast)]), ['after']);
  });

  test('is refused for the rooms of another user', async () => {
    const alice = await client({ path: `/ws?token=${await server.token('alice')}` });
    const answers = [];
    for (const name of ['user:bob', 'inbox:bob', 'user:alice']) answers.push(await alice.ask({ type: 'join', room: name }));
    assert.deepEqual(answers.map((answer) => answer.code ?? answer.type), ['forbidden', 'forbidden', 'reply']);
  });

  test('twice does not give events twice', async () => {
    const [name, writer, reader] = [room(), await client(), await client()];
    await reader.join(name);
    await reader.join(name);
    await writer.broadcast(name, 1);
    await writer.broadcast(name, 2);
    assert.deepEqual(payloads(await reader.events(name, 2)), [1, 2]);
  });
});

describe('leaving', () => {
  test('ends the events of the room', async () => {
    const [name, writer, reader] = [room(), await client(), await client()];
    await reader.join(name);
    const answer = await reader.ask({ type: 'leave', room: name });
    assert.deepEqual(answer.payload, { room: name });
    await writer.broadcast(name, 'unheard');
    await reader.join(name);
    await writer.broadcast(name, 'heard');
    assert.deepEqual(payloads([await reader.next(isBroadcast)]), ['heard']);
  });

  test('a room that was not joined is an error', async () => {
    const answer = await (await client()).ask({ type: 'leave', room: room() });
    assert.equal(answer.code, 'not_found');
  });

  test('is counted when a connection goes', async () => {
    const [name, stays, goes] = [room(), await client(), await client()];
    await goes.join(name);
    await goes.close();
    await until(async () => (await stays.join(name)).members === 1, 'the member to be gone');
  });
});

describe('a broadcast', () => {
  test('is answered with its place', async () => {
    const [name, writer] = [room(), await client()];
    const { epoch } = await writer.join(name);
    assert.deepEqual(await writer.broadcast(name, 'x'), { seq: 1, epoch, duplicate: false });
  });

  test('reaches readers as the whole event', async () => {
    const [name, writer, reader] = [room(), await client(), await client()];
    const { epoch } = await reader.join(name);
    await writer.broadcast(name, { text: 'hi' }, { event: 'greeting' });
    const { timestamp, ...event } = await reader.next(isBroadcast);
    assert.deepEqual(event, {
      type: 'broadcast',
      room: name,
      event: 'greeting',
      payload: { text: 'hi' },
      from: writer.welcome.clientId,
      userId: null,
      seq: 1,
      epoch,
    });
    assert.ok(Number.isInteger(timestamp));
  });

  test('is called message unless it is called something', async () => {
    const [name, writer, reader] = [room(), await client(), await client()];
    await reader.join(name);
    await writer.broadcast(name, 1);
    assert.equal((await reader.next(isBroadcast)).event, 'message');
  });

  test('names the user who sent it', async () => {
    const [name, reader] = [room(), await client()];
    const writer = await client({ path: `/ws?token=${await server.token('alice')}` });
    await reader.join(name);
    await writer.broadcast(name, 1);
    assert.equal((await reader.next(isBroadcast)).userId, 'alice');
  });

  test('passes the payload through as it was written', async () => {
    const [name, writer, reader] = [room(), await client(), await client()];
    const payload = '{"big":12345678901234567890.10,"again":1,"again":2,"\\u00e9":"\\ud83d\\ude00"}';
    await reader.join(name);
    const raw = new Promise((resolve) => reader.ws.once('message', (data) => resolve(data.toString())));
    writer.send(`{"type":"broadcast","room":"${name}","payload":${payload}}`);
    assert.ok((await within(10_000, raw, 'the event')).includes(`"payload":${payload},`));
  });

  test('may be null', async () => {
    const [name, writer, reader] = [room(), await client(), await client()];
    await reader.join(name);
    await writer.broadcast(name, null);
    assert.equal((await reader.next(isBroadcast)).payload, null);
  });

  test('does not come back to its sender', async () => {
    const [name, sender, other] = [room(), await client(), await client()];
    await sender.join(name);
    await sender.broadcast(name, 'own');
    await other.broadcast(name, 'foreign');
    assert.deepEqual(payloads([await sender.next(isBroadcast)]), ['foreign']);
  });

  test('comes back to a sender who asked for echo', async () => {
    const [name, sender] = [room(), await client()];
    await sender.join(name, { echo: true });
    await sender.broadcast(name, 'own');
    assert.deepEqual(payloads([await sender.next(isBroadcast)]), ['own']);
  });

  test('needs no join', async () => {
    const [name, writer, reader] = [room(), await client(), await client()];
    await reader.join(name);
    const { seq } = await writer.broadcast(name, 1);
    assert.equal(seq, 1);
  });

  test('without a room goes to all others, unnumbered', async () => {
    const [sender, one, other] = [await client(), await client(), await client()];
    const mark = room();
    const answer = await sender.ask({ type: 'broadcast', payload: { mark, by: 'sender' } });
    assert.deepEqual(answer.payload, { seq: 0, epoch: 'none', duplicate: false });
    await one.ask({ type: 'broadcast', payload: { mark, by: 'one' } });
    const isOurs = (frame) => isBroadcast(frame) && frame.payload?.mark === mark;
    const heard = [await other.next(isOurs), await other.next(isOurs), await one.next(isOurs), await sender.next(isOurs)];
    assert.deepEqual(heard.map((event) => event.payload.by), ['sender', 'one', 'sender', 'one']);
    const { room: name, seq, epoch } = heard[0];
    assert.deepEqual({ name, seq, epoch }, { name: 'all', seq: 0, epoch: 'none' });
  });

  test('that is resent under its id is kept once', async () => {
    const [name, writer, reader] = [room(), await client(), await client()];
    await reader.join(name);
    const first = await writer.broadcast(name, 'a', { id: 'id-1' });
    const again = await writer.broadcast(name, 'a', { id: 'id-1' });
    await writer.broadcast(name, 'b', { id: 'id-2' });
    assert.deepEqual(again, { ...first, duplicate: true });
    assert.deepEqual(payloads(await reader.events(name, 2)), ['a', 'b']);
  });

  test('shares no id with another user, or another room', async () => {
    const [name, elsewhere, nobody, other] = [room(), room(), await client(), await client()];
    const alice = await client({ path: `/ws?token=${await server.token('alice')}` });
    const sends = [nobody.broadcast(name, 1, { id: 'x' }), alice.broadcast(name, 2, { id: 'x' })];
    sends.push(other.broadcast(elsewhere, 3, { id: 'x' }));
    const duplicates = (await Promise.all(sends)).map((reply) => reply.duplicate);
    assert.deepEqual(duplicates, [false, false, false]);
  });

  test('of an anonymous client shares ids with other anonymous clients', async () => {
    const [name, one, other] = [room(), await client(), await client()];
    await one.broadcast(name, 1, { id: 'x' });
    assert.equal((await other.broadcast(name, 1, { id: 'x' })).duplicate, true);
  });
});

describe('a direct message', () => {
  test('reaches one client', async () => {
    const [sender, target] = [await client(), await client()];
    const answer = await sender.ask({ type: 'direct', targetId: target.welcome.clientId, payload: { hi: 1 } });
    assert.deepEqual(answer.payload, { delivered: 1 });
    const { type, payload, from, timestamp } = await target.next((frame) => frame.type === 'direct');
    assert.deepEqual({ type, payload, from }, { type: 'direct', payload: { hi: 1 }, from: sender.welcome.clientId });
    assert.ok(Number.isInteger(timestamp));
  });

  test('reaches every connection of a user', async () => {
    const path = `/ws?token=${await server.token('carol')}`;
    const [sender, phone, laptop] = [await client(), await client({ path }), await client({ path })];
    const answer = await sender.ask({ type: 'direct', userId: 'carol', payload: 1 });
    assert.deepEqual(answer.payload, { delivered: 2 });
    for (const device of [phone, laptop]) await device.next((frame) => frame.type === 'direct');
  });

  for (const target of [{ targetId: 'nobody' }, { userId: 'nobody' }]) {
    test(`to an unknown ${Object.keys(target)[0]} is an error`, async () => {
      const answer = await (await client()).ask({ type: 'direct', ...target, payload: 1 });
      assert.deepEqual([answer.type, answer.code], ['error', 'not_found']);
    });
  }
});

describe('a call', () => {
  test('of echo gives the payload back', async () => {
    const answer = await (await client()).ask({ type: 'call', method: 'echo', payload: [1, { a: null }] });
    assert.deepEqual(answer.payload, [1, { a: null }]);
  });

  test('of an unknown method is an error', async () => {
    const answer = await (await client()).ask({ type: 'call', method: 'chat.fly', payload: 1 });
    assert.equal(answer.code, 'not_found');
  });
});

describe('every frame', () => {
  test('may be JSON in a binary message', async () => {
    const socket = await client();
    socket.ws.send(Buffer.from('{"type":"call","method":"echo","payload":"b","ref":"bin"}'), { binary: true });
    assert.equal((await socket.next((frame) => frame.ref === 'bin')).payload, 'b');
  });

  test('with a reference is answered exactly once, in order', async () => {
    const [socket, name] = [await client(), room()];
    const frames = [
      { type: 'join', room: name },
      { type: 'join' },
      { type: 'join', room: 'user:somebody' },
      { type: 'join', room: name, since: 'nonsense' },
      { type: 'broadcast', room: name, payload: 1 },
      { type: 'broadcast', room: name, payload: 1, id: 'x' },
      { type: 'broadcast', room: name, payload: 1, id: 'x' },
      { type: 'broadcast', room: name },
      { type: 'broadcast', room: name, payload: 1, event: 'gap' },
      { type: 'direct', targetId: socket.welcome.clientId, payload: 1 },
      { type: 'direct', targetId: 'nobody', payload: 1 },
      { type: 'call', method: 'echo' },
      { type: 'call', method: 'nothing' },
      { type: 'auth', token: 'nonsense' },
      { type: 'auth' },
      { type: 'fly' },
      { type: 5 },
      {},
      { type: 'leave', room: name },
      { type: 'leave', room: name },
      { type: 'call', method: 'echo', payload: 'last' },
    ];
    frames.forEach((frame, at) => socket.send({ ...frame, ref: `r${at}` }));
    const answers = [];
    const isAnswer = (frame) => frame.type === 'reply' || frame.type === 'error';
    while (answers.at(-1)?.payload !== 'last') answers.push(await socket.next(isAnswer));
    assert.deepEqual(answers.map((answer) => answer.ref), frames.map((_, at) => `r${at}`));
  });

  test('may have a number as its reference', async () => {
    const socket = await client();
    socket.send('{"type":"call","method":"echo","payload":1,"ref":-1.50}');
    assert.equal((await socket.next((frame) => frame.type === 'reply')).ref, -1.5);
  });

  const wrong = [
    ['that is not JSON', 'hello', 'invalid_message'],
    ['that is cut off', '{"type":"join","room":"live:x"', 'invalid_message'],
    ['that is an array', '["broadcast",1,"live:x",null,null,"message",1,null,null,null,null,null]', 'invalid_message'],
    ['that is a number', '5', 'invalid_message'],
    ['that is null', 'null', 'invalid_message'],
    ['with an unknown type', '{"type":"fly"}', 'unknown_type'],
    ['without a type', '{"room":"live:x"}', 'invalid_field'],
    ['without the room it needs', '{"type":"join"}', 'invalid_field'],
    ['whose room is a number', '{"type":"join","room":5}', 'invalid_field'],
    ['without a payload', '{"type":"broadcast","room":"live:x"}', 'invalid_field'],
    ['with two targets', '{"type":"direct","targetId":"a","userId":"b","payload":1}', 'invalid_field'],
    ['with no target', '{"type":"direct","payload":1}', 'invalid_field'],
    ['whose reference is an object', '{"type":"call","method":"echo","ref":{}}', 'invalid_field'],
    ['with a position of nowhere', '{"type":"join","room":"live:x","since":"5"}', 'invalid_position'],
    ['with an empty room', '{"type":"join","room":""}', 'invalid_name'],
    ['with a room of 256 bytes', JSON.stringify({ type: 'join', room: 'é'.repeat(128) }), 'invalid_name'],
    ['with a newline in a room', '{"type":"join","room":"live:\\n"}', 'invalid_name'],
    ['with an empty event', '{"type":"broadcast","room":"live:x","event":"","payload":1}', 'invalid_name'],
    ['with a newline in an event', '{"type":"broadcast","room":"live:x","event":"a\\nb","payload":1}', 'invalid_name'],
    ['for the inbox of somebody', '{"type":"broadcast","room":"inbox:bob","payload":1}', 'forbidden'],
    ['for a document', '{"type":"broadcast","room":"doc:x","payload":1}', 'forbidden'],
    ['with another event than message for a chat', '{"type":"broadcast","room":"chat:x","event":"edit","payload":1}', 'forbidden'],
  ];
  for (const [what, text, code] of wrong) {
    test(`${what} is answered with ${code}`, async () => {
      const socket = await client();
      socket.send(text);
      assert.equal((await socket.next((frame) => frame.type === 'error')).code, code);
    });
  }

  test('that is not JSON is answered in the words of the seed, and the connection stays', async () => {
    const socket = await client();
    socket.send('{oops');
    assert.equal((await socket.next((frame) => frame.type === 'error')).error, 'Invalid message format');
    assert.equal((await socket.ask({ type: 'call', method: 'echo', payload: 'still here' })).payload, 'still here');
  });

  for (const event of ['connected', 'gap', 'error', 'open', 'connect', 'disconnect', 'server:shutdown', 'server:anything']) {
    test(`cannot publish the event ${event}, which is the server's own`, async () => {
      const answer = await (await client()).ask({ type: 'broadcast', room: room(), event, payload: 1 });
      assert.equal(answer.code, 'reserved_event');
    });
  }

  test('may name rooms and events with dots, spaces, stars and the letters of the world', async () => {
    const [name, writer, reader] = [`live:a b.*>%2F/${'é'.repeat(100)}`, await client(), await client()];
    await reader.join(name);
    await writer.broadcast(name, 1, { event: '* > . "quoted" \\' });
    const { room: heard, event } = await reader.next(isBroadcast);
    assert.deepEqual({ heard, event }, { heard: name, event: '* > . "quoted" \\' });
  });
});

describe('resuming', () => {
  test('gives what was missed and goes on, once each and in order, while others publish', async () => {
    const [name, writer, total] = [room('deep'), await client(), 2000];
    const { epoch } = await writer.join(name);
    const sent = Promise.all(upTo(total).map((n) => writer.broadcast(name, n)));
    const got = [];
    while (got.length < total) {
      const reader = await client();
      await reader.join(name, { since: `${epoch}:${got.length}` });
      const some = Math.min(1 + Math.floor(total / 10), total - got.length);
      got.push(...await reader.events(name, some));
      reader.ws.terminate();
    }
    await sent;
    assert.deepEqual(payloads(got), upTo(total));
  });

  test("replays the client's own messages", async () => {
    const [name, socket] = [room(), await client()];
    const { epoch } = await socket.broadcast(name, 'own');
    await socket.join(name, { since: `${epoch}:0` });
    assert.deepEqual(payloads(await socket.events(name, 1)), ['own']);
  });

  test('from the head gives what comes next', async () => {
    const [name, writer, reader] = [room(), await client(), await client()];
    const { epoch, seq } = await writer.broadcast(name, 'seen');
    await reader.join(name, { since: `${epoch}:${seq}` });
    await writer.broadcast(name, 'new');
    assert.deepEqual(payloads(await reader.events(name, 1)), ['new']);
  });

  test('from before what is kept tells the gap, then goes on behind it', async () => {
    const [name, writer, reader] = [room('small'), await client(), await client()];
    const { epoch } = await writer.broadcast(name, 1);
    for (const n of upTo(25, 2)) await writer.broadcast(name, n);
    await reader.join(name, { since: `${epoch}:5` });
    assert.deepEqual(await reader.next(() => true), { type: 'gap', room: name, from: 6, to: 15, epoch });
    assert.deepEqual(seqs(await reader.events(name, 10)), upTo(25, 16));
  });

  test('from another epoch tells a gap from 0, then gives what is kept', async () => {
    const [name, writer, reader] = [room(), await client(), await client()];
    const { epoch } = await writer.broadcast(name, 1);
    await reader.join(name, { since: 'another:7' });
    assert.deepEqual(await reader.next(isGap), { type: 'gap', room: name, from: 0, to: 0, epoch });
    assert.deepEqual(payloads(await reader.events(name, 1)), [1]);
  });

  test('from a number that was never given tells a gap', async () => {
    const [name, writer, reader] = [room(), await client(), await client()];
    const { epoch } = await writer.broadcast(name, 1);
    await reader.join(name, { since: `${epoch}:99` });
    assert.equal((await reader.next(isGap)).from, 0);
  });

  test('a reader that reads slowly gets everything, in order', async () => {
    const [name, writer, reader] = [room('deep'), await client({ perMessageDeflate: false }), await client({ perMessageDeflate: false })];
    const text = 'x'.repeat(32 * 1024);
    await reader.join(name);
    reader.ws.pause();
    // More than the sockets' buffers and the outbox take.
    for (let n = 1; n <= 1000; n += 100) {
      await Promise.all(upTo(n + 99, n).map(() => writer.broadcast(name, text)));
    }
    reader.ws.resume();
    assert.deepEqual(seqs(await reader.events(name, 1000)), upTo(1000));
  });
});

describe('the heartbeat', () => {
  let quick;
  before(async () => {
    quick = await Server.start({ config: '[websocket]\nheartbeat_ms = 1000\n' });
  });
  after(() => quick.close());

  test('ends a peer that answers no ping, and tells it to resume', async () => {
    const dead = await client({ autoPong: false }, quick);
    assert.equal((await within(10_000, dead.closed, 'the end')).code, 4008);
  });

  test('ends a peer that answers nothing at all', async () => {
    const dead = await RawSocket.open(quick);
    await within(15_000, dead.ended, 'the end');
  });

  test('tells a peer that it ends nothing more', async () => {
    const [name, writer, witness] = [room(), await client({}, quick), await client({}, quick)];
    const dead = await RawSocket.open(quick);
    await witness.join(name);
    dead.send(JSON.stringify({ type: 'join', room: name, ref: 1 }));
    await dead.json((frame) => frame.ref === 1);
    assert.equal(await dead.closeCode(), 4008);
    await writer.broadcast(name, 'late');
    await witness.events(name, 1);
    await within(10_000, dead.ended, 'the end');
    assert.deepEqual(dead.frames.items.filter((frame) => frame.payload.includes('late')), []);
  });

  test('leaves a peer alone that answers pings', async () => {
    const alive = await client({}, quick);
    for (let pings = 0; pings < 3; pings += 1) {
      await within(10_000, new Promise((resolve) => alive.ws.once('ping', resolve)), 'a ping');
    }
    assert.equal((await alive.ask({ type: 'call', method: 'echo', payload: 1 })).payload, 1);
  });

  test('tells where the rooms stand that advanced, and no others', async () => {
    const [name, still, reader, writer] = [room(), room(), await client({}, quick), await client({}, quick)];
    await reader.join(still);
    await reader.join(name);
    const { epoch, seq } = await writer.broadcast(name, 1);
    const { rooms } = await reader.next((frame) => frame.type === 'position');
    assert.deepEqual(rooms, { [name]: `${epoch}:${seq}` });
  });
});

describe('permessage-deflate', () => {
  const OFFER = { 'Sec-WebSocket-Extensions': 'permessage-deflate; client_max_window_bits' };
  const long = { text: 'what is said twice is said twice. '.repeat(128) };

  async function joined(name, headers) {
    const raw = await RawSocket.open(server, { headers });
    raw.send(JSON.stringify({ type: 'join', room: name, ref: 1 }));
    await raw.json((frame) => frame.ref === 1);
    return raw;
  }

  async function broadcastFrame(raw, name) {
    const read = (frame) => (frame.rsv1 ? inflateRawSync(Buffer.concat([frame.payload, Buffer.from([0, 0, 0xff, 0xff])]), { finishFlush: 2 }) : frame.payload);
    const frame = await raw.frames.next((one) => one.opcode === TEXT && read(one).includes(`"room":"${name}"`) && read(one).includes('"broadcast"'));
    return { ...frame, json: JSON.parse(read(frame)) };
  }

  test('is agreed on without context takeover on both sides', async () => {
    const raw = await RawSocket.open(server, { headers: OFFER });
    assert.match(raw.head, /Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover/i);
    raw.end();
  });

  test('sends a long broadcast deflated, and the same bytes to every reader', async () => {
    const [name, writer] = [room(), await client()];
    const readers = [await joined(name, OFFER), await joined(name, OFFER)];
    await writer.broadcast(name, long);
    const [one, other] = [await broadcastFrame(readers[0], name), await broadcastFrame(readers[1], name)];
    for (const reader of readers) reader.end();
    assert.ok(one.rsv1 && one.payload.length < 1024, `rsv1 ${one.rsv1}, ${one.payload.length} bytes`);
    assert.deepEqual(one.json.payload, long);
    assert.deepEqual(one.payload, other.payload);
  });

  test('sends a short broadcast as it is', async () => {
    const [name, writer] = [room(), await client()];
    const reader = await joined(name, OFFER);
    await writer.broadcast(name, 'short');
    const { rsv1, json } = await broadcastFrame(reader, name);
    reader.end();
    assert.deepEqual([rsv1, json.payload], [false, 'short']);
  });

  test('leaves a reader without it in the same room alone', async () => {
    const [name, writer] = [room(), await client()];
    const [plain, deflating] = [await joined(name, {}), await joined(name, OFFER)];
    await writer.broadcast(name, long);
    const frames = [await broadcastFrame(plain, name), await broadcastFrame(deflating, name)];
    for (const reader of [plain, deflating]) reader.end();
    assert.deepEqual(frames.map((frame) => frame.rsv1), [false, true]);
    assert.deepEqual(frames[0].json, frames[1].json);
  });

  test('is read by a real client, both ways', async () => {
    const options = { perMessageDeflate: { threshold: 0 } };
    const [name, writer, reader] = [room(), await client(options), await client(options)];
    await reader.join(name);
    await writer.broadcast(name, long);
    assert.deepEqual((await reader.next(isBroadcast)).payload, long);
    assert.match(reader.ws.extensions, /permessage-deflate/);
  });

  test('does not blow up: a small frame that inflates past the limit is closed with 1009', async () => {
    const bomb = await client({ perMessageDeflate: { threshold: 0 } });
    bomb.ws.send(' '.repeat(8 * 1024 * 1024));
    assert.equal((await within(10_000, bomb.closed, 'the close')).code, 1009);
  });
});

describe('the close', () => {
  for (const code of [1000, 3000, 4999]) {
    test(`of a client with ${code} is answered with ${code}`, async () => {
      const raw = await RawSocket.open(server);
      raw.close(code);
      assert.equal(await raw.closeCode(), code);
      raw.end();
    });
  }

  test('of a real client with 1000 is clean', async () => {
    assert.equal((await (await client()).close()).code, 1000);
  });

  test('is followed by nothing, whatever is published meanwhile', async () => {
    const [name, writer, witness] = [room(), await client(), await client()];
    const raw = await RawSocket.open(server);
    await witness.join(name);
    raw.send(JSON.stringify({ type: 'join', room: name, ref: 1 }));
    await raw.json((frame) => frame.ref === 1);
    raw.close(1000);
    await raw.closeCode();
    await writer.broadcast(name, 'late');
    await witness.events(name, 1);
    raw.socket.end();
    await within(10_000, raw.ended, 'the end');
    assert.deepEqual(raw.frames.items.filter((frame) => frame.payload.includes('late')), []);
  });

  test('for a message over 1 MiB is 1009', async () => {
    const socket = await client({ perMessageDeflate: false });
    socket.send({ type: 'broadcast', room: room(), payload: 'x'.repeat(1024 * 1024) });
    assert.equal((await within(10_000, socket.closed, 'the close')).code, 1009);
  });

  test('for an unmasked frame is 1002', async () => {
    const raw = await RawSocket.open(server);
    raw.send('{}', { masked: false });
    assert.equal(await raw.closeCode(), 1002);
  });

  test('for a reserved bit is 1002', async () => {
    const raw = await RawSocket.open(server);
    raw.send('{}', { first: 0xc1 });
    assert.equal(await raw.closeCode(), 1002);
  });

  test('for text that is not UTF-8 is 1007', async () => {
    const raw = await RawSocket.open(server);
    raw.send(Buffer.from([0x7b, 0xff, 0x7d]));
    assert.equal(await raw.closeCode(), 1007);
  });

  test('of a server that stops is 1012, after a word on when to come back', async () => {
    const stopping = await Server.start();
    const sockets = [await client({}, stopping), await client({}, stopping)];
    const ended = stopping.stop();
    for (const socket of sockets) {
      const { type, message, reconnectDelay } = await socket.next((frame) => frame.type === 'shutdown');
      assert.deepEqual({ type, message }, { type: 'shutdown', message: 'Server is shutting down. Please reconnect.' });
      assert.ok(reconnectDelay >= 5000 && reconnectDelay <= 10_000, `${reconnectDelay} ms`);
      assert.equal((await socket.closed).code, 1012);
    }
    assert.deepEqual(await ended, { code: 0, signal: null });
    await stopping.close();
  });
});

describe('the opening', () => {
  test('answers the key of the RFC with the accept of the RFC', async () => {
    const raw = await RawSocket.open(server);
    raw.end();
    assert.match(raw.head, /^HTTP\/1\.1 101 /);
    assert.match(raw.head, new RegExp(`^sec-websocket-accept: ${ACCEPT.replace('+', '\\+')}\\r?$`, 'im'));
  });

  test('chooses chat of chat, superchat when that is configured', async () => {
    const raw = await RawSocket.open(server, { headers: { 'Sec-WebSocket-Protocol': 'chat, superchat' } });
    raw.end();
    assert.match(raw.head, /^sec-websocket-protocol: chat\r?$/im);
  });

  test('never chooses a subprotocol that was not offered', async () => {
    const heads = [];
    for (const headers of [{}, { 'Sec-WebSocket-Protocol': 'superchat' }]) {
      const raw = await RawSocket.open(server, { headers });
      raw.end();
      heads.push(raw.head);
    }
    for (const head of heads) assert.doesNotMatch(head, /sec-websocket-protocol/i);
  });

  test('speaks denrei.v1.json', async () => {
    assert.equal((await client({ protocols: ['denrei.v1.json'] })).ws.protocol, 'denrei.v1.json');
  });

  for (const [what, headers, status] of [
    ['without an Upgrade', { Upgrade: 'h2c' }, 426],
    ['of another version', { 'Sec-WebSocket-Version': '8' }, 426],
    ['without a key', { 'Sec-WebSocket-Key': '' }, 400],
    ['from a foreign page', { Origin: 'https://evil.example' }, 403],
    ['for a foreign host', { Host: 'evil.example' }, 403],
  ]) {
    test(`${what} is refused with ${status}`, async () => {
      const raw = await RawSocket.open(server, { headers });
      raw.end();
      assert.match(raw.head, new RegExp(`^HTTP/1\\.1 ${status} `));
    });
  }

  test('works as a later request of a connection', async () => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    const port = await new Promise((resolve, reject) => {
      const request = http.get(`${server.http}/health`, { agent }, (response) => {
        const { localPort } = response.socket;
        response.resume().on('end', () => resolve(localPort));
      });
      request.on('error', reject);
    });
    const socket = await client({ agent });
    assert.equal(socket.ws._socket.localPort, port);
    assert.equal((await socket.ask({ type: 'call', method: 'echo', payload: 1 })).payload, 1);
  });
});

describe('a token', () => {
  const SECRET = 'a secret of the tests that is long enough';
  let closed;
  before(async () => {
    closed = await Server.start({ env: { DENREI_SECRET: SECRET } });
  });
  after(() => closed.close());

  function sign(claims, secret = SECRET, header = { alg: 'HS256', typ: 'JWT' }) {
    const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const body = `${part(header)}.${part(claims)}`;
    return `${body}.${createHmac('sha256', secret).update(body).digest('base64url')}`;
  }

  const soon = () => Math.floor(Date.now() / 1000) + 60;

  async function refusal(token) {
    const answer = await fetch(`${closed.http}/sse${token === undefined ? '' : `?token=${token}`}`);
    return [answer.status, (await answer.json()).error];
  }

  test('in the query is taken', async () => {
    const socket = await client({ path: `/ws?token=${await closed.token('alice')}` }, closed);
    assert.equal(socket.welcome.userId, 'alice');
  });

  test('in the Authorization header is taken', async () => {
    const socket = await client({ headers: { Authorization: `Bearer ${await closed.token('alice')}` } }, closed);
    assert.equal(socket.welcome.userId, 'alice');
  });

  test('that another library signed is taken', async () => {
    const socket = await client({ path: `/ws?token=${sign({ sub: 'bob', exp: soon() })}` }, closed);
    assert.equal(socket.welcome.userId, 'bob');
  });

  test('is needed where anonymous clients are not allowed', async () => {
    assert.deepEqual(await refusal(), [401, 'Authentication token required']);
  });

  for (const [what, token, sentence] of [
    ['that has expired', () => sign({ sub: 'bob', exp: soon() - 3600 }), 'Token expired'],
    ['of another secret', () => sign({ sub: 'bob', exp: soon() }, 'another secret that is long enough too'), 'Invalid authentication token'],
    ['without an end', () => sign({ sub: 'bob' }), 'Invalid authentication token'],
    ['without a user', () => sign({ exp: soon() }), 'Invalid authentication token'],
    ['not valid yet', () => sign({ sub: 'bob', exp: soon() + 3600, nbf: soon() + 1800 }), 'Invalid authentication token'],
    ['of algorithm none', () => `${sign({ sub: 'bob', exp: soon() }, SECRET, { alg: 'none' }).split('.').slice(0, 2).join('.')}.`, 'Invalid authentication token'],
    ['that is no token', () => 'nonsense', 'Invalid authentication token'],
  ]) {
    test(`${what} is refused with 401`, async () => {
      assert.deepEqual(await refusal(token()), [401, sentence]);
    });
  }

  test('that is refused opens no WebSocket', async () => {
    await assert.rejects(client({ path: '/ws?token=nonsense' }, closed), /status 401/);
  });

  test('in an auth frame makes an anonymous client somebody', async () => {
    const [socket, sender] = [await client(), await client()];
    const answer = await socket.ask({ type: 'auth', token: await server.token('dora') });
    assert.deepEqual(answer.payload, { userId: 'dora' });
    assert.deepEqual((await sender.ask({ type: 'direct', userId: 'dora', payload: 1 })).payload, { delivered: 1 });
  });

  test('of another user in an auth frame is refused', async () => {
    const socket = await client({ path: `/ws?token=${await server.token('alice')}` });
    assert.equal((await socket.ask({ type: 'auth', token: await server.token('bob') })).code, 'forbidden');
  });

  test('that is invalid in an auth frame is refused, and the connection stays who it was', async () => {
    const socket = await client({ path: `/ws?token=${await server.token('erin')}` });
    const { error, code } = await socket.ask({ type: 'auth', token: 'nonsense' });
    assert.deepEqual([error, code], ['Invalid authentication token', 'token_invalid']);
    assert.equal((await (await client()).ask({ type: 'direct', userId: 'erin', payload: 1 })).payload?.delivered, 1);
  });

  test('is signed with the secret of the data folder when none is configured', async () => {
    const secret = (await readFile(join(server.folder, 'data', 'secret'), 'utf8')).trim();
    const socket = await client({ path: `/ws?token=${sign({ sub: 'frank', exp: soon() }, secret)}` });
    assert.equal(socket.welcome.userId, 'frank');
  });
});

describe('publishes that do not wait for each other', () => {
  for (const kind of ['live', 'feed']) {
    test(`are answered in order in a ${kind} room`, async () => {
      const [name, writer] = [room(kind), await client()];
      const count = 1000;
      for (const n of upTo(count)) writer.send({ type: 'broadcast', room: name, payload: n, ref: n });
      const answers = [];
      while (answers.length < count) answers.push(await writer.next((frame) => frame.ref !== undefined));
      assert.deepEqual(answers.map((answer) => [answer.ref, answer.payload?.seq]), upTo(count).map((n) => [n, n]));
    });
  }
});
