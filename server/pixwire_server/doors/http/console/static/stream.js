// Server-sent events over fetch: an EventSource cannot send a token. And the connection that mends itself.

import { Problem, request } from "./api.js";

const STALE_MS = 3500; // the server says something every second
const DEAD_MS = 8000; // nothing at all for so long: the connection is half open
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 8000;

/** Calls hear(name, data) for each event of `path`, until the stream ends or `signal` aborts it. */
export async function events(path, hear, signal, alive = () => {}) {
  const answer = await request(path, { headers: { accept: "text/event-stream" }, signal });
  alive();
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    alive();
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) tell(block, hear);
  }
}

function tell(block, hear) {
  let name = "message";
  let data = null;
  for (const line of block.split("\n")) {
    if (line.startsWith("event: ")) name = line.slice(7);
    else if (line.startsWith("data: ")) data = line.slice(6);
  }
  if (data !== null) hear(name, JSON.parse(data));
}

/**
 * One stream for as long as the page is open: it comes back by itself, and says how it does.
 * tell(state, detail): "live"; "stale" with the silence in ms; "lost" with the ms until the next try; "refused" with
 * the Problem, after which it is over.
 */
export class Connection {
  constructor(path, hear, tellState) {
    this.path = path;
    this.hear = hear;
    this.tellState = tellState;
    this.heard = performance.now();
    this.closed = false;
    this.live = false;
    this.watchdog = setInterval(() => this.check(), 500);
    this.run();
  }

  close() {
    this.closed = true;
    clearInterval(this.watchdog);
    this.abort?.abort();
  }

  /** Try now. */
  hurry() {
    this.wake?.();
  }

  async run() {
    let wait = FIRST_WAIT_MS;
    while (!this.closed) {
      this.abort = new AbortController();
      this.heard = performance.now();
      this.reading = true;
      try {
        await events(this.path, this.hear, this.abort.signal, () => {
          this.heard = performance.now();
          wait = FIRST_WAIT_MS;
          if (!this.live) this.tell("live");
        });
      } catch (error) {
        const lasting = error instanceof Problem && error.status >= 400 && error.status < 500;
        if (lasting && error.status !== 408 && error.status !== 429) {
          this.tell("refused", error);
          this.close();
        }
      }
      this.reading = false;
      if (this.closed) return;
      await this.pause(wait);
      wait = Math.min(wait * 2, LONGEST_WAIT_MS);
    }
  }

  async pause(ms) {
    this.tell("lost", ms);
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.wake = () => (clearTimeout(timer), resolve());
    });
    this.wake = null;
  }

  check() {
    const silent = performance.now() - this.heard;
    if (!this.reading || silent < STALE_MS) return;
    if (silent >= DEAD_MS) this.abort.abort();
    else this.tell("stale", silent);
  }

  tell(state, detail) {
    if (this.closed) return;
    this.live = state === "live";
    this.tellState(state, detail);
  }
}
