// A client of the native protocol over npm's `ws`, which nobody here wrote: frames in order, awaited by what they are.

import WebSocket from 'ws';
import { Inbox } from './inbox.mjs';
import { within } from './server.mjs';

export class Socket {
  static async open(server, { path = '/ws', protocols = [], ...options } = {}) {
    const socket = new Socket(new WebSocket(`${server.ws}${path}`, protocols, options));
    socket.welcome = await socket.next((frame) => frame.type === 'welcome', 'welcome');
    return socket;
  }

  constructor(ws) {
    this.ws = ws;
    this.inbox = new Inbox();
    this.frames = this.inbox.items;
    this.refs = 0;
    this.closed = new Promise((resolve, reject) => {
      ws.on('close', (code, reason) => resolve({ code, reason: reason.toString() }));
      ws.on('unexpected-response', (_, response) => reject(new Error(`status ${response.statusCode}`)));
      ws.on('error', reject);
    });
    this.closed.then(
      ({ code, reason }) => this.inbox.end(`closed (${code} ${reason})`),
      (error) => this.inbox.end(error.message),
    );
    ws.on('message', (data) => this.inbox.push(JSON.parse(data.toString())));
  }

  send(frame) {
    this.ws.send(typeof frame === 'string' ? frame : JSON.stringify(frame));
  }

  /** Sends a request with a reference, and resolves to its one answer's frame. */
  async ask(frame) {
    this.refs += 1;
    const ref = this.refs;
    this.send({ ...frame, ref });
    return this.next((answer) => answer.ref === ref, `an answer to ${JSON.stringify(frame).slice(0, 200)}`);
  }

  async join(room, more = {}) {
    const answer = await this.ask({ type: 'join', room, ...more });
    if (answer.type !== 'reply') throw new Error(JSON.stringify(answer));
    return answer.payload;
  }

  async broadcast(room, payload, more = {}) {
    const answer = await this.ask({ type: 'broadcast', room, payload, ...more });
    if (answer.type !== 'reply') throw new Error(JSON.stringify(answer));
    return answer.payload;
  }

  /** Takes the first frame that matches, waiting for it. */
  async next(matches, what = 'a frame') {
    return this.inbox.next(matches, what);
  }

  /** The next `count` broadcasts of a room, in order. */
  async events(room, count) {
    const events = [];
    while (events.length < count) {
      events.push(await this.next((frame) => frame.type === 'broadcast' && frame.room === room, `event ${events.length + 1} of ${count} in ${room}`));
    }
    return events;
  }

  async close() {
    this.ws.close(1000, 'Client closing');
    return within(10_000, this.closed, 'the close to be answered');
  }
}
