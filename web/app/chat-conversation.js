// The room that is open: its head, its messages, who types, and where one writes.

import { Composer } from './chat-composer.js';
import { MessageView } from './chat-messages.js';
import { roomRows } from './chat-timeline.js';
import { count, h, openMenu, several, statusWords, timeOfDay } from './chat-parts.js';

/** What a browser's timers can wait for. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

const element = (id) => document.getElementById(id);

export class Conversation {
  #model;
  #client;
  #act;
  #room = null;
  #list;
  #composer;
  #later = null;

  /** `act` is what can be done with messages besides what a list does itself: `thread(id)`, `receipts(message, anchor)`. */
  constructor(model, client, act) {
    this.#model = model;
    this.#client = client;
    this.#act = act;
    this.#list = new MessageView(element('timeline'), element('timeline-list'), {
      see: (sequence) => client.see(this.#room, sequence),
      start: () => client.loadBefore(this.#room),
      ends: () => this.#showPill(),
    });
    this.#composer = new Composer(model, 'Message', {
      send: (message) => {
        this.#list.toEnd();
        client.send(this.#room, message);
      },
      edit: (message, content, mentions) => client.edit(this.#room, message, content, mentions),
      typing: (method) => this.#room && client.typing(this.#room, method),
      editLast: () => this.#editLast(),
    });
    element('writing').append(this.#composer.element);
    element('to-end').addEventListener('click', () => this.#list.toEnd());
    element('earlier').addEventListener('click', () => client.loadBefore(this.#room));
  }

  /** What the rows of a list can ask for, in this room. */
  actions(more = {}) {
    const room = this.#room;
    const client = this.#client;
    return {
      isOwn: (message) => this.#model.isOwn(message),
      mayModerate: () => room.mayModerate || this.#model.me.admin,
      mayWrite: () => this.#mayWrite(room),
      react: (message, emoji) => client.toggleReaction(room, message, emoji),
      remove: (message) => client.remove(room, message),
      markUnread: (message) => client.markUnread(room, message),
      retry: (id) => client.retry(room, id),
      discard: (id) => client.discard(room, id),
      reply: (message) => this.#composer.about({ reply: message }),
      edit: (message) => this.#composer.about({ edit: message }),
      jump: (id) => this.#jump(id),
      ...this.#act,
      ...more,
    };
  }

  render(room) {
    if (room !== this.#room) this.#begin(room);
    element('conversation').dataset.room = room?.id ?? '';
    element('nothing').hidden = room !== null;
    element('open-room').hidden = room === null;
    if (!room) return;
    this.#showHead();
    this.#showMessages();
    this.#showWriting();
    this.showTyping();
  }

  #begin(room) {
    this.#room = room;
    if (!room) return;
    this.#list.begin({ model: this.#model, room, thread: false, act: this.actions() });
    this.#composer.begin(room, room.id);
    if (matchMedia('(hover: hover)').matches) this.#composer.focus();
  }

  #showHead() {
    const room = this.#room;
    element('room-name').textContent = this.#model.titleOf(room);
    this.#composer.placeholder = `Write to ${this.#model.titleOf(room)}`;
    element('room-about').textContent = this.#about(room);
    element('people').disabled = room.role === null && room.kind !== 'public';
  }

  #about(room) {
    const status = (id) => this.#model.presence.get(id)?.status ?? 'offline';
    if (room.kind === 'direct') return room.peer ? statusWords[status(room.peer)] : 'direct';
    const kind = room.kind === 'private' ? 'private' : 'public';
    const here = [...room.people.keys()].filter((id) => id === this.#model.me.id || status(id) !== 'offline').length;
    const online = room.role !== null && room.everybody ? `, ${here} online` : '';
    return `${kind}, ${count(room.members, 'member')}${online}`;
  }

  #showMessages() {
    const room = this.#room;
    const { me } = this.#model;
    if (this.#list.following) this.#client.trim(room);
    this.#list.render(roomRows(room, { isOwn: (message) => this.#model.isOwn(message), me: me.id }));
    element('timeline').setAttribute('aria-busy', String(!room.loaded));
    element('earlier').hidden = !room.hasBefore;
    element('silence').hidden = !room.loaded || room.messages.size > 0 || room.drafts.length > 0;
    this.#showPill();
  }

  #showPill() {
    const pill = element('to-end');
    pill.hidden = this.#list.following;
    const { unread = 0 } = this.#room ?? {};
    pill.querySelector('span').textContent = unread > 0 ? `${unread} new` : 'To the end';
  }

  /** Where one writes, or why one cannot, and what to do about it. */
  #showWriting() {
    const room = this.#room;
    const bar = element('bar');
    const word = this.#whyNot(room);
    element('writing').hidden = word !== null;
    bar.hidden = word === null;
    if (word === null) return;
    const { sentence, label, act, until } = word;
    // What ends by itself is looked at again then.
    clearTimeout(this.#later);
    if (until)
      this.#later = setTimeout(
        () => this.#model.tell('rooms', room),
        Math.min(until - Date.now() + 50, LONGEST_TIMER_MS),
      );
    // The same sentence may stand for another room, whose button it then is.
    const shown = `${room.id} ${sentence}`;
    if (bar.dataset.shown === shown) return;
    bar.dataset.shown = shown;
    bar.replaceChildren(h('span', {}, sentence), label ? h('button', { type: 'button', onclick: act }, label) : '');
  }

  #mayWrite(room) {
    return this.#whyNot(room) === null;
  }

  #whyNot(room) {
    const join = { label: 'Join', act: () => this.#client.join(room.id) };
    if (room.removed === 'banned') return { sentence: 'You are banned from this room.' };
    if (room.removed === 'kicked')
      return { sentence: 'You were removed from this room.', ...(room.kind === 'public' && join) };
    if (this.#model.me.guest) return room.kind === 'public' ? null : { sentence: 'Sign in to write here.' };
    if (room.role === null)
      return { sentence: 'You read this room, and are not in it.', ...(room.kind === 'public' && join) };
    if (room.mutedUntil > Date.now()) {
      return { sentence: `You are muted until ${timeOfDay(room.mutedUntil)}.`, until: room.mutedUntil };
    }
    return null;
  }

  showTyping() {
    const names = this.#room
      ? [...this.#room.typing].map(([id, { userName }]) => userName ?? this.#model.nameOf(id))
      : [];
    const words = names.length === 0 ? '' : `${several(names, 2)} ${names.length === 1 ? 'is' : 'are'} typing`;
    const line = element('typing');
    if (line.textContent !== words) line.textContent = words;
    line.hidden = words === '';
  }

  #editLast() {
    const last = this.#room.messages.sorted.findLast((message) => this.#model.isOwn(message) && !message.deletedAt);
    if (last && last.type === 'TEXT' && this.#room.role !== null) this.#composer.about({ edit: last });
  }

  /** Goes to a message, through as many earlier pages as it takes. */
  async #jump(id) {
    const room = this.#room;
    for (let pages = 0; pages < 20 && room === this.#room; pages += 1) {
      if (this.#list.jumpTo(id)) return;
      if (!room.hasBefore) return;
      const before = room.messages.size;
      await this.#client.loadBefore(room);
      if (room.messages.size === before) return;
      this.#showMessages();
    }
  }
}

/** Who has read a message, and when; who has only received it. */
export async function showReceipts({ model, client, message, anchor }) {
  const answer = await client.act('chat.receipts', { room: message.roomId, messageId: message.id });
  if (!answer) return;
  const read = new Set(answer.read.map(({ userId }) => userId));
  const at = (time) => (time ? `, ${timeOfDay(time)}` : '');
  const others = ({ userId }) => userId !== model.me.id;
  const lines = [
    ...answer.read.filter(others).map((one) => `Read by ${model.nameOf(one.userId)}${at(one.at)}`),
    ...answer.delivered
      .filter((one) => others(one) && !read.has(one.userId))
      .map((one) => `Delivered to ${model.nameOf(one.userId)}${at(one.at)}`),
  ];
  const items = (lines.length > 0 ? lines : ['Nobody has received it yet']).map((label) => ({ label, act: () => {} }));
  openMenu(anchor, 'Receipts', items);
}
