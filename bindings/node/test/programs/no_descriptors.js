'use strict';
// `no_descriptors.js COUNT`: serves COUNT connections with too few descriptors to have them all at once.
// Each is ended when its message is answered, so that others can take its place. Prints a JSON line for
// its port, for each error of the listener, and at the end.

const { listen } = require('libruntime');

const count = Number(process.argv[2]);
/** How often the event loop has turned; 0 where Node does not tell. */
const turns = () => performance.nodeTiming.uvMetricsInfo?.loopCount ?? 0;
const print = (object) => console.log(JSON.stringify(object));

async function main() {
  let served = 0;
  const listener = await listen({
    hostname: '127.0.0.1',
    socket: {
      data(socket, chunk) {
        socket.end(chunk);
      },
      close() {
        served += 1;
        if (served < count) return;
        print({ served });
        listener.stop();
      },
    },
    error(which, { code, errno, syscall, message }) {
      const before = turns();
      // Nobody speaks before we say so: until then all that could turn the event loop is the listener.
      setTimeout(() => {
        print({
          error: { code, errno, syscall, message },
          same: which === listener,
          turns: turns() - before,
        });
      }, 200);
    },
  });
  print({ port: listener.port });
}

main();
