/// <reference types="node" />

/** What can be written: strings go out as UTF-8. */
export type Writable = string | NodeJS.ArrayBufferView | ArrayBufferLike;

/** How `data` receives its chunks.
 *
 *  - `'buffer'` (default): a `Buffer` of its own; keep it for as long as you like.
 *  - `'uint8array'`: the same as a plain `Uint8Array` with an `ArrayBuffer` of its own.
 *  - `'view'`: a `Buffer` over the memory that was read into. Nothing is copied, but the bytes are
 *    only valid until the handler returns (or first awaits): what is kept must be copied. */
export type BinaryType = 'buffer' | 'uint8array' | 'view';

/** The type of a chunk for a `BinaryType`. */
export type Chunk<B extends BinaryType = 'buffer'> = B extends 'uint8array' ? Uint8Array : Buffer;

/** An error of the operating system, of the shape that Node gives its own. */
export interface SystemError extends Error {
  /** Such as `'ECONNREFUSED'`. */
  code: string;
  /** The negative error number. */
  errno: number;
  /** The call that failed: `'connect'`, `'listen'`, `'accept'`, `'read'`, `'write'`. */
  syscall: string;
  address?: string;
  port?: number;
}

/** Functions that are called when something happens to a socket, each one optional. `this` is the object
 *  itself. One object serves all sockets of a listener.
 *
 *  Each call is an event of its own: `process.nextTick` callbacks and promise reactions that it
 *  causes run before the next handler, and an exception goes to `'uncaughtException'`. Handlers are
 *  never called from inside a call into the package.
 *
 *  @typeParam D the type of `socket.data`
 *  @typeParam B how chunks arrive */
export interface SocketHandler<D = undefined, B extends BinaryType = 'buffer'> {
  /** The connection is established. */
  open?(socket: Socket<D>): void;
  /** Bytes have arrived. */
  data?(socket: Socket<D>, chunk: Chunk<B>): void;
  /** All bytes that had to wait were sent: there is room for more. */
  drain?(socket: Socket<D>): void;
  /** The peer has ended its side. Unless `allowHalfOpen` is set, ours ends after this call. */
  end?(socket: Socket<D>): void;
  /** The connection is broken; `close` follows. */
  error?(socket: Socket<D>, error: SystemError): void;
  /** The last call for a socket that was open: with the error, if one ended it. */
  close?(socket: Socket<D>, error?: Error): void;
  /** `connect` failed: the only call for such a socket. With this handler the promise of `connect` may be
   *  ignored: its rejection counts as handled. */
  connectError?(socket: Socket<D>, error: Error): void;
}

interface SocketOptions<D, B extends BinaryType> {
  /** The handlers. */
  socket: SocketHandler<D, B>;
  /** See `BinaryType`; `'buffer'` by default. */
  binaryType?: B;
  /** Whether our side stays open when the peer has ended its own; false by default. */
  allowHalfOpen?: boolean;
  /** Whether small writes leave at once (TCP_NODELAY); true by default. */
  noDelay?: boolean;
  /** Whether idle connections are probed (SO_KEEPALIVE); false by default. */
  keepAlive?: boolean;
  /** Milliseconds of silence before the first probe, in whole seconds; 0 leaves it to the system. */
  keepAliveInitialDelay?: number;
  /** The most bytes that may wait in memory when the kernel takes no more; 1 MiB by default. */
  highWaterMark?: number;
  /** Aborting it rejects the call, or later closes what came of it. */
  signal?: AbortSignal;
}

/** Without a `data` type there is nothing to pass; with one the property is needed. */
type InitialData<D> = undefined extends D ? { data?: D } : { data: D };

export type ListenOptions<D = undefined, B extends BinaryType = 'buffer'> = SocketOptions<D, B> &
  /** The first value of `socket.data` of every connection. */
  InitialData<D> & {
    /** An address or a name; by default all addresses of this machine, IPv6 and IPv4. */
    hostname?: string;
    /** 0 (default) has the system choose one: see `Listener.port`. */
    port?: number | string;
    /** How many connections may wait to be accepted; 511 by default. */
    backlog?: number;
    /** Whether an IPv6 listener refuses IPv4; false by default. */
    ipv6Only?: boolean;
    /** Whether others may listen on the same port and share its connections (SO_REUSEPORT). */
    reusePort?: boolean;
    /** The listener cannot accept for the moment, for want of descriptors (`EMFILE`) or memory. It
     *  goes on by itself, and nobody who waits is lost. Called once until it has succeeded again. */
    error?(listener: Listener<D>, error: SystemError): void;
  };

export type ConnectOptions<D = undefined, B extends BinaryType = 'buffer'> = SocketOptions<D, B> &
  InitialData<D> & {
    /** An address or a name; `'localhost'` by default. The addresses of a name are tried in turn, the
     *  families alternating; while there are others, each one is given as long as `node:net` gives it
     *  (`net.getDefaultAutoSelectFamilyAttemptTimeout`). */
    hostname?: string;
    port: number | string;
    /** The address and port to connect from. */
    localAddress?: string;
    localPort?: number;
    /** Which addresses of a name to use; 0 (default): both families. */
    family?: 0 | 4 | 6;
    /** Finds the addresses of a name; `dns.lookup` by default. Called with `{ family, all: true }`. */
    lookup?(
      hostname: string,
      options: { family: 0 | 4 | 6; all: true },
      callback: (error: Error | null, addresses: { address: string; family: number }[]) => void,
    ): void;
  };

