// The few things that all parts do with the page. Text is set as text: nothing from a server becomes markup.

export const byId = (id) => document.getElementById(id);

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "path", "line", "g"]);

/** An element: h("button", {type: "button", onclick: f, "aria-label": "x"}, "text", child). */
export function h(tag, properties = {}, ...children) {
  const element = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

/** Write text only where it differs: screen readers hear of changes, and the browser lays out less. */
export function say(element, text) {
  const words = String(text);
  if (element.textContent !== words) element.textContent = words;
}

export function attribute(element, name, value) {
  if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

export function show(element, visible) {
  if (element.hidden === visible) element.hidden = !visible;
}

/** Put `element` before `next` without losing focus, where the browser can. */
function place(parent, element, next) {
  if (element.parentNode === parent && parent.moveBefore) parent.moveBefore(element, next);
  else parent.insertBefore(element, next);
}

/**
 * Keep the children of `parent` equal to `items`, one element for each key, which stays the same element while its key
 * is there: focus, animations and images survive an update. make(item) -> element with a method `update(item)`.
 */
export function keyed(parent, items, keyOf, make) {
  const known = (parent.keyed ??= new Map());
  const keys = items.map(keyOf);
  const kept = new Set(keys);
  for (const [key, element] of [...known]) {
    if (kept.has(key)) continue;
    known.delete(key);
    leave(element);
  }
  let next = parent.firstChild;
  items.forEach((item, index) => {
    let element = known.get(keys[index]);
    if (!element) known.set(keys[index], (element = make(item)));
    element.update(item);
    if (element === next) next = next.nextSibling;
    else place(parent, element, next);
  });
}

/** Remove an element; focus that was in it goes to what is next, so that a keyboard is not thrown to the top. */
function leave(element) {
  if (element.contains(document.activeElement)) {
    const next = element.nextElementSibling ?? element.previousElementSibling;
    const target = next?.querySelector("button, a[href]") ?? element.closest("section");
    element.remove();
    target?.focus({ preventScroll: true });
  } else element.remove();
}
