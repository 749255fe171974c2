// Why did this user not get it? A trace tells, on one node and on several.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { User, call } from './lib/chat.mjs';
import { Client } from './lib/io.mjs';
import { Nodes } from './lib/nodes.mjs';
import { Server, get, room as named, until } from './lib/server.mjs';
import { Socket } from './lib/socket.mjs';

/** A trace that was begun by an admin. */
class Trace {
  static async begin(admin, what) {
    const answer = await admin.ask('POST', '/api/admin/traces', what);
    assert.equal(answer.http, 201, JSON.stringify(answer));
    return new Trace(admin, answer.id);
  }

  constructor(admin, id) {
    Object.assign(this, { admin, id });
  }

  page(query = '') {
    return this.admin.do('GET', `/api/admin/traces/${this.id}${query}`);
  }

  /** All records, page by page. */
  async records(limit = 1000) {
    const records = [];
    for (let after = ''; ;) {
      const page = await this.page(`?limit=${limit}${after}`);
      records.push(...page.records);
      if (!page.more) return records;
      after = `&after=${page.next}`;
    }
  }

  /** Waits for a record with these fields. */
  async record(fields) {
    let records;
    const fits = (record) => Object.entries(fields).every(([name, value]) => record[name] === value);
    await until(async () => (records = await this.records()).some(fits), JSON.stringify(fields), 20_000).catch((error) => {
      throw new Error(`${error.message} in\n${records.slice(-40).map((record) => JSON.stringify(record)).join('\n')}`);
    });
    return records.find(fits);
  }

  async text() {
    return (await get(`${this.admin.server.http}/api/admin/traces/${this.id}?format=text`, { headers: this.admin.headers })).text();
  }

  end() {
    return this.admin.ask('DELETE', `/api/admin/traces/${this.id}`);
  }
}

