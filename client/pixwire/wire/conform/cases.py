"""What a case is, the register of all cases, and how a command line chooses among them."""

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from .requirements import ID, requirements, section_key

Run = Callable[[Any], Awaitable[None]]
_SECTION: Final = re.compile(r"(?P<section>[\dA-D]+(\.\d+)*)(/(?P<number>\d+))?$")


@dataclass(frozen=True, slots=True)
class Case:
    """One question to the side under test.

    section   number of the section of SPEC.md that it belongs to; `number` counts the cases in it from 1
    ids       requirements it asks for, the main one first
    level     the conformance level from which on it applies (SPEC 15)
    strict    it asks for a SHOULD; only with --strict
    slow      it waits for a clock of the other side; only with --slow
    last      nothing can be asked behind it
    """

    section: str
    number: int
    ids: tuple[str, ...]
    title: str
    run: Run
    level: int = 0
    strict: bool = False
    slow: bool = False
    last: bool = False

    @property
    def address(self) -> str:
        """How to name it on a command line, such as `7.4/3`."""
        return f"{self.section}/{self.number}"


class Register:
    """Collects cases in the order of their definition."""

    def __init__(self) -> None:
        self._cases: list[Case] = []

    def case(
        self,
        *ids: str,
        section: str | None = None,
        level: int = 0,
        strict: bool = False,
        slow: bool = False,
        last: bool = False,
    ) -> Callable[[Run], Run]:
        """Decorator: a coroutine function whose docstring is the title.

        The section is that of the first requirement unless it is given (where no requirement is quoted).
        """

        def add(run: Run) -> Run:
            where = section or requirements()[ids[0]].section
            number = 1 + sum(case.section == where for case in self._cases)
            title = " ".join((run.__doc__ or "").split()).rstrip(".")
            self._cases.append(Case(where, number, ids, title, run, level, strict, slow, last))
            return run

        return add

    def all(self) -> list[Case]:
        """All cases, sections in order, those that must be last behind them."""
        return sorted(self._cases, key=lambda case: (case.last, section_key(case.section), case.number))


class UnknownAddressError(ValueError):
    """A word of the command line names no section, case or requirement."""


def select(
    cases: Iterable[Case], words: Sequence[str], *, level: int = 3, strict: bool = False, slow: bool = False
) -> list[Case]:
    """The cases that the words name: `7.4` (with its subsections), `7.4/3`, `PXW-FLW-003` or `FLW-003`; all without.

    Raises UnknownAddressError for a word that names nothing. A case that is named by its number is chosen whatever its
    kind.
    """
    everything = list(cases)
    allowed = [
        case for case in everything if case.level <= level and (strict or not case.strict) and (slow or not case.slow)
    ]
    if not words:
        return allowed
    chosen: set[Case] = set()
    for word in words:
        pool = everything if "/" in word else allowed
        matching = {case for case in pool if _matches(case, word)}
        if not matching and not any(_matches(case, word) for case in everything):
            raise UnknownAddressError(f"{word!r} names no section, case or requirement that is tested; see --dry-run")
        chosen |= matching
    return [case for case in everything if case in chosen]


def _matches(case: Case, word: str) -> bool:
    name = word.upper().removeprefix("PXW-")
    if ID.fullmatch(f"PXW-{name}"):
        return f"PXW-{name}" in case.ids
    found = _SECTION.fullmatch(word.upper().removeprefix("SECTION-"))
    if found is None:
        return False
    if found["number"]:
        return case.address == word
    return case.section == found["section"] or case.section.startswith(found["section"] + ".")
