// A reader that goes from transport to transport, taking nothing with it but its position.

import http from 'node:http';
import https from 'node:https';
import WebSocket from 'ws';
import { Client, WAYS as CONNECTIONS } from './io.mjs';

/** The ways to read; each resolves when the reader has left, or the server has ended it. */
const WAYS = { websocket, stream, longPoll, shortPoll };

export class Reader {
  constructor(name, server, room, random) {
    Object.assign(this, { name, server, room, random });
    /** What it was told, as in `history.mjs`. */
    this.steps = [];
    /** `EPOCH:SEQ`; none before the first answer. */
    this.place = null;
    /** The position at which it is finished, once that is known. */
    this.goal = null;
    /** Stays that went well, by transport. */
    this.stays = {};
    this.ways = WAYS;
    /** Where it reads next: an `Endpoint`. */
    this.somewhere = () => this.server;
  }

  /** One that reads a room of the chat, also by Socket.IO. */
  static chat(...args) {
    const reader = new Reader(...args);
    reader.ways = { ...WAYS, socketio: chatClient };
    return reader;
  }

  /** One that reads any other room, also by Socket.IO, going from one place to another. */
  static wandering(places, ...args) {
    const reader = new Reader(...args);
    reader.ways = { ...WAYS, socketio: roomClient };
    reader.somewhere = () => reader.random.pick(places);
    return reader;
  }

  get isFinished() {
    return this.goal !== null && this.place === this.goal;
  }

  /** Reads until it stands at its goal. `refused` is told of errors; it throws what a server may not do. */
  async run(refused) {
    while (!this.isFinished && !this.isAbandoned) {
      const way = this.random.pick(Object.keys(this.ways));
      // How many events it stays for, and how long at most.
      this.left = this.random.pick([1, 10, 100, 1000]);
      this.server = this.somewhere();
      const leave = new AbortController();
      const timer = setTimeout(() => leave.abort(), this.goal ? 2000 : 50 + this.random.below(1500));
      this.leave = () => leave.abort();
      try {
        await this.ways[way](this, leave.signal);
        this.stays[way] = (this.stays[way] ?? 0) + 1;
      } catch (error) {
        refused(error, way);
      } finally {
        clearTimeout(timer);
      }
      // Some stay away for a while; the others are back at once.
      await sleep(this.random.chance(0.3) ? this.random.below(300) : 5);
    }
  }

  /** It gives up, wherever it stands. */
  abandon() {
    this.isAbandoned = true;
    this.leave?.();
  }

  start(position) {
    if (this.place !== null) return;
    const { epoch, seq } = parse(position);
    this.steps.push({ kind: 'start', epoch, seq });
    this.place = position;
  }

  message({ room, epoch, seq, payload }) {
    if (room !== this.room) throw new Wrong(`${this.name} reads ${this.room} and was given ${room}`);
    this.steps.push({ kind: 'message', epoch, seq, content: contentOf(room, seq, payload) });
    this.#moved(`${epoch}:${seq}`);
  }

  gap({ epoch, from, to }) {
    this.steps.push({ kind: 'gap', epoch, from, to });
    this.#moved(`${epoch}:${to}`);
  }

  #moved(place) {
    this.place = place;
    this.left -= 1;
    if (this.left <= 0 || this.isFinished) this.leave();
  }
}

/** What a message says, as its publisher wrote it. In a chat room in which nothing else happens, both numbers are one. */
export function contentOf(room, seq, payload) {
  if (!room.startsWith('chat:')) return JSON.stringify(payload);
  if (payload.sequence !== seq) throw new Wrong(`the event ${seq} of ${room} has the message ${payload.sequence}`);
  return JSON.stringify(payload.content);
}

/** Something that a server must not do, whatever happens to it. */
export class Wrong extends Error {}

async function websocket(reader, signal) {
  const ws = new WebSocket(`${reader.server.ws}/ws`, { perMessageDeflate: reader.random.chance(0.5) });
  await stay(signal, (leave, fail) => {
    ws.on('error', fail);
    ws.on('close', leave);
    ws.on('open', () => ws.send(JSON.stringify({ type: 'join', room: reader.room, since: reader.place ?? undefined, ref: 'join' })));
    ws.on('message', (data) => {
      if (signal.aborted) return;
      const frame = JSON.parse(data);
      if (frame.type === 'error') return fail(new Error(frame.code));
      if (frame.type === 'reply') reader.start(`${frame.payload.epoch}:${frame.payload.seq}`);
      if (frame.type === 'gap') reader.gap(frame);
      // What has no number is no part of the log.
      if (frame.type === 'broadcast' && frame.seq > 0) reader.message(frame);
      dawdle(reader, ws);
    });
  }).finally(() => ws.terminate());
}

async function chatClient(reader, signal) {
  const client = new Client(reader.server, { namespace: '/chat', transports: [reader.random.pick(['websocket', 'polling'])] });
  const { socket } = client;
  const id = reader.room.slice('chat:'.length);
  await stay(signal, (leave, fail) => {
    socket.on('connect_error', fail);
    socket.on('disconnect', leave);
    socket.on('message', ({ room, epoch, seq, sequence, text }) => {
      if (!signal.aborted) reader.message({ room: `chat:${room}`, epoch, seq, payload: { sequence, content: text } });
    });
    socket.on('gap', (gap) => {
      if (!signal.aborted) reader.gap(gap);
    });
    socket.on('connect', () => socket.emit('openRoom', id, { since: reader.place ?? undefined }, (answer) => {
      if (signal.aborted) return;
      if (answer.status !== 'ok') fail(new Error(answer.code));
      else reader.start(`${answer.epoch}:${answer.seq}`);
    }));
  }).finally(() => client.close());
}

