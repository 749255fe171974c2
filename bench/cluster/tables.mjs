// From the records of runs to Markdown.

import { execFileSync } from 'node:child_process';
import { cpus } from 'node:os';
import { readFileSync } from 'node:fs';
import { load } from './packages.mjs';

/** Where and with what it was measured. */
export function provenance(binary) {
  const said = (program, ...args) => {
    try {
      return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'], env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` } }).trim();
    } catch {
      return '';
    }
  };
  const version = (text) => /\d+(\.\d+)+/.exec(text)?.[0] ?? text;
  const npm = (name) => JSON.parse(readFileSync(load.resolve('./package-lock.json'))).packages[`node_modules/${name}`].version;
  return {
    date: new Date().toISOString().slice(0, 10),
    commit: said('git', '-C', new URL('.', import.meta.url).pathname, 'rev-parse', '--short=12', 'HEAD'),
    cpu: cpus()[0].model, cores: cpus().length, kernel: said('uname', '-r').split('-')[0],
    congestion: readFileSync('/proc/sys/net/ipv4/tcp_congestion_control', 'utf8').trim(),
    load: Number(readFileSync('/proc/loadavg', 'utf8').split(' ')[0]),
    versions: {
      denrei: version(said(binary, '--version')), redis: version(said('redis-server', '--version')), nats: version(said('nats-server', '--version')),
      postgresql: version(said('psql', '--version')), node: process.versions.node, 'socket.io': npm('socket.io'),
      '@socket.io/redis-adapter': npm('@socket.io/redis-adapter'), '@socket.io/redis-streams-adapter': npm('@socket.io/redis-streams-adapter'), 'npm redis': npm('redis'),
    },
  };
}

export function tables(records) {
  const parts = records.filter(({ about }) => about).map(({ about }) => heading(about));
  const of = (cell) => records.filter((record) => record.cell === cell);
  for (const [cell, table] of Object.entries({ delivery, throughput, resume, loss })) if (of(cell).length > 0) parts.push(table(of(cell)));
  return parts.join('\n\n');
}

function heading({ date, cpu, cores, kernel, congestion, load: average, commit, cells, rounds, secs, lossSecs, versions }) {
  const what = Object.entries(versions).map(([name, version]) => `${name} ${version}`).join(', ');
  return `${date}: ${cells}. ${cpu}, ${cores} cores with a load of ${average} by others, Linux ${kernel}, TCP ${congestion}; ${rounds} rounds, ${cells === 'loss' ? lossSecs : secs} s a cell; commit ${commit}. Versions: ${what}.`;
}

function delivery(records) {
  const rows = groups(records, 'kind', 'bus').map(([first, each]) => {
    const base = records.filter(({ bus, kind }) => bus === 'none' && kind === first.kind);
    return [
      `\`${first.kind}\``, BUS[first.bus], middle(each, 'count'), ...['ack', 'near', 'far'].flatMap((where) => ['p50', 'p99'].map((share) => middle(each, where, share))),
      times(each, base, (record) => record.near.p50), times(each, base, (record) => record.far.p50),
    ];
  });
  return section('Publish to receipt, 1 in flight', ['room', 'bus', 'messages', 'ack p50 ms', 'p99', 'same node p50', 'p99', 'other node p50', 'p99', 'same to one node alone', 'other to one node alone'], rows, 2);
}

function throughput(records) {
  const rows = groups(records, 'kind', 'rooms', 'bus').map(([first, each]) => {
    const base = records.filter((record) => record.bus === 'none' && record.kind === first.kind && record.rooms === first.rooms);
    return [
      `\`${first.kind}\``, first.rooms, BUS[first.bus], spread(each, 'acked_per_s'), times(each, base, (record) => record.acked_per_s), middle(each, 'received_per_s'),
      middle(each, 'ack', 'p50'), middle(each, 'ack', 'p99'), middle(each, 'far', 'p50'), middle(each, 'far', 'p99'),
      ...['near', 'far', 'broker', 'database'].map((who) => (first.bus === 'none' && ['far', 'broker'].includes(who) ? '–' : middle(each, 'cpu_us', who))), `${middle(each, 'publisher_busy')} / ${middle(each, 'reader_busy')}`, faults(each),
    ];
  });
  return section('Acknowledged publishes into one node, read on the other: 4 connections × 256 in flight', [
    'room', 'rooms', 'bus', 'acknowledged/s', 'to one node alone', 'received/s', 'ack p50 ms', 'p99', 'receipt p50', 'p99',
    'CPU µs each: first node', 'other node', 'broker', 'database', 'generator busy', 'faults',
  ], rows, 3);
}

