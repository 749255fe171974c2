// The promises of docs/guarantees.md, on all transports at once: publishers and readers that come and go, a server that
// is killed in the middle, and a checker that looks at what everyone saw. DENREI_ROUNDS for more, DENREI_SEED to repeat
// the choices of a run.

import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { check } from './lib/history.mjs';
import { Publisher } from './lib/publisher.mjs';
import { Random, SEED } from './lib/random.mjs';
import { Reader, Wrong, parse } from './lib/readers.mjs';
import { Server, room, within } from './lib/server.mjs';

const ROUNDS = Number(process.env.DENREI_ROUNDS ?? 1);
const PUBLISHERS = 4;
const READERS = 40;
const MESSAGES = 750;
/** A ring so small that readers who stay away miss something. */
const CONFIG = '[classes.live]\nkeep = "memory"\nevents = 100\n';

for (let round = 0; round < ROUNDS; round += 1) {
  const seed = SEED + round;

  test(`a stored room keeps its promises to all readers while the server is killed (seed ${seed})`, async () => {
    const { history, retries } = await run('feed', seed, { kills: 2 });
    await holds(history, seed);
    assert.ok(retries > 0, 'the kills were not noticed');
  });

  test(`a memory room keeps its promises to all readers (seed ${seed})`, async () => {
    const { history } = await run('live', seed, { kills: 0 });
    await holds(history, seed);
    const gaps = history.readers.flatMap(({ steps }) => steps).filter(({ kind }) => kind === 'gap');
    assert.ok(gaps.length > 0, 'the ring lost nothing: nothing was shown');
  });
}

async function run(kind, seed, { kills }) {
  const server = await Server.start({ config: CONFIG });
  try {
    const random = new Random(seed);
    const busy = room(kind);
    let now = 0;
    const clock = () => now++;
    const publishers = Array.from({ length: PUBLISHERS }, (_, at) => new Publisher(`p${at}`, server, busy, random.fork(`p${at}`), clock));
    const readers = Array.from({ length: READERS }, (_, at) => new Reader(`r${at}`, server, busy, random.fork(`r${at}`)));
    const total = PUBLISHERS * MESSAGES;
    const killAt = new Set(Array.from({ length: kills }, (_, at) => Math.floor(total * (at + 0.5 + random.next() / 2) / (kills + 1))));
    let done = 0;
    let killed = Promise.resolve();
    const progress = () => {
      done += 1;
      if (killAt.has(done)) killed = killed.then(() => server.crash());
    };
    const refused = (error) => { if (error instanceof Wrong || error instanceof assert.AssertionError) throw error; };
    const reading = readers.map((reader) => reader.run(refused));
    const wrong = new Promise((_, reject) => { for (const reader of reading) reader.catch(reject); });
    const publishing = Promise.all(publishers.map((publisher) => publisher.run(MESSAGES, progress)));
    await within(120_000, Promise.race([publishing, wrong]), 'the publishers');
    await killed;
    const final = await finalLog(server, busy, kind);
    const goal = `${final.epoch}:${final.head}`;
    for (const reader of readers) {
      reader.goal = goal;
      if (reader.isFinished) reader.leave?.();
    }
    // Who does not arrive is reported by the checker, with where it stands.
    await within(60_000, Promise.all(reading), 'the readers').catch((error) => {
      if (!error.message.startsWith('waited')) throw error;
    });
    const stays = {};
    for (const reader of readers) {
      for (const [way, count] of Object.entries(reader.stays)) stays[way] = (stays[way] ?? 0) + count;
    }
    assert.equal(Object.keys(stays).length, 4, `a transport was not used: ${JSON.stringify(stays)}`);
    assert.doesNotMatch(server.log, /panick/);
    const history = {
      rooms: { [busy]: final },
      publishes: publishers.flatMap(({ publishes }) => publishes),
      readers: readers.map(({ name, room, steps }) => ({ name, room, steps })),
    };
    return { history, retries: publishers.reduce((sum, { retries }) => sum + retries, 0) };
  } finally {
    await server.close();
  }
}

/** What the room holds in the end: all of it, or what the ring has kept. */
async function finalLog(server, name, keep) {
  const log = [];
  const read = async (query) => (await server.events(name, query)).json();
  let { events, next } = await read('?limit=500');
  if (keep === 'feed') {
    const { epoch } = parse(next);
    next = `${epoch}:0`;
    do {
      ({ events, next } = await read(`?limit=500&since=${next}`));
      log.push(...events);
    } while (events.length > 0);
  } else {
    log.push(...events);
  }
  const { epoch, seq: head } = parse(next);
  return { keep: keep === 'feed' ? 'store' : 'memory', epoch, head, log: log.map(({ seq, payload }) => ({ seq, content: JSON.stringify(payload) })) };
}

async function holds(history, seed) {
  const objections = check(history);
  if (objections.length === 0) return;
  const file = join(tmpdir(), `denrei-history-${seed}.json`);
  await writeFile(file, JSON.stringify(history));
  assert.fail(`DENREI_SEED=${seed}, ${objections.length} objections, history in ${file}:\n${objections.slice(0, 20).join('\n')}`);
}
