// Several denrei processes that are one cluster: a broker and a database that they share, and perhaps a line to the broker
// for each, which can be cut.

import { randomBytes } from 'node:crypto';
import { Link } from './link.mjs';
import { Nats } from './nats.mjs';
import { freePorts } from './port.mjs';
import { Postgres } from './postgres.mjs';
import { Redis } from './redis.mjs';
import { Server } from './server.mjs';

const BUSES = {
  // What it has acknowledged survives it, or nothing could be asked of memory rooms when it is killed.
  redis: () => Redis.start({ durable: true }),
  nats: () => Nats.start(),
};

export class Nodes {
  /**
   * Starts `count` nodes. `bus` is `redis`, `nats` or a broker that is there already (and stays), `store` likewise
   * `postgres` or a database; without them the nodes have none in common. denrei takes no bus without such a store.
   * `config` is added to the settings of each, `env` to its environment. With `link` each reaches the broker through a
   * line of its own.
   */
  static async start({ count = 3, bus, store, link = false, config = '', env = {} } = {}) {
    const nodes = new Nodes();
    try {
      nodes.bus = typeof bus === 'string' ? nodes.#own(await BUSES[bus]()) : bus;
      nodes.store = store === 'postgres' ? nodes.#own(await Postgres.start()) : store;
      if (link) {
        for (let at = 0; at < count; at += 1) nodes.links.push(nodes.#own(await Link.start(nodes.bus.port)));
      }
      const ports = await freePorts(count);
      const secret = randomBytes(32).toString('hex');
      const starting = ports.map((port, at) => Server.start({
        listen: `127.0.0.1:${port}`,
        config: /^\[auth\]/m.test(config) ? config : `${config}\n[auth]\nanonymous = true\n`,
        env: {
          DENREI_SECRET: secret,
          DENREI_NODE_ID: `node-${at + 1}`,
          DENREI_ADVERTISE: `http://127.0.0.1:${port}`,
          ...(nodes.bus ? { DENREI_BUS: nodes.bus.url(nodes.links[at]?.port) } : {}),
          ...(nodes.store ? { DENREI_STORE: nodes.store.url() } : {}),
          ...env,
        },
      }));
      for (const started of await Promise.allSettled(starting)) {
        if (started.status === 'fulfilled') nodes.servers.push(nodes.#own(started.value));
        else nodes.failure ??= started.reason;
      }
      if (nodes.failure) throw nodes.failure;
    } catch (error) {
      await nodes.close();
      throw error;
    }
    return nodes;
  }

  constructor() {
    /** The nodes, each a `Server`: `kill`, `stop` and `again` are for one of them. */
    this.servers = [];
    /** The line of each to the broker. */
    this.links = [];
    this.owned = [];
  }

  get ports() {
    return this.servers.map(({ port }) => port);
  }

  /** Ends what was started here, the latest first. */
  async close() {
    for (const part of this.owned.splice(0).reverse()) await part.close();
  }

  #own(part) {
    this.owned.push(part);
    return part;
  }
}
