"""How a mutant changes the imported code."""

import functools
from collections.abc import Callable
from typing import Any


def around(owner: Any, name: str, new: Callable[..., Any]) -> None:
    """Replace a method: `new` gets the old one first."""
    old = getattr(owner, name)

    @functools.wraps(old)
    def changed(*arguments: Any, **named: Any) -> Any:
        return new(old, *arguments, **named)

    setattr(owner, name, changed)
