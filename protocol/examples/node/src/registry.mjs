/** Numbers and tables of PXW/1: frame types, fields, limits, errors (SPEC.md, sections 4.1, 8, 10.2 and 11). */

const MAX31 = 2 ** 31 - 1;
const MAX53 = 2 ** 53 - 1;
const MAX63 = 2n ** 63n - 1n;

const required = { required: true };
const str = (min, max, more) => ({ type: 'str', min, max, ...more });
const int = (min, max, more) => ({ type: 'int', min, max, ...more });
const bool = { type: 'bool', default: false };
const strings = (entries, bytes) => ({ type: 'list', entries, bytes, default: [] });
const job = str(1, 64, { required: true, form: /^[A-Za-z0-9._-]+$/ });
const want = strings(16, 32);
const limits = { type: 'limits', default: {} };

/** Keys of the bodies of RESULT and EVENT; only what a client cannot do without is checked. */
export const BODIES = {
  status: { job, state: str(0, 65535, required), seq: int(0, MAX63, required) },
  announcement: {
    artifact: int(0, MAX63, required), etag: str(1, 128, required), size: int(0, MAX63, required),
    offset: int(0, MAX63, required), length: int(0, MAX63, required),
  },
  list: { what: str(0, 65535, required) },
  event: { event: str(0, 65535, required) },
};

const STATUS_KEYS = ['job', 'kind', 'state', 'seq', 'attempt', 'step', 'steps', 'seed', 'queue_position', 'artifacts', 'error',
  'timings', 'engine', 'params', 'attachments', 'traceparent', 'retain_ms', 'priority', 'tags', 'eta_ms', 'deadline_ms', 'duplicate', 'event'];
const ANNOUNCEMENT_KEYS = ['job', 'artifact', 'etag', 'size', 'offset', 'length', 'media_type', 'width', 'height', 'seed'];
const LIST_KEYS = ['what', 'models', 'jobs', 'next'];
const ADMIN_KEYS = ['paused', 'draining', 'cancelled', 'job', 'model', 'reason', 'uptime_ms', 'connections', 'queue', 'running', 'waiting',
  'failed', 'engine', 'models', 'principals', 'cost'];
const tag = /^[^\p{Cc}]+$/u;
const ACTIONS = ['overview', 'pause', 'resume', 'drain', 'cancel', 'requeue', 'load', 'unload', 'add_model', 'remove_model'];
const oneOf = (...words) => new RegExp(`^(?:${words.join('|')})$`);

/**
 * The frames. `bit` is what bit 0 has to be: 0, 1, 'any', or 'stream' (1 except on stream 0); `on` is where it belongs;
 * `fields` are those of the head (absent: no head), `keys` the keys that `crit` may name; `tail` is none, any or 8 bytes.
 */
