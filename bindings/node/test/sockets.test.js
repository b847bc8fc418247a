'use strict';

const assert = require('node:assert/strict');
const { test } = require('node:test');

const { connect, listen } = require('libruntime');

const {
  HOST, closedPort, deferred, dial, echo, netServer, pair, recorder, serve, silentListener, until,
} = require('./helpers.js');

test('what is written comes back from an echo', async (t) => {
  const listener = await serve(t, echo);
  const sent = Buffer.from(Array.from({ length: 3_000_000 }, (_, i) => (i * 7 + (i >> 8)) & 0xff));
  const done = deferred();
  let received = [];
  const client = await dial(t, listener, {
    open(socket) {
      socket.end(sent);
    },
    data(_, chunk) {
      received.push(chunk);
    },
    close: (socket, error) => done.resolve(error),
  });
  assert.equal(await done.promise, undefined);
  received = Buffer.concat(received);
  assert.equal(received.length, sent.length);
  assert.ok(received.equals(sent));
  assert.equal(client.bytesRead, sent.length);
  assert.equal(client.bytesWritten, sent.length);
});

test('handlers are called in order, with the handler object as this', async (t) => {
  const calls = [];
  const closed = deferred();
  const handlers = {
    open() {
      calls.push(['open', this === handlers]);
    },
    data(socket) {
      calls.push(['data', this === handlers]);
      socket.end('bye');
    },
    end() {
      calls.push(['end', this === handlers]);
    },
    close(_, error) {
      calls.push(['close', this === handlers]);
      closed.resolve(error);
    },
  };
  const listener = await serve(t, handlers);
  const client = await dial(t, listener, {});
  client.write('hi');
  await closed.promise;
  assert.deepEqual(calls, [['open', true], ['data', true], ['end', true], ['close', true]]);
});

test('connect resolves after open was called and before its ticks have ended', async (t) => {
  const order = [];
  const listener = await serve(t, {});
  const opened = connect({
    hostname: HOST,
    port: listener.port,
    socket: {
      open(socket) {
        order.push('open');
        process.nextTick(() => order.push('tick'));
        socket.end();
      },
    },
  });
  await opened;
  order.push('await');
  assert.deepEqual(order, ['open', 'tick', 'await']);
});

test('addresses of both ends agree, and stay known in close', async (t) => {
  const addresses = deferred();
  const { client, server, listener } = await pair(t, {
    server: {
      close: (socket) => addresses.resolve([socket.remoteAddress, socket.remotePort, socket.fd]),
    },
  });
  assert.equal(client.remoteAddress, HOST);
  assert.equal(client.remotePort, listener.port);
  assert.equal(client.remoteFamily, 'IPv4');
  assert.equal(client.localAddress, HOST);
  assert.equal(server.remotePort, client.localPort);
  assert.equal(server.localPort, listener.port);
  const { localPort } = client;
  assert.ok(client.fd > 2);
  client.end();
  assert.deepEqual(await addresses.promise, [HOST, localPort, -1]);
  assert.equal(server.remotePort, localPort);
});

test('IPv6 and names work', async (t) => {
  const listener = await serve(t, echo, { hostname: '::1' });
  assert.equal(listener.hostname, '::1');
  const received = deferred();
  const client = await connect({
    hostname: '::1',
    port: listener.port,
    socket: { data: (_, chunk) => received.resolve(String(chunk)) },
  });
  assert.equal(client.remoteFamily, 'IPv6');
  client.write('six');
  assert.equal(await received.promise, 'six');
  client.terminate();

  const everywhere = await listen({ socket: echo });
  t.after(() => everywhere.stop(true));
  const named = await connect({ hostname: 'localhost', port: String(everywhere.port), socket: {} });
  assert.equal(named.readyState, 'open');
  named.terminate();
});

test('a name of which only one address listens is connected to', async (t) => {
  // `localhost` has ::1 as well wherever there is IPv6; there nobody listens.
  const listener = await serve(t, echo);
  const client = await connect({ hostname: 'localhost', port: listener.port, socket: {} });
  assert.equal(client.remoteAddress, HOST);
  client.terminate();
});

