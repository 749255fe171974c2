// A WebSocket client that shows what stands on the wire, and does what no good client does.

import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { Inbox } from './inbox.mjs';
import { within } from './server.mjs';

/** The key and the answer of RFC 6455 §1.3. */
export const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';
export const ACCEPT = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=';
export const TEXT = 1;
export const CLOSE = 8;

export class RawSocket {
  /** Connects and upgrades; `head` is the answer's head as text, `frames` what follows. */
  static async open(server, { path = '/ws', headers = {} } = {}) {
    const raw = new RawSocket(connect(server.port, '127.0.0.1'));
    const lines = Object.entries({
      Host: server.address,
      Upgrade: 'websocket',
      Connection: 'Upgrade',
      'Sec-WebSocket-Key': KEY,
      'Sec-WebSocket-Version': '13',
      ...headers,
    }).map(([name, value]) => `${name}: ${value}\r\n`);
    raw.socket.write(`GET ${path} HTTP/1.1\r\n${lines.join('')}\r\n`);
    raw.head = await within(10_000, raw.opened, 'the answer to the upgrade');
    return raw;
  }

  constructor(socket) {
    this.socket = socket;
    this.frames = new Inbox();
    this.arrived = Buffer.alloc(0);
    /** Whether the server has ended the connection. */
    this.ended = new Promise((resolve) => socket.once('close', resolve));
    this.ended.then(() => this.frames.end('the connection was closed'));
    socket.on('error', () => {});
    this.opened = new Promise((resolve) => { this.open = resolve; });
    socket.on('data', (bytes) => {
      this.arrived = Buffer.concat([this.arrived, bytes]);
      if (this.open && !this.#head()) return;
      while (this.#frame()) { /* take all that is whole */ }
    });
  }

  #head() {
    const end = this.arrived.indexOf('\r\n\r\n');
    if (end < 0) return false;
    this.open(this.arrived.subarray(0, end).toString());
    this.open = null;
    this.arrived = this.arrived.subarray(end + 4);
    return true;
  }

  #frame() {
    const bytes = this.arrived;
    if (bytes.length < 2) return false;
    let [length, start] = [bytes[1] & 0x7f, 2];
    if (length === 126) [length, start] = [bytes.length < 4 ? Infinity : bytes.readUInt16BE(2), 4];
    if (length === 127) [length, start] = [bytes.length < 10 ? Infinity : Number(bytes.readBigUInt64BE(2)), 10];
    if (bytes.length < start + length) return false;
    this.frames.push({
      fin: (bytes[0] & 0x80) !== 0,
      rsv1: (bytes[0] & 0x40) !== 0,
      opcode: bytes[0] & 0x0f,
      masked: (bytes[1] & 0x80) !== 0,
      payload: Buffer.from(bytes.subarray(start, start + length)),
    });
    this.arrived = bytes.subarray(start + length);
    return true;
  }

  /** Sends a frame; `first` is its first byte. */
  send(payload, { first = 0x80 | TEXT, masked = true } = {}) {
    const body = Buffer.from(payload);
    const length = body.length < 126 ? Buffer.from([body.length]) : Buffer.from([126, body.length >> 8, body.length & 255]);
    if (!masked) {
      this.socket.write(Buffer.concat([Buffer.from([first]), length, body]));
      return;
    }
    length[0] |= 0x80;
    const mask = randomBytes(4);
    this.socket.write(Buffer.concat([Buffer.from([first]), length, mask, body.map((byte, at) => byte ^ mask[at % 4])]));
  }

  close(code) {
    this.send(Buffer.from([code >> 8, code & 255]), { first: 0x80 | CLOSE });
  }

  /** The next frame of an opcode, and what it says as JSON or as a close code. */
  async next(opcode, what = 'a frame') {
    return this.frames.next((frame) => frame.opcode === opcode, what);
  }

  async json(matches, what = 'a frame') {
    const is = (frame) => frame.opcode === TEXT && !frame.rsv1 && matches(JSON.parse(frame.payload));
    return JSON.parse((await this.frames.next(is, what)).payload);
  }

  async closeCode() {
    return (await this.next(CLOSE, 'a close frame')).payload.readUInt16BE(0);
  }

  end() {
    this.socket.destroy();
  }
}
