// One cluster of Node's servers and one of ours, joined by Redis: everything that can be done in a cluster, both ways.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Emitter } from '@socket.io/redis-emitter';
import { Example } from './lib/example.mjs';
import { Client, WAYS } from './lib/io.mjs';
import { NodeServer, client as redisClient } from './lib/node.mjs';
import { Nodes } from './lib/nodes.mjs';
import { Redis } from './lib/redis.mjs';
import { until, within } from './lib/server.mjs';

let redis;
/** The first is Node's, the second too, and the third ours. */
let servers;
let node;
let ours;
let emitter;

before(async () => {
  redis = await Redis.start();
  [node, ours] = [await NodeServer.start(redis), await Example.start('mixed', '0', redis.url())];
  servers = [node, await NodeServer.start(redis, { publishOnSpecificResponseChannel: true }), ours];
  await node.meets(3);
  emitter = new Emitter(await redisClient(redis));
});

after(async () => {
  await emitter?.redisClient.quit();
  await Promise.all((servers ?? [node, ours]).map((server) => server?.close()));
  await redis?.close();
});

/** A client at each server, in a namespace. */
async function everywhere(t, namespace) {
  const clients = await Promise.all(servers.map((at) => Client.open(at, { namespace, ...WAYS.websocket })));
  t.after(() => { for (const client of clients) client.close(); });
  return clients;
}

/** That each hears this next, and the others nothing before what comes then. */
async function hear(clients, event, ...args) {
  for (const client of clients) assert.deepEqual(await client.event(event), args);
}

/** What has come to a client that it should not have. */
function none(client, event) {
  assert.deepEqual(client.inbox.items.filter((item) => item.event === event), []);
}

/** Waits until a room of a dynamic subscription is heard of by as many servers as have somebody in it. */
async function settled(namespace, room, count) {
  if (namespace !== '/dynamic') return;
  const { pubClient } = node.io.of(namespace).adapter;
  const heard = async () => (await pubClient.sendCommand(['PUBSUB', 'SHARDNUMSUB', `socket.io#${namespace}#${room}#`]))[1];
  await until(async () => await heard() === count, `${count} servers to hear of ${room}`);
}

