// The history checker objects to every kind of wrong history, and to no right one.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { check } from './lib/history.mjs';
import { Random, SEED } from './lib/random.mjs';

const ROUNDS = 20;

/** A run of a server that does everything right. */
function good(random, keep) {
  const room = `${keep}:room`;
  const epoch = 'epoch';
  const publishes = [];
  const log = [];
  let now = 0;
  const publishers = Array.from({ length: 4 }, () => null);
  while (log.length < 120) {
    const at = random.below(publishers.length);
    const publish = publishers[at];
    if (publish === null) {
      publishers[at] = { room, content: `m${publishes.length}`, sent: now++ };
      publishes.push(publishers[at]);
    } else if (publish.seq === undefined) {
      publish.seq = log.length + 1;
      publish.epoch = epoch;
      log.push({ seq: publish.seq, content: publish.content });
    } else {
      publish.acked = now++;
      publishers[at] = null;
    }
  }
  for (const publish of publishers) {
    if (publish?.seq) publish.acked = now++;
  }
  // Half of those that were under way were never stored, as after a crash.
  const readers = Array.from({ length: 3 }, (_, index) => {
    const from = random.below(20);
    const steps = [{ kind: 'start', epoch, seq: from }];
    for (let seq = from + 1; seq <= log.length; seq += 1) {
      if (keep === 'memory' && random.chance(0.05) && seq + 5 < log.length) {
        const to = seq + random.below(5);
        steps.push({ kind: 'gap', epoch, from: seq, to });
        seq = to;
      } else {
        steps.push({ kind: 'message', epoch, ...log[seq - 1] });
      }
    }
    return { name: `reader ${index}`, room, steps };
  });
  const kept = keep === 'store' ? log : log.slice(-30);
  return { rooms: { [room]: { keep, epoch, head: log.length, log: kept } }, publishes, readers };
}

for (const keep of ['store', 'memory']) {
  test(`a history of a right ${keep} room holds`, () => {
    for (let round = 0; round < ROUNDS; round += 1) {
      assert.deepEqual(check(good(new Random(SEED + round), keep)), [], `seed ${SEED + round}`);
    }
  });
}

/** A run in which a memory room is lost, and begun anew: who reads is told, who was not answered sends again. */
function restarted(random) {
  const [before, after] = [good(random, 'memory'), good(random, 'memory')];
  const [name] = Object.keys(after.rooms);
  const later = (publish) => ({ ...publish, content: `${publish.content} anew`, sent: publish.sent + 1e6, acked: publish.acked && publish.acked + 1e6, epoch: publish.epoch && 'anew' });
  const anew = (step) => ({ ...step, epoch: 'anew', ...(step.content && { content: `${step.content} anew` }) });
  const readers = before.readers.map(({ room, steps }, at) => {
    const [{ seq }, ...rest] = after.readers[at].steps;
    return { name: `reader ${at}`, room, steps: [...steps, { kind: 'gap', epoch: 'anew', from: 0, to: seq }, ...rest.map(anew)] };
  });
  const { head, log } = after.rooms[name];
  const rooms = { [name]: { keep: 'memory', lost: true, epoch: 'anew', head, log: log.map(anew).map(({ seq, content }) => ({ seq, content })) } };
  return { rooms, publishes: [...before.publishes, ...after.publishes.map(later)], readers };
}

test('a history of a memory room that was lost holds, and not if it may not be lost', () => {
  for (let round = 0; round < ROUNDS; round += 1) {
    const history = restarted(new Random(SEED + round));
    assert.deepEqual(check(history), [], `seed ${SEED + round}`);
    roomOf(history).lost = false;
    assert.ok(check(history).some((objection) => objection.startsWith('epoch:')), `seed ${SEED + round}`);
  }
});

test('two readers that saw different things before the room was lost are objected to', () => {
  for (let round = 0; round < ROUNDS; round += 1) {
    const history = restarted(new Random(SEED + round));
    history.readers[0].steps.find(({ kind, seq }) => kind === 'message' && seq > 40).content = 'm0';
    assert.ok(check(history).some((objection) => objection.startsWith('same:')), `seed ${SEED + round}`);
  }
});

const lastAcked = (history) => history.publishes.findLast((publish) => publish.acked !== undefined);
const roomOf = (history) => Object.values(history.rooms)[0];
const messages = (reader) => reader.steps.filter((step) => step.kind === 'message');
/** Where, past its beginning, a reader saw three messages in a row. */
const middle = (reader) => reader.steps.findIndex((_, index) =>
  index > 40 && reader.steps.slice(index, index + 3).filter(({ kind }) => kind === 'message').length === 3);
const without = (steps, index) => steps.toSpliced(index, 1);