export const FRAMES = {
  HELLO: { code: 0x01, from: 'client', bit: 0, on: 'zero', fields: { agent: str(0, 128, required), features: strings(64, 64), limits } },
  WELCOME: {
    code: 0x01, from: 'server', bit: 1, on: 'zero',
    fields: {
      agent: str(0, 128, required), server_id: str(0, 64, required), epoch: str(0, 64, required), features: strings(64, 64),
      durable: str(0, 32, { default: 'none' }), limits, auth: strings(8, 32), principal: str(1, 256), roles: strings(8, 32),
    },
  },
  AUTH: { code: 0x02, from: 'client', bit: 0, on: 'zero', fields: { mechanism: str(1, 32, required), token: str(1, 3072, required) } },
  AUTH_OK: { code: 0x02, from: 'server', bit: 1, on: 'zero', fields: { principal: str(1, 256, required), expires_ms: int(0, MAX53), roles: strings(8, 32) } },
  PING: { code: 0x04, from: 'both', bit: 0, on: 'zero', tail: 8 },
  PONG: { code: 0x04, from: 'both', bit: 1, on: 'zero', tail: 8 },
  ERROR: {
    code: 0x05, from: 'both', bit: 'stream', on: 'any',
    fields: {
      code: int(0, 65535, required), name: str(0, 64, { default: '' }), message: str(0, 1024, { default: '' }),
      retry: str(0, 16, { default: 'no' }), processed: str(0, 16, { default: 'maybe' }), retry_after_ms: int(0, MAX31), details: { type: 'map' },
    },
  },
  GOAWAY: {
    code: 0x06, from: 'both', bit: 0, on: 'zero',
    fields: {
      last_stream: int(0, MAX31, required), code: int(0, 65535, required), name: str(0, 64, { default: '' }),
      message: str(0, 1024, { default: '' }), grace_ms: int(0, MAX31), reconnect_after_ms: int(0, MAX31),
    },
  },
  RESET: { code: 0x07, from: 'both', bit: 0, on: 'stream', fields: { code: int(0, 65535, required), name: str(0, 64, { default: '' }) } },
  SUBMIT: {
    code: 0x10, from: 'client', bit: 'any', on: 'stream', tail: 'any',
    fields: {
      job, kind: str(1, 64, required), ct: str(0, 64, { default: 'application/msgpack' }), watch: bool, want, deliver: bool,
      attachments: { type: 'attachments', default: [] }, traceparent: str(55, 55), tracestate: str(0, 512),
      priority: str(0, 16, { default: 'normal', form: oneOf('low', 'normal', 'high') }), timeout_ms: int(1, MAX31), queue_ttl_ms: int(1, MAX31),
      run_timeout_ms: int(1, MAX31), tags: strings(8, 64),
    },
  },
  STATUS: { code: 0x11, from: 'client', bit: 1, on: 'stream', fields: { job } },
  CANCEL: { code: 0x12, from: 'client', bit: 1, on: 'stream', fields: { job, reason: str(0, 256, { default: '' }) } },
  WATCH: { code: 0x13, from: 'client', bit: 1, on: 'stream', fields: { job, after_seq: int(0, MAX63, { default: 0 }), want, deliver: bool } },
  LIST: {
    code: 0x15, from: 'client', bit: 1, on: 'stream',
    fields: { what: str(0, 64, required), limit: int(1, 100, { default: 50 }), after: str(0, 128), states: strings(64, 32), tag: str(1, 64, { form: tag }) },
  },
  ADMIN: {
    code: 0x16, from: 'client', bit: 1, on: 'stream',
    fields: {
      action: str(0, 32, { required: true, form: oneOf(...ACTIONS) }), job: str(1, 64, { form: job.form }), principal: str(1, 256),
      model: str(1, 256), path: str(1, 4096), reason: str(0, 256, { default: '' }), limit: int(1, 1000, { default: 50 }),
    },
  },
  FETCH: {
    code: 0x20, from: 'client', bit: 1, on: 'stream',
    fields: { job, artifact: int(0, 63, { default: 0 }), offset: int(0, MAX63, { default: 0 }), length: int(0, MAX63), etag: str(1, 128) },
  },
  DATA: { code: 0x21, from: 'both', bit: 'any', on: 'stream', tail: 'any' },
  CREDIT: { code: 0x22, from: 'both', bit: 0, on: 'any', fields: { n: { type: 'int', required: true } } },
  RESULT: { code: 0x30, from: 'server', bit: 'any', on: 'stream', fields: {}, keys: [...STATUS_KEYS, ...ANNOUNCEMENT_KEYS, ...LIST_KEYS, ...ADMIN_KEYS] },
  EVENT: { code: 0x31, from: 'server', bit: 'any', on: 'stream', fields: {}, keys: STATUS_KEYS },
  PREVIEW: {
    code: 0x32, from: 'server', bit: 0, on: 'stream', tail: 'any',
    fields: {
      job, seq: int(0, MAX63, required), step: int(0, 1000000, required), steps: int(0, 1000000, required),
      media_type: str(1, 64, required), width: int(1, 65535, required), height: int(1, 65535, required),
    },
  },
};

/** Names of frames whose bit 0 is ACK and not END. */
export const ACKS = new Set(['HELLO', 'WELCOME', 'AUTH', 'AUTH_OK', 'PING', 'PONG']);
export const REQUESTS = new Set(['SUBMIT', 'STATUS', 'CANCEL', 'WATCH', 'LIST', 'ADMIN', 'FETCH']);

/**
 * The frame that a type byte and bit 0 mean, or undefined for an unknown type.
 * @param {number} code
 * @param {number} bit
 */
export const frameName = (code, bit) => NAMES.get(code)?.[NAMES.get(code).length > 1 ? bit : 0];
const NAMES = new Map();
for (const [name, { code }] of Object.entries(FRAMES)) NAMES.set(code, [...(NAMES.get(code) ?? []), name]);

