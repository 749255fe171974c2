// When to say that somebody types: at the first key, again while it goes on, and no more after a silence.

/** Silence after which typing has stopped. */
const SILENCE_MS = 2_000;

/** The server forgets it after 6 s; it is told again before that. */
const REPEAT_MS = 4_000;

export class TypingSignal {
  #start;
  #stop;
  #saidAt = null;
  #silence = null;

  /** `start` and `stop` say it to the server. */
  constructor({ start, stop }) {
    this.#start = start;
    this.#stop = stop;
  }

  /** A key was pressed. */
  typed(now = Date.now()) {
    if (this.#saidAt === null || now - this.#saidAt >= REPEAT_MS) {
      this.#saidAt = now;
      this.#start();
    }
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => this.stopped(), SILENCE_MS);
  }

  /** Nothing is written any more. */
  stopped() {
    if (this.#forget()) this.#stop();
  }

  /** The message was sent, which ends typing by itself. */
  sent() {
    this.#forget();
  }

  #forget() {
    clearTimeout(this.#silence);
    const typing = this.#saidAt !== null;
    this.#saidAt = null;
    return typing;
  }
}
