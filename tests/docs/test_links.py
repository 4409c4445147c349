"""Links between the pages of the repository, wherever they are read."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from .blocks import ROOT

SKIPPED = {".git", ".venv", ".pytest_cache", "node_modules", "build", "dist", "demo-output"}
PAGES = sorted(p for p in ROOT.rglob("*.md") if not SKIPPED & set(p.relative_to(ROOT).parts) and ".work" not in str(p))
FOLDERS = (ROOT / "examples", ROOT / "server" / "deploy")
TEXTS = [*PAGES, *sorted(p for folder in FOLDERS for p in folder.iterdir() if p.is_file())]
MACHINE = re.compile(r"(?<![\w.}/-])/(?:root|work|Users)/\w")

_CODE = re.compile(r"^(`{3,}|~{3,}).*?^\1\s*$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The ids of its headings, as repositories' pages and the site make them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    found = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in _HEADING.findall(text))
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(_CODE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / unquote(path)) if path else page
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), link


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_paths_of_a_machine(path: Path) -> None:
    found = MACHINE.search(path.read_text())
    assert found is None, found
