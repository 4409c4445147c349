/** A client that comes back after a lost connection and goes on where it was (SPEC.md, sections 9.4, 10 and 12.3). */

import { createHash, randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';

import { UsageError } from './errors.mjs';
import { ConnectionError, Link, RequestError } from './link.mjs';
import { encode } from './msgpack.mjs';
import { LIMITS, TERMINAL } from './registry.mjs';

/** The server does not have what it said it had, or sends what was not asked for. */
export class ServerError extends Error {
  /** @param {string} code @param {string} message @param {string} [reset] code of the RESET that tells the server */
  constructor(code, message, reset) {
    super(message);
    this.code = code;
    this.reset = reset;
  }
}

/** A UUID of version 7: hard to guess, unique, ordered by time. @returns {string} */
export function newJobId() {
  const bytes = randomBytes(16);
  bytes.writeUIntBE(Date.now(), 0, 6);
  bytes[6] = 0x70 | (bytes[6] & 0x0f);
  bytes[8] = 0x80 | (bytes[8] & 0x3f);
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}

export class Client {
  #link = null;
  #failures = 0;
  #defects = 0;
  #readySince = 0;
  #notBefore = 0;

  /**
   * @param {object} options as for Link.open, and
   * @param {number} [options.attempts] how often to connect or repeat in a row before giving up
   * @param {number} [options.artifactBytes] the largest artifact to accept
   * @param {(text: string) => void} [options.onNotice] told about reconnects
   */
  constructor({ attempts = 8, artifactBytes = LIMITS.artifact_bytes, onNotice = () => {}, ...options }) {
    this.options = options;
    this.attempts = attempts;
    this.artifactBytes = artifactBytes;
    this.onNotice = onNotice;
  }

  /** @param {string} job @returns {Promise<object>} the status map */
  status(job) {
    return this.#ask('STATUS', { job });
  }

  /** @param {string} job @param {string} [reason] @returns {Promise<object>} the status map of that moment */
  cancel(job, reason) {
    return this.#ask('CANCEL', { job, reason });
  }

  /** @returns {Promise<object[]>} the models, the default first */
  async models() {
    return (await this.#ask('LIST', { what: 'models' })).models ?? [];
  }

  /**
   * All jobs of this principal, the newest first, page by page.
   * @param {string[]} [states] only those in one of these states
   * @returns {AsyncGenerator<object>}
   */
  async *jobs(states) {
    let after;
    do {
      const page = await this.#ask('LIST', { what: 'jobs', after, states });
      yield* page.jobs ?? [];
      after = page.next;
    } while (after != null);
  }

  /**
   * Submits a job. It may be repeated as it is: the job id and the bytes stay the same.
   * @param {Submission} submission
   * @returns {Promise<object>} the status map, with `duplicate`
   */
  submit(submission) {
    return this.#ask('SUBMIT', submission.head, submission);
  }

  /**
   * Follows a job to its end, submitting it first if a submission is given, and gets its artifacts if they are wanted.
   * @param {string} job
   * @param {object} [options]
   * @param {Submission} [options.submission]
   * @param {boolean} [options.deliver] get all artifacts too
   * @param {string[]} [options.want] progress, preview
   * @param {(event: object) => void} [options.onEvent] for each status map and progress, once
   * @returns {Promise<{status: object, artifacts: Artifact[]}>}
   */
  async follow(job, { submission = null, deliver = false, want = [], onEvent = () => {} } = {}) {
    const state = { status: null, seen: -1, serverId: null, artifacts: new Map() };
    const report = (head) => {
      if (head.seq > state.seen) {
        state.seen = head.seq;
        onEvent(head);
      }
    };
    const handle = this.#followHandler(state, report);
    await this.#again(async (link) => {
      if (!state.status) {
        const first = submission
          ? ['SUBMIT', { ...submission.head, watch: true, want, deliver }, submission]
          : ['WATCH', { job, want, deliver }, {}];
        await this.#stream(link, ...first, handle(link));
      } else if (!TERMINAL.has(state.status.state)) {
        if (link.welcome.server_id !== state.serverId) throw new ServerError('JOB_NOT_FOUND', `job ${job} is on another server than the one that answers now`);
        const head = { job, after_seq: state.seen < 0 ? 0 : state.seen, want, deliver };
        await this.#stream(link, 'WATCH', head, {}, handle(link)).catch((error) => lost(error, job));
      }
      if (!TERMINAL.has(state.status.state)) throw new RequestError({ code: 0x010b, message: 'the stream ended before the job', retry: 'after' }, 'ERROR');
    });
    const { status } = state;
    if (!deliver || status.state !== 'succeeded') return { status, artifacts: [] };
    const artifacts = [];
    for (const index of indexes(status)) artifacts.push(await this.fetch(job, index, state.artifacts.get(index)));
    return { status, artifacts };
  }

  /**
   * Gets one artifact, or the rest of it.
   * @param {string} job
   * @param {number} [index]
   * @param {Artifact} [begun] what is there of it already
   * @returns {Promise<Artifact>}
   */
  async fetch(job, index = 0, begun = new Artifact(this.artifactBytes)) {
    const artifact = begun;
    if (artifact.complete) return artifact;
    await this.#again(async (link) => {
      if (artifact.complete) return;
      const head = { job, artifact: index, offset: artifact.received, etag: artifact.etag ?? undefined };
      let announced = false;
      const onEvent = (event) => {
        if (event.type === 'DATA') artifact.append(event.tail);
        else if (!announced) {
          announced = true;
          if (event.head.artifact !== index) throw new ServerError('PROTOCOL_ERROR', 'another artifact was announced', 'PROTOCOL_ERROR');
          artifact.announce(event.head);
        }
      };
      try {
        await this.#stream(link, 'FETCH', head, {}, onEvent);
      } catch (error) {
        if (!(error instanceof RequestError && error.code === 'ARTIFACT_CHANGED' && artifact.etag)) throw error;
        artifact.restart();
        error.retry = 'same_id';
        throw error;
      }
      if (!artifact.complete) throw new ServerError('PROTOCOL_ERROR', `artifact ${index} is not complete: ${artifact.received} of ${artifact.size} bytes`);
    });
    return artifact;
  }

  /** Leaves in order. @returns {Promise<void>} */
  async close() {
    await this.#link?.close();
  }

  // ---------------------------------------------------------------------------------------------------- inside

  /** A request with one answer. */
  async #ask(name, head, more = {}) {
    let answer;
    await this.#again((link) => this.#stream(link, name, head, more, (event) => {
      answer ??= event.head;
    }));
    return answer;
  }

  #stream(link, name, head, { tail, uploads } = {}, onEvent) {
    return link.request(name, head, { tail, uploads, onEvent });
  }

  /** What to do with the frames of a followed stream; a new one for each stream. */
  #followHandler(state, report) {
    return (link) => {
      let current = null;
      let first = true;
      let due = 0;
      return ({ type, head, tail }) => {
        if (type === 'RESULT' && first) {
          first = false;
          state.status = head;
          state.serverId = link.welcome.server_id;
          report(head);
        } else if (type === 'RESULT') {
          if (head.artifact !== due) throw new ServerError('PROTOCOL_ERROR', `artifact ${head.artifact} came instead of ${due}`, 'PROTOCOL_ERROR');
          due += 1;
          current = state.artifacts.get(head.artifact) ?? new Artifact(this.artifactBytes);
          if (current.size !== null) current.restart();
          current.announce(head);
          state.artifacts.set(head.artifact, current);
        } else if (type === 'DATA') current.append(tail);
        else if (type === 'EVENT' && head.event === 'state') {
          state.status = head;
          report(head);
        } else if (type === 'EVENT' && head.event === 'progress') report(head);
      };
    };
  }

  /** Does step, on a new connection or again as often as the answers allow it (sections 10.3, 12.3). */
  async #again(step) {
    let repeats = 0;
    for (;;) {
      try {
        await step(await this.#connected());
        return;
      } catch (error) {
        if (error instanceof ConnectionError) await this.#lost(error);
        else if (error instanceof RequestError && error.retry !== 'no' && (repeats += 1) < this.attempts) {
          this.onNotice(`${error.message}; trying again`);
          if (error.code === 'DRAINING') this.#link?.leave();
          await this.#pause(Math.max(error.after, error.retry === 'after' && !error.after ? LIMITS.reconnect_min_ms : 0), repeats);
        } else throw error;
      }
    }
  }

  /** A link that takes requests. */
  async #connected() {
    const old = this.#link;
    if (old?.usable) return old;
    this.#link = null;
    if (old?.error) await this.#lost(old.error);
    else if (old) {
      this.#notBefore = Math.max(this.#notBefore, Date.now() + old.after);
      old.leave();
    }
    const wait = this.#notBefore - Date.now();
    if (wait > 0) await this.#sleep(wait);
    this.#link = await Link.open(this.options);
    this.#readySince = Date.now();
    return this.#link;
  }

  /** After a lost connection: waits, or throws when connecting again does not help. */
  async #lost(error) {
    if (this.#readySince > 0 && Date.now() - this.#readySince >= LIMITS.stable_ms) this.#failures = 0;
    this.#readySince = 0;
    this.#link = null;
    this.#failures += 1;
    this.#defects += Number(error.defect);
    if (error.stop || this.#defects > 1 || this.#failures >= this.attempts) throw error;
    this.onNotice(`${error.message}; connecting again`);
    this.#notBefore = Date.now() + error.after;
    await this.#pause(error.after, this.#failures);
  }

  /** Full jitter on top of what the server asked for (DRN-009). */
  async #pause(least, k) {
    const most = Math.min(LIMITS.reconnect_max_ms, LIMITS.reconnect_min_ms * 2 ** (k - 1));
    await this.#sleep(least + Math.random() * most);
  }

  async #sleep(wait) {
    await sleep(wait, undefined, { signal: this.options.signal }).catch(() => {
      throw new ConnectionError('given up', { code: 'TIMEOUT', stop: true });
    });
  }
}

