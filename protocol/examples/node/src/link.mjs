/** One connection to a server: sockets, clocks and TLS around connection.mjs (SPEC.md, sections 3.1, 6.4, 11 and 12.1). */

import net from 'node:net';
import tls from 'node:tls';

import { Connection } from './connection.mjs';
import { errorOf, LIMITS } from './registry.mjs';

const ALPN = 'pxw/1';
const SLICE = 8192; // so that answers leave between two pieces of a large read
const ROOM = 65536; // unsent bytes in the socket's own buffer
const LINGER = 1000;

/** The connection is gone, or never came to be. */
export class ConnectionError extends Error {
  /**
   * @param {string} message
   * @param {{code?: string, stop?: boolean, defect?: boolean, after?: number}} [facts] code: an error name;
   *   stop: connecting again does not help; defect: one side does not keep to the protocol; after: ms to wait at least
   */
  constructor(message, { code = null, stop = false, defect = false, after = 0 } = {}) {
    super(message);
    Object.assign(this, { code, stop, defect, after });
  }
}

/** A request was answered with ERROR or RESET. */
export class RequestError extends Error {
  /** @param {object} head of the frame @param {string} type ERROR or RESET */
  constructor(head, type) {
    const known = errorOf(head.code);
    const name = known.name ?? (head.name || `0x${head.code.toString(16).padStart(4, '0')}`);
    super(`${name}${head.message ? `: ${head.message}` : ''}`);
    const retry = type === 'ERROR' ? head.retry : known.retry;
    this.code = name;
    this.retry = retry === 'same_id' || retry === 'after' ? retry : 'no';
    this.after = head.retry_after_ms ?? 0;
    this.details = head.details ?? null;
  }
}

/**
 * Takes a URL apart (section 3.1).
 * @param {string} text
 * @returns {{tls: boolean, path?: string, host?: string, port?: number}}
 * @throws {TypeError} when it is no URL of this protocol
 */
export function parseUrl(text) {
  let url;
  try {
    url = new URL(text);
  } catch {
    throw new TypeError('not a URL');
  }
  if (url.username || url.password || /^[^:]+:\/\/[^/]*@/.test(text)) throw new TypeError('a URL must not contain credentials');
  if (url.search || url.hash) throw new TypeError('a URL has no query and no fragment');
  if (url.protocol === 'pixwire+unix:') {
    if (url.host || url.pathname.length < 2) throw new TypeError('pixwire+unix:///path needs an absolute path');
    return { tls: false, path: decodeURIComponent(url.pathname) };
  }
  if (url.protocol !== 'pixwire:' && url.protocol !== 'pixwires:') throw new TypeError('the scheme is pixwire, pixwires or pixwire+unix');
  if (!url.hostname || (url.pathname !== '' && url.pathname !== '/')) throw new TypeError('it has the form pixwire://host[:port]');
  const host = decodeURIComponent(url.hostname).replace(/^\[(.*)\]$/, '$1');
  return { tls: url.protocol === 'pixwires:', host, port: url.port === '' ? 7499 : Number(url.port) };
}

const isLoopback = (address = '') => address === '::1' || /^(::ffff:)?127\./.test(address);

/** What the end of a connection means for connecting again: the table of section 12.3. */
function judge(goodbye) {
  const { code, message } = goodbye;
  const known = errorOf(code);
  const name = known.name ?? (goodbye.name || `0x${code.toString(16)}`);
  const after = goodbye.reconnect_after_ms ?? goodbye.retry_after_ms ?? 0;
  const text = `the server ended the connection: ${name}${message ? `: ${message}` : ''}`;
  const again = new Set(['NO_ERROR', 'DRAINING', 'IDLE_TIMEOUT', 'SLOW_CONSUMER', 'EXCESSIVE_LOAD', 'HANDSHAKE_TIMEOUT', 'INTERNAL']);
  const stop = known.class === 'auth' || known.name === 'VERSION_UNSUPPORTED';
  return new ConnectionError(text, { code: name, stop, after, defect: !stop && !again.has(known.name) && known.class !== 'capacity' });
}

export class Link {
  #socket;
  #connection;
  #streams = new Map();
  #timers = [];
  #wire;
  #error = null;
  #left = false;
  #onReady;
  #onOver;
  #onAuth;
  #closed;

  /**
   * Connects, does the handshake and, if the server asks for it, authenticates.
   * @param {object} options
   * @param {string} options.url
   * @param {string} [options.token] for AUTH bearer
   * @param {boolean} [options.insecureToken] send the token in cleartext over a network
   * @param {object} [options.tls] options for tls.connect: ca, cert, key, rejectUnauthorized
   * @param {object} [options.connection] options for Connection
   * @param {AbortSignal} [options.signal]
   * @returns {Promise<Link>}
   */
  static async open(options) {
    const link = new Link();
    await link.#connect(options);
    return link;
  }

  /** Whether a request can be sent here. */
  get usable() {
    return this.#error === null && !this.#left && this.#connection.usable;
  }

