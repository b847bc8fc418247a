'use strict';
// What bad input gets: a specific error each, of the shape that Node gives its own.

const assert = require('node:assert/strict');
const { getEventListeners } = require('node:events');
const net = require('node:net');
const { test } = require('node:test');

const { connect, listen } = require('libruntime');

const {
  HOST, closedPort, deferred, dial, echo, netServer, openSockets, pair, serve, until,
} = require('./helpers.js');

/** The error that node:net gives for the same thing. */
function netError(emitter) {
  return new Promise((resolve) => {
    emitter.once('error', resolve);
  });
}

/** An error's own properties, stack left out. */
function shape(error) {
  return { message: error.message, ...error };
}

const wrongOptions = {
  'no options': [undefined, 'ERR_INVALID_ARG_TYPE'],
  'null': [null, 'ERR_INVALID_ARG_TYPE'],
  'a number for options': [80, 'ERR_INVALID_ARG_TYPE'],
  'no handlers': [{ port: 1 }, 'ERR_INVALID_ARG_TYPE'],
  'handlers that are none': [{ port: 1, socket: { data: 'text' } }, 'ERR_INVALID_ARG_TYPE'],
  'null for handlers': [{ port: 1, socket: null }, 'ERR_INVALID_ARG_TYPE'],
  'a port of another type': [{ port: {}, socket: {} }, 'ERR_INVALID_ARG_TYPE'],
  'a port that is too large': [{ port: 65536, socket: {} }, 'ERR_SOCKET_BAD_PORT'],
  'a negative port': [{ port: -1, socket: {} }, 'ERR_SOCKET_BAD_PORT'],
  'half a port': [{ port: 1.5, socket: {} }, 'ERR_SOCKET_BAD_PORT'],
  'a port in words': [{ port: 'http', socket: {} }, 'ERR_SOCKET_BAD_PORT'],
  'an empty port': [{ port: '', socket: {} }, 'ERR_SOCKET_BAD_PORT'],
  'a hostname of another type': [{ port: 1, hostname: 3, socket: {} }, 'ERR_INVALID_ARG_TYPE'],
  'a hostname with a null byte': [{ port: 1, hostname: 'a\0b', socket: {} }, 'ERR_INVALID_ARG_VALUE'],
  'a binaryType that is none': [{ port: 1, binaryType: 'blob', socket: {} }, 'ERR_INVALID_ARG_VALUE'],
  'a flag of another type': [{ port: 1, noDelay: 1, socket: {} }, 'ERR_INVALID_ARG_TYPE'],
  'a highWaterMark of another type': [{ port: 1, highWaterMark: '1', socket: {} }, 'ERR_INVALID_ARG_TYPE'],
  'a negative highWaterMark': [{ port: 1, highWaterMark: -1, socket: {} }, 'ERR_OUT_OF_RANGE'],
  'a highWaterMark that is not finite': [{ port: 1, highWaterMark: Infinity, socket: {} }, 'ERR_OUT_OF_RANGE'],
  'a delay that is not a number': [{ port: 1, keepAliveInitialDelay: NaN, socket: {} }, 'ERR_OUT_OF_RANGE'],
  'a signal that is none': [{ port: 1, signal: {}, socket: {} }, 'ERR_INVALID_ARG_TYPE'],
};

for (const [what, [options, code]] of Object.entries(wrongOptions)) {
  test(`wrong options: ${what}`, async () => {
    const kind = code === 'ERR_INVALID_ARG_TYPE' || code === 'ERR_INVALID_ARG_VALUE' ? TypeError : RangeError;
    for (const call of [connect, listen]) {
      await assert.rejects(call(options), (error) => error instanceof kind && error.code === code);
    }
  });
}

