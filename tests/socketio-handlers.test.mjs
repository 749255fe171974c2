// The handlers of the library, as Socket.IO's own clients meet them: what the examples `tour`, `orders` and `chat` serve.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { after, before, describe, test } from 'node:test';
import * as msgpack from 'socket.io-msgpack-parser';
import { Polling, SEPARATOR, Socket as Engine, ask } from './lib/engine.mjs';
import { Example } from './lib/example.mjs';
import { Client, WAYS } from './lib/io.mjs';
import { get, until, within } from './lib/server.mjs';
import { Socket as Native } from './lib/socket.mjs';
import { token } from './lib/token.mjs';

const io2 = createRequire(import.meta.url)('socket.io-client-2');
const SECRET = 'a secret of at least thirty-two bytes';
const upTo = (last, first = 1) => Array.from({ length: last - first + 1 }, (_, at) => first + at);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

let server;
/** Servers besides the usual one, by the words they are started with. */
const others = {};

before(async () => {
  const words = { tower: ['--tower'], msgpack: ['--msgpack'], quick: ['--ping-ms', '200'] };
  const starting = Object.entries(words).map(async ([name, args]) => {
    others[name] = await Example.start('tour', '0', ...args);
  });
  [server] = await Promise.all([Example.start('tour', '0'), ...starting]);
});

after(() => Promise.all([server, ...Object.values(others)].map((one) => one?.close())));

/** Opens clients for one test, at the usual server if it does not say which. */
function opener(t, namespace = '/') {
  const opened = [];
  t.after(() => { for (const client of opened) client.close(); });
  return async ({ at = server, ...options } = {}) => {
    const client = new Client(at, { namespace, ...WAYS.websocket, ...options });
    opened.push(client);
    await client.connected();
    return client;
  };
}

/** Clients in a namespace, and what has come to them once everything before has. */
const several = (open, count, options) => Promise.all(upTo(count).map(() => open(options)));
async function heard(client, event = 'said') {
  await client.ask('ping');
  const items = client.inbox.items.splice(0);
  return items.filter((item) => item.event === event).map(({ args }) => args[0]);
}

/** Emits, and resolves to all arguments of the answer. */
function askAll(client, event, ...args) {
  return within(10_000, new Promise((resolve) => client.socket.emit(event, ...args, (...answer) => resolve(answer))), event);
}

/** Another namespace on the connection of a client. */
async function beside(client, namespace) {
  const socket = client.socket.io.socket(namespace);
  await within(5000, new Promise((resolve) => socket.once('connect', resolve)), 'the namespace');
  return socket;
}

/** What a client is refused with. */
async function refusal(at, options) {
  const client = new Client(at, { ...WAYS.websocket, ...options });
  try {
    await client.connected();
  } catch (error) {
    return { message: error.message, data: error.data };
  } finally {
    client.close();
  }
  return assert.fail('it was let in');
}

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

