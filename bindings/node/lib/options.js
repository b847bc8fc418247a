'use strict';
// What `listen` and `connect` accept, checked once and turned into what the native half takes.

const dns = require('node:dns');
const { isIP } = require('node:net');

const { badPort, invalidAddress, invalidType, invalidValue, outOfRange } = require('./errors.js');

/** Bits of `flags`, as in src/exports.rs. */
const ALLOW_HALF_OPEN = 1;
const NO_DELAY = 2;
const KEEP_ALIVE = 4;
const IPV6_ONLY = 8;
const REUSE_PORT = 16;

const DEFAULT_BACKLOG = 511;
const DEFAULT_HIGH_WATER_MARK = 1024 * 1024;

const BINARY_TYPES = ['buffer', 'uint8array', 'view'];
const CHUNK_BUFFER = 0;
const CHUNK_UINT8ARRAY = 1;

/** A user's handlers; every object of this class has the same shape, whichever handlers are there. */
class Handlers {
  constructor(owner, name) {
    if (owner === null || typeof owner !== 'object') throw invalidType(name, 'an object', owner);
    /** `this` of the calls. */
    this.owner = owner;
    this.open = handler(owner, name, 'open');
    this.data = handler(owner, name, 'data');
    this.drain = handler(owner, name, 'drain');
    this.end = handler(owner, name, 'end');
    this.error = handler(owner, name, 'error');
    this.close = handler(owner, name, 'close');
    this.connectError = handler(owner, name, 'connectError');
  }
}

function handler(owner, name, key) {
  const value = owner[key];
  if (value !== undefined && typeof value !== 'function') {
    throw invalidType(`${name}.${key}`, 'a function', value);
  }
  return value;
}

/** What the sockets of one `listen` or `connect` call have in common. */
class Shared {
  constructor(options) {
    this.handlers = new Handlers(options.socket, 'options.socket');
    const { binaryType = 'buffer' } = options;
    if (!BINARY_TYPES.includes(binaryType)) {
      throw invalidValue('options.binaryType', binaryType, `must be one of: ${BINARY_TYPES.join(', ')}`);
    }
    this.chunkType = BINARY_TYPES.indexOf(binaryType);
    this.allowHalfOpen = boolean(options, 'allowHalfOpen', false);
    this.keepAliveDelay = Math.floor(number(options, 'keepAliveInitialDelay', 0) / 1000);
    this.highWaterMark = number(options, 'highWaterMark', DEFAULT_HIGH_WATER_MARK);
    this.flags =
      (this.allowHalfOpen ? ALLOW_HALF_OPEN : 0) |
      (boolean(options, 'noDelay', true) ? NO_DELAY : 0) |
      (boolean(options, 'keepAlive', false) ? KEEP_ALIVE : 0);
  }

  /** Replaces the handlers of all sockets that share this. */
  reload(handlers) {
    this.handlers = new Handlers(handlers, 'handlers');
  }

  /** The same for one socket alone, with other handlers. */
  withHandlers(handlers) {
    const own = Object.assign(Object.create(Shared.prototype), this);
    own.reload(handlers);
    return own;
  }
}

function listenOptions(options) {
  object(options);
  const shared = new Shared(options);
  if (boolean(options, 'ipv6Only', false)) shared.flags |= IPV6_ONLY;
  if (boolean(options, 'reusePort', false)) shared.flags |= REUSE_PORT;
  return {
    shared,
    hostname: optionalString(options, 'hostname'),
    port: port(options, 'port', 0),
    backlog: number(options, 'backlog', DEFAULT_BACKLOG, 0x7fffffff),
    data: options.data,
    error: handler(options, 'options', 'error'),
    signal: abortSignal(options),
  };
}

function connectOptions(options) {
  object(options);
  if (options.port === undefined) throw badPort('options.port', undefined);
  return {
    shared: new Shared(options),
    hostname: optionalString(options, 'hostname') ?? 'localhost',
    port: port(options, 'port'),
    localAddress: ipAddress(options, 'localAddress'),
    localPort: port(options, 'localPort', 0),
    family: family(options),
    lookup: lookup(options),
    data: options.data,
    signal: abortSignal(options),
  };
}

function object(options) {
  if (options === null || typeof options !== 'object') {
    throw invalidType('options', 'an object', options);
  }
}

function optionalString(options, name) {
  const value = options[name];
  if (value !== undefined && typeof value !== 'string') {
    throw invalidType(`options.${name}`, 'a string', value);
  }
  // What follows a zero byte would be lost on the way to the resolver.
  if (value?.includes('\0')) throw invalidValue(`options.${name}`, value, 'must not contain null bytes');
  return value;
}

function ipAddress(options, name) {
  const value = optionalString(options, name);
  if (value !== undefined && isIP(value) === 0) throw invalidAddress(value);
  return value;
}

function boolean(options, name, fallback) {
  const value = options[name];
  if (value === undefined) return fallback;
  if (typeof value !== 'boolean') throw invalidType(`options.${name}`, 'a boolean', value);
  return value;
}

function number(options, name, fallback, most = Number.MAX_SAFE_INTEGER) {
  const value = options[name];
  if (value === undefined) return fallback;
  if (typeof value !== 'number') throw invalidType(`options.${name}`, 'a number', value);
  if (!Number.isInteger(value) || value < 0 || value > most) {
    throw outOfRange(`options.${name}`, `an integer >= 0 && <= ${most}`, value);
  }
  return value;
}

/** Digits in a string are taken as well: ports often come from the environment. */
function port(options, name, fallback) {
  const value = options[name];
  if (value === undefined && fallback !== undefined) return fallback;
  if (typeof value !== 'number' && typeof value !== 'string') {
    throw invalidType(`options.${name}`, 'a number or a string of digits', value);
  }
  const parsed = typeof value === 'string' && !/^\d+$/.test(value) ? NaN : Number(value);
  if (!Number.isInteger(parsed) || parsed < 0 || parsed > 65535) {
    throw badPort(`options.${name}`, value);
  }
  return parsed;
}

function family(options) {
  const { family: value = 0 } = options;
  if (value !== 0 && value !== 4 && value !== 6) {
    throw invalidValue('options.family', value, 'must be one of: 0, 4, 6');
  }
  return value;
}

function lookup(options) {
  const { lookup: value = dns.lookup } = options;
  if (typeof value !== 'function') throw invalidType('options.lookup', 'a function', value);
  return value;
}

function abortSignal(options) {
  const { signal } = options;
  if (signal !== undefined && (typeof signal !== 'object' || signal === null || !('aborted' in signal))) {
    throw invalidType('options.signal', 'an instance of AbortSignal', signal);
  }
  return signal;
}

module.exports = { CHUNK_BUFFER, CHUNK_UINT8ARRAY, Shared, connectOptions, listenOptions };
