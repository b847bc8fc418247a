'use strict';

/** Calls `abort` when the signal is aborted, until `detach` is called on what this returns. */
function onAbort(signal, abort) {
  if (signal === undefined) return undefined;
  signal.addEventListener('abort', abort, { once: true });
  return {
    detach() {
      signal.removeEventListener('abort', abort);
    },
  };
}

module.exports = { onAbort };
