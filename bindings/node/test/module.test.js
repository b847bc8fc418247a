'use strict';
// The package as its users load it, and the programs of examples/node.

const assert = require('node:assert/strict');
const { execFile } = require('node:child_process');
const { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } = require('node:fs');
const http = require('node:http');
const { tmpdir } = require('node:os');
const { join } = require('node:path');
const { test } = require('node:test');

const libruntime = require('libruntime');
const { candidates } = require('../lib/platform.js');

const PACKAGE = join(__dirname, '..');
const EXAMPLES = join(PACKAGE, '..', '..', 'examples', 'node');

/** Runs node with `args`: `{ code, stdout, stderr }`. */
function node(args, options = {}) {
  return new Promise((resolve) => {
    execFile(process.execPath, args, options, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : error.code, stdout, stderr });
    });
  });
}

function scratch(t) {
  const folder = mkdtempSync(join(tmpdir(), 'libruntime-'));
  t.after(() => rmSync(folder, { recursive: true }));
  return folder;
}

test('import and require yield the same instance', async () => {
  const esm = await import('libruntime');
  assert.equal(esm.default, libruntime);
  for (const name of Object.keys(libruntime)) assert.equal(esm[name], libruntime[name], name);
  assert.deepEqual(Object.keys(esm).sort(), [...Object.keys(libruntime), 'default'].sort());
});

test('loaded twice in one thread, both instances work, and with each other', async (t) => {
  const loaded = Object.keys(require.cache).filter((path) => path.startsWith(PACKAGE) && !path.includes('test'));
  for (const path of loaded) delete require.cache[path];
  const second = require('libruntime');
  assert.notEqual(second.Socket, libruntime.Socket);
  const listener = await second.listen({
    hostname: '127.0.0.1',
    socket: { data: (socket, chunk) => socket.end(chunk) },
  });
  t.after(() => listener.stop(true));
  const answer = await new Promise((resolve, reject) => {
    libruntime.connect({
      hostname: '127.0.0.1',
      port: listener.port,
      socket: {
        open: (socket) => socket.write('x'),
        data: (socket, chunk) => resolve(String(chunk)),
        connectError: (socket, error) => reject(error),
      },
    });
  });
  assert.equal(answer, 'x');
});

test('version is that of package.json', () => {
  assert.equal(libruntime.version, require('libruntime/package.json').version);
});

test('nothing else of the package can be imported', () => {
  assert.throws(() => require('libruntime/lib/socket.js'), { code: 'ERR_PACKAGE_PATH_NOT_EXPORTED' });
});

test('loading it opens no descriptor and holds nothing', async () => {
  const program = `
    const { readdirSync } = require('node:fs');
    const before = readdirSync('/proc/self/fd').length;
    require(${JSON.stringify(PACKAGE)});
    const after = readdirSync('/proc/self/fd').length;
    process.stdout.write(String(after - before));`;
  assert.deepEqual(await node(['-e', program]), { code: 0, stdout: '0', stderr: '' });
});

test('a missing native library is named, with what to do', async (t) => {
  const copy = join(scratch(t), 'libruntime');
  mkdirSync(copy);
  for (const name of ['index.js', 'package.json', 'lib']) {
    cpSync(join(PACKAGE, name), join(copy, name), { recursive: true });
  }
  const program = `
    try { require(${JSON.stringify(copy)}); }
    catch ({ code, message }) { process.stdout.write(code + ' ' + message); }`;
  const { stdout } = await node(['-e', program]);
  assert.match(stdout, /^ERR_LIBRUNTIME_UNSUPPORTED .*libruntime\.linux-\w+-gnu\.node .*npm run build/);
});

const onLinux = { skip: process.platform !== 'linux' };
const library = () => readFileSync(
  join(PACKAGE, candidates().find((name) => existsSync(join(PACKAGE, name)))),
);

test('the native library is never unmapped', onLinux, () => {
  // Threads and thread-local destructors may be in its code when the last environment that uses it ends.
  assert.equal(dynamicEntry(library(), DT_FLAGS_1) & DF_1_NODELETE, DF_1_NODELETE);
});

test('the native library does not pass for libruntime.so', onLinux, () => {
  // With its SONAME it would be taken for it by whatever is linked with -lruntime.
  assert.equal(dynamicEntry(library(), DT_SONAME), 0);
});

const PT_DYNAMIC = 2;
const DT_SONAME = 14;
const DT_FLAGS_1 = 0x6ffffffb;
const DF_1_NODELETE = 8;

/** The value of an entry of the dynamic section of a 64-bit little-endian ELF file, or 0. */
function dynamicEntry(elf, tag) {
  const headers = Number(elf.readBigUInt64LE(0x20));
  const [size, count] = [elf.readUInt16LE(0x36), elf.readUInt16LE(0x38)];
  for (let header = headers; header < headers + size * count; header += size) {
    if (elf.readUInt32LE(header) !== PT_DYNAMIC) continue;
    const start = Number(elf.readBigUInt64LE(header + 0x08));
    const end = start + Number(elf.readBigUInt64LE(header + 0x20));
    for (let at = start; at < end; at += 16) {
      if (elf.readBigUInt64LE(at) === BigInt(tag)) return Number(elf.readBigUInt64LE(at + 8));
    }
  }
  return 0;
}