describe('who leaves', () => {
  /** Who sees how somebody leaves. */
  const scene = async (t, at = server, options = {}) => {
    const open = opener(t, '/leaving');
    const [watcher, leaver] = [await open({ at }), await open({ at, ...options })];
    await Promise.all([watcher.ask('join', 'lobby'), leaver.ask('join', 'lobby')]);
    const { id } = leaver;
    const told = async (reason) => {
      assert.deepEqual(await watcher.event('leaving'), [id, [id, 'lobby'], reason], 'its rooms are still there');
      assert.deepEqual(await watcher.event('left'), [id, [], reason]);
    };
    return { watcher, leaver, told };
  };

  for (const [way, options] of Object.entries(WAYS)) {
    test(`the namespace by itself (${way})`, async (t) => {
      const { leaver, told } = await scene(t, server, options);
      leaver.socket.disconnect();
      assert.equal(await leaver.disconnected(), 'io client disconnect');
      await told('client namespace disconnect');
    });

    test(`by closing its connection (${way})`, async (t) => {
      const { leaver, told } = await scene(t, server, options);
      if (way === 'upgrade') await leaver.upgraded();
      leaver.engine.close();
      await told('transport close');
    });

    test(`thrown out of the namespace (${way})`, async (t) => {
      const { leaver, told } = await scene(t, server, options);
      assert.equal(await leaver.ask('throw me out', false), 'as you wish');
      assert.equal(await leaver.disconnected(), 'io server disconnect');
      await told('server namespace disconnect');
      leaver.socket.connect();
      await leaver.connected();
      assert.deepEqual(await askAll(leaver, 'join', 'lobby'), []);
    });

    test(`thrown out with its connection, from all namespaces (${way})`, async (t) => {
      const { leaver, told } = await scene(t, server, options);
      if (way === 'upgrade') await leaver.upgraded();
      const other = await beside(leaver, '/rooms');
      const gone = new Promise((resolve) => other.once('disconnect', resolve));
      const ended = new Promise((resolve) => leaver.engine.once('close', resolve));
      leaver.socket.emit('throw me out', true);
      assert.equal(await leaver.disconnected(), 'io server disconnect');
      await told('server namespace disconnect');
      assert.equal(await within(5000, gone, 'the other namespace'), 'io server disconnect', 'so that it does not come back by itself');
      await within(5000, ended, 'the end of the connection');
    });
  }

  test('because its connection was cut', async (t) => {
    const { leaver, told } = await scene(t);
    leaver.engine.transport.ws._socket.destroy();
    await told('transport close');
  });

  test('because it does not answer pings', async (t) => {
    const watcher = await opener(t, '/leaving')({ at: others.quick });
    const socket = await Engine.open(others.quick);
    socket.send('40/leaving,');
    const { sid } = JSON.parse((await socket.hear()).slice('40/leaving,'.length));
    assert.deepEqual(await watcher.event('left'), [sid, [], 'ping timeout']);
    assert.deepEqual(watcher.reasons, [], 'who answers stays');
    socket.ws.terminate();
  });

  for (const [way, transports] of [['a WebSocket', ['websocket']], ['polling', ['polling']]]) {
    test(`because it asks for much and takes nothing of it (${way})`, async (t) => {
      const watcher = await opener(t, '/leaving')({ at: others.quick });
      const greedy = await opener(t, '/acks')({ at: others.quick, perMessageDeflate: false, transports });
      const { id } = await beside(greedy, '/leaving');
      const { transport } = greedy.engine;
      if (way === 'polling') transport.pause(() => {});
      else transport.ws.pause();
      const ask = upTo(500).map((n) => `42/acks,${n}["page",${n},true]`);
      if (way === 'polling') {
        const url = `${others.quick.http}/socket.io/?EIO=4&transport=polling&sid=${greedy.engine.id}`;
        get(url, { method: 'POST', body: ask.join(SEPARATOR) }).catch(() => {});
      } else {
        for (const packet of ask) transport.ws.send(packet);
      }
      const [left] = await watcher.event('left');
      assert.equal(left, id);
      assert.deepEqual(watcher.reasons, []);
      transport.ws?.terminate();
    });
  }

  for (const [how, at] of [['axum::serve', () => server], ['a tower service', () => others.tower]]) {
    test(`because it does not read what must not be lost (${how})`, async (t) => {
      const watcher = await opener(t, '/leaving')({ at: at() });
      const slow = await opener(t, '/binary')({ at: at(), perMessageDeflate: false });
      const { id } = await beside(slow, '/leaving');
      const { ws } = slow.engine.transport;
      ws.pause();
      const writer = await opener(t, '/binary')({ at: at(), perMessageDeflate: false });
      const upload = { name: 'x', head: Buffer.alloc(900_000), parts: [] };
      let gone;
      watcher.event('left').then((args) => { gone = args; });
      // More than the sockets' own buffers take.
      for (let n = 0; n < 100 && !gone; n += 1) await writer.ask('upload', upload);
      await until(() => gone, 'it to be ended');
      assert.deepEqual(gone, [id, [], 'transport error']);
      ws.terminate();
    });
  }

  test('because it breaks the protocol', async (t) => {
    const watcher = await opener(t, '/leaving')();
    const socket = await Engine.open(server);
    socket.send('40/leaving,');
    const { sid } = JSON.parse((await socket.hear()).slice('40/leaving,'.length));
    // The server tells a client that it is in a moment before it counts as such.
    socket.send('42/leaving,1["join","lobby"]');
    assert.equal(await socket.hear(), '43/leaving,1[]');
    socket.send('42/nowhere,["x"]');
    await socket.end();
    assert.deepEqual(await watcher.event('left'), [sid, [], 'forced close']);
  });

  test('may come back at once, on the same connection, again and again', async (t) => {
    const { leaver } = await scene(t);
    const other = await beside(leaver, '/rooms');
    const { engine } = leaver;
    let rounds = 0;
    leaver.socket.on('connect', () => {
      rounds += 1;
      if (rounds < 200) leaver.socket.emit('throw me out', false);
    });
    leaver.socket.on('disconnect', () => leaver.socket.connect());
    leaver.socket.emit('throw me out', false);
    await until(() => rounds === 200, '200 rounds', 15_000);
    assert.deepEqual([...new Set(leaver.reasons)], ['io server disconnect']);
    assert.equal(leaver.engine, engine);
    assert.equal(await other.timeout(5000).emitWithAck('ping'), 'pong');
  });

  test('may have said more by then, and keeps its other namespaces', async (t) => {
    const { leaver } = await scene(t);
    const other = await beside(leaver, '/rooms');
    // It says all of this before it hears that it is out.
    for (let n = 0; n < 50; n += 1) leaver.socket.emit('throw me out', false);
    assert.equal(await leaver.disconnected(), 'io server disconnect');
    assert.equal(await other.timeout(5000).emitWithAck('ping'), 'pong');
  });
});

