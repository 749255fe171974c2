// An nginx with the shipped configuration, `deploy/nginx`, in front of several nodes. What an operator edits there is
// edited here: which nodes there are, and where it listens.

import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { certify } from './certificate.mjs';
import { Nginx } from './nginx.mjs';
import { freePorts } from './port.mjs';

const SHIPPED = new URL('../../deploy/nginx/', import.meta.url).pathname;

export class Balance {
  /**
   * In front of the servers at `ports`; `variant` is a file of `deploy/nginx`. With `tls` it listens with a certificate
   * of its own, `certificate`, and answers elsewhere, `plain`, by sending on to there.
   */
  static async start(ports, { variant = 'any.conf', tls = false } = {}) {
    const [port, plain] = await freePorts(2);
    let certificate;
    const prepare = async (folder) => {
      const shipped = join(folder, 'denrei');
      await cp(SHIPPED, shipped, { recursive: true });
      await edit(join(shipped, 'servers.inc'), (text) => servers(text, ports));
      await edit(join(shipped, 'listen.inc'), (text) => listen(tls ? encrypted(text) : text, port));
      await edit(join(shipped, 'redirect.conf'), (text) => listen(text, plain));
      if (tls) certificate = (await certify(join(shipped, 'tls'))).ca;
    };
    const http = [variant, ...(tls ? ['redirect.conf'] : [])].map((file) => `  include denrei/${file};`).join('\n');
    const nginx = await Nginx.start({ port, http, prepare });
    if (tls) Object.assign(nginx, { certificate, plain, http: `https://${nginx.address}`, ws: `wss://${nginx.address}` });
    return nginx;
  }
}

async function edit(file, change) {
  await writeFile(file, change(await readFile(file, 'utf8')));
}

/** The list of servers, each as the first one there is written. */
function servers(text, ports) {
  const lines = text.split('\n');
  const first = lines.find((line) => line.startsWith('server '));
  const comments = lines.filter((line) => !line.startsWith('server '));
  return [...comments, ...ports.map((port) => first.replace(/node-1:8080/, `127.0.0.1:${port}`))].join('\n');
}

/** On one loopback port, and its log in the test's folder. */
function listen(text, port) {
  return text
    .replaceAll(/^ *listen \[::\].*\n/gm, '')
    .replace(/^( *)listen (80|443)\b/m, `$1listen 127.0.0.1:${port}`)
    .replace('/var/log/nginx/', '');
}

/** With the lines for certificates in place of the others. */
function encrypted(text) {
  return text.replaceAll(/^listen .*\n/gm, '').replaceAll(/^#(listen|include)/gm, '$1');
}
