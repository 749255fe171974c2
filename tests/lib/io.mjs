// Socket.IO's own clients, 4.x and 2.x: what has come and nobody has taken yet, awaited by what it is.

import { createRequire } from 'node:module';
import { io } from 'socket.io-client';
import * as msgpack from 'socket.io-msgpack-parser';
import { Inbox } from './inbox.mjs';
import { within } from './server.mjs';

const io2 = createRequire(import.meta.url)('socket.io-client-2');

/** Ways to a server, as options of a client. The third changes its transport when it is connected. */
export const WAYS = {
  polling: { transports: ['polling'] },
  websocket: { transports: ['websocket'] },
  upgrade: { transports: ['polling', 'websocket'] },
};

/** Clients that a server may be set to serve: how they connect, and the server's settings. */
export const DIALECTS = {
  'socket.io-client 4': { connect: io, config: '' },
  'socket.io-client 4 with msgpack': { connect: (url, options) => io(url, { parser: msgpack, ...options }), config: 'parser = "msgpack"\n' },
  'socket.io-client 2': { connect: io2, config: 'allow_eio3 = true\n' },
};

export class Client {
  /** A client that is connected to a namespace. */
  static async open(server, options = {}) {
    const client = new Client(server, options);
    await client.connected();
    return client;
  }

  constructor(server, { namespace = '/', connect = io, ...options } = {}) {
    this.socket = connect(`${server.http}${namespace}`, { forceNew: true, reconnection: false, ...options });
    this.inbox = new Inbox();
    this.reasons = [];
    const { socket } = this;
    if (socket.onAny) {
      socket.onAny((event, ...args) => this.inbox.push({ event, args }));
    } else {
      const { onevent } = socket;
      socket.onevent = (packet) => {
        const [event, ...args] = packet.data;
        this.inbox.push({ event, args });
        onevent.call(socket, packet);
      };
    }
    socket.on('disconnect', (reason) => {
      this.reasons.push(reason);
      if (options.reconnection === undefined) this.inbox.end(`disconnected (${reason})`);
    });
  }

  /** The name that others see; of a 2.x client the server does not tell it. */
  get id() {
    return this.socket.id;
  }

  get engine() {
    return this.socket.io.engine;
  }

  get transport() {
    return this.engine.transport.name;
  }

  /** Waits until it is connected; fails with the server's no. */
  async connected() {
    if (this.socket.connected) return;
    await within(10_000, new Promise((resolve, reject) => {
      this.socket.once('connect', resolve);
      this.socket.once('connect_error', reject);
      // What 2.x calls a no of the namespace, and one of the server.
      this.socket.once('error', reject);
    }), 'the connection');
  }

  /** Waits until it has changed from polling to a WebSocket. */
  async upgraded() {
    if (this.transport === 'websocket') return;
    await within(10_000, new Promise((resolve) => this.engine.once('upgrade', resolve)), 'the upgrade');
  }

  /** Emits, and resolves to what is answered. */
  ask(event, ...args) {
    const answered = new Promise((resolve) => this.socket.emit(event, ...args, resolve));
    return within(10_000, answered, `an answer to ${event}`);
  }

  join(room, ...more) {
    return this.ask('join', room, ...more);
  }

  publish(room, event, payload, ...more) {
    return this.ask('publish', room, event, payload, ...more);
  }

  /** The next event of a name: its arguments. */
  async event(name) {
    return (await this.inbox.next(({ event }) => event === name, `event ${name}`)).args;
  }

  /** The next `count` events of a name, in order. */
  async events(name, count) {
    const events = [];
    while (events.length < count) events.push(await this.event(name));
    return events;
  }

  /** Waits for the end, and why. */
  async disconnected() {
    if (this.socket.connected) {
      await within(15_000, new Promise((resolve) => this.socket.once('disconnect', resolve)), 'the disconnect');
    }
    return this.reasons.at(-1);
  }

  close() {
    this.socket.close();
  }
}
