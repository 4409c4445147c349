"""Reading the images that go with a job, which may block for as long as a disk or a pipe likes."""

# ruff: noqa: ASYNC109 - reading belongs to a call, whose time this is

import asyncio
import threading
from contextlib import suppress

from ..core.drafts import Draft
from ..core.requests import JobOrder
from ..errors import RequestTimeout


async def read(drafted: Draft, timeout: float | None) -> JobOrder:
    """The job with its images, read in a thread when that may take a while. Raises InvalidArgument, RequestTimeout.

    The thread is none of the loop's executor: `asyncio.run` waits for those at its end, and a pipe that nobody writes
    to would hold up the program for ever.
    """
    if drafted.quick:
        return drafted.read()
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[JobOrder] = loop.create_future()

    def settle(order: JobOrder | None, error: BaseException | None) -> None:
        if outcome.done():  # nobody waits any more
            return
        if order is not None:
            outcome.set_result(order)
        elif error is not None:
            outcome.set_exception(error)

    def work() -> None:
        order, problem = None, None
        try:
            order = drafted.read()
        except BaseException as error:
            problem = error
        with suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(settle, order, problem)

    threading.Thread(target=work, name="pixwire reading", daemon=True).start()
    try:
        async with asyncio.timeout(timeout):
            return await outcome
    except TimeoutError:
        raise RequestTimeout("reading the images", timeout or 0.0) from None
