// Who may do what in which rooms: rules by name, and an application that is asked.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { Client, WAYS } from './lib/io.mjs';
import { Server, get } from './lib/server.mjs';
import { Socket } from './lib/socket.mjs';
import { Stream } from './lib/stream.mjs';
import { inSeconds, sealed } from './lib/token.mjs';

const SECRET = 'a secret of at least thirty-two bytes';
const token = (sub, ...roles) => sealed({ sub, roles, exp: inSeconds(600) }, SECRET);

async function served(t, policy) {
  const server = await Server.start({ config: `[auth]\nsecret = "${SECRET}"\nanonymous = true\n${policy}` });
  t.after(() => server.close());
  return server;
}

/** Whether somebody may read and publish in a room, by each way there is: all say the same. */
async function may(t, server, room, bearer) {
  const query = bearer ? `token=${bearer}` : '';
  const headers = bearer ? { authorization: `Bearer ${bearer}` } : {};
  const socket = await Socket.open(server, { path: `/ws?${query}` });
  const client = new Client(server, { ...WAYS.websocket, ...(bearer && { auth: { token: bearer } }) });
  t.after(() => client.close());
  await client.connected();
  const stream = await Stream.open(server, `/sse?room=${encodeURIComponent(room)}&${query}`);
  const answers = {
    read: [
      (await socket.ask({ type: 'join', room })).code,
      (await client.join(room)).code,
      (await (await server.events(room, '', { headers })).json()).code,
      stream.status === 200
        ? await stream.next(({ event }) => event === 'connected' || event === 'error', 'an answer')
          .then(({ event, data }) => (event === 'error' ? JSON.parse(data).code : undefined))
        : JSON.parse(await stream.ended.then(() => stream.text)).code,
    ],
    publish: [
      (await socket.ask({ type: 'broadcast', room, payload: 1 })).code,
      (await client.publish(room, 'message', 1)).code,
      (await (await server.publish(room, { payload: 1 }, headers)).json()).code,
    ],
  };
  stream.close();
  client.close();
  await socket.close();
  const [read, ...reads] = answers.read;
  const [publish, ...publishes] = answers.publish;
  assert.ok(reads.every((code) => code === read), `read: ${answers.read}`);
  assert.ok(publishes.every((code) => code === publish), `publish: ${answers.publish}`);
  return [read ?? 'yes', publish ?? 'yes'];
}

test('rules by the names of rooms hold on every transport', async (t) => {
  const server = await served(t, `
    [[policy.rules]]
    rooms = "private:{user}"
    read = ["users"]
    publish = ["users"]
    [[policy.rules]]
    rooms = "private:*"
    read = ["role:support"]
    [[policy.rules]]
    rooms = "feed:news:*"
    read = ["everyone"]
    publish = ["role:editor"]
    [[policy.rules]]
    rooms = "sys:*"
    read = ["everyone"]
    publish = ["everyone"]`);
  const [alice, support, editor] = [token('alice'), token('sue', 'support'), token('ed', 'editor')];
  for (const [room, who, expected] of [
    ['private:alice', alice, ['yes', 'yes']],
    ['private:bob', alice, ['forbidden', 'forbidden']],
    ['private:alice', undefined, ['forbidden', 'forbidden']],
    ['private:bob', support, ['yes', 'forbidden']],
    ['feed:news:today', undefined, ['yes', 'forbidden']],
    ['feed:news:today', editor, ['yes', 'yes']],
    ['live:anything', undefined, ['yes', 'yes']],
    // The house's rules hold whatever others say.
    ['sys:revocations', editor, ['forbidden', 'forbidden']],
    ['user:alice', editor, ['forbidden', 'forbidden']],
  ]) {
    assert.deepEqual(await may(t, server, room, who), expected, `${room} ${who ? 'with' : 'without'} a token`);
  }
});

describe('an application', () => {
  /** One that is asked, and answers what `decide` says. */
  async function application(t, decide) {
    const asked = [];
    const http = createServer(async (request, response) => {
      let body = '';
      for await (const part of request) body += part;
      const question = JSON.parse(body);
      asked.push(question);
      decide(question, response);
    });
    http.listen(0, '127.0.0.1');
    await once(http, 'listening');
    t.after(() => { http.closeAllConnections(); http.close(); });
    return { asked, url: `http://127.0.0.1:${http.address().port}/may` };
  }

  test('is asked about reading and publishing, with who it is, and its answer holds', async (t) => {
    const { asked, url } = await application(t, ({ userId, room, action }, response) => {
      const allow = userId === 'alice' && (action === 'read' || room === 'live:hers');
      response.end(JSON.stringify(allow ? { allow } : { allow, error: 'ask alice' }));
    });
    const server = await served(t, `[policy.webhook]\nurl = "${url}"\non_failure = "refuse"\npublishing = true\n`);
    assert.deepEqual(await may(t, server, 'live:hers', token('alice', 'vip')), ['yes', 'yes']);
    assert.deepEqual(await may(t, server, 'live:others', token('alice')), ['yes', 'forbidden']);
    assert.deepEqual(await may(t, server, 'live:hers', token('bob')), ['forbidden', 'forbidden']);
    const question = { action: 'publish', room: 'live:hers', event: 'message', userId: 'alice', roles: ['vip'], address: '127.0.0.1' };
    assert.deepEqual(asked.find(({ action }) => action === 'publish'), question);
    const refused = await server.events('live:x', '');
    assert.deepEqual(await refused.json(), { error: 'ask alice', code: 'forbidden' });
    // What is published one after another stays in its order, though each is asked about.
    const socket = await Socket.open(server, { path: `/ws?token=${token('alice')}` });
    const replies = await Promise.all([1, 2, 3, 4, 5].map((n) => socket.broadcast('live:hers', n)));
    assert.deepEqual(replies.map(({ seq }) => seq - replies[0].seq), [0, 1, 2, 3, 4]);
    await socket.close();
  });

  for (const [what, decide] of [
    ['does not answer in time', () => {}],
    ['fails', (_, response) => response.writeHead(500).end('{"allow":true}')],
    ['answers nonsense', (_, response) => response.end('yes')],
    ['sends elsewhere', (_, response) => response.writeHead(302, { location: 'http://127.0.0.1:1/' }).end('{"allow":true}')],
    ['answers too much', (_, response) => response.end(`{"allow":true,"more":"${'x'.repeat(100_000)}"}`)],
  ]) {
    test(`that ${what} means what the operator has said`, async (t) => {
      const { url } = await application(t, decide);
      for (const [says, expected] of [['refuse', ['unavailable', 'yes']], ['allow', ['yes', 'yes']]]) {
        const server = await served(t, `[policy.webhook]\nurl = "${url}"\non_failure = "${says}"\ntimeout_ms = 200\n`);
        assert.deepEqual(await may(t, server, 'live:x'), expected);
        // Others do not wait for it.
        assert.equal((await get(`${server.http}/health`)).status, 200);
      }
    });
  }
});
