// A test of an attack. Whatever it does, afterwards the server serves others, has let go of the attacker's connections
// and rooms, has not grown, and has not panicked.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { certify } from './certificate.mjs';
import { Peer, httpRequest } from './peer.mjs';
import { connectSecure, startSecure } from './secure.mjs';
import { Server, room, until, within } from './server.mjs';
import { Socket } from './socket.mjs';

const MIB = 1 << 20;

let shared;
let secured;
after(async () => {
  await shared?.close();
  await secured?.server.close();
  if (secured) await rm(secured.folder, { recursive: true, force: true });
});

/** One with TLS, which the tests of the file share. */
async function secure() {
  if (!secured) {
    const folder = await mkdtemp(join(tmpdir(), 'denrei-secure-'));
    secured = { folder, server: await startSecure({ certificate: await certify(folder) }) };
  }
  return secured.server;
}

/**
 * Runs `how` as a test against a server that the tests of the file share, or against one of its own if it has a
 * `config` or `under`, or with `tls` against one with that. `growth` is how many MiB the server may take, at its peak and
 * in the end.
 */
export function attack(name, how, { config, under, tls = false, growth = 64, forgetful = true } = {}) {
  test(name, async () => {
    const own = config !== undefined || under !== undefined;
    const server = own ? await Server.start({ config, under }) : tls ? await secure() : (shared ??= await Server.start());
    const peers = [];
    const opened = async (peer) => {
      peers.push(await peer);
      return peers.at(-1);
    };
    try {
      await serves(server);
      const before = await health(server);
      const logged = server.log.length;
      await how({
        server,
        connect: (options) => opened(tls ? connectSecure(server, options) : Peer.connect(server)),
        upgrade: (options) => opened(Peer.upgrade(server, options)),
      });
      for (const peer of peers) peer.destroy();
      if (server.process.exitCode === null) await unharmed(server, before, { growth, forgetful });
      assert.doesNotMatch(server.log.slice(logged), /panick/);
    } finally {
      for (const peer of peers) peer.destroy();
      if (own) await server.close();
    }
  });
}

async function unharmed(server, before, { growth, forgetful }) {
  await serves(server);
  let now;
  const left = ({ connections, rooms }) => connections <= before.connections && (!forgetful || rooms <= before.rooms);
  await until(async () => left(now = await health(server)), 'the server to let go of the attackers').catch((error) => {
    throw new Error(`${error.message}: ${JSON.stringify(before)} became ${JSON.stringify(now)}`);
  });
  for (const measure of ['rss', 'peak']) {
    const grown = (now.memory[measure] - before.memory[measure]) / MIB;
    assert.ok(grown < growth, `${measure} grew by ${grown.toFixed(1)} MiB`);
  }
}

/** Two clients who have nothing to do with anyone meet. They use a room that keeps nothing: memory may be full. */
export async function serves(server) {
  const quiet = room('signal');
  const [one, other] = await Promise.all([Socket.open(server), Socket.open(server)]);
  await one.join(quiet);
  await other.broadcast(quiet, 'hello');
  const [{ payload }] = await one.events(quiet, 1);
  assert.equal(payload, 'hello');
  await Promise.all([one.close(), other.close()]);
}

/** `/health` over a connection of its own, which is the only one of the test's that it counts. */
export async function health(server) {
  const peer = await Peer.connect(server);
  try {
    peer.write(httpRequest('GET', '/health', ['Host: 127.0.0.1', 'Connection: close']));
    const { body } = await peer.answer();
    return JSON.parse(body);
  } finally {
    peer.destroy();
    await within(10_000, peer.ended, 'the connection to end');
  }
}

/** Runs `count` calls, at most `width` at a time. */
export async function many(count, width, call) {
  let next = 0;
  const worker = async () => {
    while (next < count) await call(next++);
  };
  await Promise.all(Array.from({ length: Math.min(width, count) }, worker));
}
