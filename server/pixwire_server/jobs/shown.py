"""Answers to STATUS, packed. A client that polls asks the same again and again, and so do a thousand of them.

What stays the same as long as the job does is packed once; the whole answer is good for FRESH_S if the queue is as it
was, unless it tells what is left of a deadline.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pixwire_protocol.packed_map import PackedMap
from pixwire_protocol.status import JobStatus

from .clock import Clock
from .record import Record
from .table import JobQueue

FRESH_S = 0.1
"""How long an answer is good: times in it are that old at most."""

REMEMBERED = 1024
"""Jobs whose answers are kept; the one not asked for longest is forgotten."""

_TIMELY = ("queue_position", "eta_ms", "deadline_ms", "retain_ms")
"""What changes while the job stays as it is."""


@dataclass(slots=True)
class _Answer:
    held: object
    """What the job was held in when `lasting` was packed."""
    lasting: PackedMap
    body: bytes
    changes: int
    """Of the queue, when `body` was made."""
    until: float


class Shown:
    """Lives in the event loop. `status(record)` tells how a job is, with its parameters."""

    def __init__(self, status: Callable[[Record], JobStatus], queue: JobQueue, clock: Clock) -> None:
        self._status = status
        self._queue = queue
        self._monotonic = clock.monotonic
        self._answers: OrderedDict[Record, _Answer] = OrderedDict()

    def body(self, record: Record) -> bytes:
        """The map of the job's status now, packed."""
        now, changes = self._monotonic(), self._queue.changes
        answer = self._answers.get(record)
        if answer is not None and answer.held is record.held and answer.changes == changes and now < answer.until:
            return answer.body
        values = self._status(record).to_map()
        timely: dict[str, Any] = {name: values.pop(name) for name in _TIMELY if name in values}
        lasting = answer.lasting if answer is not None and answer.held is record.held else PackedMap(values)
        until = now if "deadline_ms" in timely else now + FRESH_S
        body = lasting.with_entries(timely)
        self._answers[record] = _Answer(record.held, lasting, body, changes, until)
        self._answers.move_to_end(record)
        if len(self._answers) > REMEMBERED:
            self._answers.popitem(last=False)
        return body
