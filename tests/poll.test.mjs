// Short and long polls and publishing over plain HTTP, with fetch and with curl.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import http from 'node:http';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { Server, room, until, within } from './lib/server.mjs';
import { Socket } from './lib/socket.mjs';

const CONFIG = `
origins = ["https://app.example"]
[limits]
message_bytes = 65536
[classes.small]
keep = "memory"
events = 10
`;

let server;

before(async () => {
  server = await Server.start({ config: CONFIG });
});

after(() => server?.close());

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

/** A poll's answer: status, the position of its header, its entity tag and its body. */
async function poll(name, query = '', options = {}) {
  return read(await server.events(name, query, options));
}

async function read(answer) {
  const text = await answer.text();
  return {
    status: answer.status,
    position: answer.headers.get('denrei-position'),
    tag: answer.headers.get('etag'),
    type: answer.headers.get('content-type'),
    ...(text === '' ? {} : JSON.parse(text)),
  };
}

async function curl(...args) {
  const { stdout } = await promisify(execFile)('curl', ['--silent', '--show-error', '--max-time', '20', ...args]);
  return stdout;
}

/** Waits until as many rooms are watched as said: the polls are held. */
async function held(at, rooms) {
  await until(async () => (await at.health()).rooms === rooms, `${rooms} rooms to be watched`);
}

const payloads = ({ events }) => events.map((event) => event.payload);
const upTo = (last, first = 1) => Array.from({ length: last - first + 1 }, (_, at) => first + at);

describe('a short poll', () => {
  test('without a position gives the newest 50, oldest first', async () => {
    const name = room();
    const { epoch } = await publishAll(name, upTo(60));
    const answer = await poll(name);
    assert.deepEqual(payloads(answer), upTo(60, 11));
    assert.deepEqual([answer.next, answer.position, answer.gap], [`${epoch}:60`, `${epoch}:60`, false]);
  });

  test('gives whole events', async () => {
    const name = room();
    const { epoch } = await publish(name, { a: 1 }, { event: 'e' });
    const { timestamp, ...event } = (await poll(name)).events[0];
    assert.deepEqual(event, { room: name, event: 'e', payload: { a: 1 }, from: null, userId: null, seq: 1, epoch });
    assert.ok(Number.isInteger(timestamp));
  });

  test('with a limit gives as many of the newest', async () => {
    const name = room();
    await publishAll(name, upTo(5));
    assert.deepEqual(payloads(await poll(name, '?limit=2')), [4, 5]);
  });

  test('from a position gives what follows it, page by page', async () => {
    const name = room();
    const { epoch } = await publishAll(name, upTo(7));
    const pages = [];
    let next = `${epoch}:0`;
    for (let page = 0; page < 4; page += 1) {
      const answer = await poll(name, `?since=${next}&limit=3`);
      pages.push(payloads(answer));
      next = answer.next;
    }
    assert.deepEqual(pages, [[1, 2, 3], [4, 5, 6], [7], []]);
  });

  test('of an empty room gives a position to go on from', async () => {
    const name = room();
    const { next } = await poll(name);
    await publish(name, 'first');
    assert.deepEqual(payloads(await poll(name, `?since=${next}`)), ['first']);
  });

  test('is answered with 304 and the position when nothing is new', async () => {
    const name = room();
    await publish(name, 1);
    const { tag, position } = await poll(name);
    const again = await poll(name, '', { headers: { 'If-None-Match': tag } });
    assert.deepEqual([again.status, again.position, again.tag], [304, position, tag]);
  });

  test('is answered with 200 again when something is new', async () => {
    const name = room();
    await publish(name, 1);
    const { tag } = await poll(name);
    await publish(name, 2);
    const again = await poll(name, '', { headers: { 'If-None-Match': tag } });
    assert.deepEqual([again.status, payloads(again)], [200, [1, 2]]);
  });

  test('from before what is kept says so, and gives what is kept', async () => {
    const name = room('small');
    const { epoch } = await publishAll(name, upTo(25));
    const answer = await poll(name, `?since=${epoch}:5`);
    assert.deepEqual([answer.gap, payloads(answer)], [true, upTo(25, 16)]);
  });

  test('from another epoch says so, and gives what is kept', async () => {
    const name = room();
    await publish(name, 1);
    const answer = await poll(name, '?since=another:5');
    assert.deepEqual([answer.gap, payloads(answer)], [true, [1]]);
  });

  test('from another epoch gives all that is kept beside a reader of the room too', async () => {
    const name = room();
    const reader = await Socket.open(server);
    await reader.join(name);
    await publishAll(name, upTo(9));
    await reader.events(name, 9);
    const answer = await poll(name, '?since=another:5');
    await reader.close();
    assert.deepEqual([payloads(answer), answer.gap], [upTo(9), true]);
  });

  test('by curl is JSON that nobody caches', async () => {
    const name = room();
    await publish(name, 'x');
    const text = await curl('--include', `${server.http}/api/rooms/${name}/events`);
    assert.match(text, /^HTTP\/1\.1 200 OK\r\n/);
    assert.match(text, /^content-type: application\/json\r$/m);
    assert.match(text, /^cache-control: no-cache\r$/m);
  });

  test('by curl over HTTP/2 gives the same', async () => {
    const name = room();
    await publish(name, 'x');
    const url = `${server.http}/api/rooms/${name}/events`;
    assert.equal(await curl('--http2-prior-knowledge', url), await curl(url));
  });
});

