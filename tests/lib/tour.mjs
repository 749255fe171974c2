// The example `tour` under test, and what its tests do with clients.

import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { Example } from './example.mjs';
import { Client, WAYS } from './io.mjs';
import { within } from './server.mjs';

export const SECRET = 'a secret of at least thirty-two bytes';
export const upTo = (last, first = 1) => Array.from({ length: last - first + 1 }, (_, at) => first + at);
export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const WORDS = { tower: ['--tower'], msgpack: ['--msgpack'], quick: ['--ping-ms', '200'] };

/** The usual one. */
export let server;
/** Servers besides, by what is special about them. */
export const others = {};

/** Serves the tour for the tests of a file, and besides as these say: `tower`, `msgpack`, `quick`. */
export function serve(...kinds) {
  before(async () => {
    const starting = kinds.map(async (kind) => { others[kind] = await Example.start('tour', '0', ...WORDS[kind]); });
    [server] = await Promise.all([Example.start('tour', '0'), ...starting]);
  });
  after(() => Promise.all([server, ...Object.values(others)].map((one) => one?.close())));
}

/** Opens clients for one test, at the usual server if it does not say which. */
export function opener(t, namespace = '/') {
  const opened = [];
  t.after(() => { for (const client of opened) client.close(); });
  return async ({ at = server, ...options } = {}) => {
    const client = new Client(at, { namespace, ...WAYS.websocket, ...options });
    opened.push(client);
    await client.connected();
    return client;
  };
}

/** Clients in a namespace, and what has come to them once everything before has. */
export const several = (open, count, options) => Promise.all(upTo(count).map(() => open(options)));
export async function heard(client, event = 'said') {
  await client.ask('ping');
  const items = client.inbox.items.splice(0);
  return items.filter((item) => item.event === event).map(({ args }) => args[0]);
}

/** Emits, and resolves to all arguments of the answer. */
export function askAll(client, event, ...args) {
  return within(10_000, new Promise((resolve) => client.socket.emit(event, ...args, (...answer) => resolve(answer))), event);
}

/** Another namespace on the connection of a client. */
export async function beside(client, namespace) {
  const socket = client.socket.io.socket(namespace);
  await within(5000, new Promise((resolve) => socket.once('connect', resolve)), 'the namespace');
  return socket;
}

/** What a client is refused with. */
export async function refusal(at, options) {
  const client = new Client(at, { ...WAYS.websocket, ...options });
  try {
    await client.connected();
  } catch (error) {
    return { message: error.message, data: error.data };
  } finally {
    client.close();
  }
  return assert.fail('it was let in');
}