async function roomClient(reader, signal) {
  const client = new Client(reader.server, reader.random.pick(Object.values(CONNECTIONS)));
  const { socket } = client;
  await stay(signal, (leave, fail) => {
    socket.on('connect_error', fail);
    socket.on('disconnect', leave);
    socket.on('message', (payload, { room, epoch, seq }) => {
      if (!signal.aborted) reader.message({ room, epoch, seq, payload });
    });
    socket.on('gap', (gap) => {
      if (!signal.aborted) reader.gap(gap);
    });
    socket.on('connect', () => socket.emit('join', reader.room, reader.place ?? undefined, (answer) => {
      if (signal.aborted) return;
      if (answer.error) fail(new Error(answer.code));
      else reader.start(`${answer.epoch}:${answer.seq}`);
    }));
  }).finally(() => client.close());
}

/** A request with a connection of its own. */
function get(url, options) {
  return (url.startsWith('https:') ? https : http).get(url, { agent: false, ...options });
}

async function stream(reader, signal) {
  const path = `/sse?format=envelope&room=${encodeURIComponent(reader.room)}`;
  const headers = reader.place === null ? {} : { 'last-event-id': reader.place };
  const request = get(`${reader.server.http}${path}`, { headers });
  await stay(signal, (leave, fail) => {
    request.on('error', fail);
    request.on('response', (response) => {
      if (response.statusCode !== 200) return fail(refusal(reader, response.statusCode));
      let text = '';
      response.setEncoding('utf8');
      response.on('error', fail);
      response.on('close', leave);
      response.on('data', (chunk) => {
        text += chunk;
        const events = text.split('\n\n');
        text = events.pop();
        for (const event of events) {
          if (signal.aborted) return;
          take(reader, event);
        }
        dawdle(reader, response);
      });
    });
  }).finally(() => request.destroy());
}

function take(reader, event) {
  const fields = Object.fromEntries(event.split('\n').map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]));
  if (fields.event === 'message') {
    const object = JSON.parse(fields.data);
    if (fields.id !== `${object.epoch}:${object.seq}`) throw new Wrong(`the event ${fields.data} has the id ${fields.id}`);
    reader.message(object);
  }
  if (fields.event === 'gap') reader.gap(JSON.parse(fields.data));
  if (fields.event === 'connected') {
    reader.start(fields.id);
    if (fields.id !== reader.place) throw new Wrong(`${reader.name} stands at ${reader.place} and is connected at ${fields.id}`);
  }
}

async function longPoll(reader, signal) {
  await poll(reader, signal, () => `wait=${reader.random.pick([1, 25])}`);
}

async function shortPoll(reader, signal) {
  await poll(reader, signal, () => '', 50);
}

async function poll(reader, signal, extra, pause = 0) {
  const room = encodeURIComponent(reader.room);
  while (!signal.aborted) {
    const since = reader.place === null ? '' : `since=${reader.place}&`;
    const limit = reader.random.pick([1, 10, 50, 500]);
    const url = `${reader.server.http}/api/rooms/${room}/events?${since}limit=${limit}&${extra()}`;
    const answer = await fetch(url, { signal }).catch((error) => {
      if (signal.aborted) return null;
      throw error;
    });
    if (answer === null) return;
    if (answer.status === 204) {
      reader.start(answer.headers.get('denrei-position'));
    } else if (answer.status === 200) {
      // Read to its end, also when the time is up: what has arrived counts.
      const page = await answer.json().catch((error) => {
        if (signal.aborted) return null;
        throw error;
      });
      if (page === null) return;
      turn(reader, page);
    } else {
      await answer.body?.cancel();
      throw refusal(reader, answer.status);
    }
    if (pause > 0) await sleep(pause);
  }
}

function turn(reader, { events, next, gap }) {
  const last = events.at(-1);
  if (last && next !== `${last.epoch}:${last.seq}`) throw new Wrong(`a page ends at ${last.epoch}:${last.seq} and says ${next}`);
  const first = events[0] ? `${events[0].epoch}:${events[0].seq - 1}` : next;
  reader.start(first);
  if (gap) {
    const place = parse(reader.place);
    const { epoch, seq } = parse(first);
    reader.gap({ epoch, from: epoch === place.epoch && seq > place.seq ? place.seq + 1 : 0, to: seq });
  } else if (!last && next !== reader.place) {
    throw new Wrong(`an empty page moves ${reader.name} from ${reader.place} to ${next}`);
  }
  for (const event of events) reader.message(event);
}

/** Runs until the reader wants to leave, or the other side ends it. */
function stay(signal, begin) {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return resolve();
    signal.addEventListener('abort', resolve, { once: true });
    const guarded = (error) => (signal.aborted ? resolve() : reject(error));
    begin(resolve, guarded);
  });
}

/** Now and then a reader does not read for a while. */
function dawdle(reader, source) {
  if (!reader.random.chance(0.02)) return;
  source.pause();
  setTimeout(() => source.resume(), reader.random.below(200)).unref();
}

function refusal({ server }, status) {
  return server.excuses.includes(status) ? new Error(String(status)) : new Wrong(`status ${status}`);
}

export function parse(position) {
  const [epoch, seq] = position.split(':');
  return { epoch, seq: Number(seq) };
}

export function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