/** Limits that a side declares: [default, minimum, maximum]. */
export const DECLARED = {
  max_frame: [262144, 4096, 16777215], stream_window: [262144, 1024, 16777216], connection_window: [1048576, 1024, 67108864],
  max_streams: [128, 1, 1024], idle_ms: [60000, 1000, 3600000], ping_timeout_ms: [20000, 1000, 600000],
  min_ping_ms: [5000, 0, 600000], max_upload: [0, 0, MAX53], retain_ms: [86400000, 0, MAX53], dedupe_ms: [604800000, 0, MAX53],
  stream_rate: [10000, 1, 1000000],
};
export const LIMITS = {
  handshake_max_frame: 4096, head_bytes: 65535, max_window: MAX31, control_frames: 1000, control_bytes: 262144, small_data_run: 1000,
  data_chunk: 65536, handshake_ms: 10000, write_stall_ms: 30000, artifact_bytes: 268435456, reconnect_min_ms: 200, reconnect_max_ms: 10000,
  stable_ms: 30000,
};
export const TERMINAL = new Set(['succeeded', 'failed', 'cancelled', 'expired']);
export const STATES = new Set(['queued', 'running', ...TERMINAL]);

/** Error codes: name -> [code, retry, processed]. */
export const ERRORS = {
  NO_ERROR: [0x0000, 'no', 'yes'],
  PROTOCOL_ERROR: [0x0100, 'no', 'maybe'], FRAME_TOO_LARGE: [0x0101, 'no', 'no'], BAD_HEAD: [0x0102, 'no', 'maybe'],
  UNKNOWN_CRITICAL: [0x0103, 'no', 'no'], FLOW_CONTROL: [0x0104, 'no', 'maybe'], STREAM_ID: [0x0105, 'no', 'maybe'],
  VERSION_UNSUPPORTED: [0x0106, 'no', 'no'], HANDSHAKE_TIMEOUT: [0x0107, 'after', 'no'], IDLE_TIMEOUT: [0x0108, 'same_id', 'maybe'],
  EXCESSIVE_LOAD: [0x0109, 'after', 'maybe'], SLOW_CONSUMER: [0x010a, 'after', 'maybe'], INTERNAL: [0x010b, 'same_id', 'maybe'],
  AUTH_REQUIRED: [0x0200, 'no', 'no'], AUTH_FAILED: [0x0201, 'no', 'no'], AUTH_EXPIRED: [0x0202, 'same_id', 'no'], FORBIDDEN: [0x0203, 'no', 'no'],
  INVALID_ARGUMENT: [0x0300, 'no', 'no'], UNKNOWN_FRAME: [0x0301, 'no', 'no'], JOB_NOT_FOUND: [0x0302, 'no', 'no'],
  JOB_CONFLICT: [0x0303, 'no', 'no'], JOB_EXPIRED: [0x0304, 'no', 'yes'], ARTIFACT_NOT_FOUND: [0x0305, 'no', 'no'],
  ARTIFACT_CHANGED: [0x0306, 'no', 'no'], OFFSET_OUT_OF_RANGE: [0x0307, 'no', 'no'], UNSUPPORTED: [0x0308, 'no', 'no'],
  UPLOAD_STALLED: [0x0309, 'same_id', 'no'],
  QUEUE_FULL: [0x0400, 'after', 'no'], RATE_LIMITED: [0x0401, 'after', 'no'], QUOTA_EXCEEDED: [0x0402, 'after', 'no'],
  DRAINING: [0x0403, 'after', 'no'], TOO_MANY_STREAMS: [0x0404, 'after', 'no'], PAUSED: [0x0405, 'after', 'no'],
  CANCELLED: [0x0500, 'no', 'yes'], DEADLINE_EXCEEDED: [0x0501, 'no', 'yes'], WORKER_LOST: [0x0502, 'same_id', 'yes'],
  OUT_OF_MEMORY: [0x0503, 'no', 'yes'], CONTENT_REJECTED: [0x0504, 'no', 'yes'], PIPELINE_ERROR: [0x0505, 'no', 'yes'],
};
const BY_CODE = new Map(Object.entries(ERRORS).map(([name, [code]]) => [code, name]));
const CLASSES = ['none', 'connection', 'auth', 'request', 'capacity', 'execution'];

/**
 * What a code means, also an unknown one (ERR-010).
 * @param {number} code
 * @returns {{code: number, name: string|null, class: string, retry: string}} name is null for an unknown code
 */
export function errorOf(code) {
  const name = BY_CODE.get(code) ?? null;
  const kind = CLASSES[code >> 8] ?? (code >= 0xe000 ? 'private' : 'internal');
  return { code, name, class: kind, retry: name ? ERRORS[name][1] : kind === 'capacity' ? 'after' : 'no' };
}
