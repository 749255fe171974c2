// Event streams, against npm's `eventsource` and on the wire over HTTP/1.1 and HTTP/2.

import assert from 'node:assert/strict';
import http from 'node:http';
import { after, before, describe, test } from 'node:test';
import { EventSource } from 'eventsource';
import { Line } from './browser/line.mjs';
import { Server, room, until, within } from './lib/server.mjs';
import { Socket } from './lib/socket.mjs';
import { Stream } from './lib/stream.mjs';

const CONFIG = `
origins = ["https://app.example"]
[sse]
keep_alive_ms = 1000
[classes.small]
keep = "memory"
events = 10
[classes.short]
keep = "none"
`;

let server;
const opened = [];

before(async () => {
  server = await Server.start({ config: CONFIG });
});

after(async () => {
  for (const stream of opened) stream.close();
  await server?.close();
});

/** A stream of these rooms that has begun. */
async function stream(names, { query = '', h2 = false, ...options } = {}) {
  const rooms = [names].flat().map((name) => `room=${encodeURIComponent(name)}`).join('&');
  const path = `/sse?${rooms}${query}`;
  const one = h2 ? await Stream.openH2(server, path, options.headers) : await Stream.open(server, path, options);
  opened.push(one);
  if (one.status === 200) one.connected = await one.event('connected');
  return one;
}

async function publish(name, payload, more = {}) {
  const answer = await server.publish(name, { payload, ...more });
  assert.equal(answer.status, 201);
  return answer.json();
}

async function publishAll(name, payloads) {
  let last;
  for (const payload of payloads) last = await publish(name, payload);
  return last;
}

const data = (events) => events.map((event) => JSON.parse(event.data));
const upTo = (last, first = 1) => Array.from({ length: last - first + 1 }, (_, at) => first + at);

