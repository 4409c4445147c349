// What was submitted here, from the moment it was accepted to its images. It outlives a reload of the tab.

import { get, jobPath, request, words } from "./api.js";
import { attribute, byId, h, keyed, say, show } from "./dom.js";
import { duration } from "./format.js";
import { events } from "./stream.js";

const KEPT = 24;
const STORE = "pixwire.submitted";
const ENDED = new Set(["succeeded", "failed", "cancelled", "expired"]);
const STATES = { queued: "Waits", running: "Runs", succeeded: "Done", failed: "Failed", cancelled: "Cancelled", expired: "Expired" };
const TOLD = ["state", "step", "steps", "seed", "error", "timings", "artifacts", "eta_ms"];
const SUFFIXES = { "image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/avif": "avif" };

export class Results {
  /** actions: cancel(job, button), open(entry), preview(told). */
  constructor(actions) {
    this.actions = actions;
    this.entries = restore();
    this.draw();
  }

  get active() {
    return this.entries.filter((entry) => !ENDED.has(entry.state));
  }

  /** A job was accepted. The newest is followed by itself: its image is here as soon as it is there. */
  add(status, params) {
    const entry = { ...only(status, TOLD), job: status.job, prompt: params.prompt };
    this.entries = [entry, ...this.entries.filter((one) => one.job !== status.job)].slice(0, KEPT);
    this.draw();
    this.follow(status.job);
  }

  async follow(job) {
    this.following?.abort();
    this.following = new AbortController();
    const { signal } = this.following;
    try {
      await events(`${jobPath(job)}/events?want=progress,preview`, (name, told) => {
        if (name === "preview") this.actions.preview(told);
        this.update(told);
      }, signal);
    } catch {
      // `catchUp` asks for it
    }
  }

  find(job) {
    return this.entries.find((entry) => entry.job === job);
  }

  /** News of a job: its state, or how far it is. */
  update(told) {
    const entry = this.find(told.job);
    if (!entry || ENDED.has(entry.state)) return;
    Object.assign(entry, only(told, TOLD));
    if (ENDED.has(entry.state)) this.announce(entry);
    this.draw();
  }

  announce(entry) {
    say(byId("results-say"), `Job ${STATES[entry.state].toLowerCase()}: ${entry.prompt}`);
  }

  preview(job, url) {
    const entry = this.find(job);
    if (!entry || ENDED.has(entry.state)) return;
    entry.preview = url;
    this.draw();
  }

  /** Ask for those that nobody tells of any more: `told` are the ids that were just heard of. */
  async catchUp(told) {
    if (this.asking) return;
    this.asking = true;
    try {
      for (const entry of this.active.filter((one) => !told.has(one.job))) this.update(await this.ask(entry));
    } catch {
      // the server is away: later
    } finally {
      this.asking = false;
    }
  }

  async ask(entry) {
    try {
      return await get(jobPath(entry.job));
    } catch (problem) {
      if (problem.status !== 404 && problem.status !== 410) throw problem;
      return { job: entry.job, state: "expired", error: { name: problem.title, message: problem.message } };
    }
  }

  async fetchImages(entry) {
    if (entry.fetching || entry.images) return;
    entry.fetching = true;
    try {
      const images = [];
      for (const [index, artifact] of (entry.artifacts ?? []).entries()) {
        const answer = await request(`${jobPath(entry.job)}/artifacts/${index}`);
        const suffix = SUFFIXES[artifact.media_type] ?? "bin";
        images.push({ url: URL.createObjectURL(await answer.blob()), name: `${entry.job}-${index}.${suffix}`, ...artifact });
      }
      entry.images = images;
    } catch (problem) {
      entry.lost = problem.message;
    }
    entry.fetching = false;
    this.draw();
  }

  remove(entry) {
    for (const image of entry.images ?? []) URL.revokeObjectURL(image.url);
    this.entries = this.entries.filter((one) => one !== entry);
    this.draw();
  }

