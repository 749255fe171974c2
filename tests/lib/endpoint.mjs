// Where a denrei can be reached, directly or through something in front of it.

/** A request with a connection of its own: fetch would keep it for four seconds, and who counts connections waits. */
export function get(url, { headers, ...options } = {}) {
  return fetch(url, { ...options, headers: { connection: 'close', ...headers } });
}

export class Endpoint {
  /** Statuses that mean no more than try again. */
  excuses = [503];

  /** Says where it is, as `HOST:PORT`, and whether it speaks TLS there. */
  at(address, isSecure = false) {
    this.address = address;
    this.port = Number(address.split(':').at(-1));
    const s = isSecure ? 's' : '';
    this.http = `http${s}://${address}`;
    this.ws = `ws${s}://${address}`;
  }

  async publish(room, body, headers = {}) {
    return get(`${this.http}/api/rooms/${encodeURIComponent(room)}/events`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    });
  }

  async events(room, query = '', options = {}) {
    return get(`${this.http}/api/rooms/${encodeURIComponent(room)}/events${query}`, options);
  }

  async health() {
    return (await get(`${this.http}/health`)).json();
  }
}
