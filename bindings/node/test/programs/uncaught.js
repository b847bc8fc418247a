'use strict';
// A handler throws, or with the argument `reject` rejects, and nobody catches it.

const { connect, listen } = require('libruntime');

function fail() {
  throw new Error('nobody catches this');
}

async function main() {
  const socket = process.argv[2] === 'reject' ? { open: async () => fail() } : { open: fail };
  const { port } = await listen({ hostname: '127.0.0.1', socket });
  await connect({ hostname: '127.0.0.1', port, socket: {} });
}

main();
