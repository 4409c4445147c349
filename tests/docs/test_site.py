"""The documentation site: it builds without a warning, and loads nothing from anywhere else."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import pixwire

from .blocks import PAGES, ROOT

pytest.importorskip("mkdocs", reason="the site needs mkdocs: pip install '.[docs]'")
pytest.importorskip("material", reason="the site needs mkdocs-material: pip install '.[docs]'")
pytest.importorskip("mkdocstrings", reason="the site needs mkdocstrings: pip install '.[docs]'")

MACHINE = re.compile(r"(?<![\w.}/-])/(?:root|work|home|Users)/\w|/tmp/\w+/\w")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", "docs/site/mkdocs.yml", "--site-dir"]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [*command, str(folder)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr
    return folder


def test_every_page_is_there(site: Path) -> None:
    for page in PAGES:
        name = page.relative_to(ROOT).with_suffix("")
        path = site / (name.parent if name.name in ("README", "index") else name) / "index.html"
        assert path.is_file(), page
    home = (site / "index.html").read_text()
    assert 'src="docs/contact-sheet.png"' in home
    assert (site / "docs" / "contact-sheet.png").read_bytes() == (ROOT / "docs" / "contact-sheet.png").read_bytes()
    assert (site / "SPEC" / "index.html").stat().st_size > 100_000


def test_everything_public_is_in_the_reference(site: Path) -> None:
    """Each name of `pixwire.__all__`, and each public method of the clients."""
    text = "".join(path.read_text() for path in (site / "docs" / "api").rglob("*.html"))
    known = set(re.findall(r'id="([\w.]+)"', text))
    missing = []
    for name in set(pixwire.__all__) - {"__version__", "Event"}:
        value = getattr(pixwire, name)
        path = f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', name)}"
        if f"pixwire.{name}" not in known and path not in known:
            missing.append(name)
    for kind in (pixwire.AsyncClient, pixwire.Client, pixwire.Job, pixwire.AsyncJob, pixwire.Image):
        for name, value in vars(kind).items():
            public = not name.startswith("_") and (callable(value) or isinstance(value, property | classmethod))
            if public and f"pixwire.{kind.__name__}.{name}" not in known:
                missing.append(f"{kind.__name__}.{name}")
    assert not missing


def test_arguments_are_spelled_out(site: Path) -> None:
    """`**arguments: Unpack[...]` is shown as the arguments that it stands for."""
    page = re.sub(r"<[^>]+>", "", (site / "docs" / "api" / "threads" / "index.html").read_text())
    assert "queue_ttl" in page
    assert "Unpack[" not in page


def test_nothing_comes_from_elsewhere(site: Path) -> None:
    wanted = re.compile(r'<(?:script|img|iframe|source)\b[^>]*\bsrc="(?:https?:)?//|<link\b[^>]*\bhref="(?:https?:)?//')
    for path in site.rglob("*.html"):
        found = wanted.search(path.read_text())
        assert found is None, f"{path}: {found[0] if found else ''}"
    for path in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(?:https?:)?//|@import", path.read_text()), path


def test_no_paths_of_a_machine(site: Path) -> None:
    for path in site.rglob("*.html"):
        found = MACHINE.search(re.sub(r"<[^>]+>", "", path.read_text()))
        assert found is None, f"{path.relative_to(site)}: {found[0] if found else ''}"


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


async def test_in_a_browser(address: str) -> None:
    """Light and dark, the picture of the home page, no request to anybody else, nothing that fails to load."""
    playwright = pytest.importorskip("playwright.async_api", reason="needs playwright")
    browser = next(
        (path for path in map(Path, ("/usr/bin/chromium", "/usr/bin/chromium-browser")) if path.exists()), None
    )
    if browser is None:
        pytest.skip("no chromium here")
    elsewhere: list[str] = []
    failed: list[str] = []
    async with playwright.async_playwright() as starting:
        chromium = await starting.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = await chromium.new_page()
        page.on(
            "request",
            lambda one: None if one.url.startswith((address, "data:", "blob:")) else elsewhere.append(one.url),
        )
        page.on("response", lambda one: failed.append(one.url) if one.status >= 400 else None)
        await page.goto(address, wait_until="networkidle")
        sheet = page.locator("img[src$='contact-sheet.png']")
        assert await sheet.evaluate("image => image.complete && image.naturalWidth") > 100
        look = "() => [document.body.dataset.mdColorScheme, getComputedStyle(document.body).backgroundColor]"
        light = await page.evaluate(look)
        await page.locator("label[title=Dark]").first.click()
        dark = await page.evaluate(look)
        assert [light[0], dark[0]] == ["default", "slate"]
        assert light[1] != dark[1]
        await page.goto(f"{address}docs/api/threads/", wait_until="networkidle")
        assert await page.locator("h2#pixwire\\.Client").count() == 1
        await chromium.close()
    assert elsewhere == []
    assert failed == []
