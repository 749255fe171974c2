// One row of a list of messages: a day, a note, a message, or one that is on its way.

import { imageAddress, pieces } from './chat-timeline.js';
import { avatar, clock, count, dayName, h, icon, several } from './chat-parts.js';

/** What a row shows; the same parts make the same row, which is then left as it is. */
export function partsOf(row, { model, room }) {
  switch (row.kind) {
    case 'day':
      return [dayName(row.date)];
    case 'note':
      return [model.nameOf(row.userId)];
    case 'draft':
      return [row.draft, row.head, model.live];
    case 'message': {
      const { message } = row;
      const beside = [message.replyTo, message.threadId].map((id) => (id ? room.messages.find(id) : null));
      const people = [
        message.userId,
        ...(message.mentions ?? []),
        ...row.readBy,
        ...(beside[0] ? [beside[0].userId] : []),
      ];
      return [
        message,
        row.head,
        row.own,
        row.tick,
        room.role,
        ...beside,
        ...people,
        ...people.map((id) => model.nameOf(id)),
      ];
    }
    default:
      return [];
  }
}

/** Fills an element with a row. `shown` has `model`, `room`, `thread` (whether these are a thread's), and `act`. */
export function fill(element, row, shown) {
  element.className = row.kind;
  element.replaceChildren(...fillings[row.kind](row, shown, element));
}

const fillings = {
  day: (row) => [h('span', {}, dayName(row.date))],
  new: () => [h('span', {}, 'New')],
  note: (row, { model }) => [h('span', {}, noteOf(row, model)), ' ', clock(row.timestamp)],
  message: fillMessage,
  draft: fillDraft,
};

function noteOf({ note, userId, by }, model) {
  const name = model.nameOf(userId);
  const whose = by && by !== userId ? ` by ${model.nameOf(by)}` : '';
  return (
    {
      joined: whose ? `${name} was brought in${whose}` : `${name} joined`,
      kicked: `${name} was removed${whose}`,
      banned: `${name} was banned${whose}`,
    }[note] ?? `${name} left`
  );
}

function fillMessage(row, shown, element) {
  const { message, own } = row;
  const { model, thread } = shown;
  const system = message.type === 'SYSTEM';
  const answer = !thread && message.threadId && !message.deletedAt;
  Object.assign(element.dataset, { sequence: message.sequence, id: message.id });
  element.classList.toggle('head', row.head);
  element.classList.toggle('own', own);
  element.classList.toggle('system', system);
  element.classList.toggle('mentioned', !own && (message.mentions ?? []).includes(model.me.id));
  const author = model.nameOf(message.userId);
  const body = h(
    'div',
    { class: 'body' },
    row.head && !system && byline(author, message, own),
    answer && answerTo(message, shown),
    message.replyTo && !message.deletedAt && quote(message, shown),
    contentOf(message, model),
    message.reactions?.length > 0 && !message.deletedAt && reactions(message, shown),
    !thread && message.thread?.replies > 0 && threadLink(message, shown),
    receipts(row, shown),
  );
  return [gutter(row, message.userId, author, message.timestamp), body];
}

function gutter({ head }, userId, author, timestamp) {
  return h('div', { class: 'gutter' }, head ? avatar(userId, author) : clock(timestamp));
}

function byline(author, message, own) {
  return h(
    'p',
    { class: 'byline' },
    h('b', {}, author),
    own && h('span', { class: 'hint' }, 'you'),
    clock(message.timestamp),
  );
}

function contentOf(message, model) {
  if (message.deletedAt) return h('p', { class: 'text gone' }, 'This message was deleted.');
  const address = imageAddress(message, location.origin);
  if (address) return image(message, address);
  const edited =
    message.editedAt && h('span', { class: 'edited', title: new Date(message.editedAt).toLocaleString() }, ' edited');
  return h('p', { class: 'text' }, textNodes(message, model), edited);
}

function textNodes({ content, mentions }, model) {
  return pieces(content, mentions, (id) => model.nameOf(id)).map(({ text, mention, href }) => {
    if (mention) return h('mark', { class: mention === model.me.id ? 'mention me' : 'mention' }, text);
    if (href) return h('a', { href, target: '_blank', rel: 'noopener noreferrer' }, text);
    return text;
  });
}

function image(message, address) {
  const caption = message.content && message.content !== address ? message.content : '';
  const { width, height } = message.data ?? {};
  const picture = h('img', {
    src: address,
    alt: caption || 'Image',
    loading: 'lazy',
    referrerpolicy: 'no-referrer',
    width: Number.isInteger(width) && width > 0 ? width : undefined,
    height: Number.isInteger(height) && height > 0 ? height : undefined,
    // What cannot be shown is a link still.
    onerror: ({ currentTarget }) => currentTarget.replaceWith(address),
  });
  const link = h('a', { href: address, target: '_blank', rel: 'noopener noreferrer' }, picture);
  return h('figure', { class: 'picture' }, link, caption && h('figcaption', {}, caption));
}

