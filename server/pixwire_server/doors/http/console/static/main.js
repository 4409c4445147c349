// The console: who looks, the stream that feeds the page, and what its buttons do.

import { cancelOwn, get, operate, token, words } from "./api.js";
import { Compose } from "./compose.js";
import { ask, complain, JobBox } from "./dialogs.js";
import { attribute, byId, say, show } from "./dom.js";
import { number } from "./format.js";
import { Head, waiting } from "./head.js";
import { goTo, shortcuts, theme } from "./keys.js";
import { Lanes } from "./lanes.js";
import { Plots, Strip } from "./plots.js";
import { forget, Results } from "./results.js";
import { Connection } from "./stream.js";
import { failedTable, modelsTable, ownTable, principalsTable, waitingTable } from "./tables.js";

const FEED = "/v1/overview/events?want=samples,passes,preview";
const POLL_MS = 1500;
const RETRY_MS = 1500;

class Console {
  constructor() {
    this.head = new Head();
    this.jobBox = new JobBox();
    this.me = null;
    this.now = null;
    const cancel = (job, button) => this.act(`Cancel ${job.job}`, () => this.cancel(job), button);
    const open = (job) => this.open(job);
    this.compose = new Compose((status, params) => this.results.add(status, params));
    this.results = new Results({ cancel, open, preview: (told) => this.preview({ ...told, principal: this.me.principal }) });
    this.strip = new Strip(byId("strip"));
    this.plots = new Plots(byId("plots"));
    this.lanes = new Lanes(byId("lanes"), this.strip, { cancel, open });
    this.failed = failedTable(byId("failed-table"), { open, words, requeue: (job, button) => this.act(`Run ${job.job} again`, () => operate("requeue", { job: job.job, principal: job.principal }), button) });
    this.models = modelsTable(byId("models-table"), {
      load: (model, button) => this.act(`Load ${model.name}`, () => operate("load", { model: model.name }), button),
      unload: (model, button) => this.act(`Unload ${model.name}`, () => operate("unload", { model: model.name }), button),
    });
    this.principals = principalsTable(byId("principals-table"), { cancelAll: (one, button) => this.cancelAll(one, button) });
    this.jobActions = { cancel, open };
    this.listen();
  }

  listen() {
    byId("pause").addEventListener("click", () => this.pauseOrResume());
    byId("drain").addEventListener("click", () => this.drain());
    byId("sign-out").addEventListener("click", () => this.signOut());
    byId("token-form").addEventListener("submit", (event) => (event.preventDefault(), this.signIn()));
    byId("help").addEventListener("click", () => byId("help-box").showModal());
    new ResizeObserver(([bar]) => document.documentElement.style.setProperty("--top", `${bar.target.offsetHeight}px`)).observe(byId("top"));
    const switchTheme = theme();
    shortcuts({
      n: () => byId("f-prompt").focus(),
      r: () => goTo("running"),
      w: () => goTo("waiting"),
      f: () => goTo("failed"),
      m: () => goTo("models"),
      p: () => this.isAdmin && this.pauseOrResume(),
      t: switchTheme,
      "?": () => byId("help-box").showModal(),
    });
  }

  get isAdmin() {
    return this.me?.roles.includes("admin") ?? false;
  }

  // ------------------------------------------------------------------ who looks

  async begin() {
    try {
      this.me = await get("/v1/me");
    } catch (problem) {
      if (problem.needsToken) return this.askForToken(token.get() ? problem.message : "");
      this.head.link("Not connected", "bad");
      this.head.notice("link", `The server does not answer: ${problem.message}. Trying again.`, "bad");
      setTimeout(() => this.begin(), RETRY_MS);
      return;
    }
    this.head.notice("link", false);
    show(byId("sign-in"), false);
    show(byId("console"), true);
    const asks = this.me.mechanisms.length > 0;
    show(byId("who"), asks);
    show(byId("sign-out"), asks);
    say(byId("who"), this.me.principal);
    document.body.dataset.role = this.isAdmin ? "admin" : "user";
    if (this.isAdmin) this.watch();
    else this.poll();
    this.loadCards();
  }

  askForToken(why) {
    this.connection?.close();
    clearTimeout(this.polling);
    show(byId("console"), false);
    show(byId("sign-in"), true);
    document.body.dataset.role = "none";
    this.head.link("Signed out", "idle");
    for (const id of ["link", "role"]) this.head.notice(id, false);
    say(byId("token-error"), why);
    byId("token").value = "";
    byId("token").focus();
  }

  signIn() {
    token.set(byId("token").value.trim());
    this.begin();
  }

  signOut() {
    token.set(null);
    forget();
    location.reload(); // nothing of what was shown stays in memory
  }

  async loadCards() {
    try {
      this.compose.models((await get("/v1/models")).data.map((model) => model.pixwire));
    } catch {
      // the form works without: the server says what it does not take
    }
  }

  // ------------------------------------------------------------------ the feed

  watch() {
    this.connection?.close();
    const hear = {
      overview: (now) => this.draw(now),
      samples: (told) => this.plots.add(told),
      passes: (told) => this.strip.add(told),
      preview: (told) => this.preview(told),
    };
    this.connection = new Connection(FEED, (name, told) => hear[name]?.(told), (state, detail) => this.linkIs(state, detail));
  }