test('an address of a name that does not answer is given up for the next one', async (t) => {
  // A process that listens and never accepts: once its backlog is full, the system answers nobody.
  const { port, end } = await silentListener('127.0.0.2');
  t.after(end);
  const listener = await serve(t, echo, { port });
  const asked = [];
  const client = await connect({
    hostname: 'two.addresses',
    port,
    lookup(hostname, options, callback) {
      asked.push([hostname, options]);
      callback(null, [{ address: '127.0.0.2', family: 4 }, { address: HOST, family: 4 }]);
    },
    socket: {},
  });
  assert.equal(client.remoteAddress, HOST);
  assert.deepEqual(asked, [['two.addresses', { family: 0, all: true }]]);
  client.end();
  await listener.stop();
});

test('the families of a name take turns', async () => {
  const error = await connect({
    hostname: 'many.addresses',
    port: await closedPort(),
    lookup: (hostname, options, callback) => callback(null, [
      { address: '127.0.0.1', family: 4 }, { address: '127.0.0.2', family: 4 },
      { address: '127.0.0.3', family: 4 }, { address: '::1', family: 6 },
    ]),
    socket: {},
  }).catch((caught) => caught);
  assert.deepEqual(error.errors.map(({ address }) => address), ['127.0.0.1', '::1', '127.0.0.2', '127.0.0.3']);
});

test('localAddress and localPort are used', async (t) => {
  const listener = await serve(t, {});
  const spare = await serve(t, {});
  const { port } = spare;
  await spare.stop();
  const client = await dial(t, listener, {}, { localAddress: '127.0.0.2', localPort: port });
  assert.equal(client.localAddress, '127.0.0.2');
  assert.equal(client.localPort, port);
});

test('data is the initial value of each socket and then its own', async (t) => {
  const values = [];
  const two = deferred();
  const listener = await serve(t, {
    open(socket) {
      values.push(socket.data);
      socket.data = 'changed';
      if (values.length === 2) two.resolve();
    },
  }, { data: 'initial' });
  const first = await dial(t, listener, {}, { data: { mine: true } });
  await dial(t, listener, {});
  await two.promise;
  assert.deepEqual(values, ['initial', 'initial']);
  assert.deepEqual(first.data, { mine: true });
});

test('all kinds of data can be written', async (t) => {
  const { client, server, atServer } = await pair(t);
  const bytes = new Uint8Array([0x61, 0x62, 0x63, 0x64]);
  assert.equal(client.write('größe €'), Buffer.byteLength('größe €'));
  assert.equal(client.write(''), 0);
  assert.equal(client.write(Buffer.from('-buffer-')), 8);
  assert.equal(client.write(new Uint16Array(bytes.buffer, 2, 1)), 2);
  assert.equal(client.write(new DataView(bytes.buffer, 1, 2)), 2);
  assert.equal(client.write(bytes.buffer), 4);
  assert.equal(client.write(new SharedArrayBuffer(1)), 1);
  assert.equal(client.write(bytes, 1), 3);
  assert.equal(client.write(bytes, 1, 2), 2);
  assert.equal(client.write(['x', bytes, new DataView(bytes.buffer)]), 9);
  client.end(['last', '!']);
  await atServer.closed.promise;
  assert.equal(atServer.bytes.toString(), 'größe €-buffer-cdbcabcd\0bcdbcxabcdabcdlast!');
  assert.equal(server.bytesRead, atServer.bytes.length);
  assert.equal(client.bytesWritten, atServer.bytes.length);
});

test('lone surrogates and long strings survive as UTF-8', async (t) => {
  const { client, atServer } = await pair(t);
  const text = `${'ß'.repeat(70_000)}\ud800 😀`;
  client.write(text);
  client.end();
  await atServer.closed.promise;
  assert.ok(atServer.bytes.equals(Buffer.from(text)));
});

test('writes of one turn arrive in order, corked or not', async (t) => {
  const { client, atServer } = await pair(t);
  client.write('1');
  client.write('2');
  const returned = client.cork((socket) => {
    assert.equal(socket, client);
    socket.write('3');
    socket.write('4'.repeat(20_000));
    return 'result';
  });
  assert.equal(returned, 'result');
  client.write('5');
  client.flush();
  client.write('6'.repeat(40_000));
  client.write('7');
  client.end('8');
  await atServer.closed.promise;
  assert.equal(atServer.bytes.toString(), `123${'4'.repeat(20_000)}5${'6'.repeat(40_000)}78`);
});

test('cork sends what was written although its callback throws', async (t) => {
  const { client, atServer } = await pair(t);
  assert.throws(() => client.cork(() => {
    client.write('kept');
    throw new Error('mine');
  }), /mine/);
  client.end();
  await atServer.closed.promise;
  assert.equal(atServer.bytes.toString(), 'kept');
});

