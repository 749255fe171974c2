// Uploads to the disk of the server: what is taken, who may have it, and what becomes of it.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { attack } from './lib/attack.mjs';
import { User } from './lib/chat.mjs';
import { Uploader, png } from './lib/files.mjs';
import { Peer, httpRequest } from './lib/peer.mjs';
import { Server, until } from './lib/server.mjs';

const CONFIG = '[auth]\nanonymous = true\n[files]\nmax_bytes = 1000000\n';
/** Not in development mode. */
const SECRET = 'a secret of at least thirty-two bytes';
const strict = (files = '', more = '') => ({
  config: `[auth]\nsecret = "${SECRET}"\n${more}\n[files]\n${files}\n`,
  env: { DENREI_SECRET: SECRET },
});

let server;
let alice;
let bob;
let admin;
const uploader = async (server, user, ...more) => new Uploader(server, await server.token(user, ...more));
const sha256 = (bytes) => createHash('sha256').update(bytes).digest();

before(async () => {
  server = await Server.start({ config: CONFIG });
  [alice, bob] = [await uploader(server, 'alice'), await uploader(server, 'bob')];
  admin = await uploader(server, 'root', '--role', 'admin');
});
after(() => server.close());

/** The files below a folder. */
async function below(folder) {
  const found = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  return found.filter((entry) => entry.isFile()).map((entry) => entry.name);
}

