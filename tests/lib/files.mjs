// Files that tests upload, and requests for them.

import { crc32, deflateSync } from 'node:zlib';
import { get } from './server.mjs';

/** A black PNG; it may end after so many lines. */
export function png(width, height, lines = height) {
  const chunk = (name, data) => {
    const named = Buffer.concat([Buffer.from(name), data]);
    const frame = Buffer.alloc(8);
    frame.writeUInt32BE(data.length, 0);
    frame.writeUInt32BE(crc32(named), 4);
    return Buffer.concat([frame.subarray(0, 4), named, frame.subarray(4)]);
  };
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width, 0);
  head.writeUInt32BE(height, 4);
  head.set([8, 2], 8);
  const pixels = Buffer.alloc((width * 3 + 1) * lines);
  return Buffer.concat([
    Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'), chunk('IHDR', head), chunk('IDAT', deflateSync(pixels)), chunk('IEND', Buffer.alloc(0)),
  ]);
}

/** Whoever uploads, with a token or without one. */
export class Uploader {
  constructor(server, token) {
    Object.assign(this, { server, token });
  }

  get headers() {
    return this.token ? { authorization: `Bearer ${this.token}` } : {};
  }

  /** A request; resolves to its status, as `http`, and its body. */
  async ask(method, path, body, headers = {}) {
    const response = await get(`${this.server.http}${path}`, { method, headers: { ...this.headers, ...headers }, body, duplex: 'half' });
    return { http: response.status, retry: response.headers.get('retry-after'), ...(await response.json().catch(() => ({}))) };
  }

  upload(bytes, query = '', headers = {}) {
    return this.ask('POST', `/api/files${query}`, bytes, headers);
  }

  /** An upload that must succeed. */
  async keep(bytes, query = '', headers = {}) {
    const file = await this.upload(bytes, query, headers);
    if (file.http !== 201) throw new Error(`${file.http} ${file.code} ${file.error}`);
    return file;
  }

  /** The answer to a request for bytes. */
  fetch(path, headers = {}, method = 'GET') {
    return get(`${this.server.http}${path}`, { method, headers: { ...this.headers, ...headers }, redirect: 'manual' });
  }
}
