// An OpenTelemetry collector: takes spans by OTLP over HTTP, and keeps them to be looked at.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { gunzipSync } from 'node:zlib';
import { until } from './server.mjs';

const PYTHON = new URL('../../.cache/venv/bin/python', import.meta.url).pathname;
const PARSER = new URL('spans.py', import.meta.url).pathname;

const hex = (base64 = '') => Buffer.from(base64, 'base64').toString('hex');
const value = (any) => (any.intValue !== undefined ? Number(any.intValue) : any.stringValue ?? any.boolValue ?? any.doubleValue);
const attributes = (list = []) => Object.fromEntries(list.map(({ key, value: any }) => [key, value(any)]));

export class Collector {
  static async start(port = 0) {
    const collector = new Collector();
    collector.server.listen(port, '127.0.0.1');
    await once(collector.server, 'listening');
    collector.port = collector.server.address().port;
    return collector;
  }

  constructor() {
    /** Heads of requests. */
    this.requests = [];
    /** Every span, in the order in which they came. */
    this.spans = [];
    /** What is answered. */
    this.status = 200;
    this.parser = spawn(PYTHON, [PARSER], { stdio: ['pipe', 'pipe', 'inherit'] });
    createInterface({ input: this.parser.stdout }).on('line', (line) => this.#take(JSON.parse(line)));
    this.server = createServer(async (request, response) => {
      const parts = [];
      for await (const part of request) parts.push(part);
      const { method, url, headers } = request;
      this.requests.push({ method, url, headers });
      const body = Buffer.concat(parts);
      if (this.status === 200) {
        const plain = headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body;
        this.parser.stdin.write(`${plain.toString('base64')}\n`);
      }
      response.writeHead(this.status, { 'content-type': 'application/x-protobuf' }).end();
    });
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  #take({ resourceSpans = [] }) {
    for (const { resource, scopeSpans } of resourceSpans) {
      for (const { scope, spans } of scopeSpans) {
        for (const span of spans) {
          this.spans.push({
            name: span.name,
            kind: span.kind.replace('SPAN_KIND_', ''),
            trace: hex(span.traceId),
            id: hex(span.spanId),
            parent: hex(span.parentSpanId),
            begun: BigInt(span.startTimeUnixNano),
            ended: BigInt(span.endTimeUnixNano),
            status: span.status ?? {},
            node: attributes(resource.attributes)['service.instance.id'],
            resource: attributes(resource.attributes),
            scope,
            ...attributes(span.attributes),
          });
        }
      }
    }
  }

  /** Waits for so many spans of a trace. */
  async trace(trace, count) {
    const found = () => this.spans.filter((span) => span.trace === trace);
    await until(() => found().length >= count, `${count} spans of ${trace}`, 20_000).catch((error) => {
      const names = found().map(({ name, node }) => `${name} on ${node}`);
      throw new Error(`${error.message}; there are: ${names.join(', ')}`);
    });
    return found();
  }

  async close() {
    this.server.close();
    this.server.closeAllConnections();
    this.parser.stdin.end();
    await once(this.parser, 'exit');
  }
}
