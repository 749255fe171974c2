// Who clients are: keys of every kind, key sets that change, the ways a token comes, its end, and what is taken back.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { Client, WAYS } from './lib/io.mjs';
import { Server, get, until } from './lib/server.mjs';
import { Socket } from './lib/socket.mjs';
import { Stream } from './lib/stream.mjs';
import { inSeconds, keyPair, sealed, signed } from './lib/token.mjs';

const SECRET = 'a secret of at least thirty-two bytes';

/** A server of the test's own, with these settings of `[auth]`. */
async function served(t, auth, more = '') {
  const server = await Server.start({ config: `[auth]\n${auth}\n${more}` });
  t.after(() => server.close());
  return server;
}

/** A folder with these files; resolves to a function that gives their paths. */
async function files(t, contents) {
  const folder = await mkdtemp(join(tmpdir(), 'denrei-keys-'));
  t.after(() => rm(folder, { recursive: true }));
  for (const [name, text] of Object.entries(contents)) await writeFile(join(folder, name), text);
  return (name) => join(folder, name);
}

/** Who a token shows at a server, or the code of the refusal. */
async function shown(server, token) {
  const answer = await get(`${server.http}/api/rooms/user:alice/events`, { headers: { authorization: `Bearer ${token}` } });
  const { code } = await answer.json();
  return answer.status === 200 ? 'alice' : code === 'forbidden' ? 'somebody' : code;
}

const alice = (more = {}) => ({ sub: 'alice', exp: inSeconds(600), ...more });

describe('a key', () => {
  test('of each algorithm verifies its own tokens, and no others', async (t) => {
    const pairs = ['RS256', 'ES256', 'EdDSA'].map((algorithm) => keyPair(algorithm));
    const at = await files(t, { ...Object.fromEntries(pairs.map((pair) => [pair.algorithm, pair.pem])), hs: 'h'.repeat(64) });
    const keys = pairs.map(({ algorithm }) => `[[auth.keys]]\nalgorithm = "${algorithm}"\nfile = "${at(algorithm)}"`);
    keys.push(`[[auth.keys]]\nalgorithm = "HS512"\nfile = "${at('hs')}"`);
    const server = await served(t, `secret = "${SECRET}"`, keys.join('\n'));
    for (const pair of pairs) {
      assert.equal(await shown(server, signed(alice(), pair)), 'alice', pair.algorithm);
      assert.equal(await shown(server, signed(alice({ sub: 'bob' }), pair)), 'somebody', pair.algorithm);
      // Another pair of the same kind, and a public key taken for a secret (RFC 8725 §2.1).
      assert.equal(await shown(server, signed(alice(), keyPair(pair.algorithm))), 'token_invalid');
      for (const secret of [pair.pem, pair.pem.trim(), Buffer.from(pair.jwk.x ?? pair.jwk.n, 'base64url')]) {
        assert.equal(await shown(server, sealed(alice(), secret)), 'token_invalid');
        assert.equal(await shown(server, sealed(alice(), secret, { header: { alg: pair.algorithm } })), 'token_invalid');
      }
      // The right signature under the name of another algorithm.
      for (const other of ['HS256', 'RS256', 'ES256', 'EdDSA', 'none']) {
        if (other !== pair.algorithm) assert.equal(await shown(server, signed(alice(), pair, { alg: other })), 'token_invalid');
      }
    }
    assert.equal(await shown(server, sealed(alice(), 'h'.repeat(64), { hash: 'sha512', header: { alg: 'HS512' } })), 'alice');
    assert.equal(await shown(server, sealed(alice(), 'h'.repeat(64))), 'token_invalid');
    assert.equal(await shown(server, sealed(alice(), SECRET)), 'alice');
    // ES256 with r and s of 0 (CVE-2022-21449), and in DER.
    const [head, claims] = signed(alice(), pairs[1]).split('.');
    assert.equal(await shown(server, `${head}.${claims}.${Buffer.alloc(64).toString('base64url')}`), 'token_invalid');
  });

  test('with an id is for tokens that name it', async (t) => {
    const [old, recent] = [keyPair('ES256', 'old'), keyPair('ES256', 'recent')];
    const at = await files(t, { old: old.pem, recent: recent.pem });
    const keys = ['old', 'recent'].map((id) => `[[auth.keys]]\nalgorithm = "ES256"\nid = "${id}"\nfile = "${at(id)}"`);
    const server = await served(t, '', keys.join('\n'));
    assert.equal(await shown(server, signed(alice(), old)), 'alice');
    assert.equal(await shown(server, signed(alice(), recent)), 'alice');
    assert.equal(await shown(server, signed(alice(), recent, { kid: 'old' })), 'token_invalid');
    assert.equal(await shown(server, signed(alice(), recent, { kid: undefined })), 'alice');
    for (const kid of ['../../../etc/passwd', "' OR 1=1 --", 'http://127.0.0.1/', 'x'.repeat(4000)]) {
      assert.equal(await shown(server, signed(alice(), recent, { kid })), 'token_invalid');
    }
  });
});

