// A list of messages on the screen: rows that stay while they do not change, a place that is kept while others come, what
// is seen, and what can be done with a message.

import { fill, partsOf } from './chat-row.js';
import { h, iconButton, openMenu } from './chat-parts.js';

/** So near to the end counts as being there, and so near to the beginning as asking for more. */
const NEAR_END = 60;
const NEAR_START = 400;

/** The share of a message that has to be in sight for it to be read. */
const IN_SIGHT = 0.5;

const EMOJI = ['👍', '❤️', '😂', '🎉', '👀', '✅', '🙏', '😮', '😢', '🔥', '👏', '❓'];

export class MessageView {
  #scroll;
  #list;
  #shown;
  #told;
  #rows = new Map();
  #tools;
  #active = null;
  #following = true;
  #top = 0;
  #observer;
  #inSightUnseen = new Map();

  /**
   * `scroll` is the element that scrolls, `list` the list in it. `told` hears `see(sequence)`, `start()` when the beginning
   * is near, `ends(following)` as the end comes in sight or goes.
   */
  constructor(scroll, list, told) {
    this.#scroll = scroll;
    this.#list = list;
    this.#told = told;
    this.#tools = h('div', { class: 'tools', role: 'group', 'aria-label': 'Message' });
    this.#observer = new IntersectionObserver((entries) => this.#looked(entries), {
      root: scroll,
      threshold: [0, 0.25, IN_SIGHT],
    });
    document.addEventListener('visibilitychange', () => this.#tellSeen());
    scroll.addEventListener('scroll', () => this.#scrolled(), { passive: true });
    list.addEventListener('pointerover', ({ target }) => this.#activate(target.closest('li.message')));
    list.addEventListener('pointerleave', () => list.contains(document.activeElement) || this.#activate(null));
    list.addEventListener('focusin', ({ target }) => this.#activate(target.closest('li.message')));
    scroll.addEventListener('keydown', (event) => this.#key(event));
    // Pictures that come later, and what is written below, take room away from the end.
    const resized = new ResizeObserver(() => this.#following && this.toEnd());
    resized.observe(scroll);
    resized.observe(list);
  }

  get following() {
    return this.#following;
  }

  /** Begins anew, with another room: `{model, room, thread, act}`. */
  begin(shown) {
    this.#shown = shown;
    this.#observer.disconnect();
    this.#inSightUnseen.clear();
    this.#rows.clear();
    this.#active = null;
    this.#list.replaceChildren();
    this.#following = true;
  }

  render(rows) {
    const first = this.#rows.size === 0 && rows.some(({ kind }) => kind === 'message');
    const kept = this.#anchor();
    const again = document.activeElement?.dataset?.again;
    const focused = this.#list.contains(document.activeElement) && document.activeElement.closest('li');
    const present = new Set(rows.map(({ key }) => key));
    for (const [key, { element }] of this.#rows) {
      if (present.has(key)) continue;
      if (element === this.#active) this.#active = null;
      this.#observer.unobserve(element);
      element.remove();
      this.#rows.delete(key);
    }
    let place = this.#list.firstElementChild;
    for (const row of rows) {
      const element = this.#rendered(row);
      if (element === place) place = place.nextElementSibling;
      else this.#list.insertBefore(element, place);
    }
    if (focused?.isConnected && !focused.contains(document.activeElement)) {
      (focused.querySelector(`[data-again="${CSS.escape(again ?? '')}"]`) ?? focused).focus({ preventScroll: true });
    }
    if (first) this.#arrive();
    else if (this.#following) this.toEnd();
    else this.#restore(kept);
  }

  #rendered(row) {
    const known = this.#rows.get(row.key);
    const parts = [row.kind, ...partsOf(row, this.#shown)];
    if (known && parts.length === known.parts.length && parts.every((part, at) => part === known.parts[at]))
      return known.element;
    const element = known?.element ?? h('li');
    if (row.kind === 'message') element.tabIndex = -1;
    fill(element, row, this.#shown);
    reachable(element, row.kind === 'draft');
    element.message = row.message;
    if (element === this.#active) this.#offer(element);
    this.#rows.set(row.key, { element, parts });
    const isNew = row.kind === 'message' && known?.parts[0] !== 'message';
    if (isNew && row.message.sequence >= this.#shown.room.firstUnread) this.#observer.observe(element);
    return element;
  }

  /** Where one begins: at what is new, else at the end. */
  #arrive() {
    const divider = this.#list.querySelector('li.new');
    if (!divider) return this.toEnd();
    this.#follow(false);
    this.#scroll.scrollTop = divider.offsetTop - this.#scroll.clientHeight / 4;
    this.#scrolled();
  }

  toEnd() {
    this.#scroll.scrollTop = this.#scroll.scrollHeight;
    this.#follow(true);
  }

  /** Brings a message into sight and shows which it is; false when it is not in the list. */
  jumpTo(id) {
    const element = [...this.#list.children].find(({ dataset }) => dataset.id === id);
    if (!element) return false;
    this.#follow(false);
    element.scrollIntoView({ block: 'center' });
    element.focus({ preventScroll: true });
    return true;
  }

  /** The first message in sight, and where it stands: it stays there while others come above it. Days may move. */
  #anchor() {
    if (this.#following) return null;
    const { top } = this.#scroll.getBoundingClientRect();
    for (const element of this.#list.querySelectorAll('li.message')) {
      const box = element.getBoundingClientRect();
      if (box.bottom > top) return { element, offset: box.top };
    }
    return null;
  }

  #restore(kept) {
    if (!kept?.element.isConnected) return;
    this.#scroll.scrollTop += kept.element.getBoundingClientRect().top - kept.offset;
  }

  #scrolled() {
    const { scrollTop, clientHeight, scrollHeight } = this.#scroll;
    // Only who goes up leaves the end: when a picture grows, the end goes away by itself.
    if (scrollHeight - scrollTop - clientHeight < NEAR_END) this.#follow(true);
    else if (scrollTop < this.#top) this.#follow(false);
    this.#top = scrollTop;
    if (scrollTop < NEAR_START) this.#told.start();
  }

  #follow(following) {
    if (this.#following === following) return;
    this.#following = following;
    this.#told.ends(following);
  }

  /** A message is read once half of it is in sight, or it fills half of the sight. */
  #looked(entries) {
    for (const { target, isIntersecting, intersectionRatio, intersectionRect, rootBounds } of entries) {
      const fills = intersectionRect.height >= (rootBounds?.height ?? Infinity) * IN_SIGHT;
      if (isIntersecting && (intersectionRatio >= IN_SIGHT || fills))
        this.#inSightUnseen.set(target, target.message.sequence);
      else this.#inSightUnseen.delete(target);
    }
    this.#tellSeen();
  }

  #tellSeen() {
    if (document.hidden || this.#inSightUnseen.size === 0) return;
    this.#told.see(Math.max(...this.#inSightUnseen.values()));
    for (const element of this.#inSightUnseen.keys()) this.#observer.unobserve(element);
    this.#inSightUnseen.clear();
  }

  /** One message at a time offers what can be done with it, so that the way to where one writes is short by keyboard. */
  #activate(element) {
    // A menu that is open belongs to a message.
    if (element === this.#active || document.querySelector('.menu')) return;
    if (this.#active) reachable(this.#active, false);
    this.#active = element;
    if (element) this.#offer(element);
    else this.#tools.remove();
  }

  /** What can be done with a message, beside it. */
  #offer(element) {
    const { message } = element;
    const { room, act, thread } = this.#shown;
    const own = act.isOwn(message);
    const member = room.role !== null;
    reachable(element, true);
    if (message.deletedAt || message.type === 'SYSTEM') return this.#tools.remove();
    const more = [
      own && member && message.type === 'TEXT' && { label: 'Edit', act: () => act.edit(message) },
      member && !thread && { label: 'Mark unread from here', act: () => act.markUnread(message) },
      own && member && { label: 'Who has read it', act: () => act.receipts(message, element) },
      ((own && member) || act.mayModerate()) && { label: 'Delete', danger: true, act: () => act.remove(message) },
    ].filter(Boolean);
    this.#tools.replaceChildren(
      ...[
        member && iconButton('smile', 'React', ({ currentTarget }) => this.#react(currentTarget, message)),
        !thread && act.mayWrite() && iconButton('reply', 'Reply', () => act.reply(message)),
        !thread && iconButton('thread', 'Answer in a thread', () => act.thread(message.threadId ?? message.id)),
        more.length > 0 && iconButton('more', 'More', ({ currentTarget }) => openMenu(currentTarget, 'Message', more)),
      ].filter(Boolean),
    );
    if (this.#tools.childElementCount > 0) element.append(this.#tools);
    else this.#tools.remove();
  }

  #react(anchor, message) {
    const items = EMOJI.map((emoji) => ({ label: emoji, act: () => this.#shown.act.react(message, emoji) }));
    openMenu(anchor, 'React', items, { tiles: true });
  }

  /** Arrows go from message to message; what scrolls is where the keyboard comes in. */
  #key(event) {
    if (event.target.closest('button, a') && !event.key.startsWith('Arrow')) return;
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    const jump = { Home: 0, End: -1 }[event.key];
    if (step === undefined && jump === undefined) return;
    const all = [...this.#list.querySelectorAll('li.message')];
    const at = all.indexOf(document.activeElement.closest('li.message'));
    const next = jump !== undefined ? all.at(jump) : all[at < 0 ? all.length - 1 : at + step];
    if (!next) return;
    event.preventDefault();
    next.focus();
    next.scrollIntoView({ block: 'nearest' });
  }
}

/** Whether the keyboard comes to the buttons of a row by itself. */
function reachable(row, reached) {
  for (const button of row.querySelectorAll('button')) button.tabIndex = reached ? 0 : -1;
}
