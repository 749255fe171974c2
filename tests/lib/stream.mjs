// An event stream as it stands on the wire, over HTTP/1.1 or HTTP/2. npm's `eventsource` is the client that judges it;
// this one shows the bytes.

import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import { Inbox } from './inbox.mjs';
import { within } from './server.mjs';

export class Stream {
  /** Over HTTP/1.1; `agent` says which connection. */
  static async open(server, path, { headers = {}, agent } = {}) {
    const { get } = server.ca === undefined ? http : https;
    const request = get(`${server.http}${path}`, { headers, agent, ca: server.ca });
    const response = await within(10_000, new Promise((resolve, reject) => {
      request.on('response', resolve);
      request.on('error', reject);
    }), `the head of ${path}`);
    request.on('error', () => {});
    const stream = new Stream(response, () => request.destroy());
    Object.assign(stream, { status: response.statusCode, headers: response.headers, reused: request.reusedSocket });
    return stream;
  }

  /** Over HTTP/2, with prior knowledge where there is no TLS. */
  static async openH2(server, path, headers = {}) {
    const session = http2.connect(server.http, { ca: server.ca });
    session.on('error', () => {});
    const request = session.request({ ':path': path, ...headers });
    const head = await within(10_000, new Promise((resolve, reject) => {
      request.on('response', resolve);
      request.on('error', reject);
    }), `the head of ${path}`);
    request.on('error', () => {});
    const stream = new Stream(request, () => session.destroy());
    Object.assign(stream, { status: head[':status'], headers: head, session });
    return stream;
  }

  constructor(body, close) {
    /** Everything that came. */
    this.text = '';
    this.inbox = new Inbox();
    this.close = close;
    /** Whether the body came to its end, or was cut off. */
    this.ended = new Promise((resolve) => {
      body.on('end', () => resolve('whole'));
      body.on('error', () => resolve('cut'));
      body.on('close', () => resolve('cut'));
    });
    this.ended.then((how) => this.inbox.end(`the stream ended (${how})`));
    body.setEncoding('utf8');
    let rest = '';
    body.on('data', (text) => {
      this.text += text;
      const blocks = (rest + text).split('\n\n');
      rest = blocks.pop();
      for (const block of blocks) this.inbox.push(parse(block));
    });
  }

  /** Takes the first block that matches, waiting for it. */
  next(matches, what) {
    return this.inbox.next(matches, what);
  }

  /** The next event of a name. */
  event(name) {
    return this.next((block) => block.event === name, `event ${name}`);
  }

  /** The next `count` events of a name, in order. */
  async events(name, count) {
    const events = [];
    while (events.length < count) events.push(await this.event(name));
    return events;
  }
}

function parse(block) {
  const parsed = {};
  for (const line of block.split('\n')) {
    const [, name, value] = /^([^:]*):? ?(.*)$/su.exec(line);
    const field = name === '' ? 'comment' : name;
    parsed[field] = field === 'data' && parsed.data !== undefined ? `${parsed.data}\n${value}` : value;
  }
  return parsed;
}
