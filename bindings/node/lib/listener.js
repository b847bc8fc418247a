'use strict';
// A listening socket as JavaScript sees it.

const binding = require('./binding.js');
const registry = require('./registry.js');
const { Socket } = require('./socket.js');
const {
  kAcceptError, kAdopt, kId, kListener, kRelease, kShared, kSignal,
} = require('./symbols.js');

const kConnections = Symbol('connections');
const kOptions = Symbol('options');
const kStopped = Symbol('stopped');

class Listener {
  constructor(id, options) {
    this[kShared] = options.shared;
    this[kOptions] = options;
    this[kConnections] = 0;
    this[kStopped] = undefined;
    this[kSignal] = undefined;
    registry.add(id, this);
    [this.hostname, this.port] = binding.address(id, 0);
  }

  /** How many of its connections are open. */
  get connections() {
    return this[kConnections];
  }

  get fd() {
    return this[kId] < 0 ? -1 : binding.fd(this[kId]);
  }

  stop(closeActive = false) {
    if (this[kId] >= 0) {
      binding.closeListener(this[kId]);
      registry.remove(this);
      this[kSignal]?.detach();
    }
    if (closeActive) {
      for (const object of registry.all()) {
        if (object instanceof Socket && object[kListener] === this) object.terminate();
      }
    }
    if (this[kConnections] === 0) return Promise.resolve();
    if (this[kStopped] === undefined) {
      this[kStopped] = {};
      this[kStopped].promise = new Promise((resolve) => {
        this[kStopped].resolve = resolve;
      });
    }
    return this[kStopped].promise;
  }

  reload(handlers) {
    this[kShared].reload(handlers);
  }

  ref() {
    if (this[kId] >= 0) binding.setRef(this[kId], 1);
    return this;
  }

  unref() {
    if (this[kId] >= 0) binding.setRef(this[kId], 0);
    return this;
  }

  async [Symbol.asyncDispose ?? Symbol.for('nodejs.asyncDispose')]() {
    await this.stop();
  }

  /** Makes the object of a connection that was accepted. */
  [kAdopt]() {
    const socket = new Socket(this[kShared], this[kOptions].data);
    socket[kListener] = this;
    this[kConnections] += 1;
    return socket;
  }

  /** One of its connections has closed. */
  [kRelease]() {
    this[kConnections] -= 1;
    if (this[kConnections] === 0) this[kStopped]?.resolve();
  }

  /** It cannot accept for the moment. */
  [kAcceptError](error) {
    this[kOptions].error?.call(undefined, this, error);
  }
}

module.exports = { Listener };