describe('a key set', () => {
  /** Serves what `answer.body` is at the moment, and counts. */
  async function publisher(t, answer) {
    const http = createServer((request, response) => {
      answer.asked = (answer.asked ?? 0) + 1;
      response.writeHead(answer.status ?? 200, answer.headers).end(answer.body);
    });
    http.listen(0, '127.0.0.1');
    await once(http, 'listening');
    t.after(() => http.close());
    return `http://127.0.0.1:${http.address().port}/keys`;
  }

  test('is read again when a token names a key that is new, and kept when it cannot be read', async (t) => {
    const [first, second] = [keyPair('RS256', 'first'), keyPair('EdDSA', 'second')];
    const answer = { body: JSON.stringify({ keys: [first.jwk, { kty: 'oct', k: 'AAAA' }, { kty: 'new kind' }] }) };
    const server = await served(t, `jwks = "${await publisher(t, answer)}"\njwks_refresh_ms = 300`);
    await until(async () => (await shown(server, signed(alice(), first))) === 'alice', 'the first key');
    assert.equal(await shown(server, signed(alice(), second)), 'token_invalid');
    // A key that the set publishes as a secret would be everybody's.
    assert.equal(await shown(server, sealed(alice(), Buffer.from('AAAA', 'base64url'))), 'token_invalid');
    answer.body = JSON.stringify({ keys: [second.jwk] });
    await until(async () => (await shown(server, signed(alice(), second))) === 'alice', 'the second key');
    assert.equal(await shown(server, signed(alice(), first)), 'token_invalid', 'the first is no more');
    for (const bad of [
      { body: 'not JSON' },
      { body: '{"keys":[]}' },
      { body: JSON.stringify({ keys: [first.jwk], more: 'x'.repeat(100_000) }) },
      { status: 500, body: JSON.stringify({ keys: [first.jwk] }) },
      { status: 302, headers: { location: '/keys' }, body: JSON.stringify({ keys: [first.jwk] }) },
    ]) {
      Object.assign(answer, { status: 200, headers: {} }, bad, { asked: 0 });
      await until(() => answer.asked >= 2, 'it to be asked again');
      assert.equal(await shown(server, signed(alice(), second)), 'alice', 'the last good one stays');
      assert.equal(await shown(server, signed(alice(), first)), 'token_invalid');
    }
  });

  test('may be a file', async (t) => {
    const [first, second] = [keyPair('ES256', 'first'), keyPair('ES256', 'second')];
    const at = await files(t, { set: JSON.stringify({ keys: [first.jwk] }) });
    const server = await served(t, `jwks = "${at('set')}"\njwks_refresh_ms = 200`);
    await until(async () => (await shown(server, signed(alice(), first))) === 'alice', 'the first key');
    await writeFile(at('set'), JSON.stringify({ keys: [first.jwk, second.jwk] }));
    await until(async () => (await shown(server, signed(alice(), second))) === 'alice', 'the second key');
  });

  test('that was never read refuses for now', async (t) => {
    const answer = { status: 503, body: '' };
    const server = await served(t, `jwks = "${await publisher(t, answer)}"`);
    assert.equal(await shown(server, signed(alice(), keyPair('ES256'))), 'unavailable');
  });
});

