// What the chat knows: who one is, the rooms, the people. Pure state that tells who listens what has changed; it knows
// neither a connection nor a page, so that it is tested without either.

import { RoomState } from './chat-room.js';

export class ChatModel {
  /** Who one is: `{id, name, guest}`; guests have the id of their connection. */
  me = { id: null, name: null, guest: true, admin: false };
  rooms = new Map();
  /** Names of users, by id, as far as anything named them. */
  names = new Map();
  /** `{status, lastSeen}` by user. */
  presence = new Map();
  /** Public rooms, by id, once they were asked for. */
  directory = null;
  /** Whether one's own rooms are known. */
  listed = false;
  /** Whether there is a connection. */
  live = false;
  #listeners = new Set();
  #own = new Set();

  constructor({ now = Date.now } = {}) {
    this.now = now;
  }

  /** The listener is told `(what, room)`: `me`, `rooms`, `messages`, `typing`, `people`, `presence`, `directory`. */
  subscribe(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  tell(what, room = null) {
    for (const listener of this.#listeners) listener(what, room);
  }

  identify(me) {
    this.me = me;
    if (me.name) this.names.set(me.id, me.name);
    this.tell('me');
  }

  nameOf(userId) {
    return this.names.get(userId) ?? userId;
  }

  /** How a room is called: by its title, by the other person in it, by its id. */
  titleOf(room) {
    if (room.title) return room.title;
    return room.kind === 'direct' && room.peer ? this.nameOf(room.peer) : room.id;
  }

  /** One's own rooms, those with the latest message first. */
  get joined() {
    const latest = (room) => room.lastMessage?.timestamp ?? room.createdAt ?? 0;
    return [...this.rooms.values()].filter((room) => room.role !== null).sort((a, b) => latest(b) - latest(a));
  }

  get unread() {
    return this.joined.reduce((sum, room) => sum + room.unread, 0);
  }

  /** The room of an id, made if it is not known. */
  room(id) {
    if (!this.rooms.has(id)) {
      this.rooms.set(id, new RoomState(id, { now: this.now, self: () => (this.me.guest ? null : this.me.id) }));
    }
    return this.rooms.get(id);
  }

  describe(description) {
    const room = this.room(description.id);
    room.describe(description);
    if (description.lastMessage) this.#learn(description.lastMessage);
    this.tell('rooms', room);
    return room;
  }

  /** One's own rooms, as the server lists them; when these are all, the others are left. */
  list(descriptions, { whole }) {
    const listed = new Set(descriptions.map(({ id }) => id));
    for (const description of descriptions) this.describe(description);
    if (whole) for (const room of this.joined) if (!listed.has(room.id)) room.leave('left');
    this.listed = true;
    this.tell('rooms');
  }

  connected(live) {
    if (live === this.live) return;
    this.live = live;
    this.tell('messages');
  }

  listPublic(rooms) {
    this.directory = rooms;
    for (const { lastMessage } of rooms) if (lastMessage) this.#learn(lastMessage);
    this.tell('directory');
  }

  newest(room, page) {
    room.showNewest(page);
    this.#read(room, page);
  }

  before(room, page) {
    room.showBefore(page);
    this.#read(room, page);
  }

  thread(room, root, page) {
    room.openThread(root, page.messages, page.seq);
    this.#learn(root);
    this.#read(room, page);
  }

  #read(room, page) {
    for (const message of page.messages) this.#learn(message);
    this.tell('messages', room);
  }

  members(room, members, everybody) {
    for (const member of members) this.#learn(member);
    room.listMembers(members, everybody);
    this.tell('people', room);
  }

  /** An answer to `chat.sync`, for one room. */
  synced(entry) {
    const room = this.room(entry.roomId);
    if (entry.gap) {
      room.skip({ from: 0, to: entry.seq, epoch: entry.epoch });
      // A page that was too much is asked for when the room is shown.
      if (entry.page) this.newest(room, entry.page);
    }
    for (const event of entry.events ?? []) this.receive({ room: `chat:${room.id}`, ...event });
    room.sequence = Math.max(room.sequence, entry.sequence);
    // Last, as the counts are of the head: the events before it have been counted again here.
    if (room.role !== null) room.mark(entry, entry.sequence);
    this.tell('rooms', room);
  }

  /**
   * Takes an event of `chat:ROOM`, or one that is for oneself. The verdict on a numbered event of a room is `next`, `repeat` or `hole`;
   * others are `heard`.
   */
  receive(event) {
    const [kind, name] = splitRoom(event.room);
    if (kind !== 'chat') return this.#told(event);
    const room = this.rooms.get(name);
    if (!room) return 'heard';
    if (event.payload?.userId) this.#learn(event.payload);
    if (!event.seq) {
      room.hear(event.event, event.payload);
      this.tell(ephemeral[event.event] ?? 'typing', room);
      return 'heard';
    }
    const verdict = room.receive(event);
    if (verdict === 'next') {
      this.tell('messages', room);
      this.tell('rooms', room);
      if (aboutPeople.has(event.event)) this.tell('people', room);
    }
    return verdict;
  }

  #told({ event, payload }) {
    if (event === 'presence') this.present([payload]);
    if (event === 'readState') {
      const room = this.rooms.get(payload.roomId);
      if (room) this.marked(room, payload);
    }
    if (event === 'roomAdded') this.describe(payload);
    if (event === 'roomRemoved') {
      const room = this.rooms.get(payload.roomId);
      if (room) this.left(room, payload.reason);
    }
    return 'heard';
  }

