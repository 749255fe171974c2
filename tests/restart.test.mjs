// An operator restarts a server while it is busy: publishers and readers on all transports, in the clear and over TLS, and a
// checker that looks at what everyone saw. DENREI_ROUNDS for more, DENREI_SEED to repeat the choices of a run.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { certify } from './lib/certificate.mjs';
import { freePorts } from './lib/port.mjs';
import { Publisher } from './lib/publisher.mjs';
import { Random, SEED } from './lib/random.mjs';
import { Reader, Wrong } from './lib/readers.mjs';
import { startSecure } from './lib/secure.mjs';
import { get, room, until, within } from './lib/server.mjs';
import { holds, wholeLog } from './lib/verdict.mjs';

const ROUNDS = Number(process.env.DENREI_ROUNDS ?? 1);
const PUBLISHERS = 3;
const READERS = 12;
/** Messages of each room that are acknowledged between one restart and the next. */
const STEP = 150;
const RESTARTS = 3;
const CONFIG = '[shutdown]\nreconnect_delay_ms = 100\nreconnect_spread_ms = 400\ngrace_ms = 5000\n[chat]\ncontent_bytes = 100000\n';

// Whose certificate it is, is looked at in tls.test.mjs; here it is everybody's own.
process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';

for (let round = 0; round < ROUNDS; round += 1) {
  const seed = SEED + round;

  test(`restarts lose nothing that was acknowledged, on any transport, with TLS or without (seed ${seed})`, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'denrei-restart-'));
    const [port, own] = await freePorts(2);
    const certificate = await certify(folder);
    const server = await startSecure({ config: CONFIG, certificate, port, listen: `127.0.0.1:${own}` });
    try {
      await holds(await run(server, seed), seed);
    } finally {
      await server.close();
      await rm(folder, { recursive: true, force: true });
    }
  });
}

async function run(server, seed) {
  const random = new Random(seed);
  const places = [server, server.secure];
  let now = 0;
  const clock = () => now++;
  const rooms = { feed: room('feed'), chat: room('chat') };
  assert.equal((await get(`${server.http}/api/chat/rooms/${rooms.chat.slice('chat:'.length)}/join`, { method: 'POST' })).status, 200);
  const crowd = (Kind, count, ...more) => Object.entries(rooms).flatMap(([kind, name]) => Array.from({ length: count }, (_, at) => {
    const who = `${Kind.name.toLowerCase()} ${at} of ${kind}`;
    const choices = random.fork(who);
    const one = kind === 'chat' ? Kind.chat(who, server, name, choices, ...more) : Kind.wandering(places, who, server, name, choices, ...more);
    one.somewhere = () => choices.pick(places);
    return one;
  }));
  const publishers = crowd(Publisher, PUBLISHERS, clock);
  const readers = crowd(Reader, READERS);
  const acknowledged = { feed: 0, chat: 0 };
  const step = async () => {
    const goals = Object.entries(acknowledged).map(([kind, count]) => [kind, count + STEP]);
    await until(() => goals.every(([kind, goal]) => acknowledged[kind] >= goal), `${STEP} more publishes (${JSON.stringify(acknowledged)})`, 30_000);
  };
  const refused = (error) => { if (error instanceof Wrong || error instanceof assert.AssertionError) throw error; };
  const reading = readers.map((reader) => reader.run(refused));
  const publishing = publishers.map((publisher) => publisher.run(Infinity, () => { acknowledged[publisher.room.split(':')[0]] += 1; }));
  const wrong = new Promise((_, reject) => { for (const part of [...reading, ...publishing]) part.catch(reject); });
  try {
    const happening = async () => {
      for (let restart = 0; restart < RESTARTS; restart += 1) {
        await step();
        assert.deepEqual(await server.stop(), { code: 0, signal: null });
        await server.again();
      }
      await step();
    };
    await Promise.race([happening(), wrong]);
    for (const publisher of publishers) publisher.enough();
    await Promise.race([within(20_000, Promise.all(publishing), 'the publishers'), wrong]);
    const final = {};
    for (const name of Object.values(rooms)) final[name] = { keep: 'store', ...await wholeLog(server, name) };
    for (const reader of readers) {
      const { epoch, head } = final[reader.room];
      reader.goal = `${epoch}:${head}`;
      if (reader.isFinished) reader.leave?.();
    }
    // Who does not arrive is reported by the checker, with where it stands.
    await Promise.race([within(30_000, Promise.all(reading), 'the readers'), wrong]).catch((error) => {
      if (!error.message.startsWith('waited')) throw error;
    });
    assert.doesNotMatch(server.log, /panick/);
    assert.ok(publishers.some(({ retries }) => retries > 0), 'nobody noticed: nothing was shown');
    const ways = new Set(readers.flatMap(({ stays }) => Object.keys(stays)));
    assert.deepEqual([...ways].sort(), ['longPoll', 'shortPoll', 'socketio', 'stream', 'websocket']);
    return {
      rooms: final,
      publishes: publishers.flatMap(({ publishes }) => publishes),
      readers: readers.map(({ name, room: read, steps }) => ({ name, room: read, steps })),
    };
  } finally {
    for (const part of [...publishers, ...readers]) part.abandon();
  }
}
