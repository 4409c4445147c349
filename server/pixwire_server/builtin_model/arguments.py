"""What the command lines of this package take: numbers within limits, told in one line where they are not."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable


def at_least(least: int) -> Callable[[str], int]:
    """An argparse type: a whole number no smaller than this."""

    def read(text: str) -> int:
        number = int(text)
        if number < least:
            raise argparse.ArgumentTypeError(f"{text} is below {least}, the least that makes sense")
        return number

    read.__name__ = "whole number"  # argparse names the type of what it cannot read
    return read


def no_less_than_0(text: str) -> float:
    """An argparse type: a number that is not negative; inf is one."""
    number = float(text)
    if math.isnan(number) or number < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0 or no number")
    return number