  /** How far one has read, as `readState` and the answers to marks say it: their `sequence` is the mark. */
  marked(room, { sequence: read, unread, mentions }) {
    room.mark({ read, unread, mentions });
    this.tell('rooms', room);
  }

  markedUnread(room, { sequence: read, mentions }, from) {
    room.mark({ read, unread: room.sequence + 1 - from, mentions });
    this.tell('rooms', room);
  }

  left(room, reason) {
    room.leave(room.removed ?? reason);
    this.tell('rooms', room);
    this.tell('messages', room);
  }

  present(list) {
    for (const { userId, status, lastSeen } of list) this.presence.set(userId, { status, lastSeen });
    this.tell('presence');
  }

  gap(gap) {
    const room = this.rooms.get(splitRoom(gap.room)[1]);
    room?.skip(gap);
    return room;
  }

  draft(room, draft) {
    this.#own.add(draft.clientMessageId);
    room.draft(draft);
    this.tell('messages', room);
  }

  sent(room, message) {
    this.#learn(message);
    room.sent(message);
    this.tell('messages', room);
  }

  failed(room, clientMessageId, failure) {
    room.fail(clientMessageId, failure);
    this.tell('messages', room);
  }

  retried(room, clientMessageId) {
    room.retry(clientMessageId);
    this.tell('messages', room);
  }

  discarded(room, clientMessageId) {
    room.settle(clientMessageId);
    this.tell('messages', room);
  }

  changed(room, message) {
    room.changed(message);
    this.tell('messages', room);
  }

  /** Whether one wrote this. A guest has another id after each reconnect, but knows what it sent. */
  isOwn({ userId, clientMessageId }) {
    return userId === this.me.id || this.#own.has(clientMessageId);
  }

  expireTyping() {
    for (const room of this.rooms.values()) if (room.expireTyping()) this.tell('typing', room);
  }

  #learn({ userId, userName }) {
    if (userId && userName) this.names.set(userId, userName);
  }
}

const ephemeral = { readReceipt: 'messages', deliveryReceipt: 'messages' };
const aboutPeople = new Set(['userJoined', 'userLeft', 'memberUpdated']);

/** `chat:general` as `['chat', 'general']`. */
function splitRoom(room) {
  const at = room.indexOf(':');
  return [room.slice(0, at), room.slice(at + 1)];
}
