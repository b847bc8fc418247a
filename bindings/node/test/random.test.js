'use strict';
// Random calls at random moments on many sockets, from inside handlers too: what arrives is what was
// sent, and every socket gets its events in order, the last one exactly once.

const assert = require('node:assert/strict');
const { test } = require('node:test');

const { connect } = require('libruntime');
const binding = require('../lib/binding.js');

const { HOST, serve, until } = require('./helpers.js');

/** xorshift32: the same numbers for the same seed. */
function generator(seed) {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

/** Byte `at` of what each end of connection `name` sends. */
const byteAt = (name, at) => (name * 31 + at * 7 + (at >>> 8)) & 0xff;

function bytes(name, from, length) {
  const buffer = Buffer.allocUnsafe(length);
  for (let i = 0; i < length; i += 1) buffer[i] = byteAt(name, from + i);
  return buffer;
}

/** One end of a connection, and what it has seen. */
class End {
  constructor(world, peer) {
    this.world = world;
    this.peer = peer;
    this.socket = undefined;
    this.name = world.random(256);
    this.received = 0;
    this.sent = 0;
    this.log = [];
    this.cutShort = false;
  }

  note(event) {
    assert.notEqual(this.log.at(-1), 'close', `${event} after close`);
    this.log.push(event);
  }

  open(socket) {
    this.socket = socket;
    this.note('open');
    this.act();
  }

  data(chunk) {
    this.note('data');
    assert.notEqual(this.log.at(-2), 'end', 'data after end');
    const { name } = this.peer;
    for (let i = 0; i < chunk.length; i += 1) {
      if (chunk[i] !== byteAt(name, this.received + i)) assert.fail(`wrong byte ${this.received + i}`);
    }
    this.received += chunk.length;
    this.act();
  }

  /** Does something, or nothing, to this end or to any other. */
  act() {
    const { random, ends } = this.world;
    this.world.actions += 1;
    const end = random(4) === 0 ? ends[random(ends.length)] : this;
    const { socket } = end;
    if (socket === undefined) return;
    const length = [0, 1, 10, 1000, 5000, 40_000, 300_000][random(7)];
    switch (random(16)) {
      case 0:
        if (random(15) > 0) break;
        end.cutShort = true;
        end.peer.cutShort = true;
        socket.terminate();
        break;
      case 1:
        if (random(6) > 0) break;
        // It has no effect on a socket that has ended, or that is broken and does not know yet.
        socket.end(bytes(end.name, end.sent, length));
        end.sent = socket.bytesWritten;
        break;
      case 2:
        socket.pause();
        setImmediate(() => socket.resume());
        break;
      case 3:
        socket.cork(() => {
          for (let i = 0; i < 3; i += 1) end.write(100);
        });
        break;
      case 4:
        process.nextTick(() => end.write(length));
        break;
      case 5:
        Promise.resolve().then(() => end.write(length));
        break;
      case 6:
        setTimeout(() => end.write(length), 1);
        break;
      case 7:
        socket.flush();
        break;
      case 8:
        socket.unref().ref();
        break;
      default:
        end.write(length);
    }
  }

  write(length) {
    const count = this.socket.write(bytes(this.name, this.sent, length));
    if (count > 0) this.sent += count;
  }

  handlers() {
    return {
      drain: () => this.note('drain'),
      end: () => this.note('end'),
      error: (socket, error) => {
        this.note('error');
        this.cutShort = true;
        this.peer.cutShort = true;
        assert.match(error.code, /^(ECONNRESET|EPIPE)$/);
      },
      close: () => this.note('close'),
      data: (socket, chunk) => this.data(chunk),
    };
  }
}

for (const seed of [1, 20, 300, 4000, 50_000]) {
  test(`random calls, seed ${seed}`, async (t) => {
    const world = { random: generator(seed), ends: [], actions: 0 };
    const halves = new Map();
    /** Either side may hear of a connection first. */
    function meet(port, half) {
      const { end, socket } = { ...halves.get(port), ...half };
      halves.set(port, { end, socket });
      if (end === undefined || socket === undefined) return;
      halves.delete(port);
      socket.reload(end.handlers());
      end.open(socket);
    }

    const handles = binding.handles();
    const listener = await serve(t, {
      open: (socket) => meet(socket.remotePort, { socket }),
    }, { highWaterMark: 100_000, allowHalfOpen: seed % 2 === 0 });

    for (let i = 0; i < 60; i += 1) {
      const client = new End(world);
      const server = new End(world, client);
      client.peer = server;
      world.ends.push(client, server);
      await connect({
        hostname: HOST,
        port: listener.port,
        highWaterMark: 50_000,
        binaryType: ['buffer', 'view', 'uint8array'][i % 3],
        socket: {
          ...client.handlers(),
          open(socket) {
            meet(socket.localPort, { end: server });
            client.open(socket);
          },
        },
      });
    }
    await until(() => world.ends.every((end) => end.socket !== undefined || end.cutShort));
    // Keeps things going until enough has happened, then lets all come to their end.
    while (world.actions < 4000) {
      world.ends[world.random(world.ends.length)].act();
      await new Promise(setImmediate);
    }
    const live = world.ends.filter((end) => end.socket !== undefined);
    const ending = setInterval(() => {
      for (const { socket } of live) socket.resume().end();
    }, 5);
    t.after(() => clearInterval(ending));
    await until(() => live.every((end) => end.log.at(-1) === 'close'));

    for (const end of live) {
      assert.equal(end.log[0], 'open');
      assert.equal(end.log.filter((event) => event === 'close').length, 1);
      assert.ok(end.received <= end.peer.sent);
      if (!end.cutShort) assert.equal(end.received, end.peer.sent, 'nothing is lost');
      assert.equal(end.socket.bytesRead, end.received);
      assert.equal(end.socket.bytesWritten, end.sent);
    }
    assert.ok(live.some((end) => !end.cutShort && end.received > 100_000), 'something was sent');
    await until(() => listener.connections === 0);
    assert.equal(binding.handles(), handles + 1);
  });
}
