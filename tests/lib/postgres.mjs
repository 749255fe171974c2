// A PostgreSQL server of a test's own: a free loopback port, a temporary folder, ended by its process id.

import { execFile, spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { freePort } from './port.mjs';
import { until } from './server.mjs';

const run = promisify(execFile);
const PASSWORD = 'p@ss word';

export class Postgres {
  static async start() {
    const postgres = new Postgres();
    postgres.folder = await mkdtemp(join(tmpdir(), 'denrei-pg-'));
    postgres.data = join(postgres.folder, 'data');
    postgres.port = await freePort();
    await writeFile(join(postgres.folder, 'password'), PASSWORD);
    // It refuses to run as root.
    if (process.getuid() === 0) await run('chown', ['-R', 'nobody:nogroup', postgres.folder]);
    const [command, ...words] = postgres.#program('initdb');
    await run(command, [
      ...words, '-D', postgres.data, '--no-sync', '--locale=C', '--encoding=UTF8', '--auth=scram-sha-256',
      '--username=denrei', `--pwfile=${join(postgres.folder, 'password')}`,
    ], { cwd: postgres.folder });
    await postgres.run();
    return postgres;
  }

  /** Starts it, again perhaps, and waits until it lets clients in. */
  async run() {
    const settings = ['listen_addresses=127.0.0.1', `port=${this.port}`, `unix_socket_directories=${this.folder}`];
    const [command, ...words] = this.#program('postgres');
    const args = [...words, '-D', this.data, ...settings.flatMap((setting) => ['-c', setting])];
    this.log = '';
    this.process = spawn(command, args, { cwd: this.folder, stdio: ['ignore', 'ignore', 'pipe'] });
    this.process.stderr.on('data', (text) => { this.log += text; });
    this.exited = once(this.process, 'exit');
    await until(async () => {
      if (this.process.exitCode !== null) throw new Error(`PostgreSQL does not start:\n${this.log}`);
      return this.ask('SELECT 1').then(() => true, () => false);
    }, 'PostgreSQL to start', 60_000);
  }

  /** What denrei is told; another password may be said. */
  url(password = PASSWORD) {
    return `postgres://denrei:${encodeURIComponent(password)}@127.0.0.1:${this.port}/postgres`;
  }

  /** Asks as another program would. */
  async ask(sql) {
    const args = ['--no-psqlrc', '--tuples-only', '--no-align', '--command', sql];
    const env = { PATH: process.env.PATH, PGPASSWORD: PASSWORD };
    const where = [`--host=127.0.0.1`, `--port=${this.port}`, '--username=denrei', '--dbname=postgres'];
    return (await run(join(binaries(), 'psql'), [...where, ...args], { env })).stdout.trim();
  }

  /** Ends it as a crash would: no session is told more than that it is over. */
  async crash() {
    this.process.kill('SIGQUIT');
    await this.exited;
  }

  /** Ends it in any way, and removes what it left. */
  async close() {
    if (this.process && this.process.exitCode === null && this.process.signalCode === null) await this.crash();
    await rm(this.folder, { recursive: true, force: true });
  }

  #program(name) {
    const path = join(binaries(), name);
    return process.getuid() === 0 ? ['setpriv', '--reuid=nobody', '--regid=nogroup', '--clear-groups', '--', path] : [path];
  }
}

/** Where the newest version is installed that there is. */
function binaries() {
  const debian = '/usr/lib/postgresql';
  const versions = existsSync(debian) ? readdirSync(debian) : [];
  const there = versions.filter((version) => existsSync(join(debian, version, 'bin/initdb')));
  const newest = there.sort((one, other) => Number(one) - Number(other)).at(-1);
  if (newest) return join(debian, newest, 'bin');
  const elsewhere = process.env.PATH.split(':').find((folder) => existsSync(join(folder, 'initdb')));
  if (!elsewhere) throw new Error('PostgreSQL is not installed: tests/prepare sees to it');
  return elsewhere;
}