function resume(records) {
  const rows = groups(records, 'bus', 'kind').map(([, each]) => [
    BUS[each[0].bus], `\`${each[0].kind}\``, middle(each, 'clients'), `${middle(each, 'back')} of ${middle(each, 'away')}`,
    ...['p50', 'p99', 'max'].map((share) => spread(each, 'resumed', share)), ...['p50', 'p99'].map((share) => middle(each, 'unpaused', share)),
    middle(each, 'caught_up'), middle(each, 'client_busy'), faults(each),
  ]);
  return section('One of three nodes is killed: until its clients have everything, on another node', [
    'bus', 'room', 'clients', 'resumed', 'p50 ms', 'p99', 'max', 'without the random pause p50', 'p99', 'messages caught up', 'generator busy', 'faults',
  ], rows, 2);
}

function loss(records) {
  const list = (each, name) => each.map((record) => count(record[name])).join(', ');
  const rows = groups(records, 'system').map(([{ system }, each]) => [
    system.replace(/^denrei/, '**denrei**').replace(/(feed|live)/, '`$1`'), list(each, 'acked'), list(each, 'lost_other'), list(each, 'told_other'), list(each, 'numbers_other'), list(each, 'lost_same'),
    list(each, 'refused'), list(each, 'unanswered'), list(each, 'silence_other_ms'), list(each, 'holes_other'), list(each, 'twice_other'),
  ]);
  return section('Redis is killed for a second under 500 messages/s: what was acknowledged and never came', [
    'servers, Redis', 'acknowledged', 'lost on the other node', 'told of a gap', 'numbers in it', 'lost on the same node', 'refused and sent again', 'not answered in 5 s', 'longest silence ms', 'untold holes', 'twice',
  ], rows, 1);
}

const BUS = { none: 'none: one node', redis: 'Redis', nats: 'NATS' };

function faults(records) {
  const sums = ['lost', 'holes', 'repeated', 'gaps', 'told', 'failures'].map((name) => [name, records.reduce((sum, record) => sum + (record[name] ?? 0), 0)]);
  const refused = records.map(({ refused: each }) => (typeof each === 'object' ? Object.values(each).reduce((sum, value) => sum + value, 0) : each ?? 0));
  sums.push(['refused', refused.reduce((sum, value) => sum + value, 0)]);
  const names = { holes: 'missing and not told', gaps: 'gaps', told: 'told as missing', failures: 'connections failed' };
  return sums.filter(([, sum]) => sum > 0).map(([name, sum]) => `${count(sum)} ${names[name] ?? name}`).join(', ') || 'none';
}

function groups(records, ...names) {
  const found = new Map();
  for (const record of records) {
    const key = names.map((name) => record[name]).join();
    found.set(key, [...(found.get(key) ?? []), record]);
  }
  const keys = (record) => names.map((name) => (name === 'bus' ? Object.keys(BUS).indexOf(record.bus) : record[name]));
  return [...found.values()].map((each) => [each[0], each]).sort(([one], [other]) => {
    const [left, right] = [keys(one), keys(other)];
    const at = left.findIndex((value, index) => value !== right[index]);
    if (at < 0 || names[at] === 'system') return 0;
    if (names[at] === 'kind') return left[at] === 'live' ? -1 : 1;
    return left[at] - right[at];
  });
}

const pick = (record, path) => path.reduce((value, name) => value?.[name], record);

function sorted(records, path) {
  return records.map((record) => pick(record, path)).filter((value) => value !== undefined && value !== null).sort((one, other) => one - other);
}

function median(values) {
  const half = values.length / 2;
  return values.length % 2 === 1 ? values[Math.floor(half)] : (values[half - 1] + values[half]) / 2;
}

function middle(records, ...path) {
  const values = sorted(records, path);
  return values.length > 0 ? short(median(values)) : '–';
}

function spread(records, ...path) {
  const values = sorted(records, path);
  if (values.length < 2) return middle(records, ...path);
  return `${short(median(values))} (${short(values[0])}–${short(values.at(-1))})`;
}

/** By how much it is more than the base of the same round. */
function times(records, base, value) {
  const ratios = records.flatMap((record) => {
    const of = base.find(({ round }) => round === record.round);
    return of ? [value(record) / value(of)] : [];
  }).sort((one, other) => one - other);
  return ratios.length > 0 ? `${short(median(ratios))}×` : '–';
}

const count = (value) => value?.toLocaleString('en') ?? '–';

function short(value) {
  if (value >= 100) return count(Math.round(value));
  if (Number.isInteger(value)) return String(value);
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

/** The first columns are texts. */
function section(title, head, rows, texts) {
  const lines = [head, head.map((_, at) => (at < texts ? '---' : '---:')), ...rows];
  return `### ${title}\n\n${lines.map((cells) => `| ${cells.join(' | ')} |`).join('\n')}`;
}
