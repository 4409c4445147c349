"""Carries out what a command asks for."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from ..errors import PixwireError, invalid
from .exits import report


def execute(work: Coroutine[Any, Any, int], *, as_json: bool) -> int:
    """Runs a command's coroutine; what goes wrong becomes a line, or JSON, and an exit code."""
    try:
        return asyncio.run(work)
    except UnicodeDecodeError as error:  # a file with prompts or a token that holds something else
        text = f"a file is no UTF-8 text: {error.reason} at byte {error.start}"
        return report(invalid("file", None, "UTF-8 text", text), as_json=as_json)
    except (PixwireError, OSError, ImportError, KeyboardInterrupt) as error:
        return report(error if str(error) else KeyboardInterrupt("interrupted"), as_json=as_json)
