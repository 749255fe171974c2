// What a WebSocket client can send that it must not.

import assert from 'node:assert/strict';
import { constants, deflateRawSync } from 'node:zlib';
import { attack } from './lib/attack.mjs';
import { BINARY, CLOSE, CONTINUATION, PING, TEXT, frame, request } from './lib/peer.mjs';
import { room, until } from './lib/server.mjs';
import { Socket } from './lib/socket.mjs';

const DEFLATE = ['Sec-WebSocket-Extensions: permessage-deflate'];
const MIB = 1 << 20;

const closing = (code) => Buffer.from([code >> 8, code & 255]);
const unfinished = (opcode, payload) => frame(opcode, payload, { fin: false });
const repeated = (bytes, count) => Buffer.alloc(bytes.length * count, bytes);
const deflated = (bytes) => deflateRawSync(bytes, { finishFlush: constants.Z_SYNC_FLUSH }).subarray(0, -4);

/** What is sent, and the code of the close frame that must answer it. */
const VIOLATIONS = [
  ['an unmasked frame', frame(TEXT, '{}', { masked: false }), 1002],
  ['the first reserved bit without an extension', frame(TEXT, '{}', { rsv: 4 }), 1002],
  ['the second reserved bit', frame(TEXT, '{}', { rsv: 2 }), 1002],
  ['the third reserved bit', frame(TEXT, '{}', { rsv: 1 }), 1002],
  ...[3, 7, 11, 15].map((opcode) => [`the reserved opcode ${opcode}`, frame(opcode, ''), 1002]),
  ['a ping of 126 bytes', frame(PING, Buffer.alloc(126)), 1002],
  ['a fragmented ping', unfinished(PING, ''), 1002],
  ['a continuation of nothing', frame(CONTINUATION, 'x'), 1002],
  ['a message inside another', Buffer.concat([unfinished(TEXT, 'a'), frame(TEXT, 'b')]), 1002],
  ['a close of one byte', frame(CLOSE, Buffer.alloc(1)), 1002],
  ...[0, 999, 1004, 1005, 1006, 1015, 5000].map((code) => [`a close with the code ${code}`, frame(CLOSE, closing(code)), 1002]),
  ['a close whose reason is not UTF-8', frame(CLOSE, Buffer.from([3, 232, 255])), 1007],
  ['a length that is not in its shortest form', frame(TEXT, '{}', { bits: 64 }), 1002],
  ['a length with its top bit set', frame(BINARY, 'eight by', { length: 2n ** 63n + 8n }), 1002],
  ['a declared length of 2^62', frame(BINARY, 'eight by', { length: 2n ** 62n }), 1009],
  ['4 GiB declared and 8 bytes sent', frame(BINARY, 'eight by', { length: 2n ** 32n }), 1009],
  ['a frame of 1 MiB and a byte', frame(TEXT, Buffer.alloc(MIB + 1, 'x')), 1009],
  ['1 MiB and a byte in two fragments', Buffer.concat([unfinished(TEXT, Buffer.alloc(MIB, 'x')), frame(CONTINUATION, 'x')]), 1009],
  ['text that is not UTF-8', frame(TEXT, Buffer.from([0xc3, 0x28])), 1007],
  ['text with a surrogate', frame(TEXT, Buffer.from([0xed, 0xa0, 0x80])), 1007],
  ['an overlong encoding', frame(TEXT, Buffer.from([0xc0, 0xaf])), 1007],
  ['text beyond U+10FFFF', frame(TEXT, Buffer.from([0xf4, 0x90, 0x80, 0x80])), 1007],
  ['a wrong byte in a message that is not finished', unfinished(TEXT, Buffer.from([0xff])), 1007],
  ['200,000 empty fragments', Buffer.concat([unfinished(TEXT, ''), repeated(unfinished(CONTINUATION, ''), 200_000)]), 1008],
  ['200,000 fragments of a byte', Buffer.concat([unfinished(TEXT, 'x'), repeated(unfinished(CONTINUATION, 'x'), 200_000)]), 1008],
];

for (const [what, bytes, code] of VIOLATIONS) {
  attack(`${what} is answered with ${code}`, async ({ upgrade }) => {
    const peer = await upgrade();
    peer.write(bytes);
    assert.equal(await peer.closeCode(), code);
  });
}

