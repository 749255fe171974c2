// Where messages are written: the text, whom it mentions, what it answers, and that somebody types.

import { mentionBefore, mentionsIn } from './chat-timeline.js';
import { TypingSignal } from './chat-typing.js';
import { excerpt } from './chat-row.js';
import { avatar, h, iconButton } from './chat-parts.js';

const PROPOSED = 6;
let composers = 0;

export class Composer {
  #model;
  #told;
  #room = null;
  #chosen = [];
  #about = null;
  #kept = new Map();
  #proposed = [];
  #at = 0;
  #typing;

  /**
   * `told` hears `send({content, replyTo, mentions})`, `edit(message, content, mentions)`, which
   * resolves to whether it was done, `typing(method)`, and
   * `editLast()` when an arrow is pressed in an empty field.
   */
  constructor(model, label, told) {
    this.#model = model;
    this.#told = told;
    this.#typing = new TypingSignal({
      start: () => told.typing('chat.typing'),
      stop: () => told.typing('chat.stopTyping'),
    });
    composers += 1;
    const id = `proposed-${composers}`;
    this.chip = h('div', { class: 'chip', hidden: true });
    this.list = h('ul', { class: 'proposed', id, role: 'listbox', 'aria-label': 'Members', hidden: true });
    this.text = h('textarea', {
      rows: '1',
      'aria-label': label,
      'aria-autocomplete': 'list',
      'aria-controls': id,
      'aria-expanded': 'false',
      role: 'combobox',
      autocomplete: 'off',
      enterkeyhint: 'send',
      oninput: () => this.#changed(),
      onkeydown: (event) => this.#key(event),
      onclick: () => this.#propose(),
      onblur: () => this.#typing.stopped(),
    });
    this.button = h('button', { disabled: true }, 'Send');
    this.element = h(
      'form',
      { class: 'composer', onsubmit: (event) => this.#submit(event) },
      this.list,
      this.chip,
      h('div', { class: 'line' }, this.text, this.button),
    );
  }

  /** Writes to a room, or to a thread of it, which is the place; what was begun in another is kept for it. */
  begin(room, place) {
    if (this.place === place) return;
    this.#typing.stopped();
    this.#leave();
    this.place = place;
    this.#room = room;
    const { content = '', chosen = [] } = this.#kept.get(place) ?? {};
    this.#chosen = chosen;
    this.#set(content);
  }

  #leave() {
    this.about(null);
    if (this.place && this.text.value) this.#kept.set(this.place, { content: this.text.value, chosen: this.#chosen });
    else this.#kept.delete(this.place);
  }

  /** What is answered or edited: `{reply: message}`, `{edit: message}`, or null. */
  about(about) {
    const wasEdit = this.#about?.edit;
    this.#about = about;
    this.chip.hidden = about === null;
    if (about) {
      const message = about.edit ?? about.reply;
      const words = about.edit ? 'Editing' : `Reply to ${this.#model.nameOf(message.userId)}`;
      const close = iconButton('close', 'Cancel', () => this.about(null));
      this.chip.replaceChildren(h('span', {}, h('b', {}, words), ` ${excerpt(message)}`), close);
      if (about.edit) {
        this.#chosen = (message.mentions ?? []).map((userId) => ({ userId, name: this.#model.nameOf(userId) }));
        this.#set(message.content);
      }
      this.text.focus();
    } else if (wasEdit) {
      this.#set('');
    }
    this.button.textContent = about?.edit ? 'Save' : 'Send';
  }

  set placeholder(words) {
    this.text.placeholder = words;
  }

  focus() {
    this.text.focus();
  }

  #set(content) {
    this.text.value = content;
    this.#fit();
    this.#hide();
  }

  #changed() {
    this.#fit();
    this.#propose();
    if (this.text.value.trim() === '') this.#typing.stopped();
    else if (!this.#about?.edit) this.#typing.typed();
  }

  /** As high as its text. Some browsers do it by themselves. */
  #fit() {
    this.button.disabled = this.text.value.trim() === '';
    if (CSS.supports('field-sizing', 'content')) return;
    this.text.style.height = 'auto';
    this.text.style.height = `${this.text.scrollHeight + 2}px`;
  }

  #submit(event) {
    event.preventDefault();
    const content = this.text.value.trim();
    if (content === '') return;
    const mentions = mentionsIn(content, this.#chosen);
    const about = this.#about;
    this.#typing.sent();
    this.#set('');
    this.#chosen = [];
    this.#about = null;
    this.about(null);
    if (about?.edit) this.#edit(about.edit, content, mentions);
    else this.#told.send({ content, mentions, ...(about && { replyTo: about.reply.id }) });
    this.text.focus();
  }

  /** What could not be saved is there again. */
  async #edit(message, content, mentions) {
    const { place } = this;
    if ((await this.#told.edit(message, content, mentions)) || this.place !== place || this.text.value !== '') return;
    this.about({ edit: message });
    this.#set(content);
  }

  #key(event) {
    // An input method uses Enter for itself.
    if (event.isComposing) return;
    if (!this.list.hidden && this.#choose(event)) return;
    if (event.key === 'Enter' && !event.shiftKey) this.#submit(event);
    if (event.key === 'Escape' && this.#about) {
      event.preventDefault();
      event.stopPropagation();
      this.about(null);
    }
    if (event.key === 'ArrowUp' && this.text.value === '') {
      event.preventDefault();
      this.#told.editLast();
    }
  }

  #choose(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      this.#at = (this.#at + step + this.#proposed.length) % this.#proposed.length;
      this.#mark();
    } else if (event.key === 'Enter' || event.key === 'Tab') {
      this.#take(this.#proposed[this.#at]);
    } else if (event.key === 'Escape') {
      this.#hide();
    } else {
      return false;
    }
    event.preventDefault();
    event.stopPropagation();
    return true;
  }

  /** Members whose name fits the word behind an @. */
  #propose() {
    const word = this.#room && mentionBefore(this.text.value, this.text.selectionStart);
    const fits = (text) =>
      text
        .toLowerCase()
        .split(/\s+/)
        .some((part) => part.startsWith(word.query)) || text.toLowerCase().startsWith(word.query);
    this.#proposed = word
      ? [...this.#room.people.keys()]
          .map((userId) => ({ userId, name: this.#model.nameOf(userId) }))
          .filter(({ userId, name }) => userId !== this.#model.me.id && (fits(name) || fits(userId)))
          .sort((a, b) => a.name.localeCompare(b.name))
          .slice(0, PROPOSED)
      : [];
    if (this.#proposed.length === 0) return this.#hide();
    this.#at = 0;
    this.list.replaceChildren(
      ...this.#proposed.map((one, at) =>
        h(
          'li',
          // Pressed, not clicked: a click would take the caret out of the text first.
          {
            role: 'option',
            id: `${this.list.id}-${at}`,
            onpointerdown: (event) => (event.preventDefault(), this.#take(one)),
          },
          avatar(one.userId, one.name),
          h('span', {}, one.name),
          one.name !== one.userId && h('span', { class: 'hint' }, one.userId),
        ),
      ),
    );
    this.list.hidden = false;
    this.text.setAttribute('aria-expanded', 'true');
    this.#mark();
  }

  #mark() {
    [...this.list.children].forEach((item, at) => item.setAttribute('aria-selected', String(at === this.#at)));
    this.text.setAttribute('aria-activedescendant', `${this.list.id}-${this.#at}`);
  }

  #hide() {
    this.#proposed = [];
    this.list.hidden = true;
    this.text.setAttribute('aria-expanded', 'false');
    this.text.removeAttribute('aria-activedescendant');
  }

  #take({ userId, name }) {
    const caret = this.text.selectionStart;
    const { start } = mentionBefore(this.text.value, caret);
    this.text.setRangeText(`@${name} `, start, caret, 'end');
    this.#chosen.push({ userId, name });
    this.#hide();
    this.#changed();
  }
}
