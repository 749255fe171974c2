// Finding a room or a person, and saying who one is.

import { keepToken } from './identity.js';
import { count, h, icon } from './chat-parts.js';

const element = (id) => document.getElementById(id);

export class FindDialog {
  #model;
  #client;
  #told;
  #dialog = element('find');

  /** `told` hears `open(roomId)`. */
  constructor(model, client, told) {
    this.#model = model;
    this.#client = client;
    this.#told = told;
    closable(this.#dialog);
    element('find-room').addEventListener('input', () => this.render());
    element('find-form').addEventListener('submit', (event) => this.#submit(event));
    element('write-form').addEventListener('submit', (event) => this.#write(event));
  }

  show() {
    element('find-room').value = '';
    element('find-private').checked = false;
    this.#dialog.showModal();
    element('find-room').focus();
    this.render();
    this.#client.browse();
  }

  /** Public rooms whose name has what is written, and a button that makes the room when it is not there. */
  render() {
    if (!this.#dialog.open) return;
    const words = element('find-room').value.trim().toLowerCase();
    const rooms = this.#model.directory ?? [];
    const fits = rooms.filter(
      ({ id, title }) => id.toLowerCase().includes(words) || title?.toLowerCase().includes(words),
    );
    element('find-list').replaceChildren(...fits.slice(0, 50).map((room) => this.#row(room)));
    element('find-none').hidden = fits.length > 0;
    element('find-none').textContent =
      words === '' ? 'There is no public room yet.' : 'No public room is called so. You can make it.';
    element('find-make').disabled = words === '' || rooms.some(({ id }) => id === element('find-room').value.trim());
  }

  #row({ id, title, members, sequence }) {
    const joined = (this.#model.rooms.get(id)?.role ?? null) !== null;
    const button = h(
      'button',
      { type: 'button', data: { find: id }, onclick: () => this.#enter(id, joined) },
      joined ? 'Open' : 'Join',
    );
    button.setAttribute('aria-label', `${button.textContent} ${title || id}`);
    const about = [title && id, count(members, 'member'), count(sequence, 'message')].filter(Boolean).join(', ');
    return h(
      'li',
      {},
      h('span', { class: 'sign', 'aria-hidden': 'true' }, icon('hash')),
      h('span', { class: 'name' }, title || id),
      h('span', { class: 'hint' }, about),
      button,
    );
  }

  async #enter(id, joined) {
    if (joined || (await this.#client.join(id)) !== null) this.#go(id);
  }

  async #submit(event) {
    event.preventDefault();
    const id = element('find-room').value.trim();
    if (id === '') return;
    const here = this.#model.directory?.some((room) => room.id === id);
    if (here) return this.#enter(id, (this.#model.rooms.get(id)?.role ?? null) !== null);
    const kind = element('find-private').checked ? 'private' : 'public';
    const made = await this.#client.create({ room: id, kind });
    if (made) this.#go(made);
  }

  async #write(event) {
    event.preventDefault();
    const userId = element('write-user').value.trim();
    const made = userId && (await this.#client.create({ kind: 'direct', userId }));
    if (!made) return;
    element('write-user').value = '';
    this.#go(made);
  }

  #go(id) {
    this.#dialog.close();
    this.#told.open(id);
  }
}

export class SignInDialog {
  #dialog = element('sign-in');

  constructor() {
    closable(this.#dialog);
    element('sign-in-form').addEventListener('submit', (event) => {
      event.preventDefault();
      keepToken(element('token').value);
      location.reload();
    });
  }

  /** `sentence` says why one is asked. */
  show(sentence = '') {
    element('sign-in-why').textContent = sentence;
    element('sign-in-why').hidden = sentence === '';
    element('token').value = '';
    if (!this.#dialog.open) this.#dialog.showModal();
    element('token').focus();
  }
}

export function signOut() {
  keepToken('');
  location.reload();
}

/** Closed by its button, by Escape, and by a click beside it. */
function closable(dialog) {
  dialog.querySelector('.close').addEventListener('click', () => dialog.close());
  dialog.addEventListener('click', ({ target }) => target === dialog && dialog.close());
}
