// The four ways to read a room. Each spells the same sentence: attach a reader at a position.
//
// `read(reader)` attaches behind `reader.position()` and reports until `reader.signal` aborts; its
// promise only ever rejects, with why the reading ended. A reader is
//   room, signal, interval() ms, position() `EPOCH:SEQ`, or null to begin now
//   opened({publish?})   attached; what came meanwhile follows. `publish` sends over this connection
//   event(event)         {room, event, payload, from, userId, seq, epoch, timestamp}
//   gap({from, to, epoch})
//   traffic              a `Traffic`, counted into

import { parsePosition } from './ledger.js';
import { frameSize, requestSize, responseSize, streamEventSize } from './traffic.js';
import { Lost, Refusal, address, eventsPath, request, sleep, streamAddress } from './wire.js';

export const transports = {
  websocket: { label: 'WebSocket', read: readWebSocket },
  sse: { label: 'SSE', read: readServerSentEvents },
  longpoll: { label: 'Long poll', read: readLongPoll },
  shortpoll: { label: 'Short poll', read: readShortPoll },
};

function readWebSocket(reader) {
  return new Promise((_, reject) => {
    const { room, signal, traffic } = reader;
    const url = streamAddress('/ws');
    url.protocol = url.protocol.replace('http', 'ws');
    const socket = new WebSocket(url);
    const calls = new Map();
    let lastRef = 0;

    const end = (error) => {
      socket.close(1000, 'Client closing');
      for (const call of calls.values()) call.reject(new Lost('the connection ended before the reply'));
      calls.clear();
      reject(error);
    };
    const call = (frame) =>
      new Promise((resolve, reject) => {
        const ref = String((lastRef += 1));
        calls.set(ref, { resolve, reject });
        const text = JSON.stringify({ ...frame, ref });
        traffic.frame({ sent: frameSize(text, 'masked') });
        socket.send(text);
      });
    const settle = (ref, act) => {
      const waiting = calls.get(ref);
      calls.delete(ref);
      if (waiting) act(waiting);
    };

    const receive = {
      reply: (frame) => settle(frame.ref, (waiting) => waiting.resolve(frame.payload)),
      error: (frame) =>
        settle(frame.ref, (waiting) =>
          waiting.reject(
            new Refusal(frame.error, { passing: frame.retryAfter !== undefined, retryAfter: frame.retryAfter }),
          ),
        ),
      broadcast: (frame) => frame.room === room && reader.event(frame),
      gap: (frame) => frame.room === room && reader.gap(frame),
      position: (frame) => notice(frame.rooms[room]),
      shutdown: (frame) => end(new Lost(frame.message, frame.reconnectDelay)),
    };
    // A high-water mark ahead of us that stays ahead: the last message was lost on its way.
    const notice = async (mark) => {
      if (!mark || !isBehind(reader.position(), mark)) return;
      await sleep(1000, signal).catch(() => {});
      if (isBehind(reader.position(), mark)) end(new Lost('a message is missing', 0));
    };

    signal.addEventListener('abort', () => end(signal.reason), { once: true });
    traffic.request({ sent: requestSize(url), received: responseSize(0) });
    socket.onopen = () => {
      const join = { type: 'join', room, since: reader.position() ?? undefined, echo: true };
      call(join).then(() => reader.opened({ publish }), end);
    };
    const publish = (draft) => call({ type: 'broadcast', room, ...draft });
    socket.onmessage = ({ data }) => {
      if (signal.aborted) return;
      traffic.frame({ received: frameSize(data) });
      const frame = JSON.parse(data);
      receive[frame.type]?.(frame);
    };
    socket.onclose = ({ code, reason }) => end(new Lost(`closed with ${code}${reason && ` ${reason}`}`));
  });
}

function readServerSentEvents(reader) {
  return new Promise((_, reject) => {
    const { room, signal, traffic } = reader;
    const url = streamAddress('/sse', { room, format: 'envelope', lastEventId: reader.position() });
    const source = new EventSource(url);

    const end = (error) => {
      source.close();
      reject(error);
    };
    // An EventSource hears only the names it listens for; the ledger notices what it did not hear.
    const listen = (name, receive) =>
      source.addEventListener(name, (event) => {
        if (event.data === undefined) return;
        traffic.frame({ received: streamEventSize(event) });
        receive(JSON.parse(event.data));
      });
    listen('connected', () => reader.opened({}));
    listen('message', (event) => reader.event(event));
    listen('gap', (gap) => gap.room === room && reader.gap(gap));
    listen('error', ({ error }) => end(new Lost(error)));
    listen('server:shutdown', ({ message, reconnectDelay }) => end(new Lost(message, reconnectDelay)));

    signal.addEventListener('abort', () => end(signal.reason), { once: true });
    traffic.request({ sent: requestSize(url), received: responseSize(0) });
    // The browser would reconnect by itself every 5 s; here all four ways share one backoff.
    source.onerror = (event) => event.data === undefined && end(new Lost('the stream ended'));
  });
}

/** Held by the server until there is news; the first question is not, to know that the server is there. */
async function readLongPoll(reader) {
  await ask(reader, { wait: 0 });
  reader.opened({});
  for (;;) await ask(reader, { wait: 25 });
}

async function readShortPoll(reader) {
  let answer = await ask(reader);
  reader.opened({});
  for (;;) {
    const pause = answer.full ? 0 : reader.interval();
    await sleep(pause, reader.signal);
    answer = await ask(reader, { unless: answer });
  }
}

/** Asks for what came after the reader's position and hands it over. */
export async function ask(reader, { wait, unless } = {}) {
  const since = reader.position();
  const answer = await poll(reader, { since, wait, unless });
  if (reader.signal.aborted) throw reader.signal.reason;
  if (answer.gap) reader.gap(gapOf(answer, since));
  for (const event of answer.events) reader.event(event);
  return answer;
}

/** The server's default for `limit`: an answer this long may not be the last. */
const PAGE = 50;

/** How long a held question may take before we give up on it. */
const PATIENCE_MS = 30_000;

/**
 * One poll of a room: `{events, next, gap, full}`.
 * With `unless`, an earlier answer, the server may say 304: that answer again.
 */
export async function poll({ room, signal, traffic }, { since = null, wait, unless } = {}) {
  const url = address(eventsPath(room), { since, wait });
  // An ETag speaks of one address, and the address has the position in it.
  const headers = unless?.etag && unless.url === url.href ? { 'If-None-Match': unless.etag } : {};
  const patience = AbortSignal.timeout(PATIENCE_MS);
  const { status, headers: head, text } = await request(url, {
    headers,
    signal: AbortSignal.any([signal, patience]),
  });
  traffic?.request({ sent: requestSize(url, headers), received: responseSize(text), unchanged: status === 304 });

  const nothing = { events: [], next: head.get('Denrei-Position') ?? since, gap: false };
  const answer = status === 200 ? JSON.parse(text) : nothing;
  return { ...answer, full: answer.events.length >= PAGE, etag: head.get('ETag') ?? unless?.etag, url: url.href };
}

/** A poll says that there is a gap; where it ends follows from what it could still give. */
function gapOf({ events, next }, since) {
  const [epoch, head] = parsePosition(next);
  const [oldEpoch, oldSeq] = parsePosition(since);
  return {
    from: epoch === oldEpoch ? oldSeq + 1 : 0,
    to: events.length > 0 ? events[0].seq - 1 : head,
    epoch,
  };
}

function isBehind(position, mark) {
  const [epoch, seq] = parsePosition(position ?? 'none:0');
  const [headEpoch, head] = parsePosition(mark);
  return epoch !== headEpoch || seq < head;
}
