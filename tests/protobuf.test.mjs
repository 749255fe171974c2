// The native protocol in Protobuf, against npm's `protobufjs` and the published `.proto`.

import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { inflateRawSync } from 'node:zlib';
import { ChatMessage, ProtobufSocket, WebSocketFrame, plain } from './lib/protobuf.mjs';
import { RawSocket } from './lib/raw.mjs';
import { Server, room } from './lib/server.mjs';
import { Socket } from './lib/socket.mjs';

const CONFIG = `
[classes.small]
keep = "memory"
events = 10
`;
const BINARY = 2;

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
  const socket = await ProtobufSocket.open(at, options);
  opened.push(socket);
  return socket;
}

async function jsonClient(options) {
  const socket = await Socket.open(server, options);
  opened.push(socket);
  return socket;
}

const long = { text: 'what is said twice is said twice. '.repeat(128) };

describe('the published .proto', () => {
  test('has the message of the seed under its numbers', () => {
    const numbers = Object.fromEntries(ChatMessage.fieldsArray.slice(0, 6).map(({ name, id, type }) => [name, `${id} ${type}`]));
    assert.deepEqual(numbers, {
      id: '1 string', roomId: '2 string', userId: '3 string', content: '4 string', timestamp: '5 int64', type: '6 MessageType',
    });
    assert.deepEqual({ ...ChatMessage.lookupEnum('MessageType').values }, { TEXT: 0, IMAGE: 1, FILE: 2, SYSTEM: 3 });
    assert.deepEqual(['event', 'chatMessage'].map((name) => WebSocketFrame.fields[name].id), [1, 2]);
  });
});

describe('the subprotocol', () => {
  test('is chosen when it is offered, and the first that is known wins', async () => {
    const chosen = [];
    for (const protocols of [['denrei.v1.protobuf'], ['denrei.v2.protobuf', 'denrei.v1.protobuf', 'denrei.v1.json']]) {
      chosen.push((await client({ protocols })).ws.protocol);
    }
    chosen.push((await jsonClient({ protocols: ['denrei.v1.json', 'denrei.v1.protobuf'] })).ws.protocol);
    assert.deepEqual(chosen, ['denrei.v1.protobuf', 'denrei.v1.protobuf', 'denrei.v1.json']);
  });

  test('is offered beside a token', async () => {
    const token = await server.token('alice');
    const { ws, welcome } = await client({ protocols: [`denrei.token.${token}`, 'denrei.v1.protobuf'] });
    assert.deepEqual([ws.protocol, welcome.userId], ['denrei.v1.protobuf', 'alice']);
  });
});

