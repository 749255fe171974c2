// Brokers that are spoken to over TLS: certificates of an authority that the machine trusts are taken, others are not.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { certify } from './lib/certificate.mjs';
import { Nats } from './lib/nats.mjs';
import { Nodes } from './lib/nodes.mjs';
import { freePorts } from './lib/port.mjs';
import { Postgres } from './lib/postgres.mjs';
import { Redis } from './lib/redis.mjs';
import { get, room as named, until } from './lib/server.mjs';
import { Socket } from './lib/socket.mjs';

let folder;
let certificate;
let key;
let store;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'denrei-tls-'));
  ({ certificate, key } = await certify(folder));
  store = await Postgres.start();
});

after(async () => {
  await store?.close();
  await rm(folder, { recursive: true, force: true });
});

/** It listens without TLS too, for the test. */
class SecureRedis extends Redis {
  url() {
    return `rediss://127.0.0.1:${this.securePort}`;
  }

  command() {
    const settings = { 'tls-port': this.securePort, 'tls-cert-file': certificate, 'tls-key-file': key, 'tls-auth-clients': 'no' };
    return [...super.command(), ...Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)])];
  }
}

class SecureNats extends Nats {
  url() {
    return `tls://127.0.0.1:${this.port}`;
  }

  command() {
    return [...super.command(), '--tls', '--tlscert', certificate, '--tlskey', key];
  }

  /** It says who it is before anything is encrypted. */
  async answers() {
    const socket = connect(this.port, '127.0.0.1');
    try {
      await once(socket, 'data');
      return true;
    } catch {
      return false;
    } finally {
      socket.destroy();
    }
  }
}

const BROKERS = {
  redis: async () => {
    const broker = new SecureRedis({});
    [broker.securePort] = await freePorts(1);
    return broker.begin();
  },
  nats: () => new SecureNats('nats').begin(),
};

for (const [kind, start] of Object.entries(BROKERS)) {
  test(`nodes meet over ${kind} with TLS, if its certificate is trusted`, async (t) => {
    const bus = await start();
    t.after(() => bus.close());
    const nodes = await Nodes.start({ count: 2, bus, store, env: { SSL_CERT_FILE: certificate } });
    t.after(() => nodes.close());
    const [one, two] = await Promise.all(nodes.servers.map((server) => Socket.open(server)));
    t.after(() => [one, two].forEach((socket) => socket.close()));
    const room = named('live');
    await two.ask({ type: 'join', room });
    await one.ask({ type: 'broadcast', room, payload: 'hello' });
    assert.equal((await two.next((frame) => frame.type === 'broadcast')).payload, 'hello');

    // A node that does not trust it is alone, and says so.
    const stranger = await Nodes.start({ count: 1, bus, store });
    t.after(() => stranger.close());
    const readiness = async () => (await (await get(`${stranger.servers[0].http}/readyz`)).json()).status;
    await until(async () => (await readiness()) === 'degraded', 'the bus to be out of reach');
    const refused = await Socket.open(stranger.servers[0]);
    t.after(() => refused.close());
    assert.equal((await refused.ask({ type: 'broadcast', room, payload: 'nobody hears it' })).type, 'error');
  });
}
