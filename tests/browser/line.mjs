// A line to the server that a test can cut: a TCP relay on loopback.

import { once } from 'node:events';
import net from 'node:net';

export class Line {
  #server;
  #pairs = new Set();
  #refusing = false;
  #muffled = false;

  /** Heads of the requests that began a connection or followed an earlier answer. */
  heads = [];
  bytesDown = 0;

  static async to({ hostname, port }) {
    const line = new Line();
    line.#server = net.createServer((client) => line.#relay(client, net.connect(Number(port || 80), hostname)));
    line.#server.listen(0, '127.0.0.1');
    await once(line.#server, 'listening');
    line.url = `http://127.0.0.1:${line.#server.address().port}/`;
    return line;
  }

  /** Ends all connections; new ones are let through. */
  cut() {
    for (const pair of this.#pairs) for (const socket of pair) socket.destroy();
  }

  /** Ends all connections and lets no new one through. */
  refuse() {
    this.#refusing = true;
    this.cut();
  }

  /** Lets nothing come back from the server, while everything still reaches it. */
  muffle() {
    this.#muffled = true;
  }

  restore() {
    this.#refusing = false;
    this.#muffled = false;
  }

  close() {
    this.cut();
    return new Promise((resolve) => this.#server.close(resolve));
  }

  #relay(client, server) {
    const pair = [client, server];
    if (this.#refusing) {
      for (const socket of pair) socket.destroy();
      return;
    }
    this.#pairs.add(pair);
    client.on('data', (data) => {
      if (/^(GET|POST) /.test(data.toString('latin1', 0, 5))) this.heads.push(data.toString('latin1'));
      server.write(data);
    });
    server.on('data', (data) => {
      this.bytesDown += data.length;
      if (!this.#muffled) client.write(data);
    });
    for (const [socket, other] of [pair, pair.toReversed()]) {
      socket.on('error', () => {});
      socket.on('close', () => {
        other.destroy();
        this.#pairs.delete(pair);
      });
    }
  }
}
