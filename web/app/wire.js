// How this page talks to its server: addresses, the token, one request, what went wrong.

const token = new URLSearchParams(location.search).get('token');

/** The path of a room's events: GET polls it, POST publishes to it. */
export function eventsPath(room) {
  return `/api/rooms/${encodeURIComponent(room).replaceAll('%3A', ':')}/events`;
}

/** An absolute address on this server; parameters that are null are left out. */
export function address(path, parameters = {}) {
  const url = new URL(path, location.origin);
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== null && value !== undefined) url.searchParams.set(name, value);
  }
  return url;
}

/** The same for /ws and /sse, which take the token in the address: neither API can set a header. */
export function streamAddress(path, parameters = {}) {
  return address(path, { ...parameters, token });
}

/**
 * Asks the server once: `{status, headers, text}`.
 * Throws `Refusal` when it says no and `Lost` when it says nothing.
 */
export async function request(url, { headers = {}, ...init } = {}) {
  const authorization = token ? { Authorization: `Bearer ${token}` } : {};
  let answer;
  try {
    // no-store: the HTTP cache would answer for the server, and makes equal requests queue up.
    const response = await fetch(url, { cache: 'no-store', headers: { ...authorization, ...headers }, ...init });
    answer = { status: response.status, headers: response.headers, text: await response.text() };
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Lost(error.name === 'TimeoutError' ? 'no answer in time' : 'the server cannot be reached');
  }
  if (answer.status < 300 || answer.status === 304) return answer;
  throw refusalOf(answer);
}

/** Publishes a draft `{event, payload, id}` by POST; resolves to `{room, seq, epoch, duplicate}`. */
export async function post(room, draft, signal) {
  const { text } = await request(address(eventsPath(room)), {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(draft),
    signal,
  });
  return JSON.parse(text);
}

/** The server said no. `passing` when the same request may succeed later. */
export class Refusal extends Error {
  constructor(message, { passing, retryAfter }) {
    super(message);
    this.passing = passing;
    this.delay = retryAfter;
  }
}

/** The connection ended. `delay` (ms) when the server said when to come back. */
export class Lost extends Error {
  constructor(message, delay) {
    super(message);
    this.delay = delay;
  }
}

function refusalOf({ status, headers, text }) {
  const { error = `the server answered ${status}`, retryAfter } = parsed(text);
  const seconds = Number(headers.get('Retry-After'));
  return new Refusal(error, {
    passing: status === 429 || status >= 500,
    retryAfter: retryAfter ?? (seconds ? seconds * 1000 : undefined),
  });
}

/** An error's body is JSON when it is ours, anything when a proxy wrote it. */
function parsed(text) {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}

/** Resolves after `ms`; rejects at once when the signal aborts. */
export function sleep(ms, signal) {
  return new Promise((resolve, reject) => {
    const aborted = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', aborted);
      resolve();
    }, ms);
    if (signal?.aborted) aborted();
    signal?.addEventListener('abort', aborted, { once: true });
  });
}

/** A random name; `crypto.randomUUID` exists on https pages only. */
export function randomName() {
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
