/** The rules for single frames of the server, whatever their stream: header, state of the connection, head, credit. */

import { fail } from './errors.mjs';
import { withDefaults, wrongField } from './frames.mjs';
import { decodeMap, ProfileError } from './msgpack.mjs';
import { frameName, FRAMES, LIMITS } from './registry.mjs';

/**
 * Steps 3 to 7 of section 4.3: what 12 bytes tell by themselves.
 * @param {{length: number, type: number, flags: number, headLength: number, id: number}} header
 * @returns {string|null} the name of the frame, null for an unknown type
 */
export function checkHeader({ length, type, flags, headLength, id }) {
  if (headLength > length) fail('PROTOCOL_ERROR', 'head_len is above length');
  if (id > 0x7fffffff) fail('STREAM_ID', 'the top bit of a stream id is set');
  const name = frameName(type, flags & 1);
  if (!name) return null;
  const frame = FRAMES[name];
  const bit = frame.bit === 'stream' ? Number(id !== 0) : frame.bit;
  if (frame.from === 'client' || flags > 1 || (bit !== 'any' && (flags & 1) !== bit)) fail('PROTOCOL_ERROR', `${name} with flags ${flags} from a server`);
  if (frame.fields && headLength === 0) fail('BAD_HEAD', `${name} without a head`);
  if (!frame.fields && headLength > 0) fail('PROTOCOL_ERROR', `${name} with a head`);
  const tail = length - headLength;
  if (frame.tail === undefined && tail > 0) fail('PROTOCOL_ERROR', `${name} with a tail`);
  if (frame.tail === 8 && tail !== 8) fail('PROTOCOL_ERROR', `${name} of ${tail} bytes`);
  if (id === 0 ? frame.on === 'stream' : frame.on === 'zero') fail('PROTOCOL_ERROR', `${name} on stream ${id}`);
  return name;
}

/**
 * The table of section 3.3.
 * @param {string} state of the connection
 * @param {string} name of the frame
 * @param {number} id of its stream
 * @returns {boolean} whether the frame may come now
 */
export function legal(state, name, id) {
  if (name === 'GOAWAY' || (name === 'ERROR' && id === 0)) return true;
  if (name === 'WELCOME') return state === 'PREFACED';
  if (name === 'AUTH_OK') return state === 'AUTHENTICATING' || state === 'READY' || state === 'DRAINING';
  return state === 'READY' || state === 'DRAINING';
}

/**
 * The head of a frame, checked and with its defaults.
 * @param {string} name of the frame
 * @param {Uint8Array} bytes
 * @param {number} id of its stream
 * @returns {object|null} null when `crit` makes an end of the stream
 */
export function readHead(name, bytes, id) {
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
    return null;
  }
  checkFields(fields, head, name);
  return withDefaults(fields, head);
}

/**
 * @param {object} fields a table of registry.mjs
 * @param {object} head
 * @param {string} what it is, for people
 */
export function checkFields(fields, head, what) {
  const field = wrongField(fields, head);
  if (field) fail('BAD_HEAD', `${field} of ${what} is missing or wrong`);
}

/**
 * A window after CREDIT (FLW-005, FLW-006).
 * @param {number} window
 * @param {number|bigint} count
 * @returns {number}
 */
export function raised(window, count) {
  if (!(count >= 1 && count <= LIMITS.max_window)) fail('FLOW_CONTROL', 'CREDIT out of range');
  if (window + Number(count) > LIMITS.max_window) fail('FLOW_CONTROL', 'a window above 2^31-1');
  return window + Number(count);
}