for (const namespace of ['/', '/dynamic', '/static']) {
  describe(`namespace ${namespace}`, () => {
    test('what a server of Node emits reaches clients of ours', async (t) => {
      const [a, b, c] = await everywhere(t, namespace);
      const nsp = node.io.of(namespace);
      await Promise.all([b.ask('join', ['x', 'y']), c.ask('join', ['x', 'y'])]);
      await settled(namespace, 'x', 2);
      nsp.emit('all', 1, { a: [true, null, 1.5, -7, 'ä'] });
      nsp.emit('binary', Buffer.from([1, 2, 3]), { deep: new Uint8Array([4]) });
      nsp.to('x').emit('room', 'hello');
      nsp.to('nobody').emit('nobody');
      nsp.to(['x', 'y']).except(b.id).emit('once');
      nsp.compress(false).emit('last', 2);
      await hear([a, b, c], 'all', 1, { a: [true, null, 1.5, -7, 'ä'] });
      for (const client of [a, b, c]) {
        const [data, { deep }] = await client.event('binary');
        assert.deepEqual([[...data], [...deep]], [[1, 2, 3], [4]]);
      }
      await hear([b, c], 'room', 'hello');
      await hear([c], 'once');
      await hear([a, b, c], 'last', 2);
      // Nothing else is on its way to it.
      nsp.volatile.to(c.id).emit('you');
      await hear([c], 'you');
      for (const event of ['room', 'nobody', 'once', 'you']) for (const client of [a, b, c]) none(client, event);
    });

    test('what ours emits reaches clients of Node', async (t) => {
      const [a, b, c] = await everywhere(t, namespace);
      await Promise.all([a.ask('join', ['x', 'y']), b.ask('join', ['x', 'y'])]);
      await settled(namespace, 'x', 2);
      const emit = (...args) => c.ask('emit', ...args);
      await emit({}, {}, 'all', 1, { a: [true, null, 1.5, -7, 'ä', 2 ** 33] });
      await emit({}, {}, 'binary', Buffer.from([1, 2, 3]), { deep: new Uint8Array([4]) });
      await emit({ rooms: ['x'] }, {}, 'room', 'hello');
      await emit({ rooms: ['nobody'] }, {}, 'nobody');
      await emit({ rooms: [] }, {}, 'nobody');
      await emit({ rooms: ['x', 'y'], except: [b.id] }, {}, 'once');
      await emit({}, {}, 'last', 2);
      await hear([a, b, c], 'all', 1, { a: [true, null, 1.5, -7, 'ä', 2 ** 33] });
      for (const client of [a, b, c]) {
        const [data, { deep }] = await client.event('binary');
        assert.deepEqual([[...data], [...deep]], [[1, 2, 3], [4]]);
      }
      await hear([a, b], 'room', 'hello');
      await hear([a], 'once');
      await hear([a, b, c], 'last', 2);
      await emit({ rooms: [a.id] }, { volatile: true }, 'you');
      await hear([a], 'you');
      for (const event of ['room', 'nobody', 'once', 'you']) for (const client of [a, b, c]) none(client, event);
    });

    test('sockets join, leave and go, in the order of what is emitted between', async (t) => {
      const [a, b, c] = await everywhere(t, namespace);
      const nsp = node.io.of(namespace);
      nsp.in([b.id, c.id]).socketsJoin(['node', 'and']);
      await until(async () => (await nsp.in('node').fetchSockets()).length === 2, 'both to join');
      for (const room of ['node', 'and']) await settled(namespace, room, 2);
      nsp.to('node').emit('joined');
      await hear([b, c], 'joined');
      nsp.in(c.id).socketsLeave('node');
      await until(async () => (await nsp.in('node').fetchSockets()).length === 1, 'one to leave');
      nsp.to('node').emit('left');
      await hear([b], 'left');

      await c.ask('socketsJoin', { rooms: [a.id, b.id] }, ['ours']);
      await until(async () => (await c.ask('fetchSockets', { rooms: ['ours'] })).sockets.length === 2, 'both to join');
      await settled(namespace, 'ours', 2);
      await c.ask('emit', { rooms: ['ours'] }, {}, 'joined');
      await hear([a, b], 'joined');
      await c.ask('socketsLeave', { rooms: ['ours'] }, ['ours']);
      await c.ask('emit', { rooms: ['ours'] }, {}, 'left');

      nsp.in('and').except(b.id).emit('bye');
      nsp.in(c.id).disconnectSockets();
      assert.equal(await c.disconnected(), 'io server disconnect');
      assert.deepEqual(c.inbox.items.map(({ event }) => event), ['bye']);
      const [d] = [await Client.open(ours, { namespace, ...WAYS.websocket })];
      t.after(() => d.close());
      await d.ask('disconnectSockets', { except: [d.id] }, true);
      // The connection and not the namespace alone.
      assert.ok(['transport close', 'io server disconnect'].includes(await a.disconnected()));
      assert.ok(['transport close', 'io server disconnect'].includes(await b.disconnected()));
      for (const client of [a, b, c]) none(client, 'left');
    });

    test('sockets are fetched, with what is known of them', async (t) => {
      const [a, b, c] = await everywhere(t, namespace);
      await Promise.all([a, b, c].map((client, at) => client.ask('join', [`room ${at}`])));
      await a.ask('set', 'name', { first: 'ada' });
      await c.ask('set', 'name', { first: 'eve' });
      const fetched = await node.io.of(namespace).fetchSockets();
      assert.deepEqual(fetched.map(({ id }) => id).sort(), [a.id, b.id, c.id].sort());
      const far = fetched.find(({ id }) => id === c.id);
      assert.deepEqual([...far.rooms], [c.id, 'room 2']);
      assert.deepEqual(far.data, { name: { first: 'eve' } });
      assert.equal(far.handshake.address, '127.0.0.1');
      assert.equal(far.handshake.query.EIO, '4');
      far.emit('you', 1);
      await hear([c], 'you', 1);
      assert.equal((await node.io.of(namespace).in('room 2').fetchSockets()).length, 1);

      const { sockets, servers: missing } = await c.ask('fetchSockets', {});
      assert.deepEqual([sockets.map(({ id }) => id).sort(), missing], [[a.id, b.id, c.id].sort(), 0]);
      const near = sockets.find(({ id }) => id === a.id);
      assert.deepEqual([near.rooms, near.data], [[a.id, 'room 0'], { name: { first: 'ada' } }]);
      assert.equal(near.handshake.query.EIO, '4');
    });

    test('servers tell and ask one another', async (t) => {
      const [, , c] = await everywhere(t, namespace);
      node.io.of(namespace).serverSideEmit('note', 'hello', 7);
      await hear([c], 'noted', 'hello', 7);
      const asked = new Promise((resolve, reject) => {
        node.io.of(namespace).serverSideEmit('sum', [1, 2], (error, answers) => (error ? reject(error) : resolve(answers)));
      });
      assert.deepEqual(await within(5000, asked, 'answers'), [3, 3]);

      node.notes.length = 0;
      await c.ask('serverSideEmit', 'note', { from: 'ours' });
      await until(() => node.notes.length > 0, 'a note');
      assert.deepEqual(node.notes, [[namespace, { from: 'ours' }]]);
      assert.deepEqual(await c.ask('serverSideAsk', 'sum', [3, 4]), { received: [7, 7], servers: 0 });
    });

    test('clients of all servers answer, and who does not is missed', async (t) => {
      const [a, b, c] = await everywhere(t, namespace);
      [a, b, c].forEach((client, at) => client.socket.on('q', (n, answer) => answer({ n: n + at })));
      const sorted = (answers) => answers.map(({ n }) => n).sort();
      const nsp = node.io.of(namespace);
      assert.deepEqual(sorted(await nsp.timeout(2000).emitWithAck('q', 10)), [10, 11, 12]);
      const { received, ...missing } = await c.ask('ask', {}, 2000, 'q', 20);
      assert.deepEqual([sorted(received), missing], [[20, 21, 22], { missing: 0, servers: 0 }]);

      // One of Node's and one of ours stay silent.
      for (const client of [b, c]) client.socket.off('q');
      const error = await nsp.timeout(500).emitWithAck('q', 10).then(() => null, (error) => error);
      assert.deepEqual(sorted(error.responses), [10], 'those that did are there all the same');
      c.socket.on('q', (n, answer) => answer({ n: n + 2 }));
      const late = await c.ask('ask', {}, 500, 'q', 20);
      assert.deepEqual([sorted(late.received), late.missing, late.servers], [[20, 22], 1, 0]);
      // Binary, and nothing.
      a.socket.off('q').on('q', (n, answer) => answer(Buffer.from([n])));
      b.socket.on('q', (n, answer) => answer());
      c.socket.off('q').on('q', (n, answer) => answer(Buffer.from([n, n])));
      const mixed = await nsp.timeout(2000).emitWithAck('q', 5);
      const shown = mixed.map((value) => (value ? [...value].join() : 'nothing')).sort();
      assert.deepEqual(shown, ['5', '5,5', 'nothing']);
      const one = await nsp.in(c.id).timeout(2000).emitWithAck('q', 6);
      assert.deepEqual(one.map((value) => [...value]), [[6, 6]]);
    });
  });
}

