// The promises of docs/guarantees.md of several nodes: publishers and readers on all transports, at single nodes and at an
// nginx that gives each request to another one, while something fails; and a checker that looks at what everyone saw.
// DENREI_ROUNDS for more, DENREI_SEED to repeat the choices of a run.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { Balance } from './lib/balance.mjs';
import { Nodes } from './lib/nodes.mjs';
import { Publisher } from './lib/publisher.mjs';
import { Random, SEED } from './lib/random.mjs';
import { Reader, Wrong, sleep } from './lib/readers.mjs';
import { BINARY, room, until, within } from './lib/server.mjs';
import { holds, wholeLog } from './lib/verdict.mjs';

const ROUNDS = Number(process.env.DENREI_ROUNDS ?? 1);
const PUBLISHERS = 3;
const READERS = 12;
/** Messages of a room that are acknowledged before, and after, something happens. */
const STEP = 100;
/** A ring that lets go of nothing, so that whoever sends again is recognised however long that took. */
const CONFIG = '[shutdown]\nreconnect_delay_ms = 100\nreconnect_spread_ms = 400\ngrace_ms = 3000\n[classes.live]\nkeep = "memory"\nevents = 50000\n';

/**
 * What fails: `happen` is given the nodes, a function that waits until a step more is acknowledged in the rooms of a kind,
 * or of all, and one that waits until some publish has failed. `isNoticed` says that some must have.
 */
const FAULTS = [
  {
    what: 'a node is killed and comes back',
    isNoticed: true,
    async happen({ servers }, step) {
      await servers[0].kill();
      await step();
      await servers[0].again();
    },
  },
  {
    what: 'the broker is killed and comes back',
    isOfBus: true,
    isNoticed: true,
    isOfBroker: true,
    async happen({ bus }, step, noticed) {
      await bus.crash();
      // What is stored does not need it.
      await step('feed');
      // What is asked in the first half second waits for it.
      await noticed();
      await bus.run();
    },
  },
  {
    what: 'PostgreSQL is killed and comes back',
    isNoticed: true,
    async happen({ store }, step) {
      await store.crash();
      // What is in memory does not need it.
      await step('live');
      await store.run();
    },
  },
  {
    what: 'a node does not reach the broker for 10 s',
    isOfBus: true,
    async happen({ links }) {
      links[1].cut();
      await sleep(10_000);
      links[1].restore();
    },
  },
  {
    what: 'all nodes are restarted, one after the other',
    isNoticed: true,
    async happen({ servers }, step) {
      for (const server of servers) {
        assert.deepEqual(await server.stop(), { code: 0, signal: null });
        await server.again();
        await step();
      }
    },
  },
];

/** The buses that this denrei can be told of. */
const { stdout: flags } = await promisify(execFile)(BINARY, ['serve', '--help']);
const skip = flags.includes('--bus') ? false : 'this denrei has no --bus';

for (let round = 0; round < ROUNDS; round += 1) {
  const seed = SEED + round;
  for (const bus of ['redis', 'nats']) {
    for (const fault of FAULTS) {
      // What both buses do alike is tried over one, and over both in longer runs.
      if (ROUNDS === 1 && bus === 'nats' && !fault.isOfBus) continue;
      test(`three nodes over ${bus} keep their promises while ${fault.what} (seed ${seed})`, { skip }, async () => {
        const nodes = await Nodes.start({ count: 3, bus, store: 'postgres', link: true, config: CONFIG });
        let balance;
        try {
          balance = await Balance.start(nodes.ports);
          await holds(await run(nodes, balance, fault, seed), seed);
        } finally {
          await balance?.close();
          await nodes.close();
        }
      });
    }
  }
}