  draw() {
    keep(this.entries);
    show(byId("results-empty"), this.entries.length === 0);
    keyed(byId("results"), this.entries, (entry) => entry.job, (entry) => this.makeItem(entry));
    for (const entry of this.entries) if (entry.state === "succeeded" && !entry.images && !entry.lost) this.fetchImages(entry);
  }

  makeItem(first) {
    const pictures = h("div", { class: "pictures" });
    const prompt = h("p", { class: "prompt" }, first.prompt);
    const about = h("p", { class: "num hint" });
    const trouble = h("p", { class: "field-error" });
    const bar = h("div", { class: "bar" });
    const cancel = h("button", { type: "button", onclick: () => this.actions.cancel(item.entry, cancel) }, "Cancel");
    const details = h("button", { type: "button", "aria-label": `Details of job ${first.job}`, onclick: () => this.actions.open(item.entry) }, "Details");
    const remove = h("button", { type: "button", "aria-label": `Take job ${first.job} off this list`, onclick: () => this.remove(item.entry) }, "Clear");
    const item = h("li", { class: "result", "data-job": first.job }, pictures, h("div", { class: "words" }, prompt, about, bar, trouble, h("div", { class: "go" }, cancel, details, remove)));
    attribute(cancel, "aria-label", `Cancel job ${first.job}`);
    item.update = (entry) => {
      item.entry = entry;
      const ended = ENDED.has(entry.state);
      attribute(item, "data-state", entry.state);
      say(about, facts(entry));
      bar.style.setProperty("--done", entry.steps ? entry.step / entry.steps : 0);
      show(bar, !ended);
      show(cancel, !ended);
      show(remove, ended);
      const error = entry.error ? `${words(entry.error.name)}: ${entry.error.message}` : entry.lost;
      say(trouble, ended && entry.state !== "succeeded" && error ? error : (entry.lost ?? ""));
      drawPictures(pictures, entry);
    };
    return item;
  }
}

function facts(entry) {
  const parts = [STATES[entry.state] ?? entry.state];
  if (entry.state === "running" && entry.steps) parts.push(`step ${entry.step} of ${entry.steps}`);
  if (!ENDED.has(entry.state) && entry.eta_ms) parts.push(`done in ${duration(entry.eta_ms)}`);
  const [image] = entry.artifacts ?? [];
  if (image?.width) parts.push(`${image.width} × ${image.height}`);
  if (entry.seed !== undefined) parts.push(`seed ${entry.seed}`);
  if (entry.timings?.total_ms) parts.push(duration(entry.timings.total_ms));
  return parts.join(" · ");
}

function drawPictures(place, entry) {
  if (entry.images) {
    if (place.drawn === entry.images) return;
    place.drawn = entry.images;
    place.replaceChildren(
      ...entry.images.map((image, index) =>
        h(
          "a",
          { href: image.url, download: image.name, class: "shot", title: "Download", "aria-label": `Download image ${index + 1} of ${entry.images.length}: ${entry.prompt}` },
          h("img", { src: image.url, alt: `${entry.prompt}, seed ${image.seed}`, width: image.width, height: image.height }),
          h("span", { class: "save", "aria-hidden": "true" }, "↓"),
        ),
      ),
    );
    return;
  }
  let image = place.querySelector("img");
  if (!image) place.append(h("span", { class: "shot" }, (image = h("img", { alt: "" }))));
  if (entry.preview) attribute(image, "src", entry.preview);
}

const only = (values, keys) => Object.fromEntries(keys.filter((key) => key in values).map((key) => [key, values[key]]));

/** What a reload needs. */
function keep(entries) {
  const kept = entries.map((entry) => only(entry, ["job", "prompt", ...TOLD]));
  try {
    sessionStorage.setItem(STORE, JSON.stringify(kept));
  } catch {
    // full, or switched off: then a reload forgets them
  }
}

function restore() {
  try {
    return JSON.parse(sessionStorage.getItem(STORE) ?? "[]");
  } catch {
    return [];
  }
}

export function forget() {
  sessionStorage.removeItem(STORE);
}