/** What goes wrong, on the rooms it can go wrong in, and the property that must be said to be broken. */
const MUTATIONS = [
  ['an acknowledged message that the log has lost', ['store'], 'lost', (history) => {
    const room = roomOf(history);
    room.log = room.log.filter(({ content }) => content !== history.publishes[40].content);
  }],
  ['an acknowledged tail that is lost everywhere', ['store', 'memory'], 'lost', (history) => {
    const room = roomOf(history);
    const { content } = room.log.pop();
    room.head -= 1;
    history.publishes.find((publish) => publish.content === content).acked ??= 1e9;
    for (const reader of history.readers) reader.steps = reader.steps.filter((step) => step.content !== content);
  }],
  ['a message that is stored twice', ['store', 'memory'], 'once', (history) => {
    const room = roomOf(history);
    room.head += 1;
    room.log.push({ seq: room.head, content: room.log.at(-3).content });
    for (const reader of history.readers) reader.steps.push({ kind: 'message', epoch: room.epoch, ...room.log.at(-1) });
  }],
  ['a number that is given twice', ['store', 'memory'], 'same', (history) => {
    const [one, other] = history.publishes.filter((publish) => publish.acked !== undefined).slice(-2);
    other.seq = one.seq;
  }],
  ['a hole in the log', ['store', 'memory'], 'dense', (history) => {
    const room = roomOf(history);
    room.log = without(room.log, 10);
  }],
  ['an acknowledgement with the wrong number', ['store', 'memory'], 'same', (history) => { lastAcked(history).seq -= 1; }],
  ['an acknowledgement of another epoch', ['store', 'memory'], 'epoch', (history) => { lastAcked(history).epoch = 'other'; }],
  ['a message that nobody sent', ['store', 'memory'], 'phantom', (history) => { roomOf(history).log.at(-5).content = 'phantom'; }],
  ['a reader that saw two messages in the wrong order', ['store', 'memory'], 'again', (history) => {
    const { steps } = history.readers[0];
    const at = middle(history.readers[0]);
    [steps[at], steps[at + 1]] = [steps[at + 1], steps[at]];
  }],
  ['a reader that saw a message again', ['store', 'memory'], 'again', (history) => {
    const [reader] = history.readers;
    const at = middle(reader);
    reader.steps = reader.steps.toSpliced(at, 0, reader.steps[at]);
  }],
  ['a reader that missed a message and was not told', ['store', 'memory'], 'untold', (history) => {
    const [reader] = history.readers;
    reader.steps = without(reader.steps, middle(reader));
  }],
  ['a reader that saw another content than the log', ['store', 'memory'], 'same', (history) => {
    const [reader] = history.readers;
    Object.assign(messages(reader).at(-1), { content: messages(reader).at(-2).content });
  }],
  ['a reader that never arrives at the head', ['store', 'memory'], 'stuck', (history) => { history.readers[1].steps.pop(); }],
  ['a gap in a stored room', ['store'], 'gap', (history) => {
    const [reader] = history.readers;
    const at = middle(reader);
    const { epoch, seq } = reader.steps[at];
    reader.steps = reader.steps.toSpliced(at, 1, { kind: 'gap', epoch, from: seq, to: seq });
  }],
  ['a gap that does not begin where the reader stood', ['memory'], 'gap', (history) => {
    const [reader] = history.readers;
    const at = middle(reader);
    const { epoch, seq } = reader.steps[at];
    reader.steps = reader.steps.toSpliced(at, 1, { kind: 'gap', epoch, from: seq + 1, to: seq + 1 });
  }],
  ['a gap that ends before the next message', ['memory'], 'untold', (history) => {
    const [reader] = history.readers;
    const at = middle(reader);
    const { epoch, seq } = reader.steps[at];
    reader.steps = reader.steps.toSpliced(at, 2, { kind: 'gap', epoch, from: seq, to: seq });
  }],
  ['a reader that is set back to another epoch', ['store', 'memory'], 'epoch', (history) => {
    const [reader] = history.readers;
    reader.steps[middle(reader)].epoch = 'other';
  }],
  ['a later send with an earlier number', ['store', 'memory'], 'real time', (history) => {
    const acked = history.publishes.filter((publish) => publish.acked !== undefined);
    const one = acked[acked.length - 2];
    const other = acked.find((publish) => publish.acked < one.sent && publish.seq < one.seq);
    const room = roomOf(history);
    const swap = { [one.content]: other.content, [other.content]: one.content };
    // Everyone agrees on the swapped order, and still it is wrong.
    for (const entry of [...room.log, ...history.readers.flatMap(messages)]) entry.content = swap[entry.content] ?? entry.content;
    [one.seq, other.seq] = [other.seq, one.seq];
  }],
  ['an acknowledgement before the send', ['store', 'memory'], 'time', (history) => {
    const publish = lastAcked(history);
    publish.acked = publish.sent - 1;
  }],
];

for (const [what, rooms, property, mutate] of MUTATIONS) {
  test(`${what} is objected to`, () => {
    for (const keep of rooms) {
      for (let round = 0; round < ROUNDS; round += 1) {
        const history = structuredClone(good(new Random(SEED + round), keep));
        mutate(history);
        const objections = check(history);
        assert.ok(objections.some((objection) => objection.startsWith(`${property}:`)), `${keep}, seed ${SEED + round}: ${objections}`);
      }
    }
  });
}
