'use strict';
// How long a process or a worker lives, and how it ends. Each case runs in a process of its own.

const assert = require('node:assert/strict');
const { test } = require('node:test');

const { run } = require('./helpers.js');

/** Runs one case of a program; it has to end with `code` and say nothing on stderr. */
function ends(program, name, { code = 0, stdout } = {}) {
  return async () => {
    const result = await run(program, [name]);
    assert.equal(result.stderr, '');
    assert.deepEqual({ code: result.code, signal: result.signal }, { code, signal: null });
    if (stdout !== undefined) assert.equal(result.stdout, stdout);
  };
}

test('the process ends: nothing was made', ends('process_end.js', 'nothing'));
test('the process ends: all was closed', ends('process_end.js', 'closed', { stdout: 'closed\n' }));
test('the process ends: everything is unref\'d', ends('process_end.js', 'unref'));
test('the process ends: connect failed', ends('process_end.js', 'refused', { stdout: 'ECONNREFUSED\n' }));
test('the process ends: connect was aborted', ends('process_end.js', 'aborted', { stdout: 'ABORT_ERR\n' }));
test('an open listener, a socket, or one that was ref\'d again holds the process',
  ends('process_end.js', 'held', { stdout: 'listener\nsocket\nagain\n' }));
test('the last close is told although nothing else is left',
  ends('process_end.js', 'terminated', { stdout: 'close\nclose\n' }));
test('process.exit in a handler ends at once, with its code', ends('process_end.js', 'exit', { code: 7, stdout: 'exit 7\n' }));
test('process.exit with sockets open and data waiting', ends('process_end.js', 'exitUnderLoad', { code: 3 }));
test('beforeExit may open sockets again', ends('process_end.js', 'beforeExit', { stdout: 'again\n' }));

test('sockets work in a worker, in several, and in the main thread beside them',
  ends('workers.js', 'several', { stdout: 'ok\n' }));
test('a worker ends by itself when its sockets are closed', ends('workers.js', 'endsByItself', { stdout: '0\n' }));
test('terminate under load, again and again', ends('workers.js', 'terminateUnderLoad', { stdout: 'ok\n' }));
test('terminate while connections are being made', ends('workers.js', 'terminateWhileConnecting', { stdout: 'ok\n' }));
test('terminate during a handler that does not return', ends('workers.js', 'terminateBusyHandler', { stdout: '1\n' }));
test('process.exit in a handler of a worker ends the worker alone', ends('workers.js', 'exitInHandler', { stdout: '5 ok\n' }));
test('process.exit in the main thread while workers are under load', ends('workers.js', 'mainExits', { code: 4 }));
test('an exception in a handler of a worker is its error event', ends('workers.js', 'uncaught', { stdout: 'mine ok\n' }));
test('first loaded in a worker that is gone, the module still works', ends('workers.js', 'firstInWorker', { stdout: 'ok\n' }));
test('a worker that ends closes its sockets: their peers are told', ends('workers.js', 'peersAreTold', { stdout: 'ok\n' }));
test('no descriptor is left of workers that are gone', ends('workers.js', 'nothingLeft', { stdout: '0\n' }));
