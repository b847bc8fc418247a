'use strict';

const { spawn } = require('node:child_process');
const { readdirSync, readlinkSync } = require('node:fs');
const net = require('node:net');
const { join } = require('node:path');
const readline = require('node:readline');

const { connect, listen } = require('libruntime');

const HOST = '127.0.0.1';

/** A promise with its functions outside. */
function deferred() {
  const result = {};
  result.promise = new Promise((resolve, reject) => {
    Object.assign(result, { resolve, reject });
  });
  return result;
}

/** Handlers that note their calls as `[name, ...]` and settle promises: `seen.opened`, `seen.ended`,
 *  `seen.closed`. `handlers` are called as well. */
function recorder(handlers = {}) {
  const seen = { calls: [], chunks: [], opened: deferred(), ended: deferred(), closed: deferred() };
  const note = (name, then) => (...args) => {
    seen.calls.push(name);
    handlers[name]?.(...args);
    then?.(...args);
  };
  seen.handlers = {
    open: note('open', (socket) => seen.opened.resolve(socket)),
    data: note('data', (_, chunk) => seen.chunks.push(Buffer.from(chunk))),
    drain: note('drain'),
    end: note('end', (socket) => seen.ended.resolve(socket)),
    error: note('error', (_, error) => {
      seen.error = error;
    }),
    close: note('close', (socket, error) => seen.closed.resolve({ socket, error })),
    connectError: note('connectError'),
  };
  Object.defineProperty(seen, 'bytes', { get: () => Buffer.concat(seen.chunks) });
  return seen;
}

/** A listener on a free port that is gone when the test is over. */
async function serve(t, socket, options = {}) {
  const listener = await listen({ hostname: HOST, port: 0, socket, ...options });
  t.after(() => listener.stop(true));
  return listener;
}

const echo = {
  data(socket, chunk) {
    socket.write(chunk);
  },
};

/** Connected to a listener of ours; gone when the test is over. */
async function dial(t, listener, socket, options = {}) {
  const client = await connect({ hostname: HOST, port: listener.port, socket, ...options });
  t.after(() => client.terminate());
  return client;
}

/** Both ends of one connection: `{ listener, client, server }`, recorders of `seen` included. */
async function pair(t, { client = {}, server = {}, clientOptions, serverOptions } = {}) {
  const atServer = recorder(server);
  const atClient = recorder(client);
  const listener = await serve(t, atServer.handlers, serverOptions);
  const clientSocket = await dial(t, listener, atClient.handlers, clientOptions);
  const serverSocket = await atServer.opened.promise;
  return { listener, client: clientSocket, server: serverSocket, atClient, atServer };
}

/** A peer made with node:net. `onSocket` gets each of its connections. */
async function netServer(t, onSocket) {
  const server = net.createServer({ allowHalfOpen: true }, onSocket);
  const sockets = new Set();
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
  });
  await new Promise((resolve) => {
    server.listen(0, HOST, resolve);
  });
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return server.address();
}

/** A port of this machine on which nobody listens. */
async function closedPort() {
  const server = net.createServer();
  await new Promise((resolve) => {
    server.listen(0, HOST, resolve);
  });
  const { port } = server.address();
  await new Promise((resolve) => {
    server.close(resolve);
  });
  return port;
}

/** A port of `address` that connections to wait for, for ever: `{ port, end }`. */
async function silentListener(address) {
  const child = spawn(process.execPath, [join(__dirname, 'programs', 'silent_listener.js'), address], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const port = await new Promise((resolve) => {
    child.stdout.once('data', (chunk) => resolve(Number(chunk)));
  });
  // Its backlog takes two.
  const sockets = [1, 2].map(() => net.connect(port, address));
  await Promise.all(sockets.map((socket) => new Promise((resolve) => {
    socket.once('connect', resolve);
  })));
  const end = () => {
    child.kill('SIGKILL');
    for (const socket of sockets) socket.on('error', () => {}).destroy();
  };
  return { port, end };
}

/** Resolves when `condition()` holds; looks again after each turn of the event loop. */
async function until(condition) {
  while (!condition()) {
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }
}

/** Descriptors of this process that are sockets. */
function openSockets() {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith('socket:');
    } catch {
      return false;
    }
  }).length;
}

/** Runs a program of test/programs to its end: `{ code, signal, stdout, stderr }`. `shell` is a command
 *  to run before it, `onLine` gets each line of its output as it comes. */
function run(program, args = [], { shell, onLine, ...options } = {}) {
  const file = join(__dirname, 'programs', program);
  const argv = [process.execPath, file, ...args.map(String)];
  const child = shell === undefined
    ? spawn(argv[0], argv.slice(1), options)
    : spawn('/bin/sh', ['-c', `${shell}; exec "$@"`, 'sh', ...argv], options);
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk) => {
    stdout += chunk;
  });
  if (onLine !== undefined) readline.createInterface({ input: child.stdout }).on('line', onLine);
  child.stderr.on('data', (chunk) => {
    stderr += chunk;
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}

module.exports = {
  HOST, closedPort, deferred, dial, echo, netServer, openSockets, pair, recorder, run, serve,
  silentListener, until,
};
