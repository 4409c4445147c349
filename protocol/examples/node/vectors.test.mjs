/** Runs the test vectors of PXW/1 (protocol/vectors/README.md) against the connection: node --test */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { Connection } from './src/connection.mjs';
import { encodeFrame, HEADER, withDefaults } from './src/frames.mjs';
import { decodeMap, encode, Float, ProfileError } from './src/msgpack.mjs';
import { ACKS, errorOf, frameName, FRAMES } from './src/registry.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const folder = path.resolve(here, process.env.PXW_VECTORS ?? '../../vectors');
const files = readdirSync(folder).filter((name) => name.endsWith('.json'));

/** JSON with integers beyond 2^53 as BigInt. */
const load = (name) =>
  JSON.parse(readFileSync(path.join(folder, name), 'utf8').replace(/([:[,]\s*)(-?\d{16,})(?=\s*[,}\]])/g, '$1"bigint $2"'), (key, value) =>
    typeof value === 'string' && value.startsWith('bigint ') ? narrow(BigInt(value.slice(7))) : value);
const narrow = (big) => (Number.isSafeInteger(Number(big)) ? Number(big) : big);
const bytes = (hex) => Buffer.from(hex, 'hex');

const HANDSHAKE = {
  preface: bytes('8950585701010000'),
  welcome: bytes('c1000023010100230000000083a56167656e74a7766563746f7273a97365727665725f6964a173a565706f6368a165'),
  asking: bytes('c1000030010100300000000084a56167656e74a7766563746f7273a97365727665725f6964a173a565706f6368a165a46175746891a6626561726572'),
  ok: bytes('c1000011020100110000000081a97072696e636970616ca5616c696365'),
};
const IGNORABLE = bytes('c10000009d00000000000000');

/** Whether got has everything that want states. */
function matches(want, got) {
  if (got instanceof Float) return want === Number(got);
  if (Array.isArray(want)) return Array.isArray(got) && want.length === got.length && want.every((item, i) => matches(item, got[i]));
  if (want !== null && typeof want === 'object') {
    return got !== null && typeof got === 'object' && Object.entries(want).every(([key, value]) => key in got && matches(value, got[key]));
  }
  return want === got;
}

/** A frame in bytes as the event it would be at the other side. */
function decodeFrame(frame) {
  const headLength = frame.readUInt16BE(6);
  const type = frameName(frame[4], frame[5] & 1);
  const head = headLength > 0 ? decodeMap(frame.subarray(HEADER, HEADER + headLength)) : {};
  if (FRAMES[type].fields) withDefaults(FRAMES[type].fields, head);
  const event = { type, stream: frame.readUInt32BE(8), end: frame[5] === 1 && !ACKS.has(type), head, tail: frame.subarray(HEADER + headLength) };
  if ('code' in head) event.name = errorOf(head.code).name;
  return event;
}

const shown = (event) => (event.tail ? { ...event, tail: Buffer.from(event.tail).toString('hex') } : event);

/** The endpoint of README.md: receive, eof, send, sent. */
class Endpoint {
  constructor(options) {
    this.connection = new Connection({ agent: 'vectors', ...options });
  }

  receive(piece) {
    return this.connection.receive(piece).map(shown);
  }

  eof() {
    return this.connection.eof();
  }

  send(frame) {
    const { type, stream, head, tail } = decodeFrame(frame);
    switch (type) {
      case 'AUTH': return this.connection.auth(head.mechanism, head.token);
      case 'PING': return this.connection.ping(tail);
      case 'RESET': return this.connection.reset(stream, errorOf(head.code).name);
      case 'CREDIT': return this.connection.credit(stream, head.n);
      case 'GOAWAY': return this.connection.goaway(errorOf(head.code).name);
      case 'DATA': return this.connection.upload(stream, tail);
      default: return assert.equal(this.connection.request(type, decodeMap(frame.subarray(HEADER, HEADER + frame.readUInt16BE(6))), tail), stream);
    }
  }

  raw() {
    const frames = [];
    for (let frame = this.connection.take(); frame; frame = this.connection.take()) frames.push(frame);
    return frames;
  }

  sent() {
    return this.raw().map((frame) => (frame[0] === 0xc1 ? shown(decodeFrame(frame)) : { preface: frame.toString('hex') }));
  }
}

