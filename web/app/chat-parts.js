// What the chat's views are made of: elements, pictures, times, menus. What users wrote becomes text, never markup.

const SVG = 'http://www.w3.org/2000/svg';

/** An element: attributes, `data` for its dataset, `on…` for what it listens to; children are elements or texts. */
export function h(name, { data, ...properties } = {}, ...children) {
  const node = document.createElement(name);
  if (data) Object.assign(node.dataset, data);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else if (typeof value === 'boolean') node.toggleAttribute(key, value);
    else if (value !== undefined && value !== null) node.setAttribute(key, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** A drawing of the sheet in the page. */
export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  const use = document.createElementNS(SVG, 'use');
  use.setAttribute('href', `#icon-${name}`);
  svg.append(use);
  return svg;
}

/** A button that is a drawing, with its name for those who do not see it. */
export function iconButton(name, label, onclick, more = {}) {
  return h(
    'button',
    { type: 'button', class: 'plain', 'aria-label': label, title: label, onclick, ...more },
    icon(name),
  );
}

/** The first letters of a name on the colour of a user; `status` is a dot. */
export function avatar(userId, name, status = null) {
  const letters = initials(name);
  const dot = status && h('span', { class: 'dot', data: { status } });
  return h('span', { class: 'avatar', 'aria-hidden': 'true', data: { hue: hueOf(userId) } }, letters, dot);
}

function initials(name) {
  const words = name.split(/[\s._-]+/).filter((word) => word !== '');
  const letters = words.length > 1 ? [words[0], words.at(-1)].map((word) => [...word][0]) : [...name].slice(0, 2);
  return letters.join('').toUpperCase();
}

const HUES = 6;

function hueOf(userId) {
  let sum = 7;
  for (const character of userId) sum = (sum * 31 + character.codePointAt(0)) % 65_521;
  return String(sum % HUES);
}

export const statusWords = { online: 'online', idle: 'away', offline: 'offline' };

/** `12:03`. */
export function timeOfDay(timestamp) {
  return new Date(timestamp).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
}

/** The time of day, with the whole date behind it. */
export function clock(timestamp) {
  const date = new Date(timestamp);
  return h('time', { datetime: date.toISOString(), title: date.toLocaleString() }, timeOfDay(timestamp));
}

/** `12:03` today, the weekday within a week, else the date. */
export function briefly(timestamp, now = Date.now()) {
  const date = new Date(timestamp);
  const days = daysBetween(date, new Date(now));
  if (days === 0) return timeOfDay(timestamp);
  if (days < 7) return date.toLocaleDateString([], { weekday: 'short' });
  return date.toLocaleDateString([], { day: 'numeric', month: 'short' });
}

export function dayName(date, now = new Date()) {
  const days = daysBetween(date, now);
  if (days === 0) return 'Today';
  if (days === 1) return 'Yesterday';
  const year = date.getFullYear() === now.getFullYear() ? undefined : 'numeric';
  return date.toLocaleDateString([], { weekday: 'long', day: 'numeric', month: 'long', year });
}

function daysBetween(date, now) {
  const midnight = (day) => new Date(day.getFullYear(), day.getMonth(), day.getDate());
  return Math.round((midnight(now) - midnight(date)) / 86_400_000);
}

/** Names in a row: `Alice, Bob and 3 others`. */
export function several(names, shown = 3) {
  if (names.length <= 1) return names.join('');
  const listed = names.slice(0, shown);
  const others = names.length - listed.length;
  if (others > 0) return `${listed.join(', ')} and ${others} ${others === 1 ? 'other' : 'others'}`;
  return `${listed.slice(0, -1).join(', ')} and ${listed.at(-1)}`;
}

export const count = (number, one, many = `${one}s`) => `${number} ${number === 1 ? one : many}`;

/** Once for all changes of a frame; in a page that nobody sees there are no frames. */
export function oncePerFrame(act) {
  let due = false;
  return () => {
    if (due) return;
    due = true;
    const run = () => {
      due = false;
      act();
    };
    if (document.hidden) setTimeout(run, 100);
    else requestAnimationFrame(run);
  };
}

/**
 * Opens a menu beside what it belongs to. An item is `{label, act}`, with `danger` for those that take something away: they
 * are asked twice. `tiles` sets them side by side.
 */
export function openMenu(anchor, label, items, { tiles = false } = {}) {
  const menu = h('div', { class: tiles ? 'menu tiles' : 'menu', role: 'menu', popover: 'auto', 'aria-label': label });
  const close = () => {
    menu.hidePopover();
    if (anchor.isConnected) anchor.focus();
  };
  for (const { label, act, danger = false, title } of items) {
    const item = h(
      'button',
      { type: 'button', role: 'menuitem', class: danger ? 'danger' : undefined, title, tabindex: '-1' },
      label,
    );
    let sure = !danger;
    item.addEventListener('click', () => {
      if (!sure) {
        sure = true;
        item.textContent = `${label}: sure?`;
        return;
      }
      close();
      act();
    });
    menu.append(item);
  }
  menu.addEventListener('keydown', (event) => {
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (step) {
      event.preventDefault();
      const all = [...menu.children];
      all.at((all.indexOf(document.activeElement) + step) % all.length).focus();
    }
    if (event.key === 'Tab') close();
  });
  menu.addEventListener('toggle', ({ newState }) => newState === 'closed' && menu.remove());
  // Inside an open dialog, what stands outside of it cannot be used.
  (anchor.closest('dialog') ?? document.body).append(menu);
  menu.showPopover();
  place(menu, anchor.getBoundingClientRect());
  menu.firstElementChild?.focus();
}

/** Below what it belongs to and to its right edge, or above where there is no room. */
function place(menu, { left, right, top, bottom }) {
  const { offsetWidth: width, offsetHeight: height } = menu;
  const x = Math.min(Math.max(8, right - width), innerWidth - width - 8);
  const below = bottom + 4;
  const y = below + height < innerHeight ? below : Math.max(8, top - height - 4);
  menu.style.left = `${Math.min(x, Math.max(8, left))}px`;
  if (right - width > 8) menu.style.left = `${x}px`;
  menu.style.top = `${y}px`;
}