/** An accepted job that is not there any more: it is never submitted again (DRN-011). */
function lost(error, job) {
  if (error instanceof RequestError && error.code === 'JOB_NOT_FOUND') throw new ServerError('JOB_NOT_FOUND', `the server has lost job ${job}`);
  throw error;
}

/** The artifacts that a status map lists. */
function indexes({ artifacts }) {
  const list = artifacts ?? [];
  if (!Array.isArray(list) || !list.every((item) => Number.isInteger(item?.artifact))) {
    throw new ServerError('PROTOCOL_ERROR', 'the status map lists its artifacts in a form that is not known here');
  }
  return list.map(({ artifact }) => artifact);
}

/** What a SUBMIT says, kept byte for byte until it is answered (REQ-006). */
export class Submission {
  /**
   * @param {object} options
   * @param {string} options.job
   * @param {string} options.kind
   * @param {object} options.params those of section 8.8.1; undefined and null are left out
   * @param {{name: string, mediaType: string, bytes: Uint8Array}[]} [options.attachments]
   */
  constructor({ job, kind, params, attachments = [] }) {
    this.tail = encode(Object.fromEntries(Object.entries(params).filter(([, value]) => value != null)));
    this.uploads = attachments.map(({ bytes }) => bytes);
    const announced = attachments.map(({ name, mediaType, bytes }) => ({
      name, size: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex'), media_type: mediaType,
    }));
    this.head = { job, kind, ...(announced.length > 0 && { attachments: announced }) };
  }
}