describe('uploads', () => {
  test('a file is what it is by its bytes, and comes back as it was', async () => {
    const bytes = png(640, 480);
    const file = await alice.keep(bytes, '?name=photo.txt', { 'content-type': 'text/plain' });
    const { id, name, type, bytes: count, sha256: hash, width, height, userId } = file;
    assert.deepEqual(
      { name, type, count, hash, width, height, userId },
      { name: 'photo.txt', type: 'image/png', count: bytes.length, hash: sha256(bytes).toString('hex'), width: 640, height: 480, userId: 'alice' },
    );
    assert.match(id, /^[\w-]{20}$/);
    // The link needs no token.
    const answer = await new Uploader(server).fetch(file.url);
    assert.equal(answer.status, 200);
    assert.deepEqual(Buffer.from(await answer.arrayBuffer()), bytes);
    const headers = Object.fromEntries(answer.headers);
    assert.equal(headers['content-type'], 'image/png');
    assert.equal(headers['content-security-policy'], "sandbox; default-src 'none'");
    assert.equal(headers['x-content-type-options'], 'nosniff');
    assert.equal(headers['cross-origin-resource-policy'], 'cross-origin');
    assert.match(headers['content-disposition'], /^inline; filename="photo.txt"/);
    assert.match(headers['cache-control'], /^private, max-age=\d+, immutable$/);
    const small = await new Uploader(server).fetch(file.thumbnailUrl);
    assert.equal(small.headers.get('content-type'), 'image/jpeg');
    assert.ok(Number(small.headers.get('content-length')) > 0);
  });

  test('a form of a browser brings a file and its name', async () => {
    const form = new FormData();
    form.set('note', 'a field');
    form.set('file', new Blob(['hello'], { type: 'image/png' }), 'grüße.txt');
    const file = await alice.upload(form);
    assert.equal(file.http, 201, file.error);
    assert.deepEqual([file.name, file.type, file.bytes], ['grüße.txt', 'text/plain', 5]);
    const empty = new FormData();
    empty.set('note', 'a field');
    assert.equal((await alice.upload(empty)).http, 400);
  });

  test('a file that was changed on its way is refused, and nothing of it is kept', async () => {
    const digest = (bytes) => ({ 'content-digest': `sha-256=:${sha256(bytes).toString('base64')}:` });
    assert.equal((await alice.upload('hello', '', digest('hello'))).http, 201);
    assert.equal((await alice.upload('hello', '', { digest: `SHA-256=${sha256('hello').toString('base64')}` })).http, 201);
    assert.equal((await alice.upload('hello', '', digest('hallo'))).http, 400);
    assert.equal((await alice.upload('hello', '', { 'content-digest': 'sha-256=:x:' })).http, 400);
    await until(async () => (await below(join(server.folder, 'data/files/incoming'))).length === 0, 'nothing to be left');
  });

  test('a name is never a path', async () => {
    for (const [name, shown] of [['../../../x.sh', 'x.sh'], ['/etc/passwd', 'passwd'], ['C:\\a\\b.txt', 'b.txt'], ['..', 'file'], ['a\0\r\nb', 'ab'], ['\u202egnp.exe', 'gnp.exe'], ['x'.repeat(1000), 'x'.repeat(255)]]) {
      assert.equal((await alice.keep('hello', `?name=${encodeURIComponent(name)}`)).name, shown);
    }
    for (const id of ['..%2f..%2fsecret', '%2e%2e%2fdenrei.db', 'AAAAAAAAAAAAAAAAAAAA', '..', '%00', '%ff']) {
      const { status } = await alice.fetch(`/api/files/${id}/content`);
      assert.ok([403, 404].includes(status), `${id}: ${status}`);
    }
  });

  test('what could run is saved and never shown', async () => {
    const page = '<!doctype html><script>alert(1)</script>';
    for (const [bytes, type] of [
      [page, 'text/html'],
      ['<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>', 'image/svg+xml'],
      ['<?xml version="1.0"?><x/>', 'text/xml'],
      ['%PDF-1.7\n', 'application/pdf'],
      [`just text ${page}`, 'text/plain'],
    ]) {
      const file = await alice.keep(bytes, '?name=x.png', { 'content-type': 'image/png' });
      assert.equal(file.type, type);
      const { headers } = await alice.fetch(file.url);
      assert.match(headers.get('content-disposition'), /^attachment;/);
      assert.equal(headers.get('x-content-type-options'), 'nosniff');
      assert.match(headers.get('content-security-policy'), /sandbox/);
    }
    // What is a picture and a script is a picture, which no page runs.
    const polyglot = await alice.keep(`GIF89a/*${'\0'.repeat(16)}*/=1;alert(1)`);
    assert.equal(polyglot.type, 'image/gif');
    assert.equal((await alice.fetch(polyglot.url)).headers.get('content-type'), 'image/gif');
  });

  test('a file that is too large is refused, before or while it comes', async () => {
    const announced = await Peer.connect(server);
    await announced.write(httpRequest('POST', '/api/files', ['Host: 127.0.0.1', 'Content-Length: 99999999999', `Authorization: Bearer ${alice.token}`]));
    assert.equal((await announced.answer()).status, 413);
    const streamed = await Peer.connect(server);
    await streamed.write(httpRequest('POST', '/api/files', ['Host: 127.0.0.1', 'Transfer-Encoding: chunked', `Authorization: Bearer ${alice.token}`]));
    await streamed.write(`${(1_000_001).toString(16)}\r\n`);
    await streamed.write(Buffer.alloc(1_000_001));
    assert.equal((await streamed.answer()).status, 413);
    for (const peer of [announced, streamed]) peer.destroy();
  });
});

