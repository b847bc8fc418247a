'use strict';
// The programs of docs/node.md do what they say.

const assert = require('node:assert/strict');
const { execFileSync } = require('node:child_process');
const { readFileSync } = require('node:fs');
const { join } = require('node:path');
const { test } = require('node:test');

const page = readFileSync(join(__dirname, '..', '..', '..', 'docs', 'node.md'), 'utf8');
const programs = [...page.matchAll(/^```js\n([^]*?)^```$/gm)].map(([, program]) => program);

test('there are programs in docs/node.md', () => {
  assert.ok(programs.length >= 3);
});

for (const [i, program] of programs.entries()) {
  const said = /^\/\/ prints: (.*)$/m.exec(program)?.[1];
  test(`program ${i + 1} of docs/node.md prints ${said}`, () => {
    const out = execFileSync(process.execPath, ['-e', program], { cwd: __dirname, encoding: 'utf8' });
    assert.equal(out, `${said}\n`);
  });
}
