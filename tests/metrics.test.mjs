// What a server says of itself: /metrics, as Prometheus' own parsers read it, and /readyz.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import { after, before, describe, test } from 'node:test';
import { Client, WAYS } from './lib/io.mjs';
import { Metrics, OPENMETRICS } from './lib/metrics.mjs';
import { Nodes } from './lib/nodes.mjs';
import { freePort } from './lib/port.mjs';
import { Server, get, room, until, within } from './lib/server.mjs';
import { Socket } from './lib/socket.mjs';
import { Stream } from './lib/stream.mjs';
import { token } from './lib/token.mjs';

const SECRET = 'a secret of at least thirty-two bytes';

/** How far values of a server move while something happens. */
async function moved(server, during) {
  const before = await Metrics.of(server);
  await during();
  const after = await Metrics.of(server);
  return (name, labels) => after.value(name, labels) - before.value(name, labels);
}

describe('what is counted', () => {
  let server;
  before(async () => { server = await Server.start({ config: '[metrics]\nevents = ["price"]\n' }); });
  after(() => server?.close());

  test('is written in both formats as their own parsers want it', async () => {
    const name = room();
    const reader = await Socket.open(server);
    await reader.join(name);
    await server.publish(name, { payload: 1 });
    await reader.events(name, 1);
    for (const [accept, type] of [[undefined, 'text/plain; version=0.0.4; charset=utf-8'], [OPENMETRICS, 'application/openmetrics-text; version=1.0.0; charset=utf-8']]) {
      const metrics = await Metrics.of(server, { accept });
      assert.equal(metrics.type, type);
      const families = await metrics.parsed();
      const of = (wanted) => families.find(({ name }) => name === wanted) ?? assert.fail(`no ${wanted}`);
      assert.equal(of('websocket_connections_active').type, 'gauge');
      assert.equal(of('websocket_messages').type, 'counter');
      const latency = of('websocket_message_latency_seconds');
      assert.equal(latency.type, 'histogram');
      const bounds = latency.samples.filter(({ name }) => name.endsWith('_bucket')).map(({ labels }) => Number(labels.le.replace('+Inf', 'Infinity')));
      assert.deepEqual(bounds, [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, Infinity]);
      assert.equal(new Set(families.map(({ name }) => name)).size, families.length, 'a name stands twice');
      for (const { name, help } of families) assert.ok(help.length > 5, `${name} says nothing of itself`);
      assert.equal(new Set(metrics.series).size, metrics.series.length, 'a series stands twice');
    }
    await reader.close();
  });

  test('ten publishes to three readers are thirty deliveries, in fewer writes than that when they come together', async () => {
    const name = room();
    const readers = await Promise.all([1, 2, 3].map(() => Socket.open(server)));
    for (const reader of readers) await reader.join(name);
    const change = await moved(server, async () => {
      for (let n = 0; n < 10; n += 1) assert.equal((await server.publish(name, { event: 'price', payload: n })).status, 201);
      for (const reader of readers) await reader.events(name, 10);
    });
    assert.equal(change('denrei_deliveries_total'), 30);
    assert.equal(change('websocket_messages_total', { direction: 'out', type: 'price' }), 30);
    assert.equal(change('websocket_messages_total', { direction: 'in', type: 'price' }), 10);
    assert.equal(change('denrei_publishes_total', { class: 'live', keep: 'memory', outcome: 'taken' }), 10);
    assert.equal(change('denrei_publish_seconds_count', { keep: 'memory' }), 10);
    assert.equal(change('websocket_message_latency_seconds_count'), 10);
    const route = { route: '/api/rooms/{room}/events', method: 'POST', status: '2xx' };
    assert.equal(change('denrei_http_requests_total', route), 10);
    assert.ok(change('denrei_sent_bytes_total') > 30 * 20 && change('denrei_shard_busy_seconds_total') > 0);
    const together = await moved(server, async () => {
      for (let n = 0; n < 200; n += 1) readers[0].send({ type: 'broadcast', room: name, payload: n });
      await readers[1].events(name, 200);
      await readers[2].events(name, 200);
    });
    assert.equal(together('denrei_deliveries_total'), 400);
    assert.ok(together('denrei_writes_total') < 400, `${together('denrei_writes_total')} writes`);
    for (const reader of readers) await reader.close();
  });

  test('a publish that is sent again is a duplicate, and a stored one is an operation of the store', async () => {
    const name = room('feed');
    const change = await moved(server, async () => {
      for (let n = 0; n < 2; n += 1) await server.publish(name, { payload: 1, id: 'same' });
    });
    assert.equal(change('denrei_publishes_total', { class: 'feed', keep: 'store', outcome: 'taken' }), 1);
    assert.equal(change('denrei_publishes_total', { keep: 'store', outcome: 'duplicate' }), 1);
    assert.ok(change('denrei_store_operations_total') >= 2 && change('denrei_store_commit_seconds_count') >= 2);
    assert.equal((await Metrics.of(server)).value('denrei_store_info', { kind: 'sqlite' }), 1);
  });

  test('connections are counted by what carries them, and by why they end', async () => {
    const open = async (transport) => (await Metrics.of(server)).value('denrei_connections', { transport });
    const change = await moved(server, async () => {
      const socket = await Socket.open(server);
      const stream = await Stream.open(server, '/sse?room=live:x');
      await stream.event('connected');
      const polling = await Client.open(server, WAYS.polling);
      const websocket = await Client.open(server, WAYS.websocket);
      const upgraded = await Client.open(server, WAYS.upgrade);
      await until(async () => await open('socketio_websocket') === 2, 'the upgrade');
      const now = await Metrics.of(server);
      const counts = ['websocket', 'sse', 'socketio_polling', 'socketio_websocket'].map((transport) => now.value('denrei_connections', { transport }));
      assert.deepEqual(counts, [1, 1, 1, 2]);
      assert.equal(now.value('websocket_connections_active'), 5);
      await socket.close();
      socket.ws.terminate();
      stream.close();
      for (const client of [polling, websocket, upgraded]) client.socket.disconnect();
      const broken = await Socket.open(server);
      broken.ws._socket.write(Buffer.from([0xff, 0xff]));
      await within(10_000, broken.closed.catch(() => {}), 'the violation to be answered');
      await until(async () => (await Metrics.of(server)).value('websocket_connections_active') === 0, 'all to end');
    });
    const closed = (transport, reason) => change('denrei_connections_closed_total', { transport, reason });
    assert.equal(change('denrei_connections_opened_total', { transport: 'websocket' }), 2);
    assert.deepEqual([closed('websocket', 'client'), closed('websocket', 'protocol')], [1, 1]);
    assert.equal(change('denrei_connections_closed_total', { transport: 'sse' }), 1);
    assert.equal(closed('socketio_polling', 'client') + closed('socketio_websocket', 'client'), 3);
  });

  test('a reader that does not read falls behind, and what waits for it is seen', async () => {
    const name = room();
    const [stuck, writer] = [await Socket.open(server, { perMessageDeflate: false }), await Socket.open(server)];
    await stuck.join(name);
    stuck.ws._socket.pause();
    const payload = 'x'.repeat(500_000);
    const change = await moved(server, async () => {
      await until(async () => {
        await writer.broadcast(name, payload);
        return (await Metrics.of(server)).value('denrei_readers_behind') === 1;
      }, 'the reader to fall behind', 60_000);
    });
    assert.equal(change('denrei_readers_fallen_behind_total'), 1);
    const metrics = await Metrics.of(server);
    assert.ok(metrics.value('denrei_outbox_bytes') > 400_000 && metrics.value('denrei_outboxes_waiting') === 1);
    stuck.ws._socket.resume();
    await until(async () => (await Metrics.of(server)).value('denrei_readers_behind') === 0, 'the reader to be back', 30_000);
    assert.ok((await Metrics.of(server)).value('denrei_replayed_messages_total') > 0);
    await stuck.close();
    await writer.close();
  });

  test('a poll that waits is seen while it does', async () => {
    const name = room();
    const poll = server.events(name, '?wait=20');
    await until(async () => (await Metrics.of(server)).value('denrei_polls_waiting') === 1, 'the poll to wait');
    await server.publish(name, { payload: 1 });
    assert.equal((await poll).status, 200);
    assert.equal((await Metrics.of(server)).value('denrei_polls_waiting'), 0);
  });

  test('ten thousand names of events, rooms and paths add no series', async () => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });
    const ask = (path) => new Promise((resolve, reject) => {
      http.get(`${server.http}${path}`, { agent }, (answer) => answer.resume().on('end', resolve)).on('error', reject);
    });
    const socket = await Socket.open(server);
    const send = async (from, to) => {
      for (let n = from; n < to; n += 100) {
        await Promise.all(Array.from({ length: 100 }, (_, at) => socket.ask({ type: 'broadcast', room: `signal:r${n + at}`, event: `event-${n + at}`, payload: 1 })));
        await Promise.all(Array.from({ length: 100 }, (_, at) => ask(`/api/rooms/live:p${n + at}/events?q=${n + at}`)));
        await Promise.all(Array.from({ length: 10 }, (_, at) => ask(`/api/nowhere/${n + at}`)));
      }
    };
    await send(0, 100);
    const before = new Set((await Metrics.of(server)).series);
    await send(100, 10_100);
    const after = await Metrics.of(server);
    assert.deepEqual(after.series.filter((series) => !before.has(series)), []);
    assert.ok(after.value('websocket_messages_total', { direction: 'in', type: 'other' }) >= 10_000);
    agent.destroy();
    await socket.close();
  });

  test('every metric of the dashboard and of the alerts is there', async () => {
    const { text } = await Metrics.of(server);
    const known = new Set([...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].flatMap(([, name, type]) => (type === 'histogram' ? [`${name}_bucket`, `${name}_sum`, `${name}_count`] : [name])));
    // Those of a server that is one of several, or speaks TLS.
    for (const [name] of (await readFile(new URL('../crates/denrei/src/metrics/report.rs', import.meta.url), 'utf8')).matchAll(/denrei_(?:bus|certificate)_\w+/g)) known.add(name);
    const { parse } = await import('yaml');
    const alerts = parse(await readFile(new URL('../deploy/prometheus-alerts.yml', import.meta.url), 'utf8'));
    const rules = alerts.groups.flatMap(({ rules: own }) => own);
    const dashboard = JSON.parse(await readFile(new URL('../deploy/grafana-dashboard.json', import.meta.url), 'utf8'));
    const targets = dashboard.panels.flatMap(({ targets: own = [] }) => own);
    assert.ok(rules.length > 5 && targets.length > 10);
    for (const { expr } of [...rules, ...targets]) {
      const used = expr.match(/\b(?:denrei|websocket|process)_\w+/g);
      assert.ok(used?.length > 0, expr);
      for (const name of used) assert.ok(known.has(name), `${name} of ${expr} is not there`);
    }
    for (const { alert, annotations } of rules) assert.ok(annotations.summary && annotations.description, alert);
  });
});

