// TLS by the server itself: every transport over it, HTTP/2, certificates that change, and clients who mean ill.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import http2 from 'node:http2';
import https from 'node:https';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import tls from 'node:tls';
import { promisify } from 'node:util';
import { io } from 'socket.io-client';
import { certify } from './lib/certificate.mjs';
import { Metrics } from './lib/metrics.mjs';
import { TEXT, frame } from './lib/peer.mjs';
import { startSecure } from './lib/secure.mjs';
import { Server, room, until, within } from './lib/server.mjs';
import { Socket } from './lib/socket.mjs';
import { Stream } from './lib/stream.mjs';

const run = promisify(execFile);
let folder;
let own;
let server;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'denrei-tls-'));
  own = await certify(folder);
  server = await start();
});

after(async () => {
  await server?.close();
  await rm(folder, { recursive: true, force: true });
});

const start = ({ certificate = own, ...more } = {}) => startSecure({ certificate, ...more });

/** What `openssl s_client` says about a connection. */
async function openssl(port, ...args) {
  const asked = ['s_client', '-connect', `127.0.0.1:${port}`, '-CAfile', own.certificate, ...args];
  const child = run('openssl', asked, { timeout: 20_000 });
  child.child.stdin.end();
  return child.then(({ stdout }) => stdout, ({ stdout, stderr }) => `${stdout}${stderr}`);
}

async function curl(...args) {
  const { stdout } = await run('curl', ['-sS', '--max-time', '10', '--cacert', own.certificate, ...args]);
  return stdout;
}

/** Reads a fetch-less GET over TLS. */
async function fetched(path, { port, ca } = server.secure) {
  const request = https.get({ host: '127.0.0.1', port, path, ca, agent: false });
  const [response] = await once(request, 'response');
  const chunks = [];
  for await (const chunk of response) chunks.push(chunk);
  return { status: response.statusCode, body: Buffer.concat(chunks).toString() };
}

test('versions 1.2 and 1.3 are spoken, older ones are not, and HTTP/2 is agreed on where a client knows it', async () => {
  const { port } = server.secure;
  assert.match(await openssl(port, '-tls1_3', '-alpn', 'h2,http/1.1'), /TLSv1\.3[^]*ALPN protocol: h2[^]*Verify return code: 0/);
  assert.match(await openssl(port, '-tls1_2', '-alpn', 'http/1.1'), /TLSv1\.2[^]*ALPN protocol: http\/1\.1/);
  assert.match(await openssl(port, '-tls1_1', '-cipher', 'DEFAULT@SECLEVEL=0'), /alert protocol version|no protocols available|NONE/);
  const version = await curl('-o', '/dev/null', '-w', '%{http_version} %{http_code}', `${server.secure.http}/health`);
  assert.equal(version, '2 200');
  assert.equal(await curl('--http1.1', '-o', '/dev/null', '-w', '%{http_version} %{http_code}', `${server.secure.http}/health`), '1.1 200');
});

test('a client that comes back takes up its session', async () => {
  const { port, ca } = server.secure;
  const first = tls.connect({ port, host: '127.0.0.1', ca });
  const [session] = await within(10_000, once(first, 'session'), 'a ticket');
  first.destroy();
  const second = tls.connect({ port, host: '127.0.0.1', ca, session });
  await once(second, 'secureConnect');
  assert.equal(second.isSessionReused(), true);
  second.destroy();
});

test('every transport works over TLS, and all read one room', async (t) => {
  const { secure } = server;
  const { ca } = secure;
  const shared = room();
  const path = `/sse?room=${encodeURIComponent(shared)}`;
  const [socket, stream, other] = await Promise.all([
    Socket.open(secure, { ca }), Stream.open(secure, path), Stream.openH2(secure, path),
  ]);
  t.after(() => [stream, other].forEach((stream) => stream.close()));
  await Promise.all([stream, other].map((stream) => stream.next(({ event }) => event === 'connected')));
  await socket.join(shared, { echo: true });
  const transports = [['polling'], ['websocket'], ['polling', 'websocket']];
  const clients = transports.map((transports) => io(secure.http, { transports, ca, forceNew: true }));
  t.after(() => clients.forEach((client) => client.disconnect()));
  const told = clients.map((client) => {
    const heard = [];
    client.on('message', (payload) => heard.push(payload));
    return heard;
  });
  for (const client of clients) assert.equal((await client.timeout(10_000).emitWithAck('join', shared)).room, shared);
  const payloads = ['one', { two: 2 }, 'x'.repeat(300_000)];
  for (const payload of payloads) await socket.broadcast(shared, payload);
  const events = await socket.events(shared, payloads.length);
  assert.deepEqual(events.map(({ payload }) => payload), payloads);
  for (const reader of [stream, other]) {
    for (const payload of payloads) {
      const { data } = await reader.next(({ event }) => event === 'message');
      assert.deepEqual(JSON.parse(data), payload);
    }
  }
  await until(() => told.every((heard) => heard.length === payloads.length), 'the clients of Socket.IO to hear all');
  for (const heard of told) assert.deepEqual(heard, payloads);
  const since = encodeURIComponent(`${events[0].epoch}:0`);
  const poll = JSON.parse(await curl(`${secure.http}/api/rooms/${encodeURIComponent(shared)}/events?since=${since}`));
  assert.deepEqual(poll.events.map(({ payload }) => payload), payloads);
  await socket.close();
});

