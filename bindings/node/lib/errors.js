'use strict';
// Errors of the shape that Node gives its own: `code`, `errno`, `syscall`, `address`, `port`.

const { getSystemErrorMap } = require('node:util');

/** By number, as in `enum Syscall` of src/event.rs. */
const SYSCALLS = ['read', 'write', 'connect', 'accept', 'epoll_ctl'];

const known = getSystemErrorMap();

/**
 * @param {number} errno negative, as in libuv
 * @param {string} syscall
 * @param {{ address?: string, port?: number, describe?: boolean }} [where] `describe` adds the
 *   system's words, which Node does for `listen` only
 */
function systemError(errno, syscall, where = {}) {
  const [code, text] = known.get(errno) ?? [`UNKNOWN_${-errno}`, 'unknown error'];
  let message = `${syscall} ${code}`;
  if (where.describe) message += `: ${text}`;
  if (where.address !== undefined) {
    message += ` ${where.address}`;
    if (where.port > 0) message += `:${where.port}`;
  }
  const error = new Error(message);
  error.errno = errno;
  error.code = code;
  error.syscall = syscall;
  if (where.address !== undefined) error.address = where.address;
  if (where.port > 0) error.port = where.port;
  return error;
}

/** The error for several attempts, of which all failed: the code is the first one's. */
function connectErrors(errors) {
  if (errors.length === 1) return errors[0];
  const error = new AggregateError(errors);
  error.code = errors[0].code;
  return error;
}

function abortError(signal) {
  const error = new Error('The operation was aborted', { cause: signal.reason });
  error.name = 'AbortError';
  error.code = 'ABORT_ERR';
  return error;
}

function invalidType(name, expected, value) {
  const kind = name.includes('.') ? 'property' : 'argument';
  const error = new TypeError(
    `The "${name}" ${kind} must be ${expected}. Received ${received(value)}`,
  );
  error.code = 'ERR_INVALID_ARG_TYPE';
  return error;
}

function invalidValue(name, value, reason) {
  const error = new TypeError(`The property '${name}' ${reason}. Received ${received(value)}`);
  error.code = 'ERR_INVALID_ARG_VALUE';
  return error;
}

function outOfRange(name, range, value) {
  const error = new RangeError(
    `The value of "${name}" is out of range. It must be ${range}. Received ${String(value)}`,
  );
  error.code = 'ERR_OUT_OF_RANGE';
  return error;
}

function badPort(name, value) {
  const error = new RangeError(
    `${name} should be an integer >= 0 and < 65536. Received ${received(value)}.`,
  );
  error.code = 'ERR_SOCKET_BAD_PORT';
  return error;
}

function invalidAddress(value) {
  const error = new TypeError(`Invalid IP address: ${value}`);
  error.code = 'ERR_INVALID_IP_ADDRESS';
  return error;
}

function received(value) {
  if (value === null || value === undefined) return String(value);
  if (typeof value === 'function') return `function ${value.name}`;
  if (typeof value === 'object') {
    return value.constructor?.name ? `an instance of ${value.constructor.name}` : 'an object';
  }
  return `type ${typeof value} (${typeof value === 'string' ? `'${value}'` : String(value)})`;
}

module.exports = {
  SYSCALLS,
  abortError,
  badPort,
  connectErrors,
  invalidAddress,
  invalidType,
  invalidValue,
  outOfRange,
  systemError,
};
