// Uploads to a bucket of an S3 server that verifies signatures.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { copyFile } from 'node:fs/promises';
import http from 'node:http';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Uploader, png } from './lib/files.mjs';
import { S3 } from './lib/s3.mjs';
import { Server, get, until } from './lib/server.mjs';

let s3;
let server;
let alice;
before(async () => {
  s3 = await S3.start();
  server = await Server.start({ config: s3.config(), env: s3.env() });
  alice = new Uploader(server, await server.token('alice'));
});
after(async () => {
  await server.close();
  await s3.close();
});

test('a file is kept in the bucket, and comes back from there', async () => {
  const picture = png(640, 480);
  const file = await alice.keep(picture);
  assert.deepEqual((await s3.objects()).filter((name) => name.startsWith(file.id)).sort(), [file.id, `${file.id}.thumbnail`]);
  assert.deepEqual(Buffer.from(await (await alice.fetch(file.url)).arrayBuffer()), picture);
  assert.equal((await alice.fetch(file.thumbnailUrl)).status, 200);
  const part = await alice.fetch(file.url, { range: 'bytes=1-3' });
  assert.deepEqual([part.status, await part.text()], [206, 'PNG']);
  assert.equal((await alice.ask('DELETE', `/api/files/${file.id}`)).http, 204);
  assert.deepEqual((await s3.objects()).filter((name) => name.startsWith(file.id)), []);
});

test('a file of several parts is whole', async () => {
  const large = randomBytes(20_000_000);
  const file = await alice.keep(large);
  const back = Buffer.from(await (await alice.fetch(file.url)).arrayBuffer());
  assert.equal(createHash('sha256').update(back).digest('hex'), file.sha256);
  assert.ok(back.equals(large));
});

test('a client puts a file into the bucket itself, and it is looked at before anybody has it', async () => {
  const picture = png(640, 480);
  const asked = await alice.ask('POST', '/api/files/direct', JSON.stringify({ name: 'cat.png', bytes: picture.length }));
  assert.equal(asked.http, 201, asked.error);
  assert.equal((await alice.ask('POST', `/api/files/${asked.id}/complete`)).http, 409);
  const put = (body, url = asked.url) => get(url, { method: asked.method, body });
  assert.equal((await put(Buffer.concat([picture, picture]))).status, 200);
  assert.equal((await alice.ask('POST', `/api/files/${asked.id}/complete`)).http, 409, 'another length than announced');
  assert.ok((await put(picture, asked.url.replace(asked.id, 'x'.repeat(20)))).status >= 400, 'another object');
  assert.equal((await put(picture)).status, 200);
  const done = await alice.ask('POST', `/api/files/${asked.id}/complete`);
  assert.deepEqual([done.http, done.type, done.width, done.bytes], [201, 'image/png', 640, picture.length]);
  // The permission is still good, but what it puts there is not what is kept.
  const page = Buffer.alloc(picture.length, '<script>alert(1)</script>');
  await put(page);
  assert.deepEqual(Buffer.from(await (await alice.fetch(done.url)).arrayBuffer()), picture);
  const again = await alice.ask('POST', `/api/files/${asked.id}/complete`);
  assert.deepEqual([again.http, again.sha256], [200, done.sha256]);
});

test('what is put there is what was announced', async () => {
  const asked = await alice.ask('POST', '/api/files/direct', JSON.stringify({ name: 'a.txt', bytes: 5 }));
  assert.equal((await get(asked.url, { method: 'PUT', body: 'hello' })).status, 200);
  const wrong = await alice.ask('POST', `/api/files/${asked.id}/complete`, JSON.stringify({ sha256: '0'.repeat(64) }));
  assert.equal(wrong.http, 400);
  // It is gone with what was set aside for it.
  await until(async () => (await alice.ask('GET', `/api/files/${asked.id}`)).http === 404, 'the file to go');
  const large = await alice.ask('POST', '/api/files/direct', JSON.stringify({ name: 'a', bytes: 1e12 }));
  assert.equal(large.http, 413);
});

test('downloads may go to the bucket', async (t) => {
  const sending = await Server.start({ config: s3.config('redirect = true'), env: s3.env() });
  t.after(() => sending.close());
  const who = new Uploader(sending, await sending.token('alice'));
  const file = await who.keep('<script>alert(1)</script>', '?name=a.html');
  const answer = await who.fetch(file.url);
  assert.equal(answer.status, 302);
  const address = answer.headers.get('location');
  const followed = await get(address);
  assert.equal(followed.status, 200);
  assert.equal(await followed.text(), '<script>alert(1)</script>');
  assert.match(address, /response-content-disposition=attachment/);
  assert.equal((await get(address.replace(/attachment/, 'inline'))).status, 403);
});

