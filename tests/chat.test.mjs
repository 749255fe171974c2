// The chat, on every surface: requests, native calls, Socket.IO's namespace /chat, event streams and polls.

import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { EventSource } from 'eventsource';
import { call, event, User } from './lib/chat.mjs';
import { Client, DIALECTS } from './lib/io.mjs';
import { Server, get, until, within } from './lib/server.mjs';

const CONFIG = '[chat]\npresence_leave_ms = 300\nreceipts_members = 3\ncontent_bytes = 1000\n';

let server;
let alice;
let bob;
let eve;
let guest;
let rooms = 0;
/** A room that no other test uses. */
let room;

before(async () => {
  server = await Server.start({ config: CONFIG });
  [alice, bob, eve] = await Promise.all(['alice', 'bob', 'eve'].map((id) => User.of(server, id)));
  guest = await User.of(server);
});
after(() => server.close());
beforeEach(() => {
  rooms += 1;
  room = `room-${rooms}`;
});

/** Ends the connections of a test, whatever became of it. */
async function hangUp() {
  for (const user of [alice, bob, eve, guest]) {
    await user.close();
    user.open = [];
  }
}

const only = (object, ...names) => Object.fromEntries(names.map((name) => [name, object[name]]));

describe('requests', () => {
  test('a message has the fields of the seed, and its number pages', async () => {
    const made = await alice.join(room);
    assert.deepEqual(only(made, 'id', 'kind', 'role', 'members', 'sequence', 'unread'), { id: room, kind: 'public', role: 'owner', members: 1, sequence: 0, unread: 0 });
    const before = Date.now();
    const sent = await alice.ask('POST', `/api/chat/rooms/${room}/messages`, { content: 'one', clientMessageId: 'c1' });
    assert.equal(sent.http, 201);
    assert.ok(sent.timestamp >= before - 1000 && sent.timestamp <= Date.now() + 1000);
    assert.deepEqual(
      only(sent, 'id', 'sequence', 'roomId', 'userId', 'content', 'status', 'type', 'version', 'clientMessageId', 'duplicate'),
      { id: `${room}-1`, sequence: 1, roomId: room, userId: 'alice', content: 'one', status: 'sent', type: 'TEXT', version: 1, clientMessageId: 'c1', duplicate: false },
    );
    const again = await alice.say(room, 'another', { clientMessageId: 'c1' });
    assert.deepEqual(only(again, 'id', 'content', 'duplicate'), { id: `${room}-1`, content: 'one', duplicate: true });
    for (let n = 2; n <= 120; n += 1) await alice.say(room, String(n));
    const page = await alice.do('GET', `/api/chat/rooms/${room}/messages?since=3`);
    assert.deepEqual(page.messages.map(({ sequence }) => sequence), Array.from({ length: 50 }, (_, at) => at + 4));
    assert.deepEqual(only(page, 'sequence', 'hasBefore', 'hasAfter'), { sequence: 120, hasBefore: true, hasAfter: true });
    const most = await alice.do('GET', `/api/chat/rooms/${room}/messages?limit=5000`);
    assert.equal(most.messages.length, 100);
    const around = await alice.do('GET', `/api/chat/rooms/${room}/messages?around=60&limit=4`);
    assert.deepEqual(around.messages.map(({ sequence }) => sequence), [58, 59, 60, 61]);
    const earlier = await alice.do('GET', `/api/chat/rooms/${room}/messages?before=3`);
    assert.deepEqual([earlier.messages.map(({ sequence }) => sequence), earlier.hasBefore], [[1, 2], false]);
  });

  test('what cannot be is refused, and says why', async () => {
    await alice.join(room);
    const at = `/api/chat/rooms/${room}/messages`;
    const refusals = [
      ['POST', at, {}, 400, 'invalid_field'],
      ['POST', at, { content: 5 }, 400, 'invalid_field'],
      ['POST', at, { content: 'x'.repeat(1001) }, 413, 'too_large'],
      ['POST', at, { content: 'x', data: { blob: 'x'.repeat(1001) } }, 413, 'too_large'],
      ['POST', at, { content: 'a\0b' }, 400, 'invalid_field'],
      ['POST', at, { content: 'x', type: 'SYSTEM' }, 403, 'forbidden'],
      ['POST', at, { content: 'x', type: 'VIDEO' }, 400, 'invalid_field'],
      ['POST', at, { content: 'x', mentions: Array(51).fill('bob') }, 400, 'invalid_field'],
      ['POST', at, { content: 'x', replyTo: `${room}-99` }, 404, 'not_found'],
      ['POST', at, { content: 'x', replyTo: 'other-1' }, 404, 'not_found'],
      ['GET', `${at}?since=1&before=2`, undefined, 400, 'invalid_field'],
      ['GET', `${at}?since=x`, undefined, 400, 'invalid_field'],
      ['GET', `${at}/${room}-7`, undefined, 404, 'not_found'],
      ['POST', `/api/chat/rooms/direct-x/join`, undefined, 404, 'not_found'],
      ['POST', '/api/chat/rooms', { room: 'direct-x' }, 400, 'invalid_name'],
      ['POST', '/api/chat/rooms', { room: 'chat:chat:x' }, 400, 'invalid_name'],
      ['PUT', `/api/chat/rooms/${room}/bans/eve`, { seconds: 0 }, 400, 'invalid_field'],
      ['POST', at, { content: 'x'.repeat(600), data: { blob: 'x'.repeat(500) } }, 413, 'too_large'],
      ['POST', '/api/chat/rooms', { room: 'x'.repeat(201) }, 400, 'invalid_name'],
      ['POST', '/api/chat/rooms', { room }, 409, 'conflict'],
      ['POST', '/api/chat/rooms', { userId: 'alice' }, 400, 'invalid_field'],
      ['GET', '/api/chat/rooms/nowhere', undefined, 404, 'not_found'],
      ['POST', '/api/chat/sync', { rooms: { [room]: 'no position' } }, 400, 'invalid_position'],
      ['POST', '/api/chat/sync', [], 400, 'invalid_message'],
      ['PATCH', `/api/chat/rooms/${room}`, { slowMode: 1e12 }, 400, 'invalid_field'],
    ];
    for (const [method, path, body, status, code] of refusals) {
      const answer = await alice.ask(method, path, body);
      assert.deepEqual([answer.http, answer.code], [status, code], `${method} ${path} ${JSON.stringify(body)?.slice(0, 60)}: ${answer.error}`);
    }
    assert.equal((await alice.do('GET', at)).sequence, 0);
  });

  test('edit, delete, react, answer: each tells the present state, and a deletion leaves only its number', async () => {
    await alice.join(room);
    await bob.join(room);
    const at = `/api/chat/rooms/${room}/messages`;
    await alice.say(room, 'secret plan', { mentions: ['bob', 'eve'] });
    assert.equal((await bob.ask('PATCH', `${at}/${room}-1`, { content: 'mine' })).code, 'forbidden');
    const edited = await alice.do('PATCH', `${at}/${room}-1`, { content: 'secret plan B', version: 1 });
    assert.deepEqual(only(edited, 'content', 'version', 'sequence'), { content: 'secret plan B', version: 2, sequence: 1 });
    assert.equal((await alice.ask('PATCH', `${at}/${room}-1`, { content: 'late', version: 1 })).http, 409);
    const thumbs = encodeURIComponent('👍');
    assert.deepEqual((await bob.do('PUT', `${at}/${room}-1/reactions/${thumbs}`)).reactions, [{ emoji: '👍', count: 1, userIds: ['bob'] }]);
    assert.equal((await bob.do('DELETE', `${at}/${room}-1/reactions/${thumbs}`)).reactions, undefined);
    const answer = await bob.say(room, 'I see', { threadId: `${room}-1` });
    assert.deepEqual([answer.threadId, answer.root.thread.replies], [`${room}-1`, 1]);
    const thread = await bob.do('GET', `${at}?threadId=${room}-1`);
    assert.deepEqual(thread.messages.map(({ id }) => id), [`${room}-2`]);
    const deleted = await alice.do('DELETE', `${at}/${room}-1`);
    assert.ok(deleted.deletedAt > 0 && deleted.content === '');
    const log = await (await server.events(`chat:${room}`, '?limit=100', { headers: alice.headers })).text();
    assert.ok(!log.includes('secret'), log);
    assert.equal((await alice.say(room, 'next')).sequence, 3);
  });

  test('a direct room is the same for both, and nobody else’s', async () => {
    const made = await alice.do('POST', '/api/chat/rooms', { userId: 'bob' });
    assert.equal(made.peer, 'bob');
    const same = await bob.do('POST', '/api/chat/rooms', { kind: 'direct', userId: 'alice' });
    assert.deepEqual([same.id, same.peer], [made.id, 'alice']);
    await alice.say(made.id, 'psst');
    assert.equal((await eve.ask('GET', `/api/chat/rooms/${made.id}/messages`)).code, 'not_found');
    assert.equal((await bob.do('GET', '/api/chat/rooms')).rooms.find(({ id }) => id === made.id).unread, 1);
  });

  test('bans, mutes and slow mode hold, and say for how long', async () => {
    await alice.join(room);
    await bob.join(room);
    await alice.do('PATCH', `/api/chat/rooms/${room}`, { slowMode: 60_000, title: 'Slow' });
    await bob.say(room, 'one');
    const slow = await bob.ask('POST', `/api/chat/rooms/${room}/messages`, { content: 'two' });
    assert.deepEqual([slow.http, slow.code], [429, 'slow_mode']);
    assert.ok(slow.retryAfter > 50_000 && slow.retryAfter <= 60_000 && Number(slow.headers.get('retry-after')) > 50);
    await alice.do('PUT', `/api/chat/rooms/${room}/members/bob/mute`, { seconds: 600 });
    assert.equal((await bob.ask('POST', `/api/chat/rooms/${room}/messages`, { content: 'two' })).code, 'muted');
    assert.equal((await bob.ask('DELETE', `/api/chat/rooms/${room}/members/alice`)).code, 'forbidden');
    await alice.do('PUT', `/api/chat/rooms/${room}/bans/bob`, { seconds: 600, reason: 'spam' });
    for (const path of ['', '/messages', '/members']) {
      assert.equal((await bob.ask('GET', `/api/chat/rooms/${room}${path}`)).code, 'banned', path);
    }
    assert.equal((await bob.ask('POST', `/api/chat/rooms/${room}/join`)).code, 'banned');
    assert.deepEqual((await alice.do('GET', `/api/chat/rooms/${room}/bans`)).bans.map(({ userId, by, reason }) => [userId, by, reason]), [['bob', 'alice', 'spam']]);
    await alice.do('DELETE', `/api/chat/rooms/${room}/bans/bob`);
    await bob.join(room);
  });

  test('lists are paged, the latest first', async () => {
    const zoe = await User.of(server, 'zoe');
    for (const n of [1, 2, 3]) {
      await zoe.join(`${room}-${n}`);
      await zoe.say(`${room}-${n}`, 'hello');
    }
    await zoe.say(`${room}-1`, 'again');
    const first = await zoe.do('GET', '/api/chat/rooms?limit=2');
    const second = await zoe.do('GET', `/api/chat/rooms?limit=2&after=${first.next}`);
    assert.deepEqual([...first.rooms, ...second.rooms].map(({ id }) => id), [`${room}-1`, `${room}-3`, `${room}-2`]);
    assert.deepEqual([first.rooms[0].lastMessage.content, second.next], ['again', undefined]);
    let found = [];
    for (let after = '0'; after !== undefined;) {
      const page = await zoe.do('GET', `/api/chat/directory?limit=3&after=${after}`);
      found = found.concat(page.rooms.map(({ id }) => id));
      after = page.next;
    }
    assert.deepEqual([1, 2, 3].filter((n) => !found.includes(`${room}-${n}`)), []);
    assert.equal(new Set(found).size, found.length);
  });
});

