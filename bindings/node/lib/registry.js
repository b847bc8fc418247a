'use strict';
// The objects of this environment by the ids that the native half knows them by.
//
// It holds sockets and listeners strongly while they are open: a user need not.

const { kId } = require('./symbols.js');

/** An id's low bits are its index here; the rest tells it from the index's earlier owners
 *  (src/io/table.rs). */
const INDEX_MASK = (1 << 20) - 1;

const objects = [];

function add(id, object) {
  object[kId] = id;
  objects[id & INDEX_MASK] = object;
}

/** The socket or listener of an id, `undefined` when it is gone. */
function find(id) {
  const object = objects[id & INDEX_MASK];
  return object !== undefined && object[kId] === id ? object : undefined;
}

function remove(object) {
  objects[object[kId] & INDEX_MASK] = undefined;
  object[kId] = -1;
}

/** All sockets and listeners that are open now. */
function all() {
  return objects.filter((object) => object !== undefined);
}

module.exports = { add, all, find, remove };
