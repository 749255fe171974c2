// Ports of this machine that nobody listens on.

import { once } from 'node:events';
import { connect, createServer } from 'node:net';

/**
 * Different ones, all held until the last is found. The kernel gives odd numbers to who listens and even ones to who
 * connects, so that a server that was killed finds its port free.
 */
export async function freePorts(count) {
  const probes = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(probes.map((probe) => once(probe, 'listening')));
  const ports = probes.map((probe) => probe.address().port);
  await Promise.all(probes.map((probe) => once(probe.close(), 'close')));
  return ports;
}

export async function freePort() {
  return (await freePorts(1))[0];
}

/** Whether somebody accepts connections there. */
export async function listens(port) {
  const probe = connect(port, '127.0.0.1');
  const accepted = await new Promise((resolve) => {
    probe.on('connect', () => resolve(true));
    probe.on('error', () => resolve(false));
  });
  probe.destroy();
  return accepted;
}
