// One room as this page knows it: its messages, what is on the way, who types, who has read how far. Pure state: it is fed
// with answers and with events, and knows neither a connection nor a page.

import { Ledger } from './ledger.js';

/** Typing ends by itself after this time, here as on the server. */
const TYPING_MS = 6_000;

/** Notes about comings and goings that are kept between the messages. */
const NOTES = 50;

/** Messages by their number. The newer state of each is kept, in whichever order states arrive. */
export class Messages {
  #bySequence = new Map();
  #sorted = null;

  /** Ascending by number. */
  get sorted() {
    this.#sorted ??= [...this.#bySequence.values()].sort((a, b) => a.sequence - b.sequence);
    return this.#sorted;
  }

  get size() {
    return this.#bySequence.size;
  }

  at(sequence) {
    return this.#bySequence.get(sequence);
  }

  /** A message's id is `ROOM-SEQUENCE`. */
  find(id) {
    const message = this.at(sequenceOf(id));
    return message?.id === id ? message : undefined;
  }

  /**
   * Keeps a state of a message as it was when the log was `asOf` long (its `seq`; 0 for an answer that does not say).
   * False when what is known is as new.
   */
  put(message, asOf) {
    const known = this.#bySequence.get(message.sequence);
    if (known && !isNewer(message, asOf, known)) return false;
    this.#bySequence.set(message.sequence, { ...message, asOf: Math.max(asOf, known?.asOf ?? 0) });
    this.#sorted = null;
    return true;
  }

  /** Forgets what is older than a number. */
  dropBefore(sequence) {
    for (const known of this.#bySequence.keys()) if (known < sequence) this.#bySequence.delete(known);
    this.#sorted = null;
  }

  clear() {
    this.#bySequence.clear();
    this.#sorted = null;
  }
}

export const sequenceOf = (id) => Number(id.slice(id.lastIndexOf('-') + 1));

function isNewer(message, asOf, known) {
  if (message.version !== known.version) return message.version > known.version;
  return asOf > known.asOf;
}

export class RoomState {
  kind = 'public';
  title = '';
  members = 0;
  slowMode = 0;
  sequence = 0;
  lastMessage = null;

  /** What is one's own: null as role means that one is no member. */
  role = null;
  read = 0;
  /** One wants it unread from this number on; 0 when one does not. */
  unreadFrom = 0;
  mentions = 0;
  mutedUntil = null;
  peer = null;

  /** Where the log was read to, as a `Ledger`; null before it is known. */
  ledger = null;
  messages = new Messages();
  loaded = false;
  hasBefore = false;
  /** Threads that are open: by the number of the message they begin with, that one and its answers. */
  threads = new Map();
  drafts = [];
  notes = [];
  typing = new Map();
  /** Members that are known, by id; `everybody` when these are all. */
  people = new Map();
  everybody = false;

  /** One said that it is unread: what is seen is not told until the room is opened again. */
  keptUnread = false;
  /** The last number that was read when one came here: what is after it is new. Null: nothing is marked. */
  divider = null;
  /** Why one is out: `kicked`, `banned`, `left`. */
  removed = null;

  constructor(id, { now = Date.now, self = () => null } = {}) {
    this.id = id;
    this.now = now;
    this.self = self;
  }

  get position() {
    return this.ledger?.position ?? null;
  }

  /** The server's rule: messages are numbered without holes, so that a subtraction counts them. */
  get unread() {
    if (this.role === null) return 0;
    const wanted = this.unreadFrom > 0 ? this.sequence + 1 - this.unreadFrom : 0;
    return Math.max(0, this.sequence - this.read, wanted);
  }

  /** The number of the first message that is unread, or will be. */
  get firstUnread() {
    return this.unreadFrom > 0 ? Math.min(this.unreadFrom, this.read + 1) : this.read + 1;
  }

  get mayModerate() {
    return this.role === 'owner' || this.role === 'moderator';
  }

  /** Takes a room as the server describes it; what is a member's own is there for members only. */
  describe(room) {
    for (const field of ['kind', 'title', 'members', 'slowMode', 'createdBy', 'createdAt']) {
      if (room[field] !== undefined && room[field] !== null) this[field] = room[field];
    }
    this.sequence = Math.max(this.sequence, room.sequence ?? 0);
    if (room.lastMessage) this.#latest(room.lastMessage);
    if (room.role) {
      this.role = room.role;
      this.removed = null;
      this.mark(room, room.sequence);
      this.mutedUntil = room.mutedUntil ?? null;
      this.peer = room.peer ?? null;
    }
    if (room.epoch !== undefined) this.follow(`${room.epoch}:${room.seq}`);
  }

