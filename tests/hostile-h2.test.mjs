// HTTP/2 as no client speaks it, in the clear (prior knowledge) and over TLS.

import assert from 'node:assert/strict';
import { constants } from 'node:crypto';
import net from 'node:net';
import { attack, health } from './lib/attack.mjs';
import { H2_PREFACE, Peer, fieldBlock, h2, h2Frames, httpRequest } from './lib/peer.mjs';
import { until } from './lib/server.mjs';

const HEADERS = 1;
const [END_STREAM, END_HEADERS] = [1, 4];
const big = (number) => { const bytes = Buffer.alloc(4); bytes.writeUInt32BE(number); return bytes; };
const GET = fieldBlock('GET', '/health');
const POST = fieldBlock('POST', '/api/rooms/live:h2/events');

/** HTTP/2: what is sent, how often, and whether the server ends the connection over it. */
const ABUSES = [
  ['20,000 streams that are reset at once', (at) => Buffer.concat([h2(HEADERS, END_STREAM | END_HEADERS, 2 * at + 1, GET), h2(3, 0, 2 * at + 1, big(8))]), 20_000, true],
  ['an endless header', (at) => (at === 0 ? h2(HEADERS, END_STREAM, 1, GET) : h2(9, 0, 1, Buffer.from('\x00\x01a\x01b'.repeat(20)))), 20_000, true],
  ['200,000 empty pieces of a body', (at) => (at === 0 ? h2(HEADERS, END_HEADERS, 1, POST) : h2(0, 0, 1)), 200_000, false],
  ['100,000 pings', () => h2(6, 0, 0, Buffer.from('12345678')), 100_000, false],
  ['100,000 settings', () => h2(4, 0, 0), 100_000, false],
  ['a frame of 1 MiB', () => h2(0, 0, 1, Buffer.alloc(1 << 20)), 1, true],
  ['a window that overflows', () => h2(8, 0, 0, big(0x7fffffff)), 1, true],
  ['a frame on a stream that never began', () => h2(0, 0, 5, 'x'), 1, true],
];

for (const [what, make, count, ends] of ABUSES) for (const tls of [false, true]) {
  attack(`${what}, ${tls ? 'over TLS' : 'in the clear'}: ${ends ? 'the connection ends' : 'no harm is done'}`, async ({ server, connect }) => {
    const peer = await connect({ protocol: 'h2' });
    const stuck = what.includes('pings') || what.includes('settings');
    if (stuck) peer.socket.pause();
    const flood = (async () => {
      await peer.write(H2_PREFACE);
      for (let first = 0; first < count; first += 1000) {
        await peer.write(Buffer.concat(Array.from({ length: Math.min(1000, count - first) }, (_, at) => make(first + at))));
      }
    })();
    if (ends) {
      const goaway = h2Frames(await peer.rest()).find(({ type }) => type === 7);
      assert.ok(goaway === undefined || goaway.payload.readUInt32BE(4) !== 0, 'the connection ended well');
    } else if (!stuck) {
      await flood;
    }
    assert.equal((await health(server)).status, 'ok');
  }, { growth: 32, tls });
}

for (const tls of [false, true]) attack(`a connection has a bounded number of streams ${tls ? 'over TLS' : 'in the clear'}`, async ({ server, connect }) => {
  const peer = await connect({ protocol: 'h2' });
  const stream = (at) => h2(HEADERS, END_STREAM | END_HEADERS, 2 * at + 1, fieldBlock('GET', '/sse?room=live:h2'));
  await peer.write(Buffer.concat([H2_PREFACE, ...Array.from({ length: 1000 }, (_, at) => stream(at))]));
  await until(async () => (await health(server)).rooms > 0, 'the streams to begin');
  peer.destroy();
}, { tls });

attack('1,000 handshakes that are cut off leave nothing behind', async ({ server }) => {
  // What a client says first, as far as its version and the length of what it does not send.
  const hello = Buffer.from('160301020001000'.padEnd(16, '1'), 'hex');
  for (let round = 0; round < 10; round += 1) {
    await Promise.all(Array.from({ length: 100 }, () => new Promise((resolve) => {
      const socket = net.connect({ port: server.secure.port, host: '127.0.0.1' }, () => {
        socket.write(hello, () => { socket.resetAndDestroy(); resolve(); });
      });
      socket.on('error', resolve);
    })));
  }
}, { tls: true });

attack('a client of TLS 1.2 that wants to agree anew is refused', async ({ connect }) => {
  const peer = await connect({ maxVersion: 'TLSv1.2', secureOptions: constants.SSL_OP_ALL });
  const outcome = new Promise((resolve) => {
    peer.socket.once('error', (error) => resolve(error.code ?? 'ended'));
    peer.socket.once('close', () => resolve('ended'));
    // It may be passed over in silence.
    setTimeout(() => resolve('ignored'), 2000);
    if (!peer.socket.renegotiate({}, (error) => resolve(error?.code ?? 'agreed'))) resolve('refused');
  });
  assert.notEqual(await outcome, 'agreed');
}, { tls: true });

attack('requests that never end are ended over TLS too', async ({ connect }) => {
  const peer = await connect();
  await peer.write('GET /health HTTP/1.1\r\nHost: localhost\r\nX: ');
  await peer.write('y'.repeat(64 << 10));
  const answer = await peer.head();
  assert.ok(answer === null || answer.status === 431, JSON.stringify(answer));
  const other = await connect();
  await other.write(httpRequest('GET', '/health'));
  assert.equal((await other.answer()).status, 200);
}, { tls: true });
