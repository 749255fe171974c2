// What the brokers of tests have in common: a process on a loopback port, with a folder of its own, that is ended by its
// process id and starts again with what it has kept.

import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from './port.mjs';
import { until, within } from './server.mjs';

export class Broker {
  constructor(name, port) {
    this.name = name;
    this.port = port;
  }

  /** Makes its folder, and starts it. */
  async begin() {
    this.folder = await mkdtemp(join(tmpdir(), `denrei-${this.name}-`));
    this.port ??= await freePort();
    try {
      await this.run();
    } catch (error) {
      await this.close();
      throw error;
    }
    return this;
  }

  /** Starts it, again perhaps, and waits until it answers. */
  async run() {
    const [program, ...args] = this.command();
    /** What it said since it was started. */
    this.log = '';
    this.process = spawn(program, args, { cwd: this.folder, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.process.stdout, this.process.stderr]) stream.on('data', (text) => { this.log += text; });
    // A program that is not there is told of here.
    this.exited = once(this.process, 'exit').catch((error) => { this.log += error.message; });
    let ended = false;
    this.exited.then(() => { ended = true; });
    await until(async () => {
      if (ended) throw new Error(`${program} does not start (tests/prepare sees to it that it is there):\n${this.log}`);
      return this.answers();
    }, `${program} to start`, 30_000);
  }

  get isRunning() {
    return this.process?.pid !== undefined && this.process.exitCode === null && this.process.signalCode === null;
  }

  /** Ends it without warning. */
  async crash() {
    this.process.kill('SIGKILL');
    await this.exited;
  }

  /** Ends it as an operator would. */
  async stop() {
    this.process.kill('SIGTERM');
    await within(20_000, this.exited, `${this.name} to stop`);
  }

  /** Ends it in any way, and removes what it left. */
  async close() {
    if (this.isRunning) await this.crash();
    await rm(this.folder, { recursive: true, force: true });
  }
}
