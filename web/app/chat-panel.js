// What stands beside a room: its people and what may be done with them, or a thread.

import { Composer } from './chat-composer.js';
import { MessageView } from './chat-messages.js';
import { threadRows } from './chat-timeline.js';
import { avatar, h, iconButton, openMenu, statusWords } from './chat-parts.js';

const element = (id) => document.getElementById(id);
const roles = ['owner', 'moderator', 'member'];

/** Times for which somebody may be muted, in seconds. */
const MUTES = [
  ['10 minutes', 600],
  ['an hour', 3_600],
  ['a day', 86_400],
];

export class PeoplePanel {
  #model;
  #client;
  #told;
  #room = null;
  #title = null;

  /** `told` hears `write(userId)`, to write to somebody directly, and `left()`. */
  constructor(model, client, told) {
    this.#model = model;
    this.#client = client;
    this.#told = told;
    element('rename').addEventListener('submit', (event) => this.#rename(event));
    element('invite').addEventListener('submit', (event) => this.#invite(event));
    element('leave').addEventListener('click', () => this.#leave());
    element('bans').addEventListener('click', () => this.#showBans());
  }

  render(room) {
    const model = this.#model;
    const fresh = room !== this.#room;
    this.#room = room;
    if (fresh || this.#title !== room.title) element('rename-title').value = room.title;
    this.#title = room.title;
    const direct = room.kind === 'direct';
    const moderates = room.mayModerate || model.me.admin;
    element('rename').hidden = direct || !moderates;
    element('invite').hidden = direct || !(room.role !== null && (room.kind === 'public' || moderates));
    element('bans').hidden = direct || !moderates;
    element('leave').hidden = room.role === null || direct;
    element('people-count').textContent = String(room.members || room.people.size);
    const people = [...room.people.values()].sort(
      (a, b) =>
        roles.indexOf(a.role) - roles.indexOf(b.role) || model.nameOf(a.userId).localeCompare(model.nameOf(b.userId)),
    );
    const list = element('people-list');
    const focused = list.contains(document.activeElement) && document.activeElement.dataset.again;
    list.replaceChildren(...people.map((member) => this.#row(room, member)));
    if (focused) list.querySelector(`[data-again="${CSS.escape(focused)}"]`)?.focus();
  }

  #row(room, member) {
    const model = this.#model;
    const { userId, role, mutedUntil } = member;
    const name = model.nameOf(userId);
    const me = userId === model.me.id;
    // Guests are not told who is there.
    const status = model.me.guest ? null : me ? 'online' : (model.presence.get(userId)?.status ?? 'offline');
    const words = [me && 'you', role !== 'member' && role, mutedUntil > Date.now() && 'muted']
      .filter(Boolean)
      .join(', ');
    const items = me ? [] : this.#menu(room, member, name);
    return h(
      'li',
      { data: { user: userId, role, ...(status && { status }) } },
      avatar(userId, name, status),
      h(
        'span',
        { class: 'name' },
        name,
        status && h('span', { class: 'unseen' }, `, ${statusWords[status] ?? status}`),
      ),
      h('span', { class: 'hint' }, words),
      items.length > 0 &&
        iconButton('more', `What to do with ${name}`, ({ currentTarget }) => openMenu(currentTarget, name, items), {
          'data-again': userId,
        }),
    );
  }

  #menu(room, { userId, role, mutedUntil }, name) {
    const { me } = this.#model;
    if (me.guest) return [];
    const does = (method, more) => () => this.#client.act(method, { room: room.id, userId, ...more });
    const write = { label: `Write to ${name}`, act: () => this.#told.write(userId) };
    const moderates = room.mayModerate || me.admin;
    const owns = room.role === 'owner' || me.admin;
    if (room.kind === 'direct') return [];
    // The server's rule: order is kept over those who stand below.
    const above = me.admin || roles.indexOf(room.role) < roles.indexOf(role);
    return [
      write,
      ...(owns
        ? roles
            .filter((one) => one !== role)
            .map((one) => ({ label: `Make ${one}`, act: does('chat.setRole', { role: one }) }))
        : []),
      ...(moderates && above ? this.#order(mutedUntil, does) : []),
    ];
  }

  #order(mutedUntil, does) {
    const mutes = MUTES.map(([words, seconds]) => ({
      label: `Mute for ${words}`,
      act: does('chat.mute', { seconds }),
    }));
    const unmute = { label: 'Let speak again', act: does('chat.mute', { seconds: 0 }) };
    return [
      ...(mutedUntil > Date.now() ? [unmute] : mutes),
      { label: 'Remove', danger: true, act: does('chat.kick') },
      { label: 'Ban', danger: true, act: does('chat.ban') },
    ];
  }

  async #rename(event) {
    event.preventDefault();
    const room = await this.#client.act('chat.update', {
      room: this.#room.id,
      title: element('rename-title').value.trim(),
    });
    if (room) this.#model.describe(room);
  }

  async #invite(event) {
    event.preventDefault();
    const field = element('invite-user');
    const userId = field.value.trim();
    if (userId && (await this.#client.act('chat.invite', { room: this.#room.id, userId }))) field.value = '';
  }

  async #leave() {
    const button = element('leave');
    const leave = {
      label: 'Leave this room',
      danger: true,
      act: async () => (await this.#client.leave(this.#room)) && this.#told.left(),
    };
    openMenu(button, 'Leave', [leave]);
  }

  async #showBans() {
    const room = this.#room;
    const answer = await this.#client.act('chat.bans', { room: room.id });
    if (!answer) return;
    const items = answer.bans.map(({ userId, reason }) => ({
      label: `Let ${this.#model.nameOf(userId)} come back${reason ? ` (${reason})` : ''}`,
      act: () => this.#client.act('chat.unban', { room: room.id, userId }),
    }));
    openMenu(element('bans'), 'Bans', items.length > 0 ? items : [{ label: 'Nobody is banned', act: () => {} }]);
  }
}

export class ThreadPanel {
  #model;
  #client;
  #list;
  #composer;
  #act;
  #room = null;
  #rootId = null;

  /** `act(more)` gives what the rows of a list can ask for. */
  constructor(model, client, act) {
    this.#model = model;
    this.#client = client;
    this.#act = act;
    this.#list = new MessageView(element('thread'), element('thread-list'), {
      // Answers stand in the room's list too, and are read there: a mark would take what is before them along.
      see: () => {},
      start: () => {},
      ends: () => {},
    });
    this.#composer = new Composer(model, 'Answer', {
      send: ({ content, mentions }) => {
        this.#list.toEnd();
        client.send(this.#room, { content, mentions, threadId: this.#rootId });
      },
      edit: (message, content, mentions) => client.edit(this.#room, message, content, mentions),
      typing: (method) => this.#room && client.typing(this.#room, method),
      editLast: () => {},
    });
    this.#composer.placeholder = 'Answer in the thread';
    element('thread-writing').append(this.#composer.element);
  }

  /** Shows the thread that begins with a message. */
  async begin(room, rootId) {
    this.#room = room;
    this.#rootId = rootId;
    const act = this.#act({
      edit: (message) => this.#composer.about({ edit: message }),
      jump: () => {},
    });
    this.#list.begin({ model: this.#model, room, thread: true, act });
    this.#composer.begin(room, `${room.id} ${rootId}`);
    element('thread-writing').hidden = !act.mayWrite();
    this.render();
    await this.#client.openThread(room, rootId);
    this.#composer.focus();
  }

  end() {
    this.#room?.threads.clear();
    this.#room = null;
  }

  render() {
    if (!this.#room) return;
    const { me } = this.#model;
    this.#list.render(
      threadRows(this.#room, this.#rootId, { isOwn: (message) => this.#model.isOwn(message), me: me.id }),
    );
  }
}
