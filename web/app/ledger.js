// The continuous check of one room: every number once, in order, or an honest word about it.

export class Ledger {
  /** @param {string} position `EPOCH:SEQ`, the place behind which reading starts. */
  constructor(position) {
    [this.epoch, this.seq] = parsePosition(position);
    this.accepted = 0;
    this.first = null;
    /** Numbers the server said it cannot replay: `{from, to, epoch}`. */
    this.gaps = [];
    /** Numbers that went missing without a word. */
    this.lost = [];
    /** Messages that came a second time and were dropped. */
    this.repeats = 0;
    /** Messages that had to be asked for separately. */
    this.fetched = 0;
  }

  get position() {
    return `${this.epoch}:${this.seq}`;
  }

  /** Ephemeral rooms have no log: no numbers, nothing to resume, nothing to check. */
  get numbered() {
    return this.epoch !== 'none';
  }

  get whole() {
    return this.gaps.length === 0 && this.lost.length === 0;
  }

  /** What this event is for a reader at `position`: `next`, `repeat` or `hole` (something is missing before it). */
  judge(event) {
    if (!this.numbered) return 'next';
    if (event.epoch !== this.epoch) return 'hole';
    if (event.seq <= this.seq) return 'repeat';
    return event.seq === this.seq + 1 ? 'next' : 'hole';
  }

  /** Moves on to an event; what it skips is lost. */
  accept(event) {
    if (this.judge(event) === 'hole') {
      const from = event.epoch === this.epoch ? this.seq + 1 : 0;
      this.lost.push({ from, to: event.seq - 1, epoch: event.epoch });
    }
    this.epoch = event.epoch;
    this.seq = event.seq;
    this.first ??= event.seq;
    this.accepted += 1;
  }

  /** Moves over what cannot be replayed. A new epoch may have lost some of the old, unless none was seen. */
  skip(gap) {
    const began = gap.epoch !== this.epoch && this.accepted > 0;
    if (began || gap.to >= Math.max(gap.from, 1)) this.gaps.push(gap);
    this.epoch = gap.epoch;
    this.seq = gap.to;
  }
}

/** `EPOCH:SEQ` as `[epoch, seq]`. */
export function parsePosition(position) {
  const at = position.lastIndexOf(':');
  return [position.slice(0, at), Number(position.slice(at + 1))];
}

/** A gap in words; `from` is 0 when the epoch changed. */
export function describe({ from, to, epoch }) {
  if (from > 0) return `${range(from, to)} cannot be replayed`;
  return `the room began anew as ${epoch}${to > 0 ? `, ${range(1, to)} cannot be replayed` : ''}`;
}

export function range(from, to) {
  return from === to ? `${from}` : `${from} to ${to}`;
}
