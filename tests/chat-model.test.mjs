// What the chat's page knows, without a browser: the state that answers and events make, the rows that are shown, and when
// typing is told.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ChatModel } from '../web/app/chat-model.js';
import { imageAddress, mentionBefore, mentionsIn, pieces, roomRows, threadRows } from '../web/app/chat-timeline.js';
import { TypingSignal } from '../web/app/chat-typing.js';

const NOON = new Date(2026, 0, 15, 12).getTime();
const MINUTE = 60_000;

/** Alice, in the room `general`, whose log has been read up to seq 0. */
function alice({ now = () => NOON, ...room } = {}) {
  const model = new ChatModel({ now });
  model.identify({ id: 'alice', name: 'Alice', guest: false });
  const general = model.describe({
    id: 'general', kind: 'public', title: '', members: 2, sequence: 0, epoch: 'e', seq: 0, role: 'member', read: 0,
    unread: 0, mentions: 0, ...room,
  });
  return { model, general };
}

const message = (sequence, more = {}) => ({
  id: `general-${sequence}`, sequence, roomId: 'general', userId: 'bob', userName: 'Bob', content: `text ${sequence}`,
  timestamp: NOON + sequence, status: 'sent', type: 'TEXT', version: 1, ...more,
});
const event = (seq, name, payload) => ({ room: 'chat:general', event: name, payload, seq, epoch: 'e', timestamp: NOON + seq });
const arrival = (seq, more = {}, sequence = seq) => event(seq, 'message', message(sequence, more));
const reacted = (sequence, reactions) => ({
  id: `general-${sequence}`, sequence, roomId: 'general', version: 1, change: 'reactions', reactions,
});
const beside = (name, payload) => ({ room: 'chat:general', event: name, payload, seq: 0, epoch: 'none' });
const mine = (name, payload) => ({ room: 'user:alice', event: name, payload, seq: 0, epoch: 'none' });
const page = (messages, seq, more = {}) => ({
  messages, epoch: 'e', seq, sequence: messages.at(-1)?.sequence ?? 0, hasBefore: false, hasAfter: false, ...more,
});
const contents = ({ messages }) => messages.sorted.map(({ content }) => content);
const numbers = ({ messages }) => messages.sorted.map(({ sequence }) => sequence);

describe('an event of a room', () => {
  test('is taken once, and a second time it is a repeat', () => {
    const { model, general } = alice();
    assert.equal(model.receive(arrival(1)), 'next');
    assert.equal(model.receive(arrival(2, { mentions: ['alice'] })), 'next');
    assert.equal(model.receive(arrival(1)), 'repeat');
    assert.equal(model.receive(arrival(2, { mentions: ['alice'] })), 'repeat');
    assert.deepEqual([numbers(general), general.mentions], [[1, 2], 1]);
    assert.equal(general.position, 'e:2');
  });

  test('that does not follow the last one is a hole, and is not taken', () => {
    const { model, general } = alice();
    model.receive(arrival(1));
    assert.equal(model.receive(arrival(3)), 'hole');
    assert.deepEqual(numbers(general), [1]);
    assert.equal(general.position, 'e:1');
  });

  test('that is older than the page on the screen changes nothing, and moves the position', () => {
    const { model, general } = alice();
    model.newest(general, page([message(1, { content: 'edited', version: 2 })], 2));
    assert.equal(model.receive(arrival(1)), 'next');
    assert.deepEqual(contents(general), ['edited']);
    assert.equal(general.position, 'e:1');
  });

  test('of a room that nobody asked for is not kept', () => {
    const { model } = alice();
    assert.equal(model.receive({ ...arrival(1), room: 'chat:other' }), 'heard');
    assert.deepEqual([...model.rooms.keys()], ['general']);
  });
});

