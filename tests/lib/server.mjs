// A denrei process of a test's own: a free loopback port, a temporary folder, ended by its process id.

import { execFile, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { Endpoint } from './endpoint.mjs';

export { get } from './endpoint.mjs';

/** The program; the library's examples stand beside it. */
export const BINARY = process.env.DENREI_BIN ?? new URL('../../target/debug/denrei', import.meta.url).pathname;
const PATIENCE = 20_000;

export class Server extends Endpoint {
  /**
   * Starts a server. `config` is the text of a denrei.toml; rates are off unless it sets them. `env` goes on top of a clean environment, `under` is a
   * command that runs it, such as `prlimit`.
   */
  static async start({ config = '', env = {}, folder, listen = '127.0.0.1:0', args = [], under = [] } = {}) {
    const own = folder === undefined;
    folder ??= await mkdtemp(join(tmpdir(), 'denrei-test-'));
    const file = join(folder, 'denrei.toml');
    await writeFile(file, /^\[rates/m.test(config) ? config : `${config}\n[rates]\nenabled = false\n`);
    const server = new Server(folder, own, { config: file, env, args, under });
    await server.#run(listen);
    return server;
  }

  constructor(folder, own, how) {
    super();
    this.folder = folder;
    this.own = own;
    this.how = how;
    /** Everything it logged. */
    this.log = '';
    /** Everything it printed. */
    this.printed = '';
  }

  async #run(listen) {
    const { config, env, args, under } = this.how;
    const [command, ...words] = [...under, BINARY];
    this.process = spawn(
      command,
      [...words, 'serve', '--listen', listen, '--data', join(this.folder, 'data'), '--config', config, ...args],
      { env: { PATH: process.env.PATH, NO_COLOR: '1', DENREI_LOG_FORMAT: 'human', ...env }, stdio: ['ignore', 'pipe', 'pipe'] },
    );
    this.exited = once(this.process, 'exit').then(([code, signal]) => ({ code, signal }));
    this.process.stdout.on('data', (text) => { this.printed += text; });
    const address = new Promise((resolve) => {
      createInterface({ input: this.process.stderr }).on('line', (line) => {
        this.log += line + '\n';
        const found = /listening address=(\S+:\d+)/.exec(line) ?? /"msg":"listening","address":"([^"]+)"/.exec(line);
        if (found) resolve(found[1]);
      });
    });
    const failed = this.exited.then(({ code, signal }) => {
      throw new Error(`denrei ended before it listened (${code ?? signal}):\n${this.log}`);
    });
    this.at(await within(PATIENCE, Promise.race([address, failed]), 'denrei to listen'));
  }

  /** Kills it without warning, and starts it again. */
  async crash() {
    await this.kill();
    await this.again();
  }

  /** Starts it again, on the same port and folder. */
  async again() {
    await this.#run(this.address);
  }

  async kill() {
    this.process.kill('SIGKILL');
    await this.exited;
  }

  /** Ends it as an operator would; resolves to how it ended. */
  async stop() {
    this.process.kill('SIGTERM');
    return within(PATIENCE, this.exited, 'denrei to stop');
  }

  /** Ends it in any way, and removes what it left. */
  async close() {
    if (this.process.exitCode === null && this.process.signalCode === null) await this.kill();
    if (this.own) await rm(this.folder, { recursive: true, force: true });
  }

  /** A token as the command line makes it. */
  async token(user, ...more) {
    const folder = join(this.folder, 'data');
    const args = ['token', '--user', user, '--data', folder, '--config', this.how.config, ...more];
    const { stdout } = await promisify(execFile)(BINARY, args, { env: { PATH: process.env.PATH, ...this.how.env } });
    return stdout.trim();
  }
}

/** A promise that fails when it takes too long, and says what was awaited. */
export async function within(ms, promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${ms} ms for ${what}`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Waits until something holds. */
export async function until(holds, what, ms = 10_000) {
  const end = Date.now() + ms;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`waited ${ms} ms for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

let rooms = 0;

/** A room that no other test uses. */
export function room(kind = 'live') {
  rooms += 1;
  return `${kind}:test-${process.pid}-${rooms}`;
}
