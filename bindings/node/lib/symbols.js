'use strict';
// Keys of what sockets and listeners keep for the other files of this folder.

module.exports = {
  // Both
  kId: Symbol('id'),
  kShared: Symbol('shared'),
  kSignal: Symbol('signal'),
  // Sockets
  kAttempt: Symbol('attempt'),
  kBytesRead: Symbol('bytesRead'),
  kBytesWritten: Symbol('bytesWritten'),
  kError: Symbol('error'),
  kForget: Symbol('forget'),
  kListener: Symbol('listener'),
  kPaused: Symbol('paused'),
  kReadEnded: Symbol('readEnded'),
  kState: Symbol('state'),
  kTerminate: Symbol('terminate'),
  kWriteEnded: Symbol('writeEnded'),
  // Listeners
  kAcceptError: Symbol('acceptError'),
  kAdopt: Symbol('adopt'),
  kRelease: Symbol('release'),
};