function make(one) {
  const end = new Endpoint({ limits: one.limits ?? {}, features: one.features ?? [] });
  end.sent();
  if (one.state === 'start') return end;
  end.receive(HANDSHAKE.preface);
  if (one.state === 'preface') return end;
  const asking = one.state === 'authenticating' || one.auth?.length > 0;
  end.receive(one.peer ? bytes(one.peer) : asking ? HANDSHAKE.asking : HANDSHAKE.welcome);
  if (one.state === 'ready' && asking) {
    end.connection.auth('bearer', 't');
    end.receive(HANDSHAKE.ok);
  }
  end.sent();
  assert.equal(end.connection.state, one.state === 'ready' ? 'READY' : 'AUTHENTICATING');
  return end;
}

/** Feeds pieces to the endpoint; returns null when the case holds, else what is wrong. */
function run(one, pieces) {
  const end = make(one);
  for (const step of one.setup ?? []) {
    if ('send' in step) end.send(bytes(step.send));
    else end.receive(bytes(step.receive));
    end.sent();
  }
  let got = pieces.flatMap((piece) => end.receive(piece));
  if (one.eof) got = [...got, ...end.eof()];
  const sent = end.sent();
  const want = one.expect;
  const wrong = () => `reported ${print(got)}, sent ${print(sent)}`;
  if (Array.isArray(want)) {
    if (one.sends && !matches(one.sends, sent)) return wrong();
    return matches(want, got) ? null : wrong();
  }
  const before = want.after ?? [];
  if (!matches(before, got.slice(0, before.length))) return wrong();
  const rest = got.slice(before.length);
  if (want.scope !== 'stream' && matches([{ failed: want.error }], rest)) {
    if (one.sends) return matches(one.sends, sent) ? null : wrong();
    return sent.at(-1)?.type === 'GOAWAY' && sent.at(-1).name === want.error ? null : wrong();
  }
  const refusal = { type: 'RESET', stream: want.stream, name: want.error };
  const refused = want.scope !== 'connection' && sent.some((frame) => matches(refusal, frame)) && rest.length === 0;
  return refused ? null : wrong();
}

const print = (value) => JSON.stringify(value, (key, item) => (typeof item === 'bigint' ? `${item}` : item)).slice(0, 2000);

/** Every way to cut the bytes that README.md names: whole, byte by byte, in two at every place. */
function* cuts(all) {
  yield ['whole', [all]];
  yield ['byte by byte', Array.from(all, (byte) => Buffer.of(byte))];
  for (let at = 1; at < all.length; at += 1) yield [`cut at ${at}`, [all.subarray(0, at), all.subarray(at)]];
}

for (const file of files.filter((name) => name !== 'params.json' && name !== 'sessions.json')) {
  for (const one of load(file).filter(({ side }) => side === 'client')) {
    test(`${file} ${one.id}: ${one.title}`, () => {
      const all = bytes(one.hex);
      for (const [how, pieces] of cuts(all)) assert.equal(run(one, pieces), null, how);
      if (!one.eof) {
        for (const more of followers(one)) {
          const whole = Buffer.concat([all, more]);
          for (const pieces of [[whole], [all, more], Array.from(whole, (byte) => Buffer.of(byte))]) {
            assert.equal(run(one, pieces), null, `followed by ${more.length} bytes, in ${pieces.length}`);
          }
        }
      }
      if (one.encode) {
        const events = received(one, all);
        assert.equal(Buffer.concat(events.map((event) => encodeFrame(event.type, event))).toString('hex'), one.hex, 'encoded again');
      }
    });
  }
}

/** The bytes that may follow a case without an effect: a whole frame only where the handshake is done by then. */
function followers({ state, expect }) {
  const failed = !Array.isArray(expect) && expect.scope !== 'stream';
  const asked = Array.isArray(expect) && expect.some(({ head }) => head?.auth?.length > 0);
  const ready = failed || ((state === 'ready' || state === 'preface') && !asked);
  return ready ? [IGNORABLE, IGNORABLE.subarray(0, 7)] : [IGNORABLE.subarray(0, 3)];
}

/** The events of a case, not yet in the shape of README.md. */
function received(one, all) {
  const end = make(one);
  for (const step of one.setup ?? []) {
    if ('send' in step) end.send(bytes(step.send));
    else end.receive(bytes(step.receive));
  }
  return end.connection.receive(all);
}

