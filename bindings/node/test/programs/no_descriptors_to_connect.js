'use strict';
// Connects with no descriptor left.

const { openSync, closeSync } = require('node:fs');

const { connect, listen } = require('libruntime');

async function main() {
  const listener = await listen({ hostname: '127.0.0.1', socket: {} });
  // What Node loads lazily has to be there before the descriptors are gone.
  await connect({ hostname: '127.0.0.1', port: 1, socket: {} }).catch(() => {});
  const files = [];
  try {
    for (;;) files.push(openSync('/dev/null'));
  } catch (error) {
    if (error.code !== 'EMFILE') throw error;
  }
  let connectError = false;
  const { code, errno, syscall } = await connect({
    hostname: '127.0.0.1',
    port: listener.port,
    socket: {
      connectError() {
        connectError = true;
      },
    },
  }).catch((error) => error);
  files.forEach((file) => closeSync(file));
  console.log(JSON.stringify({ code, errno, syscall, connectError }));
  listener.stop();
}

main();