/** The same, with compression agreed on. */
const BOMB = deflated(Buffer.alloc(64 * MIB));
const COMPRESSED = [
  ['a bomb of 64 MiB in one frame', frame(TEXT, BOMB, { rsv: 4 }), 1009],
  ['a bomb of 64 MiB in 1,000 fragments', inFragments(BOMB, 1000), 1009],
  ['1 MiB of compressed nothing', frame(TEXT, repeated(Buffer.from([0, 0, 0, 255, 255]), 230_000), { rsv: 4 }), 1009],
  ['corrupt compression', frame(TEXT, Buffer.alloc(64, 255), { rsv: 4 }), 1007],
  ['compressed text that is not UTF-8', frame(TEXT, deflated(Buffer.from([0xc3, 0x28])), { rsv: 4 }), 1007],
  ['a compressed continuation', Buffer.concat([unfinished(TEXT, 'a'), frame(CONTINUATION, 'b', { rsv: 4 })]), 1002],
  ['a compressed ping', frame(PING, '', { rsv: 4 }), 1002],
];

function inFragments(bytes, count) {
  const size = Math.ceil(bytes.length / count);
  const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, at) => bytes.subarray(at * size, (at + 1) * size));
  return Buffer.concat(pieces.map((piece, at) => frame(at === 0 ? TEXT : CONTINUATION, piece, {
    fin: at === pieces.length - 1,
    rsv: at === 0 ? 4 : 0,
  })));
}

for (const [what, bytes, code] of COMPRESSED) {
  attack(`${what} is answered with ${code}`, async ({ upgrade }) => {
    const peer = await upgrade({ headers: DEFLATE });
    peer.write(bytes);
    assert.equal(await peer.closeCode(), code);
  }, { growth: 16 });
}

attack('nothing follows the close frame, however busy the room is', async ({ server, upgrade }) => {
  const busy = room();
  const writer = await Socket.open(server);
  const peer = await upgrade();
  peer.write(request({ type: 'join', room: busy, ref: 1 }));
  await peer.json(({ ref }) => ref === 1);
  await writer.broadcast(busy, 'first');
  peer.write(frame(3));
  assert.equal(await peer.closeCode(), 1002);
  for (let n = 0; n < 20; n += 1) await writer.broadcast(busy, n);
  // The server ends the connection when the client does.
  peer.socket.end();
  assert.equal(await peer.frame(), null);
  await writer.close();
});

attack('nothing follows the close frame of the server\'s own, however busy the room is', async ({ server, upgrade }) => {
  const busy = room();
  const peer = await upgrade();
  peer.write(request({ type: 'join', room: busy, ref: 1 }));
  // It answers no ping from here on, and does not answer the close either.
  const writing = setInterval(() => server.publish(busy, { payload: 'more' }), 20);
  try {
    assert.equal(await peer.closeCode(), 4008);
    assert.equal(await peer.frame(), null);
  } finally {
    clearInterval(writing);
  }
}, { config: '[websocket]\nheartbeat_ms = 1000\n' });

