// Socket.IO clients that were cut off come back to what they missed on whichever node they find, over a real broker.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { Example } from './lib/example.mjs';
import { Client } from './lib/io.mjs';
import { Nats } from './lib/nats.mjs';
import { Redis } from './lib/redis.mjs';
import { until } from './lib/server.mjs';

const BROKERS = {
  redis: () => Redis.start({ durable: true }),
  nats: () => Nats.start(),
};

/** Long enough for a node to have put on the shelf what has changed. */
const SHELVED = 400;

for (const [kind, start] of Object.entries(BROKERS)) {
  describe(`over ${kind}`, () => {
    let broker;
    let nodes;

    before(async () => {
      broker = await start();
      nodes = await Promise.all(['one', 'two', 'three'].map((id) => Example.start('cluster', id, '0', broker.url())));
    });

    after(async () => {
      await Promise.all((nodes ?? []).map((node) => node.close()));
      await broker?.close();
    });

    /** A client that connects anew when it is told to. */
    async function open(t, node) {
      const client = await Client.open(node, { reconnection: true, reconnectionDelay: 20, reconnectionDelayMax: 50 });
      t.after(() => client.close());
      return client;
    }

    /** Its next connection goes to another node. */
    function send(client, node) {
      client.socket.io.uri = node.http;
    }

    /** The text of the next `said`; behind it is the offset. */
    async function said(client) {
      return (await client.event('said'))[0];
    }

    async function back(client) {
      await until(async () => client.socket.connected, 'the client to be back');
    }

    test('a client hops from node to node while others talk, and hears everything once and in order', async (t) => {
      const [hopper, talker] = [await open(t, nodes[0]), await open(t, nodes[1])];
      await hopper.ask('join', 'x');
      await hopper.ask('keep', 'colour', 'green');
      const { id } = hopper;
      await pause(SHELVED);
      const count = 300;
      const talking = (async () => {
        for (let at = 0; at < count; at += 1) {
          await talker.ask('say', 'x', `${at}`);
          await pause(5);
        }
      })();
      for (const at of [1, 2, 0, 2, 1, 0]) {
        await pause(200);
        send(hopper, nodes[at]);
        // The line breaks; its node does not know yet.
        hopper.engine.close();
        hopper.engine.transport.close();
        await pause(50);
        await back(hopper);
        assert.equal(hopper.socket.recovered, true);
        assert.equal(hopper.id, id);
        const { node, recovered, rooms, data } = await hopper.ask('who');
        assert.deepEqual(
          { node, recovered, rooms, data },
          { node: ['one', 'two', 'three'][at], recovered: true, rooms: [id, 'x'], data: { colour: 'green' } },
        );
      }
      await talking;
      const heard = (await hopper.events('said', count)).map(([text]) => Number(text));
      assert.deepEqual(heard, Array.from({ length: count }, (_, at) => at));
      assert.equal(hopper.inbox.items.length, 0);
    });

    test('a client whose node was killed comes back to another, with all that was said in between', async (t) => {
      const [lone, talker] = [await open(t, nodes[0]), await open(t, nodes[1])];
      await lone.ask('join', 'y');
      const { id } = lone;
      await talker.ask('say', 'y', 'before');
      assert.equal(await said(lone), 'before');
      await pause(SHELVED);
      send(lone, nodes[2]);
      lone.socket.io.reconnection(false);
      await nodes[0].close();
      await lone.disconnected();
      for (let at = 0; at < 50; at += 1) await talker.ask('say', 'y', `${at}`);
      lone.socket.io.reconnection(true);
      lone.socket.connect();
      await back(lone);
      assert.equal(lone.socket.recovered, true);
      assert.equal(lone.id, id);
      await talker.ask('say', 'y', 'after');
      const heard = await lone.events('said', 51);
      assert.deepEqual(heard.map(([text]) => text), [...Array.from({ length: 50 }, (_, at) => `${at}`), 'after']);
      // A node that is started now knows what was said before it was there.
      nodes[0] = await Example.start('cluster', 'one', '0', broker.url());
      await pause(SHELVED);
      send(lone, nodes[0]);
      lone.engine.close();
      await talker.ask('say', 'y', 'while it was away');
      await pause(50);
      await back(lone);
      assert.equal(lone.socket.recovered, true);
      assert.equal(await said(lone), 'while it was away');
      assert.equal((await lone.ask('who')).node, 'one');
    });
  });
}
