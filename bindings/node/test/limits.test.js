'use strict';
// Nothing leaks, and running out of descriptors loses nobody.

const assert = require('node:assert/strict');
const net = require('node:net');
const { test } = require('node:test');

const { HOST, run } = require('./helpers.js');

test('no descriptors left: the listener tells it, rests, and loses no connection', async (t) => {
  const count = 60;
  const sockets = [];
  t.after(() => sockets.forEach((socket) => socket.destroy()));
  let answers = 0;
  const errors = [];
  let served;
  // Node takes some thirty descriptors for itself.
  const { code, stderr } = await run('no_descriptors.js', [count], {
    shell: 'ulimit -n 48',
    onLine(line) {
      const said = JSON.parse(line);
      if (said.port !== undefined) {
        for (let i = 0; i < count; i += 1) {
          sockets.push(net.connect(said.port, HOST).on('data', () => {
            answers += 1;
          }));
        }
      } else if (said.error !== undefined) {
        assert.equal(said.same, true);
        if (errors.length === 0) assert.ok(said.turns < 50, `it spins: ${said.turns} turns`);
        errors.push(said.error);
        // Those that were accepted speak only now: before, they would have been served and gone.
        if (errors.length === 1) sockets.forEach((socket) => socket.end('x'));
      } else {
        ({ served } = said);
      }
    },
  });
  assert.equal(stderr, '');
  assert.equal(code, 0);
  assert.equal(served, count);
  assert.equal(answers, count);
  assert.ok(errors.length >= 1, 'the limit was reached');
  for (const error of errors) {
    assert.deepEqual(error, { code: 'EMFILE', errno: -24, syscall: 'accept', message: 'accept EMFILE' });
  }
});

test('connect without a descriptor left rejects with EMFILE', async () => {
  const { code, stdout, stderr } = await run('no_descriptors_to_connect.js', [], { shell: 'ulimit -n 40' });
  assert.equal(stderr, '');
  assert.equal(code, 0);
  assert.deepEqual(JSON.parse(stdout), { code: 'EMFILE', errno: -24, syscall: 'connect', connectError: true });
});

test('10,000 connections opened and closed leave no descriptor, no handle and no growth', async () => {
  const { code, stdout, stderr } = await run('churn.js', [10_000]);
  assert.equal(stderr, '');
  assert.equal(code, 0);
  const { sockets, handles, resources, rssGrowth, heapGrowth } = JSON.parse(stdout);
  assert.deepEqual({ sockets, handles }, { sockets: 0, handles: 0 });
  assert.equal(resources, 0, 'async resources are destroyed');
  assert.ok(heapGrowth < 1_000_000, `the heap grew by ${heapGrowth} bytes`);
  assert.ok(rssGrowth < 8_000_000, `the process grew by ${rssGrowth} bytes`);
});
