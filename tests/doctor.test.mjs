// `denrei doctor` finds what is wrong, says what to do, and changes nothing; settings that do not exist are told apart.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { certify } from './lib/certificate.mjs';
import { Collector } from './lib/collector.mjs';
import { Nats } from './lib/nats.mjs';
import { freePort } from './lib/port.mjs';
import { Postgres } from './lib/postgres.mjs';
import { Redis } from './lib/redis.mjs';
import { BINARY, Server, within } from './lib/server.mjs';
import { keyPair } from './lib/token.mjs';

const SECRET = 'c2l4dHkgcmFuZG9tIGJ5dGVzLCBvciBuZWFybHkgc28K';

let folder;
before(async () => { folder = await mkdtemp(join(tmpdir(), 'denrei-doctor-')); });
after(() => rm(folder, { recursive: true, force: true }));

/** Runs a command of denrei to its end; not awaited synchronously, as a test may have to answer it. */
async function run(words, env = {}, under = []) {
  const [command, ...args] = [...under, BINARY, ...words];
  const process_ = spawn(command, args, { cwd: folder, env: { PATH: process.env.PATH, ...env } });
  let [stdout, stderr] = ['', ''];
  process_.stdout.on('data', (text) => { stdout += text; });
  process_.stderr.on('data', (text) => { stderr += text; });
  const [code] = await within(60_000, once(process_, 'close'), 'denrei to end');
  return { code, stdout, stderr };
}

/** What the doctor finds: with these settings, as text of a file, and this environment. */
async function examined({ config = '', env = {}, under = [], args = ['--listen', '127.0.0.1:0'] } = {}) {
  const file = join(folder, 'settings.toml');
  await writeFile(file, config, { mode: 0o600 });
  const { code, stdout, stderr } = await run(['doctor', '--json', '--config', file, ...args], env, under);
  assert.ok(stdout.startsWith('{'), stderr);
  const { checks } = JSON.parse(stdout);
  assert.equal(code, checks.some(({ verdict }) => verdict === 'error') ? 1 : 0, stderr);
  // No check prints a secret.
  assert.ok(!stdout.includes(SECRET) && !stderr.includes(SECRET));
  return Object.assign(checks, {
    of: (check) => checks.filter((each) => each.check === check),
    errors: checks.filter(({ verdict }) => verdict === 'error').map(({ check }) => check),
  });
}