describe('requests', () => {
  test('are welcomed and answered as in JSON', async () => {
    const [name, one, other] = [room(), await client(), await jsonClient()];
    assert.match(one.welcome.clientId, /^[\w-]{16,}$/);
    assert.ok(Math.abs(Date.now() - one.welcome.timestamp) < 60_000);
    assert.equal(one.welcome.heartbeat, 30_000);
    const first = await one.ask({ join: { room: name } });
    assert.deepEqual(first, { room: name, epoch: first.epoch, seq: 0, members: 1 });
    assert.deepEqual(await other.join(name), { room: name, epoch: first.epoch, seq: 0, members: 2 });
    const published = await one.ask({ room: name, payload: '1', id: 'once' });
    assert.deepEqual(published, { epoch: first.epoch, seq: 1, duplicate: false });
    assert.deepEqual(await one.ask({ room: name, payload: '1', id: 'once' }), { ...published, duplicate: true });
    assert.deepEqual(await one.ask({ leave: { room: name } }), { room: name });
    assert.deepEqual(await one.ask({ call: { method: 'echo', payload: '{"a": 1}' } }), { a: 1 });
    assert.equal(await one.ask({ call: { method: 'echo' } }), null);
  });

  test('may bring a token', async () => {
    const one = await client();
    assert.deepEqual(await one.ask({ auth: { token: await server.token('alice') } }), { userId: 'alice' });
  });

  test('are refused with a code, and the connection stays', async () => {
    const one = await client();
    const refusals = [];
    for (const frame of [
      { join: { room: 'user:bob' } },
      { join: { room: 'live:a', since: 'nowhere' } },
      { join: {} },
      { leave: { room: room() } },
      { call: { method: 'no such method' } },
      { direct: { targetId: 'nobody', payload: '1' } },
      { direct: { payload: '1' } },
      { room: room() },
      { room: room(), payload: 'no json' },
      { room: room(), payload: '1', event: 'open' },
      { welcome: {} },
      { auth: { token: 'none' } },
    ]) {
      const { error } = await one.ask(frame);
      assert.ok(error.error, 'a sentence');
      refusals.push(error.code);
    }
    assert.deepEqual(refusals, [
      'forbidden', 'invalid_position', 'invalid_field', 'not_found', 'not_found', 'not_found', 'invalid_field',
      'invalid_field', 'invalid_field', 'reserved_event', 'unknown_type', 'token_invalid',
    ]);
    assert.equal(await one.ask({ call: { method: 'echo', payload: '1' } }), 1);
  });

  test('that are no frames are invalid messages, and the connection stays', async () => {
    const one = await client();
    const garbage = [Buffer.from('0a05616263', 'hex'), Buffer.from('0a01ff', 'hex'), Buffer.alloc(100_000, 0x0b), Buffer.from('{"type":"leave"}'), '{"type":"leave"}'];
    for (const bytes of garbage) {
      one.ws.send(bytes);
      const { error, ref } = await one.next((frame) => frame.error);
      assert.deepEqual([error.code, ref], ['invalid_message', undefined]);
    }
    assert.equal(await one.ask({ call: { method: 'echo', payload: '1' } }), 1);
  });

  test('of a list of half a million empty entries are refused like any other', async () => {
    const one = await client();
    const entries = Buffer.alloc(1_000_000);
    for (let at = 0; at < entries.length; at += 2) entries.writeUInt16BE(0x6200, at);
    one.ws.send(Buffer.concat([Buffer.from([0x12, 0xc0, 0x84, 0x3d]), entries]));
    assert.equal((await one.next((frame) => frame.error)).error.error, 'chat_message.room_id is missing');
  });
});

describe('an event', () => {
  test('is the same to readers of either wire, whoever publishes it', async () => {
    const [name, one, other] = [room(), await client(), await jsonClient()];
    await one.ask({ join: { room: name, echo: true } });
    await other.join(name, { echo: true });
    await one.ask({ room: name, event: 'move', payload: '{"x": [1, "é"]}' });
    await other.broadcast(name, { y: 2 });
    await server.publish(name, { payload: 3 });
    const theirs = await other.events(name, 3);
    const ours = await one.events(name, 3);
    const common = ({ payload, from, userId, ...event }) => ({ ...event, payload: JSON.parse(payload), from: from ?? null, userId: userId ?? null });
    assert.deepEqual(ours.map(common), theirs.map(({ type, ...event }) => event));
    assert.deepEqual(theirs.map((event) => event.event), ['move', 'message', 'message']);
  });

  test('for all reaches who has joined nothing', async () => {
    const [one, other] = [await client(), await client()];
    other.send({ event: 'hail', payload: '"all"' });
    const event = await one.next((frame) => frame.event === 'hail');
    assert.deepEqual([event.room, event.payload, event.from], ['all', '"all"', other.welcome.clientId]);
  });

  test('for one client says who sent it, across wires', async () => {
    const [one, other] = [await client(), await jsonClient()];
    assert.deepEqual(await one.ask({ direct: { targetId: other.welcome.clientId, payload: '{"a":1}' } }), { delivered: 1 });
    const direct = await other.next((frame) => frame.type === 'direct');
    assert.deepEqual([direct.payload, direct.from], [{ a: 1 }, one.welcome.clientId]);
    await other.ask({ type: 'direct', targetId: one.welcome.clientId, payload: 'back' });
    const { direct: back } = await one.next((frame) => frame.direct);
    assert.deepEqual([back.payload, back.from], ['"back"', other.welcome.clientId]);
    assert.ok(Math.abs(Date.now() - back.timestamp) < 60_000);
  });

  test('that was missed follows a join with its position, and what is lost is told', async () => {
    const [name, writer, reader] = [room('small'), await client(), await client()];
    let first;
    for (let at = 1; at <= 15; at += 1) {
      const published = await writer.ask({ room: name, payload: `${at}` });
      first ??= published;
    }
    const { epoch } = first;
    await reader.ask({ join: { room: name, since: `${epoch}:1` } });
    assert.deepEqual((await reader.next((frame) => frame.gap)).gap, { room: name, from: 2, to: 5, epoch });
    const events = await reader.events(name, 10);
    assert.deepEqual(events.map(({ seq, payload }) => [seq, payload]), [6, 7, 8, 9, 10, 11, 12, 13, 14, 15].map((at) => [at, `${at}`]));
  });
});

