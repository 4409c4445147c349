"""What `replay` sends when: the client's side of a capture, cut into steps that wait for what it waited for. Pure.

A client's frame may depend on what it had received before: WELCOME, AUTH_OK, an answer. So before each frame the replay
waits until the server has said as much of that as it had said in the capture. PONG and CREDIT are not replayed: they
belong to what the server says this time.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]

from pixwire_protocol.header import HEADER, MARKER_WORD, MAX_HEAD, MAX_LENGTH

from .annotate import Annotator, Item, SeenFrame
from .capture import Chunk, Connection
from .errors import InputError
from .shown import SECRETS

_OWN: Final = ("PONG", "CREDIT")
_GREETINGS: Final = ("WELCOME", "AUTH_OK")


@dataclass(frozen=True, slots=True)
class Heard:
    """What a server has said that a client may have waited for."""

    greetings: int = 0
    pongs: int = 0
    answered: frozenset[int] = frozenset()
    ended: frozenset[int] = frozenset()
    over: bool = False

    def covers(self, other: "Heard") -> bool:
        """Whether everything in `other` has been said, or nothing more can be."""
        return self.over or (
            self.greetings >= other.greetings
            and self.pongs >= other.pongs
            and self.answered >= other.answered
            and self.ended >= other.ended
        )

    def after(self, item: Item) -> "Heard":
        """With one more item of the server."""
        if not isinstance(item, SeenFrame):
            return self
        if item.name in _GREETINGS:
            return replace(self, greetings=self.greetings + 1)
        if item.name == "PONG":
            return replace(self, pongs=self.pongs + 1)
        if not item.stream:
            return self
        ended = item.end or item.name in ("ERROR", "RESET")
        if item.stream in self.answered and (not ended or item.stream in self.ended):
            return self  # nothing new: most frames of a stream
        return replace(
            self, answered=self.answered | {item.stream}, ended=self.ended | {item.stream} if ended else self.ended
        )


@dataclass(frozen=True, slots=True)
class Step:
    """Bytes to send once `wait` has been heard."""

    wait: Heard
    data: bytes


def steps(connection: Connection, change: Callable[[SeenFrame], bytes] | None = None) -> Iterator[Step]:
    """The client's side of a recorded connection; `change` may give other bytes for a frame."""
    client, server = Annotator("C"), Annotator("S")
    heard = Heard()
    for record in connection.records:
        if not isinstance(record, Chunk):
            continue
        if record.side == "S":
            for item in server.feed(record.data):
                heard = heard.after(item)
            continue
        for item in client.feed(record.data):
            if not isinstance(item, SeenFrame):
                yield Step(heard, item.data)
            elif item.name not in _OWN:
                yield Step(heard, item.data if change is None else change(item))
    for item in client.end():
        yield Step(heard, item.data)


def with_head(frame: SeenFrame, head: dict[str, Any]) -> bytes:
    """The frame with another head. Raises InputError when it is none that can be sent."""
    try:
        packed: bytes = msgpack.packb(head)
    except (ValueError, OverflowError) as error:  # half a surrogate pair, of an argument that is no UTF-8
        raise InputError(f"{frame.name} cannot be changed: {error}") from None
    length = len(packed) + len(frame.tail)
    if len(packed) > MAX_HEAD or length > MAX_LENGTH:
        raise InputError(f"{frame.name} cannot be changed: with a head of {len(packed):,} bytes it would be too long")
    return HEADER.pack(MARKER_WORD | length, frame.type, frame.flags, len(packed), frame.stream) + packed + frame.tail


@dataclass(frozen=True, slots=True)
class Changes:
    """What a replay changes: the token of AUTH (a recorded one is masked), and a suffix for job ids."""

    token: str | None = None
    job_suffix: str = ""

    def __call__(self, frame: SeenFrame) -> bytes:
        """The bytes to send for a frame."""
        head = frame.head
        if head is None:
            return frame.data
        if frame.name in SECRETS and self.token is not None:
            return with_head(frame, {**head, "token": self.token})
        job = head.get("job")
        if self.job_suffix and isinstance(job, str):
            return with_head(frame, {**head, "job": job + self.job_suffix})
        return frame.data
