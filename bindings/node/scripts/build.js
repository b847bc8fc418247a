'use strict';
// Builds the native half with cargo and puts it where lib/binding.js looks for it.
// `npm run build` is an optimised build; `npm run build -- --debug` is not.

const { spawnSync } = require('node:child_process');
const { copyFileSync, renameSync } = require('node:fs');
const { join } = require('node:path');

const { buildName } = require('../lib/platform.js');

const folder = join(__dirname, '..');
const debug = process.argv.includes('--debug');

const cargo = ['build', '--package', 'libruntime-node', '--message-format', 'json-render-diagnostics'];
if (!debug) cargo.push('--release');
const built = spawnSync('cargo', cargo, {
  cwd: folder,
  encoding: 'utf8',
  maxBuffer: Infinity,
  stdio: ['ignore', 'pipe', 'inherit'],
});
if (built.error?.code === 'ENOENT') {
  console.error('cargo was not found: install Rust from https://rustup.rs');
  process.exit(1);
}
if (built.status !== 0) process.exit(built.status ?? 1);

const library = built.stdout
  .split('\n')
  .filter((line) => line.startsWith('{'))
  .map((line) => JSON.parse(line))
  .filter((message) => message.reason === 'compiler-artifact' && message.target.name === 'libruntime_node')
  .flatMap((message) => message.filenames)
  .find((name) => /\.(so|dylib|dll)$/.test(name));

// By renaming: a process that has the old file mapped must not see it change.
const target = join(folder, buildName());
copyFileSync(library, `${target}.new`);
renameSync(`${target}.new`, target);
