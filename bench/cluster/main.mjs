// Measures what several nodes do: node main.mjs --help

import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { CACHE } from './packages.mjs';
import { provenance, tables } from './tables.mjs';

const ROOT = new URL('../..', import.meta.url).pathname;
const CELLS = ['delivery', 'throughput', 'resume', 'loss'];
const DOCS = join(ROOT, 'docs/benchmarks.md');
const [BEGIN, END] = ['<!-- cluster:begin -->', '<!-- cluster:end -->'];

const { values: options } = parseArgs({
  options: {
    denrei: { type: 'string', default: join(process.env.CARGO_TARGET_DIR ?? join(ROOT, 'target'), 'release/denrei') },
    cells: { type: 'string', default: CELLS.join(',') },
    rounds: { type: 'string', default: '3' },
    secs: { type: 'string', default: '3' },
    'loss-secs': { type: 'string', default: '30' },
    systems: { type: 'string', default: '' },
    clients: { type: 'string', default: '5000' },
    quick: { type: 'boolean', default: false },
    out: { type: 'string', default: join(CACHE, `cluster-${new Date().toISOString().replace(/\W/g, '').slice(0, 14)}.jsonl`) },
    tables: { type: 'string', multiple: true },
    docs: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

if (options.help) {
  console.log(`bench/cluster/run [--denrei BINARY] [--cells ${CELLS.join(',')}] [--rounds 3] [--secs 3] [--loss-secs 30]
                  [--systems BEGIN] [--clients 5000] [--quick] [--out FILE] [--docs]
bench/cluster/run --tables FILE [--tables FILE…] [--docs]      the tables of earlier results; measures nothing`);
} else {
  const files = options.tables ?? [await measure()];
  const records = files.flatMap((file) => readFileSync(file, 'utf8').trim().split('\n').map((line) => JSON.parse(line)));
  const text = tables(records);
  if (options.docs && !options.quick) write(text);
  console.log(text);
}

async function measure() {
  // Whoever starts servers for tests starts them here, and is told so which binary.
  process.env.DENREI_BIN = resolve(options.denrei);
  mkdirSync(dirname(options.out), { recursive: true });
  const record = (line) => {
    appendFileSync(options.out, `${JSON.stringify(line)}\n`);
    console.error(JSON.stringify(line));
  };
  const cells = options.cells.split(',');
  const unknown = cells.find((cell) => !CELLS.includes(cell));
  if (unknown) throw new Error(`there is no cell ${unknown}: ${CELLS.join(', ')}`);
  const { systems } = options;
  const effort = options.quick
    ? { systems, rounds: 1, secs: 0.7, lossSecs: 4, clients: 300 }
    : { systems, rounds: +options.rounds, secs: +options.secs, lossSecs: +options['loss-secs'], clients: +options.clients };
  record({ about: { ...(await provenance(process.env.DENREI_BIN)), cells: options.cells, ...effort } });
  for (const cell of cells) {
    const { run } = await import(`./${cell}.mjs`);
    await run(effort, (figures) => record({ cell, ...figures }));
  }
  console.error(`results: ${options.out}`);
  return options.out;
}

function write(text) {
  const old = readFileSync(DOCS, 'utf8');
  const [begin, end] = [old.indexOf(BEGIN), old.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error(`${DOCS} has no ${BEGIN} … ${END}`);
  writeFileSync(DOCS, `${old.slice(0, begin)}${BEGIN}\n${text}\n${old.slice(end)}`);
}
