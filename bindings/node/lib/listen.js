'use strict';

const { promises: { lookup } } = require('node:dns');
const { isIP } = require('node:net');

const binding = require('./binding.js');
const { start } = require('./dispatch.js');
const { abortError, systemError } = require('./errors.js');
const { Listener } = require('./listener.js');
const { listenOptions } = require('./options.js');
const { onAbort } = require('./signal.js');
const { kSignal } = require('./symbols.js');

async function listen(options) {
  const checked = listenOptions(options);
  const { signal, hostname } = checked;
  if (signal?.aborted) throw abortError(signal);
  start();
  const listener = hostname === undefined
    ? listenEverywhere(checked)
    : listenOn(checked, isIP(hostname) ? hostname : (await lookup(hostname)).address);
  if (signal?.aborted) {
    listener.stop();
    throw abortError(signal);
  }
  listener[kSignal] = onAbort(signal, () => listener.stop());
  return listener;
}

/** On all addresses of both families, or of IPv4 where there is no IPv6. */
function listenEverywhere(options) {
  try {
    return listenOn(options, '::');
  } catch (error) {
    if (error.code !== 'EAFNOSUPPORT' && error.code !== 'EADDRNOTAVAIL' && error.code !== 'EINVAL') {
      throw error;
    }
    return listenOn(options, '0.0.0.0');
  }
}

function listenOn(options, address) {
  const { port, backlog, shared } = options;
  const id = binding.listen(
    address, port, backlog, shared.flags, shared.highWaterMark, shared.keepAliveDelay,
  );
  if (id < 0) throw systemError(id, 'listen', { address, port, describe: true });
  return new Listener(id, options);
}

module.exports = { listen };
