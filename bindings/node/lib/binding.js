'use strict';
// Loads the native half. What it exports is declared in binding.d.ts.

const { join } = require('node:path');

const { fileName, platformName } = require('./platform.js');

function load() {
  if (process.versions.bun || process.versions.deno) {
    throw unsupported(
      'libruntime drives its sockets through the event loop of Node.js, which this runtime has not',
    );
  }
  const file = fileName();
  try {
    return require(join(__dirname, '..', file));
  } catch (cause) {
    if (cause.code !== 'MODULE_NOT_FOUND') throw cause;
    throw unsupported(
      `libruntime has no native library for ${platformName()}: ${file} is missing beside ` +
        'package.json ("npm run build" makes it)',
      cause,
    );
  }
}

function unsupported(message, cause) {
  return Object.assign(new Error(message, { cause }), { code: 'ERR_LIBRUNTIME_UNSUPPORTED' });
}

module.exports = load();
