// Bytes on the wire, as well as a page can know them. What a page cannot see is estimated here,
// in one place: request heads, response heads, frame heads. TCP and TLS are left out.

export class Traffic {
  requests = 0;
  unchanged = 0;
  frames = 0;
  sent = 0;
  received = 0;

  request({ sent, received, unchanged = false }) {
    this.requests += 1;
    this.unchanged += Number(unchanged);
    this.sent += sent;
    this.received += received;
  }

  frame({ sent = 0, received = 0 }) {
    this.frames += 1;
    this.sent += sent;
    this.received += received;
  }
}

/** What the Resource Timing standard adds to a body for the head of a response. */
const RESPONSE_HEAD = 300;

/** Accept, Sec-Fetch, client hints and the like, as Chromium sends them from a page without a referrer. */
const REQUEST_HEAD = 350;

export function requestSize(url, headers = {}) {
  const own = Object.entries(headers).reduce((sum, [name, value]) => sum + name.length + value.length + 4, 0);
  return REQUEST_HEAD + navigator.userAgent.length + url.href.length + own;
}

export function responseSize(text) {
  return RESPONSE_HEAD + (text ? byteLength(text) : 0);
}

/** RFC 6455 §5.2, one frame, before compression. */
export function frameSize(text, masked) {
  const length = byteLength(text);
  const head = length < 126 ? 2 : length < 65_536 ? 4 : 10;
  return head + (masked ? 4 : 0) + length;
}

/** The lines that make one server-sent event, without HTTP's chunk head. */
export function streamEventSize({ type, data, lastEventId }) {
  return byteLength(`id: ${lastEventId}\nevent: ${type}\ndata: ${data}\n\n`);
}

const encoder = new TextEncoder();

function byteLength(text) {
  return encoder.encode(text).length;
}
