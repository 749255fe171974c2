// A Redis server of a test's own: a free loopback port, nothing on disk, ended by its process id.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createClient } from 'redis';
import { until } from './server.mjs';

export class Redis {
  static async start() {
    const redis = new Redis();
    redis.folder = await mkdtemp(join(tmpdir(), 'denrei-redis-'));
    redis.port = await freePort();
    redis.url = `redis://127.0.0.1:${redis.port}`;
    const settings = ['--bind', '127.0.0.1', '--port', String(redis.port), '--save', '', '--dir', redis.folder];
    redis.process = spawn('redis-server', settings, { stdio: ['ignore', 'pipe', 'pipe'] });
    redis.exited = once(redis.process, 'exit');
    redis.log = '';
    redis.process.stdout.on('data', (text) => { redis.log += text; });
    await until(() => {
      if (redis.process.exitCode !== null) throw new Error(`Redis does not start:\n${redis.log}`);
      return redis.log.includes('Ready to accept connections');
    }, 'Redis to start', 20_000);
    return redis;
  }

  /** A client of it. */
  async client() {
    const client = createClient({ url: this.url });
    client.on('error', () => {});
    await client.connect();
    return client;
  }

  /** Ends it, and removes what it left. */
  async close() {
    if (this.process.exitCode === null && this.process.signalCode === null) this.process.kill('SIGKILL');
    await this.exited;
    await rm(this.folder, { recursive: true, force: true });
  }
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}
