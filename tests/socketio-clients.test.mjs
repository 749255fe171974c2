// What Socket.IO's own client goes through: it changes its transport while much is said, it comes back, it is thrown
// out, it is slow, it says who it is.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, test } from 'node:test';
import { Client, WAYS } from './lib/io.mjs';
import { Polling, Socket as Engine } from './lib/engine.mjs';
import { Server, room, until, within } from './lib/server.mjs';
import { Socket } from './lib/socket.mjs';

const SECRET = 'a secret of at least thirty-two bytes';
const upTo = (last, first = 1) => Array.from({ length: last - first + 1 }, (_, at) => first + at);

async function served(t, options = {}) {
  const server = await Server.start(options);
  t.after(() => server.close());
  const opened = [];
  t.after(() => { for (const client of opened) client.close(); });
  const client = (more) => {
    opened.push(new Client(server, more));
    return opened.at(-1);
  };
  const open = async (more) => {
    const opening = client(more);
    await opening.connected();
    return opening;
  };
  return { server, client, open };
}

describe('the change of transport', () => {
  test('loses nothing and keeps every order, for many clients, while all of them talk and listen', async (t) => {
    const { server, client } = await served(t);
    const [count, each, name] = [24, 32, room()];
    const clients = upTo(count).map(() => client(WAYS.upgrade));
    await Promise.all(clients.map((one) => one.connected()));
    await Promise.all(clients.map((one) => one.join(name)));
    // The first words are said by polling, the last by WebSocket, and those in between in the middle of it.
    await Promise.all(clients.map(async (one, at) => {
      const answered = [];
      for (const n of upTo(each)) {
        answered.push(one.publish(name, 'message', [at, n]));
        if (n % 8 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
      }
      await Promise.all(answered);
      await one.upgraded();
    }));
    const total = count * each;
    const { events } = await (await server.events(name, '?limit=500')).json();
    const heads = events.at(-1).seq;
    assert.equal(heads, total);
    for (const [at, one] of clients.entries()) {
      const read = await one.events('message', total - each);
      const numbers = read.map(([, { seq }]) => seq);
      assert.deepEqual(numbers, [...numbers].sort((a, b) => a - b), 'the room\'s order');
      const next = new Map();
      for (const [[who, n]] of read) {
        assert.equal(n, (next.get(who) ?? 0) + 1, 'each writer\'s order');
        next.set(who, n);
      }
      assert.ok(!next.has(at), 'not its own');
      assert.equal(one.transport, 'websocket');
      assert.deepEqual(one.inbox.items, []);
    }
  });

  test('keeps bytes with what they belong to', async (t) => {
    const { server, client, open } = await served(t);
    const [name, writer] = [room(), await open(WAYS.websocket)];
    const readers = await Promise.all(upTo(10).map(() => open(WAYS.upgrade)));
    await Promise.all(readers.map((reader) => reader.join(name)));
    const payload = (n) => ({ n, one: Buffer.alloc(n, n), two: Buffer.from(String(n)) });
    const talking = (async () => {
      for (const n of upTo(100)) await writer.publish(name, 'message', payload(n));
    })();
    const late = upTo(10).map(() => client(WAYS.upgrade));
    for (const n of upTo(20)) for (const one of late) one.socket.emit('publish', name, 'late', payload(n));
    await talking;
    for (const reader of readers) {
      assert.deepEqual((await reader.events('message', 100)).map(([got]) => got), upTo(100).map(payload));
      assert.equal((await reader.events('late', 200)).length, 200);
    }
    void server;
  });

  test('does not wait for the next ping', async (t) => {
    const { open } = await served(t);
    const one = await open(WAYS.upgrade);
    await one.upgraded();
    assert.equal((await one.ask('leave', room())).code, 'not_found');
  });

  test('fails without harm where there are no WebSockets', async (t) => {
    const { server, open } = await served(t, { config: '[socketio]\nupgrades = false\n' });
    const [name, one] = [room(), await open(WAYS.upgrade)];
    await one.join(name);
    for (const n of upTo(20)) await server.publish(name, { payload: n });
    assert.deepEqual((await one.events('message', 20)).map(([payload]) => payload), upTo(20));
    assert.equal(one.transport, 'polling');
  });
});

describe('the heartbeat', () => {
  for (const [way, options] of Object.entries(WAYS)) {
    test(`keeps a client that is quiet (${way})`, async (t) => {
      const { open } = await served(t, { config: '[socketio]\nping_interval_ms = 100\nping_timeout_ms = 200\n' });
      const one = await open(options);
      let pings = 0;
      one.socket.io.on('ping', () => { pings += 1; });
      await until(() => pings >= 5, 'five pings');
      assert.deepEqual(one.reasons, []);
      assert.equal((await one.ask('leave', room())).code, 'not_found');
    });
  }

  test('tells a client that its server is gone', async (t) => {
    const { server, open } = await served(t, { config: '[socketio]\nping_interval_ms = 100\nping_timeout_ms = 200\n' });
    const clients = await Promise.all(Object.values(WAYS).map(open));
    server.process.kill('SIGSTOP');
    t.after(() => server.process.kill('SIGCONT'));
    for (const one of clients) assert.match(await one.disconnected(), /ping timeout|transport/);
  });

  test('lets go of clients that are gone without a word', async (t) => {
    const { server, open } = await served(t, { config: '[socketio]\nping_interval_ms = 200\nping_timeout_ms = 200\n' });
    const idle = await server.health();
    const clients = await Promise.all(upTo(20).map(() => open(WAYS.websocket)));
    await Promise.all(clients.map((one) => one.join(room())));
    const sockets = clients.map((one) => one.engine.transport.ws);
    for (const socket of sockets) socket.pause();
    await until(async () => {
      const { connections, rooms } = await server.health();
      return connections <= idle.connections && rooms <= idle.rooms;
    }, 'the counts to go back');
    for (const socket of sockets) socket.terminate();
  });
});

describe('a client that comes back', () => {
  for (const [way, options] of Object.entries(WAYS)) {
    test(`after the server was killed, gets what it missed (${way})`, async (t) => {
      const { server, client } = await served(t);
      const [name, one] = [room('feed'), client({ ...options, reconnection: true, reconnectionDelay: 20, reconnectionDelayMax: 50 })];
      await one.connected();
      const { epoch } = await one.join(name);
      await server.publish(name, { payload: 1 });
      const [[, { seq }]] = await one.events('message', 1);
      await server.kill();
      await one.disconnected();
      await server.crash();
      await server.publish(name, { payload: 2 });
      await until(() => one.socket.connected, 'the client to come back', 15_000);
      assert.deepEqual(await one.join(name, `${epoch}:${seq}`), { room: name, epoch, seq: 2 });
      assert.equal((await one.event('message'))[0], 2);
    });
  }

  test('sends again what it could not, and it counts once', async (t) => {
    const { server, client } = await served(t);
    const [name, one] = [room('feed'), client({ ...WAYS.websocket, reconnection: true, reconnectionDelay: 20, reconnectionDelayMax: 50, retries: 10, ackTimeout: 1000 })];
    await one.connected();
    const answers = upTo(30).map((n) => new Promise((resolve) => {
      one.socket.emit('publish', name, 'message', n, { id: `n${n}` }, (error, answer) => resolve(answer));
    }));
    await answers[3];
    await server.crash();
    const seqs = (await within(20_000, Promise.all(answers), 'all answers')).map(({ seq }) => seq);
    assert.deepEqual(seqs, upTo(30));
    const { events } = await (await server.events(name, '?limit=500')).json();
    assert.deepEqual(events.map(({ payload }) => payload), upTo(30));
  });
});

describe('a graceful stop', () => {
  for (const [way, options] of Object.entries(WAYS)) {
    test(`ends clients so that they come back (${way})`, async (t) => {
      const { server, client } = await served(t);
      const one = client({ ...options, reconnection: true, reconnectionDelay: 20, reconnectionDelayMax: 50 });
      await one.connected();
      if (way === 'upgrade') await one.upgraded();
      assert.deepEqual(await server.stop(), { code: 0, signal: null });
      assert.match(await one.disconnected(), /^transport (close|error)$/, 'a reason for which clients come back');
      await server.crash();
      await until(() => one.socket.connected, 'the client to come back', 15_000);
    });
  }

  test('in the middle of everything ends well, and keeps what was acknowledged', async (t) => {
    const { server, client } = await served(t);
    const name = room('feed');
    const clients = upTo(12).map((n) => client(Object.values(WAYS)[n % 3]));
    const acknowledged = [];
    let talking = true;
    for (const [at, one] of clients.entries()) {
      one.socket.on('connect', () => {
        one.socket.emit('join', name);
        const talk = (n) => {
          if (!talking) return;
          one.socket.emit('publish', name, 'message', [at, n], (answer) => {
            if (answer.seq) acknowledged.push([answer.seq, [at, n]]);
            talk(n + 1);
          });
        };
        talk(1);
      });
    }
    await until(() => acknowledged.length > 500, 'some talk', 20_000);
    assert.deepEqual(await server.stop(), { code: 0, signal: null });
    talking = false;
    assert.doesNotMatch(server.log, /panick/);
    const again = await Server.start({ folder: server.folder });
    t.after(() => again.close());
    const kept = new Map();
    for (let since = `${(await (await again.events(name, '?limit=1')).json()).next.split(':')[0]}:0`; ;) {
      const { events, next } = await (await again.events(name, `?since=${since}&limit=500`)).json();
      if (events.length === 0) break;
      for (const { seq, payload } of events) kept.set(seq, payload);
      since = next;
    }
    assert.deepEqual(acknowledged.filter(([seq, payload]) => String(kept.get(seq)) !== String(payload)), []);
  });
});

describe('who it is', () => {
  const config = `[auth]\nsecret = "${SECRET}"\n`;
  for (const [how, options] of [
    ['auth.token', (token) => ({ auth: { token } })],
    ['a function as auth', (token) => ({ auth: (tell) => tell({ token }) })],
    ['the header Authorization', (token) => ({ extraHeaders: { authorization: `Bearer ${token}` } })],
    ['the query', (token) => ({ query: { token } })],
  ]) {
    for (const [way, by] of Object.entries(WAYS)) {
      test(`is said by ${how} (${way})`, async (t) => {
        const { server, open, client } = await served(t, { config });
        const token = await server.token('alice');
        const [name, one] = [room(), await open({ ...by, ...options(token) })];
        const bob = await open({ ...by, ...options(await server.token('bob')) });
        await bob.join(name);
        await one.publish(name, 'message', 1);
        assert.equal((await bob.event('message'))[1].userId, 'alice');
        assert.equal((await bob.join('user:alice')).code, 'forbidden');
        assert.equal((await bob.join('inbox:alice')).code, 'forbidden');
        assert.equal((await one.join('inbox:alice')).room, 'inbox:alice');
        const wrong = client({ ...by, ...options(`${token}x`) });
        await assert.rejects(wrong.connected(), (error) => {
          assert.equal(error.message, 'Invalid authentication token');
          assert.deepEqual([error.data.error, error.data.code], ['Invalid authentication token', 'token_invalid']);
          return true;
        });
      });
    }
  }

  test('must be said where nobody may be anonymous, and may be said better on the same connection', async (t) => {
    const { server, client } = await served(t, { config });
    const [token, one] = [await server.token('alice'), client(WAYS.websocket)];
    await assert.rejects(one.connected(), { message: 'Authentication token required' });
    one.socket.auth = { token };
    one.socket.connect();
    await one.connected();
    assert.equal((await one.join('inbox:alice')).room, 'inbox:alice');
    const socket = await Engine.open(server);
    socket.send('40');
    assert.match(await socket.hear(), /^44\{"message":"Authentication token required"/);
    socket.send('40{"token":"x"}');
    assert.match(await socket.hear(), /^44\{"message":"Invalid authentication token"/);
    socket.send(`40{"token":"${token}"}`, '420["join","inbox:alice"]');
    assert.match(await socket.hear(), /^40/);
    assert.match(await socket.hear(), /^430\[\{"epoch"/);
    await socket.close();
  });

  test('is not said by what is no token', async (t) => {
    const { client } = await served(t, { config });
    for (const token of ['', 'x', 7, null, {}, ['x'], 'x'.repeat(50_000)]) {
      const one = client({ ...WAYS.websocket, auth: { token } });
      await assert.rejects(one.connected(), (error) => /^(Invalid authentication token|Authentication token required)$/.test(error.message), JSON.stringify(token));
    }
  });
});

describe('a namespace that there is not', () => {
  for (const [way, options] of Object.entries(WAYS)) {
    test(`is refused, and the connection stays (${way})`, async (t) => {
      const { open, client } = await served(t);
      const one = await open(options);
      const other = one.socket.io.socket('/nowhere');
      const error = await within(5000, new Promise((resolve) => other.connect().once('connect_error', resolve)), 'the no');
      assert.equal(error.message, 'Invalid namespace');
      assert.equal((await one.ask('leave', room())).code, 'not_found');
      await assert.rejects(client({ ...options, namespace: '/nowhere' }).connected(), { message: 'Invalid namespace' });
    });
  }
});

describe('a client that does not read', () => {
  for (const kind of ['live', 'feed']) {
    test(`holds nobody else up, and reads on where it was or is told of the gap (${kind})`, async (t) => {
      const { server, open } = await served(t);
      const [name, slow, other] = [room(kind), await open(WAYS.websocket), await open(WAYS.websocket)];
      const { epoch } = await slow.join(name);
      await other.join(name);
      slow.engine.transport.ws.pause();
      const before = await server.health();
      // Random, so that it stays long when it is compressed.
      const [count, text] = [kind === 'live' ? 3000 : 600, randomBytes(6000).toString('base64')];
      const publisher = await Socket.open(server);
      for (let n = 0; n < count; n += 100) await Promise.all(upTo(100).map(() => publisher.broadcast(name, text)));
      await other.events('message', count);
      const { memory } = await server.health();
      assert.ok(memory.rss - before.memory.rss < 80 << 20, `grew by ${(memory.rss - before.memory.rss) >> 20} MiB`);
      slow.engine.transport.ws.resume();
      await server.publish(name, { payload: 'last' });
      let place = 0;
      let gaps = 0;
      while (place <= count) {
        const { event, args } = await slow.inbox.next(() => true, `what comes after ${place}`);
        if (event === 'gap') {
          assert.deepEqual([args[0].from, args[0].epoch], [place + 1, epoch]);
          place = args[0].to;
          gaps += 1;
        } else {
          assert.equal(args[1].seq, place + 1);
          place = args[1].seq;
        }
      }
      assert.ok(kind === 'live' ? gaps > 0 : gaps === 0, `${gaps} gaps`);
      await publisher.close();
    });
  }

  test('because it does not poll either, and reads on (polling)', async (t) => {
    const { server } = await served(t);
    const name = room('feed');
    const session = await Polling.open(server);
    await session.send('40', `420["join","${name}"]`);
    await session.hear();
    const count = 600;
    const publisher = await Socket.open(server);
    for (let n = 0; n < count; n += 100) await Promise.all(upTo(100).map((at) => publisher.broadcast(name, [n + at, randomBytes(6000).toString('base64')])));
    await publisher.close();
    const got = [];
    while (got.length < count) {
      const packet = await session.hear();
      assert.notEqual(packet, null, `the session ended at ${got.length}`);
      if (packet.startsWith('42')) got.push(JSON.parse(packet.slice(2))[1][0]);
    }
    assert.deepEqual(got, upTo(count));
    await session.send('1');
  });

  test('and says more than is answered is not read on, and holds nobody else up', async (t) => {
    const { server, open } = await served(t);
    const [name, other] = [room('feed'), await open()];
    await other.join(name);
    const socket = await Engine.open(server);
    socket.send('40');
    await socket.hear();
    socket.ws.pause();
    const before = await server.health();
    for (const n of upTo(4000)) socket.send(`42${n}["publish","${name}","message","${'x'.repeat(500)}"]`);
    const seen = await other.events('message', 4000);
    assert.deepEqual(seen.map(([, { seq }]) => seq), upTo(4000));
    const { memory } = await server.health();
    assert.ok(memory.rss - before.memory.rss < 64 << 20);
    socket.ws.terminate();
  });
});