describe('live', () => {
  beforeEach(hangUp);
  after(hangUp);

  test('history, then a join at its position: nothing between is missed', async () => {
    const [a, b] = [await alice.socket(), await bob.socket()];
    await call(a, 'chat.join', { room });
    await call(b, 'chat.join', { room });
    await call(a, 'chat.send', { room, content: 'one' });
    const page = await call(b, 'chat.history', { room });
    await call(a, 'chat.send', { room, content: 'two' });
    await b.join(`chat:${room}`, { since: `${page.epoch}:${page.seq}` });
    const { payload, userId, seq } = await event(b, 'message');
    assert.deepEqual([payload.content, payload.sequence, userId, seq], ['two', 2, 'alice', page.seq + 1]);
  });

  test('the sender is answered, and others are told, on every transport alike', async () => {
    await alice.join(room);
    await bob.join(room);
    const [a, b] = [await alice.socket(), await bob.socket()];
    await a.join(`chat:${room}`);
    await b.join(`chat:${room}`);
    const [client, stream] = [await bob.client(), await bob.stream(`/sse?room=chat:${room}&format=envelope`)];
    await client.ask('openRoom', room);
    await stream.next((block) => block.event === 'connected');
    const polled = server.events(`chat:${room}`, '?wait=10', { headers: bob.headers });
    await until(async () => (await server.health()).rooms >= 1, 'the poll');
    const source = new EventSource(`${server.http}/sse?room=chat:${room}&token=${bob.token}`);
    const heard = new Promise((resolve) => { source.addEventListener('message', resolve); });
    await new Promise((resolve) => { source.addEventListener('connected', resolve); });
    const sent = await call(a, 'chat.send', { room, content: 'hello', clientMessageId: 'm1', data: { n: 1.50 } });
    const { data, lastEventId } = await within(10_000, heard, 'the event');
    source.close();
    assert.deepEqual([JSON.parse(data).content, lastEventId], ['hello', `${sent.epoch}:${sent.seq}`]);
    const told = await event(b, 'message');
    assert.deepEqual([told.seq, told.payload.id, told.payload.clientMessageId, told.payload.data], [sent.seq, sent.id, 'm1', { n: 1.5 }]);
    const [spoken] = await client.event('message');
    assert.deepEqual(only(spoken, 'from', 'text', 'room', 'timestamp', 'id', 'sequence', 'seq'), { from: 'alice', text: 'hello', room, timestamp: sent.timestamp, id: sent.id, sequence: 1, seq: sent.seq });
    const block = await stream.next(({ event: name }) => name === 'message');
    assert.equal(JSON.parse(block.data).seq, sent.seq);
    const { events } = await (await polled).json();
    assert.deepEqual(events.map(({ seq, payload }) => [seq, payload.content]), [[sent.seq, 'hello']]);
    assert.equal(a.frames.filter((frame) => frame.event === 'message').length, 0, 'the sender has its answer');
  });

  test('Socket.IO speaks the names of the seed', async () => {
    const [a, b] = [await alice.client(), await bob.client()];
    const joined = await a.ask('joinRoom', room);
    assert.deepEqual(only(joined, 'status', 'id', 'role', 'members'), { status: 'ok', id: room, role: 'owner', members: 1 });
    assert.deepEqual(await a.event('roomInfo'), [{ room, members: 1 }]);
    b.socket.emit('joinRoom', room);
    const [arrival] = await a.event('userJoined');
    assert.deepEqual(only(arrival, 'userId', 'room'), { userId: 'bob', room });
    assert.deepEqual(await a.event('roomInfo'), [{ room, members: 2 }]);
    assert.deepEqual(await b.event('roomInfo'), [{ room, members: 2 }]);

    a.socket.emit('message', { room, text: 'hello' });
    for (const client of [a, b]) {
      const [message] = await client.event('message');
      assert.deepEqual(only(message, 'from', 'text', 'room', 'id', 'sequence'), { from: 'alice', text: 'hello', room, id: `${room}-1`, sequence: 1 });
    }
    const acked = await b.ask('message', { room, text: 'hi', clientMessageId: 'c' });
    assert.deepEqual(only(acked, 'status', 'id', 'sequence', 'duplicate'), { status: 'ok', id: `${room}-2`, sequence: 2, duplicate: false });
    assert.equal((await b.ask('message', { room, text: 'hi', clientMessageId: 'c' })).duplicate, true);

    a.socket.emit('typing', { room });
    assert.deepEqual(await b.event('typing'), [{ userId: 'alice', userName: 'ALICE', room }]);
    a.socket.emit('stopTyping', { room });
    assert.deepEqual(await b.event('stopTyping'), [{ userId: 'alice', room }]);

    a.socket.emit('markRead', { roomId: room, messageId: `${room}-2`, userId: 'alice' });
    const [receipt] = await b.event('readReceipt');
    assert.deepEqual(only(receipt, 'userId', 'messageId'), { userId: 'alice', messageId: `${room}-2` });
    assert.ok(Math.abs(receipt.readAt - Date.now()) < 60_000);
    const spoofed = await a.ask('markRead', { roomId: room, messageId: `${room}-2`, userId: 'bob' });
    assert.deepEqual([spoofed.status, spoofed.code], ['error', 'forbidden']);

    const left = await b.ask('leaveRoom', room);
    assert.equal(left.status, 'ok');
    const [gone] = await a.event('userLeft');
    assert.deepEqual(only(gone, 'userId', 'room', 'reason'), { userId: 'bob', room, reason: 'left' });
    const refused = await b.ask('message', { room, text: 'still here?' });
    assert.deepEqual([refused.status, refused.code], ['error', 'not_a_member']);
    b.socket.emit('message', { room, text: 'without an ack' });
    assert.equal((await b.event('error'))[0].code, 'not_a_member');
    const history = await a.ask('history', { room, since: 0 });
    assert.deepEqual([history.status, history.messages.length], ['ok', 2]);
  });

  test('a guest is its connection', async () => {
    const [one, other] = [await guest.client(), await guest.client({ transports: ['polling'] })];
    await one.ask('joinRoom', room);
    await other.ask('joinRoom', room);
    assert.deepEqual((await one.event('userJoined'))[0], { userId: other.id, room });
    other.socket.emit('message', { room, text: 'hello' });
    assert.equal((await one.event('message'))[0].from, other.id);
    other.socket.emit('typing', { room });
    const { id } = other;
    assert.equal((await one.event('typing'))[0].userId, id);
    other.close();
    assert.equal((await one.event('stopTyping'))[0].userId, id);
    assert.equal((await one.ask('create', { kind: 'private' })).code, 'forbidden');
    assert.equal((await one.ask('markRead', { room, messageId: `${room}-1` })).code, 'forbidden');
  });

  test('a private room is nobody else’s on any transport', async () => {
    const { id } = await alice.do('POST', '/api/chat/rooms', { kind: 'private', members: ['bob'] });
    await alice.say(id, 'secret');
    const e = await eve.socket();
    for (const frame of [
      { type: 'join', room: `chat:${id}` },
      { type: 'broadcast', room: `chat:${id}`, payload: 'hi' },
      { type: 'call', method: 'chat.history', payload: { room: id } },
      { type: 'call', method: 'chat.typing', payload: { room: id } },
      { type: 'call', method: 'chat.room', payload: { room: id } },
      { type: 'call', method: 'chat.react', payload: { room: id, messageId: `${id}-1`, emoji: 'x' } },
      { type: 'call', method: 'chat.invite', payload: { room: id, userId: 'eve' } },
    ]) {
      assert.equal((await e.ask(frame)).code, 'not_found', JSON.stringify(frame));
    }
    assert.equal((await e.ask({ type: 'call', method: 'chat.join', payload: { room: id } })).code, 'not_found');
    assert.equal((await server.events(`chat:${id}`, '', { headers: eve.headers })).status, 404);
    const stream = await eve.stream(`/sse?room=chat:${id}`);
    assert.equal(JSON.parse((await stream.next(({ event: name }) => name === 'error')).data).code, 'not_found');
    const client = await eve.client();
    assert.equal((await client.ask('openRoom', id)).code, 'not_found');
    assert.equal((await client.ask('joinRoom', id)).code, 'not_found');
    // What is sent to it reaches who is in it.
    const b = await bob.socket();
    await b.join(`chat:${id}`);
    await alice.say(id, 'for bob');
    assert.equal((await event(b, 'message')).payload.content, 'for bob');
    assert.equal(e.frames.filter(({ type }) => type === 'broadcast').length, 0);
  });

  test('who is kicked is out at once, on every transport', async () => {
    await alice.join(room);
    await bob.join(room);
    const own = await bob.socket();
    await own.join('user:bob');
    const [native, stream, client] = [await bob.socket(), await bob.stream(`/sse?room=chat:${room}`), await bob.client()];
    await native.join(`chat:${room}`);
    await stream.next((block) => block.event === 'connected');
    await client.ask('openRoom', room);
    const others = await eve.socket();
    await others.join(`chat:${room}`);
    const kicked = alice.do('DELETE', `/api/chat/rooms/${room}/members/bob`);
    await kicked;
    for (let n = 0; n < 20; n += 1) await alice.say(room, `behind his back ${n}`);
    for (let n = 0; n < 20; n += 1) await event(others, 'message');
    const told = await event(native, 'userLeft');
    assert.deepEqual(only(told.payload, 'userId', 'reason', 'by'), { userId: 'bob', reason: 'kicked', by: 'alice' });
    assert.equal((await client.event('userLeft'))[0].reason, 'kicked');
    assert.equal((await event(own, 'roomRemoved')).payload.reason, 'kicked');
    await within(10_000, stream.ended, 'the stream to end');
    assert.equal((await native.next(({ type }) => type === 'error')).code, 'not_a_member');
    // Answers come behind what was sent before them.
    await native.ask({ type: 'call', method: 'echo', payload: 1 });
    await client.ask('rooms', {});
    assert.equal(native.frames.filter((frame) => frame.event === 'message').length, 0);
    assert.equal(client.inbox.items.filter(({ event: name }) => name === 'message').length, 0);
    assert.ok(!stream.text.includes('behind'), stream.text);
    assert.equal((await native.ask({ type: 'leave', room: `chat:${room}` })).code, 'not_found');
  });

  test('who leaves a private room reads it no more on any device; a public one may be read on', async () => {
    const { id } = await alice.do('POST', '/api/chat/rooms', { kind: 'private', members: ['bob'] });
    await bob.join(room);
    const phone = await bob.socket();
    await phone.join(`chat:${id}`);
    await phone.join(`chat:${room}`);
    await bob.do('POST', `/api/chat/rooms/${room}/leave`);
    await bob.do('POST', `/api/chat/rooms/${id}/leave`);
    assert.match((await phone.next(({ type }) => type === 'error')).error, new RegExp(`chat:${id}`));
    await alice.say(id, 'without bob');
    await guest.say(room, 'in public');
    assert.equal((await event(phone, 'message')).payload.content, 'in public');
  });

  test('what is deleted is read nowhere, also by who comes back to where it was', async () => {
    await alice.join(room);
    const watching = await bob.socket();
    const { epoch, seq } = await watching.join(`chat:${room}`);
    await alice.say(room, 'TOP SECRET');
    await event(watching, 'message');
    await alice.do('DELETE', `/api/chat/rooms/${room}/messages/${room}-1`);
    await event(watching, 'messageUpdated');
    const late = await bob.socket();
    await late.join(`chat:${room}`, { since: `${epoch}:${seq}` });
    assert.ok((await event(late, 'message')).payload.deletedAt > 0);
    for (const path of [`?since=${epoch}:${seq}`, '']) {
      assert.ok(!(await (await server.events(`chat:${room}`, path)).text()).includes('SECRET'), path);
    }
  });

  test('who is in no room says nothing there, and a guest may become somebody', async () => {
    const { id } = await alice.do('POST', '/api/chat/rooms', { kind: 'private', members: ['bob'] });
    const b = await bob.socket();
    await b.join(`chat:${id}`);
    const client = await guest.client();
    for (const name of [id, room]) assert.equal((await client.ask('leaveRoom', name)).code, 'not_found');
    assert.equal((await client.ask('auth', bob.token)).userId, 'bob');
    const made = await alice.do('POST', '/api/chat/rooms', { kind: 'private', members: ['bob'] });
    await client.inbox.next(({ event: name, args }) => name === 'roomAdded' && args[0].id === made.id, 'the new room');
    assert.equal(b.frames.filter((frame) => frame.type === 'broadcast').length, 0);
  });

  test('a poll that waits gives nothing to who is kicked meanwhile', async () => {
    const { id } = await alice.do('POST', '/api/chat/rooms', { kind: 'private', members: ['bob'] });
    const { epoch, seq } = await bob.do('GET', `/api/chat/rooms/${id}`);
    const polled = server.events(`chat:${id}`, `?wait=10&since=${epoch}:${seq}`, { headers: bob.headers });
    await until(async () => (await server.health()).rooms >= 1, 'the poll');
    await alice.do('DELETE', `/api/chat/rooms/${id}/members/bob`);
    assert.equal((await polled).status, 404);
  });

  test('typing is told seldom, ends by itself, and is kept nowhere', async () => {
    await alice.join(room);
    await bob.join(room);
    const [a, b] = [await alice.socket(), await bob.socket()];
    await b.join(`chat:${room}`);
    for (let n = 0; n < 10; n += 1) await call(a, 'chat.typing', { room });
    const begun = Date.now();
    await event(b, 'typing');
    const over = await event(b, 'stopTyping');
    const lasted = Date.now() - begun;
    assert.ok(lasted > 4000 && lasted < 9500, `it lasted ${lasted} ms`);
    assert.deepEqual([over.seq, over.payload.userId], [0, 'alice']);
    assert.equal(b.frames.filter((frame) => frame.event === 'typing').length, 0, 'told once');
    // Nor is it told again and again by who begins and stops.
    const first = Date.now();
    for (let n = 0; n < 20; n += 1) {
      await call(a, 'chat.typing', { room });
      await call(a, 'chat.stopTyping', { room });
    }
    await event(b, 'typing');
    const again = b.frames.filter((frame) => frame.event === 'typing').length;
    assert.ok(again <= (Date.now() - first) / 1000, `told ${again + 1} times`);
    b.frames.splice(0);
    await new Promise((resolve) => setTimeout(resolve, 1200));
    // A message ends it; so does the end of the connection.
    await call(a, 'chat.typing', { room });
    await call(a, 'chat.send', { room, content: 'done' });
    await event(b, 'typing');
    await event(b, 'stopTyping');
    await new Promise((resolve) => setTimeout(resolve, 1200));
    await call(a, 'chat.typing', { room });
    await event(b, 'typing');
    await a.close();
    await event(b, 'stopTyping');
    const log = await (await server.events(`chat:${room}`, '', { headers: bob.headers })).json();
    assert.deepEqual(log.events.map((entry) => entry.event), ['userJoined', 'userJoined', 'message']);
  });

  test('marks are told to one’s own devices and to small rooms', async () => {
    await alice.join(room);
    await bob.join(room);
    const [a, phone, b] = [await alice.socket(), await bob.socket(), await bob.socket()];
    await a.join(`chat:${room}`);
    await phone.join('user:bob');
    for (let n = 0; n < 3; n += 1) await alice.say(room, 'm', { mentions: n === 2 ? ['bob'] : [] });
    const marked = await call(b, 'chat.markRead', { roomId: room, messageId: `${room}-2` });
    assert.deepEqual(marked, { roomId: room, sequence: 2, last: 3, unread: 1, mentions: 1 });
    assert.deepEqual((await event(phone, 'readState')).payload, marked);
    const receipt = await event(a, 'readReceipt');
    assert.deepEqual(only(receipt.payload, 'userId', 'messageId', 'sequence'), { userId: 'bob', messageId: `${room}-2`, sequence: 2 });
    assert.equal((await call(b, 'chat.markRead', { room, sequence: 1 })).sequence, 2, 'it never goes back');
    assert.equal((await call(b, 'chat.markUnread', { room, messageId: `${room}-1` })).unread, 3);
    assert.equal((await event(phone, 'readState')).payload.unread, 3);
    await call(b, 'chat.markDelivered', { room, sequence: 3 });
    assert.equal((await event(a, 'deliveryReceipt')).payload.sequence, 3);
    const receipts = await call(a, 'chat.receipts', { room, messageId: `${room}-2` });
    assert.deepEqual(receipts.read.map(({ userId }) => userId), ['alice', 'bob']);
    // Beyond the bound it is asked for.
    for (const id of ['u1', 'u2']) await (await User.of(server, id)).join(room);
    await call(b, 'chat.markRead', { room, sequence: 3 });
    await alice.say(room, 'and then');
    await event(a, 'userJoined');
    await new Promise((resolve) => setTimeout(resolve, 1500));
    assert.equal(a.frames.filter((frame) => frame.event === 'readReceipt').length, 0);
  });

  test('who was away is brought up to date in one call', async () => {
    await alice.join(room);
    await alice.join(`${room}-b`);
    await bob.join(room);
    await bob.join(`${room}-b`);
    const [{ epoch, seq }, other] = [await bob.do('GET', `/api/chat/rooms/${room}`), await bob.do('GET', `/api/chat/rooms/${room}-b`)];
    await alice.say(room, 'one', { mentions: ['bob'] });
    await alice.do('DELETE', `/api/chat/rooms/${room}/messages/${room}-1`);
    for (let n = 0; n < 8; n += 1) await alice.say(`${room}-b`, 'many');
    const wanted = { [room]: `${epoch}:${seq}`, [`${room}-b`]: `${other.epoch}:${other.seq}`, nowhere: `${epoch}:1` };
    const synced = await bob.do('POST', '/api/chat/sync', { rooms: wanted, limit: 5 });
    const found = (id) => synced.rooms.find(({ roomId }) => roomId === id);
    assert.deepEqual(found(room).events.map(({ event: name, seq: at }) => [name, at]), [['message', seq + 1], ['messageUpdated', seq + 2]]);
    assert.ok(found(room).events.every(({ payload }) => payload.deletedAt > 0 && payload.content === ''));
    assert.deepEqual(only(found(room), 'unread', 'mentions', 'sequence'), { unread: 1, mentions: 0, sequence: 1 });
    assert.deepEqual([found(`${room}-b`).gap, found(`${room}-b`).page.messages.map(({ sequence }) => sequence)], [true, [4, 5, 6, 7, 8]]);
    assert.deepEqual(synced.removed, ['nowhere']);
  });

  test('a publish to the log of a room is a message', async () => {
    await alice.join(room);
    const a = await alice.socket();
    const first = await a.broadcast(`chat:${room}`, 'a text', { id: 'p1' });
    const again = await a.broadcast(`chat:${room}`, { content: 'an object' }, { id: 'p1' });
    assert.deepEqual([again.duplicate, again.seq], [true, first.seq]);
    const posted = await server.publish(`chat:${room}`, { payload: { text: 'an object', replyTo: `${room}-1`, clientMessageId: 'p2' } }, alice.headers);
    assert.equal(posted.status, 201);
    const page = await call(a, 'chat.history', { room });
    assert.deepEqual(page.messages.map(({ content, clientMessageId, replyTo }) => [content, clientMessageId, replyTo]), [['a text', 'p1', undefined], ['an object', 'p2', `${room}-1`]]);
    for (const payload of [5, null, [], { content: 5 }, {}]) {
      assert.equal((await server.publish(`chat:${room}`, { payload }, alice.headers)).status, 400, JSON.stringify(payload));
    }
    assert.equal((await server.publish(`chat:${room}`, { payload: 'x' }, eve.headers)).status, 403);
  });
});

