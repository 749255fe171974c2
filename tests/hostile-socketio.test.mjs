// What has brought down Socket.IO servers, each CVE by its name, and what could.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { attack, health, many } from './lib/attack.mjs';
import { Polling, SEPARATOR, Socket, ask } from './lib/engine.mjs';
import { Client } from './lib/io.mjs';
import { BINARY, CONTINUATION, Peer, TEXT, frame, httpRequest, upgradeRequest } from './lib/peer.mjs';
import { room, until, within } from './lib/server.mjs';

const HOST = 'Host: 127.0.0.1';
const PATH = '/socket.io/?EIO=4&transport=websocket';
const MIB = 1 << 20;
const upTo = (count) => Array.from({ length: count }, (_, at) => at);

/** A WebSocket with every bit free that has joined the namespace. */
async function joined(upgrade) {
  const peer = await upgrade({ path: PATH });
  await peer.frame();
  peer.write(frame(TEXT, '40'));
  await peer.frame();
  return peer;
}

attack('CVE-2016-10542: a frame that says it has 1 GiB is too big before it comes', async ({ upgrade }) => {
  for (const options of [{ length: 1 << 30 }, { length: 2n ** 62n, bits: 64 }]) {
    const peer = await joined(upgrade);
    peer.write(frame(TEXT, '4', options));
    assert.equal(await peer.closeCode(), 1009);
  }
});

attack('GHSA-5v72: extensions with names of JavaScript are names like others', async ({ connect }) => {
  const offers = ['constructor', '__proto__; __proto__', 'toString=hasOwnProperty', 'permessage-deflate; __proto__=1', 'permessage-deflate;'.repeat(500), `x${'; y=z'.repeat(2000)}`];
  for (const offer of offers) {
    const peer = await connect();
    peer.write(upgradeRequest({ path: PATH, headers: [`Sec-WebSocket-Extensions: ${offer}`] }));
    const { status, headers } = await peer.head();
    assert.ok(status === 101 || status === 400 || status === 431, `${status}`);
    assert.doesNotMatch(headers['sec-websocket-extensions'] ?? '', /proto|constructor/);
    peer.destroy();
  }
});

attack('CVE-2021-32640: subprotocols that take long to read take no time', async ({ connect }) => {
  for (const value of [`a${' '.repeat(12_000)}b`, ','.repeat(12_000), ', '.repeat(6000), ' '.repeat(65_536)]) {
    const peer = await connect();
    const begun = performance.now();
    peer.write(upgradeRequest({ path: PATH, headers: [`Sec-WebSocket-Protocol: ${value}`] }));
    assert.ok([101, 400, 431].includes((await peer.head()).status));
    assert.ok(performance.now() - begun < 2000);
    peer.destroy();
  }
});

attack('CVE-2024-37890: an upgrade with 2,000 headers is refused', async ({ connect }) => {
  const peer = await connect();
  peer.write(upgradeRequest({ path: PATH, headers: upTo(2000).map((at) => `X-${at}: y`) }));
  assert.equal((await peer.head()).status, 431);
});

attack('CVE-2026-48779: 131,000 fragments of a byte hold neither much nor long', async ({ upgrade }) => {
  const peers = await Promise.all(upTo(20).map(() => joined(upgrade)));
  const more = frame(CONTINUATION, 'x', { fin: false });
  const flood = Buffer.concat([frame(TEXT, '4', { fin: false }), ...Array(131_000).fill(more)]);
  for (const peer of peers) peer.write(flood);
  for (const peer of peers) assert.match(String(await peer.closeCode()), /^100[89]$/);
});

attack('CVE-2020-36048: 100 bodies that are as large as they may be and never end', async ({ server, connect }) => {
  const session = await Polling.open(server);
  const peers = await Promise.all(upTo(100).map(connect));
  const body = '4'.repeat(1_000_000 - 1);
  for (const peer of peers) peer.write(httpRequest('POST', session.url, [HOST, 'Content-Length: 1000000'], body));
  await until(async () => (await health(server)).connections >= 3, 'the bodies to come');
  await new Promise((resolve) => setTimeout(resolve, 300));
  for (const peer of peers) peer.destroy();
  await session.post('1');
});

attack('a body that says it is larger than may be is not read', async ({ server, connect }) => {
  const session = await Polling.open(server);
  const peer = await connect();
  peer.write(httpRequest('POST', session.url, [HOST, 'Content-Length: 100000000'], 'x'));
  assert.equal((await peer.answer()).status, 413);
  await session.send('1');
});

attack('CVE-2020-36049: digits without an end are read once', async ({ server, upgrade }) => {
  for (const kind of ['45', '42', '46', '43', '45-1', '42/a,']) {
    const peer = await joined(upgrade);
    const begun = performance.now();
    peer.write(frame(TEXT, `${kind}${'1'.repeat(900_000)}`));
    await peer.closeCode();
    assert.ok(performance.now() - begun < 5000);
    peer.destroy();
  }
  const session = await Polling.open(server);
  await session.send('40', ...upTo(1000).map(() => `4${SEPARATOR.repeat(0)}2["${'x'.repeat(900)}"]`));
  await session.send('1');
});

