// Namespace `/` as a front-end uses it that needs no server code: `join`, `leave` and `publish`, by each of Socket.IO's
// own clients and each of its ways, beside every other transport.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Client, DIALECTS, WAYS } from './lib/io.mjs';
import { Server, room, until } from './lib/server.mjs';
import { Socket } from './lib/socket.mjs';
import { Stream } from './lib/stream.mjs';

const upTo = (last, first = 1) => Array.from({ length: last - first + 1 }, (_, at) => first + at);
const pollAll = async (server, name, since) => (await (await server.events(name, `?since=${since}&limit=500&wait=20`)).json()).events;

for (const [dialect, { connect, config }] of Object.entries(DIALECTS)) {
  for (const [way, options] of Object.entries(WAYS)) {
    describe(`${dialect}, ${way}`, () => {
      let server;
      const clients = [];
      const open = async (more) => {
        clients.push(await Client.open(server, { connect, ...options, ...more }));
        return clients.at(-1);
      };
      before(async () => {
        server = await Server.start({ config: `[socketio]\n${config}` });
      });
      after(async () => {
        for (const client of clients) client.close();
        await server.close();
      });

      for (const kind of ['live', 'feed']) {
        test(`joins, publishes, reads and leaves (${kind})`, async () => {
          const [name, one, other] = [room(kind), await open(), await open()];
          const { epoch, ...joined } = await one.join(name);
          assert.deepEqual(joined, { room: name, seq: 0 });
          assert.match(epoch, /^[^:]+$/);
          assert.deepEqual(await other.publish(name, 'greeting', { text: 'hé😀' }), { seq: 1, epoch, duplicate: false });
          const [payload, { timestamp, from, ...meta }] = await one.event('greeting');
          assert.deepEqual(payload, { text: 'hé😀' });
          assert.deepEqual(meta, { room: name, seq: 1, epoch });
          assert.equal(typeof timestamp, 'number');
          if (other.engine.protocol === 4) assert.equal(from, other.id);
          assert.deepEqual(await one.ask('leave', name), { room: name });
          await other.publish(name, 'greeting', 'unheard');
          await one.publish(name, 'greeting', 'mine');
          assert.deepEqual(one.inbox.items, []);
        });
      }

      test('does not get its own, and has told nobody its secret id', async () => {
        const [name, one, other] = [room(), await open(), await open()];
        await Promise.all([one.join(name), other.join(name)]);
        for (const n of upTo(10)) await one.publish(name, 'message', n);
        const events = await other.events('message', 10);
        assert.deepEqual(events.map(([payload]) => payload), upTo(10));
        assert.ok(events.every(([, { from }]) => from.length === 20 && from !== one.engine.id));
        assert.deepEqual(one.inbox.items, []);
      });

      test('gets what it missed in order, then what is live', async () => {
        const [name, one] = [room('feed'), await open()];
        const { epoch } = await one.publish(name, 'message', 0);
        for (const n of upTo(200)) await server.publish(name, { payload: n });
        const joined = await one.join(name, `${epoch}:1`);
        assert.deepEqual(joined, { room: name, epoch, seq: 201 });
        await server.publish(name, { payload: 201 });
        const events = await one.events('message', 201);
        assert.deepEqual(events.map(([payload, { seq }]) => [payload, seq]), upTo(201).map((n) => [n, n + 1]));
      });

      test('is told of what cannot be replayed', async () => {
        const [name, one] = [room(), await open()];
        await server.publish(name, { payload: 1 });
        const { epoch } = await one.join(name, 'elsewhere:7');
        assert.deepEqual(await one.event('gap'), [{ room: name, from: 0, to: 0, epoch }]);
        await server.publish(name, { payload: 2 });
        assert.deepEqual((await one.events('message', 2)).map(([payload, { seq }]) => [payload, seq]), [[1, 1], [2, 2]]);
      });

      test('sends bytes that arrive as bytes, and elsewhere as base64', async () => {
        const [name, one, other, native] = [room(), await open(), await open(), await Socket.open(server)];
        const stream = await Stream.open(server, `/sse?room=${name}`);
        await stream.event('connected');
        await Promise.all([other.join(name), native.join(name)]);
        const bytes = Buffer.from([0, 1, 2, 250, 255]);
        await one.publish(name, 'file', { head: bytes, rest: [Buffer.alloc(0), 'x'] });
        const [payload, { room: where }] = await other.event('file');
        assert.ok(Buffer.isBuffer(payload.head), 'a Buffer');
        assert.deepEqual(payload, { head: bytes, rest: [Buffer.alloc(0), 'x'] });
        assert.equal(where, name);
        const plain = { head: { $binary: 'AAEC+v8=' }, rest: [{ $binary: '' }, 'x'] };
        assert.deepEqual((await native.events(name, 1))[0].payload, plain);
        assert.deepEqual(JSON.parse((await stream.event('file')).data), plain);
        await native.broadcast(name, { $binary: 'AAEC+v8=' });
        assert.deepEqual((await other.event('message'))[0], bytes);
        await server.publish(name, { payload: { $binary: 'no base64!' } });
        assert.deepEqual((await other.event('message'))[0], { $binary: 'no base64!' });
        stream.close();
        await native.close();
      });

      test('publishes once however often it sends, if it says the id', async () => {
        const [name, one] = [room('feed'), await open()];
        const first = await one.publish(name, 'message', 'x', { id: 'a' });
        assert.deepEqual(await one.publish(name, 'message', 'x', { id: 'a' }), { ...first, duplicate: true });
        assert.equal((await one.publish(name, 'message', 'x', { id: 'b' })).seq, 2);
      });

      test('is told what it asked wrongly, and stays', async () => {
        const one = await open();
        const code = async (...words) => (await one.ask(...words)).code;
        assert.equal(await code('join'), 'invalid_field');
        assert.equal(await code('join', 7), 'invalid_field');
        assert.equal(await code('join', ''), 'invalid_name');
        assert.equal(await code('join', 'x'.repeat(256)), 'invalid_name');
        assert.equal(await code('join', 'live:x', 'nonsense'), 'invalid_position');
        assert.equal(await code('join', 'inbox:somebody'), 'forbidden');
        assert.equal(await code('join', 'user:somebody'), 'forbidden');
        assert.equal(await code('leave', 'live:never'), 'not_found');
        assert.equal(await code('leave', { room: 'x' }), 'invalid_field');
        assert.equal(await code('publish', 'live:x', 'message'), 'invalid_field');
        assert.equal(await code('publish', 'live:x', 7, 'payload'), 'invalid_field');
        assert.equal(await code('publish', 'live:x', 'message', 1, 'options'), 'invalid_field');
        assert.equal(await code('publish', 'live:x', 'message', 1, {}, 1), 'invalid_field');
        for (const reserved of ['connect', 'connect_error', 'disconnect', 'disconnecting', 'newListener', 'removeListener', 'gap', 'error', 'open', 'server:x']) {
          assert.equal(await code('publish', 'live:x', reserved, 1), 'reserved_event', reserved);
        }
        assert.equal(await code('publish', 'doc:x', 'message', 1), 'forbidden');
        assert.equal(await code('publish', 'sio:/:x', 'message', 1), 'forbidden');
        assert.equal(await code('publish', 'chat:x', 'rename', 1), 'forbidden');
        assert.equal(await code('nonsense', 1), 'unknown_type');
        // Without an ack nobody is told.
        one.socket.emit('join', 7);
        one.socket.emit('nonsense');
        assert.equal((await one.join(room())).seq, 0);
      });

      test('says what it likes right after it has come, and all of it counts, in its order', async () => {
        const [name, reader] = [room(), await open()];
        await reader.join(name);
        const writer = new Client(server, { connect, ...options });
        clients.push(writer);
        for (const n of upTo(100)) writer.socket.emit('publish', name, 'message', n);
        const events = await reader.events('message', 100);
        assert.deepEqual(events.map(([payload, { seq }]) => [payload, seq]), upTo(100).map((n) => [n, n]));
      });

      test('has one order with readers of every other transport', async () => {
        const [name, each] = [room(), 40];
        const [readers, writers, native] = [[await open(), await open()], [await open(), await open()], await Socket.open(server)];
        const { epoch } = await native.join(name);
        const stream = await Stream.open(server, `/sse?room=${name}&format=envelope`);
        await stream.event('connected');
        await Promise.all(readers.map((reader) => reader.join(name)));
        const writing = [];
        for (const n of upTo(each)) {
          writers.forEach((writer, at) => writing.push(writer.publish(name, 'message', [at, n])));
          writing.push(server.publish(name, { payload: ['post', n] }));
        }
        await Promise.all(writing);
        const total = 3 * each;
        const truth = (await pollAll(server, name, `${epoch}:0`)).map(({ seq, payload }) => [seq, payload]);
        assert.equal(truth.length, total);
        for (const reader of readers) {
          assert.deepEqual((await reader.events('message', total)).map(([payload, { seq }]) => [seq, payload]), truth);
        }
        assert.deepEqual((await native.events(name, total)).map(({ seq, payload }) => [seq, payload]), truth);
        const streamed = (await stream.events('message', total)).map(({ data }) => JSON.parse(data));
        assert.deepEqual(streamed.map(({ seq, payload }) => [seq, payload]), truth);
        for (const at of [0, 1]) {
          const said = truth.filter(([, [who]]) => who === at).map(([, [, n]]) => n);
          assert.deepEqual(said, upTo(each), 'each writer in its own order');
        }
        stream.close();
        await native.close();
      });

      test('carries long messages both ways', async () => {
        const [name, one, other] = [room(), await open(), await open()];
        await other.join(name);
        const [text, bytes] = ['é😀 '.repeat(60_000), Buffer.alloc(300_000, 'abc')];
        await one.publish(name, 'long', text);
        await one.publish(name, 'long', bytes);
        assert.deepEqual((await other.events('long', 2)).map(([payload]) => payload), [text, bytes]);
      });

      test('takes names that are strange', async () => {
        const [one, other] = [await open(), await open()];
        for (const [name, event] of [['live:*.> é"\\', '"é😀\\'], ['__proto__', 'constructor'], ['a,b', 'toString']]) {
          await one.join(name);
          await other.publish(name, event, {});
          assert.deepEqual((await one.event(event))[1].room, name);
        }
      });
    });
  }
}

