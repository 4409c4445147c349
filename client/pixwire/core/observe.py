"""What happens, for logs and metrics: one line for each direction in the log, one `CallRecord` for each call that ends.

Logger `pixwire`, level DEBUG: `-> submit job` when a call begins, `<- submit job, 0.12 s` when it has its outcome.
Level INFO: connections that come; level WARNING: those that are lost. A token is in none of them.
"""

import logging
from collections.abc import Callable
from typing import Any

from pixwire_protocol.record import record

from .calls import Call

LOG = logging.getLogger("pixwire")
LOG.addHandler(logging.NullHandler())  # a program that set up no logging sees nothing, not even warnings
OK, GIVEN_UP = "ok", "given up"
_UNSEEN = (None, None)


@record
class CallRecord:
    """A call that ended, at one server.

    Attributes:
        operation: generate, submit, status, cancel, watch, images, image, models, jobs, ping, or `admin ACTION`.
        url: of the server.
        job: the job's id, or None.
        seconds: from its beginning to its outcome.
        outcome: "ok", "given up" (nobody waited any more), or the name of the error's class, e.g. "QueueFull".
        image_bytes: bytes of the images that came.
        traceparent: the trace that the job was submitted with (W3C Trace Context), or None.
    """

    operation: str
    url: str
    job: str | None
    seconds: float
    outcome: str
    image_bytes: int = 0
    traceparent: str | None = None


CallListener = Callable[[CallRecord], object]


class Observer:
    """Watches the calls of one connection after the other to one URL. Times are the shell's."""

    def __init__(self, url: str, on_call: CallListener | None) -> None:
        self._url = url
        self._on_call = on_call
        self.watched: dict[Call[Any], tuple[float, str | None]] = {}
        """The calls under way that somebody wants to hear of, with when they began and their trace."""

    @property
    def wanted(self) -> bool:
        """Whether anybody wants to hear of calls."""
        return self._on_call is not None or LOG.isEnabledFor(logging.DEBUG)

    def begun(self, call: Call[Any], now: float) -> None:
        """A call that `wanted` says somebody wants to hear of is about to be sent, or to wait for a connection."""
        self.watched[call] = now, getattr(call.request, "traceparent", None)
        if LOG.isEnabledFor(logging.DEBUG):
            LOG.debug("-> %s%s to %s", call.operation, _of(call), self._url)

    def ended(self, call: Call[Any], now: float, *, given_up: bool = False) -> None:
        """It has its outcome, or nobody waits for it any more. Saying it twice does no harm."""
        begun, traceparent = self.watched.pop(call, _UNSEEN)
        if begun is None:
            return
        outcome = GIVEN_UP if given_up else OK if call.error is None else type(call.error).__name__
        if LOG.isEnabledFor(logging.DEBUG):
            LOG.debug("<- %s%s from %s: %s, %.3f s", call.operation, _of(call), self._url, outcome, now - begun)
        if self._on_call is None:
            return
        size = sum(len(image.data) for image in call.images)
        record = CallRecord(call.operation, self._url, call.job, now - begun, outcome, size, traceparent)
        try:
            self._on_call(record)
        except Exception:  # a mistake of the user's is told, and harms no call
            LOG.exception("on_call failed")

    def connection(self, reason: str | None) -> None:
        """It is there (None), or lost for this reason."""
        if reason is None:
            LOG.info("connected to %s", self._url)
        else:
            LOG.warning("connection to %s lost: %s", self._url, reason)


def _of(call: Call[Any]) -> str:
    return "" if call.job is None else f" {call.job}"
