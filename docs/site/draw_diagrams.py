"""Draws the mermaid blocks of the site's pages as SVG files in diagrams/; hooks.py puts them into the pages.

    npm pack mermaid@11 && tar xzf mermaid-*.tgz package/dist/mermaid.min.js
    python docs/site/draw_diagrams.py package/dist/mermaid.min.js [--browser /usr/bin/chromium]

Needs playwright. Drawings that no page uses any more are removed.
"""

import argparse
import re
from pathlib import Path

import hooks
from playwright.sync_api import sync_playwright

_BLOCK = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Labels as SVG text: browsers show no HTML inside of an SVG picture that is loaded as an image from a file.
_SETUP = """mermaid.initialize({startOnLoad: false, theme: "neutral", fontFamily: "sans-serif", htmlLabels: false,
    flowchart: {htmlLabels: false}})"""
_DRAW = "source => mermaid.render('diagram', source).then(drawn => drawn.svg)"


def sources() -> list[str]:
    """The text of every mermaid block."""
    return [block for page in hooks.pages() for block in _BLOCK.findall((hooks.ROOT / page).read_text())]


def _sized(svg: str) -> str:
    """With its own width and height, so that a small drawing stays small in an `img`."""
    width, height = re.findall(r'viewBox="\S+ \S+ (\S+) (\S+)"', svg)[0]
    return svg.replace('width="100%"', f'width="{float(width):.0f}" height="{float(height):.0f}"', 1)


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the mermaid blocks of the documentation.")
    parser.add_argument("mermaid", type=Path, help="mermaid.min.js")
    parser.add_argument("--browser", help="chromium's program; default: playwright's own")
    options = parser.parse_args()
    hooks.DIAGRAMS.mkdir(exist_ok=True)
    used = set()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=options.browser, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_content("<html><body></body></html>")
        page.add_script_tag(path=options.mermaid)
        page.evaluate(_SETUP)
        for source in sources():
            path = hooks.diagram(source)
            path.write_text(_sized(page.evaluate(_DRAW, source)) + "\n")
            used.add(path)
            print(path)
        browser.close()
    for path in set(hooks.DIAGRAMS.glob("*.svg")) - used:
        path.unlink()


if __name__ == "__main__":
    main()
