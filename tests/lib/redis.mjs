// Redis servers of a test's own, alone or as a cluster.

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { Broker } from './broker.mjs';
import { freePorts } from './port.mjs';
import { until } from './server.mjs';

const run = promisify(execFile);

export class Redis extends Broker {
  /** One that forgets when it ends or, `durable`, has each write on disk before it answers. */
  static async start({ durable = false } = {}) {
    return new Redis({ durable }).begin();
  }

  constructor({ durable = false, port, clusterPort }) {
    super('redis', port);
    this.durable = durable;
    this.clusterPort = clusterPort;
  }

  /** What denrei is told; through a link, its port. */
  url(port = this.port) {
    return `redis://127.0.0.1:${port}`;
  }

  /** Asks as another program would, and resolves to what is printed. */
  async ask(...words) {
    return (await run('redis-cli', ['-h', '127.0.0.1', '-p', String(this.port), ...words])).stdout.trim();
  }

  /** Whether it knows, after it was killed, what it has acknowledged. */
  get isLasting() {
    return this.durable;
  }

  command() {
    const settings = {
      bind: '127.0.0.1',
      port: this.port,
      dir: this.folder,
      save: '',
      appendonly: this.durable ? 'yes' : 'no',
      appendfsync: 'always',
      ...(this.clusterPort ? { 'cluster-enabled': 'yes', 'cluster-port': this.clusterPort, 'cluster-node-timeout': 2000 } : {}),
    };
    return ['redis-server', ...Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)])];
  }

  async answers() {
    // It says LOADING for a while when it has kept much.
    return this.ask('PING').then((answer) => answer === 'PONG', () => false);
  }
}

/** Three masters without replicas, which share the slots. */
export class RedisCluster {
  static async start({ durable = false } = {}) {
    const ports = await freePorts(6);
    const cluster = new RedisCluster();
    cluster.nodes = [0, 1, 2].map((at) => new Redis({ durable, port: ports[at], clusterPort: ports[at + 3] }));
    try {
      await Promise.all(cluster.nodes.map((node) => node.begin()));
      // `redis-cli --cluster create` takes the usual distance of the two ports for granted, and waits a second at a time.
      const [first, ...others] = cluster.nodes;
      await Promise.all(cluster.nodes.map((node, at) => node.ask('CLUSTER', 'ADDSLOTSRANGE', ...slots(at, cluster.nodes.length))));
      await Promise.all(cluster.nodes.map((node, at) => node.ask('CLUSTER', 'SET-CONFIG-EPOCH', String(at + 1))));
      for (const other of others) await first.ask('CLUSTER', 'MEET', '127.0.0.1', String(other.port), String(other.clusterPort));
      await cluster.agrees();
    } catch (error) {
      await cluster.close();
      throw error;
    }
    return cluster;
  }

  /** Waits until each of them knows all, and all slots are served. */
  async agrees() {
    const agrees = async (node) => {
      const info = await node.ask('CLUSTER', 'INFO').catch(() => '');
      return info.includes('cluster_state:ok') && info.includes(`cluster_known_nodes:${this.nodes.length}`);
    };
    await until(async () => (await Promise.all(this.nodes.map(agrees))).every(Boolean), 'the Redis Cluster to agree', 20_000);
  }

  /** What denrei is told. */
  url() {
    return this.nodes.map((node) => node.url()).join(',');
  }

  async close() {
    await Promise.all(this.nodes.map((node) => node.close()));
  }
}

function slots(at, count) {
  const begin = (part) => Math.floor((16_384 * part) / count);
  return [String(begin(at)), String(begin(at + 1) - 1)];
}