describe('the doctor', () => {
  test('looks at the certificate, and for the collector of spans', async () => {
    const place = await mkdtemp(join(tmpdir(), 'denrei-doctor-tls-'));
    const collector = await Collector.start();
    const settings = async (days) => {
      const { certificate, key } = await certify(place, days);
      await chmod(key, 0o600);
      return `[tls]\nlisten = "127.0.0.1:0"\ncertificate = "${certificate}"\nkey = "${key}"\n[opentelemetry]\nendpoint = "${collector.url}"\n`;
    };
    try {
      let found = await examined({ config: await settings(100) });
      assert.deepEqual(found.of('certificate').map(({ verdict, finding }) => [verdict, finding]), [['ok', 'is good for 99 days']]);
      assert.deepEqual(found.of('collector').map(({ verdict }) => verdict), ['ok']);
      const config = await settings(5);
      await collector.close();
      found = await examined({ config });
      assert.deepEqual(found.of('certificate').map(({ verdict, finding }) => [verdict, finding]), [['warning', 'ends in 4 days']]);
      assert.deepEqual(found.of('collector').map(({ verdict }) => verdict), ['warning']);
    } finally {
      await rm(place, { recursive: true, force: true });
    }
  });

  test('finds nothing wrong with what is in order, and changes nothing', async () => {
    const env = { DENREI_SECRET: SECRET };
    const found = await examined({ env });
    assert.deepEqual(found.errors, []);
    assert.deepEqual((await readdir(folder)).sort(), ['settings.toml']);
    for (const check of ['settings', 'access', 'secret', 'folder', 'store', 'clock', 'files', 'kernel', 'memory', 'port', 'guarantees']) {
      assert.ok(found.of(check).length > 0, check);
    }
    assert.deepEqual(found.of('access').map(({ verdict }) => verdict), ['ok']);
    assert.match(found.of('guarantees').find(({ finding }) => finding.startsWith('chat:')).finding, /fsynced \(SQLite\)/);
    // A line for each.
    const { code, stdout } = await run(['doctor', '--listen', '127.0.0.1:0'], env);
    assert.deepEqual([code, stdout.trim().split('\n').length], [0, found.length]);
    assert.match(stdout, /^ok +port +127\.0\.0\.1:0 is free$/m);
  });

  test('looks at the store, the secret and the port of a server that runs', async () => {
    const server = await Server.start();
    try {
      await server.publish('feed:kept', { payload: 1 });
      const data = join(server.folder, 'data');
      const args = ['--data', data, '--listen', server.address];
      const files = await readdir(data);
      const found = await examined({ args });
      assert.deepEqual(found.errors, []);
      assert.match(found.of('port')[0].finding, /a denrei listens on/);
      assert.match(found.of('store').at(-1).finding, /journal wal, in order/);
      assert.match(found.of('access')[0].finding, /development mode/);
      assert.deepEqual(await readdir(data), files);
      await chmod(join(data, 'secret'), 0o644);
      const open = await examined({ args });
      assert.deepEqual(open.errors, ['secret']);
      assert.match(open.of('secret')[0].advice, /chmod 600/);
      await chmod(join(data, 'secret'), 0o600);
      // Without the server: it was killed, and did not close its database.
      await server.kill();
      assert.deepEqual((await examined({ args })).errors, []);
    } finally {
      await server.close();
    }
  });

  test('finds another program at the port, and a folder that is a file', async () => {
    const other = net.createServer((socket) => socket.end('hello\n')).listen(0, '127.0.0.1');
    await once(other, 'listening');
    const file = join(folder, 'a-file');
    await writeFile(file, '');
    try {
      const found = await examined({ args: ['--listen', `127.0.0.1:${other.address().port}`, '--data', join(file, 'data')] });
      assert.deepEqual(found.errors, ['folder', 'port']);
      assert.match(found.of('port')[0].finding, /another program listens/);
      assert.match(found.of('folder')[0].finding, /cannot be written to/);
    } finally {
      other.close();
      await rm(file);
    }
  });

  test('finds a database that is none', async () => {
    const data = join(folder, 'damaged');
    await mkdir(data);
    await writeFile(join(data, 'denrei.db'), 'this is no database, however long one looks at it'.repeat(100));
    const found = await examined({ args: ['--listen', '127.0.0.1:0', '--data', data] });
    assert.deepEqual(found.errors, ['store']);
    assert.match(found.of('store')[0].finding, /not a database/);
  });

  test('finds too few files for the connections', async () => {
    const few = await examined({ under: ['prlimit', '--nofile=256:256'] });
    assert.deepEqual(few.errors, ['files']);
    assert.match(few.of('files')[0].advice, /LimitNOFILE/);
    const some = await examined({ under: ['prlimit', '--nofile=1024:2048'] });
    assert.deepEqual([some.errors, some.of('files')[0].verdict], [[], 'warning']);
    const enough = await examined({ under: ['prlimit', '--nofile=1024:2048'], config: '[limits]\nconnections = 1000\n' });
    assert.equal(enough.of('files')[0].verdict, 'ok');
  });

  test('warns of what lets strangers in', async () => {
    const found = await examined({
      args: ['--listen', '0.0.0.0:0'],
      config: 'origins = ["https://*.com", "https://*.app.example"]\n[auth]\nanonymous = true\n[rates]\nenabled = false\n',
      env: { DENREI_SECRET: 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' },
    });
    assert.deepEqual(found.errors, []);
    const warned = found.filter(({ verdict }) => verdict === 'warning').map(({ check }) => check);
    for (const check of ['access', 'secret', 'encryption', 'origins', 'rates']) assert.ok(warned.includes(check), check);
    assert.equal(found.of('origins').length, 1);
    await writeFile(join(folder, 'open.toml'), `[auth]\nsecret = "${SECRET}"\n`);
    await chmod(join(folder, 'open.toml'), 0o644);
    const { stdout } = await run(['doctor', '--json', '--listen', '127.0.0.1:0', '--config', join(folder, 'open.toml')]);
    assert.match(stdout, /holds the secret, and others may read it/);
    assert.ok(!stdout.includes(SECRET));
  });

  test('asks for the keys that others publish', async () => {
    let keys = JSON.stringify({ keys: [{ ...keyPair('ES256').jwk, kid: 'one', alg: 'ES256' }] });
    const publisher = createServer((_, response) => response.end(keys)).listen(0, '127.0.0.1');
    await once(publisher, 'listening');
    const config = `[auth]\njwks = "http://127.0.0.1:${publisher.address().port}/keys"\n`;
    try {
      assert.deepEqual((await examined({ config })).of('keys').map(({ finding }) => finding), ['auth.jwks has 1 that can be used']);
      keys = 'nothing of the kind';
      assert.deepEqual((await examined({ config })).errors, ['keys']);
    } finally {
      publisher.close();
    }
    assert.deepEqual((await examined({ config })).errors, ['keys']);
  });

  test('asks PostgreSQL and the brokers', async (t) => {
    const opened = [];
    t.after(async () => { for (const each of opened.reverse()) await each.close(); });
    const start = async (starting) => { opened.push(await starting); return opened.at(-1); };
    const postgres = await start(Postgres.start());
    const redis = await start(Redis.start());
    const nats = await start(Nats.start());
    const env = { DENREI_SECRET: SECRET, DENREI_STORE: postgres.url(), DENREI_BUS: redis.url() };
    const fine = await examined({ env });
    assert.deepEqual(fine.errors, []);
    assert.match(fine.of('store')[0].finding, /PostgreSQL \d+.*synchronous_commit = on/);
    assert.match(fine.of('clock')[0].finding, /differs from the database's by -?\d+ ms/);
    assert.match(fine.of('bus')[0].finding, /^Redis [67-9].*RESP3/);
    assert.match(fine.of('guarantees').find(({ finding }) => finding.startsWith('live:')).finding, /kept by the broker/);
    await redis.ask('config', 'set', 'maxmemory', '100mb');
    await redis.ask('config', 'set', 'maxmemory-policy', 'allkeys-lru');
    assert.match((await examined({ env })).of('bus')[0].finding, /throws away rooms \(allkeys-lru\)/);
    const over = await examined({ env: { ...env, DENREI_BUS: nats.url() } });
    assert.deepEqual(over.errors, []);
    assert.match(over.of('bus')[0].finding, /^NATS .*JetStream is on/);

    const wrong = await examined({ env: { ...env, DENREI_STORE: postgres.url('wrong') } });
    assert.deepEqual(wrong.errors, ['store']);
    assert.match(wrong.of('store')[0].finding, /password authentication failed/);
    await redis.crash();
    const down = await examined({ env });
    assert.deepEqual(down.errors, ['bus']);
    const port = await freePort();
    const nobody = await examined({ env: { ...env, DENREI_ADVERTISE: `http://no-such-host.invalid:${port}`, DENREI_BUS: nats.url() } });
    assert.deepEqual(nobody.errors, ['advertise']);
  });
});

test('a setting that does not exist is told with its line and the one that was meant', async () => {
  const found = await examined({ config: '# mine\n[limits]\nmesage_bytes = 5\n', under: ['prlimit', '--nofile=1024:1024'] });
  assert.deepEqual(found.errors, ['settings']);
  assert.match(found.of('settings')[0].finding, /settings\.toml: line 3: unknown setting limits\.mesage_bytes; did you mean message_bytes\?$/);
  const { code, stderr } = await run(['serve', '--config', join(folder, 'settings.toml')]);
  assert.equal(code, 1);
  assert.match(stderr, /did you mean message_bytes\?/);
});

test('an environment variable that is nearly one of denrei is an error, and one that means nothing is told', async () => {
  for (const command of ['serve', 'token', 'doctor']) {
    const words = command === 'token' ? [command, '--user', 'a'] : [command, '--listen', '127.0.0.1:0'];
    const { code, stdout, stderr } = await run(words, { DENREI_STOER: 'postgres://alice:hunter2@db/x' });
    assert.equal(code, 1, command);
    assert.match(stdout + stderr, /DENREI_STOER means nothing; did you mean DENREI_STORE\?/);
    assert.ok(!(stdout + stderr).includes('hunter2'));
  }
  const { code, stderr } = await run(['token', '--user', 'a', '--data', join(folder, 'token')], { DENREI_SPLINES: '1' });
  assert.deepEqual([code, stderr], [0, 'denrei: DENREI_SPLINES in the environment means nothing\n']);
  const found = await examined({ env: { DENREI_SPLINES: '1' } });
  assert.deepEqual([found.errors, found.of('environment')[0].verdict], [[], 'warning']);
});
