// Chance that can be repeated: mulberry32, seeded from DENREI_SEED or the clock.

export const SEED = Number(process.env.DENREI_SEED ?? Date.now() % 2 ** 32);

export class Random {
  constructor(seed) {
    this.state = seed >>> 0;
  }

  /** A number from 0 up to, not including, 1. */
  next() {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let mixed = this.state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number from 0 up to, not including, `end`. */
  below(end) {
    return Math.floor(this.next() * end);
  }

  chance(share) {
    return this.next() < share;
  }

  pick(list) {
    return list[this.below(list.length)];
  }

  /** A generator of its own for a part of the test, so that parts do not disturb each other. */
  fork(label) {
    let hash = this.state;
    for (const character of String(label)) hash = Math.imul(hash ^ character.charCodeAt(0), 0x01000193) >>> 0;
    return new Random(hash);
  }
}
