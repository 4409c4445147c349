"""What a defect of a server is: a function that changes the imported code, and the requirements that it breaks."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Patch = Callable[[], None]


@dataclass(frozen=True)
class Mutant:
    """`ids`: the requirements that the defect breaks; each one's cases are run, and one of them must fail."""

    patch: Patch
    ids: tuple[str, ...]
    token: bool = False
    settings: dict[str, Any] = field(default_factory=dict)


MUTANTS: dict[str, Mutant] = {}


def mutant(*ids: str, token: bool = False, **settings: Any) -> Callable[[Patch], Patch]:
    """Decorator: enters the patch under its name."""

    def enter(patch: Patch) -> Patch:
        MUTANTS[patch.__name__] = Mutant(patch, ids, token, settings)
        return patch

    return enter
