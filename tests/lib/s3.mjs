// An S3 server of a test's own, which verifies signatures: a free loopback port, a temporary folder, ended by its process id.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { BINARY, within } from './server.mjs';

const BUCKET = 'uploads';

export class S3 {
  static async start() {
    const s3 = new S3();
    s3.folder = await mkdtemp(join(tmpdir(), 'denrei-s3-'));
    s3.process = spawn(join(dirname(BINARY), 'examples', 's3'), [s3.folder, BUCKET], { env: {}, stdio: ['ignore', 'pipe', 'inherit'] });
    s3.exited = once(s3.process, 'exit');
    const failed = s3.exited.then(([code, signal]) => {
      throw new Error(`the S3 server ended before it listened (${code ?? signal})`);
    });
    const printed = once(createInterface({ input: s3.process.stdout }), 'line');
    [s3.http] = await within(20_000, Promise.race([printed, failed]), 'the S3 server to listen');
    failed.catch(() => {});
    return s3;
  }

  /** Settings of a server that keeps its files here. */
  config(more = '') {
    return `[files]\nstore = "s3://${BUCKET}/some/prefix"\nendpoint = "${this.http}"\n${more}\n`;
  }

  env(secret = 'denrei-secret') {
    return { DENREI_S3_ACCESS_KEY_ID: 'denrei', DENREI_S3_SECRET_ACCESS_KEY: secret };
  }

  /** The names of the objects. */
  async objects() {
    return (await readdir(join(this.folder, BUCKET, 'some/prefix')).catch(() => [])).filter((name) => !name.startsWith('.'));
  }

  async kill() {
    this.process.kill('SIGKILL');
    await this.exited;
  }

  async close() {
    if (this.process.exitCode === null && this.process.signalCode === null) await this.kill();
    await rm(this.folder, { recursive: true, force: true });
  }
}
