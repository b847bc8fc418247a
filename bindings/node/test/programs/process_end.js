'use strict';
// `process_end.js CASE`: how long this process lives. Each case ends by itself or by its exit.

const net = require('node:net');

const { connect, listen } = require('libruntime');

const HOST = '127.0.0.1';
const echo = { data: (socket, chunk) => socket.write(chunk) };

async function connected(handlers = {}, atServer = echo) {
  const listener = await listen({ hostname: HOST, socket: atServer });
  const socket = await connect({ hostname: HOST, port: listener.port, socket: handlers });
  return { listener, socket };
}

const cases = {
  nothing() {},

  async closed() {
    const { listener, socket } = await connected();
    socket.end();
    await listener.stop();
    console.log('closed');
  },

  async unref() {
    const accepted = [];
    const { listener, socket } = await connected({}, {
      open: (other) => accepted.push(other.unref()),
    });
    while (accepted.length === 0) await new Promise(setImmediate);
    listener.unref();
    socket.unref();
  },

  refused() {
    connect({ hostname: HOST, port: 1, socket: {} }).catch((error) => console.log(error.code));
  },

  aborted() {
    const controller = new AbortController();
    connect({ hostname: '192.0.2.1', port: 9, signal: controller.signal, socket: {} })
      .catch((error) => console.log(error.code));
    controller.abort();
  },

  async held() {
    const { listener, socket } = await connected({
      data() {
        // Only the socket is left to hold the process, then only the listener once more.
        if (listener.fd >= 0) {
          console.log('listener');
          listener.stop();
          socket.unref().ref();
          socket.write('x');
          return;
        }
        console.log('socket');
        socket.end();
        again();
      },
    });
    // From a process of its own nobody else holds us: an answer needs a loop that goes on.
    socket.write('x');
  },

  async terminated() {
    const close = () => console.log('close');
    const { listener, socket } = await connected({ close }, { close });
    listener.stop();
    socket.terminate();
  },

  async exit() {
    process.on('exit', (code) => console.log(`exit ${code}`));
    const { socket } = await connected({
      data() {
        process.exit(7);
      },
    });
    socket.write('x');
    setInterval(() => {}, 1000);
  },

  async exitUnderLoad() {
    const { listener } = await connected();
    let messages = 0;
    for (let i = 0; i < 50; i += 1) {
      connect({
        hostname: HOST,
        port: listener.port,
        socket: {
          open: (socket) => socket.write(Buffer.alloc(500_000)),
          data(socket, chunk) {
            messages += 1;
            if (messages === 500) process.exit(3);
            socket.write(chunk);
          },
        },
      });
    }
  },

  beforeExit() {
    process.once('beforeExit', async () => {
      const { listener, socket } = await connected({
        data(same) {
          console.log('again');
          same.end();
          listener.stop();
        },
      });
      socket.write('x');
    });
  },
};

async function again() {
  const listener = await listen({ hostname: HOST, socket: echo });
  listener.unref().ref();
  // A peer that does not hold the process itself.
  const peer = net.connect(listener.port, HOST).unref();
  peer.on('data', () => {
    console.log('again');
    peer.destroy();
    listener.stop();
  });
  peer.write('x');
}

cases[process.argv[2]]();