describe('a message of a chat', () => {
  const encodeMessage = (event, payload) => WebSocketFrame.encode(WebSocketFrame.create({ event, chatMessage: payload })).finish();
  const isEvent = (name) => (frame) => frame.event === name;
  let [chat, rooms] = ['', 0];
  let alice;
  let bob;

  /** Alice reads JSON, bob Protobuf; both are members of a room, and read it with their own events. */
  beforeEach(async () => {
    rooms += 1;
    chat = `protobuf-${rooms}`;
    alice = await jsonClient({ path: `/ws?token=${await server.token('alice')}` });
    bob = await client({ path: `/ws?token=${await server.token('bob')}` });
    await alice.ask({ type: 'call', method: 'chat.create', payload: { room: chat } });
    await bob.ask({ call: { method: 'chat.join', payload: JSON.stringify({ room: chat }) } });
    await alice.join(`chat:${chat}`, { echo: true });
    await bob.ask({ join: { room: `chat:${chat}`, echo: true } });
  });

  async function ofAlice(method, payload) {
    const { payload: result } = await alice.ask({ type: 'call', method, payload: { room: chat, ...payload } });
    return result;
  }

  /** The JSON of a message as it stands in Protobuf: without the defaults of proto3, and `data` as text. */
  function spelled({ data, type, ...message }) {
    const spelled = { ...message, ...(data === undefined ? {} : { data: JSON.stringify(data) }), ...(type === undefined || type === 'TEXT' ? {} : { type }) };
    return Object.fromEntries(Object.entries(spelled).filter(([, value]) => value !== ''));
  }

  test('is sent in the words of the seed, and is JSON to others', async () => {
    bob.ws.send(encodeMessage('message', { roomId: chat, content: 'hello', type: 1, mentions: ['alice'], clientMessageId: 'c1', data: '{"width":5}' }));
    const { payload } = await alice.next(isEvent('message'));
    const { timestamp, ...rest } = payload;
    assert.deepEqual(rest, {
      id: `${chat}-1`, sequence: 1, roomId: chat, userId: 'bob', content: 'hello', status: 'sent', type: 'IMAGE', version: 1,
      mentions: ['alice'], clientMessageId: 'c1', data: { width: 5 },
    });
    const { chatMessage, payload: none } = await bob.next(isEvent('message'));
    assert.deepEqual([chatMessage, none], [spelled(payload), undefined]);
  });

  test('comes with everything that JSON tells of it, however it changes', async () => {
    const { id } = await ofAlice('chat.send', { content: 'one', data: { a: [1] } });
    await ofAlice('chat.react', { messageId: id, emoji: '👍' });
    await ofAlice('chat.send', { content: 'an answer', threadId: id, replyTo: id });
    await ofAlice('chat.edit', { messageId: id, content: 'two' });
    await ofAlice('chat.delete', { messageId: id });
    const names = ['message', 'messageUpdated', 'message', 'messageUpdated', 'messageUpdated'];
    const theirs = [];
    const ours = [];
    for (const name of names) {
      theirs.push((await alice.next(isEvent(name))).payload);
      ours.push((await bob.next(isEvent(name))).chatMessage);
    }
    assert.deepEqual(ours, theirs.map(spelled));
    assert.deepEqual(ours.map(({ change, root }) => change ?? root?.id), [undefined, 'reactions', id, 'edited', 'deleted']);
  });

  test('is refused as any other, with the reference', async () => {
    const { error } = await bob.ask({ chatMessage: { roomId: 'no-such-room', content: 'hello' } });
    assert.equal(error.code, 'not_found');
  });

  test('is the only thing in a chat that is no JSON', async () => {
    await ofAlice('chat.typing', {});
    const { payload, chatMessage } = await bob.next(isEvent('typing'));
    assert.deepEqual([JSON.parse(payload).userId, chatMessage], ['alice', undefined]);
  });
});