describe('a token', () => {
  test('comes by header, parameter, subprotocol, cookie and payload, and is never logged', async (t) => {
    const server = await Server.start({
      config: `[auth]\nsecret = "${SECRET}"\ncookie = "session"\n`, env: { DENREI_LOG: 'trace' },
    });
    t.after(() => server.close());
    const token = sealed(alice(), SECRET);
    const bad = sealed(alice({ exp: 1 }), SECRET);
    for (const [options, path, protocols] of [
      [{ headers: { authorization: `Bearer ${token}` } }, '/ws', []],
      [{ headers: { authorization: `bearer ${token}` } }, '/ws', []],
      [{ headers: { cookie: `a=b; session=${token}; c=d` } }, '/ws', []],
      [{}, `/ws?token=${token}`, []],
      [{}, '/ws', ['denrei.v1.json', `denrei.token.${token}`]],
      // What is said on purpose comes before what a browser sends by itself.
      [{ headers: { cookie: `session=${bad}` } }, `/ws?token=${token}`, []],
    ]) {
      const socket = await Socket.open(server, { path, protocols, ...options });
      assert.equal(socket.welcome.userId, 'alice');
      assert.equal(socket.ws.protocol, protocols.length ? 'denrei.v1.json' : '');
      await socket.close();
    }
    for (const options of [{ auth: { token } }, { query: { token } }, { extraHeaders: { authorization: `Bearer ${token}` } }]) {
      const client = new Client(server, { ...WAYS.websocket, ...options });
      await client.connected();
      assert.equal((await client.join('inbox:alice')).room, 'inbox:alice');
      client.close();
    }
    await assert.rejects(Socket.open(server), /401/);
    await assert.rejects(Socket.open(server, { path: `/ws?token=${bad}` }), /401/);
    const refused = await get(`${server.http}/api/messages?token=${bad}`);
    assert.deepEqual(await refused.json(), { error: 'Token expired', code: 'token_expired', advice: 'get a new token' });
    for (const secret of [token, bad, SECRET]) assert.ok(!server.log.includes(secret.split('.').at(-1)), 'the log shows one');
  });

  test('is from and for whom the operator says', async (t) => {
    const server = await served(t, `secret = "${SECRET}"\nissuer = "us"\naudience = ["chat"]\nroles_claim = "app.roles"`);
    assert.equal(await shown(server, sealed(alice(), SECRET)), 'token_wrong_issuer');
    assert.equal(await shown(server, sealed(alice({ iss: 'us' }), SECRET)), 'token_wrong_audience');
    assert.equal(await shown(server, sealed(alice({ iss: 'us', aud: 'chat' }), SECRET)), 'alice');
    // The command line mints what the same settings want.
    assert.equal(await shown(server, await server.token('alice')), 'alice');
  });
});

describe('the end of a token', () => {
  const auth = `secret = "${SECRET}"\nleeway_ms = 0\nwarning_ms = 3000`;
  const short = (seconds = 4) => sealed(alice({ exp: inSeconds(seconds) }), SECRET);

  test('is told before, and ends a WebSocket unless it brings a new one', async (t) => {
    const server = await served(t, auth);
    const [one, other] = await Promise.all([0, 1].map(() => Socket.open(server, { path: `/ws?token=${short()}` })));
    const { expiresAt } = await one.next(({ type }) => type === 'expiring', 'a warning');
    assert.ok(expiresAt > Date.now() - 1000);
    await other.next(({ type }) => type === 'expiring', 'a warning');
    assert.equal((await other.ask({ type: 'auth', token: sealed({ sub: 'bob', exp: inSeconds(60) }, SECRET) })).code, 'forbidden');
    assert.equal((await other.ask({ type: 'auth', token: short(-1) })).code, 'token_expired');
    assert.deepEqual((await other.ask({ type: 'auth', token: short(600) })).payload, { userId: 'alice' });
    const { code, error } = await one.next(({ type }) => type === 'error', 'the reason');
    assert.deepEqual([code, error], ['token_expired', 'Token expired']);
    assert.deepEqual(await one.closed, { code: 4401, reason: 'Token expired' });
    // Who has renewed goes on.
    assert.ok((await other.broadcast('feed:renewed', 1)).seq >= 1);
    await other.close();
  });

  test('is told before, and ends an event stream and a long poll', async (t) => {
    const server = await served(t, auth);
    const token = short();
    const stream = await Stream.open(server, `/sse?room=feed:end&token=${token}`);
    const poll = get(`${server.http}/api/rooms/feed:end/events?wait=25&token=${token}`);
    await stream.event('expiring');
    assert.deepEqual(JSON.parse((await stream.event('error')).data).code, 'token_expired');
    await stream.ended;
    // The poll began in time, and gets nothing that was published after.
    const late = await server.publish('feed:end', { payload: 'secret' }, { authorization: `Bearer ${short(600)}` });
    assert.equal(late.status, 201);
    const answer = await poll;
    assert.deepEqual([answer.status, (await answer.json()).code], [401, 'token_expired']);
  });

  for (const [way, options] of Object.entries(WAYS)) {
    test(`is told before, and takes a Socket.IO client out of its namespace unless it brings a new one (${way})`, async (t) => {
      const server = await served(t, auth);
      const [one, other] = [0, 1].map(() => new Client(server, { ...options, auth: { token: short(5) } }));
      t.after(() => [one, other].forEach((client) => client.close()));
      await Promise.all([one.connected(), other.connected()]);
      const [{ expiresAt }] = await one.event('expiring');
      assert.ok(expiresAt > Date.now() - 1000);
      await other.event('expiring');
      assert.deepEqual(await other.ask('auth', short(600)), { userId: 'alice' });
      const [{ code }] = await one.event('unauthorized');
      assert.equal(code, 'token_expired');
      await until(() => one.reasons.length, 'it to be sent away');
      assert.deepEqual([one.reasons, other.reasons], [['io server disconnect'], []]);
    });
  }
});

