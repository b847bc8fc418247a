'use strict';
// What runs between two events, and in which context.

const assert = require('node:assert/strict');
const { AsyncLocalStorage, createHook, executionAsyncId } = require('node:async_hooks');
const { test } = require('node:test');

const { connect } = require('libruntime');

const { HOST, deferred, dial, pair, run, serve, until } = require('./helpers.js');

test('ticks and promises of one handler run before the next handler', async (t) => {
  const order = [];
  const sockets = new Set();
  const all = deferred();
  const done = deferred();
  const listener = await serve(t, {
    open(socket) {
      sockets.add(socket);
      if (sockets.size === 5) all.resolve();
    },
    data(socket, chunk) {
      const name = String(chunk);
      order.push(`${name} data`);
      process.nextTick(() => order.push(`${name} tick`));
      Promise.resolve().then(async () => {
        order.push(`${name} promise`);
        await null;
        order.push(`${name} await`);
      });
      if (order.length >= 17) setImmediate(done.resolve);
    },
  });
  const clients = [];
  for (let i = 0; i < 5; i += 1) clients.push(await dial(t, listener, {}));
  await all.promise;
  // Sent in one go, so that all are ready in one turn.
  clients.forEach((client, i) => client.write(String(i)));
  await done.promise;
  assert.equal(order.length, 20);
  for (let i = 0; i < order.length; i += 4) {
    const [name] = order[i];
    assert.deepEqual(
      order.slice(i, i + 4),
      [`${name} data`, `${name} tick`, `${name} promise`, `${name} await`],
    );
  }
});

test('AsyncLocalStorage: the handlers of connect see the store of the call', async (t) => {
  const storage = new AsyncLocalStorage();
  const seen = [];
  const closed = deferred();
  const note = (name) => seen.push([name, storage.getStore()]);
  const listener = await serve(t, {
    data(socket, chunk) {
      socket.end(chunk);
    },
  });
  const client = await storage.run('client', () => connect({
    hostname: HOST,
    port: listener.port,
    socket: {
      open(socket) {
        note('open');
        socket.write('x');
      },
      data: () => note('data'),
      end: () => note('end'),
      close() {
        note('close');
        closed.resolve();
      },
    },
  }));
  assert.equal(storage.getStore(), undefined);
  await closed.promise;
  assert.equal(client.readyState, 'closed');
  assert.deepEqual(seen, ['open', 'data', 'end', 'close'].map((name) => [name, 'client']));
});

test('AsyncLocalStorage: connectError sees the store of the call, also after a look-up', async () => {
  const storage = new AsyncLocalStorage();
  for (const hostname of [HOST, 'localhost', 'name.invalid']) {
    const store = deferred();
    storage.run(hostname, () => {
      connect({
        hostname,
        port: 1,
        socket: { connectError: () => store.resolve(storage.getStore()) },
      });
    });
    assert.equal(await store.promise, hostname);
  }
});

test('AsyncLocalStorage: accepted sockets do not see the store of listen', async (t) => {
  const storage = new AsyncLocalStorage();
  const seen = [];
  const listener = await storage.run('listen', () => serve(t, {
    open: () => seen.push(storage.getStore()),
    data: () => seen.push(storage.getStore()),
  }));
  const client = await storage.run('connect', () => dial(t, listener, {}));
  client.write('x');
  await until(() => seen.length === 2);
  assert.deepEqual(seen, [undefined, undefined]);
});

test('async_hooks see each socket as a resource from init to destroy', async (t) => {
  const events = [];
  const ids = new Set();
  const hook = createHook({
    init(id, type) {
      if (type !== 'LIBRUNTIMESOCKET') return;
      ids.add(id);
      events.push('init');
    },
    before: (id) => ids.has(id) && events.push('before'),
    after: (id) => ids.has(id) && events.push('after'),
    destroy: (id) => ids.has(id) && events.push('destroy'),
  }).enable();
  t.after(() => hook.disable());
  const inside = [];
  const { client, atClient } = await pair(t, { server: { open: () => inside.push(executionAsyncId()) } });
  assert.ok(ids.has(inside[0]));
  assert.equal(ids.size, 2);
  client.end();
  await atClient.closed.promise;
  await until(() => events.filter((event) => event === 'destroy').length === 2);
  assert.equal(events.filter((event) => event === 'before').length, events.filter((event) => event === 'after').length);
});

test('a handler that throws: uncaughtException gets it, the others get their events', async () => {
  const { code, stdout, stderr } = await run('throwing_handler.js');
  assert.equal(stderr, '');
  assert.equal(code, 0);
  const { thrown, data, ticks, closed } = JSON.parse(stdout);
  assert.deepEqual(thrown.sort(), ['close', 'data 1', 'data 3', 'end', 'open 4', 'promise', 'tick']);
  assert.deepEqual(data.sort(), ['0', '1', '2', '3', '4']);
  assert.equal(ticks, 1);
  assert.equal(closed, 5);
});

test('a handler that throws ends the process when nobody listens for it', async () => {
  const { code, stderr } = await run('uncaught.js');
  assert.equal(code, 1);
  assert.match(stderr, /Error: nobody catches this/);
});

test('a handler that rejects shows as an unhandled rejection', async () => {
  const { code, stderr } = await run('uncaught.js', ['reject']);
  assert.equal(code, 1);
  assert.match(stderr, /Error: nobody catches this/);
});
