// What runs: one frame for the requests that went through their last forward pass together, with their pictures.

import { attribute, h, keyed, say, show } from "./dom.js";
import { brief, number, plural, shortId, short } from "./format.js";

const HUES = 6;
const WAITS_AFTER = 4; // passes of others: then a request waits for its turn

const keyOf = (job) => `${job.principal}\n${job.job}`;

/** Requests by the pass they were in last; those before their first and after their last step apart. */
function groups(running) {
  const passes = new Map();
  const starting = [];
  const ending = [];
  for (const job of running) {
    if (job.steps && job.step >= job.steps) ending.push(job);
    else if (job.pass === undefined) starting.push(job);
    else if (passes.has(job.pass)) passes.get(job.pass).push(job);
    else passes.set(job.pass, [job]);
  }
  return { passes: [...passes], starting, ending };
}

export class Lanes {
  /** actions: cancel(job), open(job). */
  constructor(parent, strip, actions) {
    Object.assign(this, { parent, strip, actions });
    this.lanes = []; // {id, hue, members, jobs, pass}
    this.pictures = new Map(); // key -> data URL
    this.made = 0;
  }

  draw(running, own) {
    const { passes, starting, ending } = groups(running);
    this.own = own;
    this.newest = Math.max(0, ...passes.map(([pass]) => pass));
    this.match(passes);
    const all = this.lanes.map((lane) => ({ ...lane, title: `Pass ${number(lane.pass)}` }));
    if (starting.length) all.push({ id: "starting", jobs: starting, title: "Before the first step" });
    if (ending.length) all.push({ id: "ending", jobs: ending, title: "After the last step" });
    const keys = new Set(running.map(keyOf));
    for (const key of this.pictures.keys()) if (!keys.has(key)) this.pictures.delete(key);
    keyed(this.parent, all, (lane) => lane.id, (lane) => this.makeLane(lane));
  }

  /** A group goes on in the frame that holds most of it, so that pictures stay where they are. */
  match(passes) {
    const before = this.lanes;
    const free = new Set(before);
    this.lanes = [];
    for (const [pass, jobs] of passes.sort((a, b) => b[1].length - a[1].length)) {
      const members = new Set(jobs.map(keyOf));
      const shared = (lane) => [...lane.members].filter((key) => members.has(key)).length;
      const lane = [...free].reduce((best, one) => (shared(one) > (best ? shared(best) : 0) ? one : best), null);
      if (lane) free.delete(lane);
      this.lanes.push({ id: lane?.id ?? (this.made += 1), hue: lane?.hue, members, jobs, pass });
    }
    const taken = new Set(this.lanes.map((lane) => lane.hue));
    for (const lane of this.lanes) {
      if (lane.hue !== undefined) continue;
      lane.hue = Array.from({ length: HUES }, (_, hue) => hue).find((hue) => !taken.has(hue)) ?? lane.id % HUES;
      taken.add(lane.hue);
    }
    const age = new Map(before.map((lane, index) => [lane.id, index]));
    this.lanes.sort((a, b) => (age.get(a.id) ?? Infinity) - (age.get(b.id) ?? Infinity));
  }

  makeLane(first) {
    const title = h("h3", { id: `lane-${first.id}` });
    const about = h("p", { class: "num" });
    const list = h("ul", { class: "cards" });
    const lane = h("section", { class: "lane", "aria-labelledby": `lane-${first.id}` }, h("div", { class: "lane-head" }, title, about), list);
    lane.update = ({ hue, jobs, title: name, pass }) => {
      attribute(lane, "data-hue", hue);
      attribute(lane, "data-kind", hue === undefined ? first.id : "pass");
      say(title, name);
      say(about, this.about(jobs, pass));
      keyed(list, jobs, keyOf, (job) => this.makeCard(job));
    };
    return lane;
  }

  about(jobs, pass) {
    const known = pass === undefined ? null : this.strip.find(pass);
    const others = known && known.requests > jobs.length; // those have been in a later one, or have ended
    const words = [others ? `${jobs.length} of ${plural(known.requests, "request")}` : plural(jobs.length, "request")];
    if (known) words.push(plural(known.rows, "row"), `${short(known.ms)} ms`);
    if (pass !== undefined && pass <= this.newest - WAITS_AFTER) words.push("waits for its turn");
    return words.join(" · ");
  }

  makeCard(first) {
    const image = h("img", { alt: "", draggable: "false" });
    const bar = h("div", { class: "bar" });
    const name = h("span", { class: "id" });
    const steps = h("span", { class: "num" });
    const left = h("span", { class: "num left" });
    const whose = h("span", { class: "whose" });
    const open = h("button", { type: "button", class: "open", onclick: () => this.actions.open(card.job) }, h("span", { class: "frame" }, image, bar), name, h("span", { class: "row" }, steps, left), whose);
    const cancel = h("button", { type: "button", class: "cancel", onclick: () => this.actions.cancel(card.job, cancel) }, "✕");
    const card = h("li", { class: "card", "data-job": first.job, "data-principal": first.principal }, open, cancel);
    card.update = (job) => {
      card.job = job;
      attribute(card, "class", this.own(job) ? "card own" : "card");
      attribute(card, "title", `${job.job} of ${job.principal}${job.tags ? `, ${job.tags.join(", ")}` : ""}`);
      attribute(cancel, "aria-label", `Cancel job ${job.job}`);
      attribute(open, "aria-label", `Job ${job.job} of ${job.principal}, step ${job.step} of ${job.steps}`);
      say(name, shortId(job.job));
      say(left, brief(job.eta_ms));
      say(whose, job.principal === "anonymous" ? "" : job.principal);
      show(whose, job.principal !== "anonymous");
      card.progress(job.step, job.steps);
      const picture = this.pictures.get(keyOf(job));
      if (picture) attribute(image, "src", picture);
    };
    card.progress = (step, step_count) => {
      say(steps, step_count ? `${step}/${step_count}` : "–");
      bar.style.setProperty("--done", step_count ? step / step_count : 0);
    };
    card.picture = (url) => attribute(image, "src", url);
    return card;
  }

  /** An event `preview`: the data URL of the picture. */
  picture(preview) {
    const url = `data:${preview.media_type};base64,${preview.data}`;
    const key = keyOf(preview);
    for (const lane of this.parent.children) {
      const card = lane.querySelector(".cards").keyed?.get(key);
      if (!card) continue;
      this.pictures.set(key, url);
      card.picture(url);
      if (preview.step >= card.job.step) card.progress(preview.step, preview.steps);
    }
    return url;
  }
}
