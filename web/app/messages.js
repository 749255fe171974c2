// The list of messages: bounded, newest at the bottom, each row with its number and how it came.

import { transports } from './transports.js';

const ROWS = 200;

const labels = { history: 'earlier', fetched: 'asked for' };

export class MessageList {
  #scroll;
  #rows;
  #empty;
  #following = false;

  constructor(scroll, rows, empty) {
    this.#scroll = scroll;
    this.#rows = rows;
    this.#empty = empty;
  }

  clear(sentence) {
    this.#rows.replaceChildren();
    this.#empty.textContent = sentence;
    this.#empty.hidden = false;
  }

  /** `via` is a transport, `history` (there before we came) or `fetched` (asked for to fill a hole). */
  add(event, via) {
    const row = document.createElement('li');
    row.dataset.seq = event.seq;
    row.dataset.epoch = event.epoch;
    row.dataset.via = via;
    row.append(
      cell('seq', event.seq > 0 ? String(event.seq) : '·'),
      cell('text', textOf(event)),
      cell('via', labels[via] ?? transports[via].label),
      timeOf(event),
    );
    this.#append(row);
  }

  /** A line between messages: a change of transport, a gap. */
  note(sentence, kind, via) {
    const row = document.createElement('li');
    row.className = 'note';
    row.dataset.note = kind;
    if (via) row.dataset.via = via;
    row.textContent = sentence;
    this.#append(row);
  }

  #append(row) {
    const follows = this.#following || this.#atBottom();
    this.#empty.hidden = true;
    this.#rows.append(row);
    while (this.#rows.childElementCount > ROWS) this.#rows.firstElementChild.remove();
    if (follows && !this.#following) this.#follow();
  }

  #atBottom() {
    const { scrollTop, clientHeight, scrollHeight } = this.#scroll;
    return scrollHeight - scrollTop - clientHeight < 40;
  }

  /** Scrolls once for all rows of a frame: each scroll lays out the list. */
  #follow() {
    this.#following = true;
    requestAnimationFrame(() => {
      this.#following = false;
      this.#scroll.scrollTop = this.#scroll.scrollHeight;
    });
  }
}

function cell(name, text) {
  const span = document.createElement('span');
  span.className = name;
  span.textContent = text;
  return span;
}

function timeOf({ timestamp }) {
  const time = document.createElement('time');
  const date = new Date(timestamp);
  time.dateTime = date.toISOString();
  time.textContent = date.toLocaleTimeString();
  return time;
}

/** Our own payloads are `{text}`; others are shown as they are, with the event's name. */
function textOf({ event, payload }) {
  const text = typeof payload === 'string' ? payload : (payload?.text ?? JSON.stringify(payload));
  return event === 'message' ? String(text) : `${event}: ${text}`;
}
