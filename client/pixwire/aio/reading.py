"""Reading the images that go with a job, which may block for as long as a disk or a pipe likes."""

# ruff: noqa: ASYNC109 - reading belongs to a call, whose time this is

import asyncio

from ..core.drafts import Draft
from ..core.requests import JobOrder
from ..errors import RequestTimeout


async def read(drafted: Draft, timeout: float | None) -> JobOrder:
    """The job with its images, read in a thread when that may take a while. Raises InvalidArgument, RequestTimeout."""
    if drafted.quick:
        return drafted.read()
    try:
        async with asyncio.timeout(timeout):
            return await asyncio.to_thread(drafted.read)
    except TimeoutError:
        raise RequestTimeout("reading the images", timeout or 0.0) from None