  linkIs(state, detail) {
    document.body.dataset.link = state;
    const again = this.connection && ["Try now", () => this.connection.hurry()];
    if (state === "live") {
      this.head.link("Live", "good");
      this.head.notice("link", false);
      if (this.wasLost) this.loadCards();
      this.wasLost = false;
    } else if (state === "stale") {
      this.head.link("Stale", "warn");
      this.head.notice("link", "No news from the server for some seconds: what you see is older.", "warn");
    } else if (state === "lost") {
      this.wasLost = true;
      this.head.link("Reconnecting", "bad");
      this.head.notice("link", "The connection is lost: what you see is old. Trying again by itself.", "bad", again);
    } else if (detail.needsToken) this.askForToken(detail.message);
    else this.begin(); // the role is gone
  }

  draw(now) {
    this.now = now;
    this.head.draw(now);
    const own = (job) => job.principal === this.me.principal && Boolean(this.results.find(job.job));
    this.lanes.draw(now.running, own);
    say(byId("running-count"), number(now.running.length));
    show(byId("running-empty"), now.running.length === 0);
    this.waiting ??= waitingTable(byId("waiting-table"), this.jobActions);
    this.waiting.draw(now.waiting);
    const count = waiting(now);
    say(byId("waiting-count"), number(count));
    say(byId("waiting-hint"), this.queueWords(now, count));
    this.failed.draw(now.failed);
    say(byId("failed-count"), number(now.failed.length));
    this.models.draw(now.models);
    this.principals.draw(now.principals);
    this.tellResults([...now.running, ...now.waiting].filter((job) => job.principal === this.me.principal));
    if (now.models.map((model) => model.name).join("\n") !== this.compose.names) this.loadCards();
  }

  queueWords({ queue, waiting: shown }, count) {
    if (count === 0) return `${number(queue.limit)} may wait.`;
    const classes = ["high", "normal", "low"].filter((name) => queue[name]).map((name) => `${number(queue[name])} ${name}`);
    const rest = count > shown.length ? ` The first ${number(shown.length)} are shown.` : "";
    return `${classes.join(", ")}; ${number(queue.limit)} may wait.${rest}`;
  }

  tellResults(jobs) {
    for (const job of jobs) {
      this.results.update(job);
      this.jobBox.update(job);
    }
    this.results.catchUp(new Set(jobs.map((job) => job.job)));
  }

  preview(told) {
    const url = this.lanes.picture(told);
    this.jobBox.preview(told.job, told.principal, url);
    if (told.principal === this.me.principal) this.results.preview(told.job, url);
  }

  /** Without the role admin there are only the own jobs, and no feed. */
  async poll() {
    this.head.notice("role", `You see the jobs of ${this.me.principal} only: this ${this.me.mechanisms.length ? "token" : "connection"} does not have the role admin.`, "idle");
    try {
      const { jobs } = await get("/v1/jobs?states=queued,running&limit=50");
      this.linkIs("live");
      this.own ??= ownTable(byId("waiting-table"), this.jobActions);
      this.own.draw(jobs);
      say(byId("waiting-word"), "My jobs");
      say(byId("waiting-count"), number(jobs.length));
      this.tellResults(jobs);
    } catch (problem) {
      if (problem.needsToken) return this.askForToken(problem.message);
      this.linkIs("lost");
    }
    this.polling = setTimeout(() => this.poll(), POLL_MS);
  }

  // ------------------------------------------------------------------ what the buttons do

  /** Do it once at a time; what goes wrong is said. */
  async act(what, work, button = null) {
    if (button?.getAttribute("aria-disabled") === "true") return;
    if (button) attribute(button, "aria-disabled", (button.busy = true));
    try {
      await work();
    } catch (problem) {
      if (problem.needsToken) this.askForToken(problem.message);
      else complain(problem, what);
    } finally {
      if (button) attribute(button, "aria-disabled", (button.busy = false));
    }
  }

  cancel({ job, principal = this.me.principal }) {
    return principal === this.me.principal ? cancelOwn(job) : operate("cancel", { job, principal });
  }

  async cancelAll({ principal, running, queued }, button) {
    const text = `${number(running + queued)} jobs that run or wait will end. This cannot be undone.`;
    const reason = await ask({ title: `Cancel all jobs of ${principal}?`, text, yes: "Cancel them", danger: true, reason: true });
    if (reason !== null) this.act("Cancel all", () => operate("cancel", { principal, reason }), button);
  }

  async pauseOrResume() {
    if (this.now?.paused) return this.act("Resume", () => operate("resume"), byId("pause"));
    const text = "New jobs are refused until you resume, or until the server starts again. What was accepted goes on.";
    const reason = await ask({ title: "Take no new jobs?", text, yes: "Pause", reason: true });
    if (reason !== null) this.act("Pause", () => operate("pause", { reason }), byId("pause"));
  }

  async drain() {
    const text = "The server takes no new jobs, lets those that run come to their end, and then stops. Jobs that wait are kept for its next start.";
    const sure = await ask({ title: "Stop the server?", text, yes: "Drain and stop", danger: true });
    if (sure !== null) this.act("Drain", () => operate("drain"), byId("drain"));
  }

  open(job) {
    const principal = job.principal ?? this.me.principal;
    const entry = principal === this.me.principal ? this.results.find(job.job) : null;
    const picture = entry?.preview ?? this.lanes.pictures.get(`${principal}\n${job.job}`);
    this.jobBox.open({ ...job, principal }, { own: principal === this.me.principal, picture, pictures: entry?.images?.map((image) => image.url) });
  }
}

new Console().begin();