describe('a message', () => {
  test('gets its last state from the log, not from a page of the same length', () => {
    const { model, general } = alice();
    const reactions = [{ emoji: '👍', count: 1, userIds: ['bob'] }];
    model.receive(arrival(1));
    model.receive(event(2, 'messageUpdated', reacted(1, reactions)));
    // An answer to a call says no place in the log; the event that follows it does.
    model.changed(general, message(1));
    assert.deepEqual(general.messages.at(1).reactions, reactions);
  });

  test('that was edited shows its last version, whichever state comes last', () => {
    const { model, general } = alice();
    model.receive(arrival(1));
    model.changed(general, message(1, { content: 'third', version: 3 }));
    model.receive(event(2, 'messageUpdated', { ...message(1, { content: 'second', version: 2 }), change: 'edited' }));
    assert.deepEqual(contents(general), ['third']);
  });

  test('gets and loses reactions, which are no new version', () => {
    const { model, general } = alice();
    const reactions = [{ emoji: '👍', count: 1, userIds: ['bob'] }];
    model.receive(arrival(1));
    model.receive(event(2, 'messageUpdated', reacted(1, reactions)));
    assert.deepEqual(general.messages.at(1).reactions, reactions);
    model.receive(event(3, 'messageUpdated', reacted(1, [])));
    assert.equal(general.messages.at(1).reactions, undefined);
    assert.deepEqual(contents(general), ['text 1']);
  });

  test('that is older than what is shown is not put before it when it changes', () => {
    const { model, general } = alice();
    model.newest(general, page([message(8), message(9)], 9, { hasBefore: true }));
    model.receive({ ...event(1, 'messageUpdated', message(3)), seq: 1 });
    assert.deepEqual(numbers(general), [8, 9]);
  });

  test('of a thread is counted at its root', () => {
    const { model, general } = alice();
    model.receive(arrival(1));
    const root = { id: 'general-1', thread: { replies: 1, lastReplyAt: NOON } };
    model.receive(arrival(2, { threadId: 'general-1', root }));
    assert.deepEqual(general.messages.at(1).thread, { replies: 1, lastReplyAt: NOON });
    assert.equal(general.messages.at(2).root, undefined);
  });

  test('of a thread that is open is in it, and so are its changes', () => {
    const { model, general } = alice();
    model.receive(arrival(1));
    model.thread(general, general.messages.at(1), page([], 1));
    model.receive(arrival(2, { threadId: 'general-1' }));
    model.receive(event(3, 'messageUpdated', message(2, { threadId: 'general-1', content: 'better', version: 2 })));
    const rows = threadRows(general, 'general-1', { isOwn: () => false, me: 'alice' });
    const texts = rows.filter(({ kind }) => kind === 'message').map((row) => row.message.content);
    assert.deepEqual(texts, ['text 1', 'better']);
  });
});

describe('what is written', () => {
  const draft = { clientMessageId: 'c1', content: 'hello' };
  const own = (sequence, more = {}) => message(sequence, { userId: 'alice', clientMessageId: 'c1', content: 'hello', ...more });

  test('is shown at once, and once, whether the event or the answer comes first', () => {
    for (const order of ['event first', 'answer first']) {
      const { model, general } = alice();
      model.draft(general, draft);
      assert.equal(general.drafts[0].state, 'sending');
      const arrives = () => model.receive(event(1, 'message', own(1)));
      const answered = () => model.sent(general, { ...own(1), seq: 1, epoch: 'e', duplicate: false });
      for (const step of order === 'event first' ? [arrives, answered] : [answered, arrives]) step();
      assert.deepEqual(general.drafts, [], order);
      assert.deepEqual(contents(general), ['hello'], order);
      assert.equal(general.position, 'e:1', order);
    }
  });

  test('keeps its row when it becomes a message', () => {
    const { model, general } = alice();
    const keys = () => roomRows(general, { isOwn: (one) => model.isOwn(one), me: 'alice' }).map(({ key }) => key);
    model.draft(general, draft);
    const before = keys();
    model.receive(event(1, 'message', own(1)));
    assert.deepEqual(keys(), before);
  });

  test('stays with why it failed, until it is tried again or discarded', () => {
    const { model, general } = alice();
    model.draft(general, draft);
    model.failed(general, 'c1', 'too long');
    assert.deepEqual(general.drafts.map(({ state, failure }) => [state, failure]), [['failed', 'too long']]);
    model.retried(general, 'c1');
    assert.deepEqual(general.drafts.map(({ state, failure }) => [state, failure]), [['sending', undefined]]);
    model.discarded(general, 'c1');
    assert.deepEqual(general.drafts, []);
  });

  test('by a guest is its own, also after a new connection gave it another id', () => {
    const model = new ChatModel();
    model.identify({ id: 'connection-1', name: null, guest: true });
    const room = model.describe({ id: 'general', kind: 'public', members: 1, sequence: 0, epoch: 'e', seq: 0 });
    model.draft(room, draft);
    model.identify({ id: 'connection-2', name: null, guest: true });
    assert.ok(model.isOwn(message(1, { userId: 'connection-1', clientMessageId: 'c1' })));
    assert.ok(!model.isOwn(message(2, { userId: 'connection-3', clientMessageId: 'c2' })));
  });

  test('has been read by who wrote it, as soon as it is kept', () => {
    const { model, general } = alice();
    model.sent(general, { ...own(1), seq: 1, epoch: 'e' });
    assert.equal(general.unread, 0);
  });

  test('has been read by who wrote it, on other devices too', () => {
    const { model, general } = alice();
    model.receive(arrival(1, { mentions: ['alice'] }));
    assert.deepEqual([general.unread, general.mentions], [1, 1]);
    model.receive(event(2, 'message', own(2)));
    assert.deepEqual([general.unread, general.mentions], [0, 0]);
  });
});

