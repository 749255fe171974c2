// The promises of docs/guarantees.md, on all transports at once: publishers and readers that come and go, a server that
// is killed in the middle, and a checker that looks at what everyone saw. DENREI_ROUNDS for more, DENREI_SEED to repeat
// the choices of a run.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Postgres } from './lib/postgres.mjs';
import { Publisher } from './lib/publisher.mjs';
import { Random, SEED } from './lib/random.mjs';
import { Reader, Wrong } from './lib/readers.mjs';
import { Server, get, room, within } from './lib/server.mjs';
import { holds, wholeLog } from './lib/verdict.mjs';

const ROUNDS = Number(process.env.DENREI_ROUNDS ?? 1);
const PUBLISHERS = 4;
const READERS = 40;
const MESSAGES = 750;
/** A ring so small that readers who stay away miss something. */
const CONFIG = '[chat]\ncontent_bytes = 100000\n[classes.live]\nkeep = "memory"\nevents = 100\n';

for (let round = 0; round < ROUNDS; round += 1) {
  const seed = SEED + round;

  test(`a stored room keeps its promises to all readers while the server is killed (seed ${seed})`, async () => {
    const { history, retries } = await run('feed', seed, { kills: 2 });
    await holds(history, seed);
    assert.ok(retries > 0, 'the kills were not noticed');
  });

  for (const store of ['SQLite', 'PostgreSQL']) {
    test(`a chat room on ${store} keeps its promises to all readers while the server is killed (seed ${seed})`, async () => {
      const postgres = store === 'PostgreSQL' ? await Postgres.start() : null;
      try {
        const { history, retries } = await run('chat', seed, { kills: 2, postgres });
        await holds(history, seed);
        assert.ok(retries > 0, 'the kills were not noticed');
      } finally {
        await postgres?.close();
      }
    });
  }

  test(`a memory room keeps its promises to all readers (seed ${seed})`, async () => {
    const { history } = await run('live', seed, { kills: 0 });
    await holds(history, seed);
    const gaps = history.readers.flatMap(({ steps }) => steps).filter(({ kind }) => kind === 'gap');
    assert.ok(gaps.length > 0, 'the ring lost nothing: nothing was shown');
  });
}

async function run(kind, seed, { kills, postgres }) {
  const server = await Server.start({ config: CONFIG, env: postgres ? { DENREI_STORE: postgres.url() } : {} });
  try {
    const random = new Random(seed);
    const busy = room(kind);
    let now = 0;
    const clock = () => now++;
    const is = (parts) => (kind === 'chat' ? parts.chat : (...args) => new parts(...args));
    const publishers = Array.from({ length: PUBLISHERS }, (_, at) => is(Publisher)(`p${at}`, server, busy, random.fork(`p${at}`), clock));
    const readers = Array.from({ length: READERS }, (_, at) => is(Reader)(`r${at}`, server, busy, random.fork(`r${at}`)));
    if (kind === 'chat') assert.equal((await join(server, busy)).status, 200);
    const total = PUBLISHERS * MESSAGES;
    const killAt = new Set(Array.from({ length: kills }, (_, at) => Math.floor(total * (at + 0.5 + random.next() / 2) / (kills + 1))));
    let done = 0;
    let killed = Promise.resolve();
    const progress = () => {
      done += 1;
      if (killAt.has(done)) killed = killed.then(() => server.crash());
      // In between the database goes away and comes back.
      if (postgres && done === Math.floor(total / 2)) killed = killed.then(() => postgres.crash()).then(() => postgres.run());
    };
    const refused = (error) => { if (error instanceof Wrong || error instanceof assert.AssertionError) throw error; };
    const reading = readers.map((reader) => reader.run(refused));
    const wrong = new Promise((_, reject) => { for (const reader of reading) reader.catch(reject); });
    const publishing = Promise.all(publishers.map((publisher) => publisher.run(MESSAGES, progress)));
    await within(120_000, Promise.race([publishing, wrong]), 'the publishers');
    await killed;
    const final = { keep: kind === 'live' ? 'memory' : 'store', ...await wholeLog(server, busy) };
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
    assert.equal(Object.keys(stays).length, kind === 'chat' ? 5 : 4, `a transport was not used: ${JSON.stringify(stays)}`);
    assert.doesNotMatch(server.log, /panick/);
    const history = {
      rooms: { [busy]: final },
      publishes: publishers.flatMap(({ publishes }) => publishes),
      readers: readers.map(({ name, room, steps }) => ({ name, room, steps })),
    };
    if (kind === 'chat') await hasHistory(server, busy, final);
    return { history, retries: publishers.reduce((sum, { retries }) => sum + retries, 0) };
  } finally {
    await server.close();
  }
}

/** A guest makes the room by joining it: nothing is in its log then. */
function join(server, name) {
  return get(`${server.http}/api/chat/rooms/${name.slice('chat:'.length)}/join`, { method: 'POST' });
}

/** The pages of a room's messages are what its log says. */
async function hasHistory(server, name, { log }) {
  const pages = [];
  for (let page; page === undefined || page.hasAfter;) {
    const since = pages.at(-1)?.sequence ?? 0;
    page = await (await get(`${server.http}/api/chat/rooms/${name.slice('chat:'.length)}/messages?since=${since}&limit=100`)).json();
    pages.push(...page.messages);
  }
  assert.deepEqual(pages.map(({ sequence, content }) => ({ seq: sequence, content: JSON.stringify(content) })), log);
}
