// A client of the native protocol in Protobuf: npm's `ws` and `protobufjs` with the published `.proto`, neither of which
// anybody here wrote.

import protobuf from 'protobufjs';
import WebSocket from 'ws';
import { Inbox } from './inbox.mjs';
import { within } from './server.mjs';

const root = await protobuf.load(new URL('../../proto/denrei/v1/websocket.proto', import.meta.url).pathname);
export const ChatMessage = root.lookupType('ChatMessage');
export const WebSocketFrame = root.lookupType('WebSocketFrame');

/** A frame as plain values: numbers, names of enums, and only what was sent. */
export function plain(frame) {
  return WebSocketFrame.toObject(frame, { longs: Number, enums: String, oneofs: true });
}

export class ProtobufSocket {
  static async open(server, { path = '/ws', protocols = ['denrei.v1.protobuf'], ...options } = {}) {
    const socket = new ProtobufSocket(new WebSocket(`${server.ws}${path}`, protocols, options));
    ({ welcome: socket.welcome } = await socket.next((frame) => frame.welcome, 'welcome'));
    return socket;
  }

  constructor(ws) {
    this.ws = ws;
    this.inbox = new Inbox();
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
    ws.on('message', (data, isBinary) => {
      if (isBinary) this.inbox.push(plain(WebSocketFrame.decode(new Uint8Array(data))));
      else this.inbox.end(`a text message: ${data}`);
    });
  }

  send(frame) {
    this.ws.send(WebSocketFrame.encode(WebSocketFrame.create(frame)).finish());
  }

  /** Sends a request with a reference, and resolves to its one answer: what a reply holds, or the error. */
  async ask(frame) {
    this.refs += 1;
    const ref = `r${this.refs}`;
    this.send({ ...frame, ref });
    const answer = await this.next((one) => one.ref === ref, `an answer to ${JSON.stringify(frame).slice(0, 200)}`);
    return answer.reply ? JSON.parse(answer.reply.payload) : answer;
  }

  /** Takes the first frame that matches, waiting for it. */
  async next(matches, what = 'a frame') {
    return this.inbox.next(matches, what);
  }

  /** The next `count` events of a room, in order. */
  async events(room, count) {
    const events = [];
    while (events.length < count) {
      events.push(await this.next((frame) => !frame.control && frame.room === room, `event ${events.length + 1} of ${count} in ${room}`));
    }
    return events;
  }

  async close() {
    this.ws.close(1000, 'Client closing');
    return within(10_000, this.closed, 'the close to be answered');
  }
}
