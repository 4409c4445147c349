// Tables: what waits, what failed, models, principals. One element for each row for as long as it is there.

import { attribute, h, keyed, say, show } from "./dom.js";
import { bytes, duration, number, shortId } from "./format.js";

/** columns: [heading, class, write(cell, item)]. `empty` is said when there is no row. */
export class Table {
  constructor(parent, label, columns, keyOf, empty) {
    Object.assign(this, { columns, keyOf });
    this.body = h("tbody");
    const headings = columns.map(([heading, kind]) => h("th", { scope: "col", class: kind }, heading || h("span", { class: "sr" }, "Actions")));
    this.table = h("table", { "aria-label": label }, h("thead", {}, h("tr", {}, ...headings)), this.body);
    this.empty = h("p", { class: "empty" }, empty);
    parent.append(this.table, this.empty);
  }

  draw(items) {
    show(this.table, items.length > 0);
    show(this.empty, items.length === 0);
    keyed(this.body, items, this.keyOf, () => this.makeRow());
  }

  makeRow() {
    const cells = this.columns.map(([, kind], index) => h(index ? "td" : "th", { class: kind, scope: index ? null : "row" }));
    const row = h("tr", {}, ...cells);
    row.update = (item) => {
      row.item = item;
      this.columns.forEach(([, , write], index) => write(cells[index], item, row));
    };
    return row;
  }
}

const text = (value) => (cell, item) => say(cell, value(item));

/** A button that is made once; label(item) is what it is called. */
const button = (word, label, act, kind = "") => (cell, item, row) => {
  if (!cell.button) {
    cell.button = h("button", { type: "button", class: kind, onclick: () => act(row.item, cell.button) }, word);
    cell.append(cell.button);
  }
  attribute(cell.button, "aria-label", label(item));
};

/** An id that opens what is known of the job. */
const jobLink = (open) => (cell, item, row) => {
  if (!cell.link) cell.append((cell.link = h("button", { type: "button", class: "link id", onclick: () => open(row.item) })));
  say(cell.link, shortId(item.job));
  attribute(cell.link, "aria-label", `Job ${item.job}`);
  attribute(cell, "title", item.job);
};

const jobKey = (job) => `${job.principal}\n${job.job}`;

export const waitingTable = (parent, { cancel, open }) =>
  new Table(
    parent,
    "Jobs that wait",
    [
      ["Job", "", jobLink(open)],
      ["Principal", "", text((job) => job.principal)],
      ["Kind", "wide", text((job) => job.kind)],
      ["Model", "wide", text((job) => job.model)],
      ["Priority", "", text((job) => job.priority ?? "normal")],
      ["Waits", "num", text((job) => duration(job.age_ms))],
      ["Done in", "num", text((job) => duration(job.eta_ms))],
      ["", "act", button("Cancel", (job) => `Cancel job ${job.job}`, cancel)],
    ],
    jobKey,
    "Nothing waits.",
  );

export const ownTable = (parent, { cancel, open }) =>
  new Table(
    parent,
    "My jobs",
    [
      ["Job", "", jobLink(open)],
      ["State", "", text((job) => job.state)],
      ["Model", "wide", text((job) => job.model ?? "")],
      ["Priority", "", text((job) => job.priority ?? "normal")],
      ["Steps", "num", text((job) => (job.steps ? `${job.step}/${job.steps}` : "–"))],
      ["Age", "num", text((job) => duration(job.age_ms))],
      ["", "act", button("Cancel", (job) => `Cancel job ${job.job}`, cancel)],
    ],
    (job) => job.job,
    "None of your jobs waits or runs.",
  );

export const failedTable = (parent, { requeue, open, words }) =>
  new Table(
    parent,
    "Jobs that failed or expired",
    [
      ["Job", "", jobLink(open)],
      ["Principal", "", text((job) => job.principal)],
      ["Why", "why", (cell, job) => (say(cell, `${words(job.error)}: ${job.message}`), attribute(cell, "title", job.message))],
      ["Ago", "num", text((job) => duration(job.ended_ms))],
      ["", "act", button("Run again", (job) => `Run job ${job.job} again`, requeue)],
    ],
    jobKey,
    "Nothing failed lately.",
  );

/** Models: one button, that does what the state allows. */
export const modelsTable = (parent, { load, unload }) =>
  new Table(
    parent,
    "Models",
    [
      ["Model", "name", (cell, model) => (say(cell, model.name), attribute(cell, "title", model.name))],
      ["State", "", (cell, model) => state(cell, model.state)],
      ["Memory", "num", text((model) => bytes(model.bytes))],
      [
        "",
        "act",
        (cell, model, row) => {
          const loaded = model.state === "loaded";
          cell.button ??= cell.appendChild(
            h("button", { type: "button", onclick: () => (row.item.state === "loaded" ? unload : load)(row.item, cell.button) }),
          );
          say(cell.button, loaded ? "Unload" : "Load");
          attribute(cell.button, "aria-label", `${loaded ? "Unload" : "Load"} ${model.name}`);
          attribute(cell.button, "aria-disabled", model.state === "loading" || cell.button.busy ? "true" : null);
        },
      ],
    ],
    (model) => model.name,
    "No models.",
  );

const MODEL_STATES = { loaded: "good", loading: "warn", available: "idle", failed: "bad" };

function state(cell, word) {
  cell.mark ??= cell.appendChild(h("span", { class: "mark" }));
  attribute(cell.mark, "data-kind", MODEL_STATES[word] ?? "idle");
  say(cell.mark, word);
}

export const principalsTable = (parent, { cancelAll }) =>
  new Table(
    parent,
    "Principals that have jobs",
    [
      ["Principal", "name", text((one) => one.principal)],
      ["Running", "num", text((one) => number(one.running))],
      ["Waiting", "num", text((one) => number(one.queued))],
      ["", "act", button("Cancel all", (one) => `Cancel all jobs of ${one.principal}`, cancelAll)],
    ],
    (one) => one.principal,
    "Nobody has jobs that wait or run.",
  );
