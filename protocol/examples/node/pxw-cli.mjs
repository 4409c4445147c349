#!/usr/bin/env node
/** A command line for pixwire servers: node pxw-cli.mjs --help */

import { accessSync, constants, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';

import { Client, ConnectionError, newJobId, RequestError, ServerError, Submission, UsageError } from './src/client.mjs';
import { parseUrl } from './src/link.mjs';

const HELP = `Usage: node pxw-cli.mjs COMMAND [OPTIONS]

Commands:
  generate PROMPT -o FILE  submit, follow, write the image
  submit PROMPT            submit, and print the status
  status JOB               how is it doing
  watch JOB                follow it to its end
  cancel JOB               stop it
  fetch JOB -o FILE        write its image
  list models|jobs         what is there

Options of generate and submit:
  --job ID                 id of the job; the same id and words attach to the same job
  --negative-prompt TEXT  --model NAME  --width N  --height N  --steps N  --guidance-scale X
  --seed N  --count N  --media-type image/png|image/jpeg|image/webp
  --image FILE             begin with this image (img2img) [env PIXWIRE_IMAGE]
  --mask FILE              paint anew where it is white (inpaint; needs --image)
  --control FILE  --control-scale X  --strength X
Options of fetch:
  --artifact N             which image, from 0
Options of list jobs:
  --state NAME             only jobs in this state; repeatable
Options of all:
  -o, --output FILE        where to write; further images get -1, -2, ... before the suffix
  --url URL                pixwire://host[:port], pixwires://..., pixwire+unix:///path
                           [env PIXWIRE_URL; default pixwire://127.0.0.1:7499]
  --token TOKEN            for servers that ask for one [env PIXWIRE_TOKEN]
  --insecure-token         send it in cleartext over a network
  --ca FILE  --cert FILE  --key FILE   PEM files for TLS
  --insecure               do not verify the server's certificate
  --attempts N             connect or repeat so often in a row [8]
  --timeout SECONDS        give up after that [never]
  --max-bytes N            the largest image to accept [268435456]
  -q, --quiet              no progress on stderr

Exit codes: 0 good, 1 the job or request failed, 2 wrong usage, 3 connection problem.`;

const text = { type: 'string' };
const flag = { type: 'boolean' };
const OPTIONS = {
  job: text, 'negative-prompt': text, model: text, width: text, height: text, steps: text, 'guidance-scale': text, seed: text, count: text,
  'media-type': text, image: text, mask: text, control: text, 'control-scale': text, strength: text, artifact: text,
  state: { type: 'string', multiple: true }, output: { type: 'string', short: 'o' }, url: text, token: text, 'insecure-token': flag, ca: text,
  cert: text, key: text, insecure: flag, attempts: text, timeout: text, 'max-bytes': text, quiet: { type: 'boolean', short: 'q' },
  help: { type: 'boolean', short: 'h' },
};

class Usage extends Error {}

/** Text of the server for a terminal: without control characters (SEC-006). */
const plain = (value) => String(value).replace(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);

/** A value of the server inside a sentence. */
const word = (value) => (typeof value === 'string' ? value : JSON.stringify(value, (key, item) => (typeof item === 'bigint' ? `${item}` : item)));

/** One line of JSON; ints beyond 2^53 keep their digits, control characters are escaped. */
function print(value) {
  const line = JSON.stringify(value, (key, item) => (typeof item === 'bigint' ? `\u0000${item}` : item)).replace(/"\\u0000(-?\d+)"/g, '$1');
  process.stdout.write(`${plain(line)}\n`);
}

function int(options, name) {
  if (options[name] === undefined) return undefined;
  if (!/^-?\d+$/.test(options[name])) throw new Usage(`--${name} is a whole number`);
  const value = Number(options[name]);
  return Number.isSafeInteger(value) ? value : BigInt(options[name]);
}

function float(options, name) {
  if (options[name] === undefined) return undefined;
  const value = Number(options[name]);
  if (options[name].trim() === '' || !Number.isFinite(value)) throw new Usage(`--${name} is a number`);
  return value;
}

const MAGIC = [['image/png', /^\x89PNG/], ['image/jpeg', /^\xff\xd8\xff/], ['image/webp', /^RIFF....WEBP/s]];

function attachment(name, file) {
  const bytes = read(file);
  const start = bytes.toString('latin1', 0, 12);
  const mediaType = MAGIC.find(([, magic]) => magic.test(start))?.[0];
  if (!mediaType) throw new Usage(`${file} is no PNG, JPEG or WebP image`);
  return { name, mediaType, bytes };
}

function read(file) {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new Usage(`${file}: ${error.message}`);
  }
}

