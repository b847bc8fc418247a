'use strict';
// `silent_listener.js ADDRESS`: listens, prints its port, and then neither accepts nor ends.

const { writeSync } = require('node:fs');
const net = require('node:net');

const server = net.createServer();
server.listen({ host: process.argv[2], port: 0, backlog: 1 }, () => {
  writeSync(1, `${server.address().port}\n`);
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
});