function quote(message, { model, room, act }) {
  const quoted = room.messages.find(message.replyTo);
  const words = quoted ? [h('b', {}, model.nameOf(quoted.userId)), ` ${excerpt(quoted)}`] : ['an earlier message'];
  return h(
    'button',
    { type: 'button', class: 'quote', onclick: () => act.jump(message.replyTo) },
    icon('reply'),
    h('span', {}, words),
  );
}

function answerTo(message, { room, act }) {
  const root = room.messages.find(message.threadId);
  const words = root ? `in the thread “${excerpt(root, 60)}”` : 'in a thread';
  return h(
    'button',
    { type: 'button', class: 'quote', onclick: () => act.thread(message.threadId) },
    icon('thread'),
    h('span', {}, words),
  );
}

/** The beginning of a message, on one line. */
export function excerpt({ content, deletedAt, type }, length = 120) {
  if (deletedAt) return 'deleted';
  if (type === 'IMAGE') return 'an image';
  const line = content.replaceAll(/\s+/g, ' ').trim();
  return line.length > length ? `${[...line].slice(0, length).join('')}…` : line;
}

function reactions(message, { model, room, act }) {
  const items = message.reactions.map(({ emoji, count, userIds = [] }) => {
    const mine = userIds.includes(model.me.id);
    const names = several(
      userIds.map((id) => model.nameOf(id)),
      5,
    );
    return h(
      'button',
      {
        type: 'button',
        class: 'reaction',
        'aria-pressed': String(mine),
        'aria-label': `${emoji}, ${count}${names && `: ${names}`}`,
        title: names,
        disabled: room.role === null,
        data: { emoji, again: `react ${emoji}` },
        onclick: () => act.react(message, emoji),
      },
      h('span', {}, emoji),
      ` ${count}`,
    );
  });
  return h('div', { class: 'reactions', role: 'group', 'aria-label': 'Reactions' }, items);
}

function threadLink(message, { act }) {
  const { replies, lastReplyAt } = message.thread;
  const button = {
    type: 'button',
    class: 'thread-link',
    data: { again: 'thread' },
    onclick: () => act.thread(message.id),
  };
  return h(
    'button',
    button,
    icon('thread'),
    count(replies, 'answer'),
    lastReplyAt && h('span', { class: 'hint' }, 'last ', clock(lastReplyAt)),
  );
}

const ticks = { sent: 'Sent', delivered: 'Delivered', read: 'Read' };

function receipts({ readBy, tick, message }, { model, act }) {
  if (readBy.length === 0 && !tick) return null;
  const names = readBy.map((id) => model.nameOf(id));
  const shown = readBy.slice(0, 5).map((id) => avatar(id, model.nameOf(id)));
  const words = names.length > 0 ? `Read by ${several(names)}` : ticks[tick];
  return h(
    'button',
    {
      type: 'button',
      class: 'receipts',
      title: words,
      'aria-label': words,
      data: { tick: tick ?? 'read', readers: readBy.join(' '), again: 'receipts' },
      onclick: ({ currentTarget }) => act.receipts(message, currentTarget),
    },
    tick && readBy.length === 0 && h('span', {}, ticks[tick]),
    tick && icon(tick === 'sent' ? 'check' : 'checks'),
    shown,
    readBy.length > 5 && h('span', {}, `+${readBy.length - 5}`),
  );
}

function fillDraft({ draft, head }, { model, act }, element) {
  const { content, state, failure, clientMessageId, timestamp } = draft;
  Object.assign(element.dataset, { state });
  element.classList.toggle('head', head);
  element.classList.add('own');
  const { id } = model.me;
  const author = model.nameOf(id);
  const status =
    state === 'failed'
      ? h(
          'p',
          { class: 'failure', role: 'alert' },
          h('span', {}, failure),
          h('button', { type: 'button', class: 'quiet', onclick: () => act.retry(clientMessageId) }, 'Try again'),
          h('button', { type: 'button', class: 'quiet', onclick: () => act.discard(clientMessageId) }, 'Discard'),
        )
      : h('p', { class: 'receipts' }, h('span', {}, model.live ? 'Sending' : 'Waits for the connection'));
  return [
    gutter({ head }, id, author, timestamp),
    h(
      'div',
      { class: 'body' },
      head && byline(author, draft, true),
      h('p', { class: 'text' }, textNodes(draft, model)),
      status,
    ),
  ];
}
