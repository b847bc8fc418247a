'use strict';
// Five connections whose handlers throw here and there. Prints what was thrown and what arrived.

const { connect, listen } = require('libruntime');

const thrown = [];
const data = [];
let ticks = 0;
let closed = 0;
let opened = 0;
const clients = [];

process.on('uncaughtException', (error) => thrown.push(error.message));

async function main() {
  const listener = await listen({
    hostname: '127.0.0.1',
    socket: {
      open() {
        opened += 1;
        begin();
        if (opened === 5) throw new Error('open 4');
      },
      data(socket, chunk) {
        const name = String(chunk);
        data.push(name);
        socket.data = name;
        if (name === '0') {
          process.nextTick(() => {
            throw new Error('tick');
          });
          process.nextTick(() => {
            ticks += 1;
          });
        }
        if (name === '2') {
          queueMicrotask(() => {
            throw new Error('promise');
          });
        }
        if (data.length === 5) setImmediate(() => clients.forEach((client) => client.end()));
        if (name === '1' || name === '3') throw new Error(`data ${name}`);
      },
      end(socket) {
        if (socket.data === '4') throw new Error('end');
      },
      close(socket) {
        closed += 1;
        if (closed === 5) {
          listener.stop().then(() => console.log(JSON.stringify({ thrown, data, ticks, closed })));
        }
        if (socket.data === '3') throw new Error('close');
      },
    },
  });
  for (let i = 0; i < 5; i += 1) {
    clients.push(await connect({ hostname: '127.0.0.1', port: listener.port, socket: {} }));
  }
  begin();
}

/** Once both ends of all connections are open: all messages in one go, so that one turn finds them. */
function begin() {
  if (opened === 5 && clients.length === 5) clients.forEach((client, i) => client.write(String(i)));
}

main();
