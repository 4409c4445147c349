"""The fenced blocks of the documentation, and what their commands are made of."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

_FENCE = re.compile(r"^```([\w-]*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SNIPPET = re.compile(r"^--8<--\n(\S+)\n--8<--$", re.MULTILINE)
_ASSIGNMENT = re.compile(r"\A[A-Z_]+=")
_ENDS = {"|", ";", "&&", "||"}


@dataclass(frozen=True)
class Block:
    """One fenced block: the page it is on, its number among that page's blocks of its language, from 1."""

    page: str
    language: str
    number: int
    text: str

    @property
    def name(self) -> str:
        return f"{self.page}:{self.language or 'text'}:{self.number}"

    @property
    def snippets(self) -> list[str]:
        """The files that it shows."""
        return _SNIPPET.findall(self.text)


def blocks() -> list[Block]:
    found = []
    for page in PAGES:
        counts: dict[str, int] = {}
        for language, text in _FENCE.findall(page.read_text()):
            counts[language] = counts.get(language, 0) + 1
            found.append(Block(page.relative_to(ROOT).as_posix(), language, counts[language], text))
    return found


def commands(block: Block) -> Iterator[list[str]]:
    """The commands of a block for a shell, or of a transcript (lines that begin with `$`), as lists of words."""
    text = block.text.replace("\\\n", " ")
    lines = text.splitlines() if block.language in ("sh", "console") else re.findall(r"^\$ (.*)$", text, re.MULTILINE)
    for line in lines:
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        redirected = False
        for word in [*lexer, ";"]:
            if word in _ENDS:
                if words:
                    yield words
                words = []
            elif word in (">", ">>", "<"):
                redirected = True
            elif redirected:
                redirected = False
            elif words or not (_ASSIGNMENT.match(word) or word == "sudo"):
                words.append(word)
