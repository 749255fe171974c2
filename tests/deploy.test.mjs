// The files of `deploy`: nginx's with a real nginx, the others as far as they can be judged without what runs them.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { parse } from 'yaml';
import { Balance } from './lib/balance.mjs';
import { Client, WAYS } from './lib/io.mjs';
import { BINARY, Server, room, until, within } from './lib/server.mjs';
import { Socket } from './lib/socket.mjs';
import { Stream } from './lib/stream.mjs';

const VARIANTS = ['any.conf', 'sticky-ip.conf', 'sticky-cookie.conf'];
const ANYBODY = '[auth]\nanonymous = true\n';
const run = promisify(execFile);
const shipped = (name) => new URL(`../deploy/${name}`, import.meta.url).pathname;
/** What denrei reads from its environment. */
const ENVIRONMENT = [
  'DENREI_LISTEN', 'DENREI_DATA', 'DENREI_CONFIG', 'DENREI_STORE', 'DENREI_SECRET', 'DENREI_LOG', 'DENREI_LOG_FORMAT', 'DENREI_METRICS_TOKEN',
  'DENREI_BUS', 'DENREI_NODE_ID', 'DENREI_ADVERTISE',
];
/** A room in which every server says which one it is. */
const WHO = 'live:who';

describe('nginx as it is shipped', () => {
  let servers;
  before(async () => {
    servers = await Promise.all(['one', 'two', 'three'].map(async (name) => {
      const server = await Server.start({ config: ANYBODY });
      await server.publish(WHO, { payload: name });
      return server;
    }));
  });
  after(async () => {
    for (const server of servers ?? []) await server.close();
  });

  for (const variant of VARIANTS) {
    describe(variant, () => {
      let server;
      let nginx;
      before(async () => {
        [server] = servers;
        nginx = await Balance.start([server.port], { variant });
      });
      after(async () => {
        await nginx?.close();
      });

      test('is a configuration that nginx has nothing to say about', async () => {
        assert.match(await nginx.judge(), /syntax is ok/);
        assert.doesNotMatch(`${await nginx.judge()}${nginx.log}`, /\[(warn|error|emerg)\]/);
      });

      test('a WebSocket is upgraded, also for a page of this address and port', async () => {
        const name = room();
        const socket = await Socket.open(nginx, { origin: nginx.http });
        assert.deepEqual((await socket.ask({ type: 'call', method: 'echo', payload: { n: 1 } })).payload, { n: 1 });
        await socket.join(name, { echo: true });
        await socket.broadcast(name, 'hello');
        assert.equal((await socket.events(name, 1))[0].payload, 'hello');
        assert.equal((await socket.close()).code, 1000);
      });

      test('an event comes while the stream is open', async () => {
        const name = room();
        const stream = await Stream.open(nginx, `/sse?room=${name}`);
        await stream.event('connected');
        for (const payload of [1, 2, 3]) {
          await server.publish(name, { payload });
          assert.equal((await stream.event('message')).data, String(payload));
        }
        stream.close();
      });

      test('a long poll is held until there is something', async () => {
        const name = room();
        const { next } = await (await nginx.events(name)).json();
        const answer = nginx.events(name, `?since=${next}&wait=20`);
        await nginx.publish(name, { payload: 'x' });
        assert.deepEqual((await (await answer).json()).events.map(({ payload }) => payload), ['x']);
      });

      for (const way of Object.keys(WAYS)) {
        test(`a client of Socket.IO comes in by ${way}`, async () => {
          const name = room();
          const client = await Client.open(nginx, WAYS[way]);
          if (way === 'upgrade') await client.upgraded();
          await client.join(name);
          await server.publish(name, { payload: 'hello' });
          assert.equal((await client.event('message'))[0], 'hello');
          assert.equal((await client.publish(name, 'message', 'too')).seq, 2);
          client.close();
        });
      }

      test('what is too large is refused by denrei, in its words', async () => {
        const answer = await nginx.publish(room(), { payload: 'x'.repeat(1_100_000) });
        assert.equal(answer.status, 413);
        assert.ok((await answer.json()).code);
      });
    });
  }

  describe('which node answers', () => {
    const who = async (nginx, options) => {
      const { text, headers } = await ask(`${nginx.http}/api/rooms/${WHO}/events`, options);
      return { name: JSON.parse(text).events[0].payload, cookie: headers['set-cookie']?.[0].split(';')[0] };
    };
    const ports = () => servers.map(({ port }) => port);
    const across = async (variant, run) => {
      const nginx = await Balance.start(ports(), { variant });
      try {
        await run(nginx);
      } finally {
        await nginx.close();
      }
    };
    const network = (nginx, at) => who(nginx, { localAddress: `127.0.${at}.1` });
    const twenty = Array.from({ length: 20 }, (_, at) => at + 1);

    test('any.conf: each in turn', () => across('any.conf', async (nginx) => {
      const names = [];
      for (let turn = 0; turn < 6; turn += 1) names.push((await who(nginx)).name);
      assert.deepEqual(names.slice(0, 3).sort(), ['one', 'three', 'two']);
      assert.deepEqual(names.slice(3), names.slice(0, 3));
    }));

    test('sticky-ip.conf: always the same for a network, and not one for all', () => across('sticky-ip.conf', async (nginx) => {
      const names = new Set();
      for (const at of twenty) {
        const { name } = await network(nginx, at);
        assert.equal((await who(nginx, { localAddress: `127.0.${at}.200` })).name, name);
        names.add(name);
      }
      assert.equal(names.size, 3);
    }));

    test('sticky-cookie.conf: always the same for a cookie, from the first request on, whatever the address', () => across('sticky-cookie.conf', async (nginx) => {
      const names = new Set();
      for (const at of twenty) {
        const { name, cookie } = await network(nginx, at);
        assert.equal((await network(nginx, at)).name, name, 'without cookies by address');
        const elsewhere = await who(nginx, { localAddress: '127.0.100.1', headers: { cookie } });
        assert.equal(elsewhere.name, name);
        assert.equal(elsewhere.cookie, undefined, 'it is set once');
        names.add(name);
      }
      assert.equal(names.size, 3);
    }));

    for (const variant of ['sticky-ip.conf', 'sticky-cookie.conf']) {
      test(`${variant}: a client of Socket.IO polls at one of several nodes`, () => across(variant, async (nginx) => {
        const client = await Client.open(nginx, WAYS.polling);
        for (let turn = 0; turn < 5; turn += 1) assert.equal((await client.publish(room(), 'message', turn)).seq, 1);
        client.close();
      }));
    }

    test('a node that is away is left out, and nobody notices', () => across('any.conf', async (nginx) => {
      const gone = await Server.start({ config: ANYBODY });
      const with4 = await Balance.start([...ports(), gone.port]);
      try {
        await gone.kill();
        for (let turn = 0; turn < 12; turn += 1) {
          assert.equal((await with4.publish(room(), { payload: turn })).status, 201);
        }
      } finally {
        await with4.close();
        await gone.close();
      }
    }));
  });

  test('denrei sees where clients are, and believes nothing that they say about it', async () => {
    const asked = [];
    const policy = http.createServer(async (request, answer) => {
      let text = '';
      for await (const chunk of request) text += chunk;
      asked.push(JSON.parse(text));
      answer.end('{"allow":true}');
    }).listen(0, '127.0.0.1');
    await once(policy, 'listening');
    const server = await Server.start({
      config: `trusted_proxies = ["127.0.0.1"]\n${ANYBODY}[policy.webhook]\nurl = "http://127.0.0.1:${policy.address().port}/"\non_failure = "refuse"\n`,
    });
    const nginx = await Balance.start([server.port]);
    try {
      const options = { localAddress: '127.0.0.9', headers: { 'x-forwarded-for': '203.0.113.7' } };
      assert.equal((await ask(`${nginx.http}/api/rooms/live:here/events`, options)).status, 200);
      assert.deepEqual(asked.map(({ address }) => address), ['127.0.0.9']);
    } finally {
      await nginx.close();
      await server.close();
      policy.closeAllConnections();
      policy.close();
    }
  });

  test('a token in the address is not in the log', async () => {
    const nginx = await Balance.start([servers[0].port]);
    try {
      await ask(`${nginx.http}/health?token=sesame`);
      await ask(`${nginx.http}/api/messages?token=sesame`, { headers: { referer: `${nginx.http}/?token=sesame` } });
      await until(async () => (await nginx.read('access.log')).includes('GET /api/messages HTTP/1.1'), 'the line in the log');
      const log = await nginx.read('access.log');
      assert.doesNotMatch(log, /sesame/);
      assert.doesNotMatch(log, /health/);
    } finally {
      await nginx.close();
    }
  });
});

