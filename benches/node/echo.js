'use strict';
// A TCP echo server on Node's own thread: `node echo.js libruntime|node:net`, until it is killed.

const listening = (port) => console.log(`listening 127.0.0.1:${port}`);

function byNet() {
  const server = require('node:net').createServer({ noDelay: true }, (socket) => {
    socket.on('data', (chunk) => socket.write(chunk));
    socket.on('error', () => socket.destroy());
  });
  server.listen(0, '127.0.0.1', 1024, () => listening(server.address().port));
}

async function byHandlers() {
  const { listen } = require('../../bindings/node');
  const listener = await listen({
    hostname: '127.0.0.1',
    port: 0,
    backlog: 1024,
    socket: {
      data(socket, chunk) {
        socket.write(chunk);
      },
      error() {},
    },
  });
  listening(listener.port);
}

({ libruntime: byHandlers, 'node:net': byNet })[process.argv[2]]();
