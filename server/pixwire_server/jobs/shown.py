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
from .table import JobTable, Key

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
    changes: int | None
    """Of the queue, when `body` was made; None: it tells no place in the queue."""
    until: float


class Shown:
    """Lives in the event loop. `status(record)` tells how a job is, with its parameters."""

    def __init__(self, status: Callable[[Record], JobStatus], table: JobTable, clock: Clock) -> None:
        self._status = status
        self._table = table
        self._queue = table.queue
        self._monotonic = clock.monotonic
        self._answers: OrderedDict[Record | None, _Answer] = OrderedDict()

    def fresh(self, key: Key) -> bytes | None:
        """What was answered for this job a moment ago, if that is still good."""
        record = self._table.peek(key)
        answer = self._answers.get(record)
        if (
            answer is None
            or record is None
            or answer.held is not record.held
            or (answer.changes is not None and answer.changes != self._queue.changes)
            or self._monotonic() >= answer.until
        ):
            return None
        return answer.body

    def body(self, record: Record) -> bytes:
        """The map of the job's status now, packed."""
        now, held = self._monotonic(), record.held
        answer = self._answers.get(record)
        values = self._status(record).to_map()
        timely: dict[str, Any] = {name: values.pop(name) for name in _TIMELY if name in values}
        lasting = answer.lasting if answer is not None and answer.held is held else PackedMap(values)
        until = now if "deadline_ms" in timely else now + FRESH_S
        changes = self._queue.changes if "queue_position" in timely else None
        body = lasting.with_entries(timely)
        self._answers[record] = _Answer(held, lasting, body, changes, until)
        self._answers.move_to_end(record)
        if len(self._answers) > REMEMBERED:
            self._answers.popitem(last=False)
        return body