// Heads are the same in both directions, so the decoder also gets those of the vectors for servers.
for (const one of load('msgpack.json').filter(({ side }) => side === 'server')) {
  test(`msgpack.json ${one.id}, the head alone: ${one.title}`, () => {
    const frame = bytes(one.hex);
    const head = frame.subarray(HEADER, HEADER + frame.readUInt16BE(6));
    const connection = frame[4] === 0x22; // the two that are about a field, not about the profile
    if (one.expect.error === 'BAD_HEAD' && !connection) assert.throws(() => decodeMap(head), ProfileError);
    else if (Array.isArray(one.expect)) assert.equal(decodeMap(head).job, 'j');
    else decodeMap(head);
  });
}

for (const one of load('params.json')) {
  test(`params.json ${one.id}: ${one.title}`, () => {
    const tail = bytes(one.hex);
    const hash = createHash('sha256').update(`${one.kind}\0`);
    const named = [...(one.attachments ?? [])].sort((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)));
    for (const { name, sha256 } of named) hash.update(`${name}\0${sha256}\0`);
    assert.equal(hash.update(tail).digest('hex'), one.fingerprint);
    if (one.expect.params === undefined) {
      if (one.expect.field === undefined || one.expect.field === 'params') assert.throws(() => decodeMap(tail), ProfileError);
      else if (!one.req.includes('PXW-MSG-008')) decodeMap(tail);
      return;
    }
    const params = Object.fromEntries(Object.entries(decodeMap(tail)).filter(([, value]) => value !== null));
    assert.ok(matches(one.expect.params, params) && matches(Object.keys(one.expect.params).sort(), Object.keys(params).sort()), print(params));
    const again = encode(params);
    assert.ok(matches(one.expect.params, decodeMap(again)), 'encoded and decoded');
    if (again.length === tail.length && !one.hex.includes('ca40f00000')) assert.equal(again.toString('hex'), one.hex, 'encoded again');
  });
}

for (const session of load('sessions.json')) {
  const tested = session.sides?.includes('client') ?? true;
  test(`sessions.json ${session.id}: ${session.title}`, { skip: !tested && 'is about servers' }, () => {
    const longest = Math.max(...session.steps.map(({ hex }) => hex.length / 2));
    const hello = decodeMap(bytes(session.steps[1].hex).subarray(HEADER));
    for (let at = -1; at < longest; at += 1) {
      const end = new Endpoint({ ...hello });
      let out = Buffer.concat(end.raw());
      for (const [number, step] of session.steps.entries()) {
        const all = bytes(step.hex);
        if (step.from === 'client') {
          const answer = all.length > HEADER && all[4] === FRAMES.PONG.code && all[5] === 1;
          if (number > 1 && !answer) end.send(all);
          out = Buffer.concat([out, ...end.raw()]);
          assert.equal(out.subarray(0, all.length).toString('hex'), step.hex, `step ${number}, sent`);
          out = out.subarray(all.length);
        } else {
          const pieces = at < 0 ? [all] : at === 0 ? Array.from(all, (byte) => Buffer.of(byte)) : [all.subarray(0, at), all.subarray(at)];
          const got = pieces.flatMap((piece) => end.receive(piece));
          assert.ok(matches(step.expect, got), `step ${number}, cut ${at}: ${print(got)}`);
          out = Buffer.concat([out, ...end.raw()]);
        }
      }
      assert.equal(out.length, 0, 'sent more than the session has');
    }
  });
}

// What no vector says: the order of two faults of one frame, and what is sent after the last word.

const ACCEPTED = { status: bytes('c100000a1101000a00000001 81a36a6f62a46a2d3031'.replaceAll(' ', '')), large: 262145 };

test('DATA out of place is told before DATA beyond the credit (section 4.3, step 9)', () => {
  const end = make({ state: 'ready', limits: { max_frame: 1048576 } });
  end.send(ACCEPTED.status);
  const header = Buffer.from('c10000002100000000000001', 'hex');
  header.writeUIntBE(ACCEPTED.large, 1, 3);
  assert.ok(matches([{ failed: 'PROTOCOL_ERROR' }], end.receive(header)));
});

test('nothing is sent after the GOAWAY of a connection error (PXW-CON-010)', () => {
  const end = make({ state: 'ready' });
  end.send(ACCEPTED.status);
  end.sent();
  assert.ok(matches([{ failed: 'PROTOCOL_ERROR' }], end.receive(Buffer.of(0))));
  end.connection.reset(1);
  end.connection.credit(0, 1000000);
  end.connection.consumed(1, 1000000);
  assert.deepEqual(end.sent().map(({ type }) => type), ['GOAWAY']);
});
