// The end of a checker's run: what the rooms hold, and whether everything that was seen fits.

import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { check } from './history.mjs';
import { contentOf, parse } from './readers.mjs';

/** What a room still holds, as one server says. */
export async function wholeLog(server, name) {
  const read = async (query) => (await server.events(name, query)).json();
  const log = [];
  let { next } = await read('?limit=1');
  const { epoch, seq: head } = parse(next);
  next = `${epoch}:0`;
  for (let events; events === undefined || events.length > 0;) {
    ({ events, next } = await read(`?limit=500&since=${next}`));
    log.push(...events.map(({ seq, payload }) => ({ seq, content: contentOf(name, seq, payload) })));
  }
  return { epoch, head, log };
}

/** Fails with what is wrong, and leaves the history in a file for whoever wants to look. */
export async function holds(history, seed) {
  const objections = check(history);
  if (objections.length === 0) return;
  const file = join(tmpdir(), `denrei-history-${seed}.json`);
  await writeFile(file, JSON.stringify(history));
  assert.fail(`DENREI_SEED=${seed}, ${objections.length} objections, history in ${file}:\n${objections.slice(0, 20).join('\n')}`);
}
