// A client of Engine.IO that says exactly what it is told to: each request of polling has a connection of its own, and
// nothing is answered or repeated by itself.

import http from 'node:http';
import WebSocket from 'ws';
import { Inbox } from './inbox.mjs';
import { within } from './server.mjs';

export const SEPARATOR = '\x1e';

/** One request; `signal` aborts it. */
export function ask(server, target, { method = 'GET', body, headers = {}, signal } = {}) {
  const asked = new Promise((resolve, reject) => {
    const request = http.request(`${server.http}${target}`, { method, headers, signal, agent: false }, (response) => {
      const chunks = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const raw = Buffer.concat(chunks);
        resolve({ status: response.statusCode, headers: response.headers, raw, body: raw.toString() });
      });
    });
    request.on('error', reject);
    request.end(body);
  });
  return within(15_000, asked, `an answer to ${method} ${target}`);
}

/** A session that polls. */
export class Polling {
  static async open(server, { path = '/socket.io/', query = 'EIO=4', headers } = {}) {
    const session = new Polling(server, `${path}?${query}&transport=polling`, headers);
    const answer = await session.get();
    if (answer.status !== 200) throw new Error(`status ${answer.status}: ${answer.body}`);
    session.opening = JSON.parse(session.heard.shift().slice(1));
    session.sid = session.opening.sid;
    session.answer = answer;
    return session;
  }

  constructor(server, target, headers) {
    Object.assign(this, { server, target, headers });
    /** Packets that came and were not taken. */
    this.heard = [];
  }

  get url() {
    return this.sid === undefined ? this.target : `${this.target}&sid=${this.sid}`;
  }

  /** Polls once; the packets of the answer are there to be taken. */
  async get(options) {
    const answer = await ask(this.server, this.url, { headers: this.headers, ...options });
    if (answer.status === 200 && answer.body !== '') this.heard.push(...answer.body.split(SEPARATOR));
    return answer;
  }

  post(body, options) {
    return ask(this.server, this.url, { method: 'POST', body, headers: this.headers, ...options });
  }

  /** Sends packets in one body, which must be taken. */
  async send(...packets) {
    const { status, body } = await this.post(packets.join(SEPARATOR));
    if (status !== 200) throw new Error(`status ${status}: ${body}`);
  }

  /** The next packet, polling for it; null when the session has ended. */
  async hear() {
    while (this.heard.length === 0) {
      const { status } = await this.get();
      if (status !== 200) return null;
    }
    return this.heard.shift();
  }

  /** Waits until the session is known no more; what comes before is dropped. */
  async end() {
    while (await this.hear() !== null);
  }
}

/** A session on a WebSocket, or a WebSocket that tries to become a session's. */
export class Socket {
  static async open(server, { path = '/socket.io/', query = 'EIO=4', ...options } = {}) {
    const socket = await Socket.connect(server, `${path}?${query}&transport=websocket`, options);
    socket.opening = JSON.parse((await socket.hear()).slice(1));
    socket.sid = socket.opening.sid;
    return socket;
  }

  /** A WebSocket with the id of a session that polls. */
  static probe({ server, target, sid }) {
    return Socket.connect(server, `${target.replace('=polling', '=websocket')}&sid=${sid}`);
  }

  static async connect(server, target, options = {}) {
    const socket = new Socket(new WebSocket(`${server.ws}${target}`, options));
    await within(10_000, socket.opened, `a WebSocket at ${target}`);
    return socket;
  }

  constructor(ws) {
    this.ws = ws;
    this.inbox = new Inbox();
    this.opened = new Promise((resolve, reject) => {
      ws.on('open', resolve);
      ws.on('error', reject);
    });
    /** How it was closed: the code that the other side gave. */
    this.closed = new Promise((resolve) => { ws.on('close', resolve); });
    this.closed.then((code) => this.inbox.end(`closed (${code})`));
    ws.on('message', (data, binary) => this.inbox.push(binary ? data : data.toString()));
  }

  send(...packets) {
    for (const packet of packets) this.ws.send(packet);
  }

  /** The next packet; null when the session has ended. */
  async hear() {
    return this.inbox.next(() => true, 'a packet').catch((error) => {
      if (this.inbox.ended) return null;
      throw error;
    });
  }

  /** Waits until the server has closed; what comes before is dropped. */
  end() {
    return within(10_000, this.closed, 'the server to close');
  }

  async close() {
    this.ws.close();
    await this.end();
  }
}
