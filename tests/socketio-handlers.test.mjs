// The handlers of the library, as Socket.IO's own clients meet them: namespaces, rooms, emits, and the examples.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { after, before, describe, test } from 'node:test';
import * as msgpack from 'socket.io-msgpack-parser';
import { Example } from './lib/example.mjs';
import { WAYS } from './lib/io.mjs';
import { get, until, within } from './lib/server.mjs';
import { Socket as Native } from './lib/socket.mjs';
import { askAll, beside, heard, opener, others, refusal, serve, server, several, sleep, upTo } from './lib/tour.mjs';

const io2 = createRequire(import.meta.url)('socket.io-client-2');

serve('tower', 'msgpack');

describe('the router in somebody else\'s server', () => {
  for (const [how, at] of [['axum::serve', () => server], ['a tower service', () => others.tower]]) {
    test(`stands beside other routes (${how})`, async () => {
      const answer = await get(`${at().http}/hello`);
      assert.deepEqual([answer.status, await answer.text()], [200, 'hello']);
      assert.equal((await get(`${at().http}/socket.io/`)).status, 400);
      const nowhere = await get(`${at().http}/nowhere`);
      assert.deepEqual([nowhere.status, await nowhere.text()], [404, 'nothing']);
    });

    for (const [way, options] of Object.entries(WAYS)) {
      test(`serves clients (${how}, ${way})`, async (t) => {
        const one = await opener(t, '/binary')({ at: at(), ...options });
        const long = { text: 'x'.repeat(300_000), bytes: Buffer.alloc(70_000, 7) };
        assert.deepEqual(await one.ask('echo', long), long);
        if (way === 'upgrade') await one.upgraded();
        assert.equal(one.transport, way === 'polling' ? 'polling' : 'websocket');
        assert.deepEqual(await Promise.all(upTo(50).map((n) => one.ask('echo', n))), upTo(50));
        assert.deepEqual((await one.events('echoed', 51)).map(([value]) => value), [long, ...upTo(50)]);
      });
    }
  }
});

describe('a namespace', () => {
  test('is one of several on a connection, with an id of its own', async (t) => {
    const one = await opener(t)();
    const other = await beside(one, '/rooms');
    assert.notEqual(other.id, one.id);
    assert.equal(await other.timeout(5000).emitWithAck('ping'), 'pong');
    assert.equal((await one.ask('who am i')).id, one.id);
    other.disconnect();
    assert.equal((await one.ask('who am i')).id, one.id);
  });

  test('of a pattern is made for who asks, and apart from its neighbours', async (t) => {
    const open = opener(t, '/tenant-7');
    const [one, other, neighbour] = [await open(), await open(), await opener(t, '/tenant-8')()];
    assert.deepEqual(await one.event('tenant'), ['7']);
    assert.deepEqual(await neighbour.event('tenant'), ['8']);
    one.socket.emit('tell', 'us');
    assert.deepEqual([await one.event('told'), await other.event('told')], [['us'], ['us']]);
    neighbour.socket.emit('tell', 'them');
    assert.deepEqual(await neighbour.event('told'), ['them']);
  });

  test('of a function is there where it says yes', async (t) => {
    const open = opener(t, '/club-chess');
    assert.equal((await refusal(server, { namespace: '/club-chess' })).message, 'members only');
    assert.deepEqual(await (await open({ auth: { member: true } })).event('club'), ['/club-chess']);
    assert.equal((await refusal(server, { namespace: '/club-chess' })).message, 'members only');
    assert.equal((await refusal(server, { namespace: '/club-golf' })).message, 'Invalid namespace');
  });

  for (const namespace of ['/nowhere', '/tenant-', '/tenant-1/2', '/roomsx']) {
    test(`that there is not is refused (${namespace})`, async (t) => {
      assert.equal((await refusal(server, { namespace })).message, 'Invalid namespace');
      const one = await opener(t)();
      const other = one.socket.io.socket(namespace);
      const error = await within(5000, new Promise((resolve) => other.once('connect_error', resolve)), 'the no');
      assert.equal(error.message, 'Invalid namespace');
      assert.equal((await one.ask('who am i')).id, one.id, 'and the connection stays');
    });
  }
});

