// The list of rooms: one's own with what is unread, or the public ones for guests.

import { avatar, briefly, count, h, icon, statusWords } from './chat-parts.js';
import { excerpt } from './chat-row.js';

export class Sidebar {
  #model;
  #list;
  #empty;
  #rows = new Map();

  /** `list` is the element of the list, `empty` what is said when there is nothing in it. */
  constructor(model, list, empty) {
    this.#model = model;
    this.#list = list;
    this.#empty = empty;
  }

  render(open) {
    const model = this.#model;
    const rooms = model.me.guest ? guestRooms(model, open) : model.joined;
    const present = new Set(rooms.map(({ id }) => id));
    for (const [id, { element }] of this.#rows) {
      if (present.has(id)) continue;
      element.remove();
      this.#rows.delete(id);
    }
    let place = this.#list.firstElementChild;
    for (const room of rooms) {
      const element = this.#rendered(room, room.id === open?.id);
      if (element === place) place = place.nextElementSibling;
      else this.#list.insertBefore(element, place);
    }
    this.#empty.hidden = rooms.length > 0 || !(model.me.guest ? model.directory : model.listed);
    this.#empty.textContent = model.me.guest
      ? 'There is no public room yet. Who signs in can make one.'
      : 'You are in no room yet. Find one, or make one.';
  }

  /** A row is made anew only when something in it is new, so that the keyboard keeps its place. */
  #rendered(room, current) {
    const model = this.#model;
    const { unread = 0, mentions = 0, sequence, lastMessage, peer } = room;
    const title = model.titleOf(room);
    const status = peer ? (model.presence.get(peer)?.status ?? 'offline') : null;
    const when = lastMessage && briefly(lastMessage.timestamp);
    const parts = [
      title,
      unread,
      mentions,
      sequence,
      lastMessage,
      when,
      status,
      current,
      lastMessage && model.nameOf(lastMessage.userId),
    ];
    const known = this.#rows.get(room.id);
    if (known && parts.every((part, at) => part === known.parts[at])) return known.element;
    const element = known?.element ?? h('li', {}, h('a', { href: `#${encodeURIComponent(room.id)}` }));
    this.#rows.set(room.id, { element, parts });
    const link = element.firstElementChild;
    Object.assign(link.dataset, { room: room.id, unread: String(unread), mentions: String(mentions) });
    link.toggleAttribute('aria-current', current);
    if (current) link.setAttribute('aria-current', 'page');
    const shown = [
      peer
        ? avatar(peer, title, status)
        : h('span', { class: 'sign', 'aria-hidden': 'true' }, icon(room.kind === 'private' ? 'lock' : 'hash')),
      h('span', { class: 'title' }, title, status && h('span', { class: 'unseen' }, `, ${statusWords[status]}`)),
      when && h('span', { class: 'when' }, when),
      h('span', { class: 'last' }, lastMessage ? lastWords(model, room, lastMessage) : howMany(room)),
      badge(unread, mentions),
    ];
    link.replaceChildren(...shown.filter(Boolean));
    return element;
  }
}

function badge(unread, mentions) {
  if (unread === 0) return null;
  const words = mentions > 0 ? `${unread} unread, you are mentioned` : `${unread} unread`;
  return h(
    'span',
    { class: mentions > 0 ? 'badge mention' : 'badge', 'aria-label': words, title: words },
    `${mentions > 0 ? '@ ' : ''}${unread > 99 ? '99+' : unread}`,
  );
}

const howMany = ({ sequence }) => (sequence > 0 ? count(sequence, 'message') : 'no message yet');

function lastWords(model, room, message) {
  if (message.type === 'SYSTEM') return excerpt(message);
  const who = model.isOwn(message) ? 'You' : model.nameOf(message.userId);
  return room.kind === 'direct' && who !== 'You' ? excerpt(message) : `${who}: ${excerpt(message)}`;
}

/** Guests are members of no room: they see those that anybody may read. */
function guestRooms(model, open) {
  const listed = (model.directory ?? []).map((room) => ({
    ...room,
    ...live(model.rooms.get(room.id)),
    unread: 0,
    mentions: 0,
  }));
  const missing = open && open.ledger && !listed.some(({ id }) => id === open.id);
  return missing ? [{ id: open.id, kind: open.kind, ...live(open) }, ...listed] : listed;
}

const live = (room) => room?.ledger && { title: room.title, sequence: room.sequence, lastMessage: room.lastMessage };
