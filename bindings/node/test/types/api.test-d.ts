// Checked by the compiler, never run: each line either compiles, or must not.
import dns = require('node:dns');

import libruntime = require('libruntime');
import type { Chunk, ConnectOptions, ListenOptions, Listener, Socket, SocketHandler, SystemError } from 'libruntime';

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function same<A, B>(_: Equal<A, B>): void {}

async function dataTypes() {
  const plain = await libruntime.listen({
    socket: {
      data(socket, chunk) {
        same<typeof socket, Socket<undefined>>(true);
        same<typeof chunk, Buffer>(true);
      },
    },
  });
  same<typeof plain, Listener<undefined>>(true);

  interface Session { user: string }
  const typed = await libruntime.listen<Session | null>({
    data: null,
    socket: {
      open(socket) {
        same<typeof socket.data, Session | null>(true);
        socket.data = { user: 'ada' };
        // @ts-expect-error: not a Session
        socket.data = 3;
      },
    },
  });
  same<typeof typed, Listener<Session | null>>(true);

  // @ts-expect-error: the type of `data` does not allow it to be left out
  await libruntime.listen<Session>({ socket: {} });

  const client = await libruntime.connect({ port: 80, data: { count: 0 }, socket: {
    close(socket, error) {
      same<typeof socket.data.count, number>(true);
      same<typeof error, Error | undefined>(true);
    },
  } });
  same<typeof client.data, { count: number }>(true);
}

async function chunkTypes() {
  same<Chunk, Buffer>(true);
  same<Chunk<'view'>, Buffer>(true);
  same<Chunk<'uint8array'>, Uint8Array>(true);
  await libruntime.connect({ port: 1, binaryType: 'uint8array', socket: {
    data(_, chunk) {
      same<typeof chunk, Uint8Array>(true);
    },
  } });
  // @ts-expect-error: no such kind
  await libruntime.connect({ port: 1, binaryType: 'blob', socket: {} });
}

async function options(signal: AbortSignal) {
  const listening: ListenOptions = {
    hostname: '::1', port: '0', backlog: 5, ipv6Only: true, reusePort: true, allowHalfOpen: true,
    noDelay: false, keepAlive: true, keepAliveInitialDelay: 1000, highWaterMark: 1, signal,
    error(listener, error) {
      same<typeof error, SystemError>(true);
      same<typeof listener, Listener<undefined>>(true);
    },
    socket: {},
  };
  const connecting: ConnectOptions = {
    hostname: 'localhost', port: 80, localAddress: '127.0.0.1', localPort: 0, family: 6, signal,
    lookup: dns.lookup, socket: {},
  };
  await libruntime.listen(listening);
  await libruntime.connect(connecting);
  // @ts-expect-error: where to?
  await libruntime.connect({ socket: {} });
  // @ts-expect-error: handlers are needed
  await libruntime.listen({ port: 1 });
  // @ts-expect-error: no such handler signature
  await libruntime.listen({ socket: { data: 'text' } });
}

function sockets(socket: Socket<number>, handler: SocketHandler<number>) {
  same<ReturnType<typeof socket.write>, number>(true);
  socket.write('text');
  socket.write(Buffer.alloc(1), 0, 1);
  socket.write(new DataView(new ArrayBuffer(1)));
  socket.write(new SharedArrayBuffer(1));
  socket.write(['head', new Uint8Array(3)]);
  // @ts-expect-error: not data
  socket.write(3);
  // @ts-expect-error: not data
  socket.write({});
  same<typeof socket.remoteAddress, string | undefined>(true);
  same<typeof socket.remoteFamily, 'IPv4' | 'IPv6' | undefined>(true);
  same<typeof socket.readyState, 'opening' | 'open' | 'readOnly' | 'writeOnly' | 'closed'>(true);
  const corked = socket.cork((same) => same.write('a') > 0);
  same<typeof corked, boolean>(true);
  socket.pause().resume().ref().unref().setNoDelay().setKeepAlive(true, 1000);
  socket.end('bye');
  socket.shutdown(true);
  socket.terminate();
  socket.reload(handler);
  // @ts-expect-error: counted by the package
  socket.bytesRead = 0;
  // @ts-expect-error: made by listen and connect only
  new libruntime.Socket();
}

async function listeners(listener: Listener) {
  same<typeof listener.port, number>(true);
  same<ReturnType<typeof listener.stop>, Promise<void>>(true);
  await listener.stop(true);
  listener.ref().unref();
  await using stopped = listener;
  void stopped;
}

same<typeof libruntime.version, string>(true);
void [dataTypes, chunkTypes, options, sockets, listeners];