test('an emitter reaches clients of all servers', async (t) => {
  const [a, b, c] = await everywhere(t, '/');
  emitter.emit('all', 1, Buffer.from([9]));
  for (const client of [a, b, c]) {
    const [one, data] = await client.event('all');
    assert.deepEqual([one, [...data]], [1, [9]]);
  }
  emitter.in([a.id, c.id]).socketsJoin('x');
  emitter.to('x').emit('room', { to: 'x' });
  emitter.to(['x', a.id]).except(a.id).volatile.compress(false).emit('not a');
  await hear([a, c], 'room', { to: 'x' });
  await hear([c], 'not a');
  emitter.serverSideEmit('note', 'from the emitter');
  await hear([c], 'noted', 'from the emitter');
  emitter.in('x').socketsLeave('x');
  emitter.to('x').emit('room', 2);
  emitter.emit('last');
  await hear([a, b, c], 'last');
  for (const client of [a, b, c]) none(client, 'room');
  emitter.in(c.id).disconnectSockets(true);
  assert.ok(['transport close', 'io server disconnect'].includes(await c.disconnected()));
  emitter.emit('still here');
  await hear([a, b], 'still here');
});

test('what is no message harms nobody', async (t) => {
  const [, , c] = await everywhere(t, '/');
  const client = await redisClient(redis);
  t.after(() => client.quit());
  const deep = Buffer.concat([Buffer.from([0x93, 0xa1, 0x65]), Buffer.alloc(100_000, 0x91)]);
  const huge = Buffer.from([0x93, 0xa1, 0x65, 0xdd, 0xff, 0xff, 0xff, 0xff]);
  const map = Buffer.from([0xdf, 0xff, 0xff, 0xff, 0xff, 0xa1, 0x65]);
  // Not to the servers of Node, some of which these would end.
  for (const junk of [Buffer.alloc(0), Buffer.from('{'), deep, huge, map, Buffer.from('\xc1')]) {
    await client.publish(Buffer.from('socket.io-request#/#'), junk);
    await client.publish(Buffer.from('socket.io-response#/#'), junk);
  }
  node.io.emit('after');
  await hear([c], 'after');
});

