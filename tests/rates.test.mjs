// How often somebody may ask, by connection, user and address, on every transport; and where a client is.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Socket as Engine } from './lib/engine.mjs';
import { Client, WAYS } from './lib/io.mjs';
import { Server, get, room } from './lib/server.mjs';
import { Socket } from './lib/socket.mjs';
import { Stream } from './lib/stream.mjs';
import { token } from './lib/token.mjs';

const SECRET = 'a secret of at least thirty-two bytes';
const PLENTY = '{ capacity = 100000, refill_per_second = 100000 }';
/** Next to nothing flows in while a test lasts. */
const FEW = (capacity) => `{ capacity = ${capacity}, refill_per_second = 0.01 }`;

/** A server whose buckets are these, and whose others never empty. */
async function served(t, rates, { costs = '', top = '' } = {}) {
  const all = { connection: PLENTY, user: PLENTY, address: PLENTY, refusals: PLENTY, ...rates };
  const lines = Object.entries(all).map(([name, rate]) => `${name} = ${rate}`).join('\n');
  const config = `${top}\n[auth]\nsecret = "${SECRET}"\nanonymous = true\n[rates]\n${lines}\n[rates.costs]\n${costs}\n`;
  const server = await Server.start({ config });
  t.after(() => server.close());
  return server;
}

const as = (user) => `/ws?token=${token(user, SECRET)}`;

describe('a connection', () => {
  test('asks so often at once, is told when to ask again, and then may', async (t) => {
    const server = await served(t, { connection: '{ capacity = 5, refill_per_second = 5 }' });
    const [one, other] = [await Socket.open(server), await Socket.open(server)];
    const answers = await Promise.all([1, 2, 3, 4, 5, 6, 7].map((n) => one.ask({ type: 'broadcast', room: 'live:x', payload: n })));
    assert.deepEqual(answers.map(({ type }) => type), [...Array(5).fill('reply'), 'error', 'error']);
    const { code, error, retryAfter } = answers[5];
    assert.deepEqual([code, error], ['rate_limited', 'Rate limit exceeded']);
    assert.ok(retryAfter > 0 && retryAfter <= 200, `${retryAfter}`);
    assert.equal((await other.ask({ type: 'call', method: 'echo', payload: 1 })).type, 'reply', 'others have their own');
    await new Promise((resolve) => setTimeout(resolve, 1000));
    assert.equal((await one.ask({ type: 'call', method: 'echo', payload: 1 })).type, 'reply');
    await Promise.all([one.close(), other.close()]);
  });

  test('that asks on however often it is refused is ended', async (t) => {
    const server = await served(t, { connection: FEW(3), refusals: FEW(10) });
    const one = await Socket.open(server);
    for (let n = 0; n < 30; n += 1) one.send('not even JSON');
    assert.deepEqual(await one.closed, { code: 4429, reason: 'Rate limit exceeded' });
    // The last is why it ends.
    assert.equal(one.frames.filter(({ code }) => code === 'rate_limited').length, 11);
    assert.equal(one.frames.filter(({ code }) => code === 'invalid_message').length, 3);
  });

  for (const [way, options] of Object.entries(WAYS)) {
    test(`of Socket.IO is told in the ack, and ended likewise (${way})`, async (t) => {
      // To join the namespace costs one, too.
      const server = await served(t, { connection: FEW(4), refusals: FEW(5) });
      const one = new Client(server, { ...options, reconnection: false });
      t.after(() => one.close());
      await one.connected();
      const name = room('live');
      assert.equal((await one.join(name)).room, name);
      assert.equal(typeof (await one.publish(name, 'message', 1)).seq, 'number');
      assert.equal((await one.ask('nonsense')).code, 'unknown_type');
      const { code, error, retryAfter } = await one.publish(name, 'message', 2);
      assert.deepEqual([code, error], ['rate_limited', 'Rate limit exceeded']);
      assert.ok(retryAfter > 0);
      for (let n = 0; n < 10; n += 1) one.socket.emit('publish', name, 'message', n);
      await new Promise((resolve) => (one.reasons.length ? resolve() : one.socket.once('disconnect', resolve)));
      assert.match(one.reasons[0], /^transport (close|error)$/);
    });
  }

  test('of Socket.IO pays for asking to join, whatever token it brings', async (t) => {
    const server = await served(t, { connection: FEW(5), refusals: FEW(10) });
    const one = await Engine.open(server);
    const codes = [];
    for (let n = 0; n < 30; n += 1) one.send('40/,{"token":"x.y.z"}');
    for (let packet; (packet = await one.hear()) !== null;) codes.push(JSON.parse(packet.slice(2)).data.code);
    assert.deepEqual(codes, [...Array(5).fill('token_invalid'), ...Array(11).fill('rate_limited')]);
    await one.end();
  });

  test('of an event stream pays for each of its rooms', async (t) => {
    const server = await served(t, { connection: FEW(3) });
    const few = await Stream.open(server, '/sse?room=live:a&room=live:b&room=live:c');
    await few.event('connected');
    few.close();
    const many = await Stream.open(server, '/sse?room=live:a&room=live:b&room=live:c&room=live:d');
    assert.equal(JSON.parse((await many.event('error')).data).code, 'rate_limited');
  });

  test('pays by what it asks, and for which event', async (t) => {
    const server = await served(t, { connection: FEW(10) }, { costs: 'publish = 3\n"publish:typing" = 0\njoin = 4\n' });
    const one = await Socket.open(server);
    await one.join('live:x');
    for (let n = 0; n < 20; n += 1) await one.broadcast('live:x', n, { event: 'typing' });
    await one.broadcast('live:x', 1);
    await one.broadcast('live:x', 2);
    assert.equal((await one.ask({ type: 'broadcast', room: 'live:x', payload: 3 })).code, 'rate_limited');
    await one.broadcast('live:x', 4, { event: 'typing' });
    await one.close();
  });
});

