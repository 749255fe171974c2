// Node's own http: EventSource without a library.
//
//   node node_sse.mjs PORT
//
//   GET /sse    the stream          POST /pub    sends the body to everybody
import http from 'node:http';

const subscribers = new Set();

function publish(request, response) {
  let body = '';
  request.setEncoding('utf8');
  request.on('data', (data) => (body += data));
  request.on('end', () => {
    const event = `data: ${body}\n\n`;
    for (const subscriber of subscribers) subscriber.write(event);
    response.end('ok');
  });
}

function subscribe(request, response) {
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' });
  response.flushHeaders();
  subscribers.add(response);
  request.on('close', () => subscribers.delete(response));
}

const server = http.createServer((request, response) => {
  (request.method === 'POST' ? publish : subscribe)(request, response);
});
server.listen(+process.argv[2], '127.0.0.1', 4096);
