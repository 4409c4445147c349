"""A browser for the console, and servers for it to look at. What a page complains about fails its test."""

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

sys.path.insert(0, str(Path(__file__).parent))  # the helpers beside this file; tests are no package
sys.path.insert(0, str(Path(__file__).parent.parent / "app"))

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DEADLINE_MS = 30_000
"""A bound for a hang, never a measure."""
sync_api.expect.set_options(timeout=DEADLINE_MS)

REPORT_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => window.violations.push(
  `${event.violatedDirective}: ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
"""


@dataclass
class Complaints:
    """What a page must not cause. `expected` are texts of refusals that its test asks for."""

    errors: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def check(self, page: Any) -> None:
        """Fail when there are any."""
        if not page.is_closed():
            self.errors += page.evaluate("window.violations ?? []")
        unexpected = [error for error in self.errors if not any(text in error for text in self.expected)]
        assert unexpected == []
        assert self.strangers == []


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window; ended with its module, since its loop would be in the way of other tests' loops."""
    if CHROMIUM is None:
        pytest.skip("there is no chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


OpenPage = Callable[..., Any]
"""What the fixture `open_page` gives: url -> page; options are those of a browser context."""


@pytest.fixture
def complaints() -> Complaints:
    """Of the pages of one test."""
    return Complaints()


@pytest.fixture
def open_page(browser: Any, complaints: Complaints) -> Iterator[OpenPage]:
    """Opens pages, each in a context of its own."""
    opened: list[Any] = []

    def open_(url: str, **options: Any) -> Any:
        host = urlsplit(url).netloc
        context = browser.new_context(viewport={"width": 1400, "height": 900}, **options)
        context.set_default_timeout(DEADLINE_MS)
        context.add_init_script(REPORT_VIOLATIONS)

        def route(route: Any) -> None:
            if urlsplit(route.request.url).netloc == host:
                route.continue_()
            else:
                complaints.strangers.append(route.request.url)
                route.abort()

        context.route("**/*", route)
        page = context.new_page()
        page.on("console", lambda said: said.type in ("error", "warning") and complaints.errors.append(said.text))
        page.on("pageerror", lambda error: complaints.errors.append(str(error)))
        page.goto(url)
        opened.append(page)
        return page

    yield open_
    for page in opened:
        complaints.check(page)
        page.context.close()
