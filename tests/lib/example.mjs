// A process of one of the library's examples: a free loopback port, ended by its process id.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { BINARY, within } from './server.mjs';

export class Example {
  /** Starts one; the first line that it prints is its address. */
  static async start(name, ...args) {
    const example = new Example();
    example.process = spawn(join(dirname(BINARY), 'examples', name), args, {
      env: { PATH: process.env.PATH },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    example.exited = once(example.process, 'exit');
    /** What it said of itself, such as why it panicked. */
    example.log = '';
    example.process.stderr.on('data', (text) => { example.log += text; });
    const printed = once(createInterface({ input: example.process.stdout }), 'line');
    const failed = example.exited.then(([code, signal]) => {
      throw new Error(`${name} ended before it listened (${code ?? signal}):\n${example.log}`);
    });
    [example.http] = await within(20_000, Promise.race([printed, failed]), `${name} to listen`);
    failed.catch(() => {});
    example.ws = example.http.replace('http', 'ws');
    return example;
  }

  async close() {
    if (this.process.exitCode === null && this.process.signalCode === null) this.process.kill('SIGKILL');
    await this.exited;
  }
}
