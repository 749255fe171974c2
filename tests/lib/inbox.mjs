// What has arrived and nobody has taken yet: things in order, awaited by what they are.

import { within } from './server.mjs';

export class Inbox {
  constructor() {
    this.items = [];
    this.looks = new Set();
    this.ended = null;
  }

  push(item) {
    this.items.push(item);
    this.#look();
  }

  /** Nothing more arrives; who still waits is told why. */
  end(why) {
    this.ended ??= new Error(why);
    this.#look();
  }

  /** Takes the first thing that matches, waiting for it. */
  async next(matches = () => true, what = 'something') {
    let look;
    const found = new Promise((resolve, reject) => {
      look = () => {
        const at = this.items.findIndex(matches);
        if (at >= 0) resolve(this.items.splice(at, 1)[0]);
        else if (this.ended) reject(new Error(`${this.ended.message} while waiting for ${what}`));
        else return;
        this.looks.delete(look);
      };
      this.looks.add(look);
      look();
    });
    try {
      return await within(10_000, found, what);
    } finally {
      this.looks.delete(look);
    }
  }

  #look() {
    for (const look of [...this.looks]) look();
  }
}
