// Theme and shortcuts. Shortcuts of a single key can be switched off, and hold only where nobody types.

import { byId } from "./dom.js";

const KEYS = "pixwire.keys";
const THEME = "pixwire.theme";

const read = (name) => {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
};

const write = (name, value) => {
  try {
    localStorage.setItem(name, value);
  } catch {
    // storage is switched off: it holds until the page is left
  }
};

export function theme() {
  const choice = byId("theme");
  const set = (value) => {
    if (value) document.documentElement.dataset.theme = value;
    else delete document.documentElement.dataset.theme;
    choice.value = value;
    write(THEME, value);
  };
  choice.value = document.documentElement.dataset.theme ?? "";
  choice.addEventListener("change", () => set(choice.value));
  const dark = () => choice.value === "dark" || (choice.value === "" && matchMedia("(prefers-color-scheme: dark)").matches);
  return () => set(dark() ? "light" : "dark");
}

/** table: key -> what it does. */
export function shortcuts(table) {
  const allowed = byId("keys");
  allowed.checked = read(KEYS) !== "off";
  allowed.addEventListener("change", () => write(KEYS, allowed.checked ? "on" : "off"));
  document.addEventListener("keydown", (event) => {
    const act = table[event.key];
    const typing = event.target.closest("input, textarea, select, dialog[open]");
    if (!act || typing || !allowed.checked || event.ctrlKey || event.metaKey || event.altKey || byId("console").hidden) return;
    event.preventDefault();
    act();
  });
}

export function goTo(id) {
  const place = byId(id);
  place.scrollIntoView({ block: "start", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
  place.focus({ preventScroll: true });
}
