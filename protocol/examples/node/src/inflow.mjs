/** The credit that the server has here for DATA: what it uses, and what it gets back (SPEC.md, section 7.4). */

import { fail } from './errors.mjs';
import { LIMITS } from './registry.mjs';

const SMALL = 1024;

export class Inflow {
  #limits;
  #window;
  #toReturn = 0;
  #smallRun = 0;

  /** @param {{stream_window: number, connection_window: number}} limits that were declared to the server */
  constructor(limits) {
    this.#limits = limits;
    this.#window = limits.connection_window;
  }

  /** Credit of the connection was granted. @param {number} count bytes */
  granted(count) {
    this.#window += count;
  }

  /**
   * The header of a DATA frame has come.
   * @param {import('./stream.mjs').Stream|undefined} at its stream, undefined for one that has ended
   * @param {{tail: number, end: boolean}} header tail: the length of it
   */
  received(at, { tail, end }) {
    if (at && tail > at.receiveWindow) fail('FLOW_CONTROL', 'DATA beyond the credit of the stream');
    if (tail > this.#window) fail('FLOW_CONTROL', 'DATA beyond the credit of the connection');
    if (at && tail === 0 && !end) fail('PROTOCOL_ERROR', 'DATA without bytes and END');
    const small = !end && tail < SMALL && tail * 4 < this.#limits.stream_window;
    this.#smallRun = small ? this.#smallRun + 1 : 0;
    if (this.#smallRun > LIMITS.small_data_run) fail('EXCESSIVE_LOAD', 'too many small DATA frames');
    this.#window -= tail;
    if (at) at.receiveWindow -= tail;
  }

  /**
   * The program has consumed bytes: credit goes back in batches of half a window.
   * @param {import('./stream.mjs').Stream|undefined} at their stream, undefined for one that has ended
   * @param {number} count
   * @returns {[number, number][]} the CREDIT that is due: stream (0 for the connection) and bytes
   */
  consumed(at, count) {
    const due = [];
    if (at) {
      at.toReturn += count;
      if (at.toReturn * 2 >= this.#limits.stream_window) {
        due.push([at.id, at.toReturn]);
        at.toReturn = 0;
      }
    }
    this.#toReturn += count;
    if (this.#toReturn * 2 >= this.#limits.connection_window) {
      due.push([0, this.#toReturn]);
      this.#toReturn = 0;
    }
    return due;
  }
}