describe('nginx as it is shipped, with certificates', () => {
  let server;
  before(async () => {
    server = await Server.start({ config: ANYBODY });
  });
  after(async () => {
    await server?.close();
  });

  for (const variant of VARIANTS) {
    test(`${variant}: every transport comes in, and who comes without TLS is sent to it`, async () => {
      const nginx = await Balance.start([server.port], { variant, tls: true });
      const trust = { ca: nginx.certificate };
      try {
        assert.doesNotMatch(`${await nginx.judge()}${nginx.log}`, /\[(warn|error|emerg)\]/);

        const name = room();
        const socket = await Socket.open(nginx, { ...trust, origin: nginx.http });
        await socket.join(name);
        const stream = await events(nginx, `/sse?room=${name}`, trust);
        await stream.event('connected');
        const multiplexed = http2.connect(nginx.http, trust);
        const overH2 = multiplexed.request({ ':path': `/sse?room=${name}` });
        const streamH2 = new Stream(overH2, () => multiplexed.destroy());
        await streamH2.event('connected');
        const client = await Client.open(nginx, { ...WAYS.upgrade, ...trust });
        await client.upgraded();
        await client.join(name);

        await server.publish(name, { payload: 'hello' });
        assert.equal((await socket.events(name, 1))[0].payload, 'hello');
        assert.equal((await stream.event('message')).data, '"hello"');
        assert.equal((await streamH2.event('message')).data, '"hello"');
        assert.equal((await client.event('message'))[0], 'hello');
        for (const reader of [stream, streamH2, client]) reader.close();
        await socket.close();

        const redirect = await ask(`http://127.0.0.1:${nginx.plain}/sse?room=x`);
        assert.equal(redirect.status, 308);
        assert.equal(redirect.headers.location, 'https://127.0.0.1/sse?room=x');
      } finally {
        await nginx.close();
      }
    });
  }
});

