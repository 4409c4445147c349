/**
 * The msgpack profile of PXW/1 (SPEC.md, section 5).
 *
 * A decoder of our own, because the profile needs what general decoders do not keep: limits that hold before anything is
 * allocated, strict UTF-8, and the difference between the int 5 and the float 5.0.
 */

export const PROFILE = { depth: 8, entries: 1024, values: 4096, str: 16384, bin: 1024 };

/** What is not in the profile. */
export class ProfileError extends Error {}

/** A float with an integral value: behaves like the number, and is still not an int (MSG-010). */
export class Float extends Number {}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Whether value is a msgpack int: a safe number or a BigInt, but no Float. */
export const isInt = (value) => typeof value === 'bigint' || (typeof value === 'number' && Number.isSafeInteger(value));

/** Whether value is a decoded map. */
export const isMap = (value) =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Float) && !ArrayBuffer.isView(value);

class Reader {
  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.at = 0;
    this.values = 0;
  }

  skip(count) {
    const at = this.at;
    if (count > this.bytes.length - at) throw new ProfileError('it ends too early');
    this.at = at + count;
    return at;
  }

  uint(size) {
    const at = this.skip(size);
    if (size === 1) return this.view.getUint8(at);
    if (size === 2) return this.view.getUint16(at);
    if (size === 4) return this.view.getUint32(at);
    return narrow(this.view.getBigUint64(at));
  }

  sint(size) {
    const at = this.skip(size);
    if (size === 1) return this.view.getInt8(at);
    if (size === 2) return this.view.getInt16(at);
    if (size === 4) return this.view.getInt32(at);
    return narrow(this.view.getBigInt64(at));
  }

  float(value) {
    if (!Number.isFinite(value)) throw new ProfileError('a float that is not finite');
    return Number.isInteger(value) ? new Float(value) : value;
  }

  str(length) {
    if (length > PROFILE.str) throw new ProfileError('a string is too long');
    const at = this.skip(length);
    try {
      return utf8.decode(this.bytes.subarray(at, at + length));
    } catch {
      throw new ProfileError('a string is not UTF-8');
    }
  }

  bin(length) {
    if (length > PROFILE.bin) throw new ProfileError('a bin is too long');
    const at = this.skip(length);
    return Buffer.from(this.bytes.subarray(at, at + length));
  }

  container(count, size, depth) {
    if (depth > PROFILE.depth) throw new ProfileError('nested too deeply');
    if (count > PROFILE.entries) throw new ProfileError('too many entries');
    if (count * size > this.bytes.length - this.at) throw new ProfileError('it ends too early');
  }

  array(count, depth) {
    this.container(count, 1, depth);
    const list = [];
    for (let i = 0; i < count; i += 1) list.push(this.value(depth + 1));
    return list;
  }

  map(count, depth) {
    this.container(count, 2, depth);
    const map = Object.create(null);
    for (let i = 0; i < count; i += 1) {
      const key = this.value(depth + 1);
      if (typeof key !== 'string') throw new ProfileError('a key is not a string');
      map[key] = this.value(depth + 1);
    }
    return map;
  }

  /** One value; depth is the level that a container here would have. */
  value(depth) {
    this.values += 1;
    if (this.values > PROFILE.values) throw new ProfileError('too many values');
    const byte = this.uint(1);
    if (byte < 0x80) return byte;
    if (byte < 0x90) return this.map(byte & 0x0f, depth);
    if (byte < 0xa0) return this.array(byte & 0x0f, depth);
    if (byte < 0xc0) return this.str(byte & 0x1f);
    if (byte >= 0xe0) return byte - 0x100;
    switch (byte) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: return this.bin(this.uint(1));
      case 0xc5: return this.bin(this.uint(2));
      case 0xc6: return this.bin(this.uint(4));
      case 0xca: return this.float(this.view.getFloat32(this.skip(4)));
      case 0xcb: return this.float(this.view.getFloat64(this.skip(8)));
      case 0xcc: return this.uint(1);
      case 0xcd: return this.uint(2);
      case 0xce: return this.uint(4);
      case 0xcf: return this.uint(8);
      case 0xd0: return this.sint(1);
      case 0xd1: return this.sint(2);
      case 0xd2: return this.sint(4);
      case 0xd3: return this.sint(8);
      case 0xd9: return this.str(this.uint(1));
      case 0xda: return this.str(this.uint(2));
      case 0xdb: return this.str(this.uint(4));
      case 0xdc: return this.array(this.uint(2), depth);
      case 0xdd: return this.array(this.uint(4), depth);
      case 0xde: return this.map(this.uint(2), depth);
      case 0xdf: return this.map(this.uint(4), depth);
      default: throw new ProfileError('a type that the profile does not have');
    }
  }
}

const narrow = (big) => (big >= -9007199254740991n && big <= 9007199254740991n ? Number(big) : big);

