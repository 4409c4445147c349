// Questions, what is known of one job, and what went wrong.

import { get, jobPath, words } from "./api.js";
import { byId, h, say, show } from "./dom.js";
import { duration } from "./format.js";

const MOST_ALERTS = 3;

/** Ask before something is done: the reason that was given (perhaps ""), or null for no. */
export function ask({ title, text, yes, danger = false, reason = false }) {
  const box = byId("ask");
  say(byId("ask-title"), title);
  say(byId("ask-text"), text);
  say(byId("ask-yes"), yes);
  byId("ask-yes").className = danger ? "danger" : "primary";
  show(byId("ask-field"), reason);
  byId("ask-reason").value = "";
  box.returnValue = "";
  box.showModal();
  (reason ? byId("ask-reason") : byId("ask-yes")).focus();
  return new Promise((resolve) => {
    box.addEventListener("close", () => resolve(box.returnValue === "yes" ? byId("ask-reason").value : null), { once: true });
  });
}

/** Say what went wrong, until it is read away. */
export function complain(problem, what) {
  const title = problem.title ? words(problem.title) : "Something went wrong";
  const place = byId("alerts");
  const close = h("button", { type: "button", class: "round", "aria-label": "Dismiss", onclick: () => alert.remove() }, "✕");
  const alert = h("div", { class: "alert" }, h("p", {}, h("strong", {}, `${what}: ${title}. `), problem.message), close);
  place.append(alert);
  while (place.children.length > MOST_ALERTS) place.firstChild.remove();
}

const TIMES = { queue_ms: "Waited", run_ms: "Ran", total_ms: "Took" };

/** What is known of one job, kept up to date until it is closed. */
export class JobBox {
  constructor() {
    this.box = byId("job");
    this.shown = null;
    byId("job-close").addEventListener("click", () => this.box.close());
    this.box.addEventListener("close", () => (this.shown = null));
    this.box.addEventListener("click", (event) => event.target === this.box && this.box.close());
  }

  async open(job, { own, picture, pictures }) {
    this.shown = job;
    this.more = {};
    byId("job-picture").replaceChildren();
    if (picture) this.picture(picture);
    if (pictures?.length) byId("job-picture").replaceChildren(...pictures.map((src) => h("img", { src, alt: "Finished image" })));
    this.draw(job);
    this.box.showModal();
    if (!own) return;
    try {
      const status = await get(jobPath(job.job));
      if (this.shown?.job !== job.job) return;
      this.more = { ...params(status.params), ...times(status) };
      this.draw({ ...job, ...status });
    } catch {
      // what is shown already is all there is
    }
  }

  update(job) {
    if (this.shown && this.shown.job === job.job && this.shown.principal === job.principal) this.draw(job);
  }

  preview(job, principal, url) {
    if (this.shown?.job === job && (this.shown.principal ?? principal) === principal) this.picture(url);
  }

  picture(url) {
    const place = byId("job-picture");
    let image = place.querySelector("img");
    if (!image) place.append((image = h("img", { alt: "The image as it is now" })));
    image.src = url;
  }

  draw(job) {
    const facts = {
      Job: job.job,
      Principal: job.principal,
      State: job.state,
      Kind: job.kind,
      Model: job.model,
      Steps: job.steps ? `${job.step} of ${job.steps}` : null,
      "Last pass": job.pass,
      Priority: job.priority,
      Tags: job.tags?.join(", "),
      Age: job.age_ms === undefined ? null : duration(job.age_ms),
      "Done in": job.eta_ms === undefined || job.eta_ms === null ? null : duration(job.eta_ms),
      Error: job.error ? `${words(job.error.name ?? job.error)}: ${job.error.message ?? job.message}` : null,
      Seed: job.seed,
      ...this.more,
    };
    const known = Object.entries(facts).filter(([, value]) => value !== undefined && value !== null && value !== "");
    byId("job-facts").replaceChildren(...known.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, String(value))]));
  }
}

function params(values = {}) {
  const { prompt, negative_prompt, width, height, guidance_scale, count, strength } = values;
  return {
    Prompt: prompt,
    "Negative prompt": negative_prompt,
    Size: width && height ? `${width} × ${height}` : null,
    Guidance: guidance_scale,
    Count: count,
    Strength: strength,
  };
}

function times({ timings = {} }) {
  return Object.fromEntries(Object.entries(TIMES).filter(([key]) => key in timings).map(([key, word]) => [word, duration(timings[key])]));
}
