/**
 * The client's side of one PXW/1 connection, without any I/O: bytes in give events, calls give bytes out.
 *
 * An event is a received frame `{type, stream, end, head, tail}`, or `{failed: NAME, message}` for a connection error that was
 * detected here, or `{closed: 'clean' | 'broken'}` for the end of the byte stream.
 */

import { fail, UsageError, Violation } from './errors.mjs';
import { encodeFrame, MARKER, wrongField } from './frames.mjs';
import { Inflow } from './inflow.mjs';
import { Outbox } from './outbox.mjs';
import { Parser, PREFACE } from './parser.mjs';
import { ACKS, DECLARED, ERRORS, errorOf, FRAMES, LIMITS, REQUESTS } from './registry.mjs';
import { checkHeader, legal, raised, readHead } from './rules.mjs';
import { Stream } from './stream.mjs';

export class Connection {
  #in = new Parser();
  #out = new Outbox();
  #inflow;
  #header = null;
  #open = new Map();
  #nextStream = 1;
  #authPending = false;
  #established = false;

  /**
   * @param {object} [options]
   * @param {string} [options.agent] name and version of the program
   * @param {string[]} [options.features] to offer
   * @param {object} [options.limits] to declare: max_frame, stream_window, connection_window
   * @param {boolean} [options.grease] send a little nonsense, so that servers go on ignoring it (section 13.4)
   */
  constructor({ agent = 'pxw-node/0.1.0', features = [], limits = {}, grease = false } = {}) {
    /** START, PREFACED, AUTHENTICATING, READY, DRAINING, FAILED or CLOSED. */
    this.state = 'START';
    /** The head of WELCOME, when it has come. */
    this.welcome = null;
    /** Limits of the server: those of WELCOME, with the defaults. */
    this.peer = Object.fromEntries(Object.entries(DECLARED).map(([key, [value]]) => [key, value]));
    /** The last GOAWAY, or ERROR on stream 0, that was received. */
    this.goodbye = null;
    this.offered = grease ? [...features, `grease-${random(4)}`] : features;
    this.limits = { ...this.peer, ...limits };
    this.grease = grease;
    this.#inflow = new Inflow(this.limits);
    const head = { agent, features: this.offered, limits };
    if (grease) head[`grease_${random(4)}`] = random(8);
    this.#out.push('PREFACE', PREFACE);
    this.#send('HELLO', { head });
  }

  // ---------------------------------------------------------------------------------------------------- what a program calls

  /** Whether a request may be sent now. */
  get usable() {
    return this.state === 'READY' && this.#open.size < this.peer.max_streams && this.#nextStream <= 0x7fffffff;
  }

  /** How many streams are open. */
  get openStreams() {
    return this.#open.size;
  }

  /**
   * Sends a request: STATUS, CANCEL, WATCH, LIST, ADMIN, FETCH or SUBMIT. After a SUBMIT with attachments, upload() takes their bytes.
   * @param {string} name
   * @param {object} head
   * @param {Uint8Array} [tail] the parameters of a SUBMIT, encoded
   * @returns {number} its stream
   * @throws {UsageError} when the connection is not READY or has too many streams
   */
  request(name, head, tail) {
    this.#mayRequest(name, head);
    const stream = this.#nextStream;
    try {
      this.#send(name, { stream, end: !head.attachments?.length, head, tail });
    } catch (error) {
      throw error instanceof RangeError ? new UsageError('FRAME_TOO_LARGE', error.message) : error;
    }
    this.#nextStream += 2;
    const opened = new Stream(stream, name, head, { receive: this.limits.stream_window, send: this.peer.stream_window });
    if (opened.upload) this.#out.addUpload(opened);
    this.#open.set(stream, opened);
    return stream;
  }

