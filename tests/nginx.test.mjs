// A real nginx in front, as most people run one.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Nginx } from './lib/nginx.mjs';
import { freePort } from './lib/port.mjs';
import { Server, room, until } from './lib/server.mjs';
import { Socket } from './lib/socket.mjs';
import { Stream } from './lib/stream.mjs';

let server;
let nginx;

before(async () => {
  server = await Server.start({ config: '[auth]\nanonymous = true\n' });
  const port = await freePort();
  nginx = await Nginx.start({ port, http: configuration(port, server.address) });
});

after(async () => {
  await nginx?.close();
  await server?.close();
});

/** `/plain/` is nginx as it comes: HTTP/1.0 behind, and buffering on. */
function configuration(port, upstream) {
  return `
  upstream denrei { server ${upstream}; keepalive 8; }
  map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://denrei;
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header Host $host;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_read_timeout 86400s;
      proxy_send_timeout 86400s;
    }
    location /plain/ { proxy_pass http://denrei/; }
  }
`;
}

describe('behind nginx', () => {
  for (const [what, prefix] of [['', ''], [' that speaks HTTP/1.0 to the server', '/plain']]) {
    test(`events arrive as they are published${what}, because the answer turns buffering off`, async () => {
      const name = room();
      const stream = await Stream.open(nginx, `${prefix}/sse?room=${name}`);
      await stream.event('connected');
      for (const payload of [1, 2, 3]) {
        await server.publish(name, { payload });
        assert.equal((await stream.event('message')).data, String(payload));
      }
      stream.close();
    });

    test(`a stream resumes${what}`, async () => {
      const name = room();
      const { epoch } = await (await server.publish(name, { payload: 'seen' })).json();
      await server.publish(name, { payload: 'missed' });
      const stream = await Stream.open(nginx, `${prefix}/sse?room=${name}`, { headers: { 'Last-Event-ID': `${epoch}:1` } });
      assert.equal((await stream.event('message')).data, '"missed"');
      stream.close();
    });
  }

  test('a stream over a connection that nginx keeps works as the first one did', async () => {
    const name = room();
    for (let round = 1; round <= 3; round += 1) {
      await fetch(`${nginx.http}/health`).then((answer) => answer.text());
      const stream = await Stream.open(nginx, `/sse?room=${name}`);
      await stream.event('connected');
      await server.publish(name, { payload: round });
      assert.equal((await stream.event('message')).data, String(round));
      stream.close();
    }
  });

  test('a stream whose client goes is ended at the server', async () => {
    const rooms = async () => (await server.health()).rooms;
    await until(async () => (await rooms()) === 0, 'the rooms of earlier streams to be forgotten');
    const stream = await Stream.open(nginx, `/sse?room=${room()}`);
    await until(async () => (await rooms()) === 1, 'the stream to be counted');
    stream.close();
    await until(async () => (await rooms()) === 0, 'the room to be forgotten');
  });

  test('a WebSocket is upgraded, deflates and resumes', async () => {
    const name = room();
    const [one, other] = [await Socket.open(nginx), await Socket.open(nginx)];
    const { epoch } = await one.join(name);
    const text = 'long '.repeat(1000);
    await other.broadcast(name, text);
    assert.equal((await one.events(name, 1))[0].payload, text);
    await other.join(name, { since: `${epoch}:0` });
    assert.equal((await other.events(name, 1))[0].payload, text);
    assert.match(one.ws.extensions, /permessage-deflate/);
    assert.equal((await one.close()).code, 1000);
    await other.close();
  });

  test('a long poll is held and answered', async () => {
    const name = room();
    const url = `${nginx.http}/api/rooms/${name}/events`;
    const { next } = await (await fetch(url)).json();
    const answer = fetch(`${url}?since=${next}&wait=20`);
    await server.publish(name, { payload: 'x' });
    assert.deepEqual((await (await answer).json()).events.map((event) => event.payload), ['x']);
  });
});
