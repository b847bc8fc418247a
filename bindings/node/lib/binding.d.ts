/** What the native half exports. Ids are small non-negative integers; errors are negative errnos. */

type Id = number;
type Errno = number;

/** Ties an event loop to this thread's. `dispatch(at)` is called for each event with its place in the
 *  ring, `adopt(id, listener)` makes the object of an accepted connection. */
export function start(
  dispatch: (at: number) => void,
  adopt: (id: Id, listener: Id) => object,
): [slab: ArrayBuffer, ring: ArrayBuffer] | Errno;

export function listen(
  host: string, port: number, backlog: number, flags: number,
  highWaterMark: number, keepAliveDelay: number,
): Id | Errno;

/** `socket` becomes the resource of the connection's async context. `Open` or `ConnectError` follows. */
export function connect(
  socket: object, host: string, port: number, localHost: string | undefined, localPort: number,
  flags: number, highWaterMark: number, keepAliveDelay: number,
): Id | Errno;

/** Bytes taken; -1: nothing can be written (any more). */
export function write(id: Id, bytes: Uint8Array): number;
export function writeString(id: Id, text: string): number;
/** As `write`, whatever the high-water mark. */
export function writeAll(id: Id, bytes: Uint8Array): number;

export function flush(id: Id): void;
export function cork(id: Id, on: number): void;
/** Refuses further writes and sends FIN after what is queued. */
export function finish(id: Id): void;
export function shutdownRead(id: Id): void;
/** Closes with RST; `Close` follows. */
export function terminate(id: Id): void;
export function closeListener(id: Id): void;
export function setPaused(id: Id, on: number): void;
export function setRef(id: Id, on: number): void;
export function setNoDelay(id: Id, on: number): Errno;
/** Seconds; negative turns it off, 0 leaves the delay to the system. */
export function setKeepAlive(id: Id, seconds: number): Errno;
export function address(id: Id, remote: number): [host: string, port: number, family: 4 | 6] | undefined;
export function fd(id: Id): number;
export function buffered(id: Id): number;
/** How many connections and listeners this environment has. */
export function handles(): number;
export function version(): string;