test('wrong options of one call only', async () => {
  await assert.rejects(connect({ socket: {} }), { code: 'ERR_SOCKET_BAD_PORT' });
  await assert.rejects(connect({ port: 1, family: 5, socket: {} }), { code: 'ERR_INVALID_ARG_VALUE' });
  await assert.rejects(connect({ port: 1, localPort: -1, socket: {} }), { code: 'ERR_SOCKET_BAD_PORT' });
  await assert.rejects(listen({ backlog: -1, socket: {} }), { code: 'ERR_OUT_OF_RANGE' });
  await assert.rejects(listen({ backlog: 2 ** 31, socket: {} }), { code: 'ERR_OUT_OF_RANGE' });
  await assert.rejects(listen({ error: 1, socket: {} }), { code: 'ERR_INVALID_ARG_TYPE' });
});

test('wrong data: write and end throw, and the socket stays usable', async (t) => {
  const { client, atServer, atClient } = await pair(t);
  for (const data of [undefined, null, 3, {}, true, Symbol('s'), () => {}, [1], [null]]) {
    assert.throws(() => client.write(data), { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' });
  }
  assert.throws(() => client.write(Buffer.alloc(4), -1), { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' });
  assert.throws(() => client.write(Buffer.alloc(4), 5), { code: 'ERR_OUT_OF_RANGE' });
  assert.throws(() => client.write(Buffer.alloc(4), 1, 4), { code: 'ERR_OUT_OF_RANGE' });
  assert.throws(() => client.write(Buffer.alloc(4), 0.5), { code: 'ERR_OUT_OF_RANGE' });
  assert.throws(() => client.end(3), { code: 'ERR_INVALID_ARG_TYPE' });
  assert.throws(() => client.cork(3), { code: 'ERR_INVALID_ARG_TYPE' });
  assert.throws(() => client.setKeepAlive(true, '1'), { code: 'ERR_INVALID_ARG_TYPE' });
  assert.throws(() => client.reload(3), { code: 'ERR_INVALID_ARG_TYPE' });
  assert.equal(client.write('fine'), 4);
  client.end();
  assert.throws(() => client.write(3), { code: 'ERR_INVALID_ARG_TYPE' });
  await atServer.closed.promise;
  await atClient.closed.promise;
  assert.throws(() => client.write(3), { code: 'ERR_INVALID_ARG_TYPE' });
  assert.equal(atServer.bytes.toString(), 'fine');
});

test('a detached buffer has no bytes', async (t) => {
  const { client } = await pair(t);
  const bytes = new Uint8Array(8);
  structuredClone(bytes, { transfer: [bytes.buffer] });
  assert.equal(client.write(bytes), 0);
});

test('a port in use: the error of node:net', async (t) => {
  const { port } = await serve(t, {});
  const expected = netError(net.createServer().listen(port, HOST));
  const error = await listen({ hostname: HOST, port, socket: {} }).catch((caught) => caught);
  assert.deepEqual(shape(error), shape(await expected));
  assert.equal(error.code, 'EADDRINUSE');
});

test('an address that is not ours: the error of node:net', async () => {
  const expected = netError(net.createServer().listen(0, '192.0.2.1'));
  const error = await listen({ hostname: '192.0.2.1', socket: {} }).catch((caught) => caught);
  assert.deepEqual(shape(error), shape(await expected));
  assert.equal(error.code, 'EADDRNOTAVAIL');
});

test('refused: the error of node:net, in connectError as well', async () => {
  const port = await closedPort();
  const expected = netError(net.connect(port, HOST));
  const told = deferred();
  const promise = connect({
    hostname: HOST,
    port,
    socket: {
      connectError: (socket, error) => told.resolve({ socket, error }),
      close: () => assert.fail('it was never open'),
    },
  });
  const error = await promise.catch((caught) => caught);
  assert.deepEqual(shape(error), shape(await expected));
  assert.equal(error.code, 'ECONNREFUSED');
  const { socket, error: same } = await told.promise;
  assert.equal(same, error);
  assert.equal(socket.readyState, 'closed');
  assert.equal(socket.write('x'), -1);
});

test('refused at every address of a name: an AggregateError with the first code', async () => {
  const port = await closedPort();
  const error = await connect({ hostname: 'localhost', port, socket: {} }).catch((caught) => caught);
  assert.equal(error.code, 'ECONNREFUSED');
  const errors = error instanceof AggregateError ? error.errors : [error];
  assert.ok(errors.every(({ code, syscall }) => code === 'ECONNREFUSED' && syscall === 'connect'));
});

test('with connectError the promise may be ignored', async () => {
  const port = await closedPort();
  const told = deferred();
  const unhandled = deferred();
  process.once('unhandledRejection', unhandled.resolve);
  connect({ hostname: HOST, port, socket: { connectError: told.resolve } });
  await told.promise;
  await new Promise(setImmediate);
  process.removeListener('unhandledRejection', unhandled.resolve);
  unhandled.resolve('none');
  assert.equal(await unhandled.promise, 'none');
});

test('a local address that is not ours fails like node:net', async (t) => {
  const { port } = await serve(t, {});
  const error = await connect({ hostname: HOST, port, localAddress: '192.0.2.1', socket: {} })
    .catch((caught) => caught);
  assert.equal(error.code, 'EADDRNOTAVAIL');
  assert.equal(error.syscall, 'connect');
  await assert.rejects(
    connect({ hostname: HOST, port, localAddress: 'name', socket: {} }),
    { name: 'TypeError', code: 'ERR_INVALID_IP_ADDRESS' },
  );
});

test('a name that does not resolve: the error of node:net', async () => {
  const expected = await netError(net.connect(80, 'name.invalid'));
  for (const call of [connect, listen]) {
    const error = await call({ hostname: 'name.invalid', port: 80, socket: {} }).catch((caught) => caught);
    assert.equal(error.code, expected.code);
    assert.equal(error.syscall, 'getaddrinfo');
    assert.equal(error.hostname, 'name.invalid');
  }
});

test('a lookup that fails, throws, or yields no address rejects', async () => {
  const own = new Error('mine');
  const lookups = [
    [(hostname, options, callback) => callback(own), (error) => error === own],
    [() => { throw own; }, (error) => error === own],
    [(hostname, options, callback) => callback(null, []), { code: 'ERR_INVALID_IP_ADDRESS' }],
    [(hostname, options, callback) => callback(null, 'nonsense', 4), { code: 'ERR_INVALID_IP_ADDRESS' }],
    [(hostname, options, callback) => callback(null, HOST, 4), { code: 'ECONNREFUSED', address: HOST }],
  ];
  for (const [lookup, expected] of lookups) {
    let told = false;
    const promise = connect({
      hostname: 'name',
      port: 1,
      lookup,
      socket: {
        connectError() {
          told = true;
        },
      },
    });
    assert.equal(told, false);
    await assert.rejects(promise, expected);
    assert.equal(told, true);
  }
  await assert.rejects(connect({ port: 1, lookup: 1, socket: {} }), { code: 'ERR_INVALID_ARG_TYPE' });
});

test('a peer that resets: error, then close, with the error of node:net', async (t) => {
  const address = await netServer(t, (socket) => socket.resetAndDestroy());
  const calls = [];
  const closed = deferred();
  await connect({
    hostname: HOST,
    port: address.port,
    socket: {
      error: (socket, error) => calls.push(['error', shape(error), socket.readyState]),
      close(_, error) {
        calls.push(['close', shape(error)]);
        closed.resolve();
      },
    },
  });
  await closed.promise;
  const reset = { message: 'read ECONNRESET', errno: -104, code: 'ECONNRESET', syscall: 'read' };
  assert.deepEqual(calls, [['error', reset, 'closed'], ['close', reset]]);
});

test('a peer that resets in mid-write: write returns -1 from then on, error and close follow', async (t) => {
  const { client, server, atServer } = await pair(t, {
    client: { open: (socket) => socket.pause() },
    server: { open: (socket) => socket.pause() },
  });
  const chunk = Buffer.alloc(256 * 1024);
  while (server.write(chunk) === chunk.length);
  assert.ok(server.buffered > 0);
  client.terminate();
  const { error } = await atServer.closed.promise;
  assert.match(error.code, /^(ECONNRESET|EPIPE)$/);
  assert.match(error.syscall, /^(read|write)$/);
  assert.equal(server.write('x'), -1);
  assert.equal(server.buffered, 0);
  assert.deepEqual(atServer.calls.slice(-2), ['error', 'close']);
});

test('a write that fails: error and close are told once, outside of the call', async (t) => {
  const { client, server, atServer, atClient } = await pair(t, { server: { open: (socket) => socket.pause() } });
  client.terminate();
  await atClient.closed.promise;
  // The reset has arrived: the system refuses. A paused socket hears of it through the write alone.
  await until(() => server.write('x') < 0);
  assert.equal(server.write('x'), -1);
  assert.deepEqual(atServer.calls, ['open']);
  const { error } = await atServer.closed.promise;
  assert.match(error.message, /^write (ECONNRESET|EPIPE)$/);
  assert.deepEqual(atServer.calls, ['open', 'error', 'close']);
});

test('what the peer sent before it reset is told before the error of a write', async (t) => {
  const { client, server, atServer } = await pair(t);
  // All in one turn: the reset has come before the data was read.
  client.write('last words');
  client.terminate();
  assert.equal(server.write('too late'), -1);
  const { error } = await atServer.closed.promise;
  assert.equal(error.syscall, 'write');
  assert.equal(atServer.bytes.toString(), 'last words');
  assert.deepEqual(atServer.calls, ['open', 'data', 'error', 'close']);
});

test('without an error handler close alone hears of the error', async (t) => {
  const closed = deferred();
  const listener = await serve(t, { close: (_, error) => closed.resolve(error) });
  const client = await dial(t, listener, {});
  client.terminate();
  assert.equal((await closed.promise).code, 'ECONNRESET');
});

test('write after end and after close returns -1, and sends nothing', async (t) => {
  const { client, atServer, atClient } = await pair(t);
  client.write('before');
  client.end();
  assert.equal(client.write('after'), -1);
  client.end('after');
  await atServer.closed.promise;
  await atClient.closed.promise;
  assert.equal(client.write('after'), -1);
  assert.equal(atServer.bytes.toString(), 'before');
});

test('an aborted signal rejects listen and connect', async (t) => {
  const signal = AbortSignal.abort(new Error('why'));
  const sockets = openSockets();
  for (const call of [connect, listen]) {
    const error = await call({ hostname: HOST, port: 0, socket: {}, signal }).catch((caught) => caught);
    assert.equal(error.name, 'AbortError');
    assert.equal(error.code, 'ABORT_ERR');
    assert.equal(error.cause.message, 'why');
  }
  assert.equal(openSockets(), sockets);
});

test('abort while connecting rejects, and leaves nothing behind', async (t) => {
  const { port } = await serve(t, echo);
  for (const hostname of [HOST, 'localhost']) {
    const controller = new AbortController();
    const sockets = openSockets();
    const told = deferred();
    const promise = connect({
      hostname,
      port,
      signal: controller.signal,
      socket: {
        open: () => assert.fail('aborted'),
        close: () => assert.fail('never open'),
        connectError: (_, error) => told.resolve(error),
      },
    });
    controller.abort();
    await assert.rejects(promise, { name: 'AbortError' });
    assert.equal((await told.promise).name, 'AbortError');
    await until(() => openSockets() === sockets);
  }
});

test('abort later closes the socket, or stops the listener', async (t) => {
  const controller = new AbortController();
  const closed = deferred();
  const listener = await serve(t, {}, { signal: controller.signal });
  const client = await dial(t, listener, { close: (_, error) => closed.resolve(error) }, {
    signal: controller.signal,
  });
  controller.abort();
  assert.equal(client.readyState, 'closed');
  assert.equal(listener.fd, -1);
  assert.equal((await closed.promise).name, 'AbortError');
});

test('nothing listens to a signal once its socket or listener is gone', async (t) => {
  const { signal } = new AbortController();
  const listener = await serve(t, echo, { signal });
  const closed = deferred();
  const client = await dial(t, listener, { close: closed.resolve }, { signal });
  assert.equal(getEventListeners(signal, 'abort').length, 2);
  client.end();
  await closed.promise;
  await listener.stop();
  await connect({ hostname: HOST, port: listener.port, socket: {}, signal }).catch(() => {});
  assert.equal(getEventListeners(signal, 'abort').length, 0);
});