describe('what is known of a client', () => {
  test('is its handshake, in Node\'s shape', async (t) => {
    const started = Date.now();
    for (const [way, options] of Object.entries(WAYS)) {
      for (const at of [server, others.tower]) {
        const one = await opener(t)({ at, ...options, auth: { color: 'blue' }, query: { city: 'Zürich & more' }, extraHeaders: { 'X-Custom': 'Ünï' } });
        const { headers, time, address, xdomain, secure, issued, url, query, auth, ...rest } = await one.ask('handshake');
        assert.deepEqual(rest, {});
        assert.equal(headers.host, at.http.slice('http://'.length));
        assert.equal(headers['x-custom'], 'Ünï');
        assert.match(time, /^\w{3} \w{3} \d{2} \d{4} \d{2}:\d{2}:\d{2} GMT\+0000 \(Coordinated Universal Time\)$/);
        assert.ok(Math.abs(Date.parse(time) - issued) < 1000);
        assert.ok(issued >= started - 60_000 && issued <= Date.now() + 60_000);
        assert.deepEqual([address, xdomain, secure, auth], ['127.0.0.1', false, false, { color: 'blue' }]);
        assert.match(url, /^\/socket\.io\/\?/);
        assert.equal(query.city, 'Zürich & more');
        assert.deepEqual([query.EIO, query.transport], ['4', way === 'websocket' ? 'websocket' : 'polling']);
      }
    }
  });

  test('is whether a page of another origin sent it', async () => {
    const page = { headers: { origin: server.http } };
    const session = await Polling.open(server, page);
    await session.send('40', '421["handshake"]');
    const packets = [await session.hear(), await session.hear(), await session.hear()];
    assert.equal(JSON.parse(packets[2].slice('431'.length))[0].xdomain, true);
    await session.send('1');
    const foreign = await ask(server, '/socket.io/?EIO=4&transport=polling', { headers: { origin: 'http://evil.example' } });
    assert.equal(foreign.status, 403);
  });

  test('is what handlers keep with it, and nobody else has', async (t) => {
    const open = opener(t);
    const [one, other] = await several(open, 2);
    const [, number] = await one.event('welcome');
    assert.deepEqual(await one.ask('remember', 'x', { deep: [1] }), { number, x: { deep: [1] } });
    assert.deepEqual(Object.keys(await other.ask('remember', 'y', 1)).sort(), ['number', 'y']);
    const again = await open();
    assert.ok((await again.event('welcome'))[1] > number, 'the application\'s state is one');
  });

  test('is the user whom its token names, with a room of its connections', async (t) => {
    const open = opener(t);
    const alice = { auth: { token: token('alice', SECRET) } };
    const [phone, laptop, bob, nobody] = [await open(alice), await open({ ...alice, ...WAYS.polling }), await open({ auth: { token: token('bob', SECRET) } }), await open()];
    assert.deepEqual(await phone.ask('who am i'), { id: phone.id, user: 'alice', rooms: [phone.id, 'user:alice'] });
    assert.deepEqual(await nobody.ask('who am i'), { id: nobody.id, user: null, rooms: [nobody.id] });
    bob.socket.emit('tell user', 'alice', 'hello');
    assert.deepEqual([await phone.event('told'), await laptop.event('told')], [['bob', 'hello'], ['bob', 'hello']]);
    for (const other of [bob, nobody]) {
      assert.equal((await other.ask('join', 'user:alice')).message, 'this room belongs to somebody else');
      await other.ask('who am i');
      assert.ok(!other.inbox.items.some(({ event }) => event === 'told'));
    }
    assert.equal((await refusal(server, { auth: { token: token('alice', 'another secret of thirty-two bytes') } })).message, 'Invalid authentication token');
    assert.equal((await refusal(server, { auth: { token: 'x' }, namespace: '/rooms' })).message, 'Invalid authentication token');
  });
});