test('who speaks HTTP to the port of TLS is told the scheme', async () => {
  const answer = await fetch(`http://${server.secure.address}/health`, { headers: { connection: 'close' } });
  assert.equal(answer.status, 400);
  assert.match((await answer.json()).error, /https:\/\//);
});

test('a handshake that does not go on is ended, and keeps nobody out', async () => {
  const own = await start({ config: '[limits]\nhead_timeout_ms = 500\n' });
  try {
    const hello = await new Promise((resolve) => {
      const listener = net.createServer((socket) => socket.once('data', (data) => { resolve(data); socket.destroy(); listener.close(); }));
      listener.listen(0, '127.0.0.1', () => tls.connect({ port: listener.address().port, host: '127.0.0.1' }).on('error', () => {}));
    });
    const halves = [Buffer.alloc(0), hello.subarray(0, 1), hello.subarray(0, 40), hello];
    const slow = await Promise.all(Array.from({ length: 200 }, async (_, number) => {
      const socket = net.connect(own.secure.port, '127.0.0.1').on('error', () => {});
      await once(socket, 'connect');
      socket.write(halves[number % halves.length]);
      socket.resume();
      return socket;
    }));
    assert.match(await curl(`${own.secure.http}/livez`), /ok/);
    await within(20_000, Promise.all(slow.map((socket) => socket.closed || once(socket, 'close'))), 'all to be ended');
    // One that agrees on keys and then asks for nothing, or for half of something.
    const silent = tls.connect({ port: own.secure.port, host: '127.0.0.1', ca: own.secure.ca });
    const half = tls.connect({ port: own.secure.port, host: '127.0.0.1', ca: own.secure.ca }).on('error', () => {});
    half.write('GET /health HTTP/1.1\r\nHost: a\r\n');
    for (const socket of [silent, half]) socket.resume();
    await within(20_000, Promise.all([silent, half].map((socket) => once(socket, 'close'))), 'both to be ended');
    await until(async () => (await own.health()).connections <= 1, 'their connections to be let go');
  } finally {
    await own.close();
  }
});

test('what is no handshake is none', async () => {
  const junk = [Buffer.alloc(4096, 22), Buffer.from('16030100050100000100', 'hex'), Buffer.from([22, 3, 1, 255, 255, ...Buffer.alloc(2000)])];
  for (const bytes of junk) {
    const socket = net.connect(server.secure.port, '127.0.0.1').on('error', () => {});
    socket.resume();
    socket.write(bytes);
    socket.end();
    await within(15_000, once(socket, 'close'), 'the end');
  }
  assert.match(await curl(`${server.secure.http}/livez`), /ok/);
  assert.doesNotMatch(server.log, /panick/);
});

test('when the certificate ends is told, also of the one that takes its place', async () => {
  const place = join(folder, 'ending');
  const first = await certify(place, 3);
  const own = await start({ certificate: first });
  const told = async () => (await Metrics.of(own)).value('denrei_certificate_expiry_timestamp_seconds');
  const ends = async () => Date.parse((await run('openssl', ['x509', '-in', first.certificate, '-noout', '-enddate'])).stdout.split('=')[1]) / 1000;
  try {
    assert.equal(await told(), await ends());
    const before = await told();
    await certify(place, 30);
    own.process.kill('SIGHUP');
    await until(() => own.log.includes('the settings were read again'), 'the settings to be read');
    assert.equal(await told(), await ends());
    assert.ok(await told() > before + 26 * 86_400);
  } finally {
    await own.close();
  }
});

test('a certificate is replaced at SIGHUP, for those who come then', async () => {
  const place = join(folder, 'changing');
  const first = await certify(place);
  const own = await start({ certificate: first });
  try {
    const socket = await Socket.open(own.secure, { ca: first.ca });
    const second = await certify(place);
    own.process.kill('SIGHUP');
    await until(() => own.log.includes('the settings were read again'), 'the settings to be read');
    await assert.rejects(fetched('/livez', own.secure), 'the old certificate is not served any more');
    assert.equal((await fetched('/livez', { ...own.secure, ca: second.ca })).status, 200);
    await socket.broadcast(room(), 'still here');
    // One that is none changes nothing.
    await writeFile(second.certificate, 'none');
    own.process.kill('SIGHUP');
    await until(() => /the settings stay as they are.*certificate/.test(own.log), 'the error to be told');
    assert.equal((await fetched('/livez', { ...own.secure, ca: second.ca })).status, 200);
    await socket.close();
  } finally {
    await own.close();
  }
});

test('a certificate that does not go with its key is refused at the start, with its name', async () => {
  const other = await certify(join(folder, 'other'));
  await assert.rejects(start({ certificate: { ...own, key: other.key } }), /tls: the certificate and the key/);
  await assert.rejects(start({ certificate: { ...own, key: join(folder, 'nowhere.pem') } }), /tls\.key: .*nowhere\.pem/);
});

test('a WebSocket is a stream of HTTP/2 where that is allowed, beside other requests', async () => {
  const plain = http2.connect(server.secure.http, { ca: server.secure.ca });
  const [settings] = await once(plain, 'remoteSettings');
  assert.notEqual(settings.enableConnectProtocol, true, 'off by default');
  plain.destroy();
  const own = await start({ config: '[websocket]\nhttp2 = true\n' });
  try {
    const session = http2.connect(own.secure.http, { ca: own.secure.ca });
    const [settings] = await once(session, 'remoteSettings');
    assert.equal(settings.enableConnectProtocol, true);
    const stream = session.request({
      ':method': 'CONNECT', ':protocol': 'websocket', ':path': '/ws', ':scheme': 'https', ':authority': own.secure.address,
      'sec-websocket-version': '13', 'sec-websocket-protocol': 'denrei.v1.json',
    });
    const [head] = await within(10_000, once(stream, 'response'), 'an answer');
    assert.equal(head[':status'], 200);
    assert.equal(head['sec-websocket-protocol'], 'denrei.v1.json');
    assert.equal(head['sec-websocket-accept'], undefined);
    let text = '';
    stream.setEncoding('latin1');
    stream.on('data', (data) => { text += data; });
    await until(() => text.includes('"welcome"'), 'the welcome');
    const shared = room();
    stream.write(frame(TEXT, JSON.stringify({ type: 'join', room: shared, ref: 1 })));
    await until(() => text.includes('"ref":1'), 'the reply');
    const beside = session.request({ ':path': `/api/rooms/${shared}/events` });
    assert.equal((await once(beside, 'response'))[0][':status'], 200);
    beside.resume();
    await own.publish(shared, { payload: 'by HTTP' });
    await until(() => text.includes('by HTTP'), 'the event');
    // Who stops it ends the WebSocket, and not the connection.
    stream.close();
    await until(async () => (await own.health()).rooms <= 1, 'the reader to leave');
    const refused = session.request({ ':method': 'CONNECT', ':protocol': 'websocket', ':path': '/ws', ':scheme': 'https', ':authority': own.secure.address });
    assert.equal((await once(refused, 'response'))[0][':status'], 426, 'without a version');
    session.destroy();
  } finally {
    await own.close();
  }
});

test('a reader over TLS that stops reading keeps little, and misses nothing when it reads again', async () => {
  const busy = room('feed');
  const slow = await Socket.open(server.secure, { ca: server.secure.ca });
  await slow.join(busy);
  slow.ws.pause();
  const before = (await server.health()).memory.rss;
  const writer = await Socket.open(server);
  let last;
  for (let round = 0; round < 30; round += 1) {
    const sent = Array.from({ length: 50 }, () => writer.broadcast(busy, 'x'.repeat(16_384)));
    last = (await Promise.all(sent)).at(-1).seq;
  }
  const grown = ((await server.health()).memory.rss - before) / (1 << 20);
  assert.ok(grown < 48, `grew by ${grown.toFixed(1)} MiB while 24 MiB were published`);
  slow.ws.resume();
  const events = await slow.events(busy, last);
  assert.deepEqual(events.map(({ seq }) => seq), Array.from({ length: last }, (_, at) => at + 1));
  await Promise.all([slow.close(), writer.close()]);
});

test('a server that stops says goodbye over TLS too', async () => {
  const own = await start({ config: '[shutdown]\nreconnect_delay_ms = 10\nreconnect_spread_ms = 10\n' });
  try {
    const socket = await Socket.open(own.secure, { ca: own.secure.ca });
    const stream = await Stream.openH2(own.secure, `/sse?room=${room()}`);
    await stream.next(({ event }) => event === 'connected');
    const stopped = own.stop();
    assert.equal((await socket.next(({ type }) => type === 'shutdown')).type, 'shutdown');
    assert.equal((await socket.closed).code, 1012);
    await stream.next(({ event }) => event === 'server:shutdown');
    stream.close();
    assert.deepEqual(await stopped, { code: 0, signal: null });
  } finally {
    await own.close();
  }
});
