// The chat's one WebSocket: calls that are answered, rooms that are joined, and coming back when it is lost.

import { Lost, Refusal, address, sleep } from './wire.js';

const BASE_DELAY_MS = 1_000;
const MAX_DELAY_MS = 30_000;

/** How long an answer may take, and the sign of life that is asked for while nothing else is. */
const ANSWER_MS = 15_000;
const LIFE_EVERY_MS = 25_000;
const LIFE_WITHIN_MS = 10_000;

/** After these the same connection would end in the same way, or is unwanted for a while. */
const TOKEN_OVER = 4401;
const ASKED_TOO_MUCH = 4429;

export class Connection {
  #token;
  #told;
  #socket = null;
  #live = false;
  #calls = new Map();
  #lastRef = 0;
  #patience = null;
  #stopped = new AbortController();

  /**
   * `told` hears `state(name, detail)` (`connecting`, `live`, `waiting` with `{until, reason}`, `refused` with a sentence),
   * `welcome(frame)`, and every other frame that answers nothing as `frame(frame)`.
   */
  constructor(token, told) {
    this.#token = token;
    this.#told = told;
  }

  /** Connects, again and again, until it is stopped or the server says that this identity is not wanted. */
  async run() {
    const { signal } = this.#stopped;
    for (let attempt = 0; !signal.aborted; attempt += 1) {
      this.#told.state('connecting');
      let error = await this.#once(() => (attempt = 0));
      if (signal.aborted) return;
      if (error.early) error = await this.#reason(error);
      if (error instanceof Refusal && !error.passing) {
        this.#told.state('refused', error.message);
        return;
      }
      const delay = error.delay ?? backoff(attempt);
      this.#told.state('waiting', { until: Date.now() + delay, reason: error.message });
      await this.#wait(delay);
    }
  }

  stop() {
    this.#stopped.abort();
    this.#socket?.close(1000, 'Client closing');
  }

  /** Comes back at once instead of waiting. */
  hurry() {
    this.#patience?.abort();
  }

  get live() {
    return this.#live;
  }

  /** Asks; rejects with `Refusal` when the server says no, with `Lost` when it says nothing. */
  call(method, payload = {}, within = ANSWER_MS) {
    return this.#ask({ type: 'call', method, payload }, within);
  }

  join(room, since) {
    return this.#ask({ type: 'join', room, since: since ?? undefined, echo: true });
  }

  leave(room) {
    return this.#ask({ type: 'leave', room });
  }

  #ask(frame, within = ANSWER_MS) {
    if (!this.#live) return Promise.reject(new Lost('not connected'));
    return new Promise((resolve, reject) => {
      const ref = String((this.#lastRef += 1));
      const timer = setTimeout(() => {
        this.#calls.delete(ref);
        reject(new Lost('no answer in time'));
      }, within);
      this.#calls.set(ref, { resolve, reject, timer });
      this.#socket.send(JSON.stringify({ ...frame, ref }));
    });
  }

  #settle(ref, act) {
    const waiting = this.#calls.get(ref);
    if (!waiting) return false;
    clearTimeout(waiting.timer);
    this.#calls.delete(ref);
    act(waiting);
    return true;
  }

  /** One connection, from its beginning to its end; resolves to why it ended. */
  #once(welcomed) {
    return new Promise((resolve) => {
      const url = address('/ws');
      url.protocol = url.protocol.replace('http', 'ws');
      const protocols = ['denrei.v1.json', ...(this.#token ? [`denrei.token.${this.#token}`] : [])];
      const socket = open(url, protocols);
      if (!socket) return resolve(new Refusal('a token has letters, digits, dots, - and _ only', { passing: false }));
      this.#socket = socket;
      let life;
      const end = (error) => {
        if (this.#socket !== socket) return;
        this.#socket = null;
        const early = !this.#live;
        this.#live = false;
        clearInterval(life);
        socket.close(1000, 'Client closing');
        for (const ref of [...this.#calls.keys()])
          this.#settle(ref, ({ reject }) => reject(new Lost('the connection was lost')));
        resolve(Object.assign(error, { early }));
      };
      const receive = {
        welcome: (frame) => {
          welcomed();
          this.#live = true;
          life = setInterval(() => this.call('echo', {}, LIFE_WITHIN_MS).catch(silent), LIFE_EVERY_MS);
          this.#told.state('live');
          this.#told.welcome(frame);
        },
        reply: (frame) => this.#settle(frame.ref, ({ resolve }) => resolve(frame.payload)),
        error: (frame) => {
          const refusal = refusalOf(frame);
          if (!this.#settle(frame.ref, ({ reject }) => reject(refusal))) this.#told.frame(frame);
        },
        shutdown: ({ message, reconnectDelay }) => end(new Lost(message, reconnectDelay)),
      };
      const silent = (error) => error instanceof Lost && end(new Lost('the server is silent'));
      socket.onmessage = ({ data }) => {
        if (this.#socket !== socket) return;
        const frame = JSON.parse(data);
        (receive[frame.type] ?? this.#told.frame)(frame);
      };
      socket.onclose = ({ code, reason }) => end(endOf(code, reason));
    });
  }

  /** A page is not told why a WebSocket was refused; a request by the same token is. */
  async #reason(error) {
    try {
      const headers = this.#token ? { Authorization: `Bearer ${this.#token}` } : {};
      const answer = await fetch('/api/chat/directory?limit=1', {
        headers,
        cache: 'no-store',
        signal: this.#stopped.signal,
      });
      if (answer.status !== 401 && answer.status !== 403) return error;
      const { error: sentence, advice } = await answer.json();
      return new Refusal(advice ? `${sentence}. ${advice}` : sentence, { passing: false });
    } catch {
      return error;
    }
  }

  async #wait(delay) {
    this.#patience = new AbortController();
    await sleep(delay, AbortSignal.any([this.#patience.signal, this.#stopped.signal])).catch(() => {});
    this.#patience = null;
  }
}

/** Null when the token cannot be a subprotocol's name, which `WebSocket` refuses. */
function open(url, protocols) {
  try {
    return new WebSocket(url, protocols);
  } catch {
    return null;
  }
}

function refusalOf({ error, code, retryAfter }) {
  const refusal = new Refusal(error, { passing: retryAfter !== undefined, retryAfter });
  refusal.code = code;
  return refusal;
}

function endOf(code, reason) {
  if (code === TOKEN_OVER) return new Refusal(reason || 'the token is over', { passing: false });
  if (code === ASKED_TOO_MUCH) return new Lost('asked too much', MAX_DELAY_MS);
  return new Lost(code === 1006 ? 'the connection was lost' : `closed with ${code}${reason && ` ${reason}`}`);
}

function backoff(attempt) {
  return Math.min(BASE_DELAY_MS * 2 ** attempt + Math.random() * 1_000, MAX_DELAY_MS);
}