describe('downloads', () => {
  let file;
  before(async () => { file = await alice.keep('0123456789'); });
  const ask = async (range, more = {}) => {
    const answer = await alice.fetch(file.url, { ...(range && { range }), ...more });
    return [answer.status, answer.headers.get('content-range'), await answer.text()];
  };

  test('a range is a part, and many are the whole', async () => {
    assert.deepEqual(await ask('bytes=2-4'), [206, 'bytes 2-4/10', '234']);
    assert.deepEqual(await ask('bytes=-3'), [206, 'bytes 7-9/10', '789']);
    assert.deepEqual(await ask('bytes=8-99999999999999999999999'), [206, 'bytes 8-9/10', '89']);
    assert.deepEqual(await ask('bytes=10-'), [416, 'bytes */10', '']);
    assert.deepEqual(await ask('bytes=5-2'), [200, null, '0123456789']);
    assert.deepEqual(await ask(`bytes=${Array.from({ length: 500 }, (_, at) => `${at}-`).join(',')}`), [200, null, '0123456789']);
    assert.deepEqual(await ask('bytes=2-4', { 'if-range': '"another"' }), [200, null, '0123456789']);
  });

  test('what is known is not sent again, and HEAD sends nothing', async () => {
    const first = await alice.fetch(file.url, {}, 'HEAD');
    assert.deepEqual([first.status, first.headers.get('content-length'), await first.text()], [200, '10', '']);
    const again = await alice.fetch(file.url, { 'if-none-match': `W/"x", ${first.headers.get('etag')}` });
    assert.deepEqual([again.status, await again.text()], [304, '']);
    const ranged = await alice.fetch(file.url, { range: 'bytes=0-0' }, 'HEAD');
    assert.deepEqual([ranged.status, ranged.headers.get('content-length')], [206, '1']);
  });

  test('a link is good for one file and one time', async () => {
    const nobody = new Uploader(server);
    const other = await alice.keep('other');
    const [, query] = file.url.split('?');
    const status = async (path) => (await nobody.fetch(path)).status;
    assert.equal(await status(file.url), 200);
    assert.equal(await status(`/api/files/${other.id}/content?${query}`), 403);
    assert.equal(await status(`/api/files/${file.id}/thumbnail?${query}`), 403);
    assert.equal(await status(file.url.replace(/expires=\d/, 'expires=9')), 403);
    assert.equal(await status(`${file.url}A`), 403);
    assert.equal(await status(file.url.replace(/signature=.*/, 'signature=')), 403);
    assert.equal(await status(file.url.replace(/&signature=.*/, '')), 404);
    assert.equal((await nobody.fetch(file.url, {}, 'DELETE')).status, 405);
    assert.equal((await nobody.fetch(file.url, {}, 'PUT')).status, 405);
  });

  test('a link ends', async (t) => {
    const short = await Server.start({ config: '[files]\nlink_ms = 100\n' });
    t.after(() => short.close());
    const who = new Uploader(short);
    const made = await who.keep('hello');
    const { expires, signature } = Object.fromEntries(new URL(made.url, short.http).searchParams);
    assert.ok(signature && Number(expires) > Date.now() - 10_000);
    await until(() => Date.now() > Number(expires), 'the link to end');
    assert.equal((await who.fetch(made.url)).status, 403);
    const again = await who.ask('GET', `/api/files/${made.id}`);
    assert.notEqual(again.url, made.url);
  });
});