describe('a room', () => {
  test('is each socket\'s own id', async (t) => {
    const open = opener(t, '/rooms');
    const [one, two] = [await open(), await open()];
    assert.deepEqual(await one.ask('join', []), [one.id]);
    assert.deepEqual(await two.ask('join', []), [two.id]);
    one.socket.emit('say', { to: [two.id], text: 'to you' });
    await heard(one);
    assert.deepEqual(await heard(two), ['to you']);
    const answer = await two.ask('join', [one.id]);
    assert.deepEqual(answer, { status: 'error', message: 'this room belongs to somebody else' });
  });

  test('reaches each socket once, however many rooms match', async (t) => {
    const open = opener(t, '/rooms');
    const [sender, ab, a, b, none] = await several(open, 5);
    await Promise.all([sender.ask('join', ['a', 'b']), ab.ask('join', ['a', 'b', 'c']), a.ask('join', ['a']), b.ask('join', ['b'])]);
    const all = [sender, ab, a, b, none];
    const said = async (event, message) => {
      sender.socket.emit(event, message);
      await sender.ask('ping');
      return Promise.all(all.map(async (one) => (await heard(one)).length));
    };
    assert.deepEqual(await said('say', { to: ['a', 'b', 'c'], text: 1 }), [0, 1, 1, 1, 0], 'not the sender');
    assert.deepEqual(await said('announce', { to: ['a', 'b', 'c'], text: 1 }), [1, 1, 1, 1, 0]);
    assert.deepEqual(await said('say', { to: ['a', ab.id, none.id], text: 1 }), [0, 1, 1, 0, 1], 'rooms and ids');
    assert.deepEqual(await said('announce', { to: ['a', 'b'], except: ['c'], text: 1 }), [1, 0, 1, 1, 0]);
    assert.deepEqual(await said('say', { to: ['a', 'b'], except: [a.id, 'c'], text: 1 }), [0, 0, 0, 1, 0]);
    assert.deepEqual(await said('broadcast', 1), [0, 1, 1, 1, 1]);
    assert.deepEqual(await said('say', { to: [], text: 1 }), [0, 0, 0, 0, 0], 'nobody is not everybody');
    assert.deepEqual(await said('say', { to: ['no such room'], text: 1 }), [0, 0, 0, 0, 0]);
    assert.deepEqual(await ab.ask('leave', 'b'), [ab.id, 'a', 'c']);
    assert.deepEqual(await said('say', { to: ['b'], text: 1 }), [0, 0, 0, 1, 0]);
  });

  for (const [way, options] of Object.entries(WAYS)) {
    test(`has all of 1,000 messages in order (${way})`, async (t) => {
      const open = opener(t, '/rooms');
      const [writer, ...readers] = await several(open, 5, options);
      await Promise.all(readers.map((reader) => reader.ask('join', ['feed'])));
      for (const text of upTo(1000)) writer.socket.emit('say', { to: ['feed'], text });
      assert.equal(await writer.ask('ping'), 'pong');
      for (const reader of readers) assert.deepEqual(await heard(reader), upTo(1000));
    });
  }
});

describe('a shared room', () => {
  const name = 'sio:/rooms:board';
  const path = `/api/rooms/${encodeURIComponent(name)}/events`;

  test('is heard by Socket.IO, WebSocket, event stream and poll alike', async (t) => {
    const open = opener(t, '/rooms');
    const [sender, reader] = [await open(), await open()];
    await reader.ask('join', ['board']);
    const native = await Native.open(server);
    await native.join(name);
    const cancel = new AbortController();
    const stream = await fetch(`${server.http}/sse?room=${encodeURIComponent(name)}`, { signal: cancel.signal });
    let streamed = '';
    (async () => { for await (const chunk of stream.body) streamed += Buffer.from(chunk); })().catch(() => {});
    let polled;
    const polling = fetch(`${server.http}${path}?wait=20`).then(async (answer) => { polled = await answer.json(); });
    // A poll does not say when it has begun to wait.
    for (let at = 0; at < 100 && polled === undefined; at++) {
      sender.socket.emit('say', { to: ['board'], text: { at } });
      await Promise.race([polling, sleep(50)]);
    }
    assert.deepEqual(await reader.event('said'), [{ at: 0 }]);
    assert.deepEqual((await native.events(name, 1))[0].payload, { at: 0 });
    await until(() => streamed.includes('event: said') && streamed.includes('{"at":0}'), 'the stream');
    const [{ event, room }] = polled.events;
    assert.deepEqual([event, room], ['said', name]);
    cancel.abort();
    await native.close();
  });

  test('takes what they publish', async (t) => {
    const open = opener(t, '/rooms');
    const [member, other] = [await open(), await open()];
    await member.ask('join', ['board']);
    const body = JSON.stringify({ event: 'posted', payload: { any: 'json' } });
    const headers = { 'Content-Type': 'application/json' };
    const answer = await fetch(`${server.http}${path}`, { method: 'POST', headers, body });
    assert.equal(answer.status, 201);
    assert.deepEqual((await member.event('posted')), [{ any: 'json' }]);
    const native = await Native.open(server);
    await native.ask({ type: 'broadcast', room: name, event: 'sent', payload: 7 });
    assert.deepEqual((await member.event('sent')), [7]);
    assert.deepEqual(await heard(other, 'posted'), []);
    await native.close();
  });

  test('is internal where it is not shared', async () => {
    const answer = await fetch(`${server.http}/api/rooms/${encodeURIComponent('sio:/flags:x')}/events`);
    assert.equal(answer.status, 403);
  });
});