describe('what is unread', () => {
  test('is what is behind the mark, and mentions are counted beside it', () => {
    const { model, general } = alice({ sequence: 7, seq: 7, read: 5, unread: 2 });
    assert.equal(general.unread, 2);
    model.receive(arrival(8, { mentions: ['alice'] }));
    model.receive(arrival(9));
    assert.deepEqual([general.unread, general.mentions, model.unread], [4, 1, 4]);
    model.receive(mine('readState', { roomId: 'general', sequence: 8, unread: 1, mentions: 0 }));
    assert.deepEqual([general.unread, general.mentions], [1, 0]);
  });

  test('is not lessened by an answer that was given before the last message came', () => {
    const { model, general } = alice();
    model.receive(arrival(1));
    model.receive(arrival(2));
    model.marked(general, { roomId: 'general', sequence: 1, unread: 0, mentions: 0 });
    assert.equal(general.unread, 1);
  });

  test('can be wished for, though it has been read', () => {
    const { model, general } = alice({ sequence: 9, seq: 9, read: 9 });
    model.markedUnread(general, { roomId: 'general', sequence: 9, unread: 3, mentions: 1 }, 7);
    assert.deepEqual([general.unread, general.mentions], [3, 1]);
    model.receive(arrival(10));
    assert.equal(general.unread, 4);
    model.marked(general, { roomId: 'general', sequence: 10, unread: 0, mentions: 0 });
    assert.equal(general.unread, 0);
  });

  test('is wished for on other devices too', () => {
    const { model, general } = alice({ sequence: 9, seq: 9, read: 9 });
    model.receive(mine('readState', { roomId: 'general', sequence: 9, unread: 3, mentions: 0 }));
    assert.equal(general.unread, 3);
  });
});

