'use strict';
// The names that napi-rs gives to platforms, in the names of files and packages.

const { arch, platform } = process;

/** What this process could load, the likeliest first. */
function candidates() {
  const names = platform === 'linux' ? [`linux-${arch}-gnu`, `linux-${arch}-musl`] : [`${platform}-${arch}`];
  return names.map((name) => `libruntime.${name}.node`);
}

/** What a build for this process makes. Asks the process for its C library, which takes milliseconds. */
function buildName() {
  const [gnu, musl] = candidates();
  if (musl === undefined) return gnu;
  return process.report.getReport().header.glibcVersionRuntime === undefined ? musl : gnu;
}

module.exports = { buildName, candidates };
