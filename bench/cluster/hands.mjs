// Who publishes and who reads for `throughput.mjs`, each on a thread of its own.

import { parentPort, workerData } from 'node:worker_threads';
import { Line } from './line.mjs';
import { holds, pause, quantiles } from './figures.mjs';

const TEXT = 'x'.repeat(64);
/** Longer than what was lost takes to be found again. */
const PATIENCE_MS = 8000;

const now = () => performance.timeOrigin + performance.now();
const { role, port, rooms } = workerData;
await { publish, read }[role]();

/** Keeps `depth` publishes under way on each of its connections, into the rooms in turn. */
async function publish() {
  const { connections, depth } = workerData;
  const heads = Object.fromEntries(rooms.map((room) => [room, { seq: 0, acked: 0 }]));
  const refusals = {};
  const work = Symbol('work');
  let state = work;
  let acked = 0;
  let waits = [];
  let next = 0;

  const lines = [];
  for (let at = 0; at < connections; at += 1) lines.push(await Line.open(port));
  const lane = async (line) => {
    while (state === work) {
      const room = rooms[next];
      next = (next + 1) % rooms.length;
      const begun = now();
      try {
        const { seq } = await line.ask({ type: 'broadcast', room, payload: { at: begun, text: TEXT } });
        acked += 1;
        waits.push(now() - begun);
        heads[room].acked += 1;
        heads[room].seq = Math.max(heads[room].seq, seq);
      } catch (refusal) {
        const code = refusal.code ?? refusal.message;
        refusals[code] = (refusals[code] ?? 0) + 1;
        await pause(refusal.retryAfter ?? 100);
      }
    }
  };
  const lanes = lines.flatMap((line) => Array.from({ length: depth }, () => lane(line)));
  parentPort.postMessage('ready');
  let use;
  parentPort.on('message', async (message) => {
    if (message === 'measure') {
      [acked, waits, use] = [0, [], performance.eventLoopUtilization()];
    } else if (message === 'pause') {
      parentPort.postMessage({ acked, ack: quantiles(waits), publisher_busy: busy(use) });
    } else {
      state = 'over';
      await Promise.all(lanes);
      parentPort.postMessage({ heads, refused: refusals });
    }
  });
}

/** Reads all rooms, and says what was wrong with the numbers. */
async function read() {
  const seen = Object.fromEntries(rooms.map((room) => [room, 0]));
  const faults = { lost: 0, holes: 0, repeated: 0, gaps: 0, told: 0 };
  let received = 0;
  let waits = [];
  const line = await Line.open(port, (frame) => {
    if (frame.type === 'gap') {
      faults.gaps += 1;
      faults.told += frame.to - Math.max(frame.from, 1) + 1;
      seen[frame.room] = Math.max(seen[frame.room], frame.to);
    }
    if (frame.type !== 'broadcast') return;
    const before = seen[frame.room];
    if (frame.seq > before + 1) faults.holes += frame.seq - before - 1;
    else if (frame.seq <= before) faults.repeated += 1;
    seen[frame.room] = Math.max(before, frame.seq);
    received += 1;
    waits.push(now() - frame.payload.at);
  });
  for (const room of rooms) await line.ask({ type: 'join', room });
  parentPort.postMessage('ready');
  let use;
  parentPort.on('message', async (message) => {
    if (message === 'measure') {
      [received, waits, use] = [0, [], performance.eventLoopUtilization()];
    } else if (message === 'pause') {
      parentPort.postMessage({ received, far: quantiles(waits), reader_busy: busy(use) });
    } else {
      const heads = Object.entries(message.heads);
      const begun = performance.now();
      await holds(() => heads.every(([room, { seq }]) => seen[room] >= seq), PATIENCE_MS);
      for (const [room, { seq }] of heads) faults.lost += Math.max(0, seq - seen[room]);
      parentPort.postMessage({ ...faults, drain_ms: Math.round(performance.now() - begun) });
    }
  });
}

function busy(since) {
  return Math.round(performance.eventLoopUtilization(since).utilization * 100) / 100;
}
