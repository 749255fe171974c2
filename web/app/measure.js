// The experiment: four readers of one fresh room, one clock, N messages that carry their send time.

import { transports } from './transports.js';
import { Traffic } from './traffic.js';
import { eventsPath, post, randomName, sleep } from './wire.js';

/** How long a reader may take to attach, and how much longer than its interval to hear the last message. */
const PATIENCE_MS = 5_000;

/**
 * Runs the experiment and resolves to its runs, one per transport; `progress({published, runs})` after
 * every step. A run has `latencies` (ms), `traffic`, and `failure`, a sentence, when it could not read.
 */
export async function measure({ messages, perSecond, interval, signal, progress }) {
  const room = `live:measure-${randomName()}`;
  // One message before the first makes the room and names the position that all four start from.
  const { epoch, seq } = await post(room, { event: 'message', payload: null }, signal);
  const stop = new AbortController();
  const stopped = AbortSignal.any([signal, stop.signal]);
  const runs = Object.keys(transports).map((name) => new Run(name, messages));
  const observer = observeTransfers(room, runs);
  let published = 0;
  const tell = () => progress({ published, runs });
  try {
    await Promise.all(runs.map((run) => run.start({ room, epoch, seq, interval, signal: stopped, tell })));
    while (published < messages) {
      const payload = { number: published, sentAt: performance.now() };
      post(room, { event: 'message', payload }, stopped).catch((error) => stop.abort(error));
      published += 1;
      tell();
      await sleep(1000 / perSecond, stopped);
    }
    await Promise.race([Promise.all(runs.map((run) => run.finished)), sleep(interval + PATIENCE_MS, stopped)]);
    return runs;
  } finally {
    stop.abort();
    observer?.disconnect();
  }
}

/** Nearest rank; null of an empty list. */
export function percentile(latencies, share) {
  if (latencies.length === 0) return null;
  const sorted = latencies.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
}

class Run {
  traffic = new Traffic();
  failure = null;
  /** Bytes of responses as the browser saw them, where it tells. */
  transferred = 0;
  #seen = new Map();

  constructor(name, expected) {
    this.name = name;
    this.expected = expected;
    this.finished = new Promise((resolve) => (this.finish = resolve));
  }

  get latencies() {
    return [...this.#seen.values()];
  }

  /** Resolves once the reader is attached, or has failed to. */
  start({ room, epoch, seq, interval, signal, tell }) {
    const fail = (error) => {
      if (signal.aborted) return;
      this.failure = error.message;
      this.finish();
      tell();
    };
    return new Promise((resolve) => {
      const reader = {
        room,
        signal,
        traffic: this.traffic,
        interval: () => interval,
        position: () => `${epoch}:${seq}`,
        opened: resolve,
        gap: () => fail(new Error('the server told of a gap')),
        event: (event) => {
          const now = performance.now();
          ({ epoch, seq } = event);
          this.#note(event.payload, now);
          tell();
        },
      };
      transports[this.name].read(reader).catch((error) => {
        fail(error);
        resolve();
      });
      sleep(PATIENCE_MS, signal).then(resolve, resolve);
    });
  }

  #note(payload, now) {
    if (typeof payload?.sentAt !== 'number' || this.#seen.has(payload.number)) return;
    this.#seen.set(payload.number, now - payload.sentAt);
    if (this.#seen.size === this.expected) this.finish();
  }
}

/** Adds up what the browser tells of the polls' responses: the body as sent, and 300 B for its head. */
function observeTransfers(room, runs) {
  if (!globalThis.PerformanceObserver?.supportedEntryTypes?.includes('resource')) return null;
  const polls = `${eventsPath(room)}?`;
  const observer = new PerformanceObserver((list) => {
    for (const { name, transferSize } of list.getEntries()) {
      if (!name.includes(polls)) continue;
      const transport = name.includes('wait=') ? 'longpoll' : 'shortpoll';
      runs.find((run) => run.name === transport).transferred += transferSize;
    }
  });
  observer.observe({ type: 'resource' });
  return observer;
}