describe('a long poll', () => {
  test('is answered by a publish over HTTP', async () => {
    const name = room();
    const { next } = await poll(name);
    const answer = poll(name, `?since=${next}&wait=20`);
    await publish(name, 'x');
    assert.deepEqual(payloads(await answer), ['x']);
  });

  test('is answered by a publish from a WebSocket, to curl too', async () => {
    const [name, socket] = [room(), await Socket.open(server)];
    const { epoch } = await socket.join(name);
    const answer = curl(`${server.http}/api/rooms/${name}/events?since=${epoch}:0&wait=20`);
    await socket.broadcast(name, 'x');
    await socket.close();
    const { events, next, gap } = JSON.parse(await answer);
    assert.deepEqual([payloads({ events }), next, gap], [['x'], `${epoch}:1`, false]);
  });

  test('is answered at once when something is there', async () => {
    const name = room();
    const { epoch } = await publish(name, 'x');
    assert.deepEqual(payloads(await poll(name, `?since=${epoch}:0&wait=20`)), ['x']);
  });

  test('is answered with 204 and the position when nothing comes', async () => {
    const name = room();
    const { next } = await poll(name);
    const { status, position } = await poll(name, `?since=${next}&wait=1`);
    assert.deepEqual([status, position], [204, next]);
  });

  test('without a position waits from now', async () => {
    const [name, own] = [room(), await Server.start()];
    await own.publish(name, { payload: 'old' });
    const answer = own.events(name, '?wait=20');
    await held(own, 1);
    await own.publish(name, { payload: 'new' });
    assert.deepEqual(payloads(await read(await answer)), ['new']);
    await own.close();
  });

  test('one after the other miss nothing and give nothing twice', async () => {
    const [name, total, socket] = [room(), 500, await Socket.open(server)];
    let { next } = await poll(name);
    for (const n of upTo(total)) socket.send({ type: 'broadcast', room: name, payload: n });
    const got = [];
    while (got.length < total) {
      const answer = await poll(name, `?since=${next}&wait=20&limit=7`);
      got.push(...payloads(answer));
      next = answer.next;
    }
    await socket.close();
    assert.deepEqual(got, upTo(total));
  });

  test('of a signal room gives what is published while it waits', async () => {
    const [name, own] = [room('signal'), await Server.start()];
    const answer = own.events(name, '?wait=20');
    await held(own, 1);
    await own.publish(name, { payload: 'now' });
    const { events, next } = await read(await answer);
    assert.deepEqual([events[0].payload, events[0].seq, next], ['now', 0, 'none:0']);
    await own.close();
  });

  test('that are many are all answered by one publish', async () => {
    const [name, own] = [room(), await Server.start()];
    const { next } = await read(await own.events(name));
    const answers = upTo(50).map(() => own.events(name, `?since=${next}&wait=20`));
    await until(async () => (await own.health()).connections >= 50, 'the polls to be held');
    await own.publish(name, { payload: 'x' });
    const all = await Promise.all(answers.map(async (answer) => payloads(await read(await answer))));
    assert.deepEqual(all, upTo(50).map(() => ['x']));
    await own.close();
  });

  test('that is cancelled leaves nothing behind', async () => {
    const own = await Server.start();
    const beginning = (await own.health()).rooms;
    const cancel = new AbortController();
    const polls = upTo(5).map((n) => own.events(`live:${n}`, '?wait=20', { signal: cancel.signal }).catch(() => {}));
    await held(own, beginning + 5);
    cancel.abort();
    await Promise.all(polls);
    await held(own, beginning);
    await own.close();
  });
});

