// Bun's server: WebSocket topics of uWebSockets.
//
//   bun bun_ws.mjs PORT [deflate]
//
//   GET /ws            everybody in one room; the sender does not get its own message
//   GET /room?r0001    joins that room; a message goes to the room that its first five characters name
//   GET /echo          echoes
const [port, mode] = process.argv.slice(2);
const deflate = mode === 'deflate';

function open(socket) {
  if (socket.data.path !== '/echo') socket.subscribe(socket.data.room);
}

function message(socket, text) {
  switch (socket.data.path) {
    case '/echo':
      return socket.send(text);
    case '/room':
      return socket.publish(text.slice(0, 5), text);
    default:
      return socket.publish('everybody', text, deflate);
  }
}

Bun.serve({
  port: +port,
  hostname: '127.0.0.1',
  fetch(request, server) {
    const url = new URL(request.url);
    const data = { path: url.pathname, room: url.search.slice(1) || 'everybody' };
    if (!server.upgrade(request, { data })) return new Response('a WebSocket, please', { status: 400 });
  },
  websocket: { idleTimeout: 600, backpressureLimit: 16 << 20, perMessageDeflate: deflate, open, message },
});
