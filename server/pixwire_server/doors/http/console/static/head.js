// The bar at the top: how the connection and the engine are, what an operator can switch, and what is unusual now.

import { attribute, byId, h, keyed, say, show } from "./dom.js";
import { duration, number, short } from "./format.js";

const ENGINE = { ready: "Engine ready", starting: "Engine starting", lost: "Engine lost, restarting", refused: "Engine refused to start" };
const KIND = { ready: "good", starting: "warn", lost: "bad", refused: "bad" };

export class Head {
  constructor() {
    this.notices = new Map();
  }

  link(state, kind) {
    attribute(byId("link"), "data-kind", kind);
    say(byId("link-text"), state);
  }

  /** An overview. */
  draw(now) {
    const { engine, cost } = now;
    attribute(byId("engine"), "data-kind", KIND[engine.state] ?? "warn");
    say(byId("engine-text"), ENGINE[engine.state] ?? `Engine ${engine.state}`);
    say(byId("uptime"), duration(now.uptime_ms));
    say(byId("connections"), number(now.connections));
    say(byId("restarts"), number(engine.restarts));
    say(byId("cost"), cost.error_p50 === undefined ? "–" : `× ${short(cost.error_p50)}`);
    say(byId("pause"), now.paused ? "Resume" : "Pause");
    attribute(byId("pause"), "class", now.paused ? "admin-only primary" : "admin-only");
    this.notice("paused", now.paused && `New jobs are refused${now.reason ? `: ${now.reason}` : ""}. What was accepted goes on.`, "warn");
    this.notice("draining", now.draining && "The server is stopping: it takes no new jobs and no more commands, and ends when those that run are done.", "warn");
    const engineWord = engine.state !== "ready" && engine.state !== "starting";
    this.notice("engine", engineWord && `${ENGINE[engine.state]}. Jobs wait meanwhile; none is lost.`, "bad");
    document.title = `${now.running.length} running, ${waiting(now)} waiting – pixwire`;
  }

  /** Show a notice, or take it away when `text` is false. `button`: [word, act]. */
  notice(id, text, kind = "warn", button = null) {
    if (text) this.notices.set(id, { id, text, kind, button });
    else this.notices.delete(id);
    keyed(byId("banners"), [...this.notices.values()], (one) => one.id, makeNotice);
  }
}

export const waiting = ({ queue }) => queue.high + queue.normal + queue.low;

function makeNotice({ button }) {
  const text = h("p");
  const notice = h("div", { class: "notice" }, text, button && h("button", { type: "button", onclick: () => button[1]() }, button[0]));
  notice.update = (one) => {
    attribute(notice, "data-kind", one.kind);
    say(text, one.text);
  };
  return notice;
}
