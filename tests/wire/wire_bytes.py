"""Bytes that several tests of the wire tool start from."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]
from hypothesis import given as hypothesis_given
from hypothesis import settings
from hypothesis import strategies as st

from pixwire.wire.annotate import Side
from pixwire.wire.capture import Capture, Chunk
from pixwire_protocol.messages import (
    Auth,
    Credit,
    Data,
    Error,
    Event,
    GoAway,
    Hello,
    Message,
    Ping,
    Pong,
    Reset,
    Result,
    Status,
    Submit,
    Watch,
    Welcome,
    encode,
)
from pixwire_protocol.registry import PREFACE, Flag


def given(*strategies: Any, **named: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Hypothesis without a clock: a busy machine is no failure."""
    return lambda test: settings(deadline=None)(hypothesis_given(*strategies, **named)(test))


VECTORS = Path(__file__).parents[2] / "protocol" / "vectors"
PARAMS: bytes = msgpack.packb({"prompt": "a red circle"})
TOKEN = "the-quick-brown-token"


def frame(message: Message, stream: int = 0, *, end: bool = False) -> bytes:
    return b"".join(map(bytes, encode(message, stream, Flag.END if end else 0)))


HELLO = PREFACE + frame(Hello(agent="c/1"))
WELCOME = PREFACE + frame(Welcome(agent="s/1", server_id="s", epoch="e"))
SUBMIT = frame(Submit(job="j", kind="txt2img", tail=PARAMS), 1, end=True)
STATUS = frame(Status(job="j"), 1, end=True)


def state(name: str = "queued", seq: int = 1, **more: Any) -> dict[str, Any]:
    return {"job": "j", "kind": "txt2img", "state": name, "seq": seq, "attempt": 1, "step": 0, "steps": 2, **more}


def announcement(length: int) -> Result:
    return Result({"job": "j", "artifact": 0, "etag": "t", "size": length, "offset": 0, "length": length})


def capture(*said: tuple[Side, bytes], conn: int = 1) -> Capture:
    """A capture in which the sides said this, in order; a millisecond each."""
    return Capture(tuple(Chunk(number * 1_000_000, conn, side, data) for number, (side, data) in enumerate(said)))


def after_handshake(*said: tuple[Side, bytes]) -> Capture:
    return capture(("C", HELLO), ("S", WELCOME), *said)


def vectors() -> list[dict[str, Any]]:
    """All vectors about frames."""
    found: list[dict[str, Any]] = []
    for path in sorted(VECTORS.glob("*.json")):
        if path.stem not in ("params", "sessions"):
            found += json.loads(path.read_text())
    return found


def sessions() -> list[dict[str, Any]]:
    """The vectors that are whole sessions."""
    found: list[dict[str, Any]] = json.loads((VECTORS / "sessions.json").read_text())
    return found


_MESSAGES: tuple[Message, ...] = (
    Ping(b"12345678"),
    Pong(b"12345678"),
    Credit(100),
    Reset(0),
    Error(770, "JOB_NOT_FOUND", "no"),
    GoAway(0, 0),
    Auth("bearer", TOKEN),
    Status("j"),
    Watch("j", want=("progress",)),
    Submit("j", "txt2img", PARAMS),
    Result(state()),
    Event({**state("running", 2), "event": "state"}),
    Data(b"\x89PNG\r\n\x1a\n" + b"x" * 40),
)
frames = st.builds(frame, st.sampled_from(_MESSAGES), st.sampled_from([0, 1, 3, 2**31 - 1]), end=st.booleans())
"""Whole frames, not always at their place."""
streams_of_bytes = st.builds(
    lambda start, parts: start + b"".join(parts),
    st.sampled_from([b"", PREFACE, HELLO, WELCOME]),
    st.lists(st.one_of(frames, st.binary(max_size=30)), max_size=6),
)
"""Bytes that make sense for a while."""


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The data in pieces."""
    bounds = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(bounds)]
