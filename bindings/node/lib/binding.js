'use strict';
// Loads the native half. What it exports is declared in binding.d.ts.

const { existsSync } = require('node:fs');
const { join } = require('node:path');

const { candidates } = require('./platform.js');

function load() {
  if (process.versions.bun || process.versions.deno) {
    throw unsupported(
      'libruntime drives its sockets through the event loop of Node.js, which this runtime has not',
    );
  }
  const names = candidates();
  const file = names.map((name) => join(__dirname, '..', name)).find((path) => existsSync(path));
  if (file === undefined) {
    throw unsupported(
      `libruntime has no native library for this platform: ${names.join(' or ')} is missing ` +
        'beside package.json ("npm run build" makes it)',
    );
  }
  return require(file);
}

function unsupported(message) {
  return Object.assign(new Error(message), { code: 'ERR_LIBRUNTIME_UNSUPPORTED' });
}

module.exports = load();