describe('a trace', () => {
  let server;
  let admin;
  const users = [];
  const user = async (id, ...more) => { users.push(await User.of(server, id, ...more)); return users.at(-1); };

  before(async () => {
    server = await Server.start({ config: '[limits]\noutbox_bytes = 65536\n' });
    admin = await user('root', '--role', 'admin');
  });
  after(async () => {
    for (const each of users) await each.close();
    await server?.close();
  });

  test('takes the role admin, and says what is wrong with what it is asked', async () => {
    const bob = await user('bob');
    const trace = await Trace.begin(admin, { room: 'live:x' });
    for (const [method, path, body] of [
      ['POST', '/api/admin/traces', { room: 'live:x' }],
      ['GET', '/api/admin/traces'],
      ['GET', `/api/admin/traces/${trace.id}`],
      ['DELETE', `/api/admin/traces/${trace.id}`],
    ]) {
      assert.deepEqual(await bob.ask(method, path, body).then(({ http, code }) => [http, code]), [403, 'forbidden'], `${method} ${path}`);
    }
    const refused = async (method, path, body) => (await admin.ask(method, path, body)).code;
    for (const body of [{}, { room: 'live:x', ttl: 0 }, { room: 'live:x', ttl: 3_600_001 }, { rooms: 'live:x' }]) {
      assert.equal(await refused('POST', '/api/admin/traces', body), 'invalid_field', JSON.stringify(body));
    }
    assert.equal(await refused('POST', '/api/admin/traces', { room: '' }), 'invalid_name');
    for (const query of ['after=5', 'limit=0', 'limit=1001', 'format=xml']) {
      assert.equal(await refused('GET', `/api/admin/traces/${trace.id}?${query}`), 'invalid_field', query);
    }
    assert.deepEqual((await admin.do('GET', '/api/admin/traces')).traces.map(({ id, room }) => [id, room]), [[trace.id, 'live:x']]);
    assert.equal((await trace.end()).http, 204);
    assert.equal((await trace.end()).code, 'not_found');
    assert.equal(await refused('GET', `/api/admin/traces/${trace.id}`), 'not_found');
  });

  test('follows a message from who publishes it to each reader, and never says what it says', async () => {
    const room = named('live');
    const [alice, bob] = [await user('alice'), await user('bob')];
    const [publisher, reader] = [await alice.socket(), await bob.socket()];
    const stream = await (await user('carol')).stream(`/sse?room=${room}`);
    await stream.next((block) => block.event === 'connected');
    await publisher.join(room);
    await reader.join(room);
    const trace = await Trace.begin(admin, { room });
    const sent = await publisher.broadcast(room, 'a secret', { id: 'mine' });
    await reader.events(room, 1);
    await trace.record({ step: 'deliver', outcome: 'written', userId: 'carol', transport: 'sse' });
    const written = await trace.record({ step: 'deliver', outcome: 'written', userId: 'bob' });
    assert.deepEqual([written.seq, written.epoch, written.room, written.event, written.transport], [sent.seq, sent.epoch, room, 'message', 'websocket']);
    assert.ok(written.bytes > 0 && written.connection > 0);
    await trace.record({ step: 'deliver', outcome: 'skipped', userId: 'alice', reason: 'own' });
    const records = await trace.records(2);
    const way = records.filter(({ userId, step }) => userId === 'alice' && step !== 'reader').map(({ step, outcome }) => `${step} ${outcome}`);
    assert.deepEqual(way, ['publish accepted', 'number numbered', 'order next', 'deliver skipped']);
    assert.equal(records.find(({ step }) => step === 'number').messageId, 'mine');
    assert.deepEqual(records.filter(({ step }) => step === 'reader').map(({ outcome, userId }) => [outcome, userId]).sort(), [['there', 'alice'], ['there', 'bob'], ['there', 'carol']]);
    assert.ok(!JSON.stringify(records).includes('secret'));
    const text = await trace.text();
    assert.match(text, /deliver written +live:\S+ 1 the socket has taken it: user bob, connection \d+ \(websocket\)/);
    assert.match(text, /deliver skipped +live:\S+ 1 is not told to who has sent it: user alice/);
    await trace.end();
  });

  test('shows who falls behind reading the log, and a volatile message that is dropped', async () => {
    const room = named('live');
    const chat = named('').replace(/^:/, '');
    const [alice, bob] = [await user('alice'), await user('bob')];
    for (const each of [alice, bob]) await each.join(chat);
    // Deflated, what it is sent would be nothing.
    const [publisher, slow] = [await alice.socket(), await bob.socket({ perMessageDeflate: false })];
    await slow.join(room);
    await slow.join(`chat:${chat}`);
    const trace = await Trace.begin(admin, { userId: 'bob' });
    slow.ws.pause();
    const payload = 'x'.repeat(60_000);
    let last;
    await until(async () => {
      last = await publisher.broadcast(room, payload);
      return (await trace.records()).some(({ outcome }) => outcome === 'fell_behind');
    }, 'the reader to fall behind', 60_000);
    const queued = await trace.record({ step: 'deliver', outcome: 'fell_behind', reason: 'queue_full', room });
    assert.equal(queued.userId, 'bob');
    last = await publisher.broadcast(room, 'behind');
    await trace.record({ step: 'deliver', outcome: 'skipped', reason: 'reads_the_log', seq: last.seq });
    await call(publisher, 'chat.typing', { room: chat });
    await trace.record({ step: 'deliver', outcome: 'skipped', reason: 'volatile', room: `chat:${chat}` });
    slow.ws.resume();
    const began = await trace.record({ step: 'page', outcome: 'began', room });
    assert.equal(began.seq, queued.seq - 1);
    await trace.record({ step: 'page', outcome: 'read', seq: began.seq + 1 });
    await trace.record({ step: 'page', outcome: 'live', seq: last.seq });
    await trace.end();
  });

  test('shows why a banned user reads and writes nothing', async () => {
    const room = named('').replace(/^:/, '');
    const [alice, bob] = [await user('alice'), await user('mallory')];
    await alice.join(room);
    await bob.join(room);
    const socket = await bob.socket();
    await socket.join(`chat:${room}`);
    const trace = await Trace.begin(admin, { room: `chat:${room}`, userId: 'mallory' });
    await trace.record({ step: 'reader', outcome: 'there' });
    await alice.do('PUT', `/api/chat/rooms/${room}/bans/mallory`, {});
    await trace.record({ step: 'reader', outcome: 'expelled', userId: 'mallory' });
    await trace.record({ step: 'reader', outcome: 'left' });
    await assert.rejects(socket.join(`chat:${room}`), /banned|not_a_member/);
    await trace.record({ step: 'reader', outcome: 'refused', reason: 'banned' });
    await assert.rejects(call(socket, 'chat.send', { room, content: 'let me in' }));
    await trace.record({ step: 'publish', outcome: 'refused', reason: 'banned', userId: 'mallory' });
    assert.ok(!JSON.stringify(await trace.records()).includes('let me in'));
    await trace.end();
  });

  test('shows that the policy refuses a message of the chat, whichever way it is sent', async (t) => {
    const own = await Server.start({ config: '[[policy.rules]]\nrooms = "chat:closed"\nread = ["everyone"]\npublish = []\n' });
    t.after(() => own.close());
    const [root, alice] = [await User.of(own, 'root', '--role', 'admin'), await User.of(own, 'alice')];
    const trace = await Trace.begin(root, { room: 'chat:closed' });
    const [socket, client] = [await alice.socket(), await alice.client()];
    await client.connected();
    const message = { room: 'closed', content: 'hello' };
    assert.equal((await alice.ask('POST', '/api/chat/rooms/closed/messages', { content: 'hello', clientMessageId: 'mine' })).code, 'forbidden');
    await assert.rejects(call(socket, 'chat.send', message));
    assert.equal((await client.ask('message', message)).code, 'forbidden');
    const refused = async () => (await trace.records()).filter(({ step, outcome, reason }) => step === 'publish' && outcome === 'refused' && reason === 'forbidden');
    await until(async () => (await refused()).length === 3, 'three refusals');
    const records = await refused();
    assert.deepEqual(records.map(({ userId, event }) => [userId, event]), Array(3).fill(['alice', 'message']));
    assert.equal(records[0].messageId, 'mine');
    for (const user_ of [alice, root]) await user_.close();
  });

  test('shows that a user was not there, and how each connection ended', async () => {
    const room = named('live');
    const bob = await user('bert');
    const trace = await Trace.begin(admin, { userId: 'bert' });
    await trace.record({ step: 'user', outcome: 'absent', count: 0 });
    const socket = await bob.socket();
    await socket.join(room);
    await trace.record({ step: 'session', outcome: 'identified', userId: 'bert' });
    await trace.record({ step: 'reader', outcome: 'began', room });
    await socket.close();
    const ended = await trace.record({ step: 'session', outcome: 'closing' });
    assert.deepEqual([ended.code, ended.reason, ended.transport], [1000, 'by_client', 'websocket']);
    await trace.record({ step: 'session', outcome: 'ended' });
    const { seq } = await (await server.publish(room, { payload: 'too late' })).json();
    await trace.record({ step: 'user', outcome: 'absent', room, seq, userId: 'bert' });
    assert.match(await trace.text(), /the user has no connection on this node: user bert/);
    await trace.end();
  });

  test('follows clients of Socket.IO', async () => {
    const room = named('live');
    const client = await Client.open(server, { transports: ['websocket'] });
    await client.ask('join', room);
    const trace = await Trace.begin(admin, { room });
    await server.publish(room, { payload: 1 });
    const written = await trace.record({ step: 'deliver', outcome: 'written', transport: 'socketio-websocket' });
    assert.equal(written.seq, 1);
    await client.close();
    const closing = await trace.record({ step: 'session', outcome: 'closing', connection: written.connection });
    assert.match(closing.reason, /^transport close$|^client namespace disconnect$/);
    await trace.record({ step: 'reader', outcome: 'left', connection: written.connection });
    await trace.end();
  });

  test('is bounded: in records, in number, and in time', async () => {
    const room = named('signal');
    const trace = await Trace.begin(admin, { room });
    const publisher = await (await user('alice')).socket();
    // Two records each: that it is published, and that nobody reads it.
    for (let at = 0; at < 5500; at += 1) publisher.send({ type: 'broadcast', room, payload: at });
    await publisher.broadcast(room, 'the last');
    const [{ dropped }] = (await trace.page()).nodes;
    assert.equal(dropped, 1002);
    assert.equal((await trace.records()).length, 10_000);
    const others = [];
    for (let at = 1; at < 16; at += 1) others.push(await Trace.begin(admin, { userId: `user-${at}` }));
    const { http, code, error } = await admin.ask('POST', '/api/admin/traces', { room });
    assert.deepEqual([http, code, error], [409, 'conflict', '16 traces are under way: end one of them']);
    await others.pop().end();
    const short = await Trace.begin(admin, { room, ttl: 50 });
    await until(async () => (await admin.ask('GET', `/api/admin/traces/${short.id}`)).http === 404, 'its end');
    for (const each of [trace, ...others]) await each.end();
    assert.deepEqual((await admin.do('GET', '/api/admin/traces')).traces, []);
  });
});

