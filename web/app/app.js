// The page: one room on top, the comparison below.

import './comparison.js';
import { describe, range } from './ledger.js';
import { describeClass, showTerminal } from './rooms.js';
import { MessageList } from './messages.js';
import { Session } from './session.js';
import { transports } from './transports.js';
import { post, randomName } from './wire.js';

const element = (id) => document.getElementById(id);
const list = new MessageList(element('scroll'), element('messages'), element('empty'));
let session = null;
let ticking = null;

element('join').addEventListener('submit', (event) => {
  event.preventDefault();
  if (session) leave();
  else join(element('room').value.trim());
});

element('ways').addEventListener('change', () => session?.switchTo(chosenWay()));

element('send').addEventListener('submit', (event) => {
  event.preventDefault();
  const text = element('text').value;
  if (!session || text === '') return;
  session.send({ text });
  element('text').value = '';
});

element('ticker').addEventListener('change', ({ target }) => (target.checked ? startTicking() : stopTicking()));

element('room').addEventListener('input', ({ target }) => showRoom(target.value));
showRoom(element('room').value);

function join(room) {
  list.clear('Nothing here yet. Send the first message.');
  session = new Session(room, view, { interval: shortPollInterval });
  session.join(chosenWay());
  setJoined(true);
  element('text').focus();
}

function leave() {
  stopTicking();
  session.leave();
  session = null;
  setJoined(false);
}

function setJoined(joined) {
  element('join-button').textContent = joined ? 'Leave' : 'Join';
  element('room').disabled = joined;
  for (const id of ['text', 'send-button', 'ticker']) element(id).disabled = !joined;
  if (!joined) element('ticker').checked = false;
}

/** What a session tells, shown. */
const view = {
  state(name, detail) {
    const output = element('state');
    output.dataset.state = name;
    output.textContent = sentences[name](transports[chosenWay()].label, detail);
  },
  event: (event, via) => list.add(event, via),
  gap: (gap) => list.note(describe(gap), 'gap'),
  switched: (via, position) => list.note(`${transports[via].label} from ${shown(position)} on`, 'switch', via),
  checked: showCheck,
  waiting: (drafts) => (element('waiting').textContent = drafts === 0 ? '' : `${drafts} on the way`),
  refused: (sentence) => list.note(`not sent: ${sentence}`, 'gap'),
};

const sentences = {
  idle: () => 'not joined',
  connecting: (label) => `${label}, connecting`,
  live: (label) => `${label}, live`,
  waiting: (_, detail) => detail,
  refused: (_, detail) => `refused: ${detail}`,
};

function showCheck(ledger) {
  element('position').textContent = ledger.numbered ? ledger.position : 'none: nothing to resume';
  showTerminal(session.room, ledger.numbered ? ledger.position : null);
  const check = element('check');
  check.dataset.check = verdict(ledger);
  check.textContent = [...findings(ledger)].join('; ');
}

function verdict(ledger) {
  if (!ledger.numbered) return 'none';
  return ledger.whole ? 'whole' : 'gap';
}

function* findings(ledger) {
  const { accepted, first, seq, gaps, lost, repeats, fetched } = ledger;
  if (!ledger.numbered) {
    yield `${accepted} heard; without numbers nothing can be checked`;
    return;
  }
  if (ledger.whole) yield accepted === 0 ? 'no gap, no duplicate' : `no gap, no duplicate, ${range(first, seq)}`;
  for (const gap of gaps.slice(-3)) yield `gap: ${describe(gap)}`;
  for (const { from, to } of lost.slice(-3)) yield `lost without a word: ${range(from, to)}`;
  if (repeats > 0) yield `${repeats} repeated and dropped`;
  if (fetched > 0) yield `${fetched} asked for separately`;
}

const shown = (position) => (position.startsWith('none:') ? 'now' : position);
const chosenWay = () => element('ways').querySelector(':checked').value;
const shortPollInterval = () => Math.max(100, element('interval').valueAsNumber || 5_000);

function showRoom(room) {
  element('room-class').textContent = describeClass(room);
  showTerminal(room, null);
}

function startTicking() {
  let count = 0;
  ticking = setInterval(() => {
    count += 1;
    const draft = { event: 'message', payload: { text: `tick ${count}` }, id: randomName() };
    post(session.room, draft).catch((error) => view.refused(error.message));
  }, 1_000);
}

function stopTicking() {
  clearInterval(ticking);
}
