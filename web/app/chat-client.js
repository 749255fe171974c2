// Between the connection and what the page knows: asks for rooms and pages, follows rooms from their positions, sends what
// is written until it is kept, and says what was seen.

import { Connection } from './chat-connection.js';
import { Lost, Refusal, randomName, sleep } from './wire.js';

const ROOMS_PAGE = 100;
const PAGE = 50;
const THREAD_PAGE = 100;

/** Rooms that are followed at once, and how fast the others are: who asks for everything at once is refused. */
const FOLLOWED_AT_ONCE = 40;
const FOLLOWED_EVERY_MS = 100;

/** What was seen is told once for all of this time; what has arrived is less urgent. */
const READ_AFTER_MS = 250;
const DELIVERED_AFTER_MS = 1_000;

/** Rooms that are told so at a time: in many busy ones it is too much to ask each second. */
const MARKED_AT_ONCE = 8;

/** Messages of a room that are kept at hand while one follows its end. */
const KEPT = 400;

export class ChatClient {
  /** The room that is shown, or null. */
  open = null;
  #model;
  #told;
  #connection;
  #identity;
  #followed = new Map();
  /** Rooms for which something is under way that is done once at a time. */
  #sending = new Set();
  #loading = new Set();
  #renewing = new Set();
  #read;
  #delivered;