describe('the aliases of the seed', () => {
  test('/api/messages is a short poll of the named room', async () => {
    const name = room();
    await publish(name, 'x');
    assert.deepEqual(payloads(await read(await fetch(`${server.http}/api/messages?room=${name}`))), ['x']);
  });

  test('/api/messages without a room is of the room all', async () => {
    const { status, events } = await read(await fetch(`${server.http}/api/messages`));
    assert.deepEqual([status, events], [200, []]);
  });

  test('/api/events is a long poll whose answer has lastEventId', async () => {
    const name = room();
    const { epoch } = await publishAll(name, [1, 2]);
    const answer = await read(await fetch(`${server.http}/api/events?room=${name}&since=${epoch}:1`));
    assert.deepEqual([payloads(answer), answer.lastEventId, answer.next], [[2], `${epoch}:2`, `${epoch}:2`]);
  });

  test('/api/events is a stream for who accepts one', async () => {
    const name = room();
    const { epoch } = await publish(name, 'x');
    const cancel = new AbortController();
    const headers = { Accept: 'text/event-stream', 'Last-Event-ID': `${epoch}:0` };
    const answer = await fetch(`${server.http}/api/events?room=${name}`, { headers, signal: cancel.signal });
    let text = '';
    for await (const chunk of answer.body.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      if (text.includes('connected')) break;
    }
    cancel.abort();
    assert.ok(text.startsWith(`id: ${epoch}:1\nevent: message\ndata: "x"\n\n`), text);
  });
});

describe('a publish', () => {
  test('is answered with 201 and its place', async () => {
    const name = room();
    const answer = await server.publish(name, { payload: 1 });
    const { epoch, ...body } = await answer.json();
    assert.deepEqual([answer.status, body], [201, { room: name, seq: 1, duplicate: false }]);
    assert.match(epoch, /^[^:]+$/);
  });

  test('by curl needs nothing but a payload', async () => {
    const name = room();
    await curl(`${server.http}/api/rooms/${name}/events`, '--data', '{"payload":"hello"}');
    assert.equal((await poll(name)).events[0].payload, 'hello');
  });

  test('that is repeated under its id is kept once', async () => {
    const name = room();
    const first = await publish(name, 1, { id: 'x' });
    const again = await publish(name, 1, { id: 'x' });
    assert.deepEqual(again, { ...first, duplicate: true });
    assert.equal((await poll(name)).events.length, 1);
  });

  test('shares its id with a broadcast of an anonymous client', async () => {
    const [name, socket] = [room(), await Socket.open(server)];
    await publish(name, 1, { id: 'x' });
    assert.equal((await socket.broadcast(name, 1, { id: 'x' })).duplicate, true);
    await socket.close();
  });

  test('names the user of its token', async () => {
    const name = room();
    const Authorization = `Bearer ${await server.token('alice')}`;
    await server.publish(name, { payload: 1 }, { Authorization });
    assert.equal((await poll(name)).events[0].userId, 'alice');
  });

  test('may have null as its payload', async () => {
    const name = room();
    await publish(name, null);
    assert.equal((await poll(name)).events[0].payload, null);
  });

  test('may go to a room whose name needs to be encoded', async () => {
    const name = `live:a b/c?d=%é&${room()}`;
    assert.equal((await publish(name, 1)).room, name);
    assert.deepEqual(payloads(await poll(name)), [1]);
  });

  const refused = [
    ['that is not JSON', 'oops', 400, 'invalid_message'],
    ['that is empty', '', 400, 'invalid_message'],
    ['that is an array', '["message",1,null]', 400, 'invalid_message'],
    ['without a payload', '{"event":"message"}', 400, 'invalid_field'],
    ['whose event is a number', '{"event":5,"payload":1}', 400, 'invalid_field'],
    ['of a reserved event', '{"event":"server:x","payload":1}', 400, 'reserved_event'],
    ['of an event with a newline', '{"event":"a\\nb","payload":1}', 400, 'invalid_name'],
    ['over the limit', JSON.stringify({ payload: 'x'.repeat(65_536) }), 413, 'too_large'],
  ];
  for (const [what, body, status, code] of refused) {
    test(`${what} is refused with ${status} ${code}`, async () => {
      const answer = await server.publish(room(), body);
      assert.deepEqual([answer.status, (await answer.json()).code], [status, code]);
    });
  }

  test('of a length that is not told in advance is bounded too', async () => {
    const answer = await new Promise((resolve, reject) => {
      const request = http.request(`${server.http}/api/rooms/live:x/events`, { method: 'POST' }, resolve);
      request.on('error', reject);
      for (let sent = 0; sent < 5; sent += 1) request.write(' '.repeat(20_000));
      request.end();
    });
    answer.resume();
    assert.equal(answer.statusCode, 413);
  });

  for (const [name, status] of [['inbox:bob', 403], ['doc:x', 403], ['sio:x', 403], ['user:bob', 403], ['a\nb', 400], ['x'.repeat(256), 400]]) {
    test(`to ${JSON.stringify(name).slice(0, 20)} is refused with ${status}`, async () => {
      assert.equal((await server.publish(name, { payload: 1 })).status, status);
    });
  }
});

