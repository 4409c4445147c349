/** One open stream: which frames may come on it, and what they change (SPEC.md, section 7.2). */

import { fail } from './errors.mjs';
import { isInt } from './msgpack.mjs';
import { BODIES, STATES, TERMINAL } from './registry.mjs';
import { checkFields, raised } from './rules.mjs';

export class Stream {
  /**
   * @param {number} id
   * @param {string} name of the request that opens it
   * @param {object} head of the request
   * @param {{receive: number, send: number}} windows the credit of both directions, in bytes
   */
  constructor(id, name, head, windows) {
    const follows = name === 'WATCH' || (name === 'SUBMIT' && (head.watch || head.deliver));
    this.id = id;
    this.name = name;
    /** plain: one RESULT; fetched: one announcement and its bytes; followed: a job until its end, perhaps with its artifacts. */
    this.shape = name === 'FETCH' ? 'fetched' : follows ? 'followed' : 'plain';
    /** OPEN, FOLLOWING, ENDED (the job has ended, artifacts follow) or SENDING. */
    this.phase = 'OPEN';
    this.watch = name === 'WATCH' || Boolean(head.watch);
    this.deliver = Boolean(head.deliver);
    /** Bytes that were announced and have not come yet. */
    this.remaining = 0;
    this.receiveWindow = windows.receive;
    this.sendWindow = windows.send;
    /** Bytes that were consumed, but not given back as credit yet. */
    this.toReturn = 0;
    /** What is still to be sent of the attachments, or null. */
    this.upload = null;
    const attachments = head.attachments ?? [];
    if (attachments.length > 0) this.upload = { left: attachments.reduce((sum, { size }) => sum + size, 0), chunks: [] };
  }

  /**
   * Whether a frame may come now, as far as its header tells.
   * @param {{name: string, end: boolean, tail: number}} header tail: the length of it
   */
  admits({ name, end, tail }) {
    if (name === 'ERROR' || name === 'RESET' || name === 'CREDIT') return true;
    if (name === 'RESULT') {
      if (this.shape === 'plain') return end;
      if (this.phase === 'OPEN') return true;
      return this.shape === 'followed' && this.deliver && (this.phase === 'ENDED' || (this.phase === 'SENDING' && this.remaining === 0));
    }
    if (name === 'EVENT') return this.shape === 'followed' && this.phase === 'FOLLOWING';
    if (name === 'PREVIEW') return this.shape === 'followed' && this.phase === 'FOLLOWING' && this.watch;
    return name === 'DATA' && this.phase === 'SENDING' && tail <= this.remaining && (!end || tail === this.remaining);
  }

  /**
   * Takes a frame that admits() has let in.
   * @param {{type: string, end: boolean, head: object, tail: Uint8Array}} event
   */
  accept(event) {
    if (event.type === 'CREDIT') this.sendWindow = raised(this.sendWindow, event.head.n);
    else if (event.type === 'RESULT') this.#result(event);
    else if (event.type === 'EVENT') this.#event(event);
    else if (event.type === 'DATA') this.remaining -= event.tail.length;
  }

  #result({ head, end }) {
    this.upload = null;
    if (this.phase !== 'OPEN' || this.shape === 'fetched') {
      checkFields(BODIES.announcement, head, 'an announcement');
      if (end && head.length > 0) fail('PROTOCOL_ERROR', 'END before the announced bytes');
      this.phase = 'SENDING';
      this.remaining = Number(head.length);
    } else if (this.name === 'LIST') checkFields(BODIES.list, head, 'a list');
    else if (this.name !== 'ADMIN') {
      checkFields(BODIES.status, head, 'a status map');
      this.#state(head, end);
    }
  }

  #event({ head, end }) {
    checkFields(BODIES.event, head, 'an EVENT');
    if (head.event === 'state') {
      checkFields(BODIES.status, head, 'a status map');
      this.#state(head, end);
      if (!this.watch && !TERMINAL.has(head.state)) fail('PROTOCOL_ERROR', 'a state that nobody watches');
    } else if (head.event === 'progress') {
      if (!isInt(head.seq)) fail('BAD_HEAD', 'progress without seq');
      if (end || !this.watch) fail('PROTOCOL_ERROR', 'progress out of place');
    }
  }

  /** Where a status map leaves the stream: it is over when its job is, except that artifacts may follow. */
  #state({ state }, end) {
    if (!STATES.has(state)) fail('PROTOCOL_ERROR', 'a state of a job that is not known');
    if (this.shape !== 'followed') return;
    const terminal = TERMINAL.has(state);
    const more = !terminal || (this.deliver && state === 'succeeded');
    if (end ? !terminal : !more) fail('PROTOCOL_ERROR', `state ${state} ${end ? 'with' : 'without'} END`);
    this.phase = terminal ? 'ENDED' : 'FOLLOWING';
  }
}