  /**
   * `identity` is `{token, name, roles}`. `told` hears `state(name, detail)`, `notice(sentence)`, `expiring(at)` of the
   * token, `arrived(room, message)` of others' messages, `missing(id, error)` of a room that is not there or not for one,
   * and is asked `away()`, whether nobody looks.
   */
  constructor(model, identity, told) {
    this.#model = model;
    this.#told = told;
    this.#identity = identity;
    this.#read = new Marks('chat.markRead', READ_AFTER_MS, this, (room, state) => model.marked(room, state));
    this.#delivered = new Marks('chat.markDelivered', DELIVERED_AFTER_MS, this, () => {});
    this.#connection = new Connection(identity.token, {
      state: (name, detail) => {
        model.connected(name === 'live');
        told.state(name, detail);
      },
      welcome: (frame) => this.#attempt(() => this.#welcomed(frame)),
      frame: (frame) => this.#frames[frame.type]?.(frame),
    });
  }

  start() {
    this.#connection.run();
  }

  hurry() {
    this.#connection.hurry();
  }

  ask(method, payload) {
    return patiently(() => this.#connection.call(method, payload));
  }

  /** Does what somebody asked for with a click: null, and a notice, when it cannot be done. */
  async act(method, payload) {
    try {
      return await this.ask(method, payload);
    } catch (error) {
      this.#told.notice(sentenceOf(error));
      return null;
    }
  }

  /** Something that goes on by itself: a lost connection begins it anew, a refusal is shown. */
  async #attempt(work) {
    try {
      return await work();
    } catch (error) {
      if (error instanceof Refusal) this.#told.notice(sentenceOf(error));
      else if (!(error instanceof Lost)) throw error;
      return null;
    }
  }

  async #welcomed({ clientId, userId = null }) {
    const model = this.#model;
    const known = model.me.id !== null;
    const { name, roles } = this.#identity;
    model.identify({ id: userId ?? clientId, name, guest: userId === null, admin: roles.includes('admin') });
    this.#followed.clear();
    if (!model.me.guest) {
      await patiently(() => this.#connection.join(`user:${userId}`));
      if (known) await this.#catchUp();
      await this.#listRooms();
    }
    if (this.open) await this.#attempt(() => this.#show(this.open));
    for (const room of model.rooms.values()) this.#send(room);
    this.#read.flush();
    if (model.me.guest) await this.browse();
    else await Promise.all([this.#followAll(), this.#askPresence()]);
  }

  /** What happened while one was away, for all rooms in one answer. */
  async #catchUp() {
    const known = this.#model.joined.filter(({ ledger }) => ledger).slice(0, ROOMS_PAGE);
    const positions = Object.fromEntries(known.map(({ id, position }) => [id, position]));
    const { rooms, removed } = await this.ask('chat.sync', { rooms: positions, limit: PAGE });
    for (const entry of rooms) this.#model.synced(entry);
    for (const id of removed) this.#model.left(this.#model.room(id), 'left');
  }

  async #listRooms() {
    const listed = [];
    let after;
    do {
      const { rooms, next } = await this.ask('chat.rooms', { limit: ROOMS_PAGE, after });
      listed.push(...rooms);
      after = next;
    } while (after && listed.length < 3 * ROOMS_PAGE);
    this.#model.list(listed, { whole: !after });
  }

  async #followAll() {
    const rooms = this.#model.joined;
    await Promise.all(rooms.slice(0, FOLLOWED_AT_ONCE).map((room) => this.#attempt(() => this.#follow(room))));
    for (const room of rooms.slice(FOLLOWED_AT_ONCE)) {
      await sleep(FOLLOWED_EVERY_MS);
      await this.#attempt(() => this.#follow(room));
    }
  }

  /** Reads a room on from where it was read to. Once for each connection. */
  #follow(room) {
    const following = this.#followed.get(room.id) ?? this.#join(room);
    this.#followed.set(room.id, following);
    return following;
  }

  async #join(room) {
    try {
      const { epoch, seq } = await patiently(() => this.#connection.join(`chat:${room.id}`, room.position));
      room.follow(`${epoch}:${seq}`);
    } catch (error) {
      this.#followed.delete(room.id);
      throw error;
    }
  }

  #followAnew(room) {
    if (this.#renewing.has(room)) return;
    this.#renewing.add(room);
    // Not at once: whatever made a hole may make the next one.
    sleep(500)
      .then(() => this.#attempt(() => this.#join(room)))
      .finally(() => this.#renewing.delete(room));
  }

  /** Does not read on. Who was removed is not read to any more anyway, and has to be followed anew when back in. */
  #unfollow(room) {
    if (!this.#followed.delete(room.id)) return;
    this.#connection.leave(`chat:${room.id}`).catch(() => {});
  }

  #frames = {
    broadcast: (event) => {
      const verdict = this.#model.receive(event);
      const room = this.#roomOf(event.room);
      if (room && verdict === 'hole') this.#followAnew(room);
      if (room && verdict === 'next' && event.event === 'message') this.#arrived(room, event.payload);
      if (event.event === 'typing') setTimeout(() => this.#model.expireTyping(), 6_050);
      if (event.event === 'userJoined' && room === this.open) this.#askPresence([event.payload.userId]);
      if (event.event === 'roomAdded') this.#attempt(() => this.#added(event.payload.id));
      if (event.event === 'userLeft' && event.payload.userId === this.#model.me.id) this.#unfollow(room);
      if (event.event === 'roomRemoved') this.#unfollow(this.#model.room(event.payload.roomId));
    },
    gap: (gap) => {
      const room = this.#model.gap(gap);
      if (room && room === this.open) this.#attempt(() => this.#loadNewest(room));
    },
    position: async ({ rooms }) => {
      await sleep(1_000);
      for (const [name, mark] of Object.entries(rooms)) {
        const room = this.#roomOf(name);
        if (room?.ledger && isBehind(room.ledger, mark)) this.#followAnew(room);
      }
    },
    expiring: ({ expiresAt }) => this.#told.expiring(expiresAt),
    error: ({ error }) => this.#told.notice(error),
  };

  #roomOf(name) {
    return name?.startsWith('chat:') ? this.#model.rooms.get(name.slice('chat:'.length)) : undefined;
  }

  #arrived(room, message) {
    if (this.#model.isOwn(message)) return;
    if (room === this.open && this.#told.away() && room.divider === null) room.divider = message.sequence - 1;
    if (room.role !== null) this.#delivered.raise(room, message.sequence);
    this.#told.arrived(room, message);
  }

  async #added(id) {
    const room = this.#model.describe(await this.ask('chat.room', { room: id }));
    await this.#follow(room);
    if (room.peer) await this.#askPresence([room.peer]);
  }

  /** Shows a room; null shows none. */
  async show(id) {
    const left = this.open;
    if (left) {
      left.divider = null;
      left.trim(KEPT);
      if (left.role === null) this.#unfollow(left);
    }
    this.open = id === null ? null : this.#model.room(id);
    this.#model.tell('messages', this.open);
    if (!this.open) return;
    this.open.keptUnread = false;
    if (this.#connection.live) await this.#attempt(() => this.#show(this.open));
  }

  async #show(room) {
    if (!(await this.#look(room))) return;
    if (room.unread > 0 && room.divider === null) room.divider = room.firstUnread - 1;
    if (!room.loaded) await this.#loadNewest(room);
    await this.#follow(room);
    if (room.role !== null || room.kind === 'public') await this.members(room);
  }

  /** Asks what a room is that is not in one's list; false when there is none. */
  async #look(room) {
    if (room.role !== null && room.ledger) return true;
    try {
      this.#model.describe(await this.ask('chat.room', { room: room.id }));
      return true;
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.#model.rooms.delete(room.id);
      this.#told.missing(room.id, error);
      return false;
    }
  }

  async #loadNewest(room) {
    this.#model.newest(room, await this.ask('chat.history', { room: room.id, limit: PAGE }));
  }

  /** Loads the page before what is shown; once at a time. */
  async loadBefore(room) {
    if (this.#loading.has(room) || !room.hasBefore || !room.loaded || !this.#connection.live) return;
    this.#loading.add(room);
    try {
      const before = room.messages.sorted[0]?.sequence;
      await this.#attempt(async () => {
        this.#model.before(room, await this.ask('chat.history', { room: room.id, before, limit: PAGE }));
      });
    } finally {
      this.#loading.delete(room);
    }
  }

  /** Keeps the list short while its end is looked at. */
  trim(room) {
    if (room.messages.size > KEPT + PAGE && !this.#loading.has(room)) room.trim(KEPT);
  }

  async openThread(room, rootId) {
    await this.#attempt(async () => {
      const root = room.messages.find(rootId) ?? (await this.ask('chat.message', { room: room.id, messageId: rootId }));
      const page = await this.ask('chat.history', { room: room.id, threadId: rootId, limit: THREAD_PAGE });
      this.#model.thread(room, root, page);
    });
  }

  async members(room) {
    const { members, next } = await this.ask('chat.members', { room: room.id, limit: ROOMS_PAGE });
    this.#model.members(room, members, !next);
    await this.#askPresence(members.map(({ userId }) => userId));
  }

  async #askPresence(users) {
    if (this.#model.me.guest) return;
    const peers = this.#model.joined.flatMap(({ peer }) => (peer ? [peer] : []));
    const asked = [...new Set(users ?? [...peers, ...this.#model.presence.keys()])].slice(0, 100);
    if (asked.length === 0) return;
    await this.#attempt(async () => this.#model.present((await this.ask('presence.get', { users: asked })).presence));
  }

  /** Says whether somebody sits before this page. */
  attend(status) {
    if (!this.#model.me.guest && this.#connection.live) this.#attempt(() => this.ask('presence.set', { status }));
  }

  async browse() {
    const answer = await this.act('chat.directory', { limit: ROOMS_PAGE });
    if (answer) this.#model.listPublic(answer.rooms);
  }

  /** Joins a public room, and makes it when it is not there. Resolves to whether one is in. */
  async join(id) {
    return this.#enter(await this.act('chat.join', { room: id }));
  }

  async create(description) {
    return this.#enter(await this.act('chat.create', description));
  }

  async #enter(description) {
    if (!description) return null;
    const room = this.#model.describe(description);
    await this.#attempt(() => this.#follow(room));
    if (room === this.open) await this.#attempt(() => this.#show(room));
    return room.id;
  }

  async leave(room) {
    if (!(await this.act('chat.leave', { room: room.id }))) return false;
    this.#model.left(room, 'left');
    this.#unfollow(room);
    return true;
  }

  /** Writes a message: it is shown at once, and sent until it is kept or refused. */
  send(room, { content, threadId, replyTo, mentions }) {
    if (room.divider !== null) room.divider = null;
    this.#model.draft(room, {
      clientMessageId: randomName(),
      content,
      ...(threadId && { threadId }),
      ...(replyTo && { replyTo }),
      ...(mentions.length > 0 && { mentions }),
    });
    this.#send(room);
  }

  retry(room, clientMessageId) {
    this.#model.retried(room, clientMessageId);
    this.#send(room);
  }

  discard(room, clientMessageId) {
    this.#model.discarded(room, clientMessageId);
  }

  /** Sends a room's drafts one after another. The id of each makes a second sending harmless. */
  async #send(room) {
    if (this.#sending.has(room)) return;
    this.#sending.add(room);
    for (;;) {
      const draft = room.drafts.find(({ state }) => state === 'sending');
      if (!draft || !this.#connection.live) break;
      const { state, failure, timestamp, ...payload } = draft;
      try {
        this.#model.sent(room, await this.#connection.call('chat.send', { room: room.id, ...payload }));
      } catch (error) {
        if (error instanceof Lost) await sleep(1_000);
        else if (isBusy(error)) await sleep(error.delay);
        else this.#model.failed(room, draft.clientMessageId, sentenceOf(error));
      }
    }
    this.#sending.delete(room);
  }

  async edit(room, message, content, mentions) {
    const { id: messageId, version } = message;
    const changed = await this.act('chat.edit', { room: room.id, messageId, content, version, mentions });
    if (changed) this.#model.changed(room, changed);
    return changed !== null;
  }

  async remove(room, message) {
    const changed = await this.act('chat.delete', { room: room.id, messageId: message.id });
    if (changed) this.#model.changed(room, changed);
  }

  async toggleReaction(room, message, emoji) {
    const mine = message.reactions?.find((one) => one.emoji === emoji)?.userIds?.includes(this.#model.me.id);
    const method = mine ? 'chat.unreact' : 'chat.react';
    const changed = await this.act(method, { room: room.id, messageId: message.id, emoji });
    if (changed) this.#model.changed(room, changed);
  }

  /** A message was seen. */
  see(room, sequence) {
    if (room.role !== null && !room.keptUnread && sequence >= room.firstUnread) this.#read.raise(room, sequence);
  }

  /** From this message on it is unread, until the room is opened again. */
  async markUnread(room, message) {
    const state = await this.act('chat.markUnread', { room: room.id, messageId: message.id });
    if (!state) return;
    room.keptUnread = true;
    room.divider = message.sequence - 1;
    this.#model.markedUnread(room, state, message.sequence);
    this.#model.tell('messages', room);
  }

  typing(room, method) {
    if (room.role !== null && this.#connection.live) this.#connection.call(method, { room: room.id }).catch(() => {});
  }
}

/** The highest number of each room that is to be told, told once for all that was raised in a while. */
class Marks {
  #method;
  #after;
  #client;
  #answered;
  #highest = new Map();
  #timer = null;

  constructor(method, after, client, answered) {
    this.#method = method;
    this.#after = after;
    this.#client = client;
    this.#answered = answered;
  }

  raise(room, sequence) {
    this.#highest.set(room, Math.max(sequence, this.#highest.get(room) ?? 0));
    this.#timer ??= setTimeout(() => this.flush(), this.#after);
  }

  flush() {
    clearTimeout(this.#timer);
    this.#timer = null;
    for (const [room, sequence] of [...this.#highest].slice(0, MARKED_AT_ONCE)) {
      this.#highest.delete(room);
      if (sequence < room.firstUnread) continue;
      this.#client.ask(this.#method, { room: room.id, sequence }).then(
        (state) => this.#answered(room, state),
        // Kept until the connection is back; a refusal would be the same again.
        (error) => error instanceof Lost && !this.#highest.has(room) && this.#highest.set(room, sequence),
      );
    }
    if (this.#highest.size > 0) this.#timer = setTimeout(() => this.flush(), this.#after);
  }
}

/** Asks again when the server says that it is too much at the moment. */
async function patiently(ask) {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await ask();
    } catch (error) {
      if (!isBusy(error) || attempt === 3) throw error;
      await sleep(error.delay);
    }
  }
}

const isBusy = (error) =>
  error instanceof Refusal &&
  ['rate_limited', 'unavailable', 'shutting_down'].includes(error.code) &&
  error.delay <= 10_000;

function isBehind({ epoch, seq }, mark) {
  const at = mark.lastIndexOf(':');
  return mark.slice(0, at) !== epoch || seq < Number(mark.slice(at + 1));
}

export function sentenceOf(error) {
  if (error instanceof Lost) return `Not done: ${error.message}.`;
  const again = error.delay ? `, again in ${Math.ceil(error.delay / 1000)} s` : '';
  return `${error.message.charAt(0).toUpperCase()}${error.message.slice(1)}${again}.`.replace(/\.\.$/, '.');
}
