'use strict';
// A TCP connection as JavaScript sees it.

const { types: { isAnyArrayBuffer } } = require('node:util');

const binding = require('./binding.js');
const { invalidType, outOfRange, systemError } = require('./errors.js');
const registry = require('./registry.js');
const { CLOSED, OPENING } = require('./states.js');
const {
  kAttempt, kBytesRead, kBytesWritten, kError, kForget, kId, kListener, kPaused, kReadEnded,
  kRelease, kShared, kSignal, kState, kTerminate, kWriteEnded,
} = require('./symbols.js');

const kAddresses = Symbol('addresses');
const kWhenClosed = Symbol('whenClosed');

class Socket {
  constructor(shared, data) {
    /** The user's own. */
    this.data = data;
    this[kId] = -1;
    this[kState] = OPENING;
    this[kShared] = shared;
    this[kBytesRead] = 0;
    this[kBytesWritten] = 0;
    this[kReadEnded] = false;
    this[kWriteEnded] = false;
    this[kPaused] = false;
    this[kAttempt] = undefined;
    this[kError] = undefined;
    this[kListener] = undefined;
    this[kSignal] = undefined;
    this[kAddresses] = undefined;
    this[kWhenClosed] = undefined;
  }

  get readyState() {
    if (this[kState] === OPENING) return 'opening';
    if (this[kState] === CLOSED) return 'closed';
    if (this[kReadEnded]) return this[kWriteEnded] ? 'closed' : 'writeOnly';
    return this[kWriteEnded] ? 'readOnly' : 'open';
  }

  get bytesRead() {
    return this[kBytesRead];
  }

  get bytesWritten() {
    return this[kBytesWritten];
  }

  get buffered() {
    return binding.buffered(this[kId]);
  }

  get fd() {
    return this[kId] < 0 ? -1 : binding.fd(this[kId]);
  }

  get remoteAddress() {
    return address(this).remote?.[0];
  }

  get remotePort() {
    return address(this).remote?.[1];
  }

  get remoteFamily() {
    return familyName(address(this).remote);
  }

  get localAddress() {
    return address(this).local?.[0];
  }

  get localPort() {
    return address(this).local?.[1];
  }

  get localFamily() {
    return familyName(address(this).local);
  }

  write(data, offset, length) {
    const count = this[kState] === CLOSED ? closed(data) : write(this, data, offset, length);
    if (count > 0) this[kBytesWritten] += count;
    return count;
  }

  cork(callback) {
    if (typeof callback !== 'function') throw invalidType('callback', 'a function', callback);
    if (this[kState] === CLOSED) return callback(this);
    binding.cork(this[kId], 1);
    try {
      return callback(this);
    } finally {
      binding.cork(this[kId], 0);
    }
  }

  flush() {
    binding.flush(this[kId]);
  }

  end(data, offset, length) {
    if (this[kWriteEnded] || this[kState] === CLOSED) return;
    if (data !== undefined) {
      const count = Array.isArray(data)
        ? writeEach(this, data, binding.writeAll)
        : binding.writeAll(this[kId], part(data, offset, length));
      if (count > 0) this[kBytesWritten] += count;
    }
    this[kWriteEnded] = true;
    binding.finish(this[kId]);
  }

  shutdown(readSide = false) {
    if (readSide) binding.shutdownRead(this[kId]);
    else this.end();
  }

  terminate() {
    this[kTerminate](undefined);
  }

  pause() {
    this[kPaused] = true;
    binding.setPaused(this[kId], 1);
    return this;
  }

  resume() {
    this[kPaused] = false;
    binding.setPaused(this[kId], 0);
    return this;
  }

  isPaused() {
    return this[kPaused];
  }

  setNoDelay(enable = true) {
    check(binding.setNoDelay(this[kId], enable ? 1 : 0), 'setsockopt');
    return this;
  }

