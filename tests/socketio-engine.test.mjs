// What stands on the wire, said by a client that says exactly what it is told to: what Node's server does (4.8.4), and
// where it does worse, what is right.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { gunzipSync, inflateSync } from 'node:zlib';
import { Polling, SEPARATOR, Socket, ask } from './lib/engine.mjs';
import { Peer, httpRequest, upgradeRequest } from './lib/peer.mjs';
import { Server, room, until, within } from './lib/server.mjs';

const POLLING = '/socket.io/?EIO=4&transport=polling';
const WEBSOCKET = '/socket.io/?EIO=4&transport=websocket';
const BEGINNINGS = { polling: (server, options) => Polling.open(server, options), websocket: (server, options) => Socket.open(server, options) };

/** The status and body of the answer to a request for a WebSocket. */
async function refusal(server, path, headers) {
  const peer = await Peer.connect(server);
  peer.write(upgradeRequest({ path, headers }));
  const { status, body, headers: { connection } } = await peer.answer();
  peer.destroy();
  return { status, body, connection };
}

describe('a request', () => {
  let server;
  before(async () => {
    server = await Server.start();
  });
  after(() => server.close());

  const no = (code, message) => ({ status: 400, said: { code, message } });
  const UNKNOWN = no(0, 'Transport unknown');
  const SESSION = no(1, 'Session ID unknown');
  const METHOD = no(2, 'Bad handshake method');
  const BAD = no(3, 'Bad request');
  const VERSION = no(5, 'Unsupported protocol version');
  for (const [method, query, expected] of [
    ['GET', '', UNKNOWN],
    ['GET', '?EIO=4', UNKNOWN],
    ['GET', '?EIO=4&transport=tobi', UNKNOWN],
    ['GET', '?EIO=4&transport=__proto__', UNKNOWN],
    ['GET', '?EIO=4&transport=constructor', UNKNOWN],
    ['GET', '?EIO=4&transport=webtransport', UNKNOWN],
    ['GET', '?EIO=4&transport=polling&sid=nobody', SESSION],
    ['GET', '?EIO=4&transport=polling&sid=__proto__', SESSION],
    ['GET', '?EIO=4&transport=polling&sid=constructor', SESSION],
    ['GET', '?EIO=4&transport=polling&sid=%00', SESSION],
    ['GET', '?EIO=4&transport=polling&sid=%FF', SESSION],
    ['GET', `?EIO=4&transport=polling&sid=${'x'.repeat(10_000)}`, SESSION],
    ['POST', '?EIO=4&transport=polling&sid=nobody', SESSION],
    ['POST', '?EIO=4&transport=polling', METHOD],
    ['PUT', '?EIO=4&transport=polling', METHOD],
    ['DELETE', '?EIO=4&transport=polling', METHOD],
    ['OPTIONS', '?EIO=4&transport=polling', METHOD],
    ['GET', '?EIO=4&transport=websocket', BAD],
    ['GET', '?transport=polling', VERSION],
    ['GET', '?EIO=3&transport=polling', VERSION],
    ['GET', '?EIO=5&transport=polling', VERSION],
    ['GET', '?EIO=abc&transport=polling', VERSION],
    ['GET', '?EIO=4&EIO=3&transport=polling', VERSION],
  ]) {
    test(`${method} ${query.slice(0, 60)} is refused with code ${expected.said.code}`, async () => {
      const answer = await ask(server, `/socket.io/${query}`, { method });
      assert.equal(answer.headers['content-type'], 'application/json');
      assert.deepEqual({ status: answer.status, said: JSON.parse(answer.body) }, expected);
    });
  }

  for (const [query, message] of [
    ['', 'Transport unknown'],
    ['?EIO=4&transport=polling', 'Bad request'],
    ['?EIO=4&transport=websocket&sid=nobody', 'Session ID unknown'],
    ['?EIO=4&transport=websocket&sid=__proto__', 'Session ID unknown'],
    ['?EIO=3&transport=websocket', 'Unsupported protocol version'],
    ['?transport=websocket', 'Unsupported protocol version'],
  ]) {
    test(`a WebSocket to ${query} is refused in plain words`, async () => {
      assert.deepEqual(await refusal(server, `/socket.io/${query}`), { status: 400, body: message, connection: 'close' });
    });
  }

  test('without the slash at the end finds nothing, with more behind it the same', async () => {
    assert.equal((await ask(server, '/socket.io?EIO=4&transport=polling')).status, 404);
    assert.equal((await refusal(server, '/socket.io?EIO=4&transport=websocket')).status, 404);
    assert.equal((await ask(server, '/socket.iox/?EIO=4&transport=polling')).status, 404);
    assert.equal((await ask(server, '/socket.io/any/thing?EIO=4&transport=polling')).status, 200);
  });

  test('of another method with a session is answered 500, and the session goes on', async () => {
    const session = await Polling.open(server);
    for (const method of ['PUT', 'DELETE', 'PATCH']) assert.equal((await session.get({ method })).status, 500);
    await session.send('40');
    assert.match(await session.hear(), /^40\{"sid":/);
    await session.send('1');
  });

  test('opens a session and tells exactly what Node tells', async () => {
    const session = await Polling.open(server);
    assert.equal(session.answer.headers['content-type'], 'text/plain; charset=UTF-8');
    assert.equal(session.answer.headers['cache-control'], 'no-store');
    const { sid, ...rest } = session.opening;
    assert.match(sid, /^[\w-]{20,}$/);
    assert.equal(session.answer.body, `0{"sid":"${sid}","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}`);
    assert.equal(session.answer.headers['set-cookie'], undefined);
    const socket = await Socket.open(server);
    assert.deepEqual({ ...socket.opening, sid: undefined }, { ...rest, sid: undefined, upgrades: [] });
    assert.notEqual(socket.sid, sid);
    await socket.close();
    const posted = await session.post('1');
    assert.deepEqual([posted.status, posted.headers['content-type'], posted.body], [200, 'text/html', 'ok']);
  });

  test('may write its query in any way', async () => {
    for (const query of ['transport=polling&EIO=4&t=abc', 'EIO=%34&transport=%70olling', 'EIO=3&EIO=4&transport=polling', 'EIO=4&transport=polling&sid=', 'EIO=4&transport=polling&j=0']) {
      const { status, body } = await ask(server, `/socket.io/?${query}`);
      assert.deepEqual([status, body.slice(0, 7)], [200, '0{"sid"'], query);
    }
  });

  test('for a session must be of its version and its transport', async () => {
    const session = await Polling.open(server);
    const asked = (query) => ask(server, `/socket.io/?${query}&sid=${session.sid}`).then(({ body }) => JSON.parse(body).code);
    assert.equal(await asked('EIO=3&transport=polling'), 3);
    assert.equal(await asked('EIO=4&transport=websocket'), 3);
    await session.send('40');
    assert.match(await session.hear(), /^40/);
    const socket = await Socket.open(server);
    const elsewhere = await ask(server, `${POLLING}&sid=${socket.sid}`);
    assert.deepEqual([elsewhere.status, JSON.parse(elsewhere.body).code], [400, 3]);
    const second = await Socket.probe({ server, target: POLLING, sid: socket.sid });
    await second.end();
    socket.send('40');
    assert.match(await socket.hear(), /^40/);
    await socket.close();
    await session.send('1');
  });
});

describe('a session that polls', () => {
  let server;
  before(async () => {
    server = await Server.start({ config: '[limits]\nbody_timeout_ms = 500\n[socketio]\nmax_payload_bytes = 1000\npayload_packets = 20\n' });
  });
  after(() => server.close());

  const joined = async () => {
    const session = await Polling.open(server);
    await session.send('40');
    assert.match(await session.hear(), /^40\{"sid":"[\w-]{20}"\}$/);
    return session;
  };
  const gone = async (session) => {
    const answer = await session.get();
    assert.deepEqual([answer.status, JSON.parse(answer.body).code], [400, 1]);
  };

  test('with two polls at once is ended: the first is told so, the second is wrong', async () => {
    const session = await joined();
    const answers = await Promise.all([session.get(), session.get()]);
    const [told, wrong] = answers.sort((one, other) => one.status - other.status);
    assert.deepEqual([told.status, told.body], [200, '1']);
    assert.deepEqual([wrong.status, wrong.body], [400, '']);
    await gone(session);
  });

  test('whose client aborts its poll is ended', async () => {
    const session = await joined();
    const going = new AbortController();
    const poll = session.get({ signal: going.signal }).catch((error) => error.name);
    setTimeout(() => going.abort(), 20);
    assert.equal(await poll, 'AbortError');
    await until(async () => (await ask(server, session.url, { method: 'POST' })).status === 400, 'the session to end');
  });

  test('whose client closes gets a noop for its poll, and is known no more', async () => {
    // The poll has a connection of its own: it may come when the session has ended already.
    await until(async () => {
      const session = await joined();
      const poll = session.get();
      await session.send('1');
      const { body } = await poll;
      assert.match(body, /^6$|"Session ID unknown"/);
      await gone(session);
      return body === '6';
    }, 'a poll to be there before the close');
  });

  test('survives a body over the limit', async () => {
    const session = await joined();
    assert.equal((await session.post(`42["nonsense","${'x'.repeat(1000)}"]`)).status, 413);
    await session.send('420["nonsense"]');
    assert.match(await session.hear(), /^430\[\{"code":"unknown_type"/);
    const exactly = `421["nonsense","${'x'.repeat(1000 - 18)}"]`;
    assert.equal(exactly.length, 1000);
    await session.send(exactly);
    assert.match(await session.hear(), /^431/);
    await session.send('1');
  });

  for (const [what, body, headers] of [
    ['no packet', 'abc'],
    ['an empty packet', `42["nonsense"]${SEPARATOR}`],
    ['an unknown type', '7'],
    ['wrong base64', 'b!!!'],
    ['text that is no UTF-8', Buffer.from([0x34, 0x32, 0xff, 0xfe])],
    ['more packets than may be', Array(21).fill('42["nonsense"]').join(SEPARATOR)],
    ['a ping', '2'],
    ['a binary body', Buffer.from('42["nonsense"]'), { 'content-type': 'application/octet-stream' }],
    ['a binary message that belongs to nothing', 'bAAEC'],
  ]) {
    test(`is ended by ${what}`, async () => {
      const session = await joined();
      const poll = session.get();
      const { status } = await session.post(body, { headers });
      assert.ok([200, 400].includes(status), `status ${status}`);
      // The poll has a connection of its own: it may come when the session has ended already.
      assert.match((await poll).body, /^(6|1|6\x1e1)$|"Session ID unknown"/);
      await session.end();
      await gone(session);
    });
  }

  test('takes many packets in one body and gives many in one answer', async () => {
    const session = await joined();
    await session.send(...Array.from({ length: 20 }, (_, n) => `42${n}["nonsense"]`));
    for (let n = 0; n < 20; n += 1) assert.ok((await session.hear()).startsWith(`43${n}[`));
    await session.send('1');
  });

  test('that is closed while its client does not poll tells it at its next poll', async () => {
    const session = await Polling.open(server);
    await session.send('40["no object"]');
    const { status, body } = await session.get();
    assert.equal(status, 200);
    assert.match(body, /^(6\x1e)?1$/);
    await gone(session);
  });

  /** A POST whose body has begun, and is known to the session. */
  const begun = async (session, length) => {
    const peer = await Peer.connect(server);
    peer.write(httpRequest('POST', session.url, ['Host: 127.0.0.1', `Content-Length: ${length}`], '42["nons'));
    return peer;
  };

  test('with two POSTs at once is ended', async () => {
    const session = await joined();
    const poll = session.get();
    const first = await begun(session, 14);
    // Nobody knows when it has arrived: further ones are taken until it has.
    await until(async () => (await session.post('')).status === 400, 'one POST too many');
    assert.equal((await first.answer()).status, 400);
    assert.equal((await poll).body, '1');
    await gone(session);
    first.destroy();
  });

  test('whose client goes in the middle of a POST is ended', async () => {
    const session = await joined();
    const poll = session.get();
    const peer = await begun(session, 100);
    await new Promise((resolve) => setTimeout(resolve, 50));
    peer.destroy();
    assert.equal((await poll).body, '1');
    await gone(session);
  });

  test('whose POST does not come to its end is ended', async () => {
    const session = await joined();
    const poll = session.get();
    const peer = await begun(session, 100);
    assert.equal((await peer.answer()).status, 408);
    assert.equal((await poll).body, '1');
    await gone(session);
    peer.destroy();
  });
});

describe('a packet', () => {
  let server;
  before(async () => {
    server = await Server.start();
  });
  after(() => server.close());

  const CLOSE = null;
  /** What is said when the namespace is joined, and what is answered. What comes behind is answered as ever, or nothing is. */
  const GOLDEN = [
    [['40'], CLOSE],
    [['40["a"]'], CLOSE],
    [['40/other,["a"]'], CLOSE],
    [['40/unknown'], '44/unknown,{"message":"Invalid namespace"}'],
    [['40/unknown,{"tok":"x"}'], '44/unknown,{"message":"Invalid namespace"}'],
    [['40/a?x=1,'], '44/a?x=1,{"message":"Invalid namespace"}'],
    [['42/unknown,["a"]'], CLOSE],
    [['42'], ''],
    [['42[]'], CLOSE],
    [['42{}'], CLOSE],
    [['42[true]'], CLOSE],
    [['42[null]'], CLOSE],
    [['42[{"toString":"foo"}]'], CLOSE],
    [['42[5]'], ''],
    ...['connect', 'connect_error', 'disconnect', 'disconnecting', 'newListener', 'removeListener'].map((name) => [[`42["${name}"]`], CLOSE]),
    [['42["error"]'], ''],
    [['42007["a"]'], /^437\[\{"code":"unknown_type"/],
    [['42-1["a"]'], CLOSE],
    [['42abc["a"]'], CLOSE],
    [['42999999999999999999999["a"]'], CLOSE],
    [['429007199254740991["a"]'], /^439007199254740991\[/],
    [['429007199254740992["a"]'], CLOSE],
    [['437[null,null,1]'], ''],
    [['437{}'], CLOSE],
    [['43'], ''],
    [['44{"message":"x"}'], CLOSE],
    [['451-["a",{"_placeholder":true,"num":0}]', '42["a"]'], CLOSE],
    [['451-["a",{"_placeholder":true,"num":0}]', Buffer.from('x')], ''],
    [['451-7["a",{"_placeholder":true,"num":0}]', Buffer.from('x')], /^437\[/],
    [['452-7["a",{"_placeholder":true,"num":1},{"_placeholder":true,"num":1}]', Buffer.from('x'), Buffer.from('y')], /^437\[/],
    [[Buffer.from('x')], CLOSE],
    [['45-["a"]'], CLOSE],
    [['450-["a"]'], CLOSE],
    [['4511-["a"]'], CLOSE],
    [['4599999-["a"]'], CLOSE],
    ...['1', '-1', '1.5', '1e9', 'null', '"concat"', '"0"', 'true', '[0]', '{}'].map((num) => [[`451-["a",{"_placeholder":true,"num":${num}}]`, Buffer.from('x')], CLOSE]),
    [['42["a",{"_placeholder":true,"num":0}]'], ''],
    [['461-7[{"_placeholder":true,"num":0}]', Buffer.from('x')], ''],
    [['46'], CLOSE],
    [['47'], CLOSE],
    [['4'], CLOSE],
    [['42["a"'], CLOSE],
    [['42["a"]]'], CLOSE],
    [[`42["a",${'['.repeat(100_000)}`], CLOSE],
    [['0'], ''],
    [['5'], ''],
    [['6'], ''],
    [['3'], ''],
    [['3probe'], ''],
  ];

  for (const [way, begin] of Object.entries(BEGINNINGS)) {
    for (const [said, expected] of GOLDEN) {
      const shown = said.map((packet) => (Buffer.isBuffer(packet) ? `<${packet}>` : packet.slice(0, 60))).join(' ');
      test(`${shown} by ${way} ${expected === CLOSE ? 'closes' : 'is answered as Node does'}`, async () => {
        const session = await begin(server);
        await session.send('40');
        assert.match(await session.hear(), /^40/);
        const written = way === 'websocket' ? said : said.map((packet) => (Buffer.isBuffer(packet) ? `b${packet.toString('base64')}` : packet));
        await session.send(...written);
        if (expected === CLOSE) return session.end();
        await session.send('42999["the end"]');
        if (expected) assert.match(await session.hear(), typeof expected === 'string' ? new RegExp(`^${expected.replace(/[?{]/g, '\\$&')}$`) : expected);
        assert.match(await session.hear(), /^43999\[/);
        await session.send('1');
      });
    }

    test(`before it has joined, an event by ${way} closes`, async () => {
      for (const early of ['42["a"]', '41', '431["a"]', '42/other,["a"]', '451-["a"]']) {
        const session = await begin(server);
        await session.send(...early === '451-["a"]' ? [early, '40'] : [early]);
        await session.end();
      }
    });

    test(`right behind the CONNECT, an event by ${way} is heard`, async () => {
      const session = await begin(server);
      await session.send('40', '420["join","live:x"]');
      assert.match(await session.hear(), /^40/);
      assert.match(await session.hear(), /^430\[\{"epoch"/);
      await session.send('1');
    });

    test(`that leaves the namespace by ${way} is not answered, and one may join again`, async () => {
      const session = await begin(server);
      await session.send('40');
      const first = await session.hear();
      await session.send('41', '40');
      const second = await session.hear();
      assert.match(second, /^40/);
      assert.equal(first.length, second.length);
      await session.send('1');
    });
  }

  test('of a WebSocket that is a close ends it at once', async () => {
    const socket = await Socket.open(server);
    socket.send('1');
    await socket.end();
  });

  for (const [what, packet] of [['a probe', '2probe'], ['a ping', '2'], ['no packet', ''], ['an unknown type', 'x'], ['wrong base64', 'b!!!']]) {
    test(`on a WebSocket that is ${what} closes`, async () => {
      const socket = await Socket.open(server);
      socket.send(packet);
      await socket.end();
    });
  }

  test('over the limit closes a WebSocket with 1009', async () => {
    const socket = await Socket.open(server);
    socket.send('40');
    await socket.hear();
    socket.send('4'.repeat(1_000_001));
    assert.equal(await socket.end(), 1009);
  });
});

describe('the heartbeat', () => {
  let server;
  before(async () => {
    server = await Server.start({ config: '[socketio]\nping_interval_ms = 300\nping_timeout_ms = 200\nupgrade_timeout_ms = 300\nconnect_timeout_ms = 400\npacket_timeout_ms = 300\nallow_eio3 = true\n' });
  });
  after(() => server.close());

  for (const [way, begin] of Object.entries(BEGINNINGS)) {
    test(`keeps a session that answers (${way})`, async () => {
      const session = await begin(server);
      await session.send('40');
      assert.match(await session.hear(), /^40/);
      for (let beat = 0; beat < 4; beat += 1) {
        assert.equal(await session.hear(), '2');
        await session.send('3');
      }
      await session.send('420["nonsense"]');
      assert.match(await session.hear(), /^430/);
      await session.send('1');
    });

    test(`ends a session that does not, and leaves nothing (${way})`, async () => {
      const session = await begin(server);
      await session.send('40', '42["join","live:nobody-else"]');
      assert.match(await session.hear(), /^40/);
      if (way === 'websocket') {
        assert.equal(await session.hear(), '2');
        await session.end();
      }
      await until(async () => {
        const { connections, rooms } = await server.health();
        return connections <= 1 && rooms <= 1;
      }, 'the counts to go back');
    });

    test(`does not begin with a ping (${way})`, async () => {
      const begun = Date.now();
      const session = await begin(server);
      assert.equal(await session.hear(), '2');
      assert.ok(Date.now() - begun >= 290, `after ${Date.now() - begun} ms`);
      await session.send('1');
    });

    test(`does not keep who joins no namespace (${way})`, async () => {
      const session = await begin(server);
      const answering = (async () => {
        for (let packet; (packet = await session.hear()) !== null;) if (packet === '2') await session.send('3');
      })();
      await within(5000, answering.catch(() => {}), 'the end');
    });

    test(`does not wait for attachments that do not come (${way})`, async () => {
      const session = await begin(server);
      await session.send('40', '451-["a",{"_placeholder":true,"num":0}]');
      const answering = (async () => {
        for (let packet; (packet = await session.hear()) !== null;) if (packet === '2') await session.send('3');
      })();
      await within(5000, answering.catch(() => {}), 'the end');
    });
  }

  test('of version 3 is the client\'s', async () => {
    const socket = await Socket.open(server, { query: 'EIO=3' });
    assert.equal(await socket.hear(), '40');
    for (let beat = 0; beat < 4; beat += 1) {
      socket.send('2');
      assert.equal(await socket.hear(), '3');
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    await socket.end();
  });
});

describe('a WebSocket that wants to replace polling', () => {
  let server;
  before(async () => {
    server = await Server.start({ config: '[socketio]\nupgrade_timeout_ms = 400\n' });
  });
  after(() => server.close());

  const joined = async () => {
    const session = await Polling.open(server);
    await session.send('40');
    assert.match(await session.hear(), /^40/);
    return session;
  };
  const lives = async (session) => {
    await session.send('420["nonsense"]');
    assert.match(await session.hear(), /^430/);
  };

  test('does, and gets what waited for a poll', async () => {
    const session = await joined();
    const name = room();
    await session.send(`420["join","${name}"]`);
    const probe = await Socket.probe(session);
    probe.send('2probe');
    assert.equal(await probe.hear(), '3probe');
    for (const n of [1, 2, 3]) await server.publish(name, { payload: n });
    probe.send('5');
    assert.match(await probe.hear(), /^430\[\{"epoch"/);
    for (const n of [1, 2, 3]) assert.match(await probe.hear(), new RegExp(`^42\\["message",${n},`));
    const old = await session.get();
    assert.deepEqual([old.status, JSON.parse(old.body).code], [400, 3]);
    const posted = await session.post('42["nonsense"]');
    assert.deepEqual([posted.status, JSON.parse(posted.body).code], [400, 3]);
    const third = await Socket.probe(session);
    await third.end();
    probe.send('420["nonsense"]');
    assert.match(await probe.hear(), /^430/);
    await probe.close();
    await session.end();
  });

  test('has polls ended with a noop, again and again', async () => {
    const session = await joined();
    const probe = await Socket.probe(session);
    probe.send('2probe');
    assert.equal(await probe.hear(), '3probe');
    // One each 100 ms, and the server waits for 400 ms here.
    for (let poll = 0; poll < 2; poll += 1) assert.equal((await session.get()).body, '6');
    session.heard = [];
    probe.send('5', '420["nonsense"]');
    assert.match(await probe.hear(), /^430/);
    await probe.close();
  });

  for (const [what, how] of [
    ['that says nothing', async () => {}],
    ['that goes after its probe', async (probe) => { probe.send('2probe'); await probe.hear(); probe.ws.terminate(); }],
    ['that goes at once', async (probe) => probe.ws.terminate()],
    ['that closes', async (probe) => probe.ws.close()],
    ['that probes and waits too long', async (probe) => probe.send('2probe')],
    ['that says something else', async (probe) => probe.send('42["nonsense"]')],
    ['that pings', async (probe) => probe.send('2')],
    ['that says something binary', async (probe) => probe.send(Buffer.from('x'))],
    ['that says nothing in a message', async (probe) => probe.send('')],
    ['that sends a reserved bit', async (probe) => probe.ws._socket.write(Buffer.from([0xf1, 0x80, 0, 0, 0, 0]))],
    ['that sends no WebSocket frames at all', async (probe) => probe.ws._socket.write('GET / HTTP/1.1\r\n\r\n'.repeat(10))],
  ]) {
    test(`and ${what} costs the session nothing`, async () => {
      const session = await joined();
      const probe = await Socket.probe(session);
      probe.ws.on('error', () => {});
      await how(probe);
      await probe.end();
      await lives(session);
      // Another one may.
      const next = await Socket.probe(session);
      next.send('2probe');
      assert.equal(await next.hear(), '3probe');
      next.send('5', '420["nonsense"]');
      assert.match(await next.hear(), /^430/);
      await next.close();
    });
  }

  test('is closed if another one is trying, which goes on', async () => {
    const session = await joined();
    const first = await Socket.probe(session);
    first.send('2probe');
    assert.equal(await first.hear(), '3probe');
    const second = await Socket.probe(session);
    await second.end();
    first.send('5', '420["nonsense"]');
    assert.match(await first.hear(), /^430/);
    await first.close();
  });

  test('leaves nothing behind, three hundred times', async () => {
    const idle = await server.health();
    for (let round = 0; round < 6; round += 1) {
      await Promise.all(Array.from({ length: 50 }, async () => {
        const session = await joined();
        const probe = await Socket.probe(session);
        probe.send('2probe');
        await probe.hear();
        if (round % 2) probe.ws.terminate();
        await session.send('1');
      }));
    }
    await until(async () => (await server.health()).connections <= idle.connections, 'the connections to go');
  });
});

describe('settings', () => {
  const served = async (t, config, how) => {
    const server = await Server.start({ config });
    t.after(() => server.close());
    return how(server);
  };

  test('that forbid the upgrade forbid it', (t) => served(t, '[socketio]\nupgrades = false\n', async (server) => {
    const session = await Polling.open(server);
    assert.deepEqual(session.opening.upgrades, []);
    await (await Socket.probe(session)).end();
    await session.send('40');
    assert.match(await session.hear(), /^40/);
  }));

  test('that leave only polling leave only polling', (t) => served(t, '[socketio]\nwebsocket = false\n', async (server) => {
    assert.deepEqual((await Polling.open(server)).opening.upgrades, []);
    assert.deepEqual((await refusal(server, WEBSOCKET)).body, 'Transport unknown');
  }));

  test('that leave only WebSockets leave only WebSockets', (t) => served(t, '[socketio]\npolling = false\n', async (server) => {
    assert.equal(JSON.parse((await ask(server, POLLING)).body).code, 0);
    await (await Socket.open(server)).close();
  }));

  test('that turn it off leave nothing there', (t) => served(t, '[socketio]\nenabled = false\n', async (server) => {
    assert.equal((await ask(server, POLLING)).status, 404);
    assert.equal((await refusal(server, WEBSOCKET)).status, 404);
  }));

  test('that turn rooms off leave no namespace', (t) => served(t, '[socketio]\nrooms = false\n', async (server) => {
    const socket = await Socket.open(server);
    socket.send('40');
    assert.equal(await socket.hear(), '44{"message":"Invalid namespace"}');
    await socket.close();
  }));

  test('choose the path', (t) => served(t, '[socketio]\npath = "/my/engine/"\n', async (server) => {
    assert.equal((await ask(server, POLLING)).status, 404);
    const [path, query] = ['/my/engine/', 'EIO=4'];
    await (await Socket.open(server, { path, query })).close();
    const session = await Polling.open(server, { path, query });
    await session.send('40');
    assert.match(await session.hear(), /^40/);
  }));

  test('choose a cookie, which the first answer of polling sets', (t) => served(t, '[socketio]\ncookie = "io"\n', async (server) => {
    const session = await Polling.open(server);
    assert.deepEqual(session.answer.headers['set-cookie'], [`io=${session.sid}; Path=/; HttpOnly; SameSite=Lax`]);
    await session.send('40');
    const { headers } = await session.get();
    assert.equal(headers['set-cookie'], undefined);
  }));

  test('bound the namespaces of a connection, by what it may wait for', (t) => served(t, '[socketio]\nnamespaces_per_connection = 1\n', async (server) => {
    const socket = await Socket.open(server);
    socket.send('40');
    assert.match(await socket.hear(), /^40/);
    socket.send('40/other');
    await socket.end();
  }));
});

describe('an answer to a poll', () => {
  let server;
  before(async () => {
    server = await Server.start();
  });
  after(() => server.close());

  const long = async (headers) => {
    const session = await Polling.open(server, { headers });
    const name = room();
    await session.send('40', `420["join","${name}"]`);
    await session.hear();
    if (session.heard.length === 0) await session.get();
    session.heard = [];
    await server.publish(name, { payload: 'x'.repeat(5000) });
    const answer = await session.get();
    await session.send('1');
    return answer;
  };

  for (const [coding, unpack] of [['gzip', gunzipSync], ['deflate', inflateSync]]) {
    test(`that is long is compressed with ${coding}`, async () => {
      const { headers, raw } = await long({ 'accept-encoding': coding });
      assert.equal(headers['content-encoding'], coding);
      assert.ok(raw.length < 500, `${raw.length} bytes`);
      assert.match(unpack(raw).toString(), /^42\["message","x{5000}",/);
    });
  }

  test('is not compressed for who takes none', async () => {
    for (const headers of [{}, { 'accept-encoding': 'br' }, { 'accept-encoding': 'gzip;q=0' }]) {
      const answer = await long(headers);
      assert.equal(answer.headers['content-encoding'], undefined);
      assert.match(answer.body, /^42\["message","x{5000}",/);
    }
  });

  test('that is short is not compressed', async () => {
    const session = await Polling.open(server, { headers: { 'accept-encoding': 'gzip' } });
    assert.equal(session.answer.headers['content-encoding'], undefined);
    await session.send('1');
  });

  test('may not be kept by those on its way', async () => {
    const session = await Polling.open(server);
    await session.send('40');
    const { headers } = await session.get();
    assert.equal(headers['cache-control'], 'no-store');
    await session.send('1');
  });
});

describe('a page', () => {
  const APP = 'https://app.example';
  let server;
  before(async () => {
    server = await Server.start({ config: `origins = ["${APP}"]\n` });
  });
  after(() => server.close());

  test('of an origin that may connect is told so', async () => {
    const { status, headers } = await ask(server, POLLING, { headers: { origin: APP } });
    assert.equal(status, 200);
    assert.equal(headers['access-control-allow-origin'], APP);
    assert.equal(headers['access-control-allow-credentials'], 'true');
    assert.match(headers.vary, /origin/i);
    const socket = await Socket.open(server, { origin: APP });
    await socket.close();
  });

  test('of another origin gets nothing', async () => {
    for (const origin of ['https://evil.example', 'null', 'https://app.example.evil.example', 'http://app.example']) {
      const { status, headers } = await ask(server, POLLING, { headers: { origin } });
      assert.deepEqual([status, headers['access-control-allow-origin']], [403, undefined], origin);
      assert.equal((await refusal(server, WEBSOCKET, [`Origin: ${origin}`])).status, 403, origin);
    }
  });

  test('may ask first', async () => {
    const headers = { origin: APP, 'access-control-request-method': 'POST', 'access-control-request-headers': 'content-type' };
    const answer = await ask(server, POLLING, { method: 'OPTIONS', headers });
    assert.equal(answer.status, 204);
    assert.equal(answer.headers['access-control-allow-origin'], APP);
    assert.match(answer.headers['access-control-allow-methods'], /POST/);
  });

  test('of an origin that may connect can read why it was refused', async () => {
    const { status, headers } = await ask(server, `${POLLING}&sid=nobody`, { headers: { origin: APP } });
    assert.deepEqual([status, headers['access-control-allow-origin']], [400, APP]);
  });
});
