// A publisher that sends each message until it is acknowledged, always with the same id.

import { Socket } from './socket.mjs';
import { within } from './server.mjs';
import { Wrong, sleep } from './readers.mjs';

export class Publisher {
  constructor(name, server, room, random, clock) {
    Object.assign(this, { name, server, room, random, clock });
    /** As in `history.mjs`. */
    this.publishes = [];
    this.retries = 0;
    this.socket = null;
  }

  /** Publishes `count` messages, up to eight at a time. `progress` is called after each. */
  async run(count, progress) {
    let next = 0;
    const worker = async () => {
      while (next < count) {
        await this.#publish(next++);
        progress();
        if (this.random.chance(0.1)) await sleep(this.random.below(30));
      }
    };
    await Promise.all(Array.from({ length: 8 }, worker));
    (await this.socket?.catch(() => null))?.ws.terminate();
  }

  async #publish(number) {
    const id = `${this.name}-${number}`;
    // A few are large, so that sockets fill up.
    const length = this.random.chance(0.02) ? 20_000 + this.random.below(40_000) : this.random.below(200);
    const payload = { id, text: 'x'.repeat(length) };
    const publish = { room: this.room, content: JSON.stringify(payload), sent: this.clock() };
    this.publishes.push(publish);
    const { seq, epoch } = await this.#insist(payload, id);
    Object.assign(publish, { seq, epoch, acked: this.clock() });
    if (this.room.startsWith('feed:') && this.random.chance(0.05)) {
      const again = await this.#insist(payload, id);
      if (!again.duplicate || again.seq !== seq || again.epoch !== epoch) {
        throw new Wrong(`${id} was ${epoch}:${seq} and is, sent again, ${JSON.stringify(again)}`);
      }
    }
  }

  async #insist(payload, id) {
    for (;;) {
      try {
        return await (this.random.chance(0.5) ? this.#bySocket(payload, id) : this.#byPost(payload, id));
      } catch (error) {
        if (error instanceof Wrong) throw error;
        this.retries += 1;
        await sleep(20 + this.random.below(50));
      }
    }
  }

  async #bySocket(payload, id) {
    this.socket ??= Socket.open(this.server);
    const opened = this.socket;
    try {
      const socket = await opened;
      const answer = await within(5000, socket.ask({ type: 'broadcast', room: this.room, payload, id }), 'an acknowledgement');
      if (answer.type === 'reply') return answer.payload;
      throw answer.code === 'unavailable' ? new Error(answer.code) : new Wrong(JSON.stringify(answer));
    } catch (error) {
      if (this.socket === opened) this.socket = null;
      opened.then((socket) => socket.ws.terminate(), () => {});
      throw error;
    }
  }

  async #byPost(payload, id) {
    const answer = await this.server.publish(this.room, { payload, id });
    if (answer.status === 201) return answer.json();
    const text = await answer.text();
    throw answer.status === 503 ? new Error(text) : new Wrong(`status ${answer.status}: ${text}`);
  }
}
