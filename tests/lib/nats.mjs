// A NATS server of a test's own, with JetStream.

import { once } from 'node:events';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { join } from 'node:path';
import { Broker } from './broker.mjs';
import { program } from './program.mjs';
import { within } from './server.mjs';

export class Nats extends Broker {
  /** Streams that say so are kept in its folder, also when it is killed: what it has answered is in the kernel's hands. */
  static async start() {
    return new Nats('nats').begin();
  }

  /** What denrei is told; through a link, its port. */
  url(port = this.port) {
    return `nats://127.0.0.1:${port}`;
  }

  /** Asks as another program would: a request in JSON, and its one answer. */
  async ask(subject, request = '') {
    const body = request === '' ? '' : JSON.stringify(request);
    const socket = connect(this.port, '127.0.0.1');
    try {
      const lines = createInterface({ input: socket });
      const answered = new Promise((resolve, reject) => {
        lines.on('error', reject);
        let isNext = false;
        lines.on('line', (line) => {
          if (isNext) resolve(line);
          isNext = line.startsWith('MSG ');
          if (line.startsWith('-ERR') || line.startsWith('HMSG')) reject(new Error(`${subject}: ${line}`));
        });
        lines.on('close', () => reject(new Error(`${subject}: NATS has closed the connection`)));
      });
      answered.catch(() => {});
      await within(5000, Promise.race([once(socket, 'connect'), answered]), 'a connection to NATS');
      socket.write('CONNECT {"verbose":false}\r\nSUB answer 1\r\n');
      socket.write(`PUB ${subject} answer ${Buffer.byteLength(body)}\r\n${body}\r\n`);
      return JSON.parse(await within(5000, answered, `an answer of NATS to ${subject}`));
    } finally {
      socket.destroy();
    }
  }

  /** What is in memory, as rooms of memory are, goes with it. */
  get isLasting() {
    return false;
  }

  command() {
    return [program('nats-server'), '--addr', '127.0.0.1', '--port', String(this.port), '--jetstream', '--store_dir', join(this.folder, 'data')];
  }

  async answers() {
    return this.ask('$JS.API.INFO').then(({ error }) => error === undefined, () => false);
  }
}
