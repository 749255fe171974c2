// A line between two programs that can be cut: a TCP proxy on a loopback port.

import { once } from 'node:events';
import { connect, createServer } from 'node:net';

export class Link {
  /** To a port of this machine; nothing needs to listen there yet. */
  static async start(target) {
    const link = new Link(target);
    link.server.listen(0, '127.0.0.1');
    await once(link.server, 'listening');
    link.port = link.server.address().port;
    return link;
  }

  constructor(target) {
    this.target = target;
    /** `open`, `cut` or `refused`. */
    this.state = 'open';
    /** Each end, and the other one. */
    this.ends = new Map();
    // An end that was closed is passed on as soon as the line is there, and not by itself.
    this.server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (near) => this.#join(near));
  }

  /** How many connections there are. */
  get connections() {
    return this.ends.size / 2;
  }

  /**
   * Nothing passes, and nobody is told: connections stay, new ones are accepted, and what is sent is held back, ends too. As
   * between networks that lose one another, `restore` then brings what was held, unless its sender has given up.
   */
  cut() {
    this.state = 'cut';
    for (const end of this.ends.keys()) end.pause();
  }

  /** All connections are closed, and so is each new one. */
  refuse() {
    this.state = 'refused';
    for (const end of this.ends.keys()) end.destroy();
  }

  /** Everything passes again. */
  restore() {
    this.state = 'open';
    for (const [end, other] of this.ends) {
      if (end.destroyed) other.destroy();
      else end.resume();
    }
  }

  async close() {
    this.refuse();
    this.server.close();
    await once(this.server, 'close');
  }

  #join(near) {
    if (this.state === 'refused') {
      near.on('error', () => {});
      near.destroy();
      return;
    }
    const far = connect({ port: this.target, host: '127.0.0.1', allowHalfOpen: true });
    this.ends.set(near, far).set(far, near);
    for (const [end, other] of [[near, far], [far, near]]) {
      end.setNoDelay(true);
      end.on('data', (bytes) => {
        if (other.write(bytes)) return;
        end.pause();
        other.once('drain', () => { if (this.state === 'open') end.resume(); });
      });
      end.on('end', () => other.end());
      end.on('error', () => {});
      end.on('close', () => this.#left(end, other));
      if (this.state === 'cut') end.pause();
      else end.resume();
    }
  }

  /** One end is gone: the other learns of it, but not through a line that is cut. */
  #left(end, other) {
    if (other.destroyed) {
      this.ends.delete(end);
      this.ends.delete(other);
    } else if (this.state !== 'cut') {
      // What it has said to its end still arrives.
      if (end.readableEnded) other.destroySoon();
      else other.destroy();
    }
  }
}