test('a peer that does not read: bytes are taken up to highWaterMark, drain follows', async (t) => {
  const highWaterMark = 100_000;
  const drained = deferred();
  const { client, server, atServer } = await pair(t, {
    client: { drain: drained.resolve },
    clientOptions: { highWaterMark },
    server: { open: (socket) => socket.pause() },
  });
  assert.equal(server.isPaused(), true);
  const chunk = Buffer.alloc(64 * 1024, 'x');
  let taken = 0;
  for (;;) {
    const count = client.write(chunk);
    taken += count;
    if (count < chunk.length) break;
  }
  assert.equal(client.buffered, highWaterMark);
  assert.equal(client.write('more'), 0);
  assert.equal(client.bytesWritten, taken);
  server.resume();
  await drained.promise;
  assert.equal(client.buffered, 0);
  assert.equal(client.write('more'), 4);
  client.end();
  await atServer.closed.promise;
  assert.equal(atServer.bytes.length, taken + 4);
});

test('bytes stay in order while some wait, some leave and more are written', async (t) => {
  const { client, server, atServer } = await pair(t, {
    clientOptions: { highWaterMark: 100_000_000 },
    server: { open: (socket) => socket.pause() },
  });
  let next = 0;
  const numbers = () => Buffer.from(Uint32Array.from({ length: 250_000 }, () => (next += 1)).buffer);
  while (client.buffered < 15_000_000) client.write(numbers());
  // Now the peer takes a little, time and again, and each time there is more to wait.
  for (let round = 0; round < 25; round += 1) {
    const { bytesRead } = server;
    server.resume();
    await until(() => server.bytesRead > bytesRead);
    server.pause();
    const chunk = numbers();
    if (client.write(chunk) < chunk.length) assert.fail('more waits than was meant to');
  }
  client.end();
  server.resume();
  await atServer.closed.promise;
  const { bytes } = atServer;
  assert.equal(bytes.length, next * 4);
  for (let i = 0; i < next; i += 1) {
    if (bytes.readUInt32LE(i * 4) !== i + 1) assert.fail(`wrong from byte ${i * 4} on`);
  }
});

test('end takes its data whole, whatever the highWaterMark', async (t) => {
  const { client, atServer } = await pair(t, { clientOptions: { highWaterMark: 10 } });
  const data = Buffer.alloc(8_000_000, 'y');
  client.end(data);
  assert.ok(client.buffered > 10);
  await atServer.closed.promise;
  assert.ok(atServer.bytes.equals(data));
});

test('pause holds data back, also what is ready already, and resume lets it go', async (t) => {
  const { client, server, atServer } = await pair(t, { server: { data: (socket) => socket.pause() } });
  client.write('first');
  await until(() => server.isPaused());
  client.write('second');
  // A full round trip in the other direction: what was sent before is surely there.
  const { client: other, atServer: atOther } = await pair(t);
  other.end('x');
  await atOther.closed.promise;
  assert.equal(atServer.bytes.toString(), 'first');
  server.resume();
  await until(() => atServer.chunks.length === 2);
  assert.equal(atServer.bytes.toString(), 'firstsecond');
});

test('a handler can pause, end or terminate another socket that is ready in the same turn', async (t) => {
  const sockets = [];
  const calls = [];
  const all = deferred();
  const listener = await serve(t, {
    open(socket) {
      sockets.push(socket);
      if (sockets.length === 3) all.resolve();
    },
    data(socket) {
      calls.push(sockets.indexOf(socket));
      for (const other of sockets) {
        if (other !== socket) other.terminate();
      }
    },
  });
  const clients = [];
  for (let i = 0; i < 3; i += 1) clients.push(await dial(t, listener, {}));
  await all.promise;
  for (const client of clients) client.write('x');
  await until(() => calls.length > 0 && listener.connections === 1);
  assert.equal(calls.length, 1);
});

test('allowHalfOpen: our side goes on after the peer has ended', async (t) => {
  const states = [];
  const { client, server, atClient } = await pair(t, {
    serverOptions: { allowHalfOpen: true },
    server: { end: (socket) => states.push(socket.readyState) },
  });
  assert.equal(client.readyState, 'open');
  client.end('question');
  assert.equal(client.readyState, 'readOnly');
  await until(() => states.length === 1);
  assert.deepEqual(states, ['writeOnly']);
  assert.equal(server.write('answer'), 6);
  server.end();
  const { error } = await atClient.closed.promise;
  assert.equal(error, undefined);
  assert.equal(atClient.bytes.toString(), 'answer');
  assert.equal(client.readyState, 'closed');
});