describe('a room that Socket.IO shares', () => {
  let server;
  before(async () => {
    server = await Server.start();
  });
  after(() => server.close());

  test('does not throw its clients out with more attachments than they take', async () => {
    const [name, reader, native] = [room(), await Client.open(server), await Socket.open(server)];
    await reader.join(name);
    const many = Array.from({ length: 11 }, () => ({ $binary: 'AA==' }));
    await native.broadcast(name, many);
    await native.broadcast(name, 'next');
    const [[payload], [next]] = await reader.events('message', 2);
    assert.deepEqual(payload, many);
    assert.equal(next, 'next');
    await native.broadcast(name, many.slice(1));
    assert.deepEqual((await reader.event('message'))[0], many.slice(1).map(() => Buffer.alloc(1)));
    reader.close();
    await native.close();
  });

  test('passes what only looks like an attachment', async () => {
    const [name, reader, writer] = [room(), await Client.open(server), await Client.open(server)];
    await reader.join(name);
    for (const payload of [{ _placeholder: true, num: 0 }, [{ _placeholder: true, num: 'concat' }], { $binary: 1 }, '$binary', { $binary: 'AA==', more: 1 }]) {
      await writer.publish(name, 'message', payload);
      assert.deepEqual((await reader.event('message'))[0], payload);
    }
    // Beside binary it cannot be told from a reference to it, of which there may be one for each: a short message would
    // become a long one.
    const careless = await Client.open(server);
    careless.socket.emit('publish', name, 'message', [{ _placeholder: true, num: 0 }, Buffer.from('x')]);
    await careless.disconnected();
    await writer.publish(name, 'message', 'next');
    assert.equal((await reader.event('message'))[0], 'next');
    for (const client of [reader, writer, careless]) client.close();
  });

  test('forgets a client when it goes, by whatever way', async () => {
    const idle = await server.health();
    for (const options of Object.values(WAYS)) {
      const clients = await Promise.all(upTo(10).map(() => Client.open(server, options)));
      await Promise.all(clients.map((client) => client.join(room())));
      for (const client of clients) client.close();
    }
    await until(async () => {
      const { connections, rooms } = await server.health();
      return connections <= idle.connections && rooms <= idle.rooms;
    }, 'the counts to go back');
  });
});
