// Node's Socket.IO with one of its adapters for Redis, as their documentation has it.
//
//   node socketio_node.mjs PACKAGES PORT REDIS_URL pubsub|streams
//
//   join ROOM                             joins a room, and says so
//   publish ROOM EVENT ARGUMENT OPTIONS   emits to the others in a room, on all servers, and says so

import { createServer } from 'node:http';
import { createRequire } from 'node:module';

const [packages, port, url, adapter] = process.argv.slice(2);
const require = createRequire(packages);
const { createClient } = require('redis');
const { Server } = require('socket.io');

// The adapter for streams leaves it unhandled that a write failed because the connection ended. That would end the process
// in the moment in which Redis goes, and no message would come any more: it is looked past, to the peer's advantage.
process.on('unhandledRejection', () => {});

async function client() {
  const redis = createClient({ url });
  // Without a listener an error of the connection would end the process; the client connects again by itself.
  redis.on('error', () => {});
  await redis.connect();
  return redis;
}

const adapters = {
  pubsub: async () => require('@socket.io/redis-adapter').createAdapter(await client(), await client()),
  streams: async () => require('@socket.io/redis-streams-adapter').createAdapter(await client()),
};
const server = createServer();
const io = new Server(server, { adapter: await adapters[adapter]() });

io.on('connection', (socket) => {
  socket.on('join', async (room, ack) => {
    await socket.join(room);
    ack({ room });
  });
  socket.on('publish', (room, event, message, _, ack) => {
    socket.to(room).emit(event, message);
    ack({});
  });
});
server.listen(+port, '127.0.0.1', () => console.log('listening'));