test('a Socket.IO client whose token is over does not come back with it on the same connection', async (t) => {
  const server = await served(t, `secret = "${SECRET}"\nleeway_ms = 0`);
  for (const bring of [(token) => ({ extraHeaders: { authorization: `Bearer ${token}` } }), (token) => ({ query: { token } })]) {
    const options = bring(sealed(alice({ exp: inSeconds(2) }), SECRET));
    const client = new Client(server, { ...WAYS.websocket, ...options, reconnection: false });
    t.after(() => client.close());
    await client.connected();
    await until(() => client.reasons.length, 'it to be sent away');
    const errors = [];
    client.socket.on('connect_error', (error) => errors.push([error.message, error.data.code]));
    // The engine's connection is still there: both ask on it.
    client.socket.connect();
    client.socket.io.socket('/chat').on('connect_error', (error) => errors.push([error.message, error.data.code]));
    await until(() => errors.length === 2, 'both to be refused');
    assert.deepEqual(errors, [['Token expired', 'token_expired'], ['Token expired', 'token_expired']]);
  }
});

test('a token that is over while its room is looked up does nothing more', async (t) => {
  const http = createServer((request, response) => setTimeout(() => response.end('{"allow":true}'), 3000));
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  t.after(() => { http.closeAllConnections(); http.close(); });
  const webhook = `[policy.webhook]\nurl = "http://127.0.0.1:${http.address().port}"\non_failure = "refuse"\npublishing = true\ntimeout_ms = 9000`;
  const server = await served(t, `secret = "${SECRET}"\nleeway_ms = 0`, webhook);
  const token = sealed(alice({ exp: inSeconds(2) }), SECRET);
  const bearer = { authorization: `Bearer ${token}` };
  const answers = await Promise.all([
    server.publish('feed:late', { payload: 1 }, bearer).then((answer) => answer.json()),
    server.events('feed:late', '', { headers: bearer }).then((answer) => answer.json()),
  ]);
  assert.deepEqual(answers.map(({ code }) => code), ['token_expired', 'token_expired']);
  const stream = await Stream.open(server, `/sse?room=feed:late&token=${sealed(alice({ exp: inSeconds(2) }), SECRET)}`);
  assert.equal(JSON.parse((await stream.event('error')).data).code, 'token_expired');
});

