// Node and `ws`: the broadcast server of its README.
//
//   node node_ws.mjs PORT [deflate]
//
//   GET /ws            everybody in one room; the sender does not get its own message
//   GET /room?r0001    joins that room; a message goes to the room that its first five characters name
//   GET /echo          echoes
import http from 'node:http';
import { WebSocket, WebSocketServer } from 'ws';

const [port, mode] = process.argv.slice(2);
const options = { noServer: true, perMessageDeflate: mode === 'deflate' };

function sendToOthers(clients, sender, data, isBinary) {
  for (const client of clients) {
    if (client !== sender && client.readyState === WebSocket.OPEN) client.send(data, { binary: isBinary });
  }
}

const everybody = new WebSocketServer(options);
everybody.on('connection', (socket) => {
  socket.on('error', () => {});
  socket.on('message', (data, isBinary) => sendToOthers(everybody.clients, socket, data, isBinary));
});

const echo = new WebSocketServer(options);
echo.on('connection', (socket) => {
  socket.on('error', () => {});
  socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
});

const members = new Map();
const rooms = new WebSocketServer(options);
rooms.on('connection', (socket, request) => {
  const name = request.url.slice('/room?'.length);
  if (name) {
    if (!members.has(name)) members.set(name, new Set());
    members.get(name).add(socket);
    socket.on('close', () => members.get(name).delete(socket));
  }
  socket.on('error', () => {});
  socket.on('message', (data, isBinary) => {
    sendToOthers(members.get(data.toString('latin1', 0, 5)) ?? [], socket, data, isBinary);
  });
});

const server = http.createServer();
server.on('upgrade', (request, socket, head) => {
  const to = request.url === '/echo' ? echo : request.url.startsWith('/room') ? rooms : everybody;
  to.handleUpgrade(request, socket, head, (ws) => to.emit('connection', ws, request));
});
server.listen(+port, '127.0.0.1', 4096);