/** One finished image, as far as it has come. */
export class Artifact {
  #chunks = [];

  /** @param {number} limit the largest that is accepted, in bytes */
  constructor(limit) {
    this.limit = limit;
    this.restart();
  }

  /** Throws away what has come. */
  restart() {
    this.#chunks = [];
    this.received = 0;
    this.etag = null;
    this.size = null;
    this.about = null;
  }

  /** Takes an announcement. @param {object} head */
  announce(head) {
    if (head.size > this.limit) throw new ServerError('TOO_LARGE', `the artifact has ${head.size} bytes; at most ${this.limit} are accepted`, 'NO_ERROR');
    if (this.etag !== null && head.etag !== this.etag) throw new ServerError('PROTOCOL_ERROR', 'the artifact has another etag than was asked for', 'PROTOCOL_ERROR');
    if (head.offset !== this.received || this.received + Number(head.length) !== head.size) {
      throw new ServerError('PROTOCOL_ERROR', 'the announced bytes are not those that were asked for', 'PROTOCOL_ERROR');
    }
    this.etag = head.etag;
    this.size = head.size;
    this.about = head;
  }

  /** @param {Uint8Array} bytes */
  append(bytes) {
    this.#chunks.push(bytes);
    this.received += bytes.length;
  }

  get complete() {
    return this.size !== null && this.received === this.size;
  }

  /** @returns {Buffer} */
  get bytes() {
    return Buffer.concat(this.#chunks);
  }
}

export { ConnectionError, RequestError, UsageError };
