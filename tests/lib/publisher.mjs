// A publisher that sends each message until it is acknowledged, always with the same id.

import { Client } from './io.mjs';
import { Socket } from './socket.mjs';
import { get, within } from './server.mjs';
import { Wrong, sleep } from './readers.mjs';

export class Publisher {
  constructor(name, server, room, random, clock) {
    Object.assign(this, { name, server, room, random, clock });
    /** As in `history.mjs`. */
    this.publishes = [];
    this.retries = 0;
    this.socket = null;
    /** The ways to publish: each resolves to what is answered. */
    this.ways = [(payload, id) => this.#bySocket({ type: 'broadcast', room, payload, id }), (payload, id) => this.#byPost(payload, id)];
    /** Whether a message sent again is found as long as it is kept. */
    this.remembers = room.startsWith('feed:');
  }

  /** What is published as a message's text. */
  payload(id, text) {
    return { id, text };
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
    (await this.client?.catch(() => null))?.close();
  }

  async #publish(number) {
    const id = `${this.name}-${number}`;
    // A few are large, so that sockets fill up.
    const length = this.random.chance(0.02) ? 20_000 + this.random.below(40_000) : this.random.below(200);
    const payload = this.payload(id, 'x'.repeat(length));
    const publish = { room: this.room, content: JSON.stringify(payload), sent: this.clock() };
    this.publishes.push(publish);
    const { seq, epoch } = await this.#insist(payload, id);
    Object.assign(publish, { seq, epoch, acked: this.clock() });
    if (this.remembers && this.random.chance(0.05)) {
      const again = await this.#insist(payload, id);
      if (!again.duplicate || again.seq !== seq || again.epoch !== epoch) {
        throw new Wrong(`${id} was ${epoch}:${seq} and is, sent again, ${JSON.stringify(again)}`);
      }
    }
  }

  async #insist(payload, id) {
    for (;;) {
      try {
        return await this.random.pick(this.ways)(payload, id);
      } catch (error) {
        if (error instanceof Wrong) throw error;
        this.retries += 1;
        await sleep(20 + this.random.below(50));
      }
    }
  }

  async #bySocket(frame) {
    this.socket ??= Socket.open(this.server);
    const opened = this.socket;
    try {
      const socket = await opened;
      const answer = await within(5000, socket.ask(frame), 'an acknowledgement');
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

  /** The same through the chat, by what it has of its own besides. */
  static chat(...args) {
    const publisher = new Publisher(...args);
    const id = publisher.room.slice('chat:'.length);
    publisher.payload = (name, text) => `${name} ${text}`;
    publisher.remembers = true;
    publisher.ways.push(
      (content, clientMessageId) => publisher.#bySocket({ type: 'call', method: 'chat.send', payload: { room: id, content, clientMessageId } }),
      (content, clientMessageId) => publisher.#byChat(`/api/chat/rooms/${id}/messages`, { content, clientMessageId }),
      (text, clientMessageId) => publisher.#byClient({ room: id, text, clientMessageId }),
    );
    return publisher;
  }

  async #byChat(path, body) {
    const headers = { 'content-type': 'application/json' };
    const answer = await get(`${this.server.http}${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
    if (answer.status === 201) return answer.json();
    const text = await answer.text();
    throw answer.status === 503 ? new Error(text) : new Wrong(`status ${answer.status}: ${text}`);
  }

  async #byClient(message) {
    this.client ??= Client.open(this.server, { namespace: '/chat', transports: [this.random.pick(['websocket', 'polling'])] });
    const opened = this.client;
    try {
      const client = await opened;
      const answer = await within(5000, client.ask('message', message), 'an acknowledgement');
      if (answer.status === 'ok') return answer;
      throw answer.code === 'unavailable' ? new Error(answer.code) : new Wrong(JSON.stringify(answer));
    } catch (error) {
      if (this.client === opened) this.client = null;
      opened.then((client) => client.close(), () => {});
      throw error;
    }
  }
}