describe('a flag', () => {
  test('volatile: who cannot be written to misses it and is not ended, who can does not', async (t) => {
    const open = opener(t, '/flags');
    const [sender, slow, other] = await several(open, 3, { perMessageDeflate: false });
    slow.engine.transport.ws.pause();
    // More than the sockets' own buffers take, and many times what may wait for a client.
    assert.equal(await sender.ask('volatile', 200, 200_000), 200);
    slow.engine.transport.ws.resume();
    const got = (await heard(slow, 'position')).length;
    assert.ok(got < 200, `${got} of 200`);
    assert.deepEqual(slow.reasons, []);
    await heard(other, 'position');
    assert.equal(await sender.ask('volatile', 1, 10), 1);
    assert.deepEqual([await heard(slow, 'position'), await heard(other, 'position')], [[0], [0]]);
  });

  test('compress: decides whether an event is', async (t) => {
    const one = await opener(t, '/flags')({ perMessageDeflate: true });
    const { _socket: socket } = one.engine.transport.ws;
    const bytes = async (compress) => {
      const before = socket.bytesRead;
      await one.ask('compress', compress, 20_000);
      assert.equal((await one.event('text'))[0].length, 20_000);
      return socket.bytesRead - before;
    };
    const [with_, without] = [await bytes(true), await bytes(false)];
    assert.ok(with_ < 2000, `${with_} bytes compressed`);
    assert.ok(without > 20_000, `${without} bytes not compressed`);
  });

  test('local: reaches the sockets of this node', async (t) => {
    const open = opener(t, '/flags');
    const [one, two] = await several(open, 2);
    one.socket.emit('local', 'here');
    assert.deepEqual([await heard(one, 'text'), await heard(two, 'text')], [[], ['here']]);
    one.socket.emit('local', 'here');
    assert.deepEqual([await heard(one, 'all'), await heard(two, 'all')], [['here'], ['here']]);
  });
});

describe('bytes', () => {
  const dialects = [
    ['socket.io-client 4', {}],
    ['socket.io-client 4 with msgpack', { at: () => others.msgpack, parser: msgpack }],
    ['socket.io-client 2', { connect: io2 }],
  ];
  for (const [dialect, { at = () => server, ...more }] of dialects) {
    for (const [way, options] of Object.entries(WAYS)) {
      test(`are bytes in events and acks, wherever they stand (${dialect}, ${way})`, async (t) => {
        const open = opener(t, '/binary');
        const [one, two] = await several(open, 2, { at: at(), ...options, ...more });
        const upload = { name: 'é😀', head: Buffer.from([0, 1, 255]), parts: [Buffer.alloc(0), Buffer.alloc(2000, 9)] };
        const answer = await askAll(one, 'upload', upload);
        assert.deepEqual(answer, [2000, upload.head]);
        assert.ok(Buffer.isBuffer(answer[1]));
        assert.deepEqual(await two.event('uploaded'), [upload]);
        const deep = { a: [{ b: upload.parts[1] }, null, 'x', 1.5], c: upload.head };
        assert.deepEqual(await askAll(one, 'echo', deep, upload.head), [deep, upload.head]);
        assert.deepEqual(await one.event('echoed'), [deep, upload.head]);
        // And in what the client answers.
        one.socket.on('sum?', (data, tell) => tell(data, data.reduce((sum, byte) => sum + byte, 0)));
        assert.deepEqual(await askAll(one, 'checksum', upload.head), [true, 256]);
      });
    }
  }
});

