// Lines of the last five minutes. Small SVG drawings of our own: five lines need no library.

import { attribute, h, say } from "./dom.js";
import { duration, short } from "./format.js";

const SPAN_MS = 300_000;
const WIDTH = 300;
const HEIGHT = 56;
const KEPT = 300;

const seconds = (ms) => (ms < 10_000 ? short(ms / 1000) : String(Math.round(ms / 1000)));

// Title, unit, column of a sample, how a value is written, least top of the scale.
const PLOTS = [
  ["Throughput", "images/min", "images_per_minute", short, 4],
  ["Rows per pass", "rows", "rows", short, 4],
  ["Time of a step", "ms", "step_ms", short, 10],
  ["Waiting", "jobs", "waiting", short, 4],
  ["Oldest waits", "s", "oldest_ms", seconds, 2000],
];

export class Plots {
  constructor(parent) {
    this.samples = [];
    this.plots = PLOTS.map((about) => new Plot(...about));
    parent.append(...this.plots.map((plot) => plot.element));
  }

  /** An event `samples`: the whole past first, then what is new. A server that began again has a new past. */
  add({ columns, samples }) {
    const named = samples.map((row) => Object.fromEntries(columns.map((column, index) => [column, row[index]])));
    const last = this.samples.at(-1);
    if (named.length && last && named[0].at_ms <= last.at_ms) this.samples = [];
    this.samples = [...this.samples, ...named].slice(-KEPT);
    for (const plot of this.plots) plot.draw(this.samples);
  }
}

class Plot {
  constructor(title, unit, column, write, least) {
    Object.assign(this, { title, unit, column, write, least, points: [] });
    this.area = h("path", { class: "area" });
    this.line = h("path", { class: "line" });
    this.hair = h("line", { class: "hair", y1: 0, y2: HEIGHT, x1: -9, x2: -9 });
    this.svg = h(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": `${title}: nothing yet` },
      h("line", { class: "base", x1: 0, x2: WIDTH, y1: HEIGHT - 0.5, y2: HEIGHT - 0.5 }),
      this.area,
      this.line,
      this.hair,
    );
    this.value = h("span", { class: "value" }, "–");
    this.when = h("span", { class: "when" }, unit);
    this.top = h("span", { class: "top-mark", "aria-hidden": "true" });
    this.element = h(
      "figure",
      { class: "plot" },
      h("figcaption", {}, h("span", { class: "title" }, title), h("span", { class: "now" }, this.value, " ", this.when)),
      h("div", { class: "chart" }, this.svg, this.top),
      h("div", { class: "axis", "aria-hidden": "true" }, h("span", {}, "5 min ago"), h("span", {}, "now")),
    );
    this.svg.addEventListener("pointermove", (event) => this.point(event));
    this.svg.addEventListener("pointerleave", () => this.point(null));
  }

  draw(samples) {
    const end = samples.at(-1)?.at_ms ?? 0;
    this.points = samples
      .filter((sample) => end - sample.at_ms <= SPAN_MS)
      .map((sample) => ({ x: WIDTH * (1 - (end - sample.at_ms) / SPAN_MS), ago: end - sample.at_ms, value: sample[this.column] }));
    const known = this.points.filter((point) => point.value !== null);
    const highest = Math.max(0, ...known.map((point) => point.value));
    const top = ceiling(Math.max(this.least, highest));
    const y = (value) => HEIGHT - 1 - (value / top) * (HEIGHT - 4);
    const runs = unbroken(this.points);
    attribute(this.line, "d", runs.map((run) => path(run, y)).join(""));
    attribute(this.area, "d", runs.map((run) => `${path(run, y)}V${HEIGHT}H${run[0].x.toFixed(1)}Z`).join(""));
    say(this.top, this.write(top));
    this.latest = this.points.at(-1)?.value ?? null;
    if (!this.pointed) this.tell(this.latest, this.unit);
    const text = known.length ? `now ${this.spoken(this.latest)}, highest ${this.spoken(highest)}` : "nothing yet";
    attribute(this.svg, "aria-label", `${this.title}, the last five minutes: ${text}`);
  }

  spoken(value) {
    return value === null ? "nothing" : `${this.write(value)} ${this.unit}`;
  }

  tell(value, when) {
    say(this.value, value === null ? "–" : this.write(value));
    say(this.when, when);
  }

  /** The value under the pointer. */
  point(event) {
    const box = this.svg.getBoundingClientRect();
    const x = event && ((event.clientX - box.left) / box.width) * WIDTH;
    const near = event && this.points.reduce((best, one) => (!best || Math.abs(one.x - x) < Math.abs(best.x - x) ? one : best), null);
    this.pointed = Boolean(near);
    attribute(this.hair, "x1", near ? near.x : -9);
    attribute(this.hair, "x2", near ? near.x : -9);
    if (near) this.tell(near.value, `${this.unit}, ${duration(near.ago)} ago`);
    else this.tell(this.latest ?? null, this.unit);
  }
}

/** Parts of a line between gaps, where there was nothing to measure. */
function unbroken(points) {
  const runs = [];
  let run = null;
  for (const point of points) {
    if (point.value === null) run = null;
    else if (run) run.push(point);
    else runs.push((run = [point]));
  }
  return runs;
}

const path = (run, y) =>
  `M${run.map((point) => `${point.x.toFixed(1)} ${y(point.value).toFixed(1)}`).join("L")}${run.length === 1 ? "h1" : ""}`;

/** 1, 2 or 5 times a power of ten, not below `value`. */
function ceiling(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 5, 10].map((factor) => factor * power).find((top) => top >= value * 0.999);
}

const BARS = 150;

/** The last passes, one bar each: how many rows went through together. */
export class Strip {
  constructor(parent) {
    this.passes = [];
    this.parent = parent;
    this.bars = h("path", { class: "bars" });
    this.svg = h("svg", { viewBox: `0 0 ${BARS} 24`, preserveAspectRatio: "none", role: "img", "aria-label": "No passes yet" }, this.bars);
    this.caption = h("span", { class: "hint" }, "Rows of the last passes");
    this.most = h("span", { class: "hint num" });
    this.parent.hidden = true;
    parent.append(this.svg, h("div", { class: "axis" }, this.caption, this.most));
  }

  /** An event `passes`. Numbers begin again with another engine. */
  add({ passes }) {
    if (this.passes.length && passes[0][0] <= this.passes.at(-1)[0]) this.passes = [];
    this.passes = [...this.passes, ...passes].slice(-BARS);
    this.parent.hidden = false;
    const most = Math.max(...this.passes.map(([, rows]) => rows));
    const from = BARS - this.passes.length;
    const bar = ([, rows], index) => `M${from + index} 24v${(-24 * rows) / most}h.72v${(24 * rows) / most}z`;
    attribute(this.bars, "d", this.passes.map(bar).join(""));
    const last = this.passes.at(-1);
    attribute(this.svg, "aria-label", `Rows of the last ${this.passes.length} passes: last ${last[1]}, most ${most}`);
    say(this.most, `last ${last[1]}, most ${most}`);
  }

  /** Rows, milliseconds and requests of a pass, if it is one of the last. */
  find(number) {
    const found = this.passes.findLast((one) => one[0] === number);
    return found && { rows: found[1], ms: found[2], requests: found[3] };
  }
}
