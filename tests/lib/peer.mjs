// What no client library lets one send: any bytes over TCP, WebSocket frames with every bit free, HTTP/2 frames.

import { once } from 'node:events';
import net from 'node:net';
import { within } from './server.mjs';

const PATIENCE = 20_000;

/** A TCP connection to the server whose received bytes are read as HTTP/1.1 answers or WebSocket frames. */
export class Peer {
  static async connect(server) {
    const socket = net.connect({ port: server.port, host: '127.0.0.1', noDelay: true });
    await once(socket, 'connect');
    return new Peer(socket);
  }

  /** A WebSocket after its 101; what the server sent behind it can be read with `frame`. */
  static async upgrade(server, { path = '/ws', headers = [], behind = '' } = {}) {
    const peer = await Peer.connect(server);
    peer.write(Buffer.concat([Buffer.from(upgradeRequest({ path, headers })), Buffer.from(behind)]));
    const { status, body } = await peer.head();
    if (status !== 101) throw new Error(`status ${status}: ${body}`);
    return peer;
  }

  constructor(socket) {
    this.socket = socket;
    this.received = Buffer.alloc(0);
    this.arrivals = [];
    this.over = false;
    socket.on('data', (data) => {
      this.arrivals.push(data);
      this.#look();
    });
    // A reset is an end like another.
    socket.on('error', () => {});
    this.ended = once(socket, 'close').catch(() => {}).then(() => {
      this.over = true;
      this.#look();
    });
  }

  #look() {
    this.arrived?.();
    this.arrived = undefined;
  }

  /** Sends bytes; resolves when the kernel has taken them, or the connection has ended. */
  write(bytes) {
    return new Promise((resolve) => {
      if (this.over || this.socket.destroyed) return resolve();
      this.ended.then(resolve);
      this.socket.write(bytes, resolve);
    });
  }

  /** Waits for what `read` makes out of the bytes that have arrived; null at the end of the connection. */
  async #take(read, what) {
    const taken = async () => {
      for (;;) {
        if (this.arrivals.length > 0) {
          this.received = Buffer.concat([this.received, ...this.arrivals]);
          this.arrivals = [];
        }
        const found = read(this.received);
        if (found) {
          this.received = this.received.subarray(found.used);
          return found.value;
        }
        if (this.over) return null;
        await new Promise((resolve) => { this.arrived = resolve; });
      }
    };
    return within(PATIENCE, taken(), what);
  }

  /** The head of an HTTP/1.1 answer. */
  async head() {
    return this.#take((bytes) => {
      const end = bytes.indexOf('\r\n\r\n');
      if (end < 0) return null;
      const [line, ...fields] = bytes.toString('latin1', 0, end).split('\r\n');
      const headers = Object.fromEntries(fields.map((field) => {
        const colon = field.indexOf(':');
        return [field.slice(0, colon).toLowerCase(), field.slice(colon + 1).trim()];
      }));
      return { used: end + 4, value: { status: Number(line.split(' ')[1]), headers } };
    }, 'the head of an answer');
  }

  /** A whole HTTP/1.1 answer with a length; null when the connection ended before it. */
  async answer() {
    const head = await this.head();
    if (head === null) return null;
    const length = Number(head.headers['content-length'] ?? 0);
    const body = await this.bytes(length);
    return { ...head, body: body?.toString() };
  }

  /** Everything that comes until the server ends the connection. */
  async rest() {
    return this.#take((bytes) => (this.over ? { used: bytes.length, value: bytes } : null), 'the end of the connection');
  }

  async bytes(length) {
    return this.#take((bytes) => (bytes.length >= length ? { used: length, value: bytes.subarray(0, length) } : null), `${length} bytes`);
  }

  /** The next frame of a WebSocket; null at the end of the connection. */
  async frame() {
    return this.#take((bytes) => {
      if (bytes.length < 2) return null;
      let length = bytes[1] & 127;
      let start = 2;
      if (length === 126) {
        if (bytes.length < 4) return null;
        length = bytes.readUInt16BE(2);
        start = 4;
      } else if (length === 127) {
        if (bytes.length < 10) return null;
        length = Number(bytes.readBigUInt64BE(2));
        start = 10;
      }
      if (bytes.length < start + length) return null;
      const payload = Buffer.from(bytes.subarray(start, start + length));
      return { used: start + length, value: { opcode: bytes[0] & 15, rsv: (bytes[0] >> 4) & 7, payload } };
    }, 'a frame');
  }

  /** The next JSON frame that matches. */
  async json(matches = () => true) {
    for (;;) {
      const frame = await this.frame();
      if (frame === null) return null;
      if (frame.opcode !== TEXT) continue;
      const value = JSON.parse(frame.payload.toString());
      if (matches(value)) return value;
    }
  }

  /** The code of the server's close frame; null when the connection ended without one. */
  async closeCode() {
    for (;;) {
      const frame = await this.frame();
      if (frame === null) return null;
      if (frame.opcode === CLOSE) return frame.payload.length >= 2 ? frame.payload.readUInt16BE(0) : 1005;
    }
  }

  /** Waits until the connection has ended. */
  async end() {
    return within(PATIENCE, this.ended, 'the end of the connection');
  }

  /** Ends it with a reset, as a peer that crashed. */
  reset() {
    this.socket.resetAndDestroy();
  }

  destroy() {
    this.socket.destroy();
  }
}