describe('an error', () => {
  for (const [what, path, options, status, code] of [
    ['for an unknown path', '/api/nothing', {}, 404, 'not_found'],
    ['for another method', '/api/rooms/live:x/events', { method: 'DELETE' }, 405, 'method_not_allowed'],
    ['for a position of nowhere', '/api/rooms/live:x/events?since=5', {}, 400, 'invalid_position'],
    ['for a wait that is no number', '/api/rooms/live:x/events?wait=long', {}, 400, 'invalid_field'],
    ['for a limit that is no number', '/api/rooms/live:x/events?limit=-1', {}, 400, 'invalid_field'],
    ['for the inbox of somebody', '/api/rooms/inbox:bob/events', {}, 403, 'forbidden'],
    ['for a room that is not UTF-8', '/api/rooms/%ff/events', {}, 400, 'invalid_name'],
    ['for an invalid token', '/api/rooms/live:x/events?token=x', {}, 401, 'token_invalid'],
    ['for a foreign page', '/api/rooms/live:x/events', { headers: { Origin: 'https://evil.example' } }, 403, 'origin_refused'],
  ]) {
    test(`${what} is ${status} with a code and a sentence in JSON`, async () => {
      const answer = await read(await fetch(`${server.http}${path}`, options));
      assert.deepEqual([answer.status, answer.code, answer.type], [status, code, 'application/json']);
      assert.ok(answer.error.length > 0);
    });
  }

  test('for a foreign host, which a page could have made up, is 403', async () => {
    const body = await curl('--header', 'Host: evil.example', `${server.http}/api/rooms/live:x/events`);
    assert.equal(JSON.parse(body).code, 'origin_refused');
  });
});

describe('a page', () => {
  test('of an allowed origin may ask first, and then read', async () => {
    const headers = { Origin: 'https://app.example', 'Access-Control-Request-Method': 'POST' };
    const preflight = await fetch(`${server.http}/api/rooms/live:x/events`, { method: 'OPTIONS', headers });
    const answer = await server.events('live:x', '', { headers: { Origin: 'https://app.example' } });
    const allowed = [preflight, answer].map((one) => one.headers.get('access-control-allow-origin'));
    assert.deepEqual([preflight.status, ...allowed], [204, 'https://app.example', 'https://app.example']);
    assert.match(preflight.headers.get('access-control-allow-headers'), /authorization.*traceparent, tracestate, x-request-id$/);
    assert.match(answer.headers.get('access-control-expose-headers'), /denrei-position.*x-request-id/);
  });
});

describe('/health', () => {
  test('has the fields of the seed', async () => {
    const answer = await fetch(`${server.http}/health`);
    const { status, uptime, connections, rooms, memory, timestamp } = await answer.json();
    assert.deepEqual([answer.status, status], [200, 'ok']);
    for (const number of [uptime, connections, rooms, memory.rss, timestamp]) assert.equal(typeof number, 'number');
  });

  test('is degraded with 503 above the limit of healthy connections', async () => {
    const own = await Server.start({ config: '[limits]\nmax_connections_healthy = 1\n' });
    const socket = await Socket.open(own);
    const answer = await within(10_000, fetch(`${own.http}/health`), 'an answer');
    assert.deepEqual([answer.status, (await answer.json()).status], [503, 'degraded']);
    await socket.close();
    await own.close();
  });
});
