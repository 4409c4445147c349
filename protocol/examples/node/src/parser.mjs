/** The bytes of the server, cut into preface, headers and bodies as they come (SPEC.md, sections 3.2 and 4). */

import { fail } from './errors.mjs';
import { HEADER, MARKER } from './frames.mjs';

const MAGIC = [0x89, 0x50, 0x58, 0x57];

export const PREFACE = Buffer.from([...MAGIC, 1, 1, 0, 0]);

export class Parser {
  #input = [];
  #buffered = 0;

  /** Whether no byte waits here. */
  get empty() {
    return this.#buffered === 0;
  }

  /** @param {Uint8Array} bytes from the transport */
  push(bytes) {
    this.#input.push(bytes);
    this.#buffered += bytes.length;
  }

  /** Forgets what waits here. */
  clear() {
    this.#input = [];
    this.#buffered = 0;
  }

  /**
   * Takes the preface, if it is complete. What is wrong with it is found with the first byte that tells.
   * @returns {boolean} whether it was complete
   */
  preface() {
    if (this.#buffered === 0) return false;
    const seen = this.#peek(Math.min(this.#buffered, PREFACE.length));
    for (let i = 0; i < MAGIC.length && i < this.#buffered; i += 1) {
      if (seen[i] !== MAGIC[i]) fail('PROTOCOL_ERROR', 'this is no PXW server');
    }
    if (this.#buffered < PREFACE.length) return false;
    if (seen[4] !== 1 || seen[5] !== 1) fail('VERSION_UNSUPPORTED', `the server speaks PXW/${seen[4]} to PXW/${seen[5]}, this client PXW/1`);
    this.#read(PREFACE.length);
    return true;
  }

  /**
   * Takes the header of a frame, if it is complete: steps 1 and 2 of section 4.3.
   * @param {number} most the largest frame that is accepted
   * @returns {{length: number, type: number, flags: number, headLength: number, id: number}|null}
   */
  header(most) {
    if (this.#buffered === 0) return null;
    const seen = this.#peek(Math.min(this.#buffered, HEADER));
    if (seen[0] !== MARKER) fail('PROTOCOL_ERROR', 'a frame does not begin with 0xC1');
    if (this.#buffered < 4) return null;
    const length = seen[1] * 0x10000 + seen[2] * 0x100 + seen[3];
    if (length > most) fail('FRAME_TOO_LARGE', `a frame of ${length} bytes; at most ${most}`);
    if (this.#buffered < HEADER) return null;
    const bytes = this.#read(HEADER);
    return { length, type: bytes[4], flags: bytes[5], headLength: bytes.readUInt16BE(6), id: bytes.readUInt32BE(8) };
  }

  /**
   * Takes the body of a frame, if it is complete.
   * @param {number} length
   * @returns {Buffer|null}
   */
  body(length) {
    if (this.#buffered < length) return null;
    return length > 0 ? this.#read(length) : Buffer.alloc(0);
  }

  /**
   * Throws away what is there of a body that is not looked at.
   * @param {number} length
   * @returns {number} how many bytes are still missing
   */
  discard(length) {
    const size = Math.min(this.#buffered, length);
    if (size > 0) this.#read(size);
    return length - size;
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
}
