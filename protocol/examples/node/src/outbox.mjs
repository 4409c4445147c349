/** What is to be sent: the frames in order, and after them the bytes of attachments as credit allows. */

import { encodeFrame } from './frames.mjs';
import { LIMITS } from './registry.mjs';

const CONTROL = new Set(['PONG', 'CREDIT', 'RESET', 'GOAWAY']);

export class Outbox {
  #queue = [];
  #control = { frames: 0, bytes: 0 };
  #uploads = [];

  /** The credit of the connection for DATA, in bytes. */
  window = 0;
  /** Whether more answers have piled up than a server may ask for; once true it stays so. */
  overloaded = false;

  /** @param {string} name of the frame @param {Buffer} bytes */
  push(name, bytes) {
    this.#queue.push({ bytes, name });
    if (!CONTROL.has(name)) return;
    this.#control.frames += 1;
    this.#control.bytes += bytes.length;
    const full = this.#control.frames > LIMITS.control_frames || this.#control.bytes > LIMITS.control_bytes;
    if (full) this.overloaded = true;
  }

  /** Adds a stream whose `upload` is to be sent. @param {import('./stream.mjs').Stream} stream */
  addUpload(stream) {
    this.#uploads.push(stream);
  }

  /** Forgets the frames that were not taken. */
  clearFrames() {
    this.#queue = [];
  }

  /** Forgets the uploads. */
  clearUploads() {
    this.#uploads = [];
  }

  /** The next frame that is no DATA. @returns {Buffer|null} */
  nextFrame() {
    const next = this.#queue.shift();
    if (!next) return null;
    if (CONTROL.has(next.name)) {
      this.#control.frames -= 1;
      this.#control.bytes -= next.bytes.length;
    }
    return next.bytes;
  }

  /**
   * The next DATA: one frame of each upload in turn.
   * @param {number} maxFrame of the server
   * @returns {Buffer|null}
   */
  nextData(maxFrame) {
    for (let turn = this.#uploads.length; turn > 0; turn -= 1) {
      const stream = this.#uploads.shift();
      const { upload } = stream;
      if (!upload) continue;
      this.#uploads.push(stream);
      const chunk = upload.chunks[0];
      if (!chunk) continue;
      const size = Math.min(chunk.length, upload.left, stream.sendWindow, this.window, maxFrame, LIMITS.data_chunk);
      if (size === 0) continue;
      if (size === chunk.length) upload.chunks.shift();
      else upload.chunks[0] = chunk.subarray(size);
      stream.sendWindow -= size;
      this.window -= size;
      upload.left -= size;
      if (upload.left === 0) stream.upload = null;
      return encodeFrame('DATA', { stream: stream.id, end: upload.left === 0, tail: chunk.subarray(0, size) });
    }
    return null;
  }
}
