// The end of a checker's run: what the rooms hold, and whether everything that was seen fits.

import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { check } from './history.mjs';
import { contentOf, parse } from './readers.mjs';
import { until } from './server.mjs';

/** What a room still holds, as one server says. Of several it may have to hear first of what the others took. */
export async function wholeLog(server, name) {
  const read = async (query) => (await server.events(name, query)).json();
  const log = [];
  const { epoch, seq: head } = parse((await read('?limit=1')).next);
  let next = `${epoch}:0`;
  await until(async () => {
    const page = await read(`?limit=500&since=${next}`);
    next = page.next;
    log.push(...page.events.map(({ seq, payload }) => ({ seq, content: contentOf(name, seq, payload) })));
    const place = parse(next);
    return place.epoch !== epoch || place.seq >= head;
  }, `${server.address} to give the log of ${name} up to ${head}`);
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
