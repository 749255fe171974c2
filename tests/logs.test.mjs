// What a server logs: lines that pino's own reader understands, names of requests and connections, and no secret.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { connect } from 'node:net';
import { describe, test } from 'node:test';
import { Client, WAYS } from './lib/io.mjs';
import { Server, get, room, until, within } from './lib/server.mjs';
import { Socket } from './lib/socket.mjs';
import { Stream } from './lib/stream.mjs';
import { sealed, token } from './lib/token.mjs';

const SECRET = 'a secret of at least thirty-two bytes';
const PRETTY = new URL('node_modules/pino-pretty/bin.js', import.meta.url).pathname;

const json = (level) => ({ DENREI_LOG_FORMAT: 'json', DENREI_LOG: level });
const lines = (server) => server.log.trim().split('\n').map((line) => JSON.parse(line));

/** The lines as pino-pretty prints them. */
async function pretty(text) {
  const reader = spawn(process.execPath, [PRETTY, '--colorize=false', '--singleLine', '--translateTime=UTC:yyyy'], { stdio: ['pipe', 'pipe', 'inherit'] });
  let printed = '';
  reader.stdout.on('data', (data) => { printed += data; });
  reader.stdin.end(text);
  await within(20_000, new Promise((resolve) => reader.on('close', resolve)), 'pino-pretty');
  return printed;
}

