// The Admin UI's namespace, and the client's files.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { io } from 'socket.io-client';
import { get, Server, within } from './lib/server.mjs';

const connect = (t, server, path, options = {}) => {
  const socket = io(`${server.http}${path}`, { forceNew: true, reconnection: false, transports: ['websocket'], ...options });
  t.after(() => socket.close());
  return socket;
};
const first = (socket, event) => within(10_000, once(socket, event), event);

test('the operator is told what the server has, and may act on sockets', async (t) => {
  const server = await Server.start();
  t.after(() => server.close());
  const client = connect(t, server, '/');
  await first(client, 'connect');
  const admin = connect(t, server, '/admin');
  const told = Promise.all([first(admin, 'config'), first(admin, 'server_stats')]);
  const [[config], [stats]] = await told;
  assert.ok(config.supportedFeatures.includes('AGGREGATED_EVENTS'));
  assert.deepEqual(stats.namespaces.toSorted((a, b) => a.name.localeCompare(b.name)), [
    { name: '/', socketsCount: 1 },
    { name: '/admin', socketsCount: 1 },
  ]);
  assert.equal(stats.clientsCount, 2);
  assert.equal(stats.pid, server.process.pid);
  assert.deepEqual(stats.aggregatedEvents.find((event) => event.type === 'rawConnection').count, 2);
  const other = connect(t, server, '/admin');
  await first(other, 'connect');
  const heard = first(other, 'notice');
  admin.emit('join', '/admin', 'operators', other.id);
  admin.emit('emit', '/admin', 'operators', 'notice', 'hello', 5);
  assert.deepEqual(await heard, ['hello', 5]);
  const gone = first(other, 'disconnect');
  admin.emit('_disconnect', '/admin', false, other.id);
  assert.deepEqual((await gone)[0], 'io server disconnect');
  for (const wrong of [[], [1], ['/none', 'x', 'y'], ['/admin', {}, []]]) {
    assert.equal((await admin.timeout(5000).emitWithAck('join', ...wrong)).status, 'error');
  }
});

test('where tokens are asked for, only the role admin comes in', async (t) => {
  const server = await Server.start({ config: '[auth]\nsecret = "a secret of at least thirty-two bytes"\n' });
  t.after(() => server.close());
  const refused = connect(t, server, '/admin', { auth: { token: await server.token('alice') } });
  assert.equal((await first(refused, 'connect_error'))[0].message, 'invalid credentials');
  const nobody = connect(t, server, '/admin');
  assert.equal((await first(nobody, 'connect_error'))[0].message, 'Authentication token required');
  const admin = connect(t, server, '/admin', { auth: { token: await server.token('root', '--role', 'admin') } });
  await first(admin, 'server_stats');
});

test('the client\'s files are served where they are configured, and nothing else of their folder', async (t) => {
  const folder = new URL('./node_modules/socket.io-client/dist', import.meta.url).pathname;
  const server = await Server.start({ config: `[socketio]\nclient_files = ${JSON.stringify(folder)}\n` });
  t.after(() => server.close());
  const plain = await get(`${server.http}/socket.io/socket.io.min.js`, { headers: { 'accept-encoding': 'identity' } });
  assert.equal(plain.status, 200);
  assert.match(plain.headers.get('content-type'), /javascript/);
  const text = await plain.text();
  assert.match(text, /Socket\.IO v4/);
  const tag = plain.headers.get('etag');
  const again = await get(`${server.http}/socket.io/socket.io.min.js`, { headers: { 'if-none-match': tag } });
  assert.equal(again.status, 304);
  const packed = await get(`${server.http}/socket.io/socket.io.min.js`, { headers: { 'accept-encoding': 'gzip' } });
  // fetch unpacks it by itself.
  assert.equal(packed.headers.get('content-encoding'), 'gzip');
  assert.equal(await packed.text(), text);
  for (const path of ['socket.io.js/../package.json', '..%2fpackage.json', 'index.js', 'socket.io.js.map.txt']) {
    assert.equal((await get(`${server.http}/socket.io/${path}`)).status, 400, path);
  }
});