describe('what nginx says to the nodes', () => {
  /** A node that is none: it shows what it is asked, and answers as the test wants. */
  let nodes;
  let nginx;
  let asked;
  let reply;
  before(async () => {
    nodes = await Promise.all([1, 2].map(async () => {
      const node = http.createServer((request, answer) => {
        asked.push(request);
        request.resume().on('end', () => reply(request, answer));
      }).listen(0, '127.0.0.1');
      await once(node, 'listening');
      return node;
    }));
    nginx = await Balance.start(nodes.map((node) => node.address().port));
  });
  after(async () => {
    await nginx?.close();
    for (const node of nodes ?? []) {
      node.closeAllConnections();
      node.close();
    }
  });

  test('HTTP/1.1, the host with its port, the address of the client behind those it has named', async () => {
    [asked, reply] = [[], (_, answer) => answer.end()];
    await ask(`${nginx.http}/`, { localAddress: '127.0.0.9', headers: { 'x-forwarded-for': '203.0.113.7' } });
    const [{ httpVersion, headers }] = asked;
    assert.equal(httpVersion, '1.1');
    assert.equal(headers.host, nginx.address);
    assert.equal(headers['x-real-ip'], '127.0.0.9');
    assert.equal(headers['x-forwarded-for'], '203.0.113.7, 127.0.0.9');
    assert.equal(headers.upgrade, undefined);
    assert.equal(headers.connection, undefined, 'the connection is kept');
  });

  test('its connections are kept for the next request', async () => {
    [asked, reply] = [[], (_, answer) => answer.end()];
    for (let turn = 0; turn < 6; turn += 1) await ask(`${nginx.http}/`);
    assert.equal(asked.length, 6);
    assert.ok(new Set(asked.map(({ socket }) => socket)).size <= 2, 'one for each node');
  });

  for (const path of ['/sse', '/socket.io/', '/ws', '/api/events']) {
    test(`the answer of ${path} is passed on as it comes, though it does not ask for that`, async () => {
      let answering;
      let response;
      [asked, reply] = [[], (_, answer) => {
        // Without chunks, which nginx passes on in any case.
        answer.removeHeader('transfer-encoding');
        answering = answer;
      }];
      const request = http.get(`${nginx.http}${path}`, { agent: false, headers: { 'accept-encoding': 'gzip' } });
      await until(() => answering !== undefined, 'the request');
      // What comes with the head would pass in any case.
      for (const part of ['first', 'second', 'third']) {
        answering.write(part);
        response ??= (await within(10_000, once(request, 'response'), 'the head'))[0];
        const [bytes] = await within(10_000, once(response, 'data'), `the ${part} of it`);
        assert.equal(String(bytes), part);
      }
      request.destroy();
    });
  }

  test('a read that a node has broken off is asked of the next; what might be done twice is not', async () => {
    [asked, reply] = [[], (request) => request.socket.destroy()];
    const posted = await ask(`${nginx.http}/api/rooms/live:x/events`, { method: 'POST', body: '{"payload":1}' });
    assert.deepEqual([posted.status, asked.length], [502, 1]);
    asked = [];
    const read = await ask(`${nginx.http}/api/rooms/live:x/events`);
    assert.deepEqual([read.status, asked.length], [502, 2]);
  });
});

