// A node is killed: how long until all its clients have gone to another one and have everything that they missed.

import { holds, pause, quantiles } from './figures.mjs';
import { Line } from './line.mjs';
import { Setting } from './setting.mjs';

const NODES = 3;
const ROOMS = 100;
const PUBLISHES_PER_S = 200;
const SPREAD_MS = 500;
const DIALS = 100;
const PATIENCE_MS = 60_000;

export async function run({ rounds, clients }, record) {
  for (let round = 0; round < rounds; round += 1) {
    for (const bus of ['redis', 'nats']) {
      for (const kind of ['live', 'feed']) record({ round, bus, kind, ...(await measure(bus, kind, clients)) });
    }
  }
}

async function measure(bus, kind, count) {
  const setting = await Setting.start(bus, NODES);
  const { ports, servers } = setting.nodes;
  const rooms = Array.from({ length: ROOMS }, (_, at) => `${kind}:resume-${at}`);
  // One after the other among the nodes, and another one of them for each next hundred.
  const clients = Array.from({ length: count }, (_, at) => new Client(ports, at, rooms[Math.floor(at / NODES) % ROOMS]));
  let publisher;
  try {
    const opened = performance.now();
    for (let at = 0; at < count; at += DIALS) await Promise.all(clients.slice(at, at + DIALS).map((client) => client.enter()));
    const openedIn = performance.now() - opened;
    publisher = new Publisher(await Line.open(ports[1]), rooms);
    await pause(1000);

    const use = performance.eventLoopUtilization();
    const killed = performance.now();
    const away = clients.filter(({ port }) => port === ports[0]);
    await servers[0].kill();
    const all = await holds(() => away.every(({ resumed }) => resumed > 0), PATIENCE_MS);
    const { utilization } = performance.eventLoopUtilization(use);
    await pause(1000);
    const heads = await publisher.end();
    await holds(() => clients.every(({ room, seq }) => seq >= heads[room]), 10_000);

    const back = away.filter(({ resumed }) => resumed > 0);
    const sum = (name) => clients.reduce((total, client) => total + client[name], 0);
    return {
      clients: count, away: away.length, back: back.length, all,
      noticed: quantiles(back.map(({ ended }) => ended - killed)),
      joined: quantiles(back.map(({ joined }) => joined - killed)),
      resumed: quantiles(back.map(({ resumed }) => resumed - killed)),
      /** Without the pause that each client has drawn. */
      unpaused: quantiles(back.map(({ resumed, ended, paused }) => resumed - ended - paused)),
      caught_up: away.reduce((total, client) => total + client.missed, 0),
      published: Object.values(heads).reduce((total, seq) => total + seq, 0), refused: publisher.refused,
      lost: clients.reduce((total, { room, seq }) => total + Math.max(0, heads[room] - seq), 0),
      holes: sum('holes'), repeated: sum('repeated'), gaps: sum('gaps'), failures: sum('failures'),
      opened_ms: Math.round(openedIn), client_busy: Math.round(utilization * 100) / 100,
    };
  } finally {
    for (const client of clients) client.leave();
    publisher?.line.close();
    await setting.close();
  }
}

class Client {
  constructor(ports, at, room) {
    // Each has the whole list, and begins somewhere else.
    this.ports = ports.map((_, step) => ports[(at + step) % ports.length]);
    // Who was on one node does not go to the same other one.
    if (Math.floor(at / ports.length) % 2 === 1) this.ports.splice(1, this.ports.length, ...this.ports.slice(1).reverse());
    Object.assign(this, { room, seq: 0, epoch: undefined, holes: 0, repeated: 0, gaps: 0, failures: 0 });
    Object.assign(this, { isOver: false, ended: 0, paused: 0, joined: 0, resumed: 0, missed: 0, target: Infinity });
  }

  /** The node that it is at, or tries next. */
  get port() {
    return this.ports[0];
  }

  /** Connects and joins, from where it was if it was there. */
  async enter() {
    const line = await Line.open(this.port, (frame) => this.#told(frame));
    this.line = line;
    if (this.isOver) line.close();
    const since = this.epoch && { since: `${this.epoch}:${this.seq}` };
    const { seq, epoch } = await line.ask({ type: 'join', room: this.room, ...since }).catch((error) => {
      line.close();
      throw error;
    });
    line.closed.then(() => this.#again());
    if (this.epoch === undefined) this.seq = seq;
    this.epoch = epoch;
    this.target = seq;
  }

  leave() {
    this.isOver = true;
    this.line?.close();
  }

  async #again() {
    if (this.isOver) return;
    this.ended ||= performance.now();
    const first = this.seq;
    for (;;) {
      const wait = Math.random() * SPREAD_MS;
      this.paused += wait;
      await pause(wait);
      this.ports.push(this.ports.shift());
      try {
        await this.enter();
        break;
      } catch {
        this.failures += 1;
        if (this.isOver) return;
      }
    }
    this.joined ||= performance.now();
    this.missed = this.target - first;
    this.#look();
  }

  #told(frame) {
    if (frame.type === 'gap' && frame.room === this.room) {
      this.gaps += 1;
      this.seq = Math.max(this.seq, frame.to);
    }
    if (frame.type !== 'broadcast' || frame.room !== this.room) return;
    if (frame.seq > this.seq + 1) this.holes += frame.seq - this.seq - 1;
    else if (frame.seq <= this.seq) this.repeated += 1;
    this.seq = Math.max(this.seq, frame.seq);
    if (this.resumed === 0) this.#look();
  }

  /** Notes when it has all that there was when it came back. */
  #look() {
    if (this.joined > 0 && this.seq >= this.target) this.resumed ||= performance.now();
  }
}

/** Publishes into the rooms in turn, on a node that stays. */
class Publisher {
  constructor(line, rooms) {
    Object.assign(this, { line, rooms, heads: Object.fromEntries(rooms.map((room) => [room, 0])), refused: 0, pending: new Set() });
    const begun = performance.now();
    let count = 0;
    this.timer = setInterval(() => {
      for (const due = (performance.now() - begun) / 1000 * PUBLISHES_PER_S; count < due; count += 1) {
        const publish = this.#publish(rooms[count % rooms.length], count);
        this.pending.add(publish);
        publish.finally(() => this.pending.delete(publish));
      }
    }, 5);
  }

  /** Stops; resolves to the last acknowledged number of each room. */
  async end() {
    clearInterval(this.timer);
    await Promise.all(this.pending);
    return this.heads;
  }

  async #publish(room, count) {
    try {
      const { seq } = await this.line.ask({ type: 'broadcast', room, payload: count, id: `m${count}` });
      this.heads[room] = Math.max(this.heads[room], seq);
    } catch (refusal) {
      if (refusal.code === undefined) return;
      this.refused += 1;
      await pause(refusal.retryAfter ?? 100);
      await this.#publish(room, count);
    }
  }
}