/** Frames that are in order as WebSocket messages and wrong as requests: refused, and the connection stays. */
const MISTAKES = [
  ['no JSON', 'hello', 'invalid_message'],
  ['an empty message', '', 'invalid_message'],
  ['an array', '[]', 'invalid_message'],
  ['half an object', '{"type":"join"', 'invalid_message'],
  ['an object with something behind it', '{"type":"leave","room":"live:x"}x', 'invalid_message'],
  ['a million opened brackets', '['.repeat(1_000_000), 'invalid_message'],
  ['a million opened brackets as a payload', `{"type":"broadcast","payload":${'['.repeat(1_000_000)}`, 'invalid_message'],
  ['no type', '{}', 'invalid_field'],
  ['a type that is no string', '{"type":[]}', 'invalid_field'],
  ['an unknown type', '{"type":"shout"}', 'unknown_type'],
  ['a join without a room', '{"type":"join"}', 'invalid_field'],
  ['a room that is no string', '{"type":"join","room":5}', 'invalid_field'],
  ['two rooms', '{"type":"join","room":"live:a","room":"live:b"}', 'invalid_field'],
  ['a position that is none', '{"type":"join","room":"live:a","since":"yesterday"}', 'invalid_position'],
  ['a negative position', '{"type":"join","room":"live:a","since":"e:-1"}', 'invalid_position'],
  ['a position of 2^64', '{"type":"join","room":"live:a","since":"e:18446744073709551616"}', 'invalid_position'],
  ['a position of 2^53', '{"type":"join","room":"live:a","since":"e:9007199254740992"}', 'invalid_position'],
  ['an echo that is no boolean', '{"type":"join","room":"live:a","echo":"yes"}', 'invalid_field'],
  ['a broadcast without a payload', '{"type":"broadcast"}', 'invalid_field'],
  ['an empty client id', '{"type":"broadcast","payload":1,"id":""}', 'invalid_name'],
  ['a client id that is a number', '{"type":"broadcast","payload":1,"id":7}', 'invalid_field'],
  ['a reference that is an object', '{"type":"leave","room":"live:a","ref":{}}', 'invalid_field'],
  ['a reference of a kilobyte', `{"type":"leave","room":"live:a","ref":"${'r'.repeat(1024)}"}`, 'invalid_field'],
  ['a room that was not joined', '{"type":"leave","room":"live:never"}', 'not_found'],
  ['a direct message to nobody', '{"type":"direct","targetId":"nobody","payload":1}', 'not_found'],
  ['a direct message to two', '{"type":"direct","targetId":"a","userId":"b","payload":1}', 'invalid_field'],
  ['an unknown method', '{"type":"call","method":"rm -rf","ref":1}', 'not_found'],
  ['a lone surrogate in a name', '{"type":"join","room":"live:\\ud800"}', 'invalid_message'],
  ['a room with a newline', '{"type":"join","room":"live:\\n"}', 'invalid_name'],
  ['a room with a NUL', '{"type":"join","room":"live:\\u0000"}', 'invalid_name'],
  ['a room with a control character of Latin-1', '{"type":"join","room":"live:\\u0085"}', 'invalid_name'],
  ['a room without a name', '{"type":"join","room":""}', 'invalid_name'],
  ['a room of 256 bytes', `{"type":"join","room":"${'r'.repeat(256)}"}`, 'invalid_name'],
  ['a room of 10 kB', `{"type":"join","room":"${'r'.repeat(10_000)}"}`, 'invalid_name'],
  ["another user's room", '{"type":"join","room":"user:alice"}', 'forbidden'],
  ["another user's inbox", '{"type":"join","room":"inbox:alice"}', 'forbidden'],
  ['an internal room', '{"type":"join","room":"sio:/:x"}', 'forbidden'],
  ...['user:alice', 'inbox:alice', 'doc:x', 'sio:/:x'].map((to) => [`a broadcast to ${to}`, `{"type":"broadcast","room":"${to}","payload":1}`, 'forbidden']),
  ['an edit of a chat by a broadcast', '{"type":"broadcast","room":"chat:x","event":"edit","payload":1}', 'forbidden'],
  ...['connected', 'gap', 'error', 'open', 'expiring', 'unauthorized', 'connect', 'connect_error', 'disconnect', 'disconnecting', 'newListener', 'removeListener', 'server:shutdown'].map((event) =>
    [`an event named ${event}`, `{"type":"broadcast","event":"${event}","payload":1}`, 'reserved_event']),
  ['an event with a newline', '{"type":"broadcast","event":"a\\ndata: forged","payload":1}', 'invalid_name'],
  ['a token that is none', '{"type":"auth","token":"x"}', 'token_invalid'],
  ['a token of 900 kB', `{"type":"auth","token":"${'e'.repeat(900_000)}"}`, 'token_invalid'],
];

for (const [what, text, code] of MISTAKES) {
  attack(`${what} is refused with ${code}, and the connection stays`, async ({ server }) => {
    const socket = await Socket.open(server);
    socket.send(text);
    const refusal = await socket.next(({ type }) => type === 'error');
    assert.deepEqual([refusal.code, typeof refusal.error], [code, 'string']);
    assert.equal((await socket.ask({ type: 'call', method: 'echo', payload: 1 })).payload, 1);
    await socket.close();
  });
}

for (const name of ['*', '>', '.', 'a.>', '$SYS.x', '_INBOX.x', 'a b', 'ünï', '部屋', 'a/b', '../x', '%2F', '{a}', '[?', "'; DROP", '‮']) {
  attack(`the room live:${name} is a room like any other`, async ({ server }) => {
    const named = `live:${name}`;
    const [reader, bystander] = await Promise.all([Socket.open(server), Socket.open(server)]);
    const { seq } = await reader.join(named);
    await bystander.join('live:*-bystander');
    assert.equal((await server.publish(named, { payload: name })).status, 201);
    const [event] = await reader.events(named, 1);
    assert.deepEqual([event.room, event.payload, event.seq], [named, name, seq + 1]);
    assert.ok(!bystander.frames.some(({ type }) => type === 'broadcast'), 'a pattern matched another room');
    await Promise.all([reader.close(), bystander.close()]);
  });
}

