"""Many images, a few at a time: what `generate_many` of both shells share. Pure."""

from collections.abc import Mapping
from typing import Any

from pixwire_protocol.record import record

from ..errors import CapacityError, PixwireError, invalid
from ..image import Image

CONCURRENCY = 16
MOST_TRIES = 20
"""How often one request is made again because the server had no room for it."""
SHORTEST_WAIT = 0.05  # seconds


@record
class Outcome:
    """What became of one of many requests.

    Attributes:
        index: its place among the requests, from 0.
        request: the arguments it was made with.
        images: its images, as many as its `count`; none when it failed.
        error: why it failed, or None.
    """

    index: int
    request: Mapping[str, Any]
    images: tuple[Image, ...] = ()
    error: PixwireError | None = None

    @property
    def image(self) -> Image:
        """The (first) image. Raises the error of a request that failed."""
        if self.error is not None:
            raise self.error
        return self.images[0]


def request_of(item: str | Mapping[str, Any], common: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of one request: a prompt, or arguments of its own, over those that all share."""
    if isinstance(item, str):
        return {**common, "prompt": item}
    return {**common, **item}


def wait_before_again(error: PixwireError, tries: int, left: float | None) -> float | None:
    """Seconds to wait before a request that failed like this is made again; None: it has failed. `left`: seconds it
    may still take; None: any.
    """
    if not isinstance(error, CapacityError) or error.retry != "after" or tries >= MOST_TRIES:
        return None
    wait = max(SHORTEST_WAIT, (error.retry_after_ms or 0) / 1000)
    return None if left is not None and wait > left else wait


def check_concurrency(value: int) -> None:
    """Raises InvalidArgument for a number of requests at a time that makes no sense."""
    if type(value) is not int or value < 1:
        text = f"concurrency must be a whole number from 1, not {value!r}"
        raise invalid("concurrency", value, "an integer from 1", text)