  /** Throws a UsageError for a request that the server would not take. */
  #mayRequest(name, head) {
    if (!REQUESTS.has(name)) throw new UsageError('PROTOCOL_ERROR', `${name} is no request`);
    if (this.state !== 'READY') throw new UsageError(this.goodbye ? 'DRAINING' : 'PROTOCOL_ERROR', 'the connection takes no requests');
    if (this.#open.size >= this.peer.max_streams) throw new UsageError('TOO_MANY_STREAMS', `${this.#open.size} streams are open already`);
    if (this.#nextStream > 0x7fffffff) throw new UsageError('STREAM_ID', 'no stream ids are left');
    const fault = wrongField(FRAMES[name].fields, head);
    if (fault) throw new UsageError('INVALID_ARGUMENT', `${fault} of ${name} is missing or wrong`);
    const tooLarge = head.attachments?.find(({ size }) => size > this.peer.max_upload);
    if (tooLarge) throw new UsageError('INVALID_ARGUMENT', `attachment ${tooLarge.name} has ${tooLarge.size} bytes; the server takes ${this.peer.max_upload}`);
  }

  /**
   * Bytes of the attachments, in order. They leave through take() as credit allows; the last frame carries END.
   * After the server's answer, or on a stream that is over, they are dropped (UPL-007).
   * @param {number} stream
   * @param {Uint8Array} bytes
   */
  upload(stream, bytes) {
    const upload = this.#open.get(stream)?.upload;
    if (upload && bytes.length > 0) upload.chunks.push(bytes);
  }

  /**
   * Says that the program has consumed DATA of a stream: credit goes back in batches of half a window.
   * @param {number} stream
   * @param {number} count bytes
   */
  consumed(stream, count) {
    for (const [id, due] of this.#inflow.consumed(this.#open.get(stream), count)) this.credit(id, due);
  }

  /**
   * Grants credit at once.
   * @param {number} stream 0 for the connection
   * @param {number} count bytes
   */
  credit(stream, count) {
    if (stream === 0) this.#inflow.granted(count);
    else if (this.#open.has(stream)) this.#open.get(stream).receiveWindow += count;
    else return;
    this.#send('CREDIT', { stream, head: { n: count } });
  }

  /**
   * Ends a stream; its job goes on (CANCEL stops a job), an upload that is not complete is taken back.
   * @param {number} stream
   * @param {string} [name] of the error code
   */
  reset(stream, name = 'NO_ERROR') {
    if (!this.#open.has(stream)) return;
    this.#end(stream);
    this.#send('RESET', { stream, head: { code: ERRORS[name][0], name } });
  }

  /** Sends PING with 8 bytes. @param {Uint8Array} [tail] */
  ping(tail = Buffer.alloc(8)) {
    if (!this.#established) throw new UsageError('PROTOCOL_ERROR', 'no PING before READY');
    this.#send('PING', { tail });
  }

  /**
   * Authenticates, or renews the credentials.
   * @param {string} mechanism one that WELCOME named
   * @param {string} token
   */
  auth(mechanism, token) {
    const mechanisms = this.welcome?.auth ?? [];
    if (!mechanisms.includes(mechanism)) throw new UsageError('PROTOCOL_ERROR', `the server does not ask for ${mechanism}`);
    if (this.#authPending) throw new UsageError('PROTOCOL_ERROR', 'the last AUTH is not answered yet');
    this.#send('AUTH', { head: { mechanism, token } });
    this.#authPending = true;
  }

  /** Leaves in order: no new requests, the open streams go on. Before WELCOME nothing can be said. @param {string} [name] of the error code */
  goaway(name = 'NO_ERROR') {
    if (this.welcome === null || this.state === 'FAILED' || this.state === 'CLOSED') return;
    this.#send('GOAWAY', { head: { last_stream: 0, code: ERRORS[name][0], name } });
    this.state = 'DRAINING';
  }

  /**
   * The next bytes for the transport; call it as long as the transport has room. DATA comes last, one frame of each upload in turn.
   * @returns {Buffer|null}
   */
  take() {
    const next = this.#out.nextFrame();
    if (next) return next;
    return this.state === 'READY' || this.state === 'DRAINING' ? this.#out.nextData(this.peer.max_frame) : null;
  }

  // ---------------------------------------------------------------------------------------------------- sending

  #send(name, parts) {
    if (this.state === 'FAILED') return; // GOAWAY was the last word (CON-010)
    this.#out.push(name, encodeFrame(name, parts, this.#established ? this.peer.max_frame : LIMITS.handshake_max_frame));
  }

  #end(stream) {
    const at = this.#open.get(stream);
    at.upload = null;
    this.#open.delete(stream);
  }

  // ---------------------------------------------------------------------------------------------------- receiving

  /**
   * Takes bytes from the transport.
   * @param {Uint8Array} bytes
   * @returns {object[]} events
   */
  receive(bytes) {
    const events = [];
    if (this.state === 'FAILED' || this.state === 'CLOSED' || bytes.length === 0) return events;
    this.#in.push(bytes);
    try {
      while (this.state === 'START' ? this.#preface() : this.#frame(events)) {
        if (this.#out.overloaded) fail('EXCESSIVE_LOAD', 'the server asks for more answers than it reads');
      }
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      this.#failed(error, events);
    }
    return events;
  }

  /**
   * The byte stream of the server has ended.
   * @returns {object[]} events
   */
  eof() {
    if (this.state === 'CLOSED') return [];
    const between = this.#in.empty && this.#header === null;
    const clean = between && this.welcome !== null && this.state !== 'FAILED' && this.#open.size === 0;
    this.state = 'CLOSED';
    return [{ closed: clean ? 'clean' : 'broken' }];
  }

  #failed(error, events) {
    const name = error.violation;
    if (this.state === 'START') this.#out.clearFrames();
    this.#out.clearUploads();
    this.#in.clear();
    if (this.state !== 'START') this.#send('GOAWAY', { head: { last_stream: 0, code: ERRORS[name][0], name, message: error.message } });
    this.state = 'FAILED';
    events.push({ failed: name, message: error.message });
  }

  #preface() {
    if (!this.#in.preface()) return false;
    this.state = 'PREFACED';
    return true;
  }

  /** One frame, if it is complete; whether to go on. */
  #frame(events) {
    if (this.#header === null) {
      const header = this.#in.header(this.#established ? this.limits.max_frame : LIMITS.handshake_max_frame);
      if (header === null) return false;
      this.#header = this.#judge(header);
    }
    const header = this.#header;
    if (header.skip) {
      header.length = this.#in.discard(header.length);
      if (header.length > 0) return false;
      this.#header = null;
      return true;
    }
    const body = this.#in.body(header.length);
    if (body === null) return false;
    this.#header = null;
    // The stream may have been reset since its header was judged.
    if (!header.late && (header.id === 0 || this.#open.has(header.id))) this.#accept(header, body, events);
    else if (header.name === 'DATA' && body.length > 0) this.credit(0, body.length);
    return true;
  }

  /** Steps 3 to 9 of section 4.3: what 12 bytes tell. */
  #judge(header) {
    const { length, flags, headLength, id } = header;
    const name = checkHeader(header);
    if (name === null) return this.#unknown(header);
    if (!legal(this.state, name, id)) fail('PROTOCOL_ERROR', `${name} while ${this.state}`);
    const judged = { ...header, name, end: flags === 1 && !ACKS.has(name), tail: length - headLength };
    if (id === 0) return judged;
    const at = this.#find(id);
    if (name === 'DATA') {
      if (at && at.phase !== 'SENDING') fail('PROTOCOL_ERROR', `DATA out of place on a stream of ${at.name}`);
      this.#inflow.received(at, judged);
    }
    if (!at) return { ...judged, late: true };
    if (!at.admits(judged)) fail('PROTOCOL_ERROR', `${name} out of place on a stream of ${at.name}`);
    return judged;
  }

  /** An open stream, or undefined for one that has ended. */
  #find(id) {
    if (id % 2 === 0 || id >= this.#nextStream) fail('STREAM_ID', `stream ${id} was never opened`);
    return this.#open.get(id);
  }

  #unknown(header) {
    const { type, id } = header;
    if (this.state !== 'READY' && this.state !== 'DRAINING') fail('PROTOCOL_ERROR', `frame type ${type} while ${this.state}`);
    if (type < 0x80 || type > 0xbf) {
      if (id === 0) fail('PROTOCOL_ERROR', `unknown frame type ${type} on stream 0`);
      if (this.#find(id)) {
        this.reset(id, 'UNKNOWN_FRAME');
      }
    }
    return { ...header, skip: true };
  }

  /** Steps 10 to 14: the body, and what the frame does. */
  #accept(header, body, events) {
    const { name, id, end, headLength } = header;
    const event = { type: name, stream: id, end, head: {}, tail: body.subarray(headLength) };
    if (FRAMES[name].fields) {
      event.head = readHead(name, body.subarray(0, headLength), id);
      if (event.head === null) {
        this.reset(id, 'UNKNOWN_CRITICAL');
        return;
      }
    }
    if (id === 0) this.#onConnection(event, events);
    else this.#onStream(this.#open.get(id), event, events);
  }

  #onConnection(event, events) {
    const { type, head } = event;
    switch (type) {
      case 'WELCOME':
        this.#welcomed(head);
        break;
      case 'AUTH_OK':
        if (!this.#authPending) fail('PROTOCOL_ERROR', 'AUTH_OK without AUTH');
        this.#authPending = false;
        if (this.state === 'AUTHENTICATING') this.#ready();
        break;
      case 'PING':
        events.push(event);
        this.#send('PONG', { tail: event.tail });
        return;
      case 'CREDIT':
        this.#out.window = raised(this.#out.window, head.n);
        return;
      case 'ERROR':
        this.goodbye = { ...head, orderly: false };
        this.state = 'DRAINING';
        break;
      case 'GOAWAY':
        this.#leaving(event, events);
        return;
      default:
    }
    events.push(event);
  }

  #welcomed(head) {
    const strange = head.features.find((feature) => !this.offered.includes(feature));
    if (strange !== undefined) fail('PROTOCOL_ERROR', 'WELCOME names a feature that was not offered');
    this.welcome = head;
    for (const key of Object.keys(DECLARED)) this.peer[key] = head.limits[key] ?? this.peer[key];
    this.#out.window = this.peer.connection_window;
    if (head.auth.length > 0) this.state = 'AUTHENTICATING';
    else this.#ready();
  }

  #ready() {
    this.state = 'READY';
    this.#established = true;
    if (this.grease) {
      const type = 0x80 + Math.floor(Math.random() * 0x40);
      this.#out.push('GREASE', Buffer.from([MARKER, 0, 0, 2, type, 0, 0, 0, 0, 0, 0, 0, 0x67, 0x72]));
    }
  }

  #leaving(event, events) {
    const { head } = event;
    if (this.goodbye?.last_stream < head.last_stream) fail('PROTOCOL_ERROR', 'GOAWAY raises last_stream');
    const { name } = errorOf(head.code);
    this.goodbye = { ...head, orderly: name === 'NO_ERROR' || name === 'DRAINING' };
    this.state = 'DRAINING';
    events.push(event);
    for (const id of [...this.#open.keys()].filter((open) => open > head.last_stream)) {
      this.#end(id);
      const error = { code: ERRORS.DRAINING[0], name: 'DRAINING', message: '', retry: 'after', processed: 'no', retry_after_ms: null, details: null };
      events.push({ type: 'ERROR', stream: id, end: true, head: error, tail: Buffer.alloc(0) });
    }
  }

  #onStream(at, event, events) {
    if (event.type !== 'PREVIEW') at.accept(event); // a PREVIEW changes nothing
    if (event.type === 'CREDIT') return;
    if (event.end || event.type === 'RESET') this.#end(event.stream);
    events.push(event);
  }
}

function random(length) {
  return Math.random().toString(16).slice(2, 2 + length).padEnd(length, '0');
}