describe('a stream', () => {
  test('has the headers of the seed', async () => {
    const { status, headers } = await stream(room());
    const { 'content-type': type, 'cache-control': cache, connection, 'x-accel-buffering': buffering } = headers;
    assert.deepEqual({ status, type, cache, connection, buffering }, {
      status: 200,
      type: 'text/event-stream',
      cache: 'no-cache',
      connection: 'keep-alive',
      buffering: 'no',
    });
  });

  test('begins with the time to reconnect and connected, in bytes a browser expects', async () => {
    const one = await stream(room());
    assert.match(one.text, /^retry: 5000\n\nid: [\w-]+:0\nevent: connected\ndata: \{"clientId":"[\w-]{16,}"\}\n\n/);
  });

  test('shows an event as its name, its position and its payload', async () => {
    const name = room();
    const one = await stream(name);
    const { epoch, seq } = await publish(name, { text: 'hi' }, { event: 'greeting' });
    assert.deepEqual(await one.event('greeting'), { id: `${epoch}:${seq}`, event: 'greeting', data: '{"text":"hi"}' });
  });

  test('with format=envelope shows the whole event', async () => {
    const name = room();
    const one = await stream(name, { query: '&format=envelope' });
    const { epoch } = await publish(name, 'x');
    const { timestamp, ...event } = JSON.parse((await one.event('message')).data);
    assert.deepEqual(event, { room: name, event: 'message', payload: 'x', from: null, userId: null, seq: 1, epoch });
    assert.ok(Number.isInteger(timestamp));
  });

  test('without a room is of the room all, whose events have no id', async () => {
    const one = await Stream.open(server, '/sse');
    opened.push(one);
    await one.event('connected');
    await publish('all', 'to everybody');
    assert.deepEqual(await one.event('message'), { event: 'message', data: '"to everybody"' });
  });

  test('of rooms without a log has no id, and their places are in no id', async () => {
    const signal = room('signal');
    for (const h2 of [false, true]) {
      const alone = await stream(signal, { h2 });
      assert.deepEqual(Object.keys(alone.connected), ['event', 'data']);
      const both = await stream([room(), signal], { h2 });
      assert.match(both.connected.id, /^m\.[\w-]+\.[0-9a-f]+:0:0$/);
    }
  });

  test('shows a sign of life while nothing happens', async () => {
    const one = await stream(room());
    assert.deepEqual(await one.next((block) => 'comment' in block), { comment: 'keep-alive' });
  });

  test('has a client id that others can write to', async () => {
    const one = await stream(room());
    const { clientId } = JSON.parse(one.connected.data);
    assert.match(clientId, /^[\w-]{16,}$/);
  });

  test('splits a payload with newlines into a line of data each', async () => {
    const name = room();
    const one = await stream(name);
    await server.publish(name, '{"payload":{\n"a":\r\n1,\r"b":2}}');
    await one.event('message');
    assert.match(one.text, /\nevent: message\ndata: \{\ndata: "a":\ndata: 1,\ndata: "b":2\}\n\n/);
  });

  test('leaves the line separators of Unicode alone', async () => {
    const name = room();
    const one = await stream(name);
    await publish(name, 'a\u2028b\u2029c\u0085d');
    assert.equal(JSON.parse((await one.event('message')).data), 'a\u2028b\u2029c\u0085d');
  });

  test('is told of what clients of the native protocol publish', async () => {
    const [name, socket] = [room(), await Socket.open(server)];
    const one = await stream(name);
    await socket.broadcast(name, 'from a socket');
    await socket.close();
    assert.deepEqual(data(await one.events('message', 1)), ['from a socket']);
  });

  for (const [what, path, status, code] of [
    ['of an empty room', '/sse?room=', 400, 'invalid_name'],
    ['of a room with a newline', '/sse?room=a%0Ab', 400, 'invalid_name'],
    ['of the inbox of somebody', '/sse?room=inbox:bob', 403, 'forbidden'],
    ['of 51 rooms', `/sse?${upTo(51).map((n) => `room=live:${n}`).join('&')}`, 429, 'too_many_rooms'],
    ['of an unknown format', '/sse?room=live:x&format=xml', 400, 'invalid_field'],
    ['from a position of nowhere', '/sse?room=live:x&lastEventId=nonsense', 400, 'invalid_position'],
  ]) {
    test(`${what} is refused with ${status}`, async () => {
      const answer = await fetch(`${server.http}${path}`);
      assert.deepEqual([answer.status, (await answer.json()).code], [status, code]);
    });
  }
});

