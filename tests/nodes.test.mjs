// Several nodes are one system: what a client of one does, clients of the others see, over Redis and over NATS.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { execFile } from 'node:child_process';
import { createServer } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { Balance } from './lib/balance.mjs';
import { call, event, User } from './lib/chat.mjs';
import { Client, WAYS } from './lib/io.mjs';
import { Nodes } from './lib/nodes.mjs';
import { Postgres } from './lib/postgres.mjs';
import { BINARY, room as named, get, until, within } from './lib/server.mjs';
import { Socket } from './lib/socket.mjs';
import { Stream } from './lib/stream.mjs';

const SECRET = `whsec_${Buffer.alloc(32, 7).toString('base64')}`;
const config = (hook) => `
[cluster]
lease_ms = 3000
[chat]
presence_leave_ms = 300
[shutdown]
reconnect_delay_ms = 50
reconnect_spread_ms = 100
grace_ms = 2000
[events]
rooms = ["live:open*", "feed:open*"]
[[events.hooks]]
channel = "orders"
url = "http://127.0.0.1:${hook.address().port}/hook"
secret = "${SECRET}"
`;

test('a bus takes a store that all nodes see, and one secret', async () => {
  const start = (env) => promisify(execFile)(BINARY, ['serve', '--listen', '127.0.0.1:0', '--data', '/nonexistent'], { env: { PATH: process.env.PATH, DENREI_BUS: 'redis://127.0.0.1:1', ...env } });
  await assert.rejects(start({ DENREI_SECRET: 'x'.repeat(32) }), ({ stderr }) => /--store postgres:\/\//.test(stderr));
  await assert.rejects(start({ DENREI_STORE: 'postgres://a@localhost/b' }), ({ stderr }) => /DENREI_SECRET/.test(stderr));
  await assert.rejects(start({ DENREI_STORE: 'postgres://a@localhost/b', DENREI_SECRET: 'x'.repeat(32), DENREI_BUS: 'amqp://x' }), ({ stderr }) => /redis:\/\//.test(stderr));
});

for (const bus of ['redis', 'nats']) {
  describe(`over ${bus}`, () => {
    let nodes;
    let balance;
    let one;
    let two;
    let three;
    let hook;
    let store;
    const hooked = [];
    const open = [];
    const keep = (connection) => { open.push(connection); return connection; };
    const socket = async (server, options) => keep(await Socket.open(server, options));
    const user = async (server, id, ...more) => keep(await User.of(server, id, ...more));

    before(async () => {
      hook = createServer(async (request, response) => {
        let body = '';
        for await (const chunk of request) body += chunk;
        hooked.push({ headers: request.headers, body });
        // The first try fails.
        response.writeHead(hooked.length === 1 ? 500 : 204).end();
      });
      await new Promise((resolve) => { hook.listen(0, '127.0.0.1', resolve); });
      store = await Postgres.start();
      nodes = await Nodes.start({ count: 3, bus, store, config: config(hook) });
      [one, two, three] = nodes.servers;
      balance = await Balance.start(nodes.ports);
    });
    after(async () => {
      for (const connection of open) await connection.close();
      await balance?.close();
      await nodes?.close();
      await store?.close();
      hook?.close();
    });

    test('a room is one, in memory and in the store, whoever publishes and reads', async () => {
      for (const kind of ['live', 'feed', 'signal']) {
        const room = named(kind);
        const reader = await socket(two);
        const { seq, epoch } = await reader.join(room);
        const stream = kind === 'signal' ? undefined : keep(await Stream.open(three, `/sse?room=${room}&format=envelope`));
        await stream?.next((block) => block.event === 'connected');
        const publisher = await socket(one);
        const sent = [];
        for (let at = 0; at < 20; at += 1) sent.push(await publisher.broadcast(room, at));
        const told = await reader.events(room, 20);
        assert.deepEqual(told.map(({ payload }) => payload), Array.from({ length: 20 }, (_, at) => at));
        if (kind === 'signal') continue;
        assert.deepEqual(told.map((each) => each.seq), sent.map((each) => each.seq));
        assert.ok(sent.every((each) => each.epoch === epoch) && seq === 0);
        for (let at = 0; at < 20; at += 1) {
          const block = await stream.next(({ event: name }) => name === 'message');
          assert.equal(JSON.parse(block.data).seq, at + 1);
        }
        // Read on any node, and by any way, it is the same.
        const pages = await Promise.all(nodes.servers.map(async (server) => (await server.events(room, `?since=${epoch}:5&limit=3`)).json()));
        for (const page of pages) assert.deepEqual(page.events.map((each) => [each.seq, each.payload]), [[6, 5], [7, 6], [8, 7]]);
        const again = await (await two.publish(room, { payload: 'x', id: 'once' })).json();
        const twice = await (await three.publish(room, { payload: 'y', id: 'once' })).json();
        assert.deepEqual([again.duplicate, twice.duplicate, again.seq], [false, true, twice.seq]);
      }
    });

    test('a direct message finds its client and its user', async () => {
      const [a, b] = [await user(one, 'dora'), await user(two, 'emil')];
      const [here, there, elsewhere] = [await a.socket(), await b.socket(), keep(await (await user(three, 'emil')).socket())];
      await until(async () => (await here.ask({ type: 'direct', userId: 'emil', payload: 'both' })).payload?.delivered === 2, 'both of emil');
      for (const emil of [there, elsewhere]) await emil.next((frame) => frame.type === 'direct' && frame.payload === 'both');
      const { clientId } = elsewhere.welcome;
      assert.deepEqual((await here.ask({ type: 'direct', targetId: clientId, payload: 'one' })).payload, { delivered: 1 });
      assert.equal((await elsewhere.next((frame) => frame.type === 'direct' && frame.payload === 'one')).from.length, 20);
      assert.equal((await here.ask({ type: 'direct', userId: 'nobody', payload: 1 })).code, 'not_found');
    });

    test('the chat is one: messages, typing, readers, kicks', async () => {
      const room = named('').replace(/^:/, '');
      const [a, b] = [await user(one, 'alice'), await user(two, 'bob')];
      await a.join(room);
      await b.join(room);
      const [alice, bob] = [await a.client(), await b.client()];
      await alice.ask('openRoom', room);
      await bob.ask('openRoom', room);
      const both = async (client) => { while ((await client.event('roomInfo'))[0].members !== 2); };
      await within(10_000, Promise.all([both(alice), both(bob)]), 'the readers of both nodes to be counted');
      const sent = await alice.ask('message', { room, text: 'hello' });
      const [told] = await bob.event('message');
      assert.deepEqual([told.text, told.id, told.sequence], ['hello', sent.id, 1]);
      alice.socket.emit('typing', { room });
      assert.equal((await bob.event('typing'))[0].userId, 'alice');
      bob.socket.emit('markRead', { roomId: room, messageId: sent.id });
      assert.equal((await alice.event('readReceipt'))[0].userId, 'bob');
      await alice.ask('kick', { room, userId: 'bob' });
      const refused = await within(10_000, (async () => {
        for (;;) {
          const answer = await bob.ask('message', { room, text: 'still here' });
          if (answer.status === 'error') return answer;
        }
      })(), 'the kick');
      assert.equal(refused.code, 'not_a_member');
      await alice.ask('message', { room, text: 'he has gone' });
      await new Promise((resolve) => { setTimeout(resolve, 300); });
      assert.ok(!bob.inbox.items.some(({ event: name, args }) => name === 'message' && args[0].text === 'he has gone'), 'he reads no more');
    });

    test('presence is that of all nodes, and a node that dies takes its own only', async () => {
      const room = named('').replace(/^:/, '');
      const [watcher, far, near] = [await user(one, 'watcher'), await user(two, 'paula'), await user(three, 'paula')];
      const only = await user(three, 'quirin');
      for (const each of [watcher, far, only]) await each.join(room);
      const eyes = await watcher.client();
      const next = async (id, status) => within(15_000, (async () => {
        for (;;) {
          const [told] = await eyes.event('presence');
          if (told.userId === id && told.status === status) return told;
        }
      })(), `${id} to be ${status}`);
      const phone = await far.socket();
      await next('paula', 'online');
      const laptop = await near.socket();
      const alone = await only.socket();
      await next('quirin', 'online');
      await call(phone, 'presence.set', { status: 'idle' });
      await call(laptop, 'presence.set', { status: 'idle' });
      await next('paula', 'idle');
      await call(laptop, 'presence.set', { status: 'online' });
      await next('paula', 'online');
      const asked = await watcher.do('GET', '/api/presence?users=paula,quirin');
      assert.deepEqual(asked.presence.map(({ userId, status: is }) => [userId, is]), [['paula', 'online'], ['quirin', 'online']]);
      await three.kill();
      await next('paula', 'idle');
      await next('quirin', 'offline');
      await Promise.allSettled([laptop.close(), alone.close()]);
      await three.again();
      // Who is told goodbye waits for no lease.
      const back = await only.socket();
      await next('quirin', 'online');
      const before = Date.now();
      await three.stop();
      await next('quirin', 'offline');
      assert.ok((await (await get(`${one.http}/readyz`)).json()).others.length === 1, `still known after ${Date.now() - before} ms`);
      await back.close().catch(() => {});
      await three.again();
    });

    test('a token that is taken back ends sessions of all nodes', async () => {
      const admin = await user(one, 'root', '--role', 'admin');
      const bad = await user(two, 'mallory');
      const [there, elsewhere] = [await bad.socket(), keep(await (await user(three, 'mallory')).client())];
      const gone = elsewhere.disconnected();
      const answer = await admin.ask('POST', '/api/admin/revocations', { userId: 'mallory' });
      assert.equal(answer.http, 201);
      await within(10_000, Promise.all([gone, there.closed]), 'both to be ended');
    });

    test('Socket.IO needs no sticky balancer', async () => {
      const room = named('live');
      for (const [way, options] of Object.entries(WAYS)) {
        const client = keep(await Client.open(balance, options));
        await client.ask('join', room);
        for (let at = 0; at < 5; at += 1) {
          const sent = await client.ask('publish', room, 'message', `${way} ${at}`);
          assert.equal(sent.status ?? 'ok', 'ok', JSON.stringify(sent));
        }
        if (way === 'upgrade') {
          await client.upgraded();
          assert.ok((await client.ask('publish', room, 'message', 'upgraded')).seq > 0);
        }
        const publisher = await socket(three);
        await publisher.broadcast(room, `for ${way}`);
        for (;;) if ((await client.event('message'))[0] === `for ${way}`) break;
        assert.deepEqual(client.reasons, []);
        await client.close();
      }
    });

    test('a poll resumes on any node', async () => {
      const room = named('live');
      const { epoch, seq } = await (await one.publish(room, { payload: 0 })).json();
      let next = `${epoch}:${seq}`;
      for (let at = 1; at <= 9; at += 1) {
        const waiting = nodes.servers[at % 3].events(room, `?since=${next}&wait=10`);
        await nodes.servers[(at + 1) % 3].publish(room, { payload: at });
        const page = await (await waiting).json();
        assert.deepEqual(page.events.map(({ payload }) => payload), [at]);
        next = page.next;
      }
    });

    test('other programs publish to rooms, hear them, and have hooks called', async () => {
      const listener = await socket(two);
      await listener.join('live:open.1');
      const said = JSON.stringify({ serverId: 'another', event: 'price', payload: { eur: 1.5 } });
      const heard = within(20_000, listener.next((frame) => frame.event === 'price'), 'the price');
      const saying = setInterval(() => publishOn(nodes.bus, 'ws.broadcast.live:open.1', said), 200);
      const { payload } = await heard.finally(() => clearInterval(saying));
      assert.deepEqual(payload, { eur: 1.5 });
      // What is published in a stored room is given out, too, and its sender answered.
      const publisher = await socket(one);
      assert.ok((await publisher.broadcast('feed:open', 1)).seq > 0);
      const admin = await user(one, 'root', '--role', 'admin');
      const nobody = await user(one, 'alice');
      assert.equal((await nobody.ask('POST', '/api/channels/orders', { n: 1 })).http, 403);
      const before = hooked.length;
      assert.equal((await admin.ask('POST', '/api/channels/orders', { n: 1 })).http, 202);
      await until(() => hooked.some(({ body }, at) => at > before && JSON.parse(body).event.n === 1), 'the hook to be tried again', 20_000);
      const { headers, body } = hooked.at(-1);
      const key = Buffer.from(SECRET.slice(6), 'base64');
      const signed = `${headers['webhook-id']}.${headers['webhook-timestamp']}.${body}`;
      assert.equal(headers['webhook-signature'], `v1,${createHmac('sha256', key).update(signed).digest('base64')}`);
      await new Promise((resolve) => { setTimeout(resolve, 500); });
      const calls = hooked.slice(before).filter((each) => JSON.parse(each.body).event.n === 1);
      assert.deepEqual(new Set(calls.map((each) => each.headers['webhook-id'])).size, 1, 'one node calls it');
    });

    test('a node without its bus serves its own, and says so', async () => {
      assert.deepEqual((await (await get(`${one.http}/readyz`)).json()).status, 'ready');
      await nodes.bus.crash();
      await until(async () => (await (await get(`${one.http}/readyz`)).json()).status === 'degraded', 'the node to notice');
      const room = named('feed');
      const reader = await socket(one);
      await reader.join(room);
      const publisher = await socket(one);
      await publisher.broadcast(room, 'here');
      assert.equal((await reader.events(room, 1))[0].payload, 'here');
      const refused = await one.publish(named('live'), { payload: 1 });
      assert.equal(refused.status, 503);
      await nodes.bus.run();
      await until(async () => (await (await get(`${one.http}/readyz`)).json()).status === 'ready', 'the bus to be back', 20_000);
      const far = await socket(two);
      await far.join(room);
      await publisher.broadcast(room, 'and there');
      assert.equal((await far.events(room, 1))[0].payload, 'and there');
    });
  });
}

/** As another program publishes, which knows nothing of denrei. */
async function publishOn(broker, channel, text) {
  if (broker.constructor.name === 'Redis') await broker.ask('PUBLISH', channel, text);
  else await broker.publish(channel, text);
}

test('a node that is cut off from the bus ends the reading of who was sent away, and the others read on', async (t) => {
  const nodes = await Nodes.start({ count: 2, bus: 'redis', store: 'postgres', link: true, config: '[cluster]\nlease_ms = 3000\n' });
  t.after(() => nodes.close());
  const [one, two] = nodes.servers;
  const room = named('').replace(/^:/, '');
  const [a, b, c] = await Promise.all([User.of(one, 'alice'), User.of(two, 'bob'), User.of(two, 'carol')]);
  for (const user of [a, b, c]) await user.join(room);
  const [bob, carol] = [await b.client(), await c.client()];
  t.after(() => [bob, carol].forEach((client) => client.close()));
  for (const client of [bob, carol]) await client.ask('openRoom', room);
  nodes.links[1].cut();
  await a.do('DELETE', `/api/chat/rooms/${room}/members/bob`);
  await a.say(room, 'he has gone');
  // Its node finds in the database what the bus did not tell.
  const heard = await within(20_000, carol.event('message'), 'the message behind the kick');
  assert.equal(heard[0].text, 'he has gone');
  await bob.event('userLeft');
  assert.ok(!bob.inbox.items.some(({ event: name }) => name === 'message'), 'he reads no more');
});