attack('CVE-2022-21676, CVE-2022-41940, CVE-2023-31125: an upgrade may go wrong at every stage', async ({ server, connect }) => {
  const nonsense = [
    Buffer.from([0xf1, 0x80, 0, 0, 0, 0]), Buffer.from([0x81, 0x00]), Buffer.from([0xc1, 0x82, 0, 0, 0, 0, 0x32, 0x70]),
    frame(TEXT, '2probe', { rsv: 4 }), frame(TEXT, '2probe', { masked: false }), frame(TEXT, Buffer.from([0xff])),
    frame(3, ''), frame(BINARY, '2probe'), frame(8, Buffer.from([3])), Buffer.alloc(4096, 0xff), Buffer.from('GET / HTTP/1.1\r\n\r\n'),
  ];
  const probe = frame(TEXT, '2probe');
  const stages = nonsense.flatMap((bytes) => [bytes, Buffer.concat([probe, bytes]), Buffer.concat([probe, frame(TEXT, '5'), bytes])]);
  const upgrade = (sid) => upgradeRequest({ path: `${PATH}&sid=${sid}` });
  await many(stages.length * 2, 20, async (at) => {
    const session = await Polling.open(server);
    const peer = await connect();
    if (at % 2) {
      peer.write(Buffer.concat([Buffer.from(upgrade(session.sid)), stages[at >> 1]]));
    } else {
      peer.write(upgrade(session.sid));
      await peer.head();
      peer.write(stages[at >> 1]);
    }
    await peer.end();
    await session.post('1');
  });
  for (const property of ['__proto__', 'constructor', 'toString', 'hasOwnProperty']) {
    const peer = await connect();
    peer.write(upgradeRequest({ path: `/socket.io/?EIO=4&transport=${property}` }));
    assert.equal((await peer.head()).status, 400);
  }
});

attack('an upgrade that is reset at any moment harms nothing', async ({ server, connect }) => {
  await many(300, 20, async (at) => {
    const session = await Polling.open(server);
    const peer = await connect();
    const bytes = Buffer.concat([Buffer.from(upgradeRequest({ path: `${PATH}&sid=${session.sid}` })), frame(TEXT, '2probe'), frame(TEXT, '5'), frame(TEXT, '40'), frame(TEXT, '420["join","live:x"]')]);
    await peer.write(bytes.subarray(0, (bytes.length * at) / 300));
    peer.reset();
    await session.post('1');
  });
});

attack('CVE-2022-2421, CVE-2023-32695, CVE-2024-38355: names that are none end their own connection', async ({ server }) => {
  const bystander = await Client.open(server);
  for (const packet of ['42[{"toString":"foo"}]', '42[{"__proto__":"foo"}]', '42["error"]', '42["__proto__"]', '42["toString",{"__proto__":{"x":1}}]', '451-["a",{"_placeholder":true,"num":"concat"}]']) {
    const socket = await Socket.open(server);
    socket.send('40', packet, Buffer.from('x'));
    await socket.end();
  }
  assert.equal((await bystander.ask('leave', room())).code, 'not_found');
  bystander.close();
});

attack('GHSA-55mf, CVE-2026-33151: who has joined no namespace has no attachments kept', async ({ upgrade }) => {
  const peers = await Promise.all(upTo(12).map(() => upgrade({ path: PATH })));
  for (const peer of peers) {
    peer.write(frame(TEXT, '4510-["a",{"_placeholder":true,"num":0}]'));
    for (let at = 0; at < 9; at += 1) peer.write(frame(BINARY, Buffer.alloc(999_000)));
  }
  for (const peer of peers) {
    await peer.closeCode();
    await peer.end();
  }
}, { growth: 64 });

attack('CVE-2026-69185: a packet of no attachments collects none', async ({ upgrade }) => {
  for (const packet of ['450-["x"]', '45-["x"]', '460-1[]', '459999999999-["x"]', '4511-["x"]']) {
    const peer = await joined(upgrade);
    peer.write(frame(TEXT, packet));
    for (let at = 0; at < 20; at += 1) peer.write(frame(BINARY, Buffer.alloc(100_000)));
    assert.notEqual(await peer.closeCode(), undefined);
  }
});

attack('attachments that never come are not waited for, and those that came are let go', async ({ server, upgrade }) => {
  const peers = await Promise.all(upTo(10).map(() => joined(upgrade)));
  for (const peer of peers) {
    peer.write(frame(TEXT, '4510-["a",{"_placeholder":true,"num":0}]'));
    for (let at = 0; at < 9; at += 1) await peer.write(frame(BINARY, Buffer.alloc(900_000)));
  }
  for (const peer of peers) await peer.end();
  assert.equal(server.process.exitCode, null);
}, { config: '[socketio]\npacket_timeout_ms = 500\n', growth: 160 });