/** Listens for TCP connections. The process stays alive while it does, unless `unref` is called.
 *
 *  Rejects with a `SystemError` (`EADDRINUSE`, `EACCES`, `EADDRNOTAVAIL`, `ENOTFOUND`, ...), with a
 *  `TypeError` or `RangeError` that has a `code` for wrong options, or with an `AbortError`. */
export function listen<D = undefined, B extends BinaryType = 'buffer'>(
  options: ListenOptions<D, B>,
): Promise<Listener<D>>;

/** Connects over TCP. Resolves when the connection is open, before its `open` handler has been left.
 *
 *  Rejects as `listen` does (`ECONNREFUSED`, `ETIMEDOUT`, `ENOTFOUND`, ...); when several addresses of a
 *  name failed, with an `AggregateError` that has the first one's `code`. */
export function connect<D = undefined, B extends BinaryType = 'buffer'>(
  options: ConnectOptions<D, B>,
): Promise<Socket<D>>;

/** A TCP connection. All of it is for the thread that made it. A socket that has closed stays usable:
 *  `write` returns -1, what cannot be known any more is `undefined`, and the rest does nothing. */
export class Socket<D = undefined> {
  private constructor();

  /** Yours to use. */
  data: D;

  readonly readyState: 'opening' | 'open' | 'readOnly' | 'writeOnly' | 'closed';
  readonly bytesRead: number;
  /** Bytes that `write` and `end` have taken, whether sent yet or not. */
  readonly bytesWritten: number;
  /** Bytes taken that wait in memory. */
  readonly buffered: number;
  /** -1 once closed. The socket remains its owner. */
  readonly fd: number;

  readonly remoteAddress: string | undefined;
  readonly remotePort: number | undefined;
  readonly remoteFamily: 'IPv4' | 'IPv6' | undefined;
  readonly localAddress: string | undefined;
  readonly localPort: number | undefined;
  readonly localFamily: 'IPv4' | 'IPv6' | undefined;

  /** Sends, and keeps what the kernel does not take, up to `highWaterMark`. The first write of a turn
   *  goes out at once; the others of that turn leave together when it ends.
   *
   *  @param offset the first byte of `data` to send (not for strings)
   *  @param length how many bytes to send (not for strings)
   *  @returns how many bytes were taken: fewer than given when `highWaterMark` is reached (the rest is
   *    the caller's; wait for `drain`), -1 when the writable side is closed. Of a string, the bytes of
   *    its UTF-8 form.
   *  @throws TypeError (`ERR_INVALID_ARG_TYPE`) for anything else than data */
  write(data: Writable, offset?: number, length?: number): number;
  /** Several chunks as one. */
  write(chunks: readonly Writable[]): number;

  /** Calls back; all that is written meanwhile leaves together at its end. Returns what it returned. */
  cork<R>(callback: (socket: this) => R): R;
  /** Sends what waits for the end of the turn now. */
  flush(): void;

  /** Ends our side after what was written: `data` is taken whole, whatever its size. The peer may go on
   *  sending; the socket closes when both sides have ended. */
  end(data?: Writable | readonly Writable[], offset?: number, length?: number): void;
  /** As `end()`; with `true` ends the reading side instead and discards what the peer still sends. */
  shutdown(readSide?: boolean): void;
  /** Closes at once with a reset (RST); what waits to be sent is dropped. `close` follows. */
  terminate(): void;

  /** No `data` until `resume`; the peer is slowed down by TCP itself. */
  pause(): this;
  resume(): this;
  isPaused(): boolean;

  setNoDelay(enable?: boolean): this;
  /** @param initialDelay milliseconds of silence before the first probe; 0 leaves it to the system */
  setKeepAlive(enable?: boolean, initialDelay?: number): this;

  /** The open socket keeps the process alive (as it does at first). */
  ref(): this;
  /** The process may end although the socket is open. */
  unref(): this;

  /** Replaces the handlers of this socket. */
  reload(handlers: SocketHandler<D, BinaryType>): void;

  /** Ends our side and waits until the socket has closed. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** A listening TCP socket. All of it is for the thread that made it. */
export class Listener<D = undefined> {
  private constructor();

  /** The address that it listens on. */
  readonly hostname: string;
  readonly port: number;
  /** How many of its connections are open. */
  readonly connections: number;
  /** -1 once stopped. */
  readonly fd: number;

  /** Stops listening at once. Resolves when all its connections have closed.
   *
   *  @param closeActive whether to terminate them */
  stop(closeActive?: boolean): Promise<void>;

  /** Replaces the handlers of all its connections, those that are open included. */
  reload(handlers: SocketHandler<D, BinaryType>): void;

  ref(): this;
  unref(): this;

  /** As `stop()`. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** The version of the package. */
export const version: string;