test('without allowHalfOpen the socket counts as closed after end, while it still sends', async (t) => {
  const states = [];
  const { client, server, atServer, atClient } = await pair(t, {
    client: { open: (socket) => socket.pause() },
    server: {
      end(socket) {
        states.push(socket.readyState);
        socket.write(Buffer.alloc(1_000_000));
      },
    },
    serverOptions: { highWaterMark: 10_000_000 },
  });
  while (server.buffered === 0) server.write(Buffer.alloc(1_000_000));
  client.end();
  await atServer.ended.promise;
  await new Promise(setImmediate);
  assert.deepEqual(states, ['writeOnly']);
  assert.ok(server.buffered > 0);
  assert.equal(server.readyState, 'closed');
  assert.equal(server.write('x'), -1);
  client.resume();
  await atClient.closed.promise;
  assert.equal(atClient.bytes.length, server.bytesWritten);
});

test('without allowHalfOpen what end writes still goes, and then our side ends', async (t) => {
  const { client, atClient } = await pair(t, { server: { end: (socket) => socket.write('last words') } });
  client.end();
  await atClient.closed.promise;
  assert.equal(atClient.bytes.toString(), 'last words');
});

test('shutdown ends one side', async (t) => {
  const { client, server, atServer, atClient } = await pair(t, {
    serverOptions: { allowHalfOpen: true },
    clientOptions: { allowHalfOpen: true },
  });
  client.shutdown();
  await atServer.ended.promise;
  server.write('still');
  await until(() => atClient.chunks.length > 0);
  server.shutdown(true);
  server.end();
  await atServer.closed.promise;
});

test('terminate resets: the peer sees ECONNRESET after the data, close has no error here', async (t) => {
  const { client, atClient, atServer } = await pair(t);
  client.write('x');
  client.terminate();
  client.terminate();
  assert.equal(client.readyState, 'closed');
  assert.equal(client.write('x'), -1);
  assert.deepEqual(await atClient.closed.promise, { socket: client, error: undefined });
  const { error } = await atServer.closed.promise;
  assert.equal(error.code, 'ECONNRESET');
  assert.equal(atServer.error, error);
  assert.deepEqual(atServer.calls, ['open', 'data', 'error', 'close']);
});

test('node:net sees the reset of terminate', async (t) => {
  const reset = deferred();
  const address = await netServer(t, (socket) => socket.on('error', reset.resolve).resume());
  const client = await connect({ hostname: HOST, port: address.port, socket: {} });
  client.terminate();
  assert.equal((await reset.promise).code, 'ECONNRESET');
});

test('close is never called from inside terminate or end', async (t) => {
  let inside = false;
  const closed = deferred();
  const { client } = await pair(t, {
    client: {
      close() {
        assert.equal(inside, false);
        closed.resolve();
      },
    },
  });
  inside = true;
  client.terminate();
  inside = false;
  await closed.promise;
});

test('a closed socket can be used without harm', async (t) => {
  const { client, atClient } = await pair(t);
  client.terminate();
  await atClient.closed.promise;
  assert.equal(client.write('x'), -1);
  assert.equal(client.write(['x']), -1);
  assert.equal(client.cork(() => 'called'), 'called');
  assert.equal(client.buffered, 0);
  assert.equal(client.fd, -1);
  client.end('x');
  client.flush();
  client.shutdown(true);
  client.pause().resume().ref().unref().setNoDelay().setKeepAlive(true);
  client.terminate();
  await client[Symbol.asyncDispose ?? Symbol.for('nodejs.asyncDispose')]();
  assert.deepEqual(atClient.calls, ['open', 'close']);
});

test('options of the socket can be changed', async (t) => {
  const { client, server } = await pair(t, { clientOptions: { noDelay: false, keepAlive: true } });
  assert.equal(client.setNoDelay(), client);
  assert.equal(client.setNoDelay(false), client);
  assert.equal(server.setKeepAlive(true, 5000), server);
  assert.equal(server.setKeepAlive(false), server);
});

test('chunks are buffers of their own by default', async (t) => {
  const { client, atServer } = await pair(t, {
    server: { data: (_, chunk) => kept.push(chunk) },
  });
  const kept = [];
  client.write('one');
  await until(() => kept.length === 1);
  client.write('two');
  await until(() => kept.length === 2);
  assert.ok(kept.every(Buffer.isBuffer));
  assert.deepEqual(kept.map(String), ['one', 'two']);
  assert.equal(atServer.bytes.toString(), 'onetwo');
});

