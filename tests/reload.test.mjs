// SIGHUP: what can change while the server runs changes, for live connections too; what is not in order changes nothing.

import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { Server, get, room, until } from './lib/server.mjs';
import { Socket } from './lib/socket.mjs';

const [FIRST, SECOND] = ['the first secret, of 32 bytes or more', 'the second secret, of 32 bytes or more'];
const secret = (secret) => `[auth]\nsecret = "${secret}"\n`;

/** Runs a test with a server; `change` gives it other settings, and waits until it has read them. */
function reload(name, config, how) {
  test(name, async () => {
    const server = await Server.start({ config });
    const asked = async (text, answer) => {
      await writeFile(server.how.config, `${text}\n`);
      const logged = server.log.length;
      server.process.kill('SIGHUP');
      await until(() => answer.test(server.log.slice(logged)), `the log to say ${answer}`);
      return server.log.slice(logged);
    };
    try {
      await how(server, {
        change: (text) => asked(`${text}\n[rates]\nenabled = false\n`, /the settings were read again/),
        asked,
      });
    } finally {
      await server.close();
    }
  });
}

reload('a connection ends whose key is gone, one whose key stays goes on', secret(FIRST), async (server, { change }) => {
  const old = await server.token('alice');
  const headers = { authorization: `Bearer ${old}` };
  const socket = await Socket.open(server, { headers });
  // The old key stays known beside the new one, as when keys are rotated.
  await change(`${secret(SECOND)}[[auth.keys]]\nalgorithm = "HS256"\nsecret = "${FIRST}"\n`);
  assert.equal((await socket.ask({ type: 'call', method: 'echo', payload: 1 })).payload, 1);
  const fresh = await server.token('bob');
  const other = await Socket.open(server, { headers: { authorization: `Bearer ${fresh}` } });
  await change(secret(SECOND));
  assert.equal((await socket.closed).code, 4401);
  assert.equal((await get(`${server.http}/api/rooms/${room()}/events`, { headers })).status, 401);
  assert.equal((await other.ask({ type: 'call', method: 'echo', payload: 2 })).payload, 2);
  await other.close();
});

reload('links of files end with the secret that has signed them', secret(FIRST), async (server, { change }) => {
  const upload = async () => {
    const headers = { authorization: `Bearer ${await server.token('alice')}` };
    const answer = await get(`${server.http}/api/files?name=a.txt`, { method: 'POST', body: 'a', headers });
    assert.equal(answer.status, 201);
    return `${server.http}${(await answer.json()).url}`;
  };
  const follow = async (link) => (await get(link)).status;
  const before = await upload();
  assert.equal(await follow(before), 200);
  await change(secret(SECOND));
  assert.equal(await follow(before), 403);
  assert.equal(await follow(await upload()), 200);
  const counted = await (await get(`${server.http}/metrics`, { headers: { authorization: `Bearer ${await server.token('root', '--role', 'admin')}` } })).text();
  assert.match(counted, /route="\/api\/files",method="POST",status="2xx"} 2/);
});

reload('origins and limits are those of the file', secret(FIRST), async (server, { change }) => {
  const headers = { authorization: `Bearer ${await server.token('alice')}` };
  const ask = (origin) => get(`${server.http}/api/rooms/${room()}/events`, { headers: { ...headers, origin } });
  assert.equal((await ask('https://app.example')).status, 403);
  const before = await Socket.open(server, { headers });
  await change(`origins = ["https://app.example"]\n${secret(FIRST)}[limits]\nmessage_bytes = 4096\nrooms_per_connection = 2\n`);
  assert.equal((await ask('https://app.example')).status, 200);
  const long = 'x'.repeat(5000);
  assert.equal((await server.publish(room(), { payload: long }, headers)).status, 413);
  const after = await Socket.open(server, { headers });
  after.send({ type: 'broadcast', room: room(), payload: long });
  assert.equal((await after.closed).code, 1009);
  // What a connection has agreed on when it began holds; what it may do next is asked anew.
  await before.broadcast(room(), long);
  await before.join(room());
  assert.equal((await before.ask({ type: 'join', room: room() })).code, 'too_many_rooms');
  await before.close();
});

reload('rates are those of the file, and buckets stay as full as they are', secret(FIRST), async (server, { asked }) => {
  const headers = { authorization: `Bearer ${await server.token('alice')}` };
  const ask = async () => (await get(`${server.http}/api/rooms/${room()}/events`, { headers })).status;
  assert.deepEqual([await ask(), await ask(), await ask()], [200, 200, 200]);
  const rates = '[rates]\nuser = { capacity = 2, refill_per_second = 0.001 }\n';
  await asked(`${secret(FIRST)}${rates}`, /read again/);
  assert.deepEqual([await ask(), await ask(), await ask()], [200, 200, 429]);
  await asked(`${secret(FIRST)}${rates}`, /read again/);
  assert.equal(await ask(), 429);
});

reload('settings that are not in order change nothing, and the log says which', secret(FIRST), async (server, { asked }) => {
  const headers = { authorization: `Bearer ${await server.token('alice')}` };
  for (const [text, sentence] of [
    ['listen = 5', /stay as they are.*listen/s],
    ['[auth]\nsecret = "hunter2"', /stay as they are.*auth\.secret/s],
    ['[limts]', /stay as they are.*limts/s],
    ['', /stay as they are.*development mode/s],
  ]) {
    await asked(text, sentence);
    assert.equal((await get(`${server.http}/api/rooms/${room()}/events`, { headers })).status, 200, text);
  }
  assert.ok(!server.log.includes(FIRST) && !server.log.includes('hunter2'), 'no secret is in the log');
});

reload('what takes a restart is named', secret(FIRST), async (server, { change }) => {
  const log = await change(`data = "elsewhere"\n${secret(FIRST)}[websocket]\nheartbeat_ms = 5000\n[[policy.rules]]\nrooms = "x"\n[limits]\nfragments = 9\n`);
  const named = [...log.matchAll(/takes a restart.*setting="?(\w+)/g)].map(([, name]) => name);
  assert.deepEqual(named, ['data', 'policy', 'websocket']);
  assert.doesNotMatch(await change(secret(FIRST)), /takes a restart/);
});

test('a secret that is generated is read again from its file', async () => {
  const server = await Server.start({ config: '[auth]\nanonymous = false\n' });
  try {
    const headers = { authorization: `Bearer ${await server.token('alice')}` };
    const socket = await Socket.open(server, { headers });
    await writeFile(join(server.folder, 'data', 'secret'), SECOND);
    server.process.kill('SIGHUP');
    assert.equal((await socket.closed).code, 4401);
    const fresh = { authorization: `Bearer ${await server.token('alice')}` };
    assert.equal((await get(`${server.http}/api/rooms/${room()}/events`, { headers: fresh })).status, 200);
  } finally {
    await server.close();
  }
});
