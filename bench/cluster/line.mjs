// denrei's native protocol on a bare socket: thousands of clients are to fit into one thread beside what is measured.

import { connect } from 'node:net';

const NOTHING = Buffer.alloc(0);
const [TEXT, CLOSE, PING, PONG] = [1, 8, 9, 10];

export class Line {
  /** Connects; resolves when the server has said welcome. `told` is given every frame that answers nothing. */
  static async open(port, told = () => {}) {
    const line = new Line(port, told);
    await line.#welcomed;
    return line;
  }

  #welcomed;

  constructor(port, told) {
    this.told = told;
    this.asked = new Map();
    this.refs = 0;
    this.queue = [];
    this.rest = NOTHING;
    this.socket = connect({ port, host: '127.0.0.1', noDelay: true });
    this.socket.on('error', () => {});
    this.closed = new Promise((resolve) => { this.socket.on('close', resolve); });
    this.#welcomed = new Promise((resolve, reject) => {
      this.welcome = resolve;
      this.closed.then(() => {
        const gone = new Error('the connection has ended');
        reject(gone);
        for (const { reject: refuse } of this.asked.values()) refuse(gone);
      });
    });
    this.socket.write(`GET /ws HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n`
      + 'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n');
    let isUpgraded = false;
    this.socket.on('data', (bytes) => {
      this.rest = this.rest.length > 0 ? Buffer.concat([this.rest, bytes]) : bytes;
      if (!isUpgraded) {
        const end = this.rest.indexOf('\r\n\r\n');
        if (end < 0) return;
        if (!this.rest.toString('latin1', 0, 12).endsWith('101')) return this.socket.destroy();
        isUpgraded = true;
        this.rest = this.rest.subarray(end + 4);
      }
      this.#read();
    });
  }

  /** Sends a request; resolves to the payload of its reply, and fails with the fields of a refusal. */
  ask(frame) {
    this.refs += 1;
    const ref = this.refs;
    return new Promise((resolve, reject) => {
      if (this.socket.destroyed) return reject(new Error('the connection has ended'));
      this.asked.set(ref, { resolve, reject });
      this.#send(TEXT, Buffer.from(JSON.stringify({ ...frame, ref })));
    });
  }

  close() {
    this.socket.destroy();
  }

  #read() {
    let at = 0;
    for (;;) {
      if (this.rest.length < at + 2) break;
      let length = this.rest[at + 1] & 127;
      let start = at + 2;
      if (length === 126) {
        if (this.rest.length < at + 4) break;
        length = this.rest.readUInt16BE(at + 2);
        start = at + 4;
      } else if (length === 127) {
        if (this.rest.length < at + 10) break;
        length = Number(this.rest.readBigUInt64BE(at + 2));
        start = at + 10;
      }
      if (this.rest.length < start + length) break;
      const opcode = this.rest[at] & 15;
      at = start + length;
      if (opcode === TEXT) this.#take(JSON.parse(this.rest.toString('utf8', start, at)));
      else if (opcode === PING) this.#send(PONG, Buffer.from(this.rest.subarray(start, at)));
      else if (opcode === CLOSE) this.socket.destroy();
    }
    this.rest = this.rest.subarray(at);
  }

  #take(frame) {
    if (frame.ref === undefined) {
      if (frame.type === 'welcome') this.welcome();
      return this.told(frame);
    }
    const { resolve, reject } = this.asked.get(frame.ref);
    this.asked.delete(frame.ref);
    if (frame.type === 'reply') resolve(frame.payload);
    else reject(Object.assign(new Error(frame.error), frame));
  }

  /** What is said in one turn of the event loop goes out with one write. */
  #send(opcode, payload) {
    const { length } = payload;
    const header = Buffer.alloc(length < 126 ? 6 : 8);
    header[0] = 128 | opcode;
    // The mask is of zeros: it changes nothing, and the server has to apply it all the same.
    if (length < 126) {
      header[1] = 128 | length;
    } else {
      header[1] = 128 | 126;
      header.writeUInt16BE(length, 2);
    }
    this.queue.push(header, payload);
    if (this.queue.length > 2) return;
    queueMicrotask(() => {
      this.socket.write(Buffer.concat(this.queue));
      this.queue = [];
    });
  }
}
