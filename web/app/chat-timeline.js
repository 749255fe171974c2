// What stands in a room's list, in order: days, messages in groups by author, what is new, what is on the way. Pure.

import { sequenceOf } from './chat-room.js';

/** Messages of one author within this time stand under one name. */
const GROUP_MS = 5 * 60_000;

/**
 * The rows of a room: `{kind, key, …}` of kind `day` (`date`), `new`, `note`, `message` and `draft`. A key stays with what
 * it names, also from a draft to its message. Messages and drafts have `head`, whether they begin a group; messages have
 * `own`, `readBy` (users whose last read message of ours it is) and `tick` (on our last one).
 */
export function roomRows(room, { isOwn, me }) {
  const { sorted } = room.messages;
  const receipts = receiptsOf(room, sorted, isOwn, me);
  const rows = new Rows();
  let notes = room.notes.filter(({ after }) => sorted.length === 0 || after >= sorted[0].sequence - 1);
  for (const message of sorted) {
    for (const note of notes.filter(({ after }) => after < message.sequence)) rows.note(note);
    notes = notes.filter(({ after }) => after >= message.sequence);
    rows.message(message, isOwn(message), receipts, room.divider);
  }
  for (const note of notes) rows.note(note);
  for (const draft of room.drafts.filter(({ threadId }) => !threadId)) rows.draft(draft, me);
  return rows.list;
}

/** The rows of a thread that is open: what it is about, then the answers. */
export function threadRows(room, rootId, { isOwn, me }) {
  const rows = new Rows();
  const messages = room.threads.get(sequenceOf(rootId))?.sorted ?? [];
  for (const message of messages) rows.message(message, isOwn(message), NO_RECEIPTS);
  for (const draft of room.drafts.filter(({ threadId }) => threadId === rootId)) rows.draft(draft, me);
  return rows.list;
}

class Rows {
  list = [];
  #divided = false;
  #day = null;
  #last = null;

  note(note) {
    this.#dayOf(note.timestamp);
    this.list.push({ kind: 'note', key: `n:${note.key}`, ...note });
    this.#last = null;
  }

  message(message, own, { readBy, tick }, divider = null) {
    this.#dayOf(message.timestamp);
    if (divider !== null && message.sequence > divider) this.#divide();
    const row = { kind: 'message', key: keyOf(message, own), message, own };
    row.head = this.#begins(message, message.userId);
    row.readBy = readBy.get(message.sequence) ?? [];
    row.tick = tick?.sequence === message.sequence ? tick.state : null;
    this.list.push(row);
  }

  #divide() {
    if (this.#divided) return;
    this.#divided = true;
    this.list.push({ kind: 'new', key: 'new' });
    this.#last = null;
  }

  draft(draft, me) {
    this.#dayOf(draft.timestamp);
    const head = this.#begins(draft, me);
    this.list.push({ kind: 'draft', key: `c:${draft.clientMessageId}`, draft, head });
  }

  #begins(entry, userId) {
    const last = this.#last;
    this.#last = { userId, timestamp: entry.timestamp, apart: isApart(entry) };
    return (
      !last || last.userId !== userId || last.apart || isApart(entry) || entry.timestamp - last.timestamp > GROUP_MS
    );
  }

  #dayOf(timestamp) {
    const date = new Date(timestamp);
    const day = `${date.getFullYear()}-${date.getMonth() + 1}-${date.getDate()}`;
    if (day === this.#day) return;
    this.#day = day;
    this.#last = null;
    this.list.push({ kind: 'day', key: `d:${day}`, date });
  }
}

/** System messages belong to nobody's group. */
const isApart = ({ type }) => type === 'SYSTEM';

function keyOf({ sequence, clientMessageId }, own) {
  return own && clientMessageId ? `c:${clientMessageId}` : `m:${sequence}`;
}

const NO_RECEIPTS = { readBy: new Map(), tick: null };

/** Each reader stands at the last message of ours that they have read; a tick says how far our last one came. */
function receiptsOf(room, sorted, isOwn, me) {
  const own = sorted.filter((message) => isOwn(message) && !message.deletedAt);
  const last = own.at(-1);
  if (!last) return NO_RECEIPTS;
  const others = [...room.people.values()].filter(({ userId }) => userId !== me);
  const readBy = new Map();
  for (const { userId, read = 0, joinedAt = 0 } of others) {
    // A newcomer's mark begins at the head, which is no reading.
    const at = own.findLast(({ sequence, timestamp }) => sequence <= read && timestamp >= joinedAt);
    if (at) readBy.set(at.sequence, [...(readBy.get(at.sequence) ?? []), userId]);
  }
  const was = others.filter(({ joinedAt = 0 }) => last.timestamp >= joinedAt);
  const has = (mark) => was.some((member) => (member[mark] ?? 0) >= last.sequence);
  const state = has('read') ? 'read' : has('delivered') ? 'delivered' : 'sent';
  return { readBy, tick: { sequence: last.sequence, state } };
}

/**
 * A text in pieces: `{text}`, `{text, mention}` for the names of mentioned users (`userId`), `{text, href}` for web
 * addresses. Together the texts are the whole.
 */
export function pieces(content, mentions = [], nameOf = (id) => id) {
  const names = mentions
    .flatMap((userId) => [
      [`@${nameOf(userId)}`, userId],
      [`@${userId}`, userId],
    ])
    .sort(([a], [b]) => b.length - a.length);
  const address = /https?:\/\/[^\s<>"'`]*[^\s<>"'`.,:;!?)\]}]/y;
  const found = [];
  let plain = '';
  const push = (piece) => {
    if (plain) found.push({ text: plain });
    plain = '';
    found.push(piece);
  };
  for (let at = 0; at < content.length;) {
    const name = content[at] === '@' && names.find(([text]) => content.startsWith(text, at));
    address.lastIndex = at;
    const link = content[at] === 'h' && !/\w$/.test(plain) && address.exec(content)?.[0];
    if (name) push({ text: name[0], mention: name[1] });
    else if (link) push({ text: link, href: link });
    else plain += content[at];
    at += name ? name[0].length : link ? link.length : 1;
  }
  if (plain) found.push({ text: plain });
  return found;
}

/** The address of an IMAGE message, if a page may show it: https, or this page's own origin. Null otherwise. */
export function imageAddress(message, origin) {
  const given = message.data?.url ?? message.content;
  if (message.type !== 'IMAGE' || typeof given !== 'string') return null;
  try {
    const url = new URL(given, origin);
    return url.protocol === 'https:' || url.origin === origin ? url.href : null;
  } catch {
    return null;
  }
}

/** Who is mentioned in a text, of those whose names were chosen while it was written (`{userId, name}`). */
export function mentionsIn(content, chosen) {
  return [...new Set(chosen.filter(({ name }) => content.includes(`@${name}`)).map(({ userId }) => userId))];
}

/** The word behind the last `@` before the caret, where names may be proposed; null elsewhere. */
export function mentionBefore(text, caret) {
  const found = /(?:^|[\s(])@([^\s@]{0,40})$/.exec(text.slice(0, caret));
  return found && { start: caret - found[1].length - 1, query: found[1].toLowerCase() };
}