test('chunks of every size are whole, and do not share bytes', async (t) => {
  const kept = [];
  const { client } = await pair(t, { server: { data: (_, chunk) => kept.push(chunk) } });
  const sizes = [1, 7, 1024, 1025, 5000, 32 * 1024, 32 * 1024 + 1, 200_000, 3, 20_000, 20_001, 30_000, 31_000];
  const expected = [];
  for (const [i, size] of sizes.entries()) {
    const bytes = Buffer.alloc(size, i + 1);
    expected.push(bytes);
    const total = expected.reduce((sum, { length }) => sum + length, 0);
    client.write(bytes);
    await until(() => kept.reduce((sum, { length }) => sum + length, 0) === total);
  }
  assert.ok(Buffer.concat(kept).equals(Buffer.concat(expected)));
  for (const chunk of kept) chunk.fill(0);
  assert.ok(Buffer.concat(kept).every((byte) => byte === 0));
});

test("binaryType 'uint8array' yields arrays with an ArrayBuffer of their own", async (t) => {
  const chunks = [];
  const { client } = await pair(t, {
    server: { data: (_, chunk) => chunks.push(chunk) },
    serverOptions: { binaryType: 'uint8array' },
  });
  client.write('abc');
  await until(() => chunks.length === 1);
  assert.equal(Object.getPrototypeOf(chunks[0]), Uint8Array.prototype);
  assert.equal(chunks[0].buffer.byteLength, 3);
});

test("binaryType 'view' yields the same memory again and again", async (t) => {
  const texts = [];
  const memories = new Set();
  const { client } = await pair(t, {
    server: {
      data(_, chunk) {
        texts.push(String(chunk));
        memories.add(chunk.buffer);
      },
    },
    serverOptions: { binaryType: 'view' },
  });
  client.write('one');
  await until(() => texts.length === 1);
  client.write('two');
  await until(() => texts.length === 2);
  assert.deepEqual(texts, ['one', 'two']);
  assert.equal(memories.size, 1);
});

test('a view can be written back as it is', async (t) => {
  const listener = await serve(t, echo, { binaryType: 'view' });
  const { handlers, closed, ...seen } = recorder();
  const client = await dial(t, listener, handlers);
  const sent = Buffer.alloc(2_000_000, 'view');
  client.end(sent);
  await closed.promise;
  assert.ok(Buffer.concat(seen.chunks).equals(sent));
});

test('reload replaces the handlers of one socket, or of all that a listener has', async (t) => {
  const calls = [];
  const { client, server, listener } = await pair(t, { server: { data: () => calls.push('first') } });
  client.write('x');
  await until(() => calls.length === 1);
  listener.reload({ data: () => calls.push('listener') });
  client.write('x');
  await until(() => calls.length === 2);
  server.reload({ data: () => calls.push('socket') });
  client.write('x');
  await until(() => calls.length === 3);
  assert.deepEqual(calls, ['first', 'listener', 'socket']);
});

test('stop ends listening; its promise waits for the connections', async (t) => {
  const { client, listener } = await pair(t);
  assert.equal(listener.connections, 1);
  let stopped = false;
  const stopping = listener.stop().then(() => {
    stopped = true;
  });
  assert.equal(listener.fd, -1);
  await assert.rejects(connect({ hostname: HOST, port: listener.port, socket: {} }), { code: 'ECONNREFUSED' });
  assert.equal(stopped, false);
  client.end();
  await stopping;
  assert.equal(listener.connections, 0);
  await listener.stop();
});

test('stop(true) terminates the connections', async (t) => {
  const { listener, atServer, atClient } = await pair(t);
  await listener.stop(true);
  assert.equal((await atServer.closed.promise).error, undefined);
  assert.equal((await atClient.closed.promise).error.code, 'ECONNRESET');
});

test('asyncDispose ends a socket, and stops a listener', async (t) => {
  const symbol = Symbol.asyncDispose ?? Symbol.for('nodejs.asyncDispose');
  const { client, listener, atServer } = await pair(t);
  client.write('x');
  await client[symbol]();
  await atServer.closed.promise;
  assert.equal(atServer.bytes.toString(), 'x');
  await listener[symbol]();
  assert.equal(listener.fd, -1);
});
