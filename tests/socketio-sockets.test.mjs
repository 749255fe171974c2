// A socket of the library from its CONNECT to its end, as Socket.IO's own clients meet it.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Polling, SEPARATOR, Socket as Engine, ask } from './lib/engine.mjs';
import { Client, WAYS } from './lib/io.mjs';
import { get, until, within } from './lib/server.mjs';
import { token } from './lib/token.mjs';
import { askAll, beside, opener, others, refusal, SECRET, serve, server, several, sleep, upTo } from './lib/tour.mjs';

serve('tower', 'quick');

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
