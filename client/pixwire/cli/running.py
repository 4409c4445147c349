"""Carries out what a command asks for."""

import asyncio
import contextlib
import itertools
import signal
from collections.abc import Coroutine
from typing import Any

from ..errors import PixwireError, invalid
from .exits import report

CALM = 2  # so many times Ctrl-C asks the command to end; after that it ends it wherever it stands


def execute(work: Coroutine[Any, Any, int], *, as_json: bool) -> int:
    """Runs a command's coroutine; what goes wrong becomes a line, or JSON, and an exit code."""
    try:
        return asyncio.run(_interruptible(work))
    except UnicodeDecodeError as error:  # a file with prompts or a token that holds something else
        text = f"a file is no UTF-8 text: {error.reason} at byte {error.start}"
        return report(invalid("file", None, "UTF-8 text", text), as_json=as_json)
    except (PixwireError, OSError, ImportError, KeyboardInterrupt, asyncio.CancelledError) as error:
        return report(error if str(error) else KeyboardInterrupt("interrupted"), as_json=as_json)


async def _interruptible(work: Coroutine[Any, Any, int]) -> int:
    """The work; Ctrl-C cancels it, and again what it does about that (asyncio's own would tear down the loop then)."""
    loop, task, times = asyncio.get_running_loop(), asyncio.ensure_future(work), itertools.count(1)

    def interrupt() -> None:
        task.cancel()
        if next(times) == CALM:
            loop.remove_signal_handler(signal.SIGINT)

    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # Windows; not the main thread
        loop.add_signal_handler(signal.SIGINT, interrupt)
    return await task