describe('a middleware', () => {
  for (const [way, options] of Object.entries(WAYS)) {
    test(`of the server refuses with a message and data (${way})`, async () => {
      for (const namespace of ['/', '/rooms', '/guarded', '/tenant-1']) {
        const told = await refusal(server, { ...options, namespace, query: { banned: 1 } });
        assert.deepEqual(told, { message: 'you are banned', data: { until: 'tomorrow' } });
      }
    });

    test(`of a namespace refuses, and lets in whoever knows better then (${way})`, async (t) => {
      const refused = new Client(server, { ...options, namespace: '/guarded', auth: { word: 'please' } });
      t.after(() => refused.close());
      await assert.rejects(refused.connected(), { message: 'not authorized', data: { code: 401, hint: 'say the word' } });
      refused.socket.auth = { word: 'sesame', name: 'ali' };
      refused.socket.connect();
      await refused.connected();
      assert.deepEqual(await askAll(refused, 'name'), ['ali', [refused.id, 'insiders']]);
    });
  }

  test('that refuses may be asked again at once, again and again', async (t) => {
    const one = await opener(t)();
    const other = one.socket.io.socket('/guarded', { auth: {} });
    let refused = 0;
    const done = new Promise((resolve, reject) => {
      one.socket.once('disconnect', (reason) => reject(new Error(reason)));
      other.on('connect_error', () => {
        refused += 1;
        if (refused === 200) resolve();
        else other.connect();
      });
    });
    await within(15_000, done, '200 refusals');
  });

  test('of events refuses in the ack, or as an error', async (t) => {
    const one = await opener(t, '/guarded')({ auth: { word: 'sesame', name: 'ali' } });
    const told = { message: 'not for you', data: { event: 'secret', arguments: 2 } };
    assert.deepEqual(await one.ask('secret', 1, 2), { status: 'error', ...told });
    one.socket.emit('secret', 1, 2);
    assert.deepEqual(await one.event('error'), [told]);
    assert.equal(await one.ask('name'), 'ali');
  });

  test('limits the rate of each event, for each socket', async (t) => {
    const open = opener(t, '/limited');
    const [one, other] = await several(open, 2);
    const answers = await Promise.all(upTo(30).map((n) => one.ask('message', n)));
    const through = answers.filter((answer) => typeof answer === 'number');
    assert.deepEqual(through.slice(0, 5), upTo(5), 'the burst');
    assert.ok(through.length < 30, `${through.length} of 30`);
    const { retryAfter } = answers.find((answer) => answer.status === 'error').data;
    assert.ok(retryAfter > 0 && retryAfter <= 100, `${retryAfter} ms`);
    assert.deepEqual(answers.find((answer) => answer.status === 'error'), { status: 'error', message: 'too many of this event', data: { retryAfter } });
    assert.equal(await one.ask('anything', 1), 1, 'another event');
    assert.equal(await other.ask('message', 1), 1, 'another socket');
    await sleep(retryAfter + 100);
    assert.equal(await one.ask('message', 'again'), 'again');
    assert.equal(await one.ask('report', 'first'), 'first');
    one.socket.emit('report', 'second');
    const [error] = await one.event('error');
    assert.equal(error.message, 'too many of this event');
    assert.ok(error.data.retryAfter > 50_000);
  });
});

