/** Frames to bytes, and the fields of heads (SPEC.md, sections 4, 5 and 8). */

import { encode, isInt, isMap } from './msgpack.mjs';
import { ACKS, DECLARED, FRAMES, LIMITS } from './registry.mjs';

export const MARKER = 0xc1;
export const HEADER = 12;

const bytesOf = (text) => Buffer.byteLength(text, 'utf8');
const inRange = (value, min, max) => value >= min && value <= max;

/** Whether a value that is there fits its field. */
function fits(field, value) {
  switch (field.type) {
    case 'str': return typeof value === 'string' && inRange(bytesOf(value), field.min, field.max) && (!field.form || field.form.test(value));
    case 'int': return isInt(value) && (field.min === undefined || inRange(value, field.min, field.max));
    case 'bool': return typeof value === 'boolean';
    case 'map': return isMap(value);
    case 'list':
      return Array.isArray(value) && value.length <= field.entries && value.every((item) => typeof item === 'string' && bytesOf(item) <= field.bytes);
    case 'limits':
      return isMap(value) && Object.entries(DECLARED).every(([key, [, min, max]]) => value[key] == null || (isInt(value[key]) && inRange(value[key], min, max)));
    case 'attachments': return Array.isArray(value) && value.length <= 8 && value.every(isMap);
    default: return false;
  }
}

/**
 * The first field of a head that is wrong.
 * @param {object} fields a table of registry.mjs
 * @param {object} head
 * @returns {string|null} its name, or null
 */
export function wrongField(fields, head) {
  for (const [name, field] of Object.entries(fields)) {
    const value = head[name] ?? null;
    if (value === null ? field.required : !fits(field, value)) return name;
  }
  return null;
}

/**
 * The head with the defaults of absent optional fields filled in (null where there is none).
 * @param {object} fields
 * @param {object} head
 */
export function withDefaults(fields, head) {
  for (const [name, field] of Object.entries(fields)) head[name] ??= field.default ?? null;
  return head;
}

/** A head without what is absent or has its default, in the order of its table: the canonical form. */
function canonical(fields, head) {
  const out = {};
  for (const [name, field] of Object.entries(fields)) {
    const value = head[name];
    if (value == null || value === field.default) continue;
    if (field.default !== undefined && typeof value === 'object' && Object.keys(value).length === 0) continue;
    out[name] = value;
  }
  for (const name of Object.keys(head)) if (!(name in fields) && head[name] !== undefined) out[name] = head[name];
  return out;
}

/**
 * One frame as bytes. Refuses what does not fit, never truncates (FRM-009).
 * @param {string} name of FRAMES
 * @param {{stream?: number, end?: boolean, head?: object, tail?: Uint8Array}} parts
 * @param {number} [maxFrame] of the peer
 * @returns {Buffer}
 */
export function encodeFrame(name, { stream = 0, end = false, head, tail }, maxFrame = 0xffffff) {
  const frame = FRAMES[name];
  const headBytes = frame.fields ? encode(canonical(frame.fields, head ?? {})) : Buffer.alloc(0);
  const tailBytes = tail ?? Buffer.alloc(0);
  const length = headBytes.length + tailBytes.length;
  if (headBytes.length > LIMITS.head_bytes) throw new RangeError(`the head of ${name} has ${headBytes.length} bytes; at most ${LIMITS.head_bytes}`);
  if (length > maxFrame) throw new RangeError(`${name} has ${length} bytes; the peer takes ${maxFrame}`);
  if (!inRange(stream, 0, 0x7fffffff)) throw new RangeError(`no stream id: ${stream}`);
  const bit = ACKS.has(name) ? frame.bit : Number(end);
  const header = Buffer.alloc(HEADER);
  header.writeUInt32BE(MARKER * 0x1000000 + length, 0);
  header.writeUInt8(frame.code, 4);
  header.writeUInt8(bit, 5);
  header.writeUInt16BE(headBytes.length, 6);
  header.writeUInt32BE(stream, 8);
  return Buffer.concat([header, headBytes, tailBytes]);
}
