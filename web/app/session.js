// A reader's life in one room: history first, then live over any transport, through lost
// connections and changes of transport. The position is all that is carried over.

import { Ledger } from './ledger.js';
import { ask, poll, transports } from './transports.js';
import { Traffic } from './traffic.js';
import { Refusal, post, randomName, sleep } from './wire.js';

const BASE_DELAY_MS = 1_000;
const MAX_DELAY_MS = 30_000;

export class Session {
  #view;
  #left = new AbortController();
  #attached = null;
  #publish = null;
  #held = null;
  #drafts = [];
  #draining = false;

  /**
   * The view is told everything: `state(name, detail)`, `event(event, via)` (a transport, `history`
   * or `fetched`), `gap(gap)`, `checked(ledger)`, `switched(via, position)`, `waiting(drafts)`,
   * `refused(sentence)`.
   */
  constructor(room, view, { interval }) {
    this.room = room;
    this.interval = interval;
    this.#view = view;
    this.ledger = null;
  }

  /** Shows the newest messages, then reads on from there. */
  async join(via) {
    this.via = via;
    const newest = await this.#history();
    if (!newest) return;
    const first = newest.events[0];
    this.ledger = new Ledger(first ? `${first.epoch}:${first.seq - 1}` : newest.next);
    for (const event of newest.events) this.#accept(event, 'history');
    this.#view.checked(this.ledger);
    this.#follow();
  }

  /** Goes on over another transport, from the position reached over this one. */
  switchTo(via) {
    if (via === this.via) return;
    this.via = via;
    if (!this.ledger) return;
    this.#view.switched(via, this.ledger.position);
    this.#follow();
  }

  /** Queues a message. Its id makes a second sending harmless when the first one's answer got lost. */
  send(payload) {
    this.#drafts.push({ event: 'message', payload, id: randomName() });
    this.#drain();
  }

  leave() {
    this.#left.abort();
    this.#attached?.abort();
    this.#drafts = [];
    this.#view.waiting(0);
    this.#view.state('idle');
  }

  async #history() {
    const { signal } = this.#left;
    this.#view.state('connecting');
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await poll({ room: this.room, signal });
      } catch (error) {
        if (!(await this.#mayRetry(error, attempt, signal))) return null;
      }
    }
  }

  async #follow() {
    this.#attached?.abort();
    this.#attached = new AbortController();
    this.#publish = null;
    const { via } = this;
    const { signal } = this.#attached;
    let attempt = 0;
    for (;;) {
      this.#view.state('connecting');
      try {
        await transports[via].read({
          room: this.room,
          signal,
          traffic: new Traffic(),
          interval: this.interval,
          position: () => (this.ledger.numbered ? this.ledger.position : null),
          opened: ({ publish = null }) => {
            attempt = 0;
            this.#publish = publish;
            this.#view.state('live');
          },
          event: (event) => signal.aborted || this.#arrived(event, via),
          gap: (gap) => signal.aborted || this.#skip(gap),
        });
      } catch (error) {
        if (signal.aborted) return;
        this.#publish = null;
        if (!(await this.#mayRetry(error, attempt, signal))) return;
        attempt += 1;
      }
    }
  }

  /** Waits out the delay before the next try; false when there will be none. */
  async #mayRetry(error, attempt, signal) {
    if (signal.aborted) return false;
    if (error instanceof Refusal && !error.passing) {
      this.#view.state('refused', error.message);
      return false;
    }
    const delay = error.delay ?? backoff(attempt);
    this.#view.state('waiting', `${error.message}; again in ${(delay / 1000).toFixed(1)} s`);
    return sleep(delay, signal).then(
      () => true,
      () => false,
    );
  }

  #arrived(event, via) {
    if (this.#held) {
      this.#held.push([event, via]);
      return;
    }
    const verdict = this.ledger.judge(event);
    if (verdict === 'next') this.#accept(event, via);
    if (verdict === 'repeat') this.ledger.repeats += 1;
    if (verdict === 'hole') this.#fill(event, via);
    this.#view.checked(this.ledger);
  }

  /** Asks for what is missing before an event; later arrivals wait until the answer is in. */
  async #fill(event, via) {
    this.#held = [[event, via]];
    const { signal } = this.#left;
    try {
      while (this.ledger.judge(event) === 'hole') {
        const { position } = this.ledger;
        await ask({
          room: this.room,
          signal,
          position: () => position,
          gap: (gap) => this.#skip(gap),
          event: (missed) => missed.seq < event.seq && this.#acceptMissed(missed),
        });
        if (this.ledger.position === position) break;
      }
    } catch {
      this.#attached.abort();
      await sleep(backoff(0), signal).catch(() => {});
      this.#held = null;
      if (!signal.aborted) this.#follow();
      return;
    }
    this.#release();
  }

  #acceptMissed(event) {
    this.ledger.fetched += 1;
    this.#accept(event, 'fetched');
  }

  #release() {
    const held = this.#held;
    this.#held = null;
    for (const [event, via] of held) {
      if (this.ledger.judge(event) !== 'repeat') this.#accept(event, via);
    }
    this.#view.checked(this.ledger);
  }

  #accept(event, via) {
    this.ledger.accept(event);
    this.#view.event(event, via);
  }

  #skip(gap) {
    const known = this.ledger.gaps.length;
    this.ledger.skip(gap);
    if (this.ledger.gaps.length > known) this.#view.gap(gap);
    this.#view.checked(this.ledger);
  }

  /** Sends the queued messages in order, each until it is acknowledged or refused. */
  async #drain() {
    this.#view.waiting(this.#drafts.length);
    if (this.#draining) return;
    this.#draining = true;
    const { signal } = this.#left;
    for (let attempt = 0; this.#drafts.length > 0 && !signal.aborted; ) {
      const [draft] = this.#drafts;
      try {
        await (this.#publish ? this.#publish(draft) : post(this.room, draft, signal));
        this.#drafts.shift();
        attempt = 0;
      } catch (error) {
        if (error instanceof Refusal && !error.passing) {
          this.#drafts.shift();
          this.#view.refused(error.message);
        } else {
          await sleep(error.delay ?? backoff(attempt), signal).catch(() => {});
          attempt += 1;
        }
      }
      this.#view.waiting(this.#drafts.length);
    }
    this.#draining = false;
  }
}

function backoff(attempt) {
  return Math.min(BASE_DELAY_MS * 2 ** attempt + Math.random() * 1_000, MAX_DELAY_MS);
}