test('with a wrong secret nothing is kept, and the secret is told to nobody', async (t) => {
  const locked = await Server.start({ config: s3.config('sweep_ms = 100\nuser_bytes = 5000'), env: s3.env('another-secret') });
  t.after(() => locked.close());
  const who = new Uploader(locked, await locked.token('alice'));
  const before = await s3.objects();
  for (let time = 0; time < 3; time += 1) {
    const answer = await who.upload('x'.repeat(5001));
    assert.equal(answer.http, 413);
    const refused = await who.upload('hello');
    assert.deepEqual([refused.http, refused.code, refused.retry, refused.retryAfter], [503, 'unavailable', '1', 1000]);
    assert.doesNotMatch(JSON.stringify(refused), /Signature|127\.0\.0\.1|secret/);
  }
  assert.deepEqual((await s3.objects()).filter((name) => !before.includes(name)), []);
  assert.doesNotMatch(locked.log, /another-secret/);
});

test('while the server is down uploads are refused, and afterwards nothing is missing', async (t) => {
  const own = await S3.start();
  const depending = await Server.start({ config: own.config('user_bytes = 10000'), env: own.env() });
  t.after(async () => {
    await depending.close();
    await own.close();
  });
  const who = new Uploader(depending, await depending.token('alice'));
  const file = await who.keep('hello');
  await own.kill();
  const refused = await who.upload('x'.repeat(5000));
  assert.deepEqual([refused.http, refused.retryAfter], [503, 1000]);
  assert.equal((await who.fetch(file.url)).status, 503);
  // Nothing stays set aside, and what is known is still known.
  assert.equal((await who.upload('x'.repeat(5000))).http, 503);
  assert.equal((await who.ask('GET', `/api/files/${file.id}`)).bytes, 5);
});

test('objects that nobody knows are taken away, and others\' are left', async (t) => {
  const own = await S3.start();
  const sweeping = await Server.start({ config: own.config('sweep_ms = 100\nupload_timeout_ms = 500'), env: own.env() });
  t.after(async () => {
    await sweeping.close();
    await own.close();
  });
  const who = new Uploader(sweeping, await sweeping.token('alice'));
  const kept = await who.keep('kept', '?room=live:x');
  const lost = await who.keep('lost', '?room=live:x');
  // Its row goes behind the server's back, as when a backup is restored.
  await sweeping.stop();
  const forget = 'import sqlite3, sys; d = sqlite3.connect(sys.argv[1]); d.execute("DELETE FROM files WHERE id = ?", sys.argv[2:]); d.commit()';
  execFileSync('python3', ['-c', forget, join(sweeping.folder, 'data/denrei.db'), lost.id]);
  const folder = join(own.folder, 'uploads/some/prefix');
  await copyFile(join(folder, kept.id), join(folder, 'another.txt'));
  await sweeping.again();
  await until(async () => !(await own.objects()).includes(lost.id), 'the object to go');
  assert.deepEqual((await own.objects()).sort(), [kept.id, 'another.txt'].sort());
});

/** Stands between a server and its bucket; `meddle` may answer instead of it. */
async function meddler(bucket) {
  const between = http.createServer(async (request, response) => {
    const parts = [];
    for await (const part of request) parts.push(part);
    if (await between.meddle?.(request, response)) return;
    const onward = http.request(new URL(request.url, bucket.http), { method: request.method, headers: request.headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    onward.on('error', () => response.destroy());
    onward.end(Buffer.concat(parts));
  });
  between.listen(0, '127.0.0.1');
  await once(between, 'listening');
  return between;
}

test('a bucket that refuses, says yes and means no, or says nothing keeps nothing that was promised', { timeout: 120_000 }, async (t) => {
  const between = await meddler(s3);
  const there = { ...s3, config: S3.prototype.config, http: `http://127.0.0.1:${between.address().port}` };
  const depending = await Server.start({ config: there.config('user_bytes = 30000000\nupload_timeout_ms = 3000'), env: s3.env() });
  t.after(async () => {
    await depending.close();
    between.closeAllConnections();
    between.close();
  });
  const who = new Uploader(depending, await depending.token('alice'));
  const [small, large] = ['hello', randomBytes(20_000_000)];
  const error = '<?xml version="1.0" encoding="UTF-8"?><Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>';
  const troubles = {
    'answers 503': [small, (request, response) => request.method === 'PUT' && response.writeHead(503).end()],
    'answers 200 with an error': [large, (request, response) => request.method === 'POST' && /uploadId/.test(request.url) && response.writeHead(200, { 'content-type': 'application/xml' }).end(error)],
    'cuts the line': [small, (request) => request.method === 'PUT' && request.socket.destroy()],
    'says nothing': [small, (request) => request.method === 'PUT'],
  };
  for (const [what, [bytes, meddle]] of Object.entries(troubles)) {
    const before = await s3.objects();
    between.meddle = meddle;
    const begun = Date.now();
    const upload = who.upload(bytes);
    // Whoever wants nothing of the bucket does not wait for it.
    assert.equal((await get(`${depending.http}/health`)).status, 200);
    const refused = await upload;
    assert.ok(refused.http >= 500 && refused.code === 'unavailable', `${what}: ${JSON.stringify(refused)}`);
    assert.ok(Date.now() - begun < 40_000, `${what}: it took ${Date.now() - begun} ms`);
    between.meddle = undefined;
    assert.deepEqual((await s3.objects()).filter((name) => !before.includes(name)), [], what);
    // What was set aside for it is free.
    const file = await who.keep(large);
    assert.equal((await who.ask('DELETE', `/api/files/${file.id}`)).http, 204);
  }
});
