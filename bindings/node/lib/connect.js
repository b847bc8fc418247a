'use strict';

const dns = require('node:dns');
const { isIP } = require('node:net');

const binding = require('./binding.js');
const { start } = require('./dispatch.js');
const { abortError, connectErrors, systemError } = require('./errors.js');
const { connectOptions } = require('./options.js');
const registry = require('./registry.js');
const { onAbort } = require('./signal.js');
const { Socket } = require('./socket.js');
const { CLOSED } = require('./states.js');
const { kAttempt, kId, kShared, kSignal, kState, kTerminate } = require('./symbols.js');

function connect(options) {
  let attempt;
  const promise = new Promise((resolve, reject) => {
    const checked = connectOptions(options);
    if (checked.signal?.aborted) throw abortError(checked.signal);
    start();
    attempt = new Attempt(checked, resolve, reject);
    attempt.begin();
  });
  if (attempt !== undefined) attempt.promise = promise;
  return promise;
}

/** One call of `connect`: tries the addresses of a name, one after the other. */
class Attempt {
  constructor(options, resolve, reject) {
    this.options = options;
    this.resolve = resolve;
    this.reject = reject;
    this.promise = undefined;
    this.socket = new Socket(options.shared, options.data);
    this.socket[kAttempt] = this;
    this.addresses = [];
    this.current = undefined;
    this.errors = [];
    this.signal = onAbort(options.signal, () => this.abort());
  }

  begin() {
    const { hostname, family } = this.options;
    if (isIP(hostname)) {
      this.addresses.push(hostname);
      this.next();
      return;
    }
    dns.lookup(hostname, { family, all: true }, (error, found) => {
      if (this.socket[kState] === CLOSED) return;
      if (error) {
        error.port = this.options.port;
        this.failed(error);
        return;
      }
      this.addresses.push(...found.map(({ address }) => address));
      this.next();
    });
  }

  next() {
    const { port, localAddress, localPort, shared } = this.options;
    this.current = this.addresses.shift();
    if (this.current === undefined) {
      this.failed(connectErrors(this.errors));
      return;
    }
    const local = localAddress ?? (localPort > 0 ? unspecified(this.current) : undefined);
    const id = binding.connect(
      this.socket, this.current, port, local, localPort,
      shared.flags, shared.highWaterMark, shared.keepAliveDelay,
    );
    if (id < 0) {
      // Handlers never run inside the call that they were passed to.
      process.nextTick(() => this.refused(id));
    } else {
      registry.add(id, this.socket);
    }
  }

  /** This address did not answer, or said no. */
  refused(errno) {
    if (this.socket[kState] === CLOSED) return;
    this.errors.push(
      systemError(errno, 'connect', { address: this.current, port: this.options.port }),
    );
    this.next();
  }

  failed(error) {
    const { socket } = this;
    this.signal?.detach();
    socket[kState] = CLOSED;
    const { handlers } = socket[kShared];
    this.reject(error);
    if (handlers.connectError !== undefined) {
      // The handler deals with it: nobody need look at the promise as well.
      this.promise.catch(() => {});
      handlers.connectError.call(handlers.owner, socket, error);
    }
  }

  succeeded() {
    const { socket } = this;
    socket[kAttempt] = undefined;
    this.signal?.detach();
    const { signal } = this.options;
    socket[kSignal] = onAbort(signal, () => socket[kTerminate](abortError(signal)));
    this.resolve(socket);
  }

  abort() {
    const { socket } = this;
    if (socket[kId] >= 0) {
      binding.terminate(socket[kId]);
      registry.remove(socket);
    }
    this.failed(abortError(this.options.signal));
  }
}

/** The wildcard address of the family of `address`. */
function unspecified(address) {
  return isIP(address) === 6 ? '::' : '0.0.0.0';
}

module.exports = { connect };
