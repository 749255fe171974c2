// A publish is followed to its deliveries, across nodes: spans as OpenTelemetry has them, sent to a collector.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import { after, before, describe, test } from 'node:test';
import { User } from './lib/chat.mjs';
import { Collector } from './lib/collector.mjs';
import { Client } from './lib/io.mjs';
import { Metrics } from './lib/metrics.mjs';
import { Nodes } from './lib/nodes.mjs';
import { Server, get, room as named, until } from './lib/server.mjs';
import { Socket } from './lib/socket.mjs';
import { Stream } from './lib/stream.mjs';

/** The SDK sends what it has after so long. */
const SOON = { OTEL_BSP_SCHEDULE_DELAY: '50' };

/** A trace that somebody else has begun. */
function sender(flags = '01') {
  const [trace, span] = [randomBytes(16).toString('hex'), randomBytes(8).toString('hex')];
  return { trace, span, headers: { traceparent: `00-${trace}-${span}-${flags}` } };
}

async function publish(server, room, payload, headers = {}, signal) {
  const answer = await get(`${server.http}/api/rooms/${room}/events`, {
    method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify({ payload }), signal,
  });
  return { status: answer.status, ...(await answer.json()) };
}

const one = (spans, name, node) => {
  const found = spans.filter((span) => span.name === name && (node === undefined || span.node === node));
  assert.equal(found.length, 1, `${name} on ${node ?? 'any'}: ${JSON.stringify(found, (_, value) => (typeof value === 'bigint' ? String(value) : value))}`);
  return found[0];
};