describe('who may ask', () => {
  const config = (more) => `[auth]\nsecret = "${SECRET}"\nanonymous = true\n${more}`;
  const bearer = (text) => ({ headers: { authorization: `Bearer ${text}` } });

  test('the role admin, and who brings the token for metrics', async (t) => {
    const server = await Server.start({ config: config(''), env: { DENREI_METRICS_TOKEN: 'a token for scrapers' .replaceAll(' ', '-') } });
    t.after(() => server.close());
    const asks = async (options) => (await get(`${server.http}/metrics`, options)).status;
    const admin = await server.token('ann', '--role', 'admin');
    assert.deepEqual([await asks(), await asks(bearer(token('bob', SECRET))), await asks(bearer('a-token-for-scraperz'))], [403, 403, 401]);
    assert.deepEqual([await asks(bearer(admin)), await asks(bearer('a-token-for-scrapers'))], [200, 200]);
    const metrics = await Metrics.of(server, { headers: bearer('a-token-for-scrapers').headers });
    assert.ok(metrics.value('denrei_auth_refusals_total', { code: 'token_invalid' }) >= 1);
    assert.ok(!server.log.includes('scrapers'));
  });

  test('operators have a listener of their own, with nothing else on it', async (t) => {
    const port = await freePort();
    const server = await Server.start({ config: config(`[metrics]\nlisten = "127.0.0.1:${port}"\n`) });
    t.after(() => server.close());
    const at = `http://127.0.0.1:${port}`;
    assert.equal((await Metrics.of(server, { url: `${at}/metrics` })).value('denrei_build_info'), 1);
    for (const path of ['/health', '/livez', '/readyz']) assert.equal((await get(at + path)).status, 200, path);
    for (const path of ['/', '/ws', '/api/messages']) assert.equal((await get(at + path)).status, 404, path);
    assert.equal((await get(`${server.http}/metrics`)).status, 403);
  });

  test('who is refused, and by which limit, is counted', async (t) => {
    const server = await Server.start({ config: `${config('')}[rates.connection]\ncapacity = 2\nrefill_per_second = 0.01\n` });
    t.after(() => server.close());
    const headers = bearer(await server.token('ann', '--role', 'admin')).headers;
    const socket = await Socket.open(server);
    for (let n = 0; n < 5; n += 1) await socket.ask({ type: 'call', method: 'echo', payload: 1 });
    await get(`${server.http}/api/messages`, { headers: { origin: 'https://evil.example' } });
    await socket.close();
    const metrics = await Metrics.of(server, { headers });
    assert.equal(metrics.value('denrei_rate_limited_total', { scope: 'connection' }), 3);
    assert.equal(metrics.value('denrei_admission_refusals_total', { code: 'origin_refused' }), 1);
    assert.equal(metrics.value('websocket_messages_total', { direction: 'in', type: 'ping' }), 5);
  });
});

