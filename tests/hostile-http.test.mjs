// What an HTTP client can send that it must not.

import assert from 'node:assert/strict';
import { attack, health, many } from './lib/attack.mjs';
import { UPGRADE, httpRequest, request, upgradeRequest } from './lib/peer.mjs';
import { get, room, until } from './lib/server.mjs';
import { Socket } from './lib/socket.mjs';
import { base64, sealed } from './lib/token.mjs';

const HOST = 'Host: 127.0.0.1';
const CLOSE = 'Connection: close';
const SMUGGLED = httpRequest('GET', '/health', [HOST, CLOSE]);
const post = (lines, body = '') => httpRequest('POST', `/api/rooms/${room()}/events`, [HOST, ...lines], body);
const lines = (count, line) => Array.from({ length: count }, (_, at) => line(at));

/** A request, and what may answer it. Nothing that follows on the connection is taken for another request. */
const BROKEN = [
  ['a request without Host', httpRequest('GET', '/health', [CLOSE]), [400]],
  ['two Host headers', httpRequest('GET', '/health', [HOST, 'Host: evil.example', CLOSE]), [400]],
  ['two Host headers on an upgrade', upgradeRequest({ host: [HOST, HOST] }).replace('Upgrade\r', 'Upgrade, close\r'), [400]],
  ['two Host headers on a stream', httpRequest('GET', '/sse', [HOST, HOST, CLOSE]), [400]],
  ['a target of another host', httpRequest('GET', 'http://evil.example/health', [HOST, CLOSE]), [400, 403]],
  ['a continued header line', httpRequest('GET', '/health', [HOST, 'X: a\r\n b']), [400]],
  ['a space before the colon', httpRequest('GET', '/health', [HOST, 'X : a']), [400]],
  ['a NUL in a header', httpRequest('GET', '/health', [HOST, 'X: a\0b']), [400]],
  ['a NUL in the target', httpRequest('GET', '/hea\0lth'), [400]],
  ['a lone carriage return in a header', httpRequest('GET', '/health', [HOST, 'X: a\rb']), [400]],
  ['no HTTP at all', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n', [400]],
  ['HTTP/3.0 in words', 'GET /health HTTP/3.0\r\nHost: 127.0.0.1\r\n\r\n', [400, 505]],
  ['2,000 headers', httpRequest('GET', '/health', [HOST, ...lines(2000, (at) => `X-${at}: y`)]), [431, 400]],
  ['101 headers', httpRequest('GET', '/health', [HOST, ...lines(100, (at) => `X-${at}: y`)]), [431, 400]],
  ['a header of 1 MiB', httpRequest('GET', '/health', [HOST, `X: ${'x'.repeat(1 << 20)}`]), [431]],
  ['a header name of 20 KiB', httpRequest('GET', '/health', [HOST, `${'x'.repeat(20_000)}: y`]), [431]],
  ['a URL of 64 KiB', httpRequest('GET', `/health?${'x'.repeat(65_536)}`), [431, 414]],
  ['a token of 1 MiB', httpRequest('GET', '/sse', [HOST, `Authorization: Bearer ${'x'.repeat(1 << 20)}`]), [431]],
  ['a Last-Event-ID of 1 MiB', httpRequest('GET', '/sse', [HOST, `Last-Event-ID: ${'x'.repeat(1 << 20)}`]), [431]],
  ['an HTTP/1.0 upgrade', upgradeRequest().replace('HTTP/1.1', 'HTTP/1.0'), [400]],
  ['an upgrade with a body', upgradeRequest({ headers: ['Content-Length: 5'] }).replace('Upgrade\r', 'Upgrade, close\r') + 'hello', [400]],
  ['an upgrade with a chunked body', upgradeRequest({ headers: ['Transfer-Encoding: chunked'] }).replace('Upgrade\r', 'Upgrade, close\r') + '5\r\nhello\r\n0\r\n\r\n', [400]],
  ['two different lengths', post(['Content-Length: 5', 'Content-Length: 0']), [400]],
  ['a negative length', post(['Content-Length: -1']), [400]],
  ['a length with a plus', post(['Content-Length: +5'], '12345'), [400]],
  ['a length of 2^64', post(['Content-Length: 18446744073709551616']), [400, 413]],
  ['a length and chunks', post(['Content-Length: 5', 'Transfer-Encoding: chunked', CLOSE], '0\r\n\r\n'), [400]],
  ['chunks and a length', post(['Transfer-Encoding: chunked', 'Content-Length: 5', CLOSE], '0\r\n\r\n'), [400]],
  ['an unknown coding', post(['Transfer-Encoding: xchunked'], '0\r\n\r\n'), [400, 501]],
  ['chunked and something behind it', post(['Transfer-Encoding: chunked, identity'], '0\r\n\r\n'), [400, 501]],
  ['a chunk of 2^64 bytes', post(['Transfer-Encoding: chunked', CLOSE], '10000000000000000\r\n{}\r\n0\r\n\r\n'), [400, 413]],
  ['a chunk whose size is negative', post(['Transfer-Encoding: chunked', CLOSE], '-1\r\n{}\r\n0\r\n\r\n'), [400, 413]],
];

for (const [what, bytes, statuses] of BROKEN) {
  attack(`${what} is refused, and what follows is no request`, async ({ connect }) => {
    const peer = await connect();
    peer.write(Buffer.from(bytes + SMUGGLED, 'latin1'));
    const answer = await peer.answer();
    assert.ok(statuses.includes(answer?.status), `${answer?.status}: ${answer?.body}`);
    assert.equal((await peer.rest()).toString(), '');
  });
}

attack('a line that ends with a bare newline ends the line and nothing else', async ({ connect }) => {
  const peer = await connect();
  peer.write(`GET /health HTTP/1.1\n${HOST}\n${CLOSE}\n\n${SMUGGLED}`);
  const { status } = await peer.answer();
  assert.ok([200, 400].includes(status), `${status}`);
  assert.equal((await peer.rest()).toString(), '');
});

attack('7,000 offered extensions cost nothing and are declined', async ({ upgrade }) => {
  const peer = await upgrade({ headers: [`Sec-WebSocket-Extensions: ${'x,'.repeat(7000)}`] });
  peer.write(request({ type: 'call', method: 'echo', payload: 1, ref: 1 }));
  assert.equal((await peer.json(({ ref }) => ref === 1)).payload, 1);
});

attack('8,000 parameters of an extension are declined or too many', async ({ connect }) => {
  const peer = await connect();
  peer.write(upgradeRequest({ headers: [`Sec-WebSocket-Extensions: permessage-deflate${'; a'.repeat(8000)}`] }));
  assert.equal((await peer.head()).status, 431);
});

attack('a head of 20 KiB behind a first request is too long too', async ({ connect }) => {
  const peer = await connect();
  peer.write(httpRequest('GET', '/health', [HOST]));
  assert.equal((await peer.answer()).status, 200);
  peer.write(httpRequest('GET', '/health', [HOST, `X: ${'x'.repeat(20_000)}`]));
  assert.equal((await peer.answer()).status, 431);
});

attack('frames behind a refused upgrade are no request', async ({ connect }) => {
  const peer = await connect();
  const frames = request({ type: 'broadcast', room: 'live:x', payload: 1 });
  peer.write(Buffer.concat([Buffer.from(upgradeRequest({ headers: ['Origin: http://evil.example'] })), frames, Buffer.from(SMUGGLED)]));
  assert.equal((await peer.answer()).status, 403);
  assert.equal((await peer.rest()).length, 0);
});

const FOREIGN_HOSTS = [
  'evil.example', '127.0.0.1.evil.example', 'localhost.evil.example', 'evillocalhost', '0.0.0.0', '[::]', '10.0.0.1',
  '127.0.0.1@evil.example', '[::1', '1', '2130706433', '\xe9aaaaaaaaa', '\xc3\xa9aaaaaaaaa', '\xff\xff\xff', '',
];
const FOREIGN_ORIGINS = [
  'http://evil.example', 'null', 'file://', 'http://127.0.0.1.evil.example', 'http://localhost.evil.example', 'http://0.0.0.0',
  'http://127.0.0.1@evil.example', 'http://evil.example#127.0.0.1', 'http://evil.example?127.0.0.1', 'http://evil.example/127.0.0.1',
  'javascript://127.0.0.1', 'ftp://127.0.0.1', 'http:127.0.0.1', '127.0.0.1', '*', 'http://\xc3\xa9aaaaaaaaa', '\xff\xff',
  'http://127.0.0.1 http://evil.example', 'http://127.0.0.1, http://evil.example', '', 'http://',
];
const DOORS = [
  ['a WebSocket', (headers) => httpRequest('GET', '/ws', [...UPGRADE, ...headers])],
  ['a stream', (headers) => httpRequest('GET', '/sse?room=live:x', headers)],
  ['a stream by the seed\'s name', (headers) => httpRequest('GET', '/api/events', ['Accept: text/event-stream', ...headers])],
  ['a poll', (headers) => httpRequest('GET', '/api/rooms/live:x/events', headers)],
  ['a publish', (headers) => httpRequest('POST', '/api/rooms/live:x/events', ['Content-Length: 13', ...headers], '{"payload":1}')],
  ['a preflight', (headers) => httpRequest('OPTIONS', '/api/rooms/live:x/events', ['Access-Control-Request-Method: POST', ...headers])],
  ['the health page', (headers) => httpRequest('GET', '/health', headers)],
];

for (const [what, written] of DOORS) {
  const refused = async (connect, headers, statuses) => {
    const peer = await connect();
    peer.write(Buffer.from(written([...headers, CLOSE]), 'latin1'));
    const answer = await peer.answer();
    assert.ok(statuses.includes(answer?.status), `${headers}: ${answer?.status}`);
    assert.equal(answer.headers['access-control-allow-origin'], undefined, `${headers}`);
  };
  attack(`${what} is refused to who asked for a foreign host`, async ({ connect }) => {
    for (const host of FOREIGN_HOSTS) await refused(connect, [`Host: ${host}`], [403, 400]);
  });
  attack(`${what} is refused to pages of foreign origins`, async ({ connect }) => {
    for (const origin of FOREIGN_ORIGINS) await refused(connect, [HOST, `Origin: ${origin}`], [403]);
    await refused(connect, [HOST, 'Origin: http://127.0.0.1', 'Origin: http://evil.example'], [403]);
    await refused(connect, [HOST, 'Origin: http://127.0.0.1', 'Origin: \xff'], [403]);
  });
}

const POLLS = [
  ...['x', ':', ':1', 'e:', 'e:-1', 'e:+1', 'e:1.5', 'e:0x1', 'e:1:2', 'e:18446744073709551616', 'e:9007199254740992', 'e%0a:1', '%ff:1', `${'e'.repeat(65)}:1`].map((since) => `since=${since}`),
  ...['-1', '1.5', 'x', '1e3', '4294967296', '%20', ''].flatMap((number) => [`limit=${number}`, `wait=${number}`]),
];

attack('garbage in the query of a poll is refused', async ({ server }) => {
  for (const query of POLLS) {
    const answer = await server.events('live:garbage', `?${query}`);
    assert.equal(answer.status, 400, `${query}: ${await answer.text()}`);
  }
}, { forgetful: false });

attack('the largest numbers in the query of a poll are bounded', async ({ server }) => {
  const quiet = room();
  await server.publish(quiet, { payload: 1 });
  for (const query of ['limit=4294967295', 'limit=0', 'wait=0&limit=1']) {
    const { events } = await (await server.events(quiet, `?${query}`)).json();
    assert.equal(events.length, 1, query);
  }
});

const EVENT_IDS = ['x', 'e:-1', 'e:18446744073709551616', 'e:9007199254740992', 'e:1:2', 'm.', 'm.e.1', 'm.e.0:9:1', 'm.e.0:0:ffffffffffffffff', ':', '\xff'];

attack('an event id that was never given is refused, or is no position', async ({ connect }) => {
  for (const id of EVENT_IDS) {
    const peer = await connect();
    peer.write(Buffer.from(httpRequest('GET', '/sse?room=live:a&room=live:b', [HOST, `Last-Event-ID: ${id}`]), 'latin1'));
    const { status } = await peer.head();
    assert.ok(id === 'm.' || id === '\xff' ? status === 200 : status === 400, `${id}: ${status}`);
    peer.destroy();
  }
});

for (const [what, id] of [
  ['another epoch', () => 'other:1'],
  ['the future', ({ epoch }) => `${epoch}:1000000`],
  ['another room', (_, other) => `${other.epoch}:1`],
]) {
  attack(`a reader with an event id of ${what} is told of a gap and gets what there is`, async ({ server, connect }) => {
    const [mine, others] = [room(), room()];
    const place = await (await server.publish(mine, { payload: 'mine' })).json();
    const other = await (await server.publish(others, { payload: 'other' })).json();
    const peer = await connect();
    peer.write(httpRequest('GET', `/sse?room=${mine}`, [HOST, `Last-Event-ID: ${id(place, other)}`]));
    await peer.head();
    await server.publish(mine, { payload: 'last' });
    let text = '';
    while (!text.includes('"last"')) text += (await peer.bytes(1)).toString();
    assert.match(text, /event: gap\ndata: \{[^}]*"from":0/);
    assert.match(text, /data: "mine"/);
    assert.doesNotMatch(text, /"other"/);
  });
}

attack('names that cannot be a room\'s are refused in a path', async ({ connect }) => {
  for (const name of ['%0a', '%00', '%ff', 'x'.repeat(256), 'a%C2%85']) {
    const peer = await connect();
    peer.write(httpRequest('GET', `/api/rooms/${name}/events`, [HOST, CLOSE]));
    assert.equal((await peer.answer()).status, 400, name);
  }
});

attack('a slash, a dot and a percent sign in a room\'s name stay in it', async ({ server }) => {
  for (const name of ['live:a/b', 'live:../../health', 'live:..', 'live:%2F', 'live:a?b#c']) {
    const { room: named } = await (await server.publish(name, { payload: 1 })).json();
    assert.equal(named, name);
  }
});

for (const owned of ['user:alice', 'inbox:alice', 'sio:/:x']) {
  attack(`${owned} cannot be read or written by another over HTTP`, async ({ server }) => {
    assert.equal((await server.events(owned)).status, 403);
    assert.equal((await server.publish(owned, { payload: 1 })).status, 403);
    assert.equal((await get(`${server.http}/sse?room=${owned}`)).status, 403);
    assert.equal((await get(`${server.http}/api/events?room=${owned}`)).status, 403);
    assert.equal((await get(`${server.http}/api/messages?room=${owned}`)).status, 403);
  });
}

const BODIES = [
  ['no JSON', 'hello', 'invalid_message'],
  ['an empty body', '', 'invalid_message'],
  ['no object', '[]', 'invalid_message'],
  ['no payload', '{}', 'invalid_field'],
  ['two payloads', '{"payload":1,"payload":2}', 'invalid_field'],
  ['900,000 opened brackets', `{"payload":${'['.repeat(900_000)}`, 'invalid_message'],
  ['bytes that are not UTF-8', Buffer.from([123, 255, 125]), 'invalid_message'],
  ['a lone surrogate in a name', '{"payload":1,"event":"\\ud800"}', 'invalid_message'],
  ['an event with a newline', '{"payload":1,"event":"a\\nb"}', 'invalid_name'],
  ['a reserved event', '{"payload":1,"event":"server:shutdown"}', 'reserved_event'],
];

for (const [what, body, code] of BODIES) {
  attack(`${what} is refused as a body with ${code}`, async ({ server }) => {
    const answer = await get(`${server.http}/api/rooms/live:body/events`, { method: 'POST', body });
    assert.deepEqual([answer.status, (await answer.json()).code], [400, code]);
  });
}

for (const [what, head, body] of [
  ['a body of 1 MiB and a byte', ['Content-Length: 1048577'], Buffer.alloc((1 << 20) + 1, 'x')],
  ['a chunked body of 1 MiB and a byte', ['Transfer-Encoding: chunked'], Buffer.concat([Buffer.from('100001\r\n'), Buffer.alloc((1 << 20) + 1, 'x'), Buffer.from('\r\n0\r\n\r\n')])],
  ['a body of which 1 TiB is announced', ['Content-Length: 1099511627776'], Buffer.alloc(8 << 20, 'x')],
]) {
  attack(`${what} is answered with 413`, async ({ connect }) => {
    const peer = await connect();
    peer.write(Buffer.concat([Buffer.from(post(head)), body]));
    assert.equal((await peer.answer())?.status, 413);
  }, { growth: 32 });
}

const SECRET = 'a secret of at least thirty-two bytes';
const signed = (claims, { key = SECRET, ...more } = {}) => sealed(claims, key, more);
const LATER = 4_000_000_000;
const alice = { sub: 'alice', exp: LATER };
const TOKENS = [
  ['nothing', '.'],
  ['five parts', 'a.b.c.d.e'],
  ['alg none', `${base64({ alg: 'none' })}.${base64(alice)}.`],
  ['alg nOnE', `${base64({ alg: 'nOnE' })}.${base64(alice)}.`],
  ['no signature', signed(alice).replace(/[^.]*$/, '')],
  ['another key', signed(alice, { key: 'another secret of thirty-two bytes' })],
  ['an empty key', signed(alice, { key: '' })],
  ['another algorithm', signed(alice, { header: { alg: 'HS512' }, hash: 'sha512' })],
  ['no end', signed({ sub: 'alice' })],
  ['an end in words', signed({ sub: 'alice', exp: 'never' })],
  ['an end as text', signed({ sub: 'alice', exp: `${LATER}` })],
  ['a negative end', signed({ sub: 'alice', exp: -1 })],
  ['an endless end', signed(`{"sub":"alice","exp":1e300}`)],
  ['an end that was', signed({ sub: 'alice', exp: 1 })],
  ['a beginning that is not yet', signed({ ...alice, nbf: LATER - 1 })],
  ['a beginning in words', signed({ ...alice, nbf: 'now' })],
  ['no subject', signed({ exp: LATER })],
  ['an empty subject', signed({ ...alice, sub: '' })],
  ['a subject with a newline', signed({ ...alice, sub: 'a\nb' })],
  ['a subject that is a list', signed({ ...alice, sub: ['alice'] })],
  ['9 KiB', signed({ ...alice, name: 'x'.repeat(9000) })],
];

attack('tokens that prove nothing are refused at every door', async ({ server }) => {
  const good = signed(alice);
  assert.equal((await get(`${server.http}/api/messages`, { headers: { authorization: `Bearer ${good}` } })).status, 200);
  const socket = await Socket.open(server, { path: `/ws?token=${good}` });
  for (const [what, token] of TOKENS) {
    for (const path of ['/api/messages', '/sse', '/ws']) {
      const answer = await get(`${server.http}${path}`, { headers: { authorization: `Bearer ${token}` } });
      assert.equal(answer.status, 401, `${what} at ${path}`);
    }
    assert.match((await socket.ask({ type: 'auth', token })).code, /^token_/, what);
  }
  assert.equal((await socket.ask({ type: 'auth', token: signed({ ...alice, sub: 'bob' }) })).code, 'forbidden');
  await socket.close();
  assert.ok(!server.log.includes(good), 'the log shows a token');
}, { config: `[auth]\nsecret = "${SECRET}"\nanonymous = true\n` });

const HASTY = '[limits]\nhead_timeout_ms = 500\nbody_timeout_ms = 500\n';

for (const [what, bytes] of [
  ['nothing', ''],
  ['half a head', 'GET /ws HTTP/1.1\r\nHost: 127'],
  ['half of HTTP/2\'s preface', 'PRI * HTTP/2.0\r\n'],
  ['half of a second head', `${httpRequest('GET', '/livez')}GET /health HTTP/1.1\r\nHo`],
]) {
  attack(`who sends ${what} and no more is let go of`, async ({ connect }) => {
    const peers = await Promise.all(Array.from({ length: 50 }, connect));
    for (const peer of peers) peer.write(bytes);
    for (const peer of peers) await peer.end();
  }, { config: HASTY });
}

attack('a head that drips in for ever is let go of', async ({ connect }) => {
  const peer = await connect();
  peer.write('GET /health HTTP/1.1\r\n');
  const drip = setInterval(() => peer.write('X: y\r\n'), 50);
  try {
    await peer.end();
  } finally {
    clearInterval(drip);
  }
}, { config: HASTY });

attack('a body that never comes is given up', async ({ connect }) => {
  const peer = await connect();
  peer.write(post(['Content-Length: 100'], '{"payload":'));
  assert.equal((await peer.answer()).status, 408);
  await peer.end();
}, { config: HASTY });

attack('thousands of requests on one connection are answered in order', async ({ connect }) => {
  const peer = await connect();
  const count = 5000;
  peer.write(httpRequest('GET', '/health').repeat(count));
  for (let answers = 0; answers < count; answers += 1) assert.equal((await peer.answer()).status, 200);
});

attack('100,000 rooms that polls ask for are bounded, and cost no room its events', async ({ connect, server }) => {
  const [connections, each] = [4, 25_000];
  const kept = room();
  await server.publish(kept, { payload: 'kept' });
  const tally = {};
  await many(connections, connections, async (number) => {
    const peer = await connect();
    const ask = (async () => {
      for (let first = 0; first < each; first += 500) {
        await peer.write(Array.from({ length: 500 }, (_, at) => httpRequest('GET', `/api/rooms/live:${number}-${first + at}/events`)).join(''));
      }
    })();
    for (let answers = 0; answers < each; answers += 1) {
      const { status, body } = await peer.answer();
      const said = status === 200 ? 200 : `${status} ${JSON.parse(body).code}`;
      tally[said] = (tally[said] ?? 0) + 1;
    }
    await ask;
  });
  assert.deepEqual(tally, { 200: connections * each });
  const { events } = await (await server.events(kept)).json();
  assert.deepEqual(events.map(({ payload }) => payload), ['kept']);
}, { config: '[memory]\nrooms = 1000\n' });