describe('an ack', () => {
  let open;
  const acks = (name, run) => test(name, async (t) => {
    open = opener(t, '/acks');
    await run(t);
  });

  for (const [way, options] of Object.entries(WAYS)) {
    acks(`goes both ways (${way})`, async () => {
      const one = await open(options);
      assert.equal(await one.ask('double', 21), 42);
      assert.deepEqual(await askAll(one, 'split', 'abc'), [3, 'ABC']);
      one.socket.on('question', (question, tell) => tell(`${question} Yes.`));
      assert.deepEqual(await one.ask('quiz', 'Tea?'), { answer: 'Tea? Yes.' });
    });
  }

  acks('is answered once', async () => {
    const one = await open();
    const answers = [];
    one.socket.emit('race', (answer) => answers.push(answer));
    let packets = 0;
    one.engine.on('packet', ({ type, data }) => { if (type === 'message' && /^3\/acks,/.test(data)) packets += 1; });
    await one.ask('double', 1);
    assert.deepEqual([answers, packets], [['first'], 2]);
    // And of a client that answers twice the first is heard.
    one.socket.on('question', (_, tell) => {
      tell('one');
      tell('two');
    });
    assert.deepEqual(await one.ask('quiz', 'Which?'), { answer: 'one' });
  });

  acks('has a time-out at the client', async () => {
    const one = await open();
    await assert.rejects(one.socket.timeout(100).emitWithAck('never'), { message: 'operation has timed out' });
    await assert.rejects(one.socket.timeout(100).emitWithAck('slow', 300), { message: 'operation has timed out' });
    assert.equal(await one.ask('double', 1), 2, 'the late answer is nobody else\'s');
  });

  acks('has a time-out at the server', async () => {
    const one = await open();
    one.socket.on('question', () => {});
    assert.deepEqual(await one.ask('quiz', 'Tea?'), { error: 'operation has timed out' });
    one.socket.off('question').on('question', (_, tell) => tell(7));
    assert.match((await one.ask('quiz', 'Tea?')).error, /^the answer is not what was asked for/);
    one.socket.off('question').on('question', (_, tell) => tell('yes'));
    assert.deepEqual(await one.ask('quiz', 'Tea?'), { answer: 'yes' });
  });

  acks('says what a handler failed with', async () => {
    const one = await open();
    assert.deepEqual(await one.ask('withdraw', 7), { status: 'ok' });
    assert.deepEqual(await one.ask('withdraw', 101), { status: 'error', message: 'too much', data: { most: 100 } });
    const wrong = await one.ask('withdraw', 'much');
    assert.equal(wrong.status, 'error');
    assert.match(wrong.message, /invalid type: string "much"/);
    one.socket.emit('withdraw', 101);
    assert.deepEqual(await one.event('error'), [{ message: 'too much', data: { most: 100 } }]);
  });

  acks('says that a handler panicked, and nothing else ends', async () => {
    const [one, other] = await several(open, 2);
    const before = [one.id, other.id];
    const answers = await Promise.all([one.ask('panic', []), one.ask('double', 2), other.ask('double', 3), one.ask('panic', [5])]);
    assert.deepEqual(answers, [{ status: 'error', message: 'internal error' }, 4, 6, 5]);
    one.socket.emit('panic', []);
    assert.deepEqual(await one.event('error'), [{ message: 'internal error' }]);
    assert.deepEqual([one.id, other.id], before);
  });

  acks('that a slow handler owes holds back its own client only, and nothing is overtaken', async () => {
    const [slow, other] = await several(open, 2);
    const order = [];
    const asked = ['slow', 'double', 'double'].map((event, at) => slow.ask(event, [400, 2, 3][at]).then((answer) => order.push(answer)));
    for (const n of upTo(20)) assert.equal(await other.ask('double', n), 2 * n);
    assert.deepEqual(order, [], 'others are served meanwhile');
    await Promise.all(asked);
    assert.deepEqual(order, [400, 4, 6]);
  });

  acks('of many events come in their order', async () => {
    for (const options of Object.values(WAYS)) {
      const one = await open(options);
      const order = [];
      await Promise.all(upTo(300).map((n) => one.ask('double', n).then((answer) => order.push(answer / 2))));
      assert.deepEqual(order, upTo(300));
    }
  });

  for (const waits of [false, true]) {
    acks(`of many large ones come as the client takes them (${waits ? 'handlers that wait' : 'handlers that do not'})`, async () => {
      const one = await open({ perMessageDeflate: false });
      one.engine.transport.ws.pause();
      const order = [];
      const pages = upTo(200).map(async (n) => {
        const [number, page] = await askAll(one, 'page', n, waits);
        assert.equal(page.length, 100_000);
        order.push(number);
      });
      await sleep(300);
      one.engine.transport.ws.resume();
      await Promise.all(pages);
      assert.deepEqual([order, one.reasons], [upTo(200), []]);
    });
  }

  acks('of a broadcast is each client\'s, and who is missing', async () => {
    const [asker, quiet, wrong, gone] = await several(open, 4);
    const absent = [quiet.id, gone.id].toSorted();
    asker.socket.on('vote', (what, tell) => tell(what === 'tea?' ? 1 : 0));
    wrong.socket.on('vote', (_, tell) => tell('much'));
    gone.socket.on('vote', () => gone.close());
    const survey = await asker.ask('survey', 500);
    assert.deepEqual(survey, {
      complete: false,
      votes: [[asker.id, 1]],
      missing: survey.missing,
      invalid: [wrong.id],
    });
    assert.deepEqual(survey.missing.toSorted(), absent);
    quiet.close();
    wrong.socket.off('vote').on('vote', (_, tell) => tell(2));
    await until(async () => {
      const { complete, votes } = await asker.ask('survey', 5000);
      return complete && votes.length === 2;
    }, 'a whole answer');
  });

  acks('is awaited of one client so many times at once', async () => {
    const one = await open();
    one.socket.on('number?', (number, tell) => tell(number));
    assert.deepEqual(await one.ask('interrogate', 256), { sum: 255 * 128, failed: [] });
    const { sum, failed } = await one.ask('interrogate', 258);
    assert.equal(sum, 255 * 128);
    assert.deepEqual(failed, ['256 answers of one client are awaited already', '256 answers of one client are awaited already']);
  });

  acks('comes though the client has said much before it', async () => {
    const one = await open();
    one.socket.on('question', (_, tell) => tell('yes'));
    const answers = [one.ask('quiz', 'Still?'), ...upTo(600).map((n) => one.ask('double', n))];
    assert.deepEqual(await Promise.all(answers), [{ answer: 'yes' }, ...upTo(600).map((n) => 2 * n)]);
  });
});