describe('a user', () => {
  test('has one bucket for all connections, transports and requests, also after coming back', async (t) => {
    const server = await served(t, { user: FEW(6) });
    const bearer = { authorization: `Bearer ${token('alice', SECRET)}` };
    const publish = (headers) => server.publish('live:x', { payload: 1 }, headers);
    const one = await Socket.open(server, { path: as('alice') });
    await one.broadcast('live:x', 1);
    const client = new Client(server, { ...WAYS.websocket, auth: { token: token('alice', SECRET) } });
    t.after(() => client.close());
    await client.connected();
    assert.equal(typeof (await client.publish('live:x', 'message', 1)).seq, 'number');
    assert.equal((await publish(bearer)).status, 201);
    assert.equal((await server.events('live:x', '', { headers: bearer })).status, 200);
    await one.close();
    const again = await Socket.open(server, { path: as('alice') });
    await again.broadcast('live:x', 1);
    await again.broadcast('live:x', 1);
    assert.equal((await again.ask({ type: 'broadcast', room: 'live:x', payload: 1 })).code, 'rate_limited');
    assert.equal((await client.publish('live:x', 'message', 1)).code, 'rate_limited');
    for (const answer of [await publish(bearer), await server.events('live:x', '', { headers: bearer })]) {
      assert.equal(answer.status, 429);
      assert.ok(Number(answer.headers.get('retry-after')) >= 1);
      assert.equal((await answer.json()).code, 'rate_limited');
    }
    // Others have theirs.
    const bob = await Socket.open(server, { path: as('bob') });
    await bob.broadcast('live:x', 1);
    await Promise.all([bob.close(), again.close()]);
  });
});

describe('an address', () => {
  const from = (address) => ({ headers: { 'x-forwarded-for': address } });

  test('is where a trusted proxy says, and has one bucket for all strangers there', async (t) => {
    const server = await served(t, { address: FEW(4) }, { top: 'trusted_proxies = ["127.0.0.0/8"]' });
    const ask = async (address) => (await get(`${server.http}/api/messages?token=nonsense`, from(address))).status;
    assert.deepEqual([await ask('192.0.2.1'), await ask('6.6.6.6, 192.0.2.1'), await ask('192.0.2.1')], [401, 401, 401]);
    assert.equal(await ask('192.0.2.1'), 401);
    assert.equal(await ask('192.0.2.1'), 429, 'tokens that are none are paid for');
    assert.equal(await ask('7.7.7.7, 192.0.2.1'), 429, 'what a client claims is nothing');
    assert.equal(await ask('192.0.2.2'), 401);
    await assert.rejects(Socket.open(server, from('192.0.2.1')), /429/);
    for (const way of ['polling', 'websocket']) {
      const path = `/socket.io/?EIO=4&transport=${way}`;
      const answer = way === 'polling'
        ? (await get(`${server.http}${path}`, from('192.0.2.1'))).status
        : await Socket.open(server, { path, ...from('192.0.2.1') }).catch((error) => error.message);
      assert.match(String(answer), /429/, way);
    }
    // Of IPv6 a network is one.
    for (let n = 1; n <= 4; n += 1) assert.equal(await ask(`2001:db8::${n}`), 401);
    assert.equal(await ask('2001:db8::ffff'), 429);
    assert.equal(await ask('2001:db8:0:1::1'), 401);
  });

  test('is the peer\'s where no proxy is trusted', async (t) => {
    const server = await served(t, { address: FEW(4) });
    const statuses = [];
    for (let n = 0; n < 6; n += 1) statuses.push((await get(`${server.http}/health`, from(`192.0.2.${n}`))).status);
    assert.deepEqual([...new Set(statuses)], [200], 'health is for everybody');
    statuses.length = 0;
    for (let n = 0; n < 6; n += 1) statuses.push((await get(`${server.http}/api/messages?token=x`, from(`192.0.2.${n}`))).status);
    assert.deepEqual(statuses, [401, 401, 401, 401, 429, 429]);
  });
});

test('in development mode nothing is limited', async (t) => {
  const server = await Server.start({ config: '[rates]\n' });
  t.after(() => server.close());
  const one = await Socket.open(server);
  const answers = await Promise.all(Array.from({ length: 1000 }, (_, n) => one.ask({ type: 'call', method: 'echo', payload: n })));
  assert.ok(answers.every(({ type }) => type === 'reply'));
  await one.close();
});

test('elsewhere there are limits where nothing is said', async (t) => {
  const server = await Server.start({ config: `[auth]\nsecret = "${SECRET}"\nanonymous = true\n[rates]\n` });
  t.after(() => server.close());
  const one = await Socket.open(server);
  const answers = await Promise.all(Array.from({ length: 150 }, (_, n) => one.ask({ type: 'call', method: 'echo', payload: n })));
  const refused = answers.filter(({ code }) => code === 'rate_limited').length;
  assert.ok(refused > 0 && refused <= 50, `${refused}`);
  await one.close();
});
