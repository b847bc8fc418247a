'use strict';
// `workers.js CASE`: sockets in worker threads. The same file is the worker, told what to do by workerData.

const { once } = require('node:events');
const { readdirSync, readlinkSync } = require('node:fs');
const net = require('node:net');
const { Worker, isMainThread, parentPort, workerData } = require('node:worker_threads');

const HOST = '127.0.0.1';

/** Starts a worker that does `role`; resolves with it, its first message and a promise of its exit code. */
function start(role, data) {
  const worker = new Worker(__filename, { workerData: { role, data } });
  const exited = new Promise((resolve) => {
    worker.once('exit', resolve);
  });
  return new Promise((resolve, reject) => {
    worker.once('error', reject);
    worker.once('message', (message) => resolve({ worker, message, exited }));
  });
}

/** Echoes through a listener of this thread. */
async function echoOnce() {
  const { connect, listen } = require('libruntime');
  const listener = await listen({
    hostname: HOST,
    socket: { data: (socket, chunk) => socket.write(chunk) },
  });
  await new Promise((resolve) => {
    connect({
      hostname: HOST,
      port: listener.port,
      socket: {
        open: (socket) => socket.write('x'),
        data: (socket) => socket.end(),
        close: resolve,
      },
    });
  });
  await listener.stop();
}

/** Connections that keep an echo busy without end. */
function load(port, { connect } = require('libruntime'), count = 20) {
  for (let i = 0; i < count; i += 1) {
    connect({
      hostname: HOST,
      port,
      socket: {
        open: (socket) => socket.write(Buffer.alloc(1 + i * 1000)),
        data: (socket, chunk) => socket.write(chunk),
        connectError() {},
      },
    });
  }
}

const roles = {
  async echoOnce() {
    await echoOnce();
    parentPort.postMessage('done');
  },

  /** A listener and clients in the same worker, busy for ever; says so after a while. */
  async busy() {
    const { connect, listen } = require('libruntime');
    let messages = 0;
    const listener = await listen({
      hostname: HOST,
      socket: {
        data(socket, chunk) {
          messages += 1;
          if (messages === 200) parentPort.postMessage('busy');
          socket.write(chunk);
        },
      },
    });
    load(listener.port, { connect });
  },

  /** Opens connections to `port` as quickly as it can. */
  connecting(port) {
    const { connect } = require('libruntime');
    let made = 0;
    const one = () => {
      made += 1;
      if (made === 50) parentPort.postMessage('connecting');
      connect({
        hostname: made % 2 === 0 ? HOST : 'localhost',
        port,
        socket: {
          open(socket) {
            socket.terminate();
            one();
          },
          connectError: one,
        },
      });
    };
    for (let i = 0; i < 10; i += 1) one();
  },

  async never() {
    const { connect, listen } = require('libruntime');
    const { port } = await listen({
      hostname: HOST,
      socket: {
        data() {
          parentPort.postMessage('in the handler');
          for (;;);
        },
      },
    });
    const socket = await connect({ hostname: HOST, port, socket: {} });
    socket.write('x');
  },

  async exits(code) {
    const { connect, listen } = require('libruntime');
    const { port } = await listen({
      hostname: HOST,
      socket: {
        data() {
          process.exit(code);
        },
      },
    });
    parentPort.postMessage('ready');
    for (let i = 0; i < 5; i += 1) {
      const socket = await connect({ hostname: HOST, port, socket: {} });
      socket.write('x');
    }
  },

  async throws() {
    const { connect, listen } = require('libruntime');
    const { port } = await listen({
      hostname: HOST,
      socket: {
        data() {
          throw new Error('mine');
        },
      },
    });
    const socket = await connect({ hostname: HOST, port, socket: {} });
    socket.write('x');
  },

  async serve() {
    const { listen } = require('libruntime');
    const { port } = await listen({
      hostname: HOST,
      socket: { data: (socket, chunk) => socket.write(chunk) },
    });
    parentPort.postMessage(port);
  },
};

function openSockets() {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return /^(socket:|anon_inode:\[(eventpoll|timerfd|eventfd)\])/.test(readlinkSync(`/proc/self/fd/${fd}`));
    } catch {
      return false;
    }
  }).length;
}

const cases = {
  async several() {
    const workers = await Promise.all([1, 2, 3].map(() => start('echoOnce')));
    await Promise.all([echoOnce(), ...workers.map(({ exited }) => exited)]);
    await echoOnce();
    console.log('ok');
  },

  async endsByItself() {
    const { exited } = await start('echoOnce');
    console.log(await exited);
  },

  async terminateUnderLoad() {
    for (let i = 0; i < 12; i += 1) {
      const started = await Promise.all([start('busy'), start('busy')]);
      await Promise.all(started.map(({ worker }) => worker.terminate()));
    }
    await echoOnce();
    console.log('ok');
  },

  async terminateWhileConnecting() {
    const { listen } = require('libruntime');
    const listener = await listen({ hostname: HOST, socket: {} });
    for (let i = 0; i < 10; i += 1) {
      const { worker } = await start('connecting', listener.port);
      await worker.terminate();
    }
    await listener.stop(true);
    console.log('ok');
  },

  async terminateBusyHandler() {
    const { worker } = await start('never');
    console.log(await worker.terminate());
  },

  async exitInHandler() {
    const { exited } = await start('exits', 5);
    const code = await exited;
    await echoOnce();
    console.log(`${code} ok`);
  },

  async mainExits() {
    await Promise.all([start('busy'), start('busy')]);
    process.exit(4);
  },

  async uncaught() {
    const worker = new Worker(__filename, { workerData: { role: 'throws' } });
    const [error] = await once(worker, 'error');
    await echoOnce();
    console.log(`${error.message} ok`);
  },

  async firstInWorker() {
    const { worker } = await start('busy');
    await worker.terminate();
    // Whoever unloads a library when its last user is gone has done so by now.
    const { exited } = await start('echoOnce');
    await exited;
    await echoOnce();
    console.log('ok');
  },

  async peersAreTold() {
    const { worker, message: port } = await start('serve');
    const peer = net.connect(port, HOST);
    peer.write('x');
    await new Promise((resolve) => {
      peer.once('data', resolve);
    });
    const closed = new Promise((resolve) => {
      peer.once('close', resolve);
    });
    peer.on('error', () => {});
    await worker.terminate();
    await closed;
    console.log('ok');
  },

  async nothingLeft() {
    const warm = await start('busy');
    await warm.worker.terminate();
    const before = openSockets();
    for (let i = 0; i < 5; i += 1) {
      const { worker } = await start('busy');
      await worker.terminate();
    }
    console.log(openSockets() - before);
  },
};

if (isMainThread) cases[process.argv[2]]();
else roles[workerData.role](workerData.data);
