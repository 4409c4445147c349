"""What everybody must be able to read and use, checked in the page itself."""

from typing import Any

CONTRAST = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgba = (text) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = text;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const linear = (v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = (c) => [0.2126, 0.7152, 0.0722].reduce((sum, share, i) => sum + share * linear(c[i] / 255), 0);
  const ground = (element) => {
    const layers = [];
    for (let one = element; one; one = one.parentElement) layers.push(rgba(getComputedStyle(one).backgroundColor));
    const body = rgba(getComputedStyle(document.body).backgroundColor);
    return layers.reverse().reduce((under, top) => over(top, under), body);
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    const text = node.textContent.trim();
    const unseen = !text || !element.checkVisibility();
    if (unseen || element.closest(".sr, noscript, option, [aria-disabled=true]")) continue;
    const under = ground(element);
    const ink = over(rgba(getComputedStyle(element).color), under);
    const [a, b] = [light(ink), light(under)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) found.push(`${element.tagName}.${element.className} ${text.slice(0, 30)}: ${ratio.toFixed(2)}`);
  }
  return found;
}"""
"""Texts with less contrast than WCAG 2.2 AA asks for."""

TWICE = """() => {
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  return ids.filter((id, index) => ids.indexOf(id) !== index);
}"""
"""Ids that are there twice: labels would lead to the wrong field."""

SMALL = """() => [...document.querySelectorAll("button, select, summary, input:not([type=checkbox])")]
  .filter((element) => element.checkVisibility())
  .map((element) => [element, element.getBoundingClientRect()])
  .filter(([, box]) => box.width < 24 || box.height < 22)
  .map(([element, box]) => `${element.outerHTML.slice(0, 80)}: ${box.width} x ${box.height}`)"""
"""Controls that a finger would miss."""

ROLES = ("button", "textbox", "spinbutton", "combobox", "checkbox", "link")


def nameless(page: Any) -> list[str]:
    """Lines of the accessibility tree with a control that has no name."""
    lines = page.locator("body").aria_snapshot().splitlines()
    said = [line.strip().removeprefix("- ") for line in lines]
    return [line for line in said if line.split(":")[0].split(" [")[0] in ROLES]


def readable(page: Any) -> None:
    """All of it, and nothing that is no word."""
    said = page.locator("body").inner_text()
    assert not [word for word in ("undefined", "null", "NaN", "[object") if word in said]
    assert page.evaluate(CONTRAST) == []
    assert page.evaluate(TWICE) == []
    assert page.evaluate(SMALL) == []
    assert nameless(page) == []


def fits(page: Any) -> bool:
    """Whether nobody has to scroll sideways."""
    wide: bool = page.evaluate("document.scrollingElement.scrollWidth <= document.documentElement.clientWidth")
    return wide