describe('after a time away', () => {
  test('events and counts are taken from the answer, and the events are not counted twice', () => {
    const { model, general } = alice({ sequence: 1, seq: 1, read: 1 });
    model.newest(general, page([message(1)], 1));
    model.synced({
      roomId: 'general', unread: 2, mentions: 1, read: 1, sequence: 3, epoch: 'e', seq: 3,
      events: [arrival(2, { mentions: ['alice'] }), arrival(3)],
    });
    assert.deepEqual(numbers(general), [1, 2, 3]);
    assert.deepEqual([general.unread, general.mentions, general.position], [2, 1, 'e:3']);
    assert.equal(model.receive(arrival(3)), 'repeat');
    assert.deepEqual([general.unread, general.mentions], [2, 1]);
  });

  test('another device may have read meanwhile', () => {
    const { model, general } = alice({ sequence: 1, seq: 1, read: 0, unread: 1 });
    model.synced({ roomId: 'general', unread: 0, mentions: 0, read: 1, sequence: 1, epoch: 'e', seq: 1, events: [] });
    assert.equal(general.unread, 0);
  });

  test('a gap brings the newest page, and nothing from before it stays', () => {
    const { model, general } = alice({ sequence: 2, seq: 2, read: 2 });
    model.newest(general, page([message(1), message(2)], 2));
    model.synced({
      roomId: 'general', unread: 98, mentions: 0, read: 2, sequence: 100, epoch: 'e', seq: 120, gap: true,
      page: page([message(99), message(100)], 120, { hasBefore: true }),
    });
    assert.deepEqual(numbers(general), [99, 100]);
    assert.deepEqual([general.position, general.hasBefore, general.unread], ['e:120', true, 98]);
    assert.equal(model.receive(arrival(121, {}, 101)), 'next');
  });

  test('a gap without a page is one that is asked for when the room is shown', () => {
    const { model, general } = alice({ sequence: 2, seq: 2, read: 2 });
    model.newest(general, page([message(1), message(2)], 2));
    model.synced({ roomId: 'general', unread: 98, mentions: 0, read: 2, sequence: 100, epoch: 'e', seq: 120, gap: true });
    assert.deepEqual([general.loaded, general.position, general.unread], [false, 'e:120', 98]);
  });

  test('a gap in the stream asks for the newest page, and what follows it is taken', () => {
    const { model, general } = alice({ sequence: 1, seq: 1 });
    model.newest(general, page([message(1)], 1));
    model.gap({ room: 'chat:general', from: 2, to: 9, epoch: 'e' });
    assert.equal(general.loaded, false);
    assert.equal(model.receive(arrival(10)), 'next');
    model.newest(general, page([message(8), message(9)], 9, { hasBefore: true }));
    assert.deepEqual(numbers(general), [8, 9, 10]);
  });

  test('a log that began anew leaves nothing of the old one', () => {
    const { model, general } = alice({ sequence: 5, seq: 5 });
    model.newest(general, page([message(5)], 5));
    model.gap({ room: 'chat:general', from: 0, to: 0, epoch: 'f' });
    assert.deepEqual(numbers(general), []);
    assert.equal(model.receive({ ...arrival(1), epoch: 'f' }), 'next');
    assert.deepEqual([numbers(general), general.position], [[1], 'f:1']);
  });

  test('rooms that are not listed any more are left, and the list is in order', () => {
    const { model, general } = alice();
    const room = (id, timestamp) => ({
      id, kind: 'public', members: 1, sequence: 1, epoch: 'e', seq: 1, role: 'member', read: 1, unread: 0, mentions: 0,
      lastMessage: { ...message(1), timestamp },
    });
    model.list([room('old', 1), room('new', 2)], { whole: true });
    assert.deepEqual(model.joined.map(({ id }) => id), ['new', 'old']);
    assert.equal(general.role, null);
  });
});

describe('people', () => {
  test('type until they stop, send, or say nothing for six seconds', () => {
    let time = NOON;
    const { model, general } = alice({ now: () => time });
    const typing = () => [...general.typing.keys()];
    const starts = (userId) => model.receive(beside('typing', { userId, userName: userId, room: 'general' }));
    starts('bob');
    starts('alice');
    assert.deepEqual(typing(), ['bob']);
    model.receive(beside('stopTyping', { userId: 'bob', room: 'general' }));
    assert.deepEqual(typing(), []);
    starts('bob');
    model.receive(arrival(1));
    assert.deepEqual(typing(), []);
    starts('carol');
    time += 5_999;
    model.expireTyping();
    assert.deepEqual(typing(), ['carol']);
    time += 1;
    model.expireTyping();
    assert.deepEqual(typing(), []);
  });

  test('who are kicked are out, and are told why', () => {
    const { model, general } = alice();
    model.receive(event(1, 'userLeft', { userId: 'alice', room: 'general', members: 1, reason: 'kicked', by: 'bob' }));
    assert.equal(general.removed, 'kicked');
    model.receive(mine('roomRemoved', { roomId: 'general', reason: 'left' }));
    assert.deepEqual([general.role, general.removed, general.members, general.unread], [null, 'kicked', 1, 0]);
    assert.deepEqual(model.joined, []);
  });

  test('change their role and are muted, and one’s own is known as well', () => {
    const { model, general } = alice();
    model.receive(event(1, 'memberUpdated', { userId: 'alice', role: 'moderator', mutedUntil: NOON, joinedAt: 0, read: 0 }));
    assert.deepEqual([general.role, general.mutedUntil, general.mayModerate], ['moderator', NOON, true]);
  });

  test('come and go with their presence', () => {
    const { model } = alice();
    model.receive(mine('presence', { userId: 'bob', status: 'online', lastSeen: NOON }));
    assert.deepEqual(model.presence.get('bob'), { status: 'online', lastSeen: NOON });
    model.receive(mine('presence', { userId: 'bob', status: 'offline', lastSeen: NOON + 1 }));
    assert.equal(model.presence.get('bob').status, 'offline');
  });
});

