// From publish to receipt, one message under way: on the node that was told, and on the other one.

import { Line } from './line.mjs';
import { quantiles } from './figures.mjs';
import { BUSES, Setting, turned } from './setting.mjs';

const WARM_UP = 100;

export async function run({ rounds, secs }, record) {
  const settings = [];
  try {
    for (const bus of BUSES) settings.push(await Setting.start(bus));
    for (let round = 0; round < rounds; round += 1) {
      for (const kind of ['live', 'feed']) {
        for (const setting of turned(settings, round)) {
          record({ round, kind, bus: setting.bus, ...(await measure(setting, `${kind}:delivery-${round}`, secs)) });
        }
      }
    }
  } finally {
    for (const setting of settings) await setting.close();
  }
}

async function measure(setting, room, secs) {
  const times = { ack: [], near: [], far: [] };
  const lines = [];
  let sent = 0;
  let waiting = 0;
  let both;
  const arrived = (where) => ({ type, room: of }) => {
    if (type !== 'broadcast' || of !== room) return;
    times[where].push(performance.now() - sent);
    waiting -= 1;
    if (waiting === 0) both();
  };
  try {
    for (const [port, where] of [[setting.near, 'near'], [setting.far, 'far']]) {
      const line = await Line.open(port, arrived(where));
      lines.push(line);
      await line.ask({ type: 'join', room });
    }
    const publisher = await Line.open(setting.near);
    lines.push(publisher);
    let end = Infinity;
    for (let count = 0; performance.now() < end; count += 1) {
      if (count === WARM_UP) {
        for (const values of Object.values(times)) values.length = 0;
        end = performance.now() + secs * 1000;
      }
      waiting = 2;
      const reached = new Promise((resolve, reject) => {
        both = resolve;
        setTimeout(() => reject(new Error(`message ${count} in ${room} over ${setting.bus} has not come`)), 10_000).unref();
      });
      sent = performance.now();
      await publisher.ask({ type: 'broadcast', room, payload: count });
      times.ack.push(performance.now() - sent);
      await reached;
    }
  } finally {
    for (const line of lines) line.close();
  }
  return { count: times.ack.length, ack: quantiles(times.ack), near: quantiles(times.near), far: quantiles(times.far) };
}