function submission(prompt, given) {
  const options = { ...given, image: given.image ?? process.env.PIXWIRE_IMAGE };
  const attachments = ['image', 'mask', 'control'].filter((name) => options[name]).map((name) => attachment(name, options[name]));
  if (options.mask && !options.image) throw new Usage('--mask needs --image');
  const params = {
    prompt, negative_prompt: options['negative-prompt'], model: options.model, width: int(options, 'width'), height: int(options, 'height'),
    steps: int(options, 'steps'), guidance_scale: float(options, 'guidance-scale'), seed: int(options, 'seed'), count: int(options, 'count'),
    media_type: options['media-type'], strength: float(options, 'strength'), control_scale: float(options, 'control-scale'),
  };
  const kind = options.mask ? 'inpaint' : options.image ? 'img2img' : 'txt2img';
  try {
    return new Submission({ job: options.job ?? newJobId(), kind, params, attachments });
  } catch (error) {
    throw error instanceof RangeError ? new Usage(error.message) : error;
  }
}

/** Says before anything is submitted that the result could not be written. */
function writable(file) {
  try {
    accessSync(path.dirname(file), constants.W_OK);
  } catch (error) {
    throw new Usage(`--output: ${error.message}`);
  }
}

/** Writes a file whole or not at all. */
function write(file, bytes) {
  const part = `${file}.${process.pid}.part`;
  try {
    writeFileSync(part, bytes);
    renameSync(part, file);
  } catch (error) {
    rmSync(part, { force: true });
    throw error;
  }
}

const numbered = (file, index) => (index === 0 ? file : file.replace(/(\.[^./]*)?$/, (suffix) => `-${index}${suffix}`));

/** Writes the artifacts; the facts about them for the line of JSON. */
function save(artifacts, output) {
  return artifacts.map(({ about, bytes }) => {
    const file = numbered(output, about.artifact);
    write(file, bytes);
    return { file, bytes: bytes.length, media_type: about.media_type, seed: about.seed };
  });
}

/** The line of JSON for a job; exit code 1 when it did not succeed. */
function finish(status, files = []) {
  const { job, state, seed, error } = status;
  const line = { job, state, seed: seed ?? null, bytes: files.reduce((sum, { bytes }) => sum + bytes, 0) };
  if (files.length > 0) line.files = files;
  if (error) line.error = error;
  print(line);
  return state === 'succeeded' ? 0 : 1;
}

async function command(name, args, options, client) {
  const [subject] = args;
  const tell = options.quiet ? () => {} : (line) => process.stderr.write(`${plain(line)}\n`);
  const onEvent = ({ job, state, step, steps, queue_position: place }) => {
    const where = state === 'queued' && place ? `, place ${word(place)}` : '';
    tell(state ? `${job}: ${state}${where}` : `${word(job)}: step ${word(step)} of ${word(steps)}`);
  };
  switch (name) {
    case 'generate': {
      const wanted = submission(subject, options);
      const { job } = wanted.head;
      const { status, artifacts } = await client.follow(job, { submission: wanted, deliver: true, want: ['progress'], onEvent });
      return finish(status, save(artifacts, options.output));
    }
    case 'submit':
      print(await client.submit(submission(subject, options)));
      return 0;
    case 'status':
      print(await client.status(subject));
      return 0;
    case 'watch':
      return finish((await client.follow(subject, { want: ['progress'], onEvent })).status);
    case 'cancel':
      print(await client.cancel(subject));
      return 0;
    case 'fetch': {
      const artifact = await client.fetch(subject, int(options, 'artifact') ?? 0);
      write(options.output, artifact.bytes);
      const { job, seed, media_type: mediaType, artifact: index } = artifact.about;
      print({ job, artifact: index, seed, media_type: mediaType, bytes: artifact.received, file: options.output });
      return 0;
    }
    default:
      if (subject === 'models') for (const model of await client.models()) print(model);
      else for await (const job of client.jobs(options.state)) print(job);
      return 0;
  }
}