describe('presence', () => {
  beforeEach(hangUp);
  after(hangUp);

  const status = async (observer, user) => (await observer.do('GET', `/api/presence?users=${user}`)).presence[0]?.status;

  test('is the best of all devices, for contacts and room mates only', async () => {
    const [carl, dora] = [await User.of(server, 'carl'), await User.of(server, 'dora')];
    await carl.join(room);
    await dora.join(room);
    const watch = await dora.socket();
    await watch.join('user:dora');
    const stranger = await eve.socket();
    await stranger.join('user:eve');
    const told = (wanted) => watch.next((frame) => frame.event === 'presence' && frame.payload.userId === 'carl' && frame.payload.status === wanted, wanted);
    const laptop = await carl.socket();
    await told('online');
    const phone = await carl.client();
    await call(laptop, 'presence.set', { status: 'idle' });
    await new Promise((resolve) => setTimeout(resolve, 600));
    assert.equal(await status(dora, 'carl'), 'online', 'the phone is not idle');
    await phone.ask('presence.set', { status: 'idle' });
    await told('idle');
    await call(laptop, 'presence.set', { status: 'online' });
    await told('online');
    assert.equal(await status(eve, 'carl'), undefined, 'it is no stranger’s');
    phone.close();
    await laptop.close();
    const offline = await told('offline');
    assert.ok(Math.abs(offline.payload.lastSeen - Date.now()) < 30_000);
    assert.equal(stranger.frames.filter((frame) => frame.event === 'presence').length, 0);
    // A contact hears of it too, without a room.
    await carl.do('PUT', '/api/presence/contacts/eve');
    assert.deepEqual((await carl.do('GET', '/api/presence/contacts')).contacts, ['eve']);
    const again = await carl.socket();
    await stranger.next((frame) => frame.event === 'presence' && frame.payload.status === 'online');
    await again.close();
    await Promise.all([watch.close(), stranger.close()]);
  });

  test('does not flicker when a page is loaded again, and hides who wants to be hidden', async () => {
    const [carl, dora] = [await User.of(server, 'carl2'), await User.of(server, 'dora2')];
    await carl.join(room);
    await dora.join(room);
    const watch = await dora.socket();
    await watch.join('user:dora2');
    const next = () => watch.next((frame) => frame.event === 'presence' && frame.payload.userId === 'carl2');
    let page = await carl.socket();
    assert.equal((await next()).payload.status, 'online');
    await page.close();
    page = await carl.socket();
    await new Promise((resolve) => setTimeout(resolve, 900));
    await carl.do('PUT', '/api/presence', { status: 'invisible' });
    assert.equal((await next()).payload.status, 'offline', 'nothing was told in between');
    assert.equal(await status(dora, 'carl2'), 'offline');
    await carl.do('PUT', '/api/presence', { status: 'visible' });
    assert.equal((await next()).payload.status, 'online');
    await carl.do('PUT', '/api/presence', { status: 'invisible' });
    await next();
    // It is kept.
    await page.close();
    await new Promise((resolve) => setTimeout(resolve, 900));
    page = await carl.socket();
    await new Promise((resolve) => setTimeout(resolve, 600));
    assert.equal(await status(dora, 'carl2'), 'offline');
    assert.equal((await carl.ask('PUT', '/api/presence', { status: 'idle' })).code, 'invalid_field');
    await Promise.all([page.close(), watch.close()]);
  });
});