describe('a stream that resumes', () => {
  const ways = {
    'the header Last-Event-ID': (id) => ({ headers: { 'Last-Event-ID': id } }),
    'the query last_event_id': (id) => ({ query: `&last_event_id=${encodeURIComponent(id)}` }),
    'the query lastEventId': (id) => ({ query: `&lastEventId=${encodeURIComponent(id)}` }),
  };
  for (const [way, from] of Object.entries(ways)) {
    test(`by ${way} gets what it missed`, async () => {
      const name = room();
      const { epoch } = await publishAll(name, [1, 2, 3]);
      const one = await stream(name, from(`${epoch}:1`));
      assert.deepEqual(data(await one.events('message', 2)), [2, 3]);
    });
  }

  test('believes the header before the query, which a browser keeps from the first time', async () => {
    const name = room();
    const { epoch } = await publishAll(name, [1, 2, 3]);
    const one = await stream(name, { query: `&lastEventId=${epoch}:0`, headers: { 'Last-Event-ID': `${epoch}:2` } });
    assert.deepEqual(data(await one.events('message', 1)), [3]);
  });

  test('gets what it missed before connected, which stands at the last of it', async () => {
    const name = room();
    const { epoch } = await publishAll(name, [1, 2]);
    const one = await stream(name, { headers: { 'Last-Event-ID': `${epoch}:0` } });
    assert.deepEqual([...one.text.matchAll(/^(?:id|event): (.*)$/gm)].map((line) => line[1]), [
      `${epoch}:1`, 'message', `${epoch}:2`, 'message', `${epoch}:2`, 'connected',
    ]);
  });

  test('from connected misses nothing that was published since', async () => {
    const name = room();
    const first = await stream(name);
    first.close();
    await publishAll(name, [1, 2]);
    const second = await stream(name, { headers: { 'Last-Event-ID': first.connected.id } });
    assert.deepEqual(data(await second.events('message', 2)), [1, 2]);
  });

  test('is told the gap when what it missed is no longer kept', async () => {
    const name = room('small');
    const { epoch } = await publishAll(name, upTo(25));
    const one = await stream(name, { headers: { 'Last-Event-ID': `${epoch}:5` } });
    const { id, data: text } = await one.event('gap');
    assert.deepEqual([id, JSON.parse(text)], [`${epoch}:15`, { room: name, from: 6, to: 15, epoch }]);
    assert.deepEqual(data(await one.events('message', 10)), upTo(25, 16));
  });

  test('is told a gap from 0 when the room began anew', async () => {
    const name = room();
    const { epoch } = await publish(name, 1);
    const one = await stream(name, { headers: { 'Last-Event-ID': 'another:9' } });
    assert.deepEqual(JSON.parse((await one.event('gap')).data), { room: name, from: 0, to: 0, epoch });
  });

  test('while others publish misses nothing and gets nothing twice', async () => {
    const [name, total] = [room(), 900];
    const socket = await Socket.open(server);
    const { epoch } = await socket.join(name);
    for (const n of upTo(total)) socket.send({ type: 'broadcast', room: name, payload: n });
    const got = [];
    let id = `${epoch}:0`;
    while (got.length < total) {
      const one = await Stream.open(server, `/sse?room=${name}`, { headers: { 'Last-Event-ID': id } });
      const events = await one.events('message', Math.min(90, total - got.length));
      one.close();
      got.push(...data(events));
      id = events.at(-1).id;
    }
    await socket.close();
    assert.deepEqual(got, upTo(total));
  });
});

describe('a stream of several rooms', () => {
  test('shows the events of all of them', async () => {
    const names = [room(), room()];
    const one = await stream(names, { query: '&format=envelope' });
    await publish(names[0], 'a');
    await publish(names[1], 'b');
    const events = data(await one.events('message', 2));
    assert.deepEqual(events.map(({ room: of, payload }) => [of, payload]), [[names[0], 'a'], [names[1], 'b']]);
  });

  test('resumes all of them from one id, and misses nothing and repeats nothing', async () => {
    const names = [room(), room(), room()];
    const first = await stream(names);
    await publish(names[0], 'a1');
    await publish(names[1], 'b1');
    const [, { id }] = await first.events('message', 2);
    first.close();
    await publish(names[2], 'c1');
    await publish(names[0], 'a2');
    await publish(names[1], 'b2');
    const second = await stream(names, { headers: { 'Last-Event-ID': id } });
    assert.deepEqual(data(await second.events('message', 3)).sort(), ['a2', 'b2', 'c1']);
    await publish(names[0], 'a3');
    assert.deepEqual(data(await second.events('message', 1)), ['a3']);
  });

  test('resumes from the middle of what was published by many at once', async () => {
    const [names, each] = [[room(), room()], 300];
    const sockets = [await Socket.open(server), await Socket.open(server)];
    const first = await stream(names, { query: '&format=envelope' });
    names.forEach((name, at) => {
      for (const n of upTo(each)) sockets[at].send({ type: 'broadcast', room: name, payload: n });
    });
    const before = await first.events('message', 250);
    first.close();
    const second = await stream(names, { query: '&format=envelope', headers: { 'Last-Event-ID': before.at(-1).id } });
    const all = data([...before, ...await second.events('message', 2 * each - 250)]);
    for (const socket of sockets) await socket.close();
    const seqs = (name) => all.filter((event) => event.room === name).map((event) => event.seq);
    assert.deepEqual(names.map(seqs), [upTo(each), upTo(each)]);
  });

  test('tells the gap of one and replays the other', async () => {
    const names = [room('small'), room()];
    const first = await stream(names);
    first.close();
    await publishAll(names[0], upTo(12));
    await publish(names[1], 'kept');
    const second = await stream(names, { query: '&format=envelope', headers: { 'Last-Event-ID': first.connected.id } });
    const { room: of, from, to } = JSON.parse((await second.event('gap')).data);
    assert.deepEqual([of, from, to], [names[0], 1, 2]);
    const events = data(await second.events('message', 11));
    assert.ok(events.some((event) => event.payload === 'kept'));
  });

  test('has ids of less than 2 KiB without a newline, even of 50 rooms', async () => {
    const one = await stream(upTo(50).map(() => room()));
    assert.match(one.connected.id, /^[!-~]{50,2047}$/);
  });
});

