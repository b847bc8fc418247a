'use strict';

/** The name of this platform as napi-rs spells it in the names of files and packages. */
function platformName() {
  const { platform, arch } = process;
  if (platform !== 'linux') return `${platform}-${arch}`;
  const { glibcVersionRuntime } = process.report.getReport().header;
  return `linux-${arch}-${glibcVersionRuntime === undefined ? 'musl' : 'gnu'}`;
}

/** The native library of this platform, in the folder of package.json. */
function fileName() {
  return `libruntime.${platformName()}.node`;
}

module.exports = { fileName, platformName };