export const CONTINUATION = 0;
export const TEXT = 1;
export const BINARY = 2;
export const CLOSE = 8;
export const PING = 9;

/** A client's frame. `length` lies about the payload's; `bits` says how many bits the length takes. */
export function frame(opcode, payload = '', { fin = true, rsv = 0, masked = true, length, bits } = {}) {
  payload = Buffer.from(payload);
  const said = BigInt(length ?? payload.length);
  bits ??= said < 126n ? 7 : said < 65536n ? 16 : 64;
  const header = Buffer.alloc({ 7: 2, 16: 4, 64: 10 }[bits]);
  header[0] = (fin ? 128 : 0) | (rsv << 4) | opcode;
  header[1] = (masked ? 128 : 0) | { 7: Number(said & 127n), 16: 126, 64: 127 }[bits];
  if (bits === 16) header.writeUInt16BE(Number(said), 2);
  if (bits === 64) header.writeBigUInt64BE(said, 2);
  if (!masked) return Buffer.concat([header, payload]);
  const key = Buffer.from([0x37, 0xfa, 0x21, 0x3d]);
  const hidden = Buffer.from(payload);
  for (let at = 0; at < hidden.length; at += 1) hidden[at] ^= key[at & 3];
  return Buffer.concat([header, key, hidden]);
}

/** The frame of a request of the native protocol. */
export function request(object) {
  return frame(TEXT, JSON.stringify(object));
}

/** An HTTP/1.1 request; header lines are written as they are. */
export function httpRequest(method, target, lines = ['Host: 127.0.0.1'], body = '') {
  return `${method} ${target} HTTP/1.1\r\n${lines.map((line) => `${line}\r\n`).join('')}\r\n${body}`;
}

/** The header lines of an upgrade to WebSocket. */
export const UPGRADE = [
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
];

export function upgradeRequest({ path = '/ws', headers = [], host = ['Host: 127.0.0.1'] } = {}) {
  return httpRequest('GET', path, [...host, ...UPGRADE, ...headers]);
}

/** HTTP/2 with prior knowledge (RFC 9113): the preface and empty settings. */
export const H2_PREFACE = Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), h2(4, 0, 0)]);

/** An HTTP/2 frame (RFC 9113 §4.1). */
export function h2(type, flags, stream, payload = '') {
  payload = Buffer.from(payload);
  const header = Buffer.alloc(9);
  header.writeUIntBE(payload.length, 0, 3);
  header[3] = type;
  header[4] = flags;
  header.writeUInt32BE(stream, 5);
  return Buffer.concat([header, payload]);
}

/** A field block (RFC 7541) out of the static table and literals, with nothing to remember. */
export function fieldBlock(method, path, authority = '127.0.0.1') {
  const literal = (index, value) => Buffer.concat([Buffer.from([index, value.length]), Buffer.from(value)]);
  const [METHOD, PATH, SCHEME_HTTP, AUTHORITY] = [2, 4, 0x86, 1];
  return Buffer.concat([literal(METHOD, method), Buffer.from([SCHEME_HTTP]), literal(PATH, path), literal(AUTHORITY, authority)]);
}

/** The types of the frames that an HTTP/2 server sent, and the code of its GOAWAY. */
export function h2Frames(bytes) {
  const frames = [];
  for (let at = 0; at + 9 <= bytes.length;) {
    const length = bytes.readUIntBE(at, 3);
    frames.push({ type: bytes[at + 3], stream: bytes.readUInt32BE(at + 5), payload: bytes.subarray(at + 9, at + 9 + length) });
    at += 9 + length;
  }
  return frames;
}
