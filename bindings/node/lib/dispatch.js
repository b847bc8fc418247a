'use strict';
// From an event in the shared ring to a user's handler.
//
// Native code calls `dispatch` once for each event, in the async context of the socket, and runs ticks
// and microtasks when it returns. An exception goes to 'uncaughtException' without touching the
// events of other sockets, so nothing is caught here.

const binding = require('./binding.js');
const { copyOut } = require('./chunk.js');
const { SYSCALLS, systemError } = require('./errors.js');
const { CHUNK_BUFFER, CHUNK_UINT8ARRAY } = require('./options.js');
const registry = require('./registry.js');
const { CLOSED, OPEN } = require('./states.js');
const {
  kAcceptError, kAdopt, kAttempt, kBytesRead, kError, kForget, kReadEnded, kShared, kState,
  kWriteEnded,
} = require('./symbols.js');

// Kinds of event, as in src/event.rs.
const EVENT_OPEN = 0;
const EVENT_DATA = 1;
const EVENT_DRAIN = 2;
const EVENT_END = 3;
const EVENT_ERROR = 4;
const EVENT_CLOSE = 5;
const EVENT_CONNECT_ERROR = 6;
const EVENT_ACCEPT_ERROR = 7;

/** The memory that native code reads into, and the events that it writes; there after `start`. */
let slab;
let slabBuffer;
let ring;

/** Ties the sockets to this thread's event loop, the first time that one is wanted. */
function start() {
  if (ring !== undefined) return;
  const started = binding.start(dispatch, adopt);
  if (typeof started === 'number') throw systemError(started, 'start');
  slab = started[0];
  slabBuffer = Buffer.from(slab);
  ring = new Int32Array(started[1]);
}

/** Makes the object of an accepted connection. */
function adopt(id, listenerId) {
  const socket = registry.find(listenerId)[kAdopt]();
  registry.add(id, socket);
  return socket;
}

function dispatch(at) {
  const object = registry.find(ring[at + 1]);
  if (object === undefined) return;
  switch (ring[at]) {
    case EVENT_DATA:
      onData(object, ring[at + 2], ring[at + 3]);
      break;
    case EVENT_OPEN:
      onOpen(object);
      break;
    case EVENT_DRAIN:
      call(object, object[kShared].handlers.drain);
      break;
    case EVENT_END:
      onEnd(object);
      break;
    case EVENT_ERROR:
      onError(object, ring[at + 2], ring[at + 3]);
      break;
    case EVENT_CLOSE:
      onClose(object);
      break;
    case EVENT_CONNECT_ERROR:
      registry.remove(object);
      object[kAttempt].refused(-ring[at + 2]);
      break;
    case EVENT_ACCEPT_ERROR:
      object[kAcceptError](systemError(-ring[at + 2], SYSCALLS[ring[at + 3]]));
      break;
  }
}

function call(socket, handler) {
  if (handler !== undefined) handler.call(socket[kShared].handlers.owner, socket);
}

function onData(socket, offset, length) {
  socket[kBytesRead] += length;
  const { handlers, chunkType } = socket[kShared];
  if (handlers.data === undefined) return;
  let chunk;
  if (chunkType === CHUNK_BUFFER) {
    chunk = copyOut(slab, offset, length);
  } else if (chunkType === CHUNK_UINT8ARRAY) {
    chunk = new Uint8Array(slab.slice(offset, offset + length));
  } else {
    chunk = slabBuffer.subarray(offset, offset + length);
  }
  handlers.data.call(handlers.owner, socket, chunk);
}

function onOpen(socket) {
  socket[kState] = OPEN;
  socket[kAttempt]?.succeeded();
  call(socket, socket[kShared].handlers.open);
}

function onEnd(socket) {
  socket[kReadEnded] = true;
  const { handlers, allowHalfOpen } = socket[kShared];
  try {
    call(socket, handlers.end);
  } finally {
    // The native half ends the other side now; what the handler wrote still goes.
    if (!allowHalfOpen) socket[kWriteEnded] = true;
  }
}

function onError(socket, errno, syscall) {
  const error = systemError(-errno, SYSCALLS[syscall]);
  socket[kState] = CLOSED;
  socket[kError] = error;
  const { handlers } = socket[kShared];
  handlers.error?.call(handlers.owner, socket, error);
}

function onClose(socket) {
  socket[kState] = CLOSED;
  const { handlers } = socket[kShared];
  try {
    handlers.close?.call(handlers.owner, socket, socket[kError]);
  } finally {
    socket[kForget]();
  }
}

module.exports = { start };