describe('a request', () => {
  test('has a name, its own or a new one', async (t) => {
    const server = await Server.start();
    t.after(() => server.close());
    const name = async (given) => (await get(`${server.http}/livez`, { headers: given ? { 'x-request-id': given } : {} })).headers.get('x-request-id');
    assert.equal(await name('abc-123'), 'abc-123');
    const [one, other] = [await name(), await name()];
    assert.ok(/^[\w-]{10,}$/.test(one) && one !== other, one);
    for (const bad of ['x'.repeat(129), 'a b', 'a"b', '{}']) assert.notEqual(await name(bad), bad);
  });
});

describe('readiness', () => {
  test('names what the server depends on, and how it does', async (t) => {
    const server = await Server.start();
    t.after(() => server.close());
    assert.deepEqual(await (await get(`${server.http}/readyz`)).json(), { status: 'ready', dependencies: { store: 'ok' } });
  });

  test('a server that knows no keys yet is not ready, and is when it has read them', async (t) => {
    const { keyPair } = await import('./lib/token.mjs');
    let keys;
    const publisher = http.createServer((_, answer) => {
      if (keys) answer.end(JSON.stringify({ keys }));
      else answer.writeHead(500).end();
    });
    await new Promise((resolve) => publisher.listen(0, '127.0.0.1', resolve));
    t.after(() => publisher.close());
    const server = await Server.start({ config: `[auth]\njwks = "http://127.0.0.1:${publisher.address().port}/keys"\njwks_refresh_ms = 10000\n` });
    t.after(() => server.close());
    const ready = async () => {
      const answer = await get(`${server.http}/readyz`);
      return [answer.status, await answer.json()];
    };
    assert.deepEqual(await ready(), [503, { status: 'unready', dependencies: { store: 'ok', keys: 'missing' } }]);
    keys = [keyPair('ES256', 'one').jwk];
    await until(async () => (await ready())[0] === 200, 'the keys to be read', 30_000);
    assert.deepEqual((await ready())[1], { status: 'ready', dependencies: { store: 'ok', keys: 'ok' } });
  });
});

test('nodes count what they tell one another', async (t) => {
  const nodes = await Nodes.start({ count: 2, bus: 'redis', store: 'postgres', config: '[metrics]\ntoken = "a-token-for-scrapers"\n' });
  t.after(() => nodes.close());
  const [one, other] = nodes.servers;
  const headers = { authorization: 'Bearer a-token-for-scrapers' };
  const name = room();
  const reader = await Socket.open(other);
  await reader.join(name);
  for (let n = 0; n < 5; n += 1) await one.publish(name, { payload: n });
  await reader.events(name, 5);
  const [told, heard] = [await Metrics.of(one, { headers }), await Metrics.of(other, { headers })];
  assert.ok(told.value('denrei_bus_published_total') >= 5 && heard.value('denrei_bus_received_total') >= 5);
  assert.deepEqual(['denrei_bus_connected', 'denrei_bus_nodes'].map((metric) => heard.value(metric)), [1, 1]);
  assert.equal(heard.value('denrei_deliveries_total'), 5);
  assert.equal(heard.value('denrei_store_info', { kind: 'postgres' }), 1);
  assert.deepEqual((await (await get(`${one.http}/readyz`)).json()).dependencies, { bus: 'ok', store: 'ok' });
  await told.parsed();
  await reader.close();
});
