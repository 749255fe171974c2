// Two servers of Socket.IO over one Redis, which is killed for a second: what was acknowledged and never came to the
// other server. Node's with its adapters, and denrei.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { freePorts } from '../../tests/lib/port.mjs';
import { Redis } from '../../tests/lib/redis.mjs';
import { holds, pause } from './figures.mjs';
import { load } from './packages.mjs';
import { Setting } from './setting.mjs';

const { io } = load('socket.io-client');

const PER_S = 500;
const AWAY_MS = 1000;
const ACK_MS = 5000;
/** How long what is missing may still come when everything is acknowledged. */
const PATIENCE_MS = 10_000;
/** How long after the last message an answer is still asked for. */
const GIVE_UP_MS = 20_000;

/** What is measured, by name: who starts it, and the class of the room. Redis writes nothing to disk, or syncs each write. */
const SYSTEMS = {
  'node pubsub, memory': { start: () => node('pubsub', false), room: 'room' },
  'node streams, memory': { start: () => node('streams', false), room: 'room' },
  'node streams, fsync': { start: () => node('streams', true), room: 'room' },
  'denrei feed, memory': { start: () => denrei('redis'), room: 'feed:room' },
  'denrei live, memory': { start: () => denrei('redis'), room: 'live:room' },
  'denrei live, fsync': { start: () => denrei('redis, fsync'), room: 'live:room' },
};

export async function run({ rounds, lossSecs, systems }, record) {
  const chosen = Object.entries(SYSTEMS).filter(([system]) => system.startsWith(systems));
  for (let round = 0; round < rounds; round += 1) {
    for (const [system, { start, room }] of chosen) {
      const servers = await start();
      try {
        record({ round, system, ...(await measure(servers, room, lossSecs)) });
      } finally {
        await servers.close();
      }
    }
  }
}

async function denrei(bus) {
  const setting = await Setting.start(bus);
  return { ports: setting.nodes.ports, redis: setting.broker, close: () => setting.close() };
}

async function node(adapter, durable) {
  const redis = await Redis.start({ durable });
  const ports = await freePorts(2);
  const program = new URL('socketio_node.mjs', import.meta.url).pathname;
  const processes = ports.map((port) => spawn(process.execPath, [program, load.resolve('./package.json'), port, redis.url(), adapter], { stdio: ['ignore', 'pipe', 'inherit'] }));
  const close = async () => {
    for (const each of processes) each.kill('SIGKILL');
    await redis.close();
  };
  try {
    await Promise.all(processes.map((each) => Promise.race([
      once(each.stdout, 'data'),
      once(each, 'exit').then(() => { throw new Error(`Socket.IO with ${adapter} does not start`); }),
    ])));
  } catch (error) {
    await close();
    throw error;
  }
  return { ports, redis, close };
}

async function measure({ ports, redis }, room, secs) {
  const [publisher, here, there] = [ports[0], ports[0], ports[1]].map((port) => io(`http://127.0.0.1:${port}`, { transports: ['websocket'], forceNew: true }));
  const readers = { same: reader(here, room), other: reader(there, room) };
  let disconnects = 0;
  for (const socket of [publisher, here, there]) socket.on('disconnect', () => { disconnects += 1; });
  try {
    await Promise.all([publisher, here, there].map((socket) => new Promise((resolve) => { socket.once('connect', resolve); })));
    for (const socket of [here, there]) await socket.emitWithAck('join', room);
    // The adapters' servers need a moment to hear of one another.
    await pause(1000);

    const acked = new Set();
    const answers = { refused: 0, unanswered: 0, given_up: 0 };
    const running = publishAll(publisher, room, secs, acked, answers);
    await pause(secs * 500);
    await redis.crash();
    await pause(AWAY_MS);
    await redis.run();
    await running;
    const has = (which) => () => [...acked].every((id) => readers[which].seen.has(id));
    await Promise.all([holds(has('other'), PATIENCE_MS), holds(has('same'), PATIENCE_MS)]);

    const lost = (which) => [...acked].filter((id) => !readers[which].seen.has(id)).length;
    return {
      secs, acked: acked.size, ...answers, disconnects,
      lost_other: lost('other'), lost_same: lost('same'),
      told_other: readers.other.gaps, told_same: readers.same.gaps,
      numbers_other: readers.other.told, numbers_same: readers.same.told, strange_other: readers.other.strange, strange_same: readers.same.strange,
      holes_same: readers.same.holes, twice_same: readers.same.twice, twice_other: readers.other.twice, holes_other: readers.other.holes, backwards_other: readers.other.backwards,
      silence_other_ms: Math.round(readers.other.silence), silence_same_ms: Math.round(readers.same.silence),
    };
  } finally {
    for (const socket of [publisher, here, there]) socket.disconnect();
  }
}

/** What a reader has seen, and how long it once saw nothing. denrei's rooms have numbers, Node's have none. */
function reader(socket, room) {
  const found = { seen: new Set(), twice: 0, holes: 0, backwards: 0, strange: 0, gaps: 0, told: 0, silence: 0 };
  let place = { epoch: undefined, seq: 0 };
  let last;
  socket.on('message', (id, meta) => {
    if (found.seen.has(id)) found.twice += 1;
    found.seen.add(id);
    const now = performance.now();
    if (last !== undefined) found.silence = Math.max(found.silence, now - last);
    last = now;
    if (meta?.seq === undefined) return;
    if (place.epoch !== undefined) {
      // What comes in another epoch that no gap told of is as bad as a hole.
      const before = meta.epoch === place.epoch ? place.seq : 0;
      if (meta.seq > before + 1) found.holes += meta.seq - before - 1;
      if (meta.seq <= before) found.backwards += 1;
      if (meta.epoch !== place.epoch) found.strange += 1;
    }
    place = meta;
  });
  socket.on('gap', ({ from, to, epoch }) => {
    found.gaps += 1;
    found.told += to - Math.max(from, 1) + 1;
    place = { epoch, seq: to };
  });
  // Whoever was disconnected comes back as its documentation says.
  socket.on('connect', () => {
    if (last !== undefined) socket.emit('join', room, ...(place.epoch ? [`${place.epoch}:${place.seq}`] : []), () => {});
  });
  return found;
}

/** Emits at its rate; resolves when everything is acknowledged. What was refused, or not answered, is sent again with its id. */
async function publishAll(socket, room, secs, acked, answers) {
  const pending = new Set();
  const begun = performance.now();
  const publish = async (id) => {
    for (;;) {
      try {
        const { error, retryAfter } = await socket.timeout(ACK_MS).emitWithAck('publish', room, 'message', id, { id });
        if (error === undefined) break;
        answers.refused += 1;
        await pause(retryAfter ?? 100);
      } catch {
        answers.unanswered += 1;
      }
      if (performance.now() > begun + secs * 1000 + GIVE_UP_MS) {
        answers.given_up += 1;
        return;
      }
    }
    acked.add(id);
  };
  for (let count = 0; count < secs * PER_S;) {
    for (const due = (performance.now() - begun) / 1000 * PER_S; count < due; count += 1) {
      const publishing = publish(`m${count}`);
      pending.add(publishing);
      publishing.finally(() => pending.delete(publishing));
    }
    await pause(2);
  }
  await Promise.all(pending);
}