/** Runs a program of examples/node from a copy whose `require('libruntime')` leads here. */
function examples(t) {
  const folder = scratch(t);
  cpSync(EXAMPLES, folder, { recursive: true, filter: (source) => !source.includes('node_modules') });
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(PACKAGE, join(folder, 'node_modules', 'libruntime'));
  return folder;
}

test('hello.js says hello and ends', async (t) => {
  const hello = join(examples(t), 'hello.js');
  assert.deepEqual(await node([hello]), { code: 0, stdout: 'hello over libruntime\n', stderr: '' });
  assert.ok(readFileSync(hello, 'utf8').trim().split('\n').length <= 12, 'twelve lines');
});

/** A tree with an empty file, odd names, depth, and a file that does not fit into one read. */
function plantTree(t) {
  const tree = scratch(t);
  mkdirSync(join(tree, 'deep', 'er'), { recursive: true });
  writeFileSync(join(tree, 'empty'), '');
  writeFileSync(join(tree, 'per cent % and ü?#.txt'), 'odd');
  writeFileSync(join(tree, 'deep', 'er', 'large'), Buffer.alloc(3_000_000, 'large file '));
  for (let i = 0; i < 40; i += 1) writeFileSync(join(tree, 'deep', `${i}`), `file ${i}`.repeat(i * i));
  symlinkSync('empty', join(tree, 'link'));
  return tree;
}

/** Serves a folder with node:http. `answer(path, body, response)` says how. */
async function serveTree(t, tree, answer) {
  const server = http.createServer((request, response) => {
    const path = request.url.split('/').map(decodeURIComponent).join('/');
    answer(path, readFileSync(join(tree, path)), response);
  });
  await new Promise((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  t.after(() => server.close());
  return server.address().port;
}

async function fetchTree(t, tree, port) {
  const out = join(scratch(t), 'report.json');
  const { code, stderr } = await node([
    join(examples(t), 'fetch_tree.js'), '--host', '127.0.0.1', '--port', String(port), '--dir', tree,
    '--connections', '10', '--json', out,
  ]);
  return { code, stderr, report: JSON.parse(readFileSync(out)) };
}

const answers = {
  'with Content-Length': (path, body, response) => response.setHeader('Content-Length', body.length).end(body),
  'in chunks'(path, body, response) {
    for (let at = 0; at < body.length; at += 70_000) response.write(body.subarray(at, at + 70_000));
    response.end();
  },
  'that end with the connection'(path, body, response) {
    response.shouldKeepAlive = false;
    response.useChunkedEncodingByDefault = false;
    response.end(body);
  },
  'and close every third connection'(path, body, response) {
    if (path.length % 3 === 0) response.setHeader('Connection', 'close');
    response.setHeader('Content-Length', body.length).end(body);
  },
};

for (const [how, answer] of Object.entries(answers)) {
  test(`fetch_tree.js compares answers ${how}`, async (t) => {
    const tree = plantTree(t);
    const { code, stderr, report } = await fetchTree(t, tree, await serveTree(t, tree, answer));
    assert.equal(stderr, '');
    assert.equal(code, 0);
    const { language, requests, bytes, mismatches, seconds, p50_ms: p50, p99_ms: p99 } = report;
    assert.deepEqual({ language, requests, mismatches }, { language: 'Node', requests: 43, mismatches: 0 });
    const small = Array.from({ length: 40 }, (_, i) => `file ${i}`.length * i * i);
    assert.equal(bytes, 3_000_003 + small.reduce((a, b) => a + b));
    assert.ok(seconds > 0 && p50 > 0 && p99 >= p50);
  });
}

const faults = {
  'a byte that differs'(path, body, response) {
    if (path.endsWith('large')) body[2_999_999] ^= 1;
    response.end(body);
  },
  'a file that is shorter': (path, body, response) => response.end(path.endsWith('large') ? body.subarray(1) : body),
  'a status that is not 200'(path, body, response) {
    if (path.endsWith('large')) response.statusCode = 404;
    response.end(body);
  },
  'a connection that breaks in mid-file'(path, body, response) {
    response.setHeader('Content-Length', body.length);
    if (!path.endsWith('large')) response.end(body);
    else response.write(body.subarray(0, 100_000), () => response.destroy());
  },
};

for (const [what, answer] of Object.entries(faults)) {
  test(`fetch_tree.js sees ${what}`, async (t) => {
    const tree = plantTree(t);
    const { code, stderr, report } = await fetchTree(t, tree, await serveTree(t, tree, answer));
    assert.equal(code, 1);
    assert.equal(report.mismatches, 1);
    assert.match(stderr, /^\/deep\/er\/large: .+\n$/);
  });
}