describe('npm eventsource', () => {
  function source(url, rooms, events = ['message'], init = {}) {
    const one = new EventSource(`${url}sse?${rooms.map((name) => `room=${name}`).join('&')}`, init);
    opened.push(one);
    one.heard = [];
    one.connects = 0;
    one.addEventListener('connected', () => { one.connects += 1; });
    for (const name of events) one.addEventListener(name, (event) => one.heard.push(event));
    return one;
  }

  test('hears events by their names, with ids', async () => {
    const name = room();
    const one = source(`${server.http}/`, [name], ['greeting']);
    await until(() => one.connects === 1, 'connected');
    const { epoch } = await publish(name, { a: '\n' }, { event: 'greeting' });
    await until(() => one.heard.length === 1, 'the event');
    assert.deepEqual([one.heard[0].lastEventId, one.heard[0].data], [`${epoch}:1`, '{"a":"\\n"}']);
  });

  test('comes back by itself after its line was cut, and misses nothing and hears nothing twice', async () => {
    const quick = await Server.start({ config: '[sse]\nretry_ms = 20\n' });
    const line = await Line.to(new URL(quick.http));
    const names = [room(), room()];
    const one = source(line.url, names);
    for (const n of upTo(6)) {
      await until(() => one.connects === n, `connection ${n}`);
      await quick.publish(names[0], { payload: `heard ${n}` });
      await until(() => one.heard.length === 2 * n - 1, `event ${n}`);
      line.cut();
      await quick.publish(names[1], { payload: `missed ${n}` });
      await until(() => one.heard.length === 2 * n, `what was missed ${n}`);
    }
    one.close();
    await line.close();
    await quick.close();
    const expected = upTo(6).flatMap((n) => [`heard ${n}`, `missed ${n}`]);
    assert.deepEqual(one.heard.map((event) => JSON.parse(event.data)), expected);
  });

  test('gets a token through in a header', async () => {
    const closed = await Server.start({ config: '[auth]\nanonymous = false\n' });
    const headers = { Authorization: `Bearer ${await closed.token('alice')}` };
    const withToken = (url, init) => fetch(url, { ...init, headers: { ...init.headers, ...headers } });
    const one = source(`${closed.http}/`, ['inbox:alice'].map((name) => name.replace('inbox', 'user')), ['message'], { fetch: withToken });
    await until(() => one.connects === 1, 'connected');
    one.close();
    await closed.close();
  });
});

