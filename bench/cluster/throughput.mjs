// Publishes with an acknowledgement into one node, as many as it takes, read on the other node.

import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { pause } from './figures.mjs';
import { BUSES, Setting, turned } from './setting.mjs';

const CONNECTIONS = 4;
const DEPTH = 256;
const WARM_UP_MS = 700;

export async function run({ rounds, secs }, record) {
  const settings = [];
  try {
    for (const bus of BUSES) settings.push(await Setting.start(bus));
    for (let round = 0; round < rounds; round += 1) {
      for (const kind of ['live', 'feed']) {
        for (const rooms of [1, 100]) {
          for (const setting of turned(settings, round)) {
            const names = Array.from({ length: rooms }, (_, at) => `${kind}:load-${round}-${rooms}-${at}`);
            record({ round, kind, rooms, bus: setting.bus, ...(await measure(setting, names, secs)) });
          }
        }
      }
    }
  } finally {
    for (const setting of settings) await setting.close();
  }
}

async function measure(setting, rooms, secs) {
  const crowd = { reader: hand('read', { port: setting.far, rooms }) };
  try {
    await once(crowd.reader, 'message');
    crowd.publisher = hand('publish', { port: setting.near, rooms, connections: CONNECTIONS, depth: DEPTH });
    await once(crowd.publisher, 'message');
    await pause(WARM_UP_MS);
    const before = setting.cpu();
    for (const each of Object.values(crowd)) each.postMessage('measure');
    await pause(secs * 1000);
    const published = ask(crowd.publisher, 'pause');
    const read = ask(crowd.reader, 'pause');
    const after = setting.cpu();
    const [{ acked, ...rest }, { received, ...others }] = await Promise.all([published, read]);
    const { heads, refused } = await ask(crowd.publisher, 'end');
    const faults = await ask(crowd.reader, { heads });
    const cpu = Object.fromEntries(Object.entries(after).map(([name, value]) => [name, Math.round((value - before[name]) / acked * 1e8) / 100]));
    return { secs, acked_per_s: Math.round(acked / secs), received_per_s: Math.round(received / secs), ...rest, ...others, cpu_us: cpu, refused, ...faults };
  } finally {
    for (const each of Object.values(crowd)) await each.terminate();
  }
}

function hand(role, data) {
  return new Worker(new URL('hands.mjs', import.meta.url), { workerData: { role, ...data } });
}

async function ask(worker, message) {
  worker.postMessage(message);
  return (await once(worker, 'message'))[0];
}