for (const [name, { connect, config }] of Object.entries(DIALECTS)) {
  test(`the chat over ${name}`, async () => {
    const own = await Server.start({ config: `[socketio]\n${config}` });
    try {
      const open = (transport) => Client.open(own, { namespace: '/chat', connect, transports: [transport] });
      const [one, other] = [await open('websocket'), await open('polling')];
      for (const client of [one, other]) assert.equal((await client.ask('joinRoom', 'r')).status, 'ok');
      one.socket.emit('message', { room: 'r', text: 'hello', data: { n: 1.5, none: null } });
      const [message] = await other.event('message');
      assert.deepEqual(only(message, 'text', 'room', 'sequence', 'seq', 'data'), { text: 'hello', room: 'r', sequence: 1, seq: 1, data: { n: 1.5, none: null } });
      const { messages, status } = await other.ask('history', { room: 'r' });
      assert.deepEqual([status, messages.map(({ content }) => content)], ['ok', ['hello']]);
      one.close();
      other.close();
    } finally {
      await own.close();
    }
  });
}

test('who may only read makes no room by joining it', async () => {
  const ruled = await Server.start({ config: '[[policy.rules]]\nrooms = "chat:*"\nread = ["users"]\npublish = ["role:staff"]\n' });
  try {
    const [boss, worker] = [await User.of(ruled, 'boss', '--role', 'staff'), await User.of(ruled, 'worker')];
    assert.equal((await worker.ask('POST', '/api/chat/rooms/squat/join')).code, 'not_found');
    assert.equal((await boss.join('made')).role, 'owner');
    assert.equal((await worker.join('made')).role, 'member');
  } finally {
    await ruled.close();
  }
  await assert.rejects(Server.start({ config: '[classes.chat]\nkeep = "memory"\n' }), /the chat is kept in the store/);
});

