// The nodes that are measured, started as the tests start them, and what they cost.

import { readFileSync } from 'node:fs';
import { Nats } from '../../tests/lib/nats.mjs';
import { Nodes } from '../../tests/lib/nodes.mjs';
import { Redis } from '../../tests/lib/redis.mjs';

export const BUSES = ['none', 'redis', 'nats'];
const BROKERS = {
  none: async () => undefined,
  redis: () => Redis.start(),
  'redis, fsync': () => Redis.start({ durable: true }),
  nats: () => Nats.start(),
};

export class Setting {
  /** `count` nodes with a PostgreSQL database, over a bus; without one it is one node. Redis keeps nothing on disk unless its name says so. */
  static async start(bus, count = 2) {
    const broker = await BROKERS[bus]();
    try {
      const nodes = await Nodes.start({ count: broker ? count : 1, bus: broker, store: 'postgres' });
      return new Setting(bus, broker, nodes);
    } catch (error) {
      await broker?.close();
      throw error;
    }
  }

  constructor(bus, broker, nodes) {
    Object.assign(this, { bus, broker, nodes });
  }

  /** The port of the first node, and of the last, which is the other one or the same. */
  get near() {
    return this.nodes.ports[0];
  }

  get far() {
    return this.nodes.ports.at(-1);
  }

  /** Seconds of CPU so far. */
  cpu() {
    const { servers, store } = this.nodes;
    return {
      near: spent(servers[0].process.pid),
      far: servers.length > 1 ? spent(servers.at(-1).process.pid) : 0,
      broker: this.broker ? spent(this.broker.process.pid) : 0,
      database: spent(store.process.pid),
    };
  }

  async close() {
    await this.nodes.close();
    await this.broker?.close();
  }
}

/** Seconds of user and system time of a process, its ended children, and their living ones. */
function spent(pid) {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1].split(' ');
    const ticks = [11, 12, 13, 14].reduce((sum, at) => sum + Number(fields[at]), 0);
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').trim().split(' ').filter(Boolean);
    return children.reduce((sum, child) => sum + spent(child), ticks / 100);
  } catch {
    return 0;
  }
}

/** Values of which the first is another one in each round, so that none always follows the same one. */
export function turned(values, round) {
  const first = round % values.length;
  return [...values.slice(first), ...values.slice(0, first)];
}