  /** Begins to read behind a position, unless reading has begun already. */
  follow(position) {
    this.ledger ??= new Ledger(position);
  }

  /** The newest page takes the place of what was there before it; what came behind it stays. */
  showNewest(page) {
    const first = page.messages[0];
    this.messages.dropBefore(first ? first.sequence : page.sequence + 1);
    this.#take(page);
    this.loaded = true;
    this.follow(`${page.epoch}:${page.seq}`);
  }

  showBefore(page) {
    this.#take(page);
  }

  #take(page) {
    for (const message of page.messages) this.messages.put(message, page.seq);
    if (page.messages.length > 0) this.#latest(page.messages.at(-1));
    this.hasBefore = page.hasBefore;
    this.sequence = Math.max(this.sequence, page.sequence);
  }

  /** Keeps no more than this many messages; what is dropped can be asked for again. */
  trim(count) {
    const { sorted } = this.messages;
    if (sorted.length <= count) return;
    this.messages.dropBefore(sorted[sorted.length - count].sequence);
    this.hasBefore = true;
  }

  openThread(root, answers, asOf) {
    const thread = new Messages();
    for (const message of [root, ...answers]) thread.put(message, asOf);
    this.threads.set(root.sequence, thread);
  }

  /** What an event of the log is: `next` (taken), `repeat` (known), `hole` (something is missing before it). */
  receive(event) {
    const verdict = this.ledger?.judge(event) ?? 'hole';
    if (verdict !== 'next') return verdict;
    this.ledger.accept(event);
    const { payload, seq } = event;
    this.#applies[event.event]?.(payload, seq, event.timestamp);
    return verdict;
  }

  /** What cannot be replayed: reading goes on behind it, and the newest page has to be asked for. */
  skip(gap) {
    this.follow(`${gap.epoch}:${gap.to}`);
    if (gap.epoch !== this.ledger.epoch) {
      this.messages.clear();
      this.threads.clear();
      this.sequence = 0;
    }
    this.ledger.skip(gap);
    this.loaded = false;
  }