describe('a publish that is followed', () => {
  let collector;
  let nodes;
  const open = [];

  before(async () => {
    collector = await Collector.start();
    const config = `[opentelemetry]\nendpoint = "${collector.url}"\nsample = 0.0\n`;
    nodes = await Nodes.start({ count: 2, bus: 'redis', store: 'postgres', config, env: SOON });
  });
  after(async () => {
    for (const each of open) await each.close();
    await nodes?.close();
    await collector?.close();
  });

  for (const kind of ['live', 'feed', 'tick']) {
    test(`is one trace, from the request to the readers of both nodes (${kind})`, async () => {
      const [first, second] = nodes.servers;
      const room = named(kind);
      const here = await Socket.open(first);
      open.push(here);
      await here.join(room);
      const there = await Socket.open(second);
      open.push(there);
      await there.join(room);
      const stream = await Stream.open(second, `/sse?room=${room}`);
      open.push(stream);
      await stream.next((block) => block.event === 'connected');
      const client = await Client.open(second);
      open.push(client);
      await client.connected();
      await client.socket.emitWithAck('join', room);

      const { trace, span, headers } = sender();
      const sent = await publish(first, room, 'hello', { ...headers, 'x-request-id': 'mine' });
      assert.equal(sent.status, 201);
      await here.events(room, 1);
      await there.events(room, 1);

      // The readers of the second node may be those of one shard, or of more; each node sends when it is its time.
      const spansOf = (name, node) => collector.spans.filter((each) => each.trace === trace && each.name === name && each.node === node);
      await until(() => {
        const given = spansOf('deliver', 'node-2').reduce((sum, each) => sum + each['denrei.readers.given'], 0);
        return given === 3 && spansOf('deliver', 'node-1').length === 1 && spansOf('POST /api/rooms/{room}/events', 'node-1').length === 1;
      }, 'the request, and all readers of both nodes');
      const spans = collector.spans.filter((each) => each.trace === trace);

      const request = one(spans, 'POST /api/rooms/{room}/events', 'node-1');
      assert.deepEqual([request.kind, request.parent, request['http.response.status_code'], request['denrei.request.id']], ['SERVER', span, 201, 'mine']);
      const published = one(spans, 'publish', 'node-1');
      assert.deepEqual([published.kind, published.parent, published['messaging.destination.name']], ['PRODUCER', request.id, room]);
      assert.deepEqual([published['messaging.system'], published['denrei.event']], ['denrei', 'message']);
      assert.equal(published['denrei.seq'], sent.seq || undefined);
      const own = one(spans, 'deliver', 'node-1');
      assert.deepEqual([own.kind, own['denrei.readers'], own['denrei.readers.given']], ['CONSUMER', 1, 1]);
      for (const delivered of spans.filter((each) => each.name === 'deliver')) {
        assert.equal(delivered.parent, published.id);
        assert.equal(delivered['denrei.seq'], sent.seq || undefined);
        assert.equal(delivered['messaging.destination.name'], room);
        assert.ok(delivered.ended >= delivered.begun);
      }
      for (const [inner, outer] of [[published, request], [own, published]]) assert.ok(inner.begun >= outer.begun, `${inner.name} before ${outer.name}`);
      assert.ok(published.ended <= request.ended);
      assert.deepEqual([request.resource['service.name'], request.scope.name], ['denrei', 'denrei']);
      assert.equal(new Set(spans.map(({ id }) => id)).size, spans.length);
    });
  }

  test('by who says so, and by nobody else where nothing is left to chance', async () => {
    const [first] = nodes.servers;
    const room = named();
    const before = collector.requests.length;
    const left = sender('00');
    await publish(first, room, 1, left.headers);
    await publish(first, room, 2);
    for (const traceparent of ['', 'nonsense', `00-${'0'.repeat(32)}-${'1'.repeat(16)}-01`, `ff-${'1'.repeat(32)}-${'1'.repeat(16)}-01`, 'a'.repeat(4000)]) {
      assert.equal((await publish(first, room, 3, { traceparent })).status, 201);
    }
    const { trace, headers } = sender();
    await publish(first, room, 4, headers);
    await collector.trace(trace, 2);
    const late = collector.spans.slice().filter((span) => span['messaging.destination.name'] === room);
    assert.deepEqual([...new Set(late.map((span) => span.trace))], [trace]);
    const { method, url, headers: sent } = collector.requests.at(-1);
    assert.deepEqual([method, url, sent['content-type']], ['POST', '/v1/traces', 'application/x-protobuf']);
    assert.ok(collector.requests.length > before);
  });

  test('whose publish is refused says why', async () => {
    const [first] = nodes.servers;
    const { trace, headers } = sender();
    // Nobody is a member of this room.
    const answer = await get(`${first.http}/api/chat/rooms/nowhere/messages`, {
      method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify({ content: 'x' }),
    });
    const { code } = await answer.json();
    const spans = await collector.trace(trace, 2);
    const published = one(spans, 'publish');
    assert.deepEqual([published['error.type'], published.status], [code, { message: code, code: 'STATUS_CODE_ERROR' }]);
    const request = spans.find(({ kind }) => kind === 'SERVER');
    assert.deepEqual([request['http.response.status_code'], request.status], [answer.status, {}]);
  });

  test('in the chat is followed like any other, and so are changes', async () => {
    const [first, second] = nodes.servers;
    const [alice, bob] = [await User.of(first, 'alice'), await User.of(second, 'bob')];
    open.push(alice, bob);
    const chat = named('').replace(/^:/, '');
    await alice.join(chat);
    await bob.join(chat);
    const socket = await bob.socket();
    await socket.join(`chat:${chat}`);
    const { trace, headers } = sender();
    const as = (more) => ({ server: first, headers: { ...alice.headers, ...more }, ask: alice.ask });
    const sent = await as(headers).ask('POST', `/api/chat/rooms/${chat}/messages`, { content: 'hello' });
    assert.equal(sent.http, 201, JSON.stringify(sent));
    const spans = await collector.trace(trace, 3);
    const published = one(spans, 'publish', 'node-1');
    assert.equal(one(spans, 'deliver', 'node-2').parent, published.id);

    const edit = sender();
    const edited = await as(edit.headers).ask('PATCH', `/api/chat/rooms/${chat}/messages/${sent.id}`, { content: 'better' });
    assert.equal(edited.http, 200, JSON.stringify(edited));
    const changes = await collector.trace(edit.trace, 3);
    assert.equal(one(changes, 'publish', 'node-1')['denrei.event'], 'change');
    one(changes, 'deliver', 'node-2');
  });
});