attack('sessions that nobody comes back to are let go', async ({ server }) => {
  await many(2000, 50, () => ask(server, '/socket.io/?EIO=4&transport=polling'));
  await until(async () => (await health(server)).connections <= 1, 'the sessions to end', 15_000);
}, { config: '[socketio]\nping_interval_ms = 300\nping_timeout_ms = 300\n', growth: 96 });

attack('sessions count among connections, of which there are so many', async ({ server }) => {
  const answers = [];
  for (let at = 0; at < 30; at += 1) answers.push(await ask(server, '/socket.io/?EIO=4&transport=polling'));
  assert.equal(answers[0].status, 200);
  assert.equal(answers.at(-1).status, 503);
  await until(() => health(server).then(({ connections }) => connections === 1, () => false), 'the sessions to end');
}, { config: '[limits]\nconnections = 20\n[socketio]\nping_interval_ms = 500\nping_timeout_ms = 500\n' });

attack('CONNECTs to namespaces that there are not, one after another, keep nothing', async ({ server, upgrade }) => {
  const peer = await joined(upgrade);
  for (let round = 0; round < 100; round += 1) {
    await peer.write(Buffer.concat(upTo(200).map((at) => frame(TEXT, `40/${'n'.repeat(500)}${round}x${at}`))));
    for (let at = 0; at < 200; at += 1) assert.match((await peer.frame()).payload.toString(), /^44\/n/);
  }
  assert.equal(server.process.exitCode, null);
}, { growth: 32 });

attack('requests in one body that each take a while hold no more than a body', async ({ server }) => {
  const session = await Polling.open(server);
  await session.send('40');
  await session.hear();
  // What was asked is answered before more is taken.
  const name = `feed:${'r'.repeat(200)}`;
  const body = Array.from({ length: 400 }, () => `42["join","${name}"]`).join(SEPARATOR);
  for (let at = 0; at < 60; at += 1) {
    const { status } = await session.post(body);
    if (status !== 200) break;
  }
  await session.post('1');
}, { growth: 32 });

attack('a client that publishes by polling and never hears the answers is held to what may be under way', async ({ server }) => {
  const session = await Polling.open(server);
  await session.send('40');
  await session.hear();
  const name = room('feed');
  const body = upTo(2000).map((at) => `42${at}["publish","${name}","message","${'x'.repeat(400)}"]`).join(SEPARATOR);
  for (let at = 0; at < 40; at += 1) {
    const { status } = await session.post(body);
    if (status !== 200) break;
  }
  await session.post('1');
  await session.end();
  // All of it at once would be 120 MiB and more.
}, { growth: 64 });

attack('an answer that nobody takes is kept in bounds', async ({ server, upgrade }) => {
  const peer = await joined(upgrade);
  peer.socket.pause();
  const ask = Buffer.concat(upTo(2000).map((at) => frame(TEXT, `42${at}["nonsense"]`)));
  const written = within(2000, (async () => {
    for (let at = 0; at < 200; at += 1) await peer.write(ask);
  })(), 'the socket').catch(() => {});
  await written;
  assert.equal(server.process.exitCode, null);
}, { growth: 64 });

attack('a thousand clients of every kind that come and go at once leave nothing', async ({ server }) => {
  await many(300, 20, async (at) => {
    const client = new Client(server, [{ transports: ['polling'] }, { transports: ['websocket'] }, {}][at % 3]);
    const name = room();
    client.socket.emit('join', name);
    client.socket.emit('publish', name, 'message', Buffer.alloc(100));
    if (at % 5) await client.connected();
    if (at % 7 === 0) await client.ask('leave', name);
    client.close();
  });
  // Who has gone before it knew its session's id could not say so: its session ends by the ping timeout.
}, { config: '[socketio]\nping_interval_ms = 1000\nping_timeout_ms = 1000\n' });

attack('sessions that stop polling when their time is over cost nothing', async ({ server }) => {
  const sessions = await Promise.all(upTo(50).map(() => Polling.open(server)));
  // In no namespace, and in one with an attachment that never comes.
  await Promise.all(sessions.map((session, at) => at % 2 && session.send('40', '451-["publish",{"_placeholder":true,"num":0}]')));
  await new Promise((resolve) => setTimeout(resolve, 1500));
  const before = await cpu(server);
  await new Promise((resolve) => setTimeout(resolve, 2000));
  const spent = (await cpu(server)) - before;
  assert.ok(spent < 0.5, `${spent} s of CPU in 2 s`);
  // Their next poll is told that they have ended.
  await Promise.all(sessions.map((session) => session.get()));
}, { config: '[socketio]\nconnect_timeout_ms = 500\npacket_timeout_ms = 500\nping_interval_ms = 60000\n', forgetful: false });

/** Seconds of CPU that the server has taken. */
async function cpu(server) {
  const fields = (await readFile(`/proc/${server.process.pid}/stat`, 'utf8')).split(') ')[1].split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}