describe('who may', () => {
  test('a file without a room is its user\'s, and the administrators\'', async () => {
    const { id } = await alice.keep('hello');
    assert.equal((await alice.ask('GET', `/api/files/${id}`)).http, 200);
    assert.equal((await admin.ask('GET', `/api/files/${id}`)).http, 200);
    assert.equal((await bob.ask('GET', `/api/files/${id}`)).http, 404);
    assert.equal((await bob.fetch(`/api/files/${id}/content`)).status, 404);
    assert.equal((await bob.ask('DELETE', `/api/files/${id}`)).http, 404);
    assert.equal((await alice.fetch(`/api/files/${id}/content`)).status, 200);
    assert.equal((await alice.ask('DELETE', `/api/files/${id}`)).http, 204);
    for (const who of [alice, admin]) assert.equal((await who.ask('GET', `/api/files/${id}`)).http, 404);
    assert.deepEqual((await below(join(server.folder, 'data/files'))).filter((name) => name.startsWith(id)), []);
  });

  test('a file of a room is for who may read it', async () => {
    const open = await alice.keep('hello', '?room=live:files');
    assert.equal(open.room, 'live:files');
    assert.equal((await bob.ask('GET', `/api/files/${open.id}`)).http, 200);
    assert.equal((await bob.ask('DELETE', `/api/files/${open.id}`)).http, 403);
    assert.equal((await alice.upload('hello', '?room=inbox:bob')).http, 403);
    assert.equal((await alice.upload('hello', '?room=sys:x')).http, 403);
  });

  test('to a chat room its members upload, and who is shown out reads no more', async () => {
    const [owner, guest] = await Promise.all(['alice', 'bob'].map((id) => User.of(server, id)));
    await owner.do('POST', '/api/chat/rooms', { roomId: 'secret-files', kind: 'private', title: 'x' });
    assert.equal((await bob.upload('hello', '?room=chat:secret-files')).http, 404);
    await owner.do('POST', '/api/chat/rooms/secret-files/members', { userId: 'bob' });
    const file = await bob.keep('hello', '?room=chat:secret-files');
    assert.equal((await alice.fetch(`/api/files/${file.id}/content`)).status, 200);
    const mine = await alice.keep('hello', '?room=chat:secret-files');
    assert.equal((await bob.ask('GET', `/api/files/${mine.id}`)).http, 200);
    await owner.do('DELETE', '/api/chat/rooms/secret-files/members/bob');
    assert.equal((await bob.ask('GET', `/api/files/${mine.id}`)).http, 404);
    assert.equal((await bob.upload('hello', '?room=chat:secret-files')).http, 404);
    void guest;
  });

  test('a message brings a file, which becomes its room\'s', async () => {
    const [owner, guest] = await Promise.all(['alice', 'bob'].map((id) => User.of(server, id)));
    await owner.join('pictures');
    await guest.join('pictures');
    const picture = await alice.keep(png(400, 200), '?name=cat.png');
    assert.equal((await bob.ask('GET', `/api/files/${picture.id}`)).http, 404);
    const stolen = await guest.ask('POST', '/api/chat/rooms/pictures/messages', { content: '', type: 'IMAGE', data: { fileId: picture.id } });
    assert.equal(stolen.http, 403);
    const sent = await owner.say('pictures', 'look', { type: 'IMAGE', data: { fileId: picture.id, mine: 1, file: 'forged' } });
    const { id, bytes } = picture;
    assert.deepEqual(sent.data, { fileId: id, mine: 1, file: { id, name: 'cat.png', type: 'image/png', bytes, width: 400, height: 200, thumbnail: true } });
    assert.equal((await bob.ask('GET', `/api/files/${id}`)).room, 'chat:pictures');
    await owner.join('elsewhere');
    const again = await owner.ask('POST', '/api/chat/rooms/elsewhere/messages', { content: '', type: 'FILE', data: { fileId: id } });
    assert.equal(again.http, 409);
    const missing = await owner.ask('POST', '/api/chat/rooms/pictures/messages', { content: '', type: 'FILE', data: { fileId: 'none' } });
    assert.equal(missing.http, 404);
  });

  test('outside of development mode guests upload nothing, and links need no token', async (t) => {
    const closed = await Server.start(strict('types = ["image/*"]', 'anonymous = true'));
    t.after(() => closed.close());
    const guest = new Uploader(closed);
    assert.equal((await guest.upload('hello')).http, 403);
    const user = await uploader(closed, 'alice');
    const refused = await user.upload('hello', '?name=x.png', { 'content-type': 'image/png' });
    assert.deepEqual([refused.http, refused.code], [415, 'unsupported_type']);
    const file = await user.keep(png(2, 2));
    assert.equal(file.thumbnailUrl, undefined);
    assert.equal((await guest.fetch(file.url)).status, 200);
    assert.equal((await guest.ask('GET', `/api/files/${file.id}`)).http, 404);
  });
});

test('100 uploads at once do not pass what a user may have', async (t) => {
  const small = await Server.start({ config: '[files]\nuser_bytes = 100000\nuploads = 200\nuploads_per_user = 200\n' });
  t.after(() => small.close());
  const who = await uploader(small, 'alice');
  const answers = await Promise.all(Array.from({ length: 100 }, () => who.upload('x'.repeat(10_000))));
  assert.equal(answers.filter(({ http }) => http === 201).length, 10);
  for (const { http, code } of answers.filter(({ http }) => http !== 201)) assert.deepEqual([http, code], [413, 'quota_exceeded']);
  assert.equal((await below(join(small.folder, 'data/files'))).length, 10);
  const { id } = answers.find(({ http }) => http === 201);
  assert.equal((await who.ask('DELETE', `/api/files/${id}`)).http, 204);
  assert.equal((await who.upload('x'.repeat(10_000))).http, 201);
});