/**
 * Decodes exactly one map.
 * @param {Uint8Array} bytes
 * @returns {object} a map without prototype; ints beyond 2^53 are BigInt, floats with integral values are Float
 * @throws {ProfileError}
 */
export function decodeMap(bytes) {
  const reader = new Reader(bytes);
  const value = reader.value(1);
  if (!isMap(value)) throw new ProfileError('not a map');
  if (reader.at !== bytes.length) throw new ProfileError('bytes after the map');
  return value;
}

/**
 * Encodes a value in the shortest form. An integral number is an int, a Float or any other number a float 64; keys whose
 * value is undefined are left out.
 * @param {*} value
 * @returns {Buffer}
 */
export function encode(value) {
  const parts = [];
  put(value, parts, 1);
  return Buffer.concat(parts);
}

function put(value, parts, depth) {
  if (value === null) parts.push(Buffer.of(0xc0));
  else if (value === true || value === false) parts.push(Buffer.of(value ? 0xc3 : 0xc2));
  else if (isInt(value)) putInt(value, parts);
  else if (typeof value === 'number' || value instanceof Float) putFloat(Number(value), parts);
  else if (typeof value === 'string') putStr(value, parts);
  else if (ArrayBuffer.isView(value)) putBin(value, parts);
  else if (Array.isArray(value)) {
    bound(value.length, depth);
    parts.push(prefix(value.length, 0x90, 15, null, 0xdc));
    for (const item of value) put(item, parts, depth + 1);
  } else if (typeof value === 'object') {
    const entries = Object.entries(value).filter(([, item]) => item !== undefined);
    bound(entries.length, depth);
    parts.push(prefix(entries.length, 0x80, 15, null, 0xde));
    for (const [key, item] of entries) {
      putStr(key, parts);
      put(item, parts, depth + 1);
    }
  } else throw new TypeError(`msgpack has no ${typeof value}`);
}

function bound(count, depth) {
  if (depth > PROFILE.depth) throw new RangeError('nested too deeply');
  if (count > PROFILE.entries) throw new RangeError('too many entries');
}

/** The shortest header for a length: in the byte itself, or behind one of three codes for 8, 16 and 32 bits. */
function prefix(length, fix, fixMax, code8, code16) {
  if (length <= fixMax) return Buffer.of(fix | length);
  if (code8 !== null && length < 0x100) return Buffer.of(code8, length);
  return Buffer.of(code16, length >> 8, length & 0xff);
}

function putStr(text, parts) {
  if (!text.isWellFormed()) throw new RangeError('a string with half a surrogate pair');
  const bytes = Buffer.from(text, 'utf8');
  if (bytes.length > PROFILE.str) throw new RangeError(`a string of ${bytes.length} bytes; at most ${PROFILE.str}`);
  parts.push(prefix(bytes.length, 0xa0, 31, 0xd9, 0xda), bytes);
}

function putBin(view, parts) {
  const bytes = Buffer.from(view.buffer, view.byteOffset, view.byteLength);
  if (bytes.length > PROFILE.bin) throw new RangeError(`a bin of ${bytes.length} bytes; at most ${PROFILE.bin}`);
  parts.push(prefix(bytes.length, 0, -1, 0xc4, 0xc5), bytes);
}

function putFloat(value, parts) {
  if (!Number.isFinite(value)) throw new RangeError('a float that is not finite');
  const bytes = Buffer.alloc(9, 0xcb);
  bytes.writeDoubleBE(value, 1);
  parts.push(bytes);
}

function putInt(value, parts) {
  const bytes = Buffer.alloc(9);
  let length;
  if (value >= 0) {
    if (value < 0x80) length = bytes.writeUInt8(Number(value), 0);
    else if (value < 0x100) length = bytes.writeUInt8(Number(value), head(bytes, 0xcc));
    else if (value < 0x10000) length = bytes.writeUInt16BE(Number(value), head(bytes, 0xcd));
    else if (value < 0x100000000) length = bytes.writeUInt32BE(Number(value), head(bytes, 0xce));
    else length = bytes.writeBigUInt64BE(BigInt(value), head(bytes, 0xcf));
  } else if (value >= -0x20) length = bytes.writeInt8(Number(value), 0);
  else if (value >= -0x80) length = bytes.writeInt8(Number(value), head(bytes, 0xd0));
  else if (value >= -0x8000) length = bytes.writeInt16BE(Number(value), head(bytes, 0xd1));
  else if (value >= -0x80000000) length = bytes.writeInt32BE(Number(value), head(bytes, 0xd2));
  else length = bytes.writeBigInt64BE(BigInt(value), head(bytes, 0xd3));
  parts.push(bytes.subarray(0, length));
}

function head(bytes, code) {
  bytes[0] = code;
  return 1;
}