describe('what is taken back', () => {
  const auth = `secret = "${SECRET}"`;
  const admin = () => ({ authorization: `Bearer ${sealed({ sub: 'root', roles: ['admin'], iat: inSeconds(600), exp: inSeconds(900) }, SECRET)}` });
  const revoke = (server, what, headers = admin()) =>
    get(`${server.http}/api/admin/revocations`, { method: 'POST', headers, body: JSON.stringify(what) });
  const of = (sub, more = {}) => sealed({ sub, iat: inSeconds(0), exp: inSeconds(600), ...more }, SECRET);

  test('ends a user\'s live sessions at once, on every transport, and nobody else\'s', async (t) => {
    const server = await served(t, `${auth}\nleeway_ms = 1000000`);
    const [mine, theirs] = [of('alice'), of('bob')];
    const socket = await Socket.open(server, { path: `/ws?token=${mine}` });
    const other = await Socket.open(server, { path: `/ws?token=${theirs}` });
    const stream = await Stream.open(server, `/sse?room=feed:x&token=${mine}`);
    const clients = [
      new Client(server, { ...WAYS.websocket, auth: { token: mine } }),
      new Client(server, { ...WAYS.polling, query: { token: mine } }),
      new Client(server, { ...WAYS.websocket, auth: { token: theirs } }),
    ];
    t.after(() => clients.forEach((client) => client.close()));
    await Promise.all(clients.map((client) => client.connected()));
    assert.equal((await revoke(server, { userId: 'alice' })).status, 201);
    assert.deepEqual(await socket.closed, { code: 4401, reason: 'Token revoked' });
    assert.equal(JSON.parse((await stream.event('error')).data).code, 'token_revoked');
    for (const client of clients.slice(0, 2)) {
      assert.equal((await client.event('unauthorized'))[0].code, 'token_revoked');
      await until(() => client.reasons.length, 'it to be sent away');
      assert.deepEqual(client.reasons, ['io server disconnect']);
    }
    assert.deepEqual(clients[2].reasons, []);
    assert.ok((await other.broadcast('feed:x', 1)).seq);
    await other.close();
    // It stays so after kill -9; a token that was issued later is another matter.
    assert.equal(await shown(server, mine), 'token_revoked');
    await server.crash();
    await until(async () => (await shown(server, mine)) === 'token_revoked', 'what was taken back');
    assert.equal(await shown(server, of('alice', { iat: inSeconds(60) })), 'alice');
    assert.equal(await shown(server, sealed(alice(), SECRET)), 'token_revoked', 'one that does not say when it was issued');
  });

  test('may be one token, or everybody\'s', async (t) => {
    const server = await served(t, `${auth}\nleeway_ms = 1000000`);
    const [one, two] = [of('alice', { jti: 'one' }), of('alice', { jti: 'two' })];
    const [first, second] = await Promise.all([one, two].map((token) => Socket.open(server, { path: `/ws?token=${token}` })));
    assert.equal((await revoke(server, { tokenId: 'one' })).status, 201);
    assert.equal((await first.closed).code, 4401);
    assert.deepEqual([await shown(server, one), await shown(server, two)], ['token_revoked', 'alice']);
    assert.equal((await revoke(server, { everybody: true })).status, 201);
    assert.equal((await second.closed).code, 4401);
    assert.equal(await shown(server, two), 'token_revoked');
  });

  test('is an administrator\'s to take, and clear', async (t) => {
    const server = await served(t, `${auth}\nleeway_ms = 1000000`);
    const bearer = { authorization: `Bearer ${of('alice')}` };
    assert.equal((await revoke(server, { userId: 'bob' }, bearer)).status, 403);
    assert.equal((await revoke(server, { userId: 'bob' }, {})).status, 401);
    for (const [what, code] of [
      [{}, 'invalid_field'],
      [{ userId: 'a', tokenId: 'b' }, 'invalid_field'],
      [{ userId: '' }, 'invalid_name'],
      [{ userId: 5 }, 'invalid_field'],
      [{ everybody: 'yes' }, 'invalid_field'],
      [{ userId: 'a', issuedBefore: -1 }, 'invalid_field'],
      [{ user: 'a' }, 'invalid_field'],
      [[], 'invalid_message'],
    ]) {
      const answer = await revoke(server, what);
      assert.deepEqual([answer.status, (await answer.json()).code], [400, code], JSON.stringify(what));
    }
    // Nobody reads or writes the room that it is kept in.
    const socket = await Socket.open(server, { path: `/ws?token=${of('alice')}` });
    assert.equal((await socket.ask({ type: 'join', room: 'sys:revocations' })).code, 'forbidden');
    assert.equal((await socket.ask({ type: 'broadcast', room: 'sys:revocations', payload: 1 })).code, 'forbidden');
    await socket.close();
  });
});
