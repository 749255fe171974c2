// What a room's name says about it, and how to reach it without this page.

import { address, eventsPath } from './wire.js';

const classes = {
  feed: 'feed: kept on disk, survives a restart.',
  chat: 'chat: kept on disk, written through the chat service.',
  inbox: 'inbox: one user’s notifications; only the server writes here.',
  doc: 'doc: a document; written by its editors.',
  signal: 'signal: not kept. No numbers, nothing to resume; polls hear only what happens while they wait.',
};

/** The class is the part of the name before the first colon. */
export function describeClass(room) {
  const [name] = room.split(':', 1);
  return classes[name] ?? 'Kept in memory for a while: the last 1,000 events or 10 minutes.';
}

/** Fills in the commands that do from a terminal what this page does. */
export function showTerminal(room, position) {
  const authorization = new URLSearchParams(location.search).has('token')
    ? ' -H "Authorization: Bearer $TOKEN"'
    : '';
  const url = (path, parameters) => `'${address(path, parameters).href.replaceAll("'", '%27')}'`;
  const show = (id, command) => (document.getElementById(id).textContent = `curl${authorization} ${command}`);
  show(
    'curl-publish',
    `-H 'Content-Type: application/json' -d '{"event":"message","payload":{"text":"hello"}}' ${url(eventsPath(room))}`,
  );
  show('curl-stream', `-N ${url('/sse', { room, lastEventId: position })}`);
  show('curl-poll', url(eventsPath(room), { since: position, wait: 25 }));
}