/** What a command needs: the name of its argument, and whether it writes a file. */
const COMMANDS = {
  generate: ['PROMPT', true], submit: ['PROMPT', false], status: ['JOB', false], watch: ['JOB', false], cancel: ['JOB', false],
  fetch: ['JOB', true], list: ['models|jobs', false],
};

function parse(argv) {
  let parsed;
  try {
    parsed = parseArgs({ args: argv, options: OPTIONS, allowPositionals: true });
  } catch (error) {
    throw new Usage(error.message.replace(/\s+/g, ' '));
  }
  const { values: options, positionals: [name, ...args] } = parsed;
  if (options.help) return { help: true };
  if (!Object.hasOwn(COMMANDS, name ?? '')) throw new Usage(name ? `there is no command ${name}` : 'a command is missing');
  const [argument, writes] = COMMANDS[name];
  if (args.length !== 1) throw new Usage(`${name} takes one argument: ${argument}`);
  if (argument === 'JOB' && !/^[A-Za-z0-9._-]{1,64}$/.test(args[0])) throw new Usage('a JOB has 1 to 64 characters of A-Z a-z 0-9 . _ -');
  if (options.job !== undefined && !/^[A-Za-z0-9._-]{1,64}$/.test(options.job)) throw new Usage('--job has 1 to 64 characters of A-Z a-z 0-9 . _ -');
  if (name === 'list' && args[0] !== 'models' && args[0] !== 'jobs') throw new Usage('list takes models or jobs');
  if (writes && !options.output) throw new Usage(`${name} needs -o FILE`);
  if (writes) writable(options.output);
  return { name, args, options };
}

function makeClient(options) {
  const url = options.url ?? process.env.PIXWIRE_URL ?? 'pixwire://127.0.0.1:7499';
  try {
    parseUrl(url);
  } catch (error) {
    throw new Usage(`--url: ${error.message}`);
  }
  const timeout = float(options, 'timeout');
  for (const name of ['timeout', 'attempts', 'max-bytes']) if (float(options, name) <= 0) throw new Usage(`--${name} is above 0`);
  const file = (name) => (options[name] ? { [name]: read(options[name]) } : {});
  return new Client({
    url,
    token: options.token ?? process.env.PIXWIRE_TOKEN,
    insecureToken: options['insecure-token'],
    tls: { ...file('ca'), ...file('cert'), ...file('key'), ...(options.insecure && { rejectUnauthorized: false }) },
    connection: { grease: true },
    attempts: int(options, 'attempts') ?? 8,
    artifactBytes: int(options, 'max-bytes'),
    signal: timeout === undefined ? undefined : AbortSignal.timeout(Math.ceil(timeout * 1000)),
    onNotice: options.quiet ? undefined : (line) => process.stderr.write(`${plain(line)}\n`),
  });
}

function problem(error) {
  const say = (line) => process.stderr.write(`error: ${plain(line)}\n`);
  if (error instanceof Usage) {
    say(`${error.message} (--help tells more)`);
    return 2;
  }
  if (error instanceof ConnectionError) {
    say(error.message);
    return 3;
  }
  say(error.message);
  const { field, value, allowed } = error.details ?? {};
  if (field != null) say(`field ${word(field)}${value != null ? `, value ${word(value)}` : ''}${allowed != null ? `, allowed ${word(allowed)}` : ''}`);
  const expected = [RequestError, ServerError, UsageError].some((kind) => error instanceof kind) || error.syscall;
  if (!expected) process.stderr.write(`${error.stack}\n`);
  return 1;
}

async function main() {
  let client;
  try {
    const { help, name, args, options } = parse(process.argv.slice(2));
    if (help) {
      process.stdout.write(`${HELP}\n`);
      return 0;
    }
    client = makeClient(options);
    return await command(name, args, options, client);
  } catch (error) {
    return problem(error);
  } finally {
    await client?.close();
  }
}

process.exitCode = await main();
