/**
 * The client's side of one PXW/1 connection, without any I/O: bytes in give events, calls give bytes out.
 *
 * An event is a received frame `{type, stream, end, head, tail}`, or `{failed: NAME, message}` for a connection error that was
 * detected here, or `{closed: 'clean' | 'broken'}` for the end of the byte stream.
 */

import { decodeMap, isInt, ProfileError } from './msgpack.mjs';
import { encodeFrame, HEADER, MARKER, withDefaults, wrongField } from './frames.mjs';
import { ACKS, BODIES, DECLARED, ERRORS, errorOf, frameName, FRAMES, LIMITS, REQUESTS, STATES, TERMINAL } from './registry.mjs';

const MAGIC = [0x89, 0x50, 0x58, 0x57];
const PREFACE = Buffer.from([...MAGIC, 1, 1, 0, 0]);
const CONTROL = new Set(['PONG', 'CREDIT', 'RESET', 'GOAWAY']);
const SMALL = 1024;

/** A call that this state of the connection does not allow; nothing was sent. */
export class UsageError extends Error {
  /** @param {string} code @param {string} message */
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/** Thrown inside receive(), and turned into GOAWAY and the event `failed` there. */
class Violation extends Error {
  constructor(name, message) {
    super(message);
    this.violation = name;
  }
}

const fail = (name, message) => {
  throw new Violation(name, message);
};

export class Connection {
  #input = [];
  #buffered = 0;
  #header = null;
  #queue = [];
  #control = { frames: 0, bytes: 0 };
  #open = new Map();
  #nextStream = 1;
  #receiveWindow;
  #toReturn = 0;
  #sendWindow = 0;
  #uploads = [];
  #smallRun = 0;
  #authPending = false;
  #established = false;
  #overloaded = false;

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
    this.#receiveWindow = this.limits.connection_window;
    const head = { agent, features: this.offered, limits };
    if (grease) head[`grease_${random(4)}`] = random(8);
    this.#queue.push({ bytes: PREFACE, name: 'PREFACE' });
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
   * Sends a request: STATUS, CANCEL, WATCH, LIST, FETCH or SUBMIT. After a SUBMIT with attachments, upload() takes their bytes.
   * @param {string} name
   * @param {object} head
   * @param {Uint8Array} [tail] the parameters of a SUBMIT, encoded
   * @returns {number} its stream
   * @throws {UsageError} when the connection is not READY or has too many streams
   */
  request(name, head, tail) {
    if (!REQUESTS.has(name)) throw new UsageError('PROTOCOL_ERROR', `${name} is no request`);
    if (this.state !== 'READY') throw new UsageError(this.goodbye ? 'DRAINING' : 'PROTOCOL_ERROR', 'the connection takes no requests');
    if (this.#open.size >= this.peer.max_streams) throw new UsageError('TOO_MANY_STREAMS', `${this.#open.size} streams are open already`);
    if (this.#nextStream > 0x7fffffff) throw new UsageError('STREAM_ID', 'no stream ids are left');
    const fault = wrongField(FRAMES[name].fields, head);
    if (fault) throw new UsageError('INVALID_ARGUMENT', `${fault} of ${name} is missing or wrong`);
    const attachments = head.attachments ?? [];
    const tooLarge = attachments.find(({ size }) => size > this.peer.max_upload);
    if (tooLarge) throw new UsageError('INVALID_ARGUMENT', `attachment ${tooLarge.name} has ${tooLarge.size} bytes; the server takes ${this.peer.max_upload}`);
    const stream = this.#nextStream;
    try {
      this.#send(name, { stream, end: attachments.length === 0, head, tail });
    } catch (error) {
      throw error instanceof RangeError ? new UsageError('FRAME_TOO_LARGE', error.message) : error;
    }
    this.#nextStream += 2;
    const follows = name === 'WATCH' || (name === 'SUBMIT' && (head.watch || head.deliver));
    const opened = {
      id: stream, name, shape: name === 'FETCH' ? 'fetched' : follows ? 'followed' : 'plain', phase: 'OPEN',
      watch: name === 'WATCH' || Boolean(head.watch), deliver: Boolean(head.deliver), remaining: 0,
      receiveWindow: this.limits.stream_window, toReturn: 0, sendWindow: this.peer.stream_window, upload: null,
    };
    if (attachments.length > 0) {
      opened.upload = { left: attachments.reduce((sum, { size }) => sum + size, 0), chunks: [] };
      this.#uploads.push(opened);
    }
    this.#open.set(stream, opened);
    return stream;
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
    const at = this.#open.get(stream);
    if (at) {
      at.toReturn += count;
      if (at.toReturn * 2 >= this.limits.stream_window) {
        this.credit(stream, at.toReturn);
        at.toReturn = 0;
      }
    }
    this.#toReturn += count;
    if (this.#toReturn * 2 >= this.limits.connection_window) {
      this.credit(0, this.#toReturn);
      this.#toReturn = 0;
    }
  }

  /**
   * Grants credit at once.
   * @param {number} stream 0 for the connection
   * @param {number} count bytes
   */
  credit(stream, count) {
    if (stream === 0) this.#receiveWindow += count;
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

  /** Leaves in order: no new requests, the open streams go on. @param {string} [name] of the error code */
  goaway(name = 'NO_ERROR') {
    if (this.state === 'FAILED' || this.state === 'CLOSED') return;
    this.#send('GOAWAY', { head: { last_stream: 0, code: ERRORS[name][0], name } });
    this.state = 'DRAINING';
  }

  /**
   * The next bytes for the transport; call it as long as the transport has room. DATA comes last, one frame of each upload in turn.
   * @returns {Buffer|null}
   */
  take() {
    const next = this.#queue.shift();
    if (!next) return this.#nextData();
    if (CONTROL.has(next.name)) {
      this.#control.frames -= 1;
      this.#control.bytes -= next.bytes.length;
    }
    return next.bytes;
  }

  // ---------------------------------------------------------------------------------------------------- sending

  #send(name, parts) {
    const bytes = encodeFrame(name, parts, this.#established ? this.peer.max_frame : LIMITS.handshake_max_frame);
    this.#queue.push({ bytes, name });
    if (!CONTROL.has(name)) return;
    this.#control.frames += 1;
    this.#control.bytes += bytes.length;
    const full = this.#control.frames > LIMITS.control_frames || this.#control.bytes > LIMITS.control_bytes;
    if (full) this.#overloaded = true;
  }

  #nextData() {
    if (this.state !== 'READY' && this.state !== 'DRAINING') return null;
    for (let turn = this.#uploads.length; turn > 0; turn -= 1) {
      const stream = this.#uploads.shift();
      const { upload } = stream;
      if (!upload) continue;
      this.#uploads.push(stream);
      const chunk = upload.chunks[0];
      if (!chunk) continue;
      const size = Math.min(chunk.length, upload.left, stream.sendWindow, this.#sendWindow, this.peer.max_frame, LIMITS.data_chunk);
      if (size === 0) continue;
      if (size === chunk.length) upload.chunks.shift();
      else upload.chunks[0] = chunk.subarray(size);
      stream.sendWindow -= size;
      this.#sendWindow -= size;
      upload.left -= size;
      if (upload.left === 0) stream.upload = null;
      return encodeFrame('DATA', { stream: stream.id, end: upload.left === 0, tail: chunk.subarray(0, size) });
    }
    return null;
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
    this.#input.push(bytes);
    this.#buffered += bytes.length;
    try {
      while (this.state === 'START' ? this.#preface() : this.#frame(events)) {
        if (this.#overloaded) fail('EXCESSIVE_LOAD', 'the server asks for more answers than it reads');
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
    const between = this.#buffered === 0 && this.#header === null && this.state !== 'START';
    const orderly = this.state !== 'FAILED' && (this.goodbye === null || this.goodbye.orderly) && this.#open.size === 0;
    this.state = 'CLOSED';
    return [{ closed: between && orderly ? 'clean' : 'broken' }];
  }

  #failed(error, events) {
    const name = error.violation;
    if (this.state === 'START') this.#queue = [];
    this.#uploads = [];
    this.#input = [];
    this.#buffered = 0;
    if (this.state !== 'START') this.#send('GOAWAY', { head: { last_stream: 0, code: ERRORS[name][0], name, message: error.message } });
    this.state = 'FAILED';
    events.push({ failed: name, message: error.message });
  }

  /** The first count bytes of the input, which stay there. */
  #peek(count) {
    if (this.#input[0].length < count) this.#input = [Buffer.concat(this.#input)];
    return this.#input[0];
  }

  /** Takes count bytes from the input. */
  #read(count) {
    const parts = [];
    let missing = count;
    while (missing > 0) {
      const first = this.#input[0];
      const part = first.length <= missing ? this.#input.shift() : first.subarray(0, missing);
      if (part !== first) this.#input[0] = first.subarray(missing);
      parts.push(part);
      missing -= part.length;
    }
    this.#buffered -= count;
    return parts.length === 1 ? Buffer.from(parts[0]) : Buffer.concat(parts, count);
  }

  #preface() {
    if (this.#buffered === 0) return false;
    const seen = this.#peek(Math.min(this.#buffered, 8));
    for (let i = 0; i < MAGIC.length && i < this.#buffered; i += 1) {
      if (seen[i] !== MAGIC[i]) fail('PROTOCOL_ERROR', 'this is no PXW server');
    }
    if (this.#buffered < 8) return false;
    if (seen[4] !== 1 || seen[5] !== 1) fail('VERSION_UNSUPPORTED', `the server speaks PXW/${seen[4]} to PXW/${seen[5]}, this client PXW/1`);
    this.#read(8);
    this.state = 'PREFACED';
    return true;
  }

  /** One frame, if it is complete; whether to go on. */
  #frame(events) {
    if (this.#header === null) {
      if (this.#buffered === 0) return false;
      const seen = this.#peek(Math.min(this.#buffered, HEADER));
      if (seen[0] !== MARKER) fail('PROTOCOL_ERROR', 'a frame does not begin with 0xC1');
      if (this.#buffered < 4) return false;
      const length = seen[1] * 0x10000 + seen[2] * 0x100 + seen[3];
      const most = this.#established ? this.limits.max_frame : LIMITS.handshake_max_frame;
      if (length > most) fail('FRAME_TOO_LARGE', `a frame of ${length} bytes; at most ${most}`);
      if (this.#buffered < HEADER) return false;
      const bytes = this.#read(HEADER);
      this.#header = this.#judge({ length, type: bytes[4], flags: bytes[5], headLength: bytes.readUInt16BE(6), id: bytes.readUInt32BE(8) });
    }
    const header = this.#header;
    if (header.skip) return this.#discard(header);
    if (this.#buffered < header.length) return false;
    const body = header.length > 0 ? this.#read(header.length) : Buffer.alloc(0);
    this.#header = null;
    if (header.late) {
      if (header.name === 'DATA') this.#returned(body.length);
      return true;
    }
    this.#accept(header, body, events);
    return true;
  }

  /** Throws away the body of a frame that is not looked at. */
  #discard(header) {
    const size = Math.min(this.#buffered, header.length);
    if (size > 0) this.#read(size);
    header.length -= size;
    if (header.length > 0) return false;
    this.#header = null;
    return true;
  }

  #returned(count) {
    if (count > 0) this.credit(0, count);
  }

  /** Steps 3 to 9 of section 4.3: what 12 bytes tell. */
  #judge(header) {
    const { length, type, flags, headLength, id } = header;
    if (headLength > length) fail('PROTOCOL_ERROR', 'head_len is above length');
    if (id > 0x7fffffff) fail('STREAM_ID', 'the top bit of a stream id is set');
    const name = frameName(type, flags & 1);
    if (!name) return this.#unknown(header);
    const frame = FRAMES[name];
    const bit = frame.bit === 'stream' ? Number(id !== 0) : frame.bit;
    if (frame.from === 'client' || flags > 1 || (bit !== 'any' && (flags & 1) !== bit)) fail('PROTOCOL_ERROR', `${name} with flags ${flags} from a server`);
    if (frame.fields && headLength === 0) fail('BAD_HEAD', `${name} without a head`);
    if (!frame.fields && headLength > 0) fail('PROTOCOL_ERROR', `${name} with a head`);
    const tail = length - headLength;
    if (frame.tail === undefined && tail > 0) fail('PROTOCOL_ERROR', `${name} with a tail`);
    if (frame.tail === 8 && tail !== 8) fail('PROTOCOL_ERROR', `${name} of ${tail} bytes`);
    if (id === 0 ? frame.on === 'stream' : frame.on === 'zero') fail('PROTOCOL_ERROR', `${name} on stream ${id}`);
    if (!this.#legal(name, id)) fail('PROTOCOL_ERROR', `${name} while ${this.state}`);
    const judged = { ...header, name, end: flags === 1 && !ACKS.has(name), tail };
    if (id === 0) return judged;
    const at = this.#find(id);
    if (name === 'DATA') this.#flow(at, judged);
    if (!at) return { ...judged, late: true };
    if (!grammatical(at, judged)) fail('PROTOCOL_ERROR', `${name} out of place on a stream of ${at.name}`);
    return judged;
  }

  /** The table of section 3.3. */
  #legal(name, id) {
    if (name === 'GOAWAY' || (name === 'ERROR' && id === 0)) return true;
    if (name === 'WELCOME') return this.state === 'PREFACED';
    if (name === 'AUTH_OK') return this.state === 'AUTHENTICATING' || this.state === 'READY' || this.state === 'DRAINING';
    return this.state === 'READY' || this.state === 'DRAINING';
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

  /** Credit and small frames, for DATA also where the stream has ended. */
  #flow(at, { tail, end }) {
    if (at && tail > at.receiveWindow) fail('FLOW_CONTROL', 'DATA beyond the credit of the stream');
    if (tail > this.#receiveWindow) fail('FLOW_CONTROL', 'DATA beyond the credit of the connection');
    if (at && tail === 0 && !end) fail('PROTOCOL_ERROR', 'DATA without bytes and END');
    const small = !end && tail < SMALL && tail * 4 < this.limits.stream_window;
    this.#smallRun = small ? this.#smallRun + 1 : 0;
    if (this.#smallRun > LIMITS.small_data_run) fail('EXCESSIVE_LOAD', 'too many small DATA frames');
    this.#receiveWindow -= tail;
    if (at) at.receiveWindow -= tail;
  }

  /** Steps 10 to 14: the body, and what the frame does. */
  #accept(header, body, events) {
    const { name, id, end, headLength } = header;
    const event = { type: name, stream: id, end, head: {}, tail: body.subarray(headLength) };
    if (FRAMES[name].fields) {
      event.head = this.#head(name, body.subarray(0, headLength), header);
      if (event.head === null) return;
    }
    if (id === 0) this.#onConnection(event, events);
    else this.#onStream(this.#open.get(id), event, events);
  }

  /** The head, checked; null when `crit` made an end of the stream. */
  #head(name, bytes, { id }) {
    const { fields, keys = Object.keys(fields) } = FRAMES[name];
    let head;
    try {
      head = decodeMap(bytes);
    } catch (error) {
      if (!(error instanceof ProfileError)) throw error;
      return fail('BAD_HEAD', `the head of ${name}: ${error.message}`);
    }
    const crit = head.crit ?? [];
    if (!Array.isArray(crit) || !crit.every((key) => typeof key === 'string')) fail('BAD_HEAD', 'crit is no list of strings');
    const strange = crit.find((key) => !keys.includes(key));
    const over = id !== 0 && (name === 'ERROR' || name === 'RESET');
    if (strange !== undefined && !over) {
      if (id === 0) fail('UNKNOWN_CRITICAL', `${name} needs a key that is not known here`);
      this.reset(id, 'UNKNOWN_CRITICAL');
      return null;
    }
    this.#check(fields, head, name);
    return withDefaults(fields, head);
  }

  #check(fields, head, what) {
    const field = wrongField(fields, head);
    if (field) fail('BAD_HEAD', `${field} of ${what} is missing or wrong`);
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
        this.#sendWindow = raised(this.#sendWindow, head.n);
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
    this.#sendWindow = this.peer.connection_window;
    if (head.auth.length > 0) this.state = 'AUTHENTICATING';
    else this.#ready();
  }

  #ready() {
    this.state = 'READY';
    this.#established = true;
    if (this.grease) {
      const type = 0x80 + Math.floor(Math.random() * 0x40);
      this.#queue.push({ bytes: Buffer.from([MARKER, 0, 0, 2, type, 0, 0, 0, 0, 0, 0, 0, 0x67, 0x72]), name: 'GREASE' });
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
    const { type, head, end } = event;
    if (type === 'CREDIT') {
      at.sendWindow = raised(at.sendWindow, head.n);
      return;
    }
    if (type === 'RESULT') this.#result(at, event);
    else if (type === 'EVENT') this.#event(at, event);
    else if (type === 'DATA') at.remaining -= event.tail.length;
    if (end || type === 'RESET') this.#end(event.stream);
    events.push(event);
  }

  #result(at, { head, end }) {
    at.upload = null;
    if (at.phase !== 'OPEN' || at.shape === 'fetched') {
      this.#check(BODIES.announcement, head, 'an announcement');
      if (end && head.length > 0) fail('PROTOCOL_ERROR', 'END before the announced bytes');
      at.phase = 'SENDING';
      at.remaining = Number(head.length);
    } else if (at.name === 'LIST') this.#check(BODIES.list, head, 'a list');
    else {
      this.#check(BODIES.status, head, 'a status map');
      this.#state(at, head, end);
    }
  }

  #event(at, { head, end }) {
    this.#check(BODIES.event, head, 'an EVENT');
    if (head.event === 'state') {
      this.#check(BODIES.status, head, 'a status map');
      this.#state(at, head, end);
      if (!at.watch && !TERMINAL.has(head.state)) fail('PROTOCOL_ERROR', 'a state that nobody watches');
    } else if (head.event === 'progress') {
      if (!isInt(head.seq)) fail('BAD_HEAD', 'progress without seq');
      if (end || !at.watch) fail('PROTOCOL_ERROR', 'progress out of place');
    }
  }

  /** Where a status map leaves a stream: it is over when its job is, except that artifacts may follow. */
  #state(at, { state }, end) {
    if (!STATES.has(state)) fail('PROTOCOL_ERROR', 'a state of a job that is not known');
    if (at.shape !== 'followed') return;
    const terminal = TERMINAL.has(state);
    const more = !terminal || (at.deliver && state === 'succeeded');
    if (end ? !terminal : !more) fail('PROTOCOL_ERROR', `state ${state} ${end ? 'with' : 'without'} END`);
    at.phase = terminal ? 'ENDED' : 'FOLLOWING';
  }
}

/**
 * Whether a frame may come now, as far as its header tells (section 7.2). Phases of a followed stream: OPEN, FOLLOWING, ENDED (the
 * job has ended, artifacts follow), SENDING.
 */
function grammatical(at, { name, end, tail }) {
  if (name === 'ERROR' || name === 'RESET' || name === 'CREDIT') return true;
  if (name === 'RESULT') {
    if (at.shape === 'plain') return end;
    if (at.phase === 'OPEN') return true;
    return at.shape === 'followed' && at.deliver && (at.phase === 'ENDED' || (at.phase === 'SENDING' && at.remaining === 0));
  }
  if (name === 'EVENT') return at.shape === 'followed' && at.phase === 'FOLLOWING';
  if (name === 'PREVIEW') return at.shape === 'followed' && at.phase === 'FOLLOWING' && at.watch;
  return name === 'DATA' && at.phase === 'SENDING' && tail <= at.remaining && (!end || tail === at.remaining);
}

/** A window after CREDIT (FLW-005, FLW-006). */
function raised(window, count) {
  if (!(count >= 1 && count <= LIMITS.max_window)) fail('FLOW_CONTROL', 'CREDIT out of range');
  if (window + Number(count) > LIMITS.max_window) fail('FLOW_CONTROL', 'a window above 2^31-1');
  return window + Number(count);
}

function random(length) {
  return Math.random().toString(16).slice(2, 2 + length).padEnd(length, '0');
}
