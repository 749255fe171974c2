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
    /** Where it publishes next: an `Endpoint`. */
    this.somewhere = () => this.server;
    /** How long it waits at most between two messages, in ms, and how often it does. */
    this.pause = { most: 30, share: 0.1 };
  }

  /** One that also publishes by Socket.IO, going from one place to another, and never in a hurry. */
  static wandering(places, ...args) {
    const publisher = new Publisher(...args);
    publisher.ways.push((payload, id) => publisher.#byClient({}, ['publish', publisher.room, 'message', payload, { id }]));
    publisher.somewhere = () => publisher.random.pick(places);
    publisher.pause = { most: 200, share: 1 };
    return publisher;
  }

  /** What is published as a message's text. */
  payload(id, text) {
    return { id, text };
  }

  /** Publishes `count` messages, up to eight at a time, or until it is told `enough`. `progress` is called after each. */
  async run(count, progress) {
    let next = 0;
    const worker = async () => {
      while (next < count && !this.isEnough) {
        await this.#publish(next++);
        progress();
        if (this.random.chance(this.pause.share)) await sleep(this.random.below(this.pause.most));
      }
    };
    await Promise.all(Array.from({ length: 8 }, worker));
    (await this.socket?.catch(() => null))?.ws.terminate();
    (await this.client?.catch(() => null))?.close();
  }

  /** It begins no other message; those that are under way are sent until they are acknowledged. */
  enough() {
    this.isEnough = true;
  }

  /** It gives up, whatever is under way. */
  abandon() {
    this.enough();
    this.isAbandoned = true;
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
        if (error instanceof Wrong || this.isAbandoned) throw error;
        this.retries += 1;
        await sleep(20 + this.random.below(50));
      }
    }
  }

  async #bySocket(frame) {
    this.socket ??= Socket.open(this.somewhere());
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
    const server = this.somewhere();
    return answered(server, await server.publish(this.room, { payload, id }));
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
      (text, clientMessageId) => publisher.#byClient({ namespace: '/chat' }, ['message', { room: id, text, clientMessageId }]),
    );
    return publisher;
  }

  async #byChat(path, body) {
    const headers = { 'content-type': 'application/json' };
    const server = this.somewhere();
    return answered(server, await get(`${server.http}${path}`, { method: 'POST', headers, body: JSON.stringify(body) }));
  }

  async #byClient(where, question) {
    this.client ??= Client.open(this.somewhere(), { ...where, transports: [this.random.pick(['websocket', 'polling'])] });
    const opened = this.client;
    try {
      const client = await opened;
      const answer = await within(5000, client.ask(...question), 'an acknowledgement');
      if (answer.code === undefined) return answer;
      throw answer.code === 'unavailable' ? new Error(answer.code) : new Wrong(JSON.stringify(answer));
    } catch (error) {
      if (this.client === opened) this.client = null;
      opened.then((client) => client.close(), () => {});
      throw error;
    }
  }
}

async function answered(server, answer) {
  if (answer.status === 201) return answer.json();
  const text = await answer.text();
  const sentence = `status ${answer.status}: ${text}`;
  throw server.excuses.includes(answer.status) ? new Error(sentence) : new Wrong(sentence);
}
