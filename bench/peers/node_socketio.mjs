// Node and `socket.io`, with its usual engine and parser.
//
//   node node_socketio.mjs PORT
//
//   join ROOM                    joins a room, and says so to who asks for an ack
//   publish ROOM EVENT ARGUMENT  emits to the others in a room
//   echo ARGUMENT                sends it back in the ack
import http from 'node:http';
import { Server } from 'socket.io';

const [port] = process.argv.slice(2);
const server = http.createServer();
const io = new Server(server);

io.on('connection', (socket) => {
  socket.on('join', (room, ack) => {
    socket.join(room);
    ack?.({ status: 'ok' });
  });
  socket.on('publish', (room, event, message) => socket.to(room).emit(event, message));
  socket.on('echo', (message, ack) => ack(message));
});
server.listen(+port, '127.0.0.1', 4096);
