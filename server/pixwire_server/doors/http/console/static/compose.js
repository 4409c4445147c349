// The form: what a request may be is the model's card, which the server sends; what is wrong is said at its field.

import { submit, words } from "./api.js";
import { attribute, byId, h, say } from "./dom.js";

const NUMBERS = ["width", "height", "steps", "guidance_scale", "count", "strength"];
const TEXTS = ["prompt", "negative_prompt"];
const HIDDEN = ["negative_prompt", "image", "strength"]; // inside <details>
const LIMITS = { width: "max_width", height: "max_height", steps: "max_steps", count: "max_count" };

export class Compose {
  /** made(status, params) hears of every job that was accepted. */
  constructor(made) {
    this.made = made;
    this.form = byId("form");
    this.cards = [];
    this.form.addEventListener("submit", (event) => (event.preventDefault(), this.send()));
    this.form.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) (event.preventDefault(), this.send());
    });
    this.form.addEventListener("input", (event) => this.forgive(event.target));
    this.field("model").addEventListener("change", () => this.suit());
    this.field("image").addEventListener("change", () => this.suit());
    this.takeDrops();
  }

  field(name) {
    return byId(`f-${name}`);
  }

  /** The cards of the models (GET /v1/models). */
  models(cards) {
    const chosen = this.field("model").value;
    const names = cards.map((card) => card.name).join("\n");
    this.cards = cards;
    if (names !== this.names) {
      this.names = names;
      this.field("model").replaceChildren(...cards.map((card) => h("option", { value: card.name }, card.name)));
      if (cards.some((card) => card.name === chosen)) this.field("model").value = chosen;
    }
    this.suit();
  }

  /** Show what the chosen model allows, and what it takes when nothing is said. */
  suit() {
    const card = this.cards.find((one) => one.name === this.field("model").value);
    const image = this.field("image");
    attribute(this.field("strength"), "disabled", image.files.length === 0 ? "" : null);
    if (!card) return;
    const { defaults = {}, limits = {} } = card;
    for (const name of NUMBERS) {
      const field = this.field(name);
      if (name in defaults && name !== "count") attribute(field, "placeholder", defaults[name]);
      if (limits[LIMITS[name]]) attribute(field, "max", limits[LIMITS[name]]);
      if ((name === "width" || name === "height") && limits.size_multiple) {
        attribute(field, "step", limits.size_multiple);
        attribute(field, "min", limits.size_multiple);
      }
    }
    attribute(image, "disabled", card.kinds?.includes("img2img") ? null : "");
  }

  /** An image may be dropped anywhere on the form, or pasted. */
  takeDrops() {
    const take = (event, files) => {
      if (!files?.length || this.field("image").disabled) return;
      event.preventDefault();
      const transfer = new DataTransfer();
      transfer.items.add(files[0]);
      this.field("image").files = transfer.files;
      byId("more").open = true;
      this.suit();
    };
    this.form.addEventListener("dragover", (event) => event.preventDefault());
    this.form.addEventListener("drop", (event) => take(event, event.dataTransfer.files));
    this.form.addEventListener("paste", (event) => take(event, event.clipboardData.files));
  }

  async send() {
    if (this.sending) return;
    for (const field of this.form.elements) this.forgive(field);
    say(byId("form-error"), "");
    const params = this.params();
    if (!params) return;
    this.busy(true);
    try {
      this.made(await submit(this.body(params)), params);
    } catch (problem) {
      this.refuse(problem);
    } finally {
      this.busy(false);
    }
  }

  /** Not disabled: that would take the focus away. */
  busy(sending) {
    this.sending = sending;
    attribute(byId("go"), "aria-disabled", sending ? "true" : null);
    say(byId("go"), sending ? "Sending…" : "Make the image");
  }

  /** The parameters that were filled in; null when one cannot be sent at all. */
  params() {
    const params = { model: this.field("model").value || undefined };
    for (const name of TEXTS) {
      const value = this.field(name).value.trim();
      if (value) params[name] = value;
    }
    if (!params.prompt) return this.blame("prompt", "Write what the image is to show.");
    for (const name of NUMBERS) {
      const field = this.field(name);
      if (field.disabled) continue;
      if (field.validity.badInput) return this.blame(name, "This has to be a number.");
      if (field.value !== "") params[name] = Number(field.value);
    }
    const seed = this.field("seed").value.trim();
    if (seed === "") return params;
    if (!/^\d+$/.test(seed) || !Number.isSafeInteger(Number(seed)))
      return this.blame("seed", "A whole number from 0 to 9,007,199,254,740,991, or nothing: then one is drawn.");
    return { ...params, seed: Number(seed) };
  }

  body(params) {
    const [image] = this.field("image").files;
    const priority = this.field("priority").value;
    if (!image) return { params, priority };
    const form = new FormData();
    form.append("request", JSON.stringify({ kind: "img2img", params, priority }));
    form.append("image", image);
    return form;
  }

  /** A refusal that names a field of the form is said there, any other below the form. */
  refuse(problem) {
    const field = String(problem.details?.field ?? "").replace(/^params\./, "").replace(/\[.*$/, "");
    if (field && this.field(field)) this.blame(field, problem.message);
    else {
      say(byId("form-error"), `${words(problem.title ?? "ERROR")}: ${problem.message}`);
      byId("go").focus();
    }
  }

  blame(name, text) {
    const field = this.field(name);
    const id = `e-${name}`;
    byId(id)?.remove();
    field.setAttribute("aria-invalid", "true");
    field.setAttribute("aria-describedby", id);
    field.closest(".field").classList.add("wrong");
    (field.closest(".fields") ?? field.closest(".field")).after(h("p", { class: "field-error", id, role: "alert" }, text));
    if (HIDDEN.includes(name)) byId("more").open = true;
    field.focus();
    return null;
  }

  forgive(field) {
    if (!field.name || field.getAttribute("aria-invalid") !== "true") return;
    field.removeAttribute("aria-invalid");
    field.removeAttribute("aria-describedby");
    field.closest(".field").classList.remove("wrong");
    byId(`e-${field.name}`)?.remove();
  }
}