test('a server of ours that goes is not waited for', async (t) => {
  const more = await Example.start('mixed', '0', redis.url());
  t.after(() => more.close());
  await node.meets(4);
  await more.close();
  await node.meets(3);
  assert.equal(typeof (await node.io.fetchSockets()).length, 'number');
});

test('the program relays what emitters and its clients say', async (t) => {
  const config = '[socketio.compat."/shop"]\nadapter = "classic"\n[socketio.compat."/"]\nadapter = "sharded"\nkey = "mine"\n';
  const nodes = await Nodes.start({ count: 2, bus: redis, store: 'postgres', config });
  t.after(() => nodes.close());
  const open = (at, namespace) => Client.open(nodes.servers[at], { namespace, ...WAYS.websocket });
  const [a, b] = await Promise.all([open(0, '/shop'), open(1, '/shop')]);
  const [c, d] = await Promise.all([open(0, '/'), open(1, '/')]);
  t.after(() => { for (const client of [a, b, c, d]) client.close(); });
  assert.deepEqual(await a.join('x'), { room: 'x' });
  emitter.of('/shop').to('x').emit('news', 1);
  await hear([a], 'news', 1);
  assert.deepEqual(await b.ask('publish', 'x', 'said', { by: 'b' }, 2), {});
  await hear([a], 'said', { by: 'b' }, 2);
  assert.equal((await b.join('user:7')).code, 'forbidden');
  assert.equal((await b.ask('publish', 'x', 'disconnect')).code, 'reserved_event');
  emitter.of('/shop').in(b.id).socketsJoin('y');
  emitter.of('/shop').to('y').emit('news', 2);
  await hear([b], 'news', 2);
  assert.deepEqual(await a.ask('leave', 'x'), { room: 'x' });
  await b.ask('publish', 'x', 'said', 'to nobody');
  await c.join('z');
  await until(async () => {
    await d.ask('publish', 'z', 'said', Buffer.from([1]));
    return c.inbox.items.length > 0;
  }, 'a room of another node to be heard of');
  assert.deepEqual([...(await c.event('said'))[0]], [1]);
  none(a, 'said');
});