test('a trace follows messages from node to node, and names nodes that do not answer', async (t) => {
  const nodes = await Nodes.start({ count: 2, bus: 'redis', store: 'postgres', config: '[cluster]\nlease_ms = 60000\n' });
  t.after(() => nodes.close());
  const [one, two] = nodes.servers;
  const room = named('live');
  const admins = [await User.of(one, 'root', '--role', 'admin'), await User.of(two, 'root', '--role', 'admin')];
  const bob = await User.of(two, 'bob');
  let reader = await bob.socket();
  await reader.join(room);
  const publisher = await Socket.open(one);
  t.after(async () => { await Promise.allSettled([reader.close(), publisher.close()]); });
  const trace = await Trace.begin(admins[0], { room });
  await trace.record({ step: 'reader', outcome: 'there', node: 'node-2', userId: 'bob' });
  const { seq } = await publisher.broadcast(room, 'hello');
  await reader.events(room, 1);
  await trace.record({ step: 'deliver', outcome: 'written', node: 'node-2', userId: 'bob' });
  // Asked of the other node it is the same.
  const there = new Trace(admins[1], trace.id);
  const way = (await there.records(3)).filter((record) => record.seq === seq && record.step !== 'reader');
  const expected = ['node-1 number numbered', 'node-1 bus told', 'node-2 bus heard', 'node-2 order next', 'node-2 deliver written'];
  const told = way.map(({ node, step, outcome }) => `${node} ${step} ${outcome}`);
  assert.deepEqual(told.filter((each) => expected.includes(each)).sort(), [...expected].sort());
  assert.equal(told[0], 'node-1 number numbered', 'nothing comes before the number');
  assert.deepEqual((await there.page()).nodes.map(({ node }) => node).sort(), ['node-1', 'node-2']);

  // One that has gone is named, and one that comes later is told.
  await two.kill();
  const page = await trace.page();
  assert.deepEqual(page.missing, ['node-2']);
  assert.match(await trace.text(), /node-2 did not answer/);
  await two.again();
  await until(async () => (await trace.page()).missing.length === 0, 'the node that came back to be told', 20_000);
  reader = await bob.socket();
  await reader.join(room);
  const again = await publisher.broadcast(room, 'again');
  await trace.record({ step: 'deliver', outcome: 'written', node: 'node-2', seq: again.seq });

  // Ended anywhere, it has ended everywhere.
  assert.equal((await there.end()).http, 204);
  await until(async () => (await admins[0].ask('GET', `/api/admin/traces/${trace.id}`)).http === 404, 'its end on the first node');
});