  setKeepAlive(enable = false, initialDelay = 0) {
    if (typeof initialDelay !== 'number') {
      throw invalidType('initialDelay', 'a number', initialDelay);
    }
    const seconds = enable ? Math.max(0, Math.floor(initialDelay / 1000)) : -1;
    check(binding.setKeepAlive(this[kId], seconds), 'setsockopt');
    return this;
  }

  ref() {
    binding.setRef(this[kId], 1);
    return this;
  }

  unref() {
    binding.setRef(this[kId], 0);
    return this;
  }

  reload(handlers) {
    this[kShared] = this[kShared].withHandlers(handlers);
  }

  async [Symbol.asyncDispose ?? Symbol.for('nodejs.asyncDispose')]() {
    this.end();
    if (this[kId] < 0) return;
    this[kWhenClosed] ??= deferred();
    await this[kWhenClosed].promise;
  }

  /** Closes with RST; `error` is what `close` hears. */
  [kTerminate](error) {
    if (this[kId] < 0 || this[kState] === CLOSED) return;
    this[kState] = CLOSED;
    this[kError] = error;
    binding.terminate(this[kId]);
  }

  /** After the last handler. */
  [kForget]() {
    registry.remove(this);
    this[kSignal]?.detach();
    this[kListener]?.[kRelease]();
    this[kWhenClosed]?.resolve();
  }
}

function write(socket, data, offset, length) {
  if (typeof data === 'string') return binding.writeString(socket[kId], data);
  if (Array.isArray(data)) return writeEach(socket, data, binding.write);
  return binding.write(socket[kId], part(data, offset, length));
}

/** Several chunks in one go. Stops at the first one that is not taken whole. */
function writeEach(socket, chunks, writeOne) {
  const parts = chunks.map(bytesOf);
  return socket.cork(() => {
    let total = 0;
    for (const bytes of parts) {
      const count = writeOne(socket[kId], bytes);
      if (count < 0) return total > 0 ? total : count;
      total += count;
      if (count < bytes.length) break;
    }
    return total;
  });
}

/** The bytes of `data`, or some of them. */
function part(data, offset, length) {
  const bytes = bytesOf(data);
  if ((offset === undefined && length === undefined) || typeof data === 'string') return bytes;
  const start = offset ?? 0;
  if (!Number.isInteger(start) || start < 0 || start > bytes.length) {
    throw outOfRange('offset', `an integer >= 0 && <= ${bytes.length}`, offset);
  }
  const count = length ?? bytes.length - start;
  if (!Number.isInteger(count) || count < 0 || count > bytes.length - start) {
    throw outOfRange('length', `an integer >= 0 && <= ${bytes.length - start}`, length);
  }
  return new Uint8Array(bytes.buffer, bytes.byteOffset + start, count);
}

function bytesOf(data) {
  if (data instanceof Uint8Array) return data;
  if (typeof data === 'string') return Buffer.from(data);
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  if (isAnyArrayBuffer(data)) return new Uint8Array(data);
  throw invalidType('data', 'a string, a TypedArray, a DataView, an ArrayBuffer or an array of those', data);
}

/** -1, or the error for data that could not have been written to an open socket either. */
function closed(data) {
  if (!Array.isArray(data)) bytesOf(data);
  return -1;
}

/** Both ends, asked for once and kept: `close` and later code may still want to know. */
function address(socket) {
  const known = socket[kAddresses];
  if (known !== undefined) return known;
  if (socket[kId] < 0) return {};
  const addresses = {
    remote: binding.address(socket[kId], 1),
    local: binding.address(socket[kId], 0),
  };
  if (socket[kState] !== OPENING) socket[kAddresses] = addresses;
  return addresses;
}

function familyName(known) {
  return known === undefined ? undefined : `IPv${known[2]}`;
}

function check(errno, syscall) {
  if (errno < 0) throw systemError(errno, syscall);
}

function deferred() {
  const result = {};
  result.promise = new Promise((resolve) => {
    result.resolve = resolve;
  });
  return result;
}

module.exports = { Socket };
