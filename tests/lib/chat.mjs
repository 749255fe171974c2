// A user of the chat: a token, requests, and connections of every kind.

import { Client } from './io.mjs';
import { get } from './server.mjs';
import { Socket } from './socket.mjs';
import { Stream } from './stream.mjs';

export class User {
  /** A user, or without an id a guest. */
  static async of(server, id, ...more) {
    return new User(server, id, id && await server.token(id, '--name', id.toUpperCase(), ...more));
  }

  constructor(server, id, token) {
    Object.assign(this, { server, id, token });
    this.open = [];
  }

  get headers() {
    return this.token ? { authorization: `Bearer ${this.token}` } : {};
  }

  /** A request; resolves to its status, as `http`, and its body. */
  async ask(method, path, body) {
    const response = await get(`${this.server.http}${path}`, {
      method,
      headers: { 'content-type': 'application/json', ...this.headers },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    return { http: response.status, headers: response.headers, ...(await response.json().catch(() => ({}))) };
  }

  /** A request that must succeed. */
  async do(method, path, body) {
    const answer = await this.ask(method, path, body);
    if (answer.http >= 300) throw new Error(`${method} ${path}: ${answer.http} ${answer.code} ${answer.error}`);
    return answer;
  }

  join(room) {
    return this.do('POST', `/api/chat/rooms/${room}/join`);
  }

  say(room, content, more = {}) {
    return this.do('POST', `/api/chat/rooms/${room}/messages`, { content, ...more });
  }

  /** A native WebSocket. */
  async socket(options = {}) {
    const protocols = this.token ? ['denrei.v1.json', `denrei.token.${this.token}`] : [];
    return this.#keep(await Socket.open(this.server, { protocols, ...options }));
  }

  /** A client of Socket.IO in `/chat`. */
  async client(options = {}) {
    const auth = this.token ? { token: this.token } : {};
    return this.#keep(await Client.open(this.server, { namespace: '/chat', transports: ['websocket'], auth, ...options }));
  }

  /** An event stream. */
  async stream(path) {
    return this.#keep(await Stream.open(this.server, path, { headers: this.headers }));
  }

  #keep(connection) {
    this.open.push(connection);
    return connection;
  }

  async close() {
    for (const connection of this.open) await connection.close();
  }
}

/** Calls a method of the chat over a native WebSocket; fails with the code of a refusal. */
export async function call(socket, method, payload) {
  const answer = await socket.ask({ type: 'call', method, payload });
  if (answer.type !== 'reply') throw Object.assign(new Error(answer.error), answer);
  return answer.payload;
}

/** The next event of a name. */
export function event(socket, name) {
  return socket.next((frame) => frame.type === 'broadcast' && frame.event === name, `the event ${name}`);
}