describe('receipts', () => {
  const member = (userId, more = {}) => ({ userId, role: 'member', joinedAt: 0, read: 0, delivered: 0, ...more });
  const rowsOf = ({ model, general }) =>
    roomRows(general, { isOwn: (one) => model.isOwn(one), me: 'alice' }).filter(({ kind }) => kind === 'message');
  const told = (chat) => rowsOf(chat).map(({ message, readBy, tick }) => [message.sequence, readBy.join(), tick]);

  test('stand at the last own message that somebody has read; the last one says how far it came', () => {
    const chat = alice();
    const { model, general } = chat;
    model.members(general, [member('alice'), member('bob'), member('carol')], true);
    for (const sequence of [1, 2, 3]) model.receive(arrival(sequence, { userId: 'alice' }));
    assert.deepEqual(told(chat), [[1, '', null], [2, '', null], [3, '', 'sent']]);
    model.receive(beside('deliveryReceipt', { userId: 'carol', room: 'general', sequence: 3 }));
    model.receive(beside('readReceipt', { userId: 'bob', room: 'general', sequence: 2 }));
    assert.deepEqual(told(chat), [[1, '', null], [2, 'bob', null], [3, '', 'delivered']]);
    model.receive(beside('readReceipt', { userId: 'bob', room: 'general', sequence: 3 }));
    model.receive(beside('readReceipt', { userId: 'bob', room: 'general', sequence: 1 }));
    assert.deepEqual(told(chat), [[1, '', null], [2, '', null], [3, 'bob', 'read']]);
  });

  test('are not given by who came later', () => {
    const chat = alice();
    chat.model.receive(arrival(1, { userId: 'alice' }));
    chat.model.members(chat.general, [member('dan', { joinedAt: NOON + MINUTE, read: 1, delivered: 1 })], true);
    assert.deepEqual(told(chat), [[1, '', 'sent']]);
  });
});

describe('rows', () => {
  const shape = (rows) =>
    rows.map((row) => {
      if (row.kind === 'message') return `${row.message.sequence}${row.head ? ' head' : ''}`;
      return row.kind === 'day' ? row.key : row.kind;
    });
  const rowsOf = (general, me = 'alice') => roomRows(general, { isOwn: ({ userId }) => userId === me, me });

  test('are grouped by author and time, and parted by days', () => {
    const { model, general } = alice();
    const at = (sequence, userId, timestamp) => message(sequence, { userId, timestamp });
    const list = [
      at(1, 'bob', NOON - 24 * 60 * MINUTE),
      at(2, 'bob', NOON),
      at(3, 'bob', NOON + 4 * MINUTE),
      at(4, 'carol', NOON + 4 * MINUTE),
      at(5, 'carol', NOON + 10 * MINUTE),
    ];
    model.newest(general, page(list, 5));
    assert.deepEqual(shape(rowsOf(general)), ['d:2026-1-14', '1 head', 'd:2026-1-15', '2 head', '3', '4 head', '5 head']);
  });

  test('say what is new, behind the last one that was read', () => {
    const { model, general } = alice();
    model.newest(general, page([message(1), message(2), message(3)], 3));
    general.divider = 1;
    assert.deepEqual(shape(rowsOf(general)), ['d:2026-1-15', '1 head', 'new', '2 head', '3']);
    general.divider = 0;
    assert.deepEqual(shape(rowsOf(general)), ['d:2026-1-15', 'new', '1 head', '2', '3']);
    general.divider = 3;
    assert.deepEqual(shape(rowsOf(general)), ['d:2026-1-15', '1 head', '2', '3']);
  });

  test('tell who came, between the messages', () => {
    const { model, general } = alice();
    model.receive(arrival(1));
    model.receive(event(2, 'userJoined', { userId: 'carol', userName: 'Carol', room: 'general', members: 3 }));
    model.receive(arrival(3, {}, 2));
    assert.deepEqual(shape(rowsOf(general)), ['d:2026-1-15', '1 head', 'note', '2 head']);
    assert.deepEqual([general.members, model.nameOf('carol')], [3, 'Carol']);
  });

  test('are no more than wanted, and the earlier ones can be asked for again', () => {
    const { model, general } = alice();
    model.newest(general, page([1, 2, 3, 4].map((sequence) => message(sequence)), 4));
    general.trim(2);
    assert.deepEqual([numbers(general), general.hasBefore], [[3, 4], true]);
    model.before(general, page([message(1), message(2)], 4));
    assert.deepEqual([numbers(general), general.hasBefore], [[1, 2, 3, 4], false]);
  });
});