describe('spans', () => {
  test('of publishes by WebSocket and Socket.IO begin a trace by chance', async () => {
    const collector = await Collector.start();
    const env = { ...SOON, OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, OTEL_SERVICE_NAME: 'shop', OTEL_EXPORTER_OTLP_COMPRESSION: 'gzip', OTEL_EXPORTER_OTLP_HEADERS: 'x-key=of%20mine' };
    const server = await Server.start({ env });
    const room = named('live');
    const [socket, client] = [await Socket.open(server), await Client.open(server)];
    await client.connected();
    await client.socket.emitWithAck('join', room);
    await socket.join(room);
    await socket.broadcast(room, 1);
    await client.socket.emitWithAck('publish', room, 'news', 2);
    await until(() => collector.spans.filter(({ name }) => name === 'publish').length === 2, 'two publishes');
    const published = collector.spans.filter(({ name }) => name === 'publish');
    assert.deepEqual(published.map(({ parent }) => parent), ['', '']);
    assert.notEqual(published[0].trace, published[1].trace);
    for (const { trace, id } of published) {
      const delivered = (await collector.trace(trace, 2)).filter(({ name }) => name === 'deliver');
      assert.deepEqual(delivered.map(({ parent }) => parent), delivered.map(() => id));
    }
    assert.equal(published[0].resource['service.name'], 'shop');
    assert.deepEqual([collector.requests[0].headers['content-encoding'], collector.requests[0].headers['x-key']], ['gzip', 'of mine']);
    // Who only asks whether there is something new, or how the server is, begins none.
    for (const path of ['/health', '/metrics', `/api/rooms/${room}/events`]) await get(`${server.http}${path}`);
    await publish(server, room, 3);
    await until(() => collector.spans.some(({ kind }) => kind === 'SERVER'), 'the request');
    assert.deepEqual(collector.spans.filter(({ kind }) => kind === 'SERVER').map(({ name }) => name), ['POST /api/rooms/{room}/events']);
    await socket.close();
    await client.close();
    await server.close();
    await collector.close();
  });

  test('go on in whom the policy asks', async () => {
    const [collector, asked] = [await Collector.start(), []];
    const policy = http.createServer((request, response) => {
      asked.push(request.headers.traceparent);
      response.end('{"allow":true}');
    });
    await once(policy.listen(0, '127.0.0.1'), 'listening');
    const hook = `[policy.webhook]\nurl = "http://127.0.0.1:${policy.address().port}/"\non_failure = "refuse"\npublishing = true\n`;
    const server = await Server.start({ config: `[opentelemetry]\nendpoint = "${collector.url}"\n${hook}`, env: SOON });
    const { trace, headers } = sender();
    assert.equal((await publish(server, named(), 1, headers)).status, 201);
    const request = (await collector.trace(trace, 2)).find(({ kind }) => kind === 'SERVER');
    assert.deepEqual(asked, [`00-${trace}-${request.id}-01`]);
    assert.equal((await publish(server, named(), 1, sender('00').headers)).status, 201);
    assert.equal(asked[1], undefined);
    await server.close();
    await collector.close();
    policy.close();
  });

  test('say nothing of who asks, and end when they hang up', async () => {
    const collector = await Collector.start();
    const hook = http.createServer(() => {});
    await once(hook.listen(0, '127.0.0.1'), 'listening');
    const waiting = `[policy.webhook]\nurl = "http://127.0.0.1:${hook.address().port}/"\non_failure = "refuse"\npublishing = true\n`;
    const server = await Server.start({ config: `[opentelemetry]\nendpoint = "${collector.url}"\n${waiting}`, env: SOON });
    const { trace, headers } = sender();
    const given = new AbortController();
    const asked = publish(server, named(), 1, headers, given.signal);
    await once(hook, 'request');
    given.abort();
    await assert.rejects(asked, { name: 'AbortError' });
    const [request] = await collector.trace(trace, 1);
    assert.deepEqual([request.kind, request['error.type'], request['http.response.status_code']], ['SERVER', 'given_up', undefined]);
    const alice = await User.of(server, 'alice');
    const muted = await alice.ask('PUT', '/api/presence/contacts/a-friend');
    assert.ok(muted.http < 300, JSON.stringify(muted));
    await until(() => collector.spans.some(({ name }) => name.startsWith('PUT ')), 'the span of the request');
    const text = JSON.stringify(collector.spans, (_, value) => (typeof value === 'bigint' ? String(value) : value));
    assert.doesNotMatch(text, /alice|a-friend/);
    await server.close();
    hook.closeAllConnections();
    hook.close();
    await collector.close();
  });

  test('of a sampler that heeds no parent are what it says', async () => {
    const collector = await Collector.start();
    const env = { ...SOON, OTEL_EXPORTER_OTLP_ENDPOINT: collector.url };
    for (const [OTEL_TRACES_SAMPLER, flags, followed] of [['always_off', '01', 0], ['always_on', '00', 2], ['nonsense', '01', 2]]) {
      const server = await Server.start({ env: { ...env, OTEL_TRACES_SAMPLER } });
      const { trace, headers } = sender(flags);
      await publish(server, named(), 1, headers);
      await server.stop();
      await collector.trace(trace, followed);
      assert.equal(collector.spans.filter((span) => span.trace === trace).length, followed, OTEL_TRACES_SAMPLER);
      assert.equal(/OTEL_TRACES_SAMPLER is none of/.test(server.log), OTEL_TRACES_SAMPLER === 'nonsense');
      await server.close();
    }
    await collector.close();
  });

  test('that a policy refuses leave those of others their place', async () => {
    const collector = await Collector.start();
    const rules = '[[policy.rules]]\nrooms = "live:closed"\nread = ["everyone"]\npublish = []\n';
    const server = await Server.start({ config: `[opentelemetry]\nendpoint = "${collector.url}"\nper_second = 2\n${rules}`, env: SOON });
    const socket = await Socket.open(server);
    for (let at = 0; at < 20; at += 1) assert.notEqual((await socket.ask({ type: 'broadcast', room: 'live:closed', payload: at })).type, 'reply');
    await socket.broadcast(named('live'), 'mine');
    await until(() => collector.spans.some(({ name }) => name === 'publish'), 'the span of what was allowed');
    await socket.close();
    await server.close();
    await collector.close();
  });

  test('are sent before the server ends', async () => {
    const collector = await Collector.start();
    const server = await Server.start({ config: `[opentelemetry]\nendpoint = "${collector.url}"\n` });
    const { trace, headers } = sender();
    await publish(server, named(), 1, headers);
    assert.deepEqual(await server.stop(), { code: 0, signal: null });
    await collector.trace(trace, 2);
    await server.close();
    await collector.close();
  });

  test('that nobody takes hold nothing up, are counted, and flow again when somebody does', async () => {
    const collector = await Collector.start();
    const { port } = collector;
    await collector.close();
    const server = await Server.start({ config: `[opentelemetry]\nendpoint = "http://127.0.0.1:${port}"\nper_second = 100000\n`, env: SOON });
    const room = named();
    const value = async (outcome) => (await Metrics.of(server)).value(outcome === 'ended' ? 'denrei_spans_ended_total' : 'denrei_spans_sent_total', outcome === 'ended' ? {} : { outcome });
    const socket = await Socket.open(server);
    for (let at = 0; at < 3000; at += 1) await socket.broadcast(room, at);
    await until(async () => (await value('failed')) > 0, 'failed spans');
    assert.equal(await value('ended'), 3000);
    assert.equal(await value('exported'), 0);
    await until(() => /the collector takes no spans/.test(server.log), 'a line in the log');
    const again = await Collector.start(port);
    const { trace, headers } = sender();
    await until(async () => {
      await publish(server, room, 'again', headers);
      return again.spans.some((span) => span.trace === trace);
    }, 'spans to flow', 20_000);
    await until(async () => (await value('exported')) > 0, 'exported spans');
    await until(() => /the collector takes spans again/.test(server.log), 'a line in the log');
    assert.equal(server.log.match(/takes no spans/g).length, 1);
    await socket.close();
    await server.close();
    await again.close();
  });

  test('are no more in a second than may be, whoever wants them', async () => {
    const collector = await Collector.start();
    const server = await Server.start({ config: `[opentelemetry]\nendpoint = "${collector.url}"\nper_second = 5\n`, env: SOON });
    const room = named();
    const begun = Date.now();
    const wanted = Array.from({ length: 300 }, () => sender());
    for (const { headers } of wanted) assert.equal((await publish(server, room, 1, headers)).status, 201);
    const socket = await Socket.open(server);
    for (let at = 0; at < 300; at += 1) await socket.broadcast(room, at);
    const seconds = Math.floor((Date.now() - begun) / 1000) + 2;
    await server.stop();
    await server.close();
    // All that was sent has been read then.
    await collector.close();
    const traces = new Set(collector.spans.map(({ trace }) => trace));
    assert.ok(traces.size >= 5 && traces.size <= 5 * seconds, `${traces.size} traces in ${seconds} s`);
  });
});
