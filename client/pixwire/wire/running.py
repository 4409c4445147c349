"""From a command's work to its exit code."""

import asyncio
import errno
from collections.abc import Callable, Coroutine
from typing import Any

from ..cli.exits import ExitCode, settled
from .errors import WireError, report
from .screen import Screen

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def carry_out(screen: Screen, work: Callable[[], int | Coroutine[Any, Any, int]]) -> int:
    """Runs a command, plain or asynchronous; what goes wrong becomes a line, or JSON, and an exit code."""
    try:
        done = work()
        return int(done if isinstance(done, int) else asyncio.run(done))
    except WireError as error:
        return report(error, as_json=screen.as_json)
    except KeyboardInterrupt:
        screen.note("interrupted")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:  # the reader of our output has seen enough
        settled(ExitCode.OK)
        return ExitCode.OK
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        settled(ExitCode.FAILED)
        return report(
            WireError(f"the output cannot be written: {error.strerror}", exit_code=ExitCode.FAILED), as_json=False
        )
