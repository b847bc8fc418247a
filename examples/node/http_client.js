'use strict';
// A small HTTP/1.1 client on handlers: one connection, kept alive, one GET at a time.

const { connect } = require('libruntime');

const END_OF_HEAD = Buffer.from('\r\n\r\n');
const MAX_HEAD = 64 * 1024;

class HttpConnection {
  #host;
  #port;
  #socket;
  #exchange;

  constructor(host, port) {
    this.#host = host;
    this.#port = port;
  }

  /**
   * Fetches `path`, connecting first if need be. `onBody(chunk)` gets the bytes of the body.
   * Resolves to the status; rejects when the answer breaks off or is no HTTP.
   */
  async get(path, onBody) {
    const reused = this.#socket !== undefined;
    try {
      return await this.#get(path, onBody);
    } catch (error) {
      // A server may close an idle connection at any time: that is no answer, so ask again.
      if (!reused || !error.beforeAnswer) throw error;
      return this.#get(path, onBody);
    }
  }

  close() {
    this.#socket?.end();
    this.#socket = undefined;
  }

  async #get(path, onBody) {
    this.#socket ??= await this.#connect();
    return new Promise((resolve, reject) => {
      this.#exchange = new Exchange(onBody, resolve, reject);
      const request = `GET ${path} HTTP/1.1\r\nHost: ${this.#host}:${this.#port}\r\n\r\n`;
      if (this.#socket.write(request) !== request.length) this.#fail(new Error('not connected'));
    });
  }

  #connect() {
    return connect({
      hostname: this.#host,
      port: this.#port,
      socket: {
        data: (_, chunk) => this.#receive(chunk),
        end: () => this.#exchange?.peerEnded(),
        close: (_, error) => {
          this.#socket = undefined;
          this.#fail(error ?? new Error('the server closed the connection'));
        },
      },
    });
  }

  #receive(chunk) {
    const exchange = this.#exchange;
    try {
      if (exchange === undefined) throw new Error('bytes that nobody asked for');
      exchange.receive(chunk);
    } catch (error) {
      this.#socket?.terminate();
      this.#socket = undefined;
      this.#fail(error);
      return;
    }
    if (!exchange.done) return;
    this.#exchange = undefined;
    if (!exchange.keepAlive) this.close();
    exchange.resolve(exchange.status);
  }

  #fail(error) {
    const exchange = this.#exchange;
    this.#exchange = undefined;
    if (exchange === undefined) return;
    if (exchange.done) {
      exchange.resolve(exchange.status);
    } else {
      error.beforeAnswer = !exchange.begun;
      exchange.reject(error);
    }
  }
}

/** One answer as it arrives: head, then a body that is counted, chunked or ended by the connection. */
class Exchange {
  done = false;
  begun = false;
  keepAlive = true;
  status = 0;
  #head = Buffer.alloc(0);
  #body;

  constructor(onBody, resolve, reject) {
    this.onBody = onBody;
    this.resolve = resolve;
    this.reject = reject;
  }

  receive(chunk) {
    this.begun = true;
    if (this.#body === undefined) {
      chunk = this.#receiveHead(chunk);
      if (chunk === undefined) return;
    }
    const rest = this.#body.receive(chunk, this.onBody);
    this.done = this.#body.done;
    if (this.done && rest > 0) throw new Error(`${rest} bytes after the answer`);
  }

  peerEnded() {
    if (this.#body?.untilEnd) this.done = true;
  }

  /** Returns what follows the head, once that is complete. */
  #receiveHead(chunk) {
    const head = this.#head.length === 0 ? chunk : Buffer.concat([this.#head, chunk]);
    const end = head.indexOf(END_OF_HEAD);
    if (end < 0) {
      if (head.length > MAX_HEAD) throw new Error('the head does not end');
      this.#head = head;
      return undefined;
    }
    this.#parseHead(head.latin1Slice(0, end));
    return head.subarray(end + END_OF_HEAD.length);
  }

  #parseHead(head) {
    const [statusLine, ...lines] = head.split('\r\n');
    const match = /^HTTP\/1\.([01]) (\d{3})(?: |$)/.exec(statusLine);
    if (match === null) throw new Error(`no HTTP: ${JSON.stringify(statusLine.slice(0, 80))}`);
    this.status = Number(match[2]);
    const headers = new Map();
    for (const line of lines) {
      const colon = line.indexOf(':');
      if (colon < 1) throw new Error(`no header: ${JSON.stringify(line.slice(0, 80))}`);
      headers.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
    }
    const connection = (headers.get('connection') ?? '').toLowerCase();
    this.keepAlive = match[1] === '1' ? connection !== 'close' : connection === 'keep-alive';
    this.#body = bodyOf(this.status, headers);
    if (this.#body.untilEnd) this.keepAlive = false;
  }
}

function bodyOf(status, headers) {
  if (status === 204 || status === 304) return new CountedBody(0);
  const coding = headers.get('transfer-encoding')?.toLowerCase();
  if (coding !== undefined) {
    if (coding !== 'chunked') throw new Error(`unknown transfer coding ${coding}`);
    return new ChunkedBody();
  }
  const length = headers.get('content-length');
  if (length === undefined) return new CountedBody(Infinity);
  if (!/^\d+$/.test(length)) throw new Error(`bad Content-Length ${length}`);
  return new CountedBody(Number(length));
}

/** A body of known length, or up to the end of the stream. `receive` returns how many bytes follow it. */
class CountedBody {
  #left;

  constructor(length) {
    this.#left = length;
  }

  get done() {
    return this.#left === 0;
  }

  get untilEnd() {
    return this.#left === Infinity;
  }

  receive(chunk, onBody) {
    const count = Math.min(this.#left, chunk.length);
    this.#left -= count;
    if (count > 0) onBody(count === chunk.length ? chunk : chunk.subarray(0, count));
    return chunk.length - count;
  }
}

/** A body in chunks, each one after a line with its length in hexadecimal. */
class ChunkedBody {
  done = false;
  untilEnd = false;
  #line = '';
  #left = 0;
  #expect = 'size';

  receive(chunk, onBody) {
    let at = 0;
    while (at < chunk.length && !this.done) {
      if (this.#expect === 'data') {
        const count = Math.min(this.#left, chunk.length - at);
        onBody(chunk.subarray(at, at + count));
        at += count;
        this.#left -= count;
        if (this.#left === 0) this.#expect = 'end of chunk';
      } else {
        const end = chunk.indexOf(0x0a, at);
        this.#line += chunk.latin1Slice(at, end < 0 ? chunk.length : end);
        if (this.#line.length > MAX_HEAD) throw new Error('a line does not end');
        at = end < 0 ? chunk.length : end + 1;
        if (end >= 0) this.#endLine(this.#line.replace(/\r$/, ''));
      }
    }
    return chunk.length - at;
  }

  #endLine(line) {
    this.#line = '';
    if (this.#expect === 'size') {
      const match = /^([0-9a-f]+)\s*(?:;|$)/i.exec(line);
      if (match === null) throw new Error(`bad chunk size ${JSON.stringify(line.slice(0, 80))}`);
      this.#left = parseInt(match[1], 16);
      this.#expect = this.#left === 0 ? 'trailer' : 'data';
    } else if (this.#expect === 'end of chunk') {
      if (line !== '') throw new Error('a chunk is longer than it said');
      this.#expect = 'size';
    } else if (line === '') {
      this.done = true;
    }
  }
}

module.exports = { HttpConnection };
