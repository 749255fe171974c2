// The chat's page: what is known, the connection that feeds it, and the views that show it.

import { ChatClient } from './chat-client.js';
import { ChatModel } from './chat-model.js';
import { Conversation, showReceipts } from './chat-conversation.js';
import { FindDialog, SignInDialog, signOut } from './chat-dialogs.js';
import { PeoplePanel, ThreadPanel } from './chat-panel.js';
import { Sidebar } from './chat-sidebar.js';
import { avatar, h, oncePerFrame, openMenu, timeOfDay } from './chat-parts.js';
import { claimsOf, findToken } from './identity.js';
import { excerpt } from './chat-row.js';

/** Hidden for so long, one is not there. */
const IDLE_MS = 5 * 60_000;
const NOTICE_MS = 8_000;

const element = (id) => document.getElementById(id);
const token = findToken();
const model = new ChatModel();
const client = new ChatClient(
  model,
  { token, ...(token ? claimsOf(token) : { name: null, roles: [] }) },
  {
    state: showState,
    notice: showNotice,
    expiring: (at) => showNotice(`Your token ends at ${timeOfDay(at)}. Sign in with a new one.`),
    arrived: announce,
    missing: showMissing,
    away: () => document.hidden,
  },
);

const sidebar = new Sidebar(model, element('rooms-list'), element('rooms-empty'));
const conversation = new Conversation(model, client, {
  thread: (id) => openThread(id),
  receipts: (message, anchor) => showReceipts({ model, client, message, anchor }),
});
const people = new PeoplePanel(model, client, {
  write: async (userId) => goTo(await client.create({ kind: 'direct', userId })),
  left: () => goTo(''),
});
const thread = new ThreadPanel(model, client, (more) => conversation.actions(more));
const find = new FindDialog(model, client, { open: goTo });
const signIn = new SignInDialog();

/** What stands beside the room: `people`, `thread`, or nothing. */
let beside = null;
/** Whether nobody has looked for so long that one counts as away. */
let away = false;
let goesAway = null;
let counting = null;
let noticed = null;

const render = {
  me: oncePerFrame(showMe),
  rooms: oncePerFrame(() => {
    sidebar.render(client.open);
    showTitle();
  }),
  room: oncePerFrame(() => {
    conversation.render(client.open);
    thread.render();
  }),
  people: oncePerFrame(() => beside === 'people' && client.open && people.render(client.open)),
  typing: oncePerFrame(() => conversation.showTyping()),
};

model.subscribe((what, room) => {
  const shown = room === null || room === client.open;
  if (what === 'me') render.me();
  if (what === 'typing' && shown) render.typing();
  if (what === 'directory') find.render();
  if (['rooms', 'presence', 'directory', 'me'].includes(what)) render.rooms();
  if (shown && what !== 'typing' && what !== 'directory') render.room();
  if (shown && ['people', 'presence', 'rooms'].includes(what)) render.people();
});

addEventListener('hashchange', route);
route();
client.start();

/** The address names the room, and nothing else. */
function route() {
  const id = readable(location.hash.slice(1));
  element('chat').dataset.pane = id ? 'room' : 'rooms';
  if (beside === 'thread' || !id) showBeside(null);
  client.show(id || null);
  render.rooms();
  render.people();
}

function readable(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return '';
  }
}

function goTo(id) {
  if (id === null) return;
  if (id === '' && location.hash === '') return;
  location.hash = encodeURIComponent(id);
}

function showBeside(what) {
  const had = beside;
  beside = what;
  element('beside').hidden = what === null;
  element('people-panel').hidden = what !== 'people';
  element('thread-panel').hidden = what !== 'thread';
  element('people').setAttribute('aria-expanded', String(what === 'people'));
  if (had === 'thread') thread.end();
  render.people();
}

function openThread(rootId) {
  showBeside('thread');
  thread.begin(client.open, rootId);
}

element('people').addEventListener('click', () => showBeside(beside === 'people' ? null : 'people'));
for (const button of document.querySelectorAll('[data-close=beside]')) {
  button.addEventListener('click', () => {
    showBeside(null);
    element('people').focus();
  });
}
element('back').addEventListener('click', () => goTo(''));
element('new').addEventListener('click', () => find.show());
element('me').addEventListener('click', ({ currentTarget }) => {
  if (model.me.guest) return signIn.show();
  openMenu(currentTarget, 'You', [
    { label: 'Be somebody else', act: () => signIn.show() },
    { label: 'Sign out', act: signOut },
  ]);
});
document.addEventListener('keydown', (event) => {
  if (
    event.key === 'Escape' &&
    beside !== null &&
    !event.defaultPrevented &&
    !document.querySelector('dialog[open], [popover]')
  ) {
    showBeside(null);
  }
});

function showMe() {
  const { id, name, guest } = model.me;
  const words = guest ? 'Guest' : (name ?? id);
  element('me').replaceChildren(
    avatar(id, words),
    h('span', { class: 'name' }, words),
    h('span', { class: 'hint' }, guest ? 'sign in with a token' : name ? id : 'signed in'),
  );
  element('me').dataset.user = guest ? '' : id;
  element('new').hidden = guest;
  element('rooms-title').textContent = guest ? 'Public rooms' : 'Rooms';
}

function showTitle() {
  const { unread } = model;
  const name = client.open ? `${model.titleOf(client.open)}, denrei chat` : 'denrei chat';
  document.title = unread > 0 ? `(${unread}) ${name}` : name;
}

/** How the connection is, in words; while it waits, the seconds are counted, and it can be told to hurry. */
function showState(name, detail) {
  clearInterval(counting);
  const output = element('connection');
  output.dataset.state = name;
  const tell = () => (element('connection-words').textContent = stateWords(name, detail));
  tell();
  if (name === 'waiting') counting = setInterval(tell, 1_000);
  element('hurry').hidden = name !== 'waiting';
  // Said once, not with each second.
  element('said').textContent = name === 'waiting' ? detail.reason : name === 'refused' ? detail : '';
  if (name === 'refused') signIn.show(detail);
}

function stateWords(name, detail) {
  if (name === 'refused') return `refused: ${detail}`;
  if (name !== 'waiting') return name;
  return `${detail.reason}; again in ${Math.max(0, Math.ceil((detail.until - Date.now()) / 1000))} s`;
}

element('hurry').addEventListener('click', () => client.hurry());
addEventListener('online', () => client.hurry());

function showNotice(sentence) {
  clearTimeout(noticed);
  // Beside an open dialog nothing else can be seen or used.
  (document.querySelector('dialog[open]') ?? document.body).append(element('notice'));
  element('notice-words').textContent = sentence;
  element('notice').hidden = false;
  noticed = setTimeout(hideNotice, NOTICE_MS);
}

function hideNotice() {
  element('notice').hidden = true;
}

element('notice-close').addEventListener('click', hideNotice);

/** What others write, for those who hear the page. */
function announce(room, message) {
  if (room === client.open) element('said').textContent = `${model.nameOf(message.userId)}: ${excerpt(message)}`;
}

function showMissing(id, error) {
  goTo('');
  showNotice(error.code === 'not_found' ? `There is no room ${id}, or it is not for you.` : error.message);
}

document.addEventListener('visibilitychange', () => {
  clearTimeout(goesAway);
  if (document.hidden) {
    goesAway = setTimeout(() => {
      away = true;
      client.attend('idle');
    }, IDLE_MS);
    return;
  }
  client.hurry();
  if (away) client.attend('online');
  away = false;
});
