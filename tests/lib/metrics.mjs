// What a server says of itself at /metrics, read by the parsers of Prometheus' own library for Python.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { get, within } from './server.mjs';

const PYTHON = new URL('../../.cache/venv/bin/python', import.meta.url).pathname;
const PARSER = new URL('metrics.py', import.meta.url).pathname;
export const OPENMETRICS = 'application/openmetrics-text; version=1.0.0';

export class Metrics {
  static async of(server, { url = `${server.http}/metrics`, accept, headers = {} } = {}) {
    const answer = await get(url, { headers: { ...(accept && { accept }), ...headers } });
    assert.equal(answer.status, 200, await (answer.status === 200 ? '' : answer.text()));
    const type = answer.headers.get('content-type');
    return new Metrics(await answer.text(), type);
  }

  constructor(text, type) {
    this.text = text;
    this.type = type;
    /** What every sample is, without its value. */
    this.series = text.split('\n').filter((line) => line && !line.startsWith('#')).map((line) => line.slice(0, line.lastIndexOf(' ')));
  }

  /** The families, as a parser understands them. */
  async parsed() {
    const reading = spawn(PYTHON, [PARSER, this.type.startsWith('application/openmetrics') ? 'openmetrics' : 'text']);
    let [json, errors] = ['', ''];
    reading.stdout.on('data', (data) => { json += data; });
    reading.stderr.on('data', (data) => { errors += data; });
    reading.stdin.end(this.text);
    const code = await within(20_000, new Promise((resolve) => reading.on('close', resolve)), 'the parser');
    assert.equal(code, 0, errors);
    return JSON.parse(json);
  }

  /** The sum of the samples of a name that have these labels. */
  value(name, labels = {}) {
    let sum = 0;
    for (const line of this.text.split('\n')) {
      const found = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/.exec(line);
      if (found?.[1] !== name) continue;
      const own = Object.fromEntries([...(found[2] ?? '').matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, key, value]) => [key, value]));
      if (Object.entries(labels).every(([key, value]) => own[key] === value)) sum += Number(found[3]);
    }
    return sum;
  }
}