  #applies = {
    message: (message, seq) => this.#arrived(message, seq),
    messageUpdated: (message, seq) => this.#updated(message, seq),
    userJoined: ({ userId, userName, members, by }, _, timestamp) => {
      this.members = members ?? this.members;
      if (!this.people.has(userId)) this.people.set(userId, newcomer({ userId, userName, timestamp }, this.sequence));
      this.#note({ note: 'joined', userId, userName, by, timestamp });
    },
    userLeft: ({ userId, members, reason, by }, _, timestamp) => {
      this.members = members ?? this.members;
      const userName = this.people.get(userId)?.userName;
      this.people.delete(userId);
      this.typing.delete(userId);
      if (userId === this.self()) this.leave(reason);
      this.#note({ note: reason ?? 'left', userId, userName, by, timestamp });
    },
    roomUpdated: (room) => this.describe({ ...room, role: undefined, epoch: undefined }),
    memberUpdated: (member) => {
      this.people.set(member.userId, { ...this.people.get(member.userId), ...member });
      if (member.userId === this.self() && this.role !== null) {
        this.role = member.role;
        this.mutedUntil = member.mutedUntil ?? null;
      }
    },
  };

  #arrived({ root, ...message }, seq) {
    this.sequence = Math.max(this.sequence, message.sequence);
    this.#put(message, seq);
    this.#latest(message);
    this.typing.delete(message.userId);
    this.settle(message.clientMessageId);
    if (root) this.#rootChanged(root, seq);
    if (message.userId === this.self()) this.#wrote(message);
    else if (message.mentions?.includes(this.self()) && message.sequence > this.read) this.mentions += 1;
  }

  /** Who writes has read: the server moves the mark with the message. */
  #wrote({ sequence }) {
    if (sequence <= this.read) return;
    this.read = sequence;
    this.mentions = 0;
  }

  #updated({ change, ...message }, seq) {
    if (change === 'reactions') {
      this.#reacted(message, seq);
      return;
    }
    if (this.messages.at(message.sequence)) this.messages.put(message, seq);
    this.#inThread(message, (thread) => thread.at(message.sequence) && thread.put(message, seq));
    if (this.lastMessage?.sequence === message.sequence) this.lastMessage = message;
  }

  /** Of reactions the log tells nothing but them. */
  #reacted({ id, sequence, reactions }, seq) {
    const now = { reactions: reactions?.length > 0 ? reactions : undefined };
    for (const list of [this.messages, ...this.threads.values()]) {
      const known = list.find(id);
      if (known) list.put({ ...known, ...now }, seq);
    }
    if (this.lastMessage?.sequence === sequence) this.lastMessage = { ...this.lastMessage, ...now };
  }

  /** A message's own state, from an event or as the answer to a call. */
  #put(message, asOf) {
    this.messages.put(message, asOf);
    this.#inThread(message, (thread) => thread.put(message, asOf));
  }

  #inThread({ threadId, sequence }, act) {
    const thread = this.threads.get(threadId ? sequenceOf(threadId) : sequence);
    if (thread) act(thread);
  }

  #rootChanged({ id, thread }, seq) {
    for (const list of [this.messages, this.threads.get(sequenceOf(id))]) {
      const root = list?.find(id);
      if (root) list.put({ ...root, thread }, seq);
    }
  }

  #latest(message) {
    if (!this.lastMessage || message.sequence >= this.lastMessage.sequence) this.lastMessage = message;
  }

  #note(note) {
    this.notes.push({ ...note, after: this.sequence, key: `${note.note}-${note.userId}-${this.ledger.seq}` });
    if (this.notes.length > NOTES) this.notes.shift();
  }

  /** What is said beside the log, without a number. */
  hear(event, { userId, ...payload } = {}) {
    if (userId === this.self() && event !== 'readReceipt' && event !== 'deliveryReceipt') return;
    switch (event) {
      case 'typing':
        this.typing.set(userId, { userName: payload.userName, until: this.now() + TYPING_MS });
        break;
      case 'stopTyping':
        this.typing.delete(userId);
        break;
      case 'readReceipt':
        this.#receipt(userId, { read: payload.sequence, delivered: payload.sequence });
        break;
      case 'deliveryReceipt':
        this.#receipt(userId, { delivered: payload.sequence });
        break;
    }
  }

  #receipt(userId, marks) {
    const member = this.people.get(userId);
    if (!member) return;
    const raised = Object.entries(marks).map(([name, sequence]) => [name, Math.max(member[name] ?? 0, sequence)]);
    this.people.set(userId, { ...member, ...Object.fromEntries(raised) });
  }

  /** Forgets who has stopped typing without a word; true when somebody has. */
  expireTyping() {
    const before = this.typing.size;
    for (const [userId, { until }] of this.typing) if (until <= this.now()) this.typing.delete(userId);
    return this.typing.size < before;
  }

  listMembers(members, everybody) {
    for (const member of members) {
      const known = this.people.get(member.userId);
      this.people.set(member.userId, {
        ...member,
        read: Math.max(member.read ?? 0, known?.read ?? 0),
        delivered: Math.max(member.delivered ?? 0, known?.delivered ?? 0),
      });
    }
    this.everybody ||= everybody;
  }

  /**
   * The server's word on what is unread, when the room had `head` messages. More than is behind the last one that was read
   * is what one wants to be unread.
   */
  mark({ read, unread, mentions }, head = this.sequence) {
    this.read = read;
    this.mentions = mentions;
    this.unreadFrom = unread > head - read ? head + 1 - unread : 0;
  }

  leave(reason) {
    this.role = null;
    this.removed = reason;
    this.divider = null;
    this.mentions = 0;
  }

  /** What somebody writes is shown at once, until the server says that it is kept, or why not. */
  draft(draft) {
    this.drafts.push({ ...draft, state: 'sending', timestamp: this.now() });
  }

  /** The answer to a sending: the message, and the `seq` it has. */
  sent(message) {
    this.sequence = Math.max(this.sequence, message.sequence);
    this.#wrote(message);
    this.#put(message, message.seq ?? 0);
    this.settle(message.clientMessageId);
  }

  settle(clientMessageId) {
    if (clientMessageId) this.drafts = this.drafts.filter((draft) => draft.clientMessageId !== clientMessageId);
  }

  fail(clientMessageId, failure) {
    this.#redraft(clientMessageId, { state: 'failed', failure });
  }

  retry(clientMessageId) {
    this.#redraft(clientMessageId, { state: 'sending', failure: undefined });
  }

  #redraft(clientMessageId, change) {
    this.drafts = this.drafts.map((draft) =>
      draft.clientMessageId === clientMessageId ? { ...draft, ...change } : draft,
    );
  }

  /** The answer to an edit, a deletion or a reaction. The event that follows says the same. */
  changed(message) {
    const asOf = message.seq ?? 0;
    if (this.messages.at(message.sequence)) this.messages.put(message, asOf);
    this.#inThread(message, (thread) => thread.put(message, asOf));
    if (this.lastMessage?.sequence === message.sequence && message.version > this.lastMessage.version) {
      this.lastMessage = message;
    }
  }
}

/** Who joins has read nothing, and is owed nothing: marks begin at the head. */
function newcomer({ userId, userName, timestamp }, head) {
  return { userId, userName, role: 'member', joinedAt: timestamp, read: head, delivered: head };
}