test('the rules of the application hold in the chat too', async () => {
  const ruled = await Server.start({ config: '[[policy.rules]]\nrooms = "chat:staff-*"\nread = ["users"]\npublish = ["role:staff"]\n[[policy.rules]]\nrooms = "chat:secret-*"\nread = ["role:staff"]\npublish = ["role:staff"]\n[chat]\ncreate_on_join = false\n' });
  try {
    const [boss, worker] = [await User.of(ruled, 'boss', '--role', 'staff'), await User.of(ruled, 'worker')];
    assert.equal((await boss.ask('POST', '/api/chat/rooms/staff-1/join')).code, 'not_found');
    await boss.do('POST', '/api/chat/rooms', { room: 'staff-1' });
    await worker.join('staff-1');
    await boss.say('staff-1', 'an order');
    assert.equal((await worker.do('GET', '/api/chat/rooms/staff-1/messages')).messages.length, 1);
    for (const [method, path, body] of [['POST', '/messages', { content: 'no' }], ['PUT', '/messages/staff-1-1/reactions/x'], ['POST', '/typing']]) {
      assert.equal((await worker.ask(method, `/api/chat/rooms/staff-1${path}`, body)).code, 'forbidden', path);
    }
    assert.equal((await worker.ask('POST', '/api/chat/rooms', { room: 'staff-2' })).code, 'forbidden');
    // What may not be read is in no list.
    await boss.do('POST', '/api/chat/rooms', { room: 'secret-1' });
    await boss.do('POST', '/api/chat/rooms/secret-1/members', { userId: 'worker' });
    await boss.say('secret-1', 'EYES ONLY');
    for (const [method, path, body] of [['GET', '/rooms'], ['GET', '/directory'], ['POST', '/sync', {}]]) {
      assert.ok(!JSON.stringify(await worker.ask(method, `/api/chat${path}`, body)).includes('secret-1'), path);
    }
    const w = await worker.socket();
    assert.equal((await w.ask({ type: 'call', method: 'chat.send', payload: { room: 'staff-1', content: 'no' } })).code, 'forbidden');
    await w.close();
    const preflight = await get(`${ruled.http}/api/chat/rooms/staff-1`, { method: 'OPTIONS', headers: { origin: ruled.http, 'access-control-request-method': 'PATCH' } });
    assert.match(preflight.headers.get('access-control-allow-methods'), /PATCH.*DELETE/);
  } finally {
    await ruled.close();
  }
});