  /** The ConnectionError that ended it, or null. */
  get error() {
    return this.#error;
  }

  /** What the server said last: how long to wait before the next connection. */
  get after() {
    return this.#connection.goodbye?.reconnect_after_ms ?? 0;
  }

  get welcome() {
    return this.#connection.welcome;
  }

  #connect({ url, token, insecureToken = false, tls: tlsOptions = {}, connection = {}, signal }) {
    const target = parseUrl(url);
    this.#connection = new Connection(connection);
    return new Promise((resolve, reject) => {
      const where = target.path ? { path: target.path } : { host: target.host, port: target.port };
      const name = target.host && net.isIP(target.host) === 0 ? { servername: target.host } : {};
      const socket = target.tls
        ? tls.connect({ minVersion: 'TLSv1.2', ...tlsOptions, ...where, ...name, ALPNProtocols: [ALPN] })
        : net.connect(where);
      this.#socket = socket;
      let ready = false;
      this.#onReady = () => {
        ready = true;
        clearTimeout(deadline);
        this.#keepAlive();
        resolve();
      };
      this.#onOver = (error) => {
        clearTimeout(deadline);
        signal?.removeEventListener('abort', abort);
        if (!ready) reject(error);
      };
      const abort = () => this.#over(new ConnectionError('given up', { code: 'TIMEOUT', stop: true }));
      const deadline = setTimeout(() => this.#over(new ConnectionError('the handshake took too long', { code: 'HANDSHAKE_TIMEOUT' })), LIMITS.handshake_ms);
      signal?.addEventListener('abort', abort);
      this.#onAuth = () => this.#authenticate(token, insecureToken || target.tls || Boolean(target.path) || isLoopback(socket.remoteAddress));
      socket.setNoDelay?.(true);
      socket.on(target.tls ? 'secureConnect' : 'connect', () => {
        if (target.tls && socket.alpnProtocol !== ALPN) {
          this.#over(new ConnectionError('the server does not speak pxw/1 in TLS', { code: 'ALPN', stop: true }));
          return;
        }
        this.#wire = { received: Date.now(), progress: Date.now(), pinged: 0, asked: 0 };
        this.#pump();
      });
      socket.on('data', (bytes) => this.#received(bytes));
      socket.on('drain', () => this.#pump());
      socket.on('error', (error) => this.#over(transportError(error)));
      socket.on('end', () => this.#ended());
      socket.on('close', () => this.#ended());
      if (signal?.aborted) abort();
    });
  }

  /**
   * Sends a request and waits for the end of its stream.
   * @param {string} name
   * @param {object} head
   * @param {object} [more]
   * @param {Uint8Array} [more.tail]
   * @param {Uint8Array[]} [more.uploads] the bytes of the attachments
   * @param {(event: object) => void} [more.onEvent] for each frame; what it throws resets the stream and is thrown here
   * @returns {Promise<object>} the last event
   * @throws {RequestError|ConnectionError}
   */
  request(name, head, { tail, uploads = [], onEvent = () => {} } = {}) {
    return new Promise((resolve, reject) => {
      if (this.#error) {
        reject(this.#error);
        return;
      }
      const stream = this.#connection.request(name, head, tail);
      for (const bytes of uploads) this.#connection.upload(stream, bytes);
      this.#streams.set(stream, { resolve, reject, onEvent });
      this.#pump();
    });
  }

  /** Takes no more requests, and closes when the open streams have ended. */
  leave() {
    if (this.#error || this.#left) return;
    this.#left = true;
    this.#connection.goaway();
    this.#pump();
    this.#whenIdle();
  }

  /** Leaves in order: GOAWAY, then the end of the byte stream. @returns {Promise<void>} */
  async close() {
    if (this.#error) return;
    if (!this.#left) this.#connection.goaway();
    this.#finish(new ConnectionError('closed'));
    await this.#closed;
  }

  #authenticate(token, allowed) {
    const { auth } = this.#connection.welcome;
    const leave = (text) => {
      this.#connection.goaway();
      this.#finish(new ConnectionError(text, { code: 'AUTH_REQUIRED', stop: true }));
    };
    if (!auth.includes('bearer')) leave('the server asks for a kind of credentials that this client does not have');
    else if (!token) leave('the server asks for a token (--token, PIXWIRE_TOKEN)');
    else if (!allowed) leave('a token is not sent in cleartext over a network (pixwires://, or --insecure-token)');
    else this.#connection.auth('bearer', token);
  }

  #received(bytes) {
    if (this.#wire) Object.assign(this.#wire, { received: Date.now(), asked: 0 });
    for (let at = 0; at < bytes.length && !this.#error; at += SLICE) {
      for (const event of this.#connection.receive(bytes.subarray(at, at + SLICE))) this.#handle(event);
      this.#pump();
    }
  }

  #handle(event) {
    if (event.failed) {
      const stop = event.failed === 'VERSION_UNSUPPORTED' || this.#connection.welcome === null && event.message === 'this is no PXW server';
      this.#finish(new ConnectionError(`the server does not keep to the protocol: ${event.message}`, { code: event.failed, stop, defect: true }));
    } else if (event.type === 'WELCOME') {
      if (event.head.auth.length > 0) this.#onAuth();
      else this.#onReady();
    } else if (event.type === 'AUTH_OK') this.#onReady();
    else if (event.stream > 0) this.#dispatch(event);
    else if (event.type === 'ERROR' || event.type === 'GOAWAY') {
      const { goodbye } = this.#connection;
      if (goodbye.orderly) this.#whenIdle();
      else this.#finish(judge(goodbye));
    }
  }

  #dispatch(event) {
    const waiting = this.#streams.get(event.stream);
    if (!waiting) {
      if (event.type === 'DATA') this.#connection.consumed(event.stream, event.tail.length);
      return;
    }
    const over = event.end || event.type === 'RESET';
    if (over) this.#streams.delete(event.stream);
    if (event.type === 'ERROR' || event.type === 'RESET') {
      waiting.reject(new RequestError(event.head, event.type));
    } else {
      try {
        waiting.onEvent(event);
        if (over) waiting.resolve(event);
      } catch (error) {
        this.#streams.delete(event.stream);
        this.#connection.reset(event.stream, error.reset);
        waiting.reject(error);
      }
    }
    if (event.type === 'DATA') this.#connection.consumed(event.stream, event.tail.length);
    this.#whenIdle();
  }

  /** Closes a connection that one side has said goodbye on, when nothing is left to do there. */
  #whenIdle() {
    const { goodbye, openStreams } = this.#connection;
    if (openStreams > 0) return;
    if (goodbye?.orderly) this.#finish(judge(goodbye));
    else if (this.#left) this.#finish(new ConnectionError('closed'));
  }

  #pump() {
    const socket = this.#socket;
    if (!this.#wire || !socket.writable) return;
    if (socket.writableLength === 0) this.#wire.progress = Date.now();
    while (socket.writableLength < ROOM) {
      const bytes = this.#connection.take();
      if (!bytes) return;
      socket.write(bytes, () => {
        this.#wire.progress = Date.now();
        if (socket.writableLength < ROOM) queueMicrotask(() => this.#pump());
      });
    }
  }

  /** PING when nothing comes, and the end when nothing comes for too long (section 12.1, LIM-005). */
  #keepAlive() {
    const { idle_ms: idle, ping_timeout_ms: timeout, min_ping_ms: least } = this.#connection.peer;
    const every = Math.max(idle / 3, least);
    this.#timers.push(setInterval(() => {
      const now = Date.now();
      const wire = this.#wire;
      const silent = now - wire.received;
      const last = silent >= idle; // the PING that decides is sent now, however late this timer comes
      if (wire.asked > 0) {
        if (now - wire.asked >= timeout) this.#over(new ConnectionError('the server has fallen silent', { code: 'IDLE_TIMEOUT' }));
      } else if (last || (silent >= idle / 3 && now - wire.pinged >= every)) {
        this.#connection.ping();
        wire.pinged = now;
        if (last) wire.asked = now;
        this.#pump();
      }
      if (this.#socket.writableLength > 0 && now - wire.progress >= LIMITS.write_stall_ms) {
        this.#over(new ConnectionError('the server accepts no bytes', { code: 'WRITE_STALL' }));
      }
    }, Math.min(1000, idle / 10)));
  }

  /** The server's byte stream has ended. */
  #ended() {
    if (this.#error) return;
    const { goodbye } = this.#connection;
    this.#connection.eof();
    this.#over(goodbye ? judge(goodbye) : new ConnectionError('the connection was lost', { code: 'LOST' }));
  }

  /** Sends what is left, ends our direction, and lets the server read it before the socket goes. */
  #finish(error) {
    if (this.#error) return;
    this.#settle(error);
    const socket = this.#socket;
    this.#closed = new Promise((resolve) => {
      const timer = setTimeout(() => socket.destroy(), LINGER);
      socket.once('close', () => {
        clearTimeout(timer);
        resolve();
      });
    });
    this.#left = true;
    if (this.#wire) for (let bytes = this.#connection.take(); bytes; bytes = this.#connection.take()) socket.write(bytes);
    socket.end();
    socket.resume();
  }

  /** Closes at once. */
  #over(error) {
    if (this.#error) return;
    this.#settle(error);
    this.#socket.destroy();
  }

  #settle(error) {
    this.#error = error;
    for (const timer of this.#timers) clearInterval(timer);
    for (const { reject } of this.#streams.values()) reject(error);
    this.#streams.clear();
    this.#onOver(error);
  }
}

/** An error of the socket: a certificate that does not verify ends it all, everything else may pass. */
function transportError(error) {
  const code = error.code ?? 'TRANSPORT';
  const bad = /CERT|SELF_SIGNED|UNABLE_TO|ALTNAME|ALPN|NO_APPLICATION_PROTOCOL|UNSUPPORTED_PROTOCOL/.test(code);
  return new ConnectionError(error.errors?.map(({ message }) => message).join('; ') || error.message, { code, stop: bad });
}