describe('permessage-deflate', () => {
  const HEADERS = {
    'Sec-WebSocket-Protocol': 'denrei.v1.protobuf',
    'Sec-WebSocket-Extensions': 'permessage-deflate; client_max_window_bits',
  };

  async function joined(name) {
    const raw = await RawSocket.open(server, { headers: HEADERS });
    raw.send(WebSocketFrame.encode({ ref: 'j', join: { room: name } }).finish(), { first: 0x80 | BINARY });
    await raw.frames.next((frame) => frame.opcode === BINARY && !frame.rsv1 && plain(WebSocketFrame.decode(frame.payload)).ref === 'j');
    return raw;
  }

  test('sends a long event deflated, and the same bytes to every reader', async () => {
    const [name, writer] = [room(), await client()];
    const readers = [await joined(name), await joined(name)];
    await writer.ask({ room: name, payload: JSON.stringify(long) });
    const [one, other] = await Promise.all(readers.map((raw) => raw.frames.next((frame) => frame.rsv1)));
    for (const reader of readers) reader.end();
    assert.equal(one.opcode, BINARY);
    assert.ok(one.payload.length < 1024, `${one.payload.length} bytes`);
    assert.deepEqual(one.payload, other.payload);
    const inflated = inflateRawSync(Buffer.concat([one.payload, Buffer.from([0, 0, 0xff, 0xff])]), { finishFlush: 2 });
    assert.deepEqual(JSON.parse(WebSocketFrame.decode(inflated).payload), long);
  });

  test('is read by a real client, both ways', async () => {
    const options = { perMessageDeflate: { threshold: 0 } };
    const [name, writer, reader] = [room(), await client(options), await client(options)];
    await reader.ask({ join: { room: name } });
    await writer.ask({ room: name, payload: JSON.stringify(long) });
    assert.deepEqual(JSON.parse((await reader.events(name, 1))[0].payload), long);
    assert.match(reader.ws.extensions, /permessage-deflate/);
  });
});

describe('the server', () => {
  test('tells positions with a heartbeat, and when to come back before it stops', async () => {
    const own = await Server.start({ config: '[websocket]\nheartbeat_ms = 1000\n' });
    try {
      const [name, reader, writer] = [room(), await client({}, own), await client({}, own)];
      await reader.ask({ join: { room: name } });
      const { epoch, seq } = await writer.ask({ room: name, payload: '1' });
      const { position } = await reader.next((frame) => frame.position);
      assert.deepEqual(position.rooms, { [name]: `${epoch}:${seq}` });
      await own.stop();
      const { shutdown } = await reader.next((frame) => frame.shutdown);
      assert.equal(shutdown.message, 'Server is shutting down. Please reconnect.');
      assert.equal((await reader.closed).code, 1012);
    } finally {
      await own.close();
    }
  });
});
