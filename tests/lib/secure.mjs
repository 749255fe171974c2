// A server in the clear and with TLS; `secure` is where it speaks that.

import { once } from 'node:events';
import tls from 'node:tls';
import { Endpoint } from './endpoint.mjs';
import { Peer } from './peer.mjs';
import { Server } from './server.mjs';

export async function startSecure({ config = '', certificate, port = 0, ...more }) {
  const server = await Server.start({
    config: `${config}\n[tls]\nlisten = "127.0.0.1:${port}"\ncertificate = "${certificate.certificate}"\nkey = "${certificate.key}"\n`,
    ...more,
  });
  const [, address] = /listening for TLS address=(\S+)/.exec(server.log.replace(/\x1b\[[0-9;]*m/g, ''));
  server.secure = Object.assign(new Endpoint(), { ca: certificate.ca });
  server.secure.at(address, true);
  return server;
}

/** A TLS connection to such a server, for any bytes. */
export async function connectSecure({ secure }, { protocol = 'http/1.1', ...more } = {}) {
  const socket = tls.connect({ host: '127.0.0.1', port: secure.port, ca: secure.ca, ALPNProtocols: [protocol], ...more });
  socket.setNoDelay(true);
  await once(socket, 'secureConnect');
  return new Peer(socket);
}
