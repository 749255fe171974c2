// The measured half of the comparison: the form, the table's numbers, the chart.

import { Chart } from './chart.js';
import { measure, percentile } from './measure.js';
import { transports } from './transports.js';

const element = (id) => document.getElementById(id);
const number = (id) => element(id).valueAsNumber;
const chart = new Chart(element('chart'));
let running = null;

const rows = [
  ['p50', 'Latency, median', (run) => milliseconds(percentile(run.latencies, 0.5))],
  ['p95', 'Latency, 95th percentile', (run) => milliseconds(percentile(run.latencies, 0.95))],
  ['max', 'Latency, slowest', (run) => milliseconds(percentile(run.latencies, 1))],
  ['count', 'Messages received', (run) => `${run.latencies.length} of ${run.expected}`],
  ['requests', 'Requests', (run) => requests(run.traffic)],
  ['frames', 'Frames or events', (run) => (run.traffic.frames === 0 ? '–' : String(run.traffic.frames))],
  ['received', 'Bytes received', received],
  ['sent', 'Bytes sent', (run) => `≈ ${bytes(run.traffic.sent)}`],
];

layOut();
chart.begin(number('measure-interval'));

element('measure').addEventListener('submit', (event) => {
  event.preventDefault();
  if (running) running.abort();
  else start();
});

async function start() {
  const messages = number('measure-messages');
  const interval = number('measure-interval');
  running = new AbortController();
  element('measure-button').textContent = 'Stop';
  chart.begin(interval);
  clear();
  tell('running', 'making a room');
  try {
    const runs = await measure({
      messages,
      interval,
      perSecond: number('measure-rate'),
      signal: running.signal,
      progress: oncePerFrame(({ published, runs }) => {
        show(runs);
        if (running) tell('running', `${published} of ${messages} published`);
      }),
    });
    show(runs);
    tell('done', `${messages} messages, four readers`);
  } catch (error) {
    if (running.signal.aborted) tell('idle', 'stopped');
    else tell('failed', `stopped: ${error.message}`);
  }
  running = null;
  element('measure-button').textContent = 'Measure';
}

function layOut() {
  for (const [name, label] of rows) {
    const row = element('measured').insertRow();
    const head = document.createElement('th');
    head.scope = 'row';
    head.textContent = label;
    row.append(head);
    for (const transport of Object.keys(transports)) {
      const cell = row.insertCell();
      cell.dataset.transport = transport;
      cell.dataset.measure = name;
      cell.textContent = '–';
    }
  }
}

const cellOf = (transport, name) =>
  element('measured').querySelector(`[data-transport="${transport}"][data-measure="${name}"]`);

function clear() {
  for (const cell of element('measured').querySelectorAll('td')) cell.textContent = '–';
}

function show(runs) {
  for (const run of runs) {
    for (const [name, , value] of rows) cellOf(run.name, name).textContent = value(run);
    if (run.failure) cellOf(run.name, 'count').textContent = run.failure;
    chart.show(run.name, run.latencies, percentile(run.latencies, 0.5));
  }
}

function tell(state, sentence) {
  const output = element('measure-state');
  // A screen reader should hear how it ended, not each count on the way.
  output.ariaLive = state === 'running' ? 'off' : 'polite';
  output.dataset.state = state;
  output.textContent = sentence;
}

/** Calls through at most once per animation frame, with the latest argument. */
function oncePerFrame(call) {
  let latest = null;
  return (argument) => {
    if (latest === null) {
      requestAnimationFrame(() => {
        call(latest);
        latest = null;
      });
    }
    latest = argument;
  };
}

function milliseconds(value) {
  if (value === null) return '–';
  if (value >= 1_000) return `${(value / 1_000).toFixed(2)} s`;
  return `${value.toFixed(value < 100 ? 1 : 0)} ms`;
}

/** As the browser reports it where it does, else as counted. */
function received({ transferred, traffic }) {
  return transferred > 0 ? bytes(transferred) : `≈ ${bytes(traffic.received)}`;
}

function bytes(value) {
  return value < 1_000 ? `${value} B` : `${(value / 1_000).toFixed(1)} kB`;
}

function requests({ requests, unchanged }) {
  return unchanged === 0 ? String(requests) : `${requests}, ${unchanged} of them 304`;
}