describe('compose.yml', () => {
  let compose;
  let services;
  let nodes;
  before(async () => {
    compose = parse(await readFile(shipped('compose.yml'), 'utf8'), { merge: true });
    services = compose.services;
    nodes = Object.keys(services).filter((name) => name.startsWith('node-'));
  });

  test('names what it has: services, volumes, files', async () => {
    assert.deepEqual(Object.keys(services).sort(), ['minio', 'nginx', 'node-1', 'node-2', 'node-3', 'postgres', 'redis']);
    for (const [name, service] of Object.entries(services)) {
      for (const needed of Object.keys(service.depends_on ?? {})) {
        assert.ok(services[needed], `${name} waits for ${needed}`);
        const tells = services[needed].healthcheck || (services[needed].build && (await readFile(shipped('Dockerfile'), 'utf8')).includes('HEALTHCHECK'));
        assert.ok(tells, `${name} waits for the health of ${needed}`);
      }
      for (const [source] of (service.volumes ?? []).map((volume) => volume.split(':'))) {
        assert.ok(source.startsWith('./') ? existsSync(shipped(source)) : source in compose.volumes, `${name} mounts ${source}`);
      }
    }
  });

  test('tells each node what denrei knows, and each something of its own', () => {
    for (const name of nodes) {
      const { environment } = services[name];
      for (const variable of Object.keys(environment)) assert.ok(ENVIRONMENT.includes(variable), variable);
      assert.equal(environment.DENREI_NODE_ID, name);
      assert.equal(environment.DENREI_ADVERTISE, `http://${name}:8080`);
      assert.equal(environment.DENREI_LISTEN, '0.0.0.0:8080');
      for (const shared of ['DENREI_BUS', 'DENREI_STORE']) {
        assert.ok(services[/@?([a-z]+):\d+/.exec(environment[shared].split('//')[1].split('@').at(-1))[1]], environment[shared]);
      }
      assert.match(environment.DENREI_SECRET, /^\$\{DENREI_SECRET:\?/, 'nobody starts with a secret that stands here');
    }
  });

  test('has the nodes behind nginx, which is the proxy that they trust', async () => {
    const behind = [...(await readFile(shipped('nginx/servers.inc'), 'utf8')).matchAll(/^server (\S+)/gm)].map(([, address]) => address);
    assert.deepEqual(behind, nodes.map((name) => `${name}:8080`));
    const address = services.nginx.networks.default.ipv4_address;
    const settings = await readFile(shipped('denrei.toml'), 'utf8');
    assert.deepEqual(JSON.parse(/^trusted_proxies = (.*)$/m.exec(settings)[1]), [address]);
    assert.ok(compose.networks.default.ipam.config[0].subnet.startsWith(address.replace(/\d+$/, '')));
  });

  test('has settings that denrei takes', async () => {
    const env = { PATH: process.env.PATH, DENREI_LISTEN: '0.0.0.0:8080', DENREI_SECRET: 'a secret of thirty-two bytes or more' };
    assert.match((await run(BINARY, ['config', '--check', shipped('denrei.toml')], { env })).stdout, /in order/);
  });

  test('gives a node more time to end than it takes', () => {
    for (const name of nodes) assert.ok(Number.parseInt(services[name].stop_grace_period, 10) >= 20);
  });
});

describe('the image', () => {
  let lines;
  before(async () => {
    lines = (await readFile(shipped('Dockerfile'), 'utf8')).split('\n');
  });

  test('copies what there is, and what its context has', async () => {
    const context = (await readFile(shipped('Dockerfile.dockerignore'), 'utf8')).split('\n').filter((line) => line.startsWith('!'));
    for (const kept of context.map((line) => line.slice(1))) assert.ok(existsSync(shipped(`../${kept}`)), kept);
    const copied = lines.filter((line) => line.startsWith('COPY') && !line.includes('--from=')).map((line) => line.split(' ').at(-2));
    assert.deepEqual(copied, ['.', 'deploy/healthcheck']);
    assert.ok(context.includes('!deploy/healthcheck'));
  });

  test('is run by a user that is not root, with settings that denrei knows', () => {
    assert.ok(lines.includes('USER 10001:10001'));
    const variables = lines.join('\n').match(/DENREI_[A-Z_]+/g);
    for (const variable of variables) assert.ok(ENVIRONMENT.includes(variable), variable);
  });

  test('says that a server is healthy that is, and that one that is gone is not', async () => {
    const server = await Server.start({ config: ANYBODY });
    try {
      const env = { PATH: process.env.PATH, DENREI_LISTEN: server.address };
      await run(shipped('healthcheck'), { env });
      await server.kill();
      await assert.rejects(run(shipped('healthcheck'), { env }), { code: 1 });
    } finally {
      await server.close();
    }
  });
});

describe('denrei.service', () => {
  let text;
  const all = (name) => [...text.matchAll(new RegExp(`^${name}=(.*)$`, 'gm'))].map(([, value]) => value);
  before(async () => {
    text = await readFile(shipped('denrei.service'), 'utf8');
  });

  test('says what denrei knows, and ends it as it wants to be ended', () => {
    for (const variable of text.match(/DENREI_[A-Z_]+/g)) assert.ok(ENVIRONMENT.includes(variable), variable);
    assert.deepEqual(all('KillSignal'), ['SIGTERM']);
    assert.ok(Number(all('TimeoutStopSec')[0]) >= 20, 'twice the grace');
    assert.ok(Number(all('LimitNOFILE')[0]) > 100_000, 'more than limits.connections');
    assert.deepEqual(all('Environment'), ['DENREI_DATA=/var/lib/denrei', 'DENREI_CONFIG=/etc/denrei/denrei.toml']);
  });

  const analyze = process.env.PATH.split(':').map((folder) => join(folder, 'systemd-analyze')).find(existsSync);
  test('is one that systemd understands, and thinks well of', { skip: analyze ? false : 'systemd-analyze is not installed' }, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'denrei-unit-'));
    try {
      const unit = join(folder, 'denrei.service');
      // It looks whether the program is there.
      await writeFile(unit, text.replace('/usr/local/bin/denrei', process.execPath));
      const { stdout, stderr } = await run(analyze, ['verify', '--man=no', unit]);
      assert.equal(stdout + stderr, '');
      // 10 is exposed to everything.
      await run(analyze, ['security', '--offline=true', '--threshold=20', unit]);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});

/** A request over a connection of its own, from an address of its own perhaps. */
async function ask(url, { body, ...options } = {}) {
  const request = http.request(url, { agent: false, ...options });
  request.end(body);
  const [answer] = await within(10_000, once(request, 'response'), `an answer of ${url}`);
  let text = '';
  for await (const chunk of answer) text += chunk;
  return { status: answer.statusCode, headers: answer.headers, text };
}

async function events(server, path, options) {
  const request = https.get(`${server.http}${path}`, { agent: false, ...options });
  request.on('error', () => {});
  const [response] = await within(10_000, once(request, 'response'), `the head of ${path}`);
  return new Stream(response, () => request.destroy());
}