describe('what is said right behind CONNECT', () => {
  test('is handled after what happens at connect', async (t) => {
    const one = new Client(server, { namespace: '/listeners', ...WAYS.websocket });
    t.after(() => one.close());
    // Before it is connected the client keeps it, and says it in one go.
    for (const n of upTo(20)) one.socket.emit('greet', `${n}`);
    const notes = await one.ask('notes');
    assert.deepEqual(notes.filter((note) => note.startsWith('first')), upTo(20).map((n) => `first ${n}`));
  });

  test('in the same burst is handled (WebSocket)', async () => {
    const socket = await Engine.open(server);
    socket.send('40/acks,', ...upTo(20).map((n) => `42/acks,${n}["double",${n}]`), '42/acks,99["never"]');
    assert.match(await socket.hear(), /^40\/acks,\{"sid"/);
    for (const n of upTo(20)) assert.equal(await socket.hear(), `43/acks,${n}[${2 * n}]`);
    await socket.close();
  });

  test('in the same burst is handled (polling)', async () => {
    const session = await Polling.open(server);
    await session.send(['40/acks,', '42/acks,1["double",1]', '42/acks,2["double",2]'].join(SEPARATOR));
    assert.match(await session.hear(), /^40\/acks,\{"sid"/);
    assert.equal(await session.hear(), '43/acks,1[2]');
    assert.equal(await session.hear(), '43/acks,2[4]');
    await session.send('1');
  });

  test('of who is refused is not handled, and the connection stays', async () => {
    const socket = await Engine.open(server);
    socket.send('40/guarded,', '42/guarded,1["name"]');
    assert.match(await socket.hear(), /^44\/guarded,\{"message":"not authorized"/);
    socket.send('40/guarded,{"word":"sesame","name":"x"}', '42/guarded,2["name"]');
    assert.match(await socket.hear(), /^40\/guarded,/);
    assert.match(await socket.hear(), /^43\/guarded,2\[/);
    await socket.close();
  });

  test('is bounded', async () => {
    const socket = await Engine.open(server);
    socket.send('40/guarded,{"word":"sesame","name":"x"}', ...upTo(100).map(() => `42/guarded,["name","${'x'.repeat(10_000)}"]`));
    // It was let in before, or it is closed: nothing else.
    const first = await socket.hear();
    assert.ok(first === null || first.startsWith('40/guarded,'), first);
    socket.ws.terminate();
  });
});

describe('a client that was cut off', () => {
  const back = { reconnection: true, reconnectionDelay: 20, reconnectionDelayMax: 50 };
  /** Somebody else, who says things in the meantime. */
  const scene = async (t, namespace = '/news') => {
    const open = opener(t, namespace);
    const room = `room ${t.name}`;
    const [reader, writer] = [await open(back), await open()];
    await reader.ask('join', room);
    await reader.ask('remember', { name: 'ada' });
    const publish = (text) => writer.ask('publish', room, text);
    const cut = async () => {
      const ended = reader.disconnected();
      reader.engine.close();
      await ended;
      await until(() => writer.inbox.items.some(({ event, args }) => event === 'left' && args[0] === reader.lastId), 'the server to notice');
    };
    reader.lastId = reader.id;
    const news = async (count) => (await reader.events('news', count)).map(([text]) => text);
    return { room, reader, writer, publish, cut, news, manager: reader.socket.io };
  };

  for (const [name, first] of [['that has received events', [0]], ['that never received one', []]]) {
    test(`${name} gets what it missed, in order and once`, async (t) => {
      const { reader, publish, cut, news, manager } = await scene(t);
      for (const text of first) await publish(text);
      assert.deepEqual(await news(first.length), first);
      manager.reconnection(false);
      await cut();
      for (const text of upTo(50)) await publish(text);
      reader.socket.connect();
      await until(() => reader.socket.connected, 'the client to come back');
      assert.equal(reader.socket.recovered, true);
      assert.equal(reader.id, reader.lastId);
      await publish('live');
      assert.deepEqual(await news(51), [...upTo(50), 'live']);
      const { recovered, rooms, value } = await reader.ask('state');
      assert.deepEqual({ recovered, rooms, value }, { recovered: true, rooms: [reader.id, `room ${t.name}`], value: { name: 'ada' } });
      assert.ok(!reader.inbox.items.some(({ event }) => event === 'news'));
    });
  }

  test('comes back by itself, again and again', async (t) => {
    const { reader, publish, news } = await scene(t);
    const expected = [];
    for (const round of upTo(5)) {
      reader.engine.close();
      for (const n of upTo(5)) {
        await publish(round * 10 + n);
        expected.push(round * 10 + n);
      }
      await until(() => reader.socket.connected, 'the client to come back');
      assert.equal(reader.socket.recovered, true, `round ${round}`);
    }
    assert.deepEqual(await news(expected.length), expected);
    assert.ok(!reader.inbox.items.some(({ event }) => event === 'news'));
  });

  test('misses volatile events, and nothing because of them', async (t) => {
    const { reader, writer, publish, cut, news, manager } = await scene(t);
    await publish('kept');
    await writer.ask('glance', 'seen');
    await reader.event('glance');
    manager.reconnection(false);
    await cut();
    await publish('missed');
    await writer.ask('glance', 'unseen');
    reader.socket.connect();
    await until(() => reader.socket.connected, 'the client to come back');
    assert.equal(reader.socket.recovered, true);
    assert.deepEqual(await news(2), ['kept', 'missed']);
    await reader.ask('state');
    assert.ok(!reader.inbox.items.some(({ event }) => event === 'glance'));
  });

  test('has one session: who claims it has it, and who had it is ended', async (t) => {
    const { writer, publish, room } = await scene(t);
    const socket = await Engine.open(server);
    socket.send('40/news,');
    const { sid, pid } = JSON.parse((await socket.hear()).slice('40/news,'.length));
    socket.send(`42/news,1["join",${JSON.stringify(room)}]`);
    assert.equal(await socket.hear(), '43/news,1[]');
    await publish('one');
    const [, , offset] = JSON.parse((await socket.hear()).slice('42/news,'.length));
    const before = await writer.ask('count');
    const claim = async () => {
      const other = await Engine.open(server);
      other.send(`40/news,${JSON.stringify({ pid, offset })}`);
      return other;
    };
    // The connection is dead, and the server does not know yet: its client comes with another one.
    const second = await claim();
    assert.equal(await second.hear(), `40/news,${JSON.stringify({ sid, pid })}`);
    await socket.end();
    assert.equal(await writer.ask('count'), before, 'no zombie');
    await publish('two');
    for (let packet = ''; !packet.includes('"two"'); packet = await second.hear()) assert.ok(packet === '' || packet.includes('"left"'), packet);
    // It says that it goes: nobody comes back to that.
    second.send('41/news,');
    await until(async () => await writer.ask('count') === before - 1, 'the socket to go');
    const third = await claim();
    const anew = JSON.parse((await third.hear()).slice('40/news,'.length));
    assert.ok(anew.sid !== sid && anew.pid !== pid);
    third.send('42/news,1["state"]');
    assert.equal(JSON.parse((await third.hear()).slice('43/news,1'.length))[0].recovered, false);
    await Promise.all([second.close(), third.close()]);
  });

  test('too long begins anew, and that is told', async (t) => {
    const { reader, writer, cut, manager, room } = await scene(t, '/brief');
    manager.reconnection(false);
    await cut();
    assert.deepEqual((await writer.event('expired')).slice(0, 2), [reader.lastId, [room]]);
    reader.socket.connect();
    await until(() => reader.socket.connected, 'the client to come back');
    assert.equal(reader.socket.recovered, false);
    assert.notEqual(reader.id, reader.lastId);
    assert.deepEqual((await reader.ask('state')).rooms, [reader.id]);
  });
});

describe('an operator', () => {
  const scene = async (t) => {
    const open = opener(t, '/operators');
    const named = (name) => open({ auth: { name } });
    const [ada, bob, eve] = await Promise.all(['ada', 'bob', 'eve'].map(named));
    return { ada, bob, eve };
  };
  const names = (list) => list.map(([, name]) => name).toSorted();

  test('fetches sockets, with their data and rooms', async (t) => {
    const { ada, bob, eve } = await scene(t);
    assert.deepEqual(names(await ada.ask('who', [])), ['ada', 'bob', 'eve']);
    assert.deepEqual(await ada.ask('who', [bob.id]), [[bob.id, 'bob', [bob.id]]]);
    await ada.ask('join all', bob.id, 'x');
    await ada.ask('join all', eve.id, 'x');
    await ada.ask('join all', eve.id, 'y');
    assert.deepEqual(names(await ada.ask('who', ['x', 'y'])), ['bob', 'eve'], 'each once');
    assert.deepEqual(await ada.ask('who', ['nobody']), []);
    assert.equal(await ada.ask('whisper', 'x', 'hello'), 2);
    assert.deepEqual([await bob.event('whispered'), await eve.event('whispered')], [['hello'], ['hello']]);
  });

  test('has sockets join and leave', async (t) => {
    const { ada, bob } = await scene(t);
    await ada.ask('join all', bob.id, 'x');
    assert.deepEqual((await ada.ask('who', ['x'])).map(([, , rooms]) => rooms), [[bob.id, 'x']]);
    await ada.ask('join all', 'x', 'y');
    await ada.ask('leave all', 'y', 'x');
    assert.deepEqual((await ada.ask('who', ['y'])).map(([, , rooms]) => rooms), [[bob.id, 'y']]);
    assert.deepEqual(await ada.ask('who', ['x']), []);
  });

  for (const close of [false, true]) {
    test(`disconnects sockets${close ? ' and their connections' : ''}`, async (t) => {
      const { ada, bob, eve } = await scene(t);
      await Promise.all([ada, bob, eve].map((one) => ada.ask('join all', one.id, 'x')));
      const other = await beside(bob, '/rooms');
      await ada.ask('disconnect all', 'x', close);
      assert.deepEqual([await bob.disconnected(), await eve.disconnected()], ['io server disconnect', 'io server disconnect']);
      assert.deepEqual(names(await ada.ask('who', [])), ['ada'], 'not who asked');
      if (close) await until(() => !other.connected && bob.engine.readyState === 'closed', 'the end of the connection');
      else assert.equal(await other.timeout(5000).emitWithAck('ping'), 'pong');
    });
  }
});

describe('a limit', () => {
  test('of namespaces ends a connection that wants more', async () => {
    const socket = await Engine.open(server);
    for (const n of upTo(100)) socket.send(`40/tenant-limit-${n},`);
    const joined = new Set();
    while (joined.size < 100) {
      const packet = await socket.hear();
      assert.notEqual(packet, null);
      if (packet.startsWith('40')) joined.add(packet.split(',')[0]);
    }
    socket.send('40/tenant-limit-101,');
    await socket.end();
  });

  test('of events that wait holds the client back, and loses nothing', async (t) => {
    const socket = await Engine.open(server);
    const other = await opener(t, '/acks')();
    socket.send('40/acks,');
    await socket.hear();
    socket.send('42/acks,0["slow",600]');
    const text = 'x'.repeat(50_000);
    for (const n of upTo(600)) socket.send(`42/acks,${n}["split","${text}"]`);
    assert.equal(await other.ask('double', 1), 2, 'others are served meanwhile');
    assert.equal(await socket.hear(), '43/acks,0[600]');
    for (const n of upTo(600)) assert.ok((await socket.hear()).startsWith(`43/acks,${n}[50000,`), `answer ${n}`);
    await socket.close();
  });

  test('of rooms is told', async (t) => {
    const one = await opener(t, '/rooms')();
    const answer = await one.ask('join', upTo(1001).map((n) => `room ${n}`));
    assert.deepEqual(answer, { status: 'error', message: 'a socket joins at most 1000 rooms' });
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
