"""Hooks of the documentation site (mkdocs): the repository is the site's source, under the paths it has there.

mkdocs knows one folder of pages; ours stand beside what they describe (SPEC.md, benchmarks/README.md, the model
card). So `on_files` puts the pages and what they link to in place of that folder's files, each under its path from the
top. Relative links then mean the same here and in the repository, and mkdocs' own check of links holds for both.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "SPEC.md",
    "benchmarks/README.md",
    "benchmarks/results/report.md",
    "protocol/examples/node/README.md",
    "protocol/vectors/README.md",
    "protocol/wireshark/README.md",
    "server/pixwire_server/builtin_model/MODEL_CARD.md",
)
FOLDERS = ("docs", "docs/guide", "docs/api")
STYLE = "docs/site/site.css"
DIAGRAMS = Path(__file__).with_name("diagrams")

_LINK = re.compile(r"\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")
_FENCE = re.compile(r"^(`{3,}|~{3,}).*?^\1\s*$", re.MULTILINE | re.DOTALL)
_CELLS = re.compile(r"^<!-- cells: (\S+) -->$", re.MULTILINE)
_MERMAID = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def pages() -> list[str]:
    """The pages, as paths from the top of the repository."""
    found = [path.relative_to(ROOT).as_posix() for folder in FOLDERS for path in (ROOT / folder).glob("*.md")]
    return [*PAGES, *sorted(found)]


def links(page: str) -> Iterator[str]:
    """What a page links to inside of the repository, as paths from the top. What is shown as code is no link."""
    text = re.sub(r"`[^`\n]*`", "", _FENCE.sub("", (ROOT / page).read_text()))
    for target in _LINK.findall(text):
        path = unquote(target.partition("#")[0])
        if path and "://" not in path and not path.startswith(("mailto:", "/")):
            yield ((ROOT / page).parent / path).resolve().relative_to(ROOT).as_posix()


def diagram(source: str) -> Path:
    """The drawing of a mermaid block: made by draw_diagrams.py, since mermaid itself is three megabytes of script."""
    return DIAGRAMS / f"{hashlib.sha256(source.encode()).hexdigest()[:12]}.svg"


def on_config(config: Any) -> Any:
    """Snippets are named from the top of the repository, wherever mkdocs was started."""
    config.mdx_configs["pymdownx.snippets"]["base_path"] = [str(ROOT)]
    return config


def on_files(files: Files, config: Any) -> Files:
    """In place of the files of docs_dir: the pages, and the files that they show or link to."""
    kept = [file for file in files if file.src_dir != config.docs_dir]
    known = pages()
    linked = {path for page in known for path in links(page) if (ROOT / path).is_file()}
    drawings = {path.relative_to(ROOT).as_posix() for path in DIAGRAMS.glob("*.svg")}
    ours = [*known, *sorted((linked | drawings | {STYLE}) - set(known))]
    return Files([*kept, *(File.generated(config, path, abs_src_path=str(ROOT / path)) for path in ours)])


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Mermaid blocks become the drawings that were made of them; a notebook that is named becomes its cells."""

    def drawn(found: re.Match[str]) -> str:
        path = diagram(found[1])
        if not path.is_file():
            raise PluginError(f"{page.file.src_uri}: a mermaid block has no drawing; run docs/site/draw_diagrams.py")
        up = "../" * page.file.src_uri.count("/")
        return f"![how the parts hang together]({up}{path.relative_to(ROOT).as_posix()}){{ .diagram }}"

    return _CELLS.sub(lambda found: cells(found[1]), _MERMAID.sub(drawn, markdown))


def cells(notebook: str) -> str:
    """The cells of a notebook as Markdown; its own title is left out."""
    found = json.loads((ROOT / notebook).read_text())["cells"]
    texts = ["".join(cell["source"]) for cell in found]
    shown = [
        f"```python\n{text}\n```" if cell["cell_type"] == "code" else re.sub(r"\A# .*\n+", "", text)
        for cell, text in zip(found, texts, strict=True)
    ]
    return "\n\n".join(shown)