describe('where no terminal reads it', () => {
  test('each line is an object that pino-pretty prints', async (t) => {
    const env = { DENREI_LOG: 'debug' };
    const server = await Server.start({ env: { ...env, DENREI_LOG_FORMAT: 'auto' } });
    t.after(() => server.close());
    const socket = await Socket.open(server);
    await get(`${server.http}/api/messages`, { headers: { 'x-request-id': 'mine-1' } });
    await socket.close();
    await until(() => /a connection has ended/.test(server.log), 'the end to be logged');
    for (const line of lines(server)) {
      assert.ok([10, 20, 30, 40, 50].includes(line.level) && line.pid === server.process.pid, JSON.stringify(line));
      assert.ok(Math.abs(Date.now() - line.time) < 60_000 && line.hostname && line.msg, JSON.stringify(line));
    }
    const answered = lines(server).find(({ msg, request }) => msg === 'a request was answered' && request === 'mine-1');
    const { method, route, status } = answered;
    assert.deepEqual({ method, route, status }, { method: 'GET', route: '/api/messages', status: 200 });
    const [begun, ended] = ['a connection has begun', 'a connection has ended'].map((said) => lines(server).find(({ msg }) => msg === said));
    assert.equal(begun.connection, socket.welcome.clientId);
    assert.deepEqual([ended.connection, ended.reason], [socket.welcome.clientId, 'client']);
    const printed = await pretty(server.log);
    assert.match(printed, /INFO \(\d+\): listening \{.*"address":"127\.0\.0\.1:\d+"/);
    assert.match(printed, /DEBUG \(\d+\): a request was answered \{.*"request":"mine-1"/);
    assert.doesNotMatch(printed, /^\{/m, 'a line was not understood');
  });

  test('what peers say stays within its line', async (t) => {
    const server = await Server.start({ env: json('trace') });
    t.after(() => server.close());
    const before = server.log.split('\n').length;
    const evil = '\x1b[2Jevil\nline\u202e';
    const socket = await Socket.open(server);
    socket.send({ type: 'broadcast', room: evil, event: evil, payload: evil });
    await socket.next(({ type }) => type === 'error');
    socket.ws.close(4000, evil);
    const raw = connect(server.port, '127.0.0.1');
    raw.end(`GET /${encodeURIComponent(evil)} HTTP/1.1\r\nHost: ${server.address}\r\nX-Request-Id: \x1b[31m\r\nConnection: close\r\n\r\n`);
    await within(10_000, new Promise((resolve) => raw.resume().on('close', resolve)), 'the answer');
    const client = await Client.open(server, { ...WAYS.websocket });
    client.socket.emit(evil, evil);
    client.socket.disconnect();
    await until(() => lines(server).filter(({ msg }) => msg === 'a connection has ended').length >= 2, 'the ends to be logged');
    assert.ok(server.log.split('\n').length > before);
    assert.doesNotMatch(server.log, /[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]|^line/m);
    for (const line of lines(server)) assert.doesNotMatch(JSON.stringify(line), /\\u001b|\\u202e/);
  });
});

test('no token, secret or id of a session is in any line at any level, nor in metrics', async (t) => {
  for (const format of ['json', 'human']) {
    const config = `[auth]\nsecret = "${SECRET}"\ncookie = "session"\nanonymous = true\n[metrics]\ntoken = "the-token-of-a-scraper"\n`;
    const server = await Server.start({ config, env: { DENREI_LOG: 'trace', DENREI_LOG_FORMAT: format } });
    t.after(() => server.close());
    const secrets = [SECRET, 'the-token-of-a-scraper'];
    const secret = (text) => {
      secrets.push(text, text.split('.').at(-1));
      return text;
    };
    let users = 0;
    const good = () => secret(token(`user-${users += 1}`, SECRET));
    const bad = () => secret(sealed({ sub: `user-${users += 1}`, exp: 4_000_000_000 }, 'another secret of thirty-two bytes..'));
    const name = room();
    for (const one of [good, bad]) {
      // In a header, a parameter, a cookie, a subprotocol, a message, over each transport.
      await get(`${server.http}/api/messages`, { headers: { authorization: `Bearer ${one()}` } });
      await get(`${server.http}/api/messages?token=${one()}`);
      await get(`${server.http}/nowhere?token=${one()}`, { headers: { authorization: `Bearer ${one()}` } });
      await get(`${server.http}/api/messages`, { headers: { cookie: `session=${one()}` } });
      await server.publish(name, { payload: 1 }, { authorization: `Bearer ${one()}` });
      for (const options of [{ path: `/ws?token=${one()}` }, { headers: { cookie: `session=${one()}` } }, { protocols: ['denrei.v1.json', `denrei.token.${one()}`] }]) {
        const socket = await Socket.open(server, options).catch(() => null);
        await socket?.join(name);
        await socket?.close();
      }
      const socket = await Socket.open(server);
      await socket.ask({ type: 'auth', token: one() });
      await socket.close();
      const stream = await Stream.open(server, `/sse?room=${name}&token=${one()}`);
      stream.close();
      for (const way of Object.values(WAYS)) {
        const client = new Client(server, { ...way, auth: { token: one() }, query: { token: one() } });
        await client.connected().catch(() => {});
        if (client.socket.io.engine?.id) secrets.push(client.socket.io.engine.id);
        client.socket.disconnect();
      }
    }
    await get(`${server.http}/metrics`, { headers: { authorization: 'Bearer the-token-of-a-scraper' } });
    const sid = /"sid":"([^"]+)"/.exec(await (await get(`${server.http}/socket.io/?EIO=4&transport=polling`)).text())[1];
    await get(`${server.http}/socket.io/?EIO=4&transport=polling&sid=${sid}x`);
    secrets.push(sid);
    const { text } = { text: await (await get(`${server.http}/metrics`, { headers: { authorization: 'Bearer the-token-of-a-scraper' } })).text() };
    await server.stop();
    assert.ok(server.log.length > 5000, 'so little was logged that this shows nothing');
    assert.ok(secrets.length > 50 && text.includes('denrei_connections'));
    for (const one of secrets) {
      for (const [what, said] of [['log', server.log], ['metrics', text], ['output', server.printed]]) {
        assert.ok(!said.includes(one), `the ${what} shows ${one}: ${said.split('\n').find((line) => line.includes(one))}`);
      }
    }
  }
});
