// Node's own Socket.IO server, with the adapters for Redis that the example `mixed` speaks.

import { createAdapter, createShardedAdapter } from '@socket.io/redis-adapter';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { createClient } from 'redis';
import { Server } from 'socket.io';
import { until } from './server.mjs';

export class NodeServer {
  static async start(redis, options = {}) {
    const server = new NodeServer();
    // Two for each adapter, as each wants its own.
    const clients = await Promise.all(Array.from({ length: 6 }, () => client(redis)));
    const adapters = {
      '/': createAdapter(clients[0], clients[1], { requestsTimeout: 2000, ...options }),
      '/dynamic': createShardedAdapter(clients[2], clients[3], { subscriptionMode: 'dynamic' }),
      '/static': createShardedAdapter(clients[4], clients[5], { subscriptionMode: 'static' }),
    };
    server.redis = clients;
    server.web = createServer();
    server.io = new Server(server.web, { adapter: function adapter(namespace) { return adapters[namespace.name](namespace); } });
    /** What other servers told. */
    server.notes = [];
    for (const path of Object.keys(adapters)) {
      const namespace = server.io.of(path);
      namespace.on('note', (...args) => server.notes.push([path, ...args]));
      namespace.on('sum', (numbers, answer) => answer(numbers.reduce((sum, number) => sum + number, 0)));
      namespace.on('connection', (socket) => {
        socket.on('join', (rooms, ack) => { socket.join(rooms); ack(); });
        socket.on('set', (name, value, ack) => { socket.data[name] = value; ack(); });
      });
    }
    server.web.listen(0, '127.0.0.1');
    await once(server.web, 'listening');
    server.http = `http://127.0.0.1:${server.web.address().port}`;
    return server;
  }

  /** Waits until each adapter knows of so many servers. */
  async meets(count) {
    for (const path of ['/', '/dynamic', '/static']) {
      const { adapter } = this.io.of(path);
      await until(async () => await adapter.serverCount() === count, `${count} servers in ${path}`);
    }
  }

  async close() {
    await this.io.close();
    // Behind what its adapters still had to say.
    for (const client of this.redis) await client.quit();
  }
}

/** A client of Redis, as programs of Node have it. */
export async function client(redis) {
  const made = createClient({ url: redis.url() });
  // It comes back by itself.
  made.on('error', () => {});
  await made.connect();
  return made;
}
