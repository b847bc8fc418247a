'use strict';
// Copies what was read out of the slab, into buffers that a handler may keep.
//
// A memory block of its own costs more than the copy for all but the largest chunks: the allocator, V8's
// account of it, the collector. So chunks are cut from larger blocks, as `Buffer.from` cuts small
// ones from `Buffer.poolSize`. The price: a chunk that is kept keeps its block. Small chunks use
// Node's pool, whose blocks are small as well.

/** What `Buffer` makes its instances of: the constructor takes (ArrayBuffer, offset, length). */
const FastBuffer = Buffer[Symbol.species];

/** Up to this size Node's own pool serves. */
const SMALL = 1024;
/** From this size on a chunk has a block of its own: the copy is what it costs then. */
const LARGE = 32 * 1024;
const BLOCK = 128 * 1024;

let block;
let used = BLOCK;

function allocate(length) {
  if (length <= SMALL) return Buffer.allocUnsafe(length);
  if (length > LARGE) return Buffer.allocUnsafeSlow(length);
  if (used + length > BLOCK) {
    block = Buffer.allocUnsafeSlow(BLOCK).buffer;
    used = 0;
  }
  const chunk = new FastBuffer(block, used, length);
  // Eight bytes apart, so that any typed array can be laid over a chunk.
  used += (length + 7) & ~7;
  return chunk;
}

/** A `Buffer` with the bytes of `memory` from `offset` on. */
function copyOut(memory, offset, length) {
  const chunk = allocate(length);
  // A view from the constructor costs less than one from `subarray`, and `set` less than `copy`.
  chunk.set(new Uint8Array(memory, offset, length));
  return chunk;
}

module.exports = { copyOut };