test('a user has so many uploads under way, and the others theirs', async (t) => {
  const small = await Server.start({ config: '[files]\nuploads_per_user = 1\nidle_timeout_ms = 60000\n' });
  t.after(() => small.close());
  const [one, two] = [await uploader(small, 'alice'), await uploader(small, 'bob')];
  const slow = await Peer.connect(small);
  await slow.write(httpRequest('POST', '/api/files', ['Host: 127.0.0.1', 'Content-Length: 10', `Authorization: Bearer ${one.token}`], 'x'));
  await until(async () => (await below(join(small.folder, 'data/files/incoming'))).length === 1, 'the upload to begin');
  const refused = await one.upload('hello');
  assert.deepEqual([refused.http, refused.retry], [429, '1']);
  assert.equal((await two.upload('hello')).http, 201);
  // Who goes leaves nothing.
  slow.destroy();
  await until(async () => (await one.upload('hello')).http === 201, 'the place to be free');
});

test('an upload that stops coming is ended, and what was set aside is free', async (t) => {
  const small = await Server.start({ config: '[files]\nidle_timeout_ms = 200\nuser_bytes = 10000\n' });
  t.after(() => small.close());
  const who = await uploader(small, 'alice');
  const slow = await Peer.connect(small);
  await slow.write(httpRequest('POST', '/api/files', ['Host: 127.0.0.1', 'Content-Length: 10000', `Authorization: Bearer ${who.token}`], 'x'));
  assert.equal((await slow.answer()).status, 408);
  assert.equal((await who.upload('x'.repeat(10_000))).http, 201);
});

test('what a crash leaves of an upload is taken away, and so is what nobody has claimed', async (t) => {
  const crashing = await Server.start({ config: '[files]\nupload_timeout_ms = 1000\nsweep_ms = 100\nunclaimed_ms = 1000\nuser_bytes = 100000\n' });
  t.after(() => crashing.close());
  const who = await uploader(crashing, 'alice');
  const kept = await who.keep('kept', '?room=live:x');
  const unclaimed = await who.keep('unclaimed');
  const cut = await Peer.connect(crashing);
  await cut.write(httpRequest('POST', '/api/files', ['Host: 127.0.0.1', 'Content-Length: 90000', `Authorization: Bearer ${who.token}`], 'x'.repeat(800)));
  const folder = join(crashing.folder, 'data/files');
  await until(async () => (await below(join(folder, 'incoming'))).length === 1, 'the upload to begin');
  await crashing.crash();
  assert.equal((await below(join(folder, 'incoming'))).length, 1);
  await until(async () => (await below(folder)).length === 1, 'the rest to be taken away');
  assert.deepEqual(await below(folder), [kept.id]);
  assert.equal((await who.ask('GET', `/api/files/${unclaimed.id}`)).http, 404);
  assert.equal(await (await who.fetch(kept.url)).text(), 'kept');
  await until(async () => (await who.upload('x'.repeat(95_000))).http === 201, 'what was set aside to be free');
});

test('a server that keeps no files says so', async (t) => {
  const without = await Server.start({ config: '[files]\nenabled = false\n' });
  t.after(() => without.close());
  assert.equal((await new Uploader(without).upload('hello')).http, 503);
});

attack('200 MB cost the memory of a piece', async ({ server, connect }) => {
  const peers = await Promise.all(Array.from({ length: 4 }, () => connect()));
  const piece = Buffer.alloc(1 << 20);
  await Promise.all(peers.map(async (peer) => {
    await peer.write(httpRequest('POST', '/api/files', ['Host: 127.0.0.1', 'Transfer-Encoding: chunked']));
    for (let sent = 0; sent < 50; sent += 1) {
      await peer.write(`${piece.length.toString(16)}\r\n`);
      await peer.write(piece);
      await peer.write('\r\n');
    }
    await peer.write('0\r\n\r\n');
    assert.equal((await peer.answer())?.status, 201);
  }));
  assert.ok(server.process.exitCode === null);
}, { config: '[files]\nmax_bytes = 100000000\n', growth: 40 });

attack('a picture of ten gigapixels is a file like another', async ({ server }) => {
  const file = await new Uploader(server).keep(png(100_000, 100_000, 100));
  assert.deepEqual([file.type, file.width, file.height, file.thumbnailUrl], ['image/png', 100_000, 100_000, undefined]);
}, { config: '[files]\n', growth: 40 });
