'use strict';
// Fetches every regular file of a folder from an HTTP server that serves the same folder, over many
// connections, and compares every byte with the disk.
//
//   node fetch_tree.js --host HOST --port N --dir DIR [--connections 100] [--json OUT]
//
// Exit status 1 when a file differs or could not be fetched.

const { readdirSync, writeFileSync } = require('node:fs');
const { readFile } = require('node:fs/promises');
const { join } = require('node:path');
const { parseArgs } = require('node:util');

const { HttpConnection } = require('./http_client.js');

const { values: options } = parseArgs({
  options: {
    host: { type: 'string', default: '127.0.0.1' },
    port: { type: 'string' },
    dir: { type: 'string' },
    connections: { type: 'string', default: '100' },
    json: { type: 'string' },
  },
});

function* regularFiles(folder, prefix = '') {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) yield* regularFiles(join(folder, entry.name), `${prefix}/${entry.name}`);
    else if (entry.isFile()) yield `${prefix}/${entry.name}`;
  }
}

/** Fetches one file. Returns how many bytes were compared; throws when it differs. */
async function check(connection, path) {
  const expected = await readFile(join(options.dir, path));
  const url = path.split('/').map(encodeURIComponent).join('/');
  let at = 0;
  let differs = false;
  const status = await connection.get(url, (chunk) => {
    differs ||= !chunk.equals(expected.subarray(at, at + chunk.length));
    at += chunk.length;
  });
  if (status !== 200) throw new Error(`status ${status}`);
  if (differs || at !== expected.length) throw new Error(`differs from the disk (${at} bytes)`);
  return at;
}

async function main() {
  const files = [...regularFiles(options.dir)];
  const latencies = [];
  let bytes = 0;
  let mismatches = 0;
  let next = 0;

  async function work() {
    const connection = new HttpConnection(options.host, Number(options.port));
    while (next < files.length) {
      const path = files[next];
      next += 1;
      const began = performance.now();
      try {
        const count = await check(connection, path);
        bytes += count;
      } catch (error) {
        mismatches += 1;
        console.error(`${path}: ${error.message}`);
      }
      latencies.push(performance.now() - began);
    }
    connection.close();
  }

  const began = performance.now();
  await Promise.all(Array.from({ length: Number(options.connections) }, work));
  const seconds = (performance.now() - began) / 1000;

  latencies.sort((a, b) => a - b);
  const percentile = (p) => latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * p))] ?? 0;
  const report = {
    language: 'Node',
    requests: latencies.length,
    bytes,
    seconds,
    p50_ms: percentile(0.5),
    p99_ms: percentile(0.99),
    mismatches,
  };
  const text = `${JSON.stringify(report)}\n`;
  if (options.json === undefined) process.stdout.write(text);
  else writeFileSync(options.json, text);
  process.exitCode = mismatches === 0 ? 0 : 1;
}

main();