async function run(nodes, balance, fault, seed) {
  const random = new Random(seed);
  const places = [...nodes.servers, balance];
  let now = 0;
  const clock = () => now++;
  const kinds = ['feed', 'live'];
  const names = Object.fromEntries(kinds.map((kind) => [kind, room(kind)]));
  const crowd = (Kind, count, ...more) => kinds.flatMap((kind) => Array.from({ length: count }, (_, at) => {
    const name = `${Kind.name.toLowerCase()} ${at} of ${kind}`;
    return Kind.wandering(places, name, balance, names[kind], random.fork(name), ...more);
  }));
  const publishers = crowd(Publisher, PUBLISHERS, clock);
  const readers = crowd(Reader, READERS);

  const acknowledged = { feed: 0, live: 0 };
  const step = async (...only) => {
    const goals = (only.length > 0 ? only : kinds).map((kind) => [kind, acknowledged[kind] + STEP]);
    const isThere = () => goals.every(([kind, goal]) => acknowledged[kind] >= goal);
    await until(isThere, `${STEP} more publishes to be acknowledged (${JSON.stringify({ goals, acknowledged })})`, 20_000);
  };
  const retries = () => publishers.reduce((sum, publisher) => sum + publisher.retries, 0);
  const noticed = () => until(() => retries() > 0, 'a publish to fail', 20_000);
  const refused = (error) => { if (error instanceof Wrong || error instanceof assert.AssertionError) throw error; };
  const reading = readers.map((reader) => reader.run(refused));
  const publishing = publishers.map((publisher) => publisher.run(Infinity, () => { acknowledged[publisher.room.split(':')[0]] += 1; }));
  const wrong = new Promise((_, reject) => { for (const part of [...reading, ...publishing]) part.catch(reject); });
  try {
    const happening = step().then(() => fault.happen(nodes, step, noticed)).then(() => step());
    await Promise.race([within(40_000, happening, fault.what), wrong]);
    for (const publisher of publishers) publisher.enough();
    await Promise.race([within(15_000, Promise.all(publishing), 'the publishers'), wrong]);
    const rooms = {};
    for (const kind of kinds) rooms[names[kind]] = await finalLog(nodes, names[kind], kind, fault);
    for (const reader of readers) {
      const { epoch, head } = rooms[reader.room];
      reader.goal = `${epoch}:${head}`;
      if (reader.isFinished) reader.leave?.();
    }
    // Who does not arrive is reported by the checker, with where it stands.
    await Promise.race([within(20_000, Promise.all(reading), 'the readers'), wrong]).catch((error) => {
      if (!error.message.startsWith('waited')) throw error;
    });
    for (const { log } of nodes.servers) assert.doesNotMatch(log, /panick/);
    assert.ok(!fault.isNoticed || retries() > 0, 'nobody noticed: nothing was shown');
    const ways = new Set(readers.flatMap(({ stays }) => Object.keys(stays)));
    assert.deepEqual([...ways].sort(), ['longPoll', 'shortPoll', 'socketio', 'stream', 'websocket']);
    return {
      rooms,
      publishes: publishers.flatMap(({ publishes }) => publishes),
      readers: readers.map(({ name, room, steps }) => ({ name, room, steps })),
    };
  } finally {
    // Whoever is still at it, when something is wrong, comes to an end with the nodes.
    for (const part of [...publishers, ...readers]) part.abandon();
  }
}

/** What a room holds in the end, which each node says alike as soon as it has heard of the last message. */
async function finalLog({ servers, bus }, name, kind, { isOfBroker }) {
  let logs;
  await until(async () => {
    logs = await Promise.all(servers.map((server) => wholeLog(server, name)));
    return logs.every(({ epoch, head }) => epoch === logs[0].epoch && head === logs[0].head);
  }, `the nodes to agree on the end of ${name}`);
  const [first, ...others] = logs.map(({ log }) => log);
  for (const other of others) {
    const at = first.findIndex((message, index) => JSON.stringify(message) !== JSON.stringify(other[index]));
    assert.equal(JSON.stringify(other[at]), JSON.stringify(first[at]), `two nodes differ about ${name}`);
    assert.equal(other.length, first.length, `two nodes differ about ${name}`);
  }
  // A log that comes back may have lost its end: it begins another life, with what it still has.
  const anew = kind === 'live' && isOfBroker;
  return { keep: kind === 'feed' ? 'store' : 'memory', anew, lost: anew && !bus.isLasting, ...logs[0] };
}