describe('a text', () => {
  const named = (id) => ({ bob: 'Bob', 'bob-2': 'Bob Okafor' })[id] ?? id;

  test('is cut into mentions and addresses, and nothing of it is lost', () => {
    const text = 'hi @Bob Okafor and @Bob: see https://example.com/a?b=c, or (http://x.example).';
    const cut = pieces(text, ['bob', 'bob-2'], named);
    assert.equal(cut.map((piece) => piece.text).join(''), text);
    assert.deepEqual(cut.filter(({ mention }) => mention).map(({ text, mention }) => [text, mention]), [
      ['@Bob Okafor', 'bob-2'],
      ['@Bob', 'bob'],
    ]);
    assert.deepEqual(cut.flatMap(({ href }) => href ?? []), ['https://example.com/a?b=c', 'http://x.example']);
  });

  test('has no mention of who was not meant, and no address of another kind', () => {
    for (const text of ['@Bob is a name', 'javascript:alert(1)', 'xhttps://example.com', '<a href="x">']) {
      assert.deepEqual(pieces(text, [], named), [{ text }]);
    }
    assert.deepEqual(pieces('', [], named), []);
  });

  test('mentions whom it still names when it is sent', () => {
    const chosen = [{ userId: 'bob', name: 'Bob' }, { userId: 'carol', name: 'Carol' }, { userId: 'bob', name: 'Bob' }];
    assert.deepEqual(mentionsIn('hello @Bob', chosen), ['bob']);
  });

  test('asks for names behind an @ that begins a word', () => {
    assert.deepEqual(mentionBefore('hi @Bo', 6), { start: 3, query: 'bo' });
    assert.deepEqual(mentionBefore('@', 1), { start: 0, query: '' });
    assert.equal(mentionBefore('mail@example', 12), null);
    assert.equal(mentionBefore('@Bob said', 9), null);
  });
});

test('an image is shown from https and from here, and from nowhere else', () => {
  const of = (url, more = {}) => imageAddress({ type: 'IMAGE', content: '', data: { url }, ...more }, 'http://127.0.0.1:8080');
  assert.equal(of('https://example.com/cat.png'), 'https://example.com/cat.png');
  assert.equal(of('/files/cat.png'), 'http://127.0.0.1:8080/files/cat.png');
  assert.equal(of(undefined, { content: 'https://example.com/cat.png' }), 'https://example.com/cat.png');
  for (const url of ['http://example.com/cat.png', 'data:image/png;base64,AA', 'javascript:alert(1)', 'blob:x', 'https://', 7]) {
    assert.equal(of(url), null, String(url));
  }
  assert.equal(of('https://example.com/cat.png', { type: 'TEXT' }), null);
});

describe('typing', () => {
  const signal = (t) => {
    t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
    const said = [];
    return [new TypingSignal({ start: () => said.push('start'), stop: () => said.push('stop') }), said];
  };

  test('is told at the first key, and stops after two seconds of silence', (t) => {
    const [typing, said] = signal(t);
    typing.typed();
    t.mock.timers.tick(1_999);
    typing.typed();
    assert.deepEqual(said, ['start']);
    t.mock.timers.tick(1_999);
    assert.deepEqual(said, ['start']);
    t.mock.timers.tick(1);
    assert.deepEqual(said, ['start', 'stop']);
  });

  test('is told again while it goes on, before the server forgets it', (t) => {
    const [typing, said] = signal(t);
    for (let passed = 0; passed <= 8_000; passed += 1_000) {
      typing.typed();
      t.mock.timers.tick(1_000);
    }
    assert.deepEqual(said, ['start', 'start', 'start']);
  });

  test('ends with the message, which is not told apart', (t) => {
    const [typing, said] = signal(t);
    typing.typed();
    typing.sent();
    typing.stopped();
    t.mock.timers.tick(10_000);
    assert.deepEqual(said, ['start']);
  });
});
