'use strict';

const net = require('node:net');
const { constants: { errno: { ETIMEDOUT } } } = require('node:os');

const binding = require('./binding.js');
const { start } = require('./dispatch.js');
const { abortError, connectErrors, invalidAddress, systemError } = require('./errors.js');
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

/** Milliseconds that an address of a name is given while there are others to try: Node's own number. */
const attemptTimeout = () => net.getDefaultAutoSelectFamilyAttemptTimeout?.() ?? 250;

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
    this.timer = undefined;
    this.errors = [];
    this.signal = onAbort(options.signal, () => this.abort());
  }

  begin() {
    const { hostname, family, lookup } = this.options;
    if (net.isIP(hostname)) {
      this.addresses.push(hostname);
      this.next();
      return;
    }
    // Handlers never run inside the call that they were passed to, whatever a user's `lookup` does.
    const found = (error, address, itsFamily) => process.nextTick(() => {
      if (this.socket[kState] !== CLOSED) this.found(error, address, itsFamily);
    });
    try {
      lookup(hostname, { family, all: true }, found);
    } catch (error) {
      found(error);
    }
  }

  found(error, addresses, itsFamily) {
    if (error) {
      error.port = this.options.port;
      this.failed(error);
      return;
    }
    const all = Array.isArray(addresses) ? addresses : [{ address: addresses, family: itsFamily }];
    if (all.length === 0 || !all.every(({ address }) => net.isIP(address))) {
      this.failed(invalidAddress(all.map(({ address }) => address).join(', ')));
      return;
    }
    this.addresses.push(...alternating(all));
    this.next();
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
      process.nextTick(() => this.refused(id));
      return;
    }
    registry.add(id, this.socket);
    if (this.addresses.length > 0) {
      this.timer = setTimeout(() => this.giveUp(), attemptTimeout());
    }
  }

  /** This address keeps us waiting, and there are others. */
  giveUp() {
    binding.terminate(this.socket[kId]);
    registry.remove(this.socket);
    this.refused(-ETIMEDOUT);
  }

  /** This address did not answer, or said no. */
  refused(errno) {
    if (this.socket[kState] === CLOSED) return;
    clearTimeout(this.timer);
    this.errors.push(
      systemError(errno, 'connect', { address: this.current, port: this.options.port }),
    );
    this.next();
  }

  failed(error) {
    const { socket } = this;
    clearTimeout(this.timer);
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
    clearTimeout(this.timer);
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

/** Addresses with the families taking turns, beginning with the first one's. */
function alternating(found) {
  const first = found.filter(({ family }) => family === found[0].family);
  const second = found.filter(({ family }) => family !== found[0].family);
  const result = [];
  for (let i = 0; i < Math.max(first.length, second.length); i += 1) {
    if (i < first.length) result.push(first[i].address);
    if (i < second.length) result.push(second[i].address);
  }
  return result;
}

/** The wildcard address of the family of `address`. */
function unspecified(address) {
  return net.isIP(address) === 6 ? '::' : '0.0.0.0';
}

module.exports = { connect };