describe('listeners', () => {
  test('of one event are several, in order, for once, and taken off', async (t) => {
    const one = await opener(t, '/listeners')();
    const notes = async () => (await one.ask('notes'));
    one.socket.emit('greet', 'ada');
    one.socket.emit('greet', 'bob');
    assert.deepEqual(await notes(), [
      'heard greet 1', 'first ada', 'once ada', 'last ada', 'heard greet 1', 'first bob', 'last bob', 'heard notes 0',
      'sent notes follow 2',
    ]);
    await one.ask('take off');
    one.socket.emit('greet', 'eve', 2, 3);
    assert.deepEqual(await notes(), ['heard take off 0', 'heard greet 3', 'first eve', 'heard notes 0', 'sent notes follow 2']);
    await one.ask('take all off');
    one.socket.emit('greet', 'eve');
    assert.deepEqual(await notes(), ['heard take all off 0', 'heard greet 1', 'heard notes 0', 'sent notes follow 2']);
    assert.deepEqual(await one.event('notes follow'), [1, 2]);
  });

  test('that there are not do no harm, whatever the event is called', async (t) => {
    const one = await opener(t, '/listeners')();
    for (const event of ['unknown', 'error', '__proto__', 'é', 'x'.repeat(300)]) one.socket.emit(event, {});
    one.socket.emit('greet');
    assert.match((await one.event('error'))[0].message, /./);
    assert.equal((await one.ask('notes')).filter((note) => note.startsWith('heard')).length, 7);
  });
});

describe('the example orders', () => {
  let orders;
  before(async () => { orders = await Example.start('orders', '127.0.0.1:0'); });
  after(() => orders?.close());

  test('answers, tells others, says what is wrong, and gives up after 5 s', async (t) => {
    const open = opener(t);
    const [one, other, slow] = await several(open, 3, { at: orders });
    const late = slow.ask('createOrder', { item: 'slow', quantity: 1 });
    const order = { item: 'tea', quantity: 2 };
    const answer = await one.socket.timeout(5000).emitWithAck('createOrder', order);
    assert.deepEqual(answer, { status: 'ok', orderId: 'order-1' });
    assert.deepEqual(await other.event('orderCreated'), [{ orderId: 'order-1', order }]);
    assert.deepEqual(one.inbox.items, []);
    assert.deepEqual(await one.ask('createOrder', { item: 'tea', quantity: 0 }), { status: 'error', message: 'an order has a quantity' });
    assert.match((await one.ask('createOrder', { item: 'tea' })).message, /missing field `quantity`/);
    assert.deepEqual(await late, { status: 'error', message: 'the order took too long' });
  });
});

describe('the example chat', () => {
  let chat;
  before(async () => { chat = await Example.start('chat', '127.0.0.1:0'); });
  after(() => chat?.close());

  test('is the demo\'s conversation', async (t) => {
    const open = opener(t);
    const [ada, bob, nobody] = await several(open, 3, { at: chat });
    ada.socket.emit('add user', 'ada');
    assert.deepEqual(await ada.event('login'), [{ numUsers: 1 }]);
    assert.deepEqual(await bob.event('user joined'), [{ username: 'ada', numUsers: 1 }]);
    bob.socket.emit('add user', 'bob');
    bob.socket.emit('add user', 'bob again');
    assert.deepEqual(await bob.event('login'), [{ numUsers: 2 }]);
    assert.deepEqual(await ada.event('user joined'), [{ username: 'bob', numUsers: 2 }]);
    bob.socket.emit('typing');
    assert.deepEqual(await ada.event('typing'), [{ username: 'bob' }]);
    bob.socket.emit('new message', 'hello');
    assert.deepEqual(await ada.event('new message'), [{ username: 'bob', message: 'hello' }]);
    bob.socket.emit('stop typing');
    assert.deepEqual(await ada.event('stop typing'), [{ username: 'bob' }]);
    nobody.close();
    bob.close();
    assert.deepEqual(await ada.event('user left'), [{ username: 'bob', numUsers: 1 }]);
    assert.deepEqual(ada.inbox.items, []);
  });
});
