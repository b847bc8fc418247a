'use strict';
// `churn.js COUNT`: opens and closes COUNT connections, a third of them with a reset from either side,
// and prints what is left of them.

const { createHook } = require('node:async_hooks');
const { readdirSync, readlinkSync } = require('node:fs');
const { setFlagsFromString } = require('node:v8');
const { runInNewContext } = require('node:vm');

const { connect, listen } = require('libruntime');
const binding = require('../../lib/binding.js');

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc');

const count = Number(process.argv[2]);
const AT_ONCE = 50;

const resources = new Set();

function openSockets() {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith('socket:');
    } catch {
      return false;
    }
  }).length;
}

async function settled() {
  for (let i = 0; i < 5; i += 1) {
    collect();
    await new Promise(setImmediate);
  }
  const { rss, heapUsed } = process.memoryUsage();
  return { rss, heapUsed };
}

async function main() {
  const before = openSockets();
  const listener = await listen({
    hostname: '127.0.0.1',
    socket: {
      data(socket, chunk) {
        socket.write(chunk);
        if (String(chunk) === 'reset me') socket.terminate();
      },
    },
  });
  let made = 0;

  function one(i) {
    return new Promise((resolve) => {
      connect({
        hostname: '127.0.0.1',
        port: listener.port,
        socket: {
          open: (socket) => socket.write(i % 3 === 0 ? 'reset me' : 'hello'),
          data(socket) {
            if (i % 3 === 1) socket.terminate();
            else socket.end();
          },
          close: () => resolve(),
        },
      });
    });
  }

  async function many(total) {
    const last = made + total;
    await Promise.all(Array.from({ length: AT_ONCE }, async () => {
      while (made < last) {
        made += 1;
        await one(made);
      }
    }));
  }

  // The first thousands fill free lists, code caches and the allocator's pools.
  await many(Math.floor(count / 2));
  const first = await settled();
  await many(Math.ceil(count / 2));
  const last = await settled();

  const hook = createHook({
    init: (id, type) => type === 'LIBRUNTIMESOCKET' && resources.add(id),
    destroy: (id) => resources.delete(id),
  }).enable();
  await many(100);
  await listener.stop();
  await settled();
  hook.disable();

  console.log(JSON.stringify({
    sockets: openSockets() - before,
    handles: binding.handles(),
    resources: resources.size,
    rssGrowth: last.rss - first.rss,
    heapGrowth: last.heapUsed - first.heapUsed,
  }));
}

main();