describe('over HTTP', () => {
  test('a stream may be a later request of a connection', async () => {
    const [name, agent] = [room(), new http.Agent({ keepAlive: true, maxSockets: 1 })];
    await new Promise((resolve, reject) => {
      http.get(`${server.http}/health`, { agent }, (response) => response.resume().on('end', resolve)).on('error', reject);
    });
    const one = await stream(name, { agent });
    await publish(name, 'x');
    await one.event('message');
    const { 'content-type': type, 'cache-control': cache, connection, 'x-accel-buffering': buffering } = one.headers;
    assert.deepEqual({ reused: one.reused, type, cache, connection, buffering }, {
      reused: true,
      type: 'text/event-stream',
      cache: 'no-cache',
      connection: 'keep-alive',
      buffering: 'no',
    });
  });

  test('/2 a stream has no header that HTTP/2 forbids', async () => {
    const { status, headers } = await stream(room(), { h2: true });
    const { 'content-type': type, 'x-accel-buffering': buffering, connection } = headers;
    assert.deepEqual([status, type, buffering, connection], [200, 'text/event-stream', 'no', undefined]);
  });

  test('/2 many streams share a connection and resume', async () => {
    const names = [room(), room()];
    const { epoch } = await publishAll(names[0], [1, 2]);
    const one = await stream(names[0], { h2: true, headers: { 'last-event-id': `${epoch}:1` } });
    const request = one.session.request({ ':path': `/sse?room=${names[0]}&room=${names[1]}` });
    const other = new Stream(request, () => request.close());
    await other.event('connected');
    await publish(names[0], 3);
    const heard = [data(await one.events('message', 2)), data(await other.events('message', 1))];
    assert.deepEqual(heard, [[2, 3], [3]]);
  });

  test('a page of an allowed origin may read the stream', async () => {
    const { headers } = await stream(room(), { headers: { Origin: 'https://app.example' } });
    const allowed = [headers['access-control-allow-origin'], headers['access-control-allow-credentials'], headers.vary];
    assert.deepEqual(allowed, ['https://app.example', 'true', 'origin']);
  });

  test('a page of another origin is refused', async () => {
    const { status, headers } = await stream(room(), { headers: { Origin: 'https://evil.example' } });
    assert.deepEqual([status, headers['access-control-allow-origin']], [403, undefined]);
  });

  test('a client that is no page gets no CORS headers', async () => {
    const { headers } = await stream(room());
    assert.deepEqual(Object.keys(headers).filter((name) => name.startsWith('access-control')), []);
  });
});

describe('the end', () => {
  test('of clients leaves nothing behind', async () => {
    const own = await Server.start();
    const census = async () => {
      const { connections, rooms } = await own.health();
      return { connections, rooms };
    };
    await until(async () => (await census()).connections <= 1, 'the beginning');
    const beginning = await census();
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    const streams = [
      await Stream.open(own, '/sse?room=live:a'),
      await Stream.open(own, '/sse?room=live:a&room=live:b'),
      await Stream.open(own, '/sse?room=live:c', { agent }),
      await Stream.openH2(own, '/sse?room=live:d'),
    ];
    await until(async () => (await census()).rooms === beginning.rooms + 4, 'the streams to be counted');
    for (const one of streams) one.close();
    await until(async () => JSON.stringify(await census()) === JSON.stringify(beginning), 'everything to be as before');
    await own.close();
  });

  test('of the server is announced, tells when to come back, and ends the stream whole', async () => {
    const own = await Server.start();
    const agent = new http.Agent({ keepAlive: true });
    const paths = ['/sse?room=live:a', '/sse?room=live:a&room=live:b'];
    const streams = [];
    for (const path of paths) streams.push(await Stream.open(own, path), await Stream.openH2(own, path));
    await new Promise((resolve) => { http.get(`${own.http}/health`, { agent }, (response) => response.resume().on('end', resolve)); });
    streams.push(await Stream.open(own, paths[0], { agent }));
    for (const one of streams) await one.event('connected');
    const ended = own.stop();
    for (const one of streams) {
      const { data: text, retry } = await one.event('server:shutdown');
      const { message, reconnectDelay } = JSON.parse(text);
      assert.equal(message, 'Server is shutting down. Please reconnect.');
      assert.ok(reconnectDelay >= 5000 && Number(retry) === reconnectDelay, `${retry} ${reconnectDelay}`);
      assert.equal(await within(10_000, one.ended, 'the end'), 'whole');
    }
    for (const one of streams) one.close();
    assert.deepEqual(await ended, { code: 0, signal: null });
    await own.close();
  });
});
