// An nginx of a test's own: free loopback ports, a temporary folder, ended by its process id.

import { execFile, spawn } from 'node:child_process';
import { chown, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Endpoint } from './endpoint.mjs';
import { listens } from './port.mjs';
import { program } from './program.mjs';
import { until, within } from './server.mjs';

const PROGRAM = program('nginx');

export class Nginx extends Endpoint {
  /**
   * Starts it. `http` is what stands in that part of its configuration, `port` where it is told there to listen.
   * `prepare` puts what that needs into the folder.
   */
  static async start({ port, http, prepare = async () => {} }) {
    const nginx = new Nginx();
    nginx.folder = await mkdtemp(join(tmpdir(), 'denrei-nginx-'));
    nginx.at(`127.0.0.1:${port}`);
    try {
      // Its workers give root up, and write what they buffer.
      if (process.getuid() === 0) await chown(nginx.folder, ...(await nobody()));
      await prepare(nginx.folder);
      await writeFile(join(nginx.folder, 'nginx.conf'), outer(http));
      await nginx.#run();
    } catch (error) {
      await nginx.close();
      throw error;
    }
    return nginx;
  }

  constructor() {
    super();
    /** What it says of a node that it does not reach, or that breaks off or is silent. */
    this.excuses = [502, 503, 504];
    /** Its error log. */
    this.log = '';
  }

  async #run() {
    this.process = spawn(PROGRAM, [...this.#where(), '-g', 'daemon off;'], { stdio: ['ignore', 'ignore', 'pipe'] });
    this.process.stderr.on('data', (text) => { this.log += text; });
    this.exited = once(this.process, 'exit');
    await until(async () => {
      if (this.process.exitCode !== null) throw new Error(`nginx ended:\n${this.log}`);
      return listens(this.port);
    }, 'nginx to listen');
  }

  /** What `nginx -t` says of the configuration. */
  async judge() {
    return (await promisify(execFile)(PROGRAM, [...this.#where(), '-t'])).stderr;
  }

  /** A file of its folder. */
  read(name) {
    return readFile(join(this.folder, name), 'utf8');
  }

  async close() {
    if (this.process && this.process.exitCode === null && this.process.signalCode === null) {
      this.process.kill('SIGTERM');
      await within(10_000, this.exited, 'nginx to stop');
    }
    await rm(this.folder, { recursive: true, force: true });
  }

  #where() {
    return ['-p', this.folder, '-c', 'nginx.conf', '-e', 'stderr'];
  }
}

function outer(http) {
  return `
pid nginx.pid;
worker_processes 1;
events { worker_connections 2048; }
http {
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
${http}
}
`;
}

async function nobody() {
  const id = async (what) => Number((await promisify(execFile)('id', [what, 'nobody'])).stdout);
  return [await id('-u'), await id('-g')];
}