attack('a payload nested 400,000 deep passes through as it is', async ({ server, upgrade }) => {
  const deep = '['.repeat(400_000) + ']'.repeat(400_000);
  const busy = room();
  const peer = await upgrade();
  peer.write(frame(TEXT, `{"type":"broadcast","room":"${busy}","payload":${deep},"ref":1}`));
  assert.equal((await peer.json(({ ref }) => ref === 1)).type, 'reply');
  const text = await (await server.events(busy)).text();
  assert.ok(text.includes(deep));
});

attack('bytes that come with the upgrade request are frames of the session', async ({ upgrade }) => {
  const rooms = [room(), room(), room()];
  const joins = rooms.map((name, ref) => request({ type: 'join', room: name, ref }));
  const peer = await upgrade({ behind: Buffer.concat([...joins, request({ type: 'call', method: 'echo', payload: 7, ref: 'last' })]) });
  for (const ref of [0, 1, 2]) assert.equal((await peer.json((frame) => frame.ref === ref)).payload.room, rooms[ref]);
  assert.equal((await peer.json(({ ref }) => ref === 'last')).payload, 7);
});

attack('100,000 joins of one connection stop at the limit, each with an answer', async ({ upgrade }) => {
  const peer = await upgrade();
  const count = 100_000;
  const run = Date.now();
  const sent = (async () => {
    for (let first = 0; first < count; first += 1000) {
      await peer.write(Buffer.concat(Array.from({ length: 1000 }, (_, at) => request({ type: 'join', room: `live:join-${run}-${first + at}`, ref: first + at }))));
    }
  })();
  const tally = {};
  for (let answers = 0; answers < count; answers += 1) {
    const { code, type } = await peer.json(({ ref }) => ref !== undefined);
    tally[code ?? type] = (tally[code ?? type] ?? 0) + 1;
  }
  await sent;
  // The room `all`, which every client is in, counts.
  assert.deepEqual(tally, { reply: 999, too_many_rooms: count - 999 });
});

const BEATING = '[websocket]\nheartbeat_ms = 1000\n';

attack('a message that is left unfinished is answered with 1008', async ({ upgrade }) => {
  const peer = await upgrade();
  peer.write(unfinished(TEXT, '{"type":'));
  // Pongs show that the peer is there: it is not for silence that it is ended.
  const alive = setInterval(() => peer.write(frame(10)), 200);
  try {
    assert.equal(await peer.closeCode(), 1008);
  } finally {
    clearInterval(alive);
  }
}, { config: BEATING });

attack('a header that is left unfinished is answered', async ({ upgrade }) => {
  const peer = await upgrade();
  peer.write(Buffer.from([0x81]));
  assert.ok([1008, 4008].includes(await peer.closeCode()));
}, { config: BEATING });

attack('who sends one message after another is never in the middle of the same one', async ({ upgrade }) => {
  const peer = await upgrade();
  const message = request({ type: 'call', method: 'echo', payload: 'x'.repeat(1000), ref: 1 });
  const half = message.length >> 1;
  peer.write(message.subarray(0, half));
  // Whenever a heartbeat looks, a message is half there; none for as long as a heartbeat.
  const straddling = setInterval(() => peer.write(Buffer.concat([message.subarray(half), message.subarray(0, half)])), 20);
  try {
    let pings = 0;
    while (pings < 4) {
      const next = await peer.frame();
      assert.notEqual(next, null, 'the connection was ended');
      assert.notEqual(next.opcode, CLOSE, next.payload.toString());
      if (next.opcode === PING) pings += 1;
    }
  } finally {
    clearInterval(straddling);
  }
}, { config: BEATING });

attack('a peer that answers no ping is ended with 4008', async ({ upgrade }) => {
  const peer = await upgrade();
  assert.equal(await peer.closeCode(), 4008);
}, { config: BEATING });

attack('100,000 pings from a peer that never reads are not kept', async ({ upgrade }) => {
  const peer = await upgrade();
  peer.socket.pause();
  const flood = peer.write(repeated(frame(PING, 'x'.repeat(125)), 100_000));
  // The server stops reading when its answers are not taken, so the flood does not get through; then it ends the peer.
  await flood;
  await peer.end();
}, { config: BEATING, growth: 32 });

attack('a flood of refused requests from a peer that never reads is not kept', async ({ server, upgrade }) => {
  const peer = await upgrade();
  peer.socket.pause();
  const flood = peer.write(repeated(frame(TEXT, '{"type":"x","ref":1}'), 500_000));
  await flood;
  await peer.end();
  await until(async () => (await server.health()).connections <= 2, 'the peer to be gone');
}, { config: BEATING, growth: 32 });
