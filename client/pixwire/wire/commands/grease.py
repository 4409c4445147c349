"""`grease`: nonsense of every kind that a server must shrug off; does it?"""

import asyncio
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]

from pixwire_protocol.header import pack_header
from pixwire_protocol.messages import Ping, Status, encode
from pixwire_protocol.registry import MAJOR, PREFACE, Flag, FrameType

from ...cli.exits import ExitCode
from ..annotate import Annotator, SeenFrame
from ..errors import WireError
from ..screen import Screen
from ..talk import AGENT, TalkOptions
from ..transport import Wire, open_wire


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of GREASE.

    What it is and the requirement behind it; what to say instead of an ordinary greeting, and what after WELCOME.
    answer: the name of the frame that the nonsense itself must get.
    """

    name: str
    requirement: str
    hello: dict[str, Any]
    preface: bytes = PREFACE
    frames: bytes = b""
    answer: str | None = None


def _hello(**more: Any) -> dict[str, Any]:
    return {"agent": AGENT, **more}


def _frame(frame_type: int, flags: int = 0, stream: int = 0, head: bytes = b"", tail: bytes = b"") -> bytes:
    return pack_header(frame_type, flags, stream, len(head), len(tail)) + head + tail


def _status(head: dict[str, Any], stream: int) -> bytes:
    return _frame(FrameType.STATUS, Flag.END, stream, msgpack.packb(head))


def _ignorable(noise: bytes) -> Iterator[bytes]:
    for frame_type in range(0x80, 0xC0):
        yield _frame(frame_type, noise[0], 0, b"", noise)
    yield _frame(0x80 + noise[1] % 0x40, 0xFF, 0x7FFFFFFE, noise, noise * 20)


_NOBODY: Final = "wire-grease"
_KINDS: Final[tuple[Callable[[bytes], Kind], ...]] = (
    lambda noise: Kind("a version that does not exist", "PXW-CON-002", _hello(), _versions(MAJOR + 1 + noise[0] % 8)),
    lambda noise: Kind("reserved bytes of the preface", "PXW-CON-008", _hello(), PREFACE[:6] + noise[:2]),
    lambda noise: Kind("an unknown feature", "PXW-HSK-011", _hello(features=[f"grease-{noise[:2].hex()}"])),
    lambda noise: Kind("an unknown limit", "PXW-HSK-015", _hello(limits={f"grease_{noise[:2].hex()}": noise[0]})),
    lambda noise: Kind("unknown keys of HELLO", "PXW-MSG-019", _hello(**{f"grease_{noise[:2].hex()}": noise[3]})),
    lambda noise: Kind("a nil where a field is optional", "PXW-MSG-020", _hello(features=None, limits=None)),
    lambda noise: Kind("frames that are to be skipped", "PXW-EXT-004", _hello(), frames=b"".join(_ignorable(noise))),
    lambda noise: Kind(
        "unknown keys of a request",
        "PXW-MSG-019",
        _hello(),
        frames=_status({"job": _NOBODY, f"grease_{noise[:2].hex()}": [1, {"x": None}], "x_test": True}, 1),
        answer="ERROR",
    ),
    lambda noise: Kind(
        "an unknown frame type on a stream",
        "PXW-EXT-005",
        _hello(),
        frames=_frame(0x7F, Flag.END, 1, b"", noise),
        answer="ERROR",
    ),
    lambda noise: Kind(
        "CREDIT on a stream that has ended",
        "PXW-FLW-010",
        _hello(),
        frames=_status({"job": _NOBODY}, 1) + _frame(FrameType.CREDIT, 0, 1, msgpack.packb({"n": 1 + noise[0]})),
        answer="ERROR",
    ),
    lambda noise: Kind("a PONG that nobody asked for", "PXW-KAL-003", _hello(), frames=_frame(4, 1, 0, b"", noise)),
    lambda noise: Kind(
        "gaps between stream ids",
        "PXW-STR-003",
        _hello(),
        frames=_status({"job": _NOBODY}, 1001 + 2 * noise[0]),
        answer="ERROR",
    ),
)


def _versions(most: int) -> bytes:
    return PREFACE[:5] + bytes([most]) + PREFACE[6:]


_SILENCE: Final = "silence"


async def grease(options: TalkOptions, rounds: int, screen: Screen) -> int:
    """Every kind on a connection of its own, `rounds` times with other random bytes; 1 when one was not survived."""
    with screen.busy("nothing odd"):
        problem = await _survives(options, Kind("nothing odd", "PXW-HSK-003", _hello()))
    if problem is not None and problem.startswith(_SILENCE):  # each kind would cost the whole timeout again
        raise WireError(f"the server does not answer an ordinary client: {problem}", exit_code=ExitCode.TIMEOUT)
    failed = 0
    for make in _KINDS:
        problem = None
        kind = make(os.urandom(8))
        with screen.busy(kind.name):
            for _ in range(rounds):
                kind = make(os.urandom(8))
                problem = problem or await _survives(options, kind)
        failed += problem is not None
        found = {"kind": kind.name, "requirement": kind.requirement, "survived": problem is None, "problem": problem}
        text = f"{'survived' if problem is None else 'FAILED  '}  {kind.name} ({kind.requirement})"
        screen.result(found, text + (f": {problem}" if problem else ""), "red" if problem else "green")
    screen.result({"kinds": len(_KINDS), "failed": failed}, f"{len(_KINDS) - failed} of {len(_KINDS)} kinds survived")
    return ExitCode.FAILED if failed else ExitCode.OK


async def _survives(options: TalkOptions, kind: Kind) -> str | None:
    """None when the server still serves after this nonsense, else what it did."""

    wire = await open_wire(options.url, options.tls, timeout=options.timeout)
    try:
        async with asyncio.timeout(options.timeout) as limit:
            return await _ask(wire, options, kind)
    except TimeoutError:
        if not limit.expired():
            raise
        return f"{_SILENCE} for {options.timeout:g} s"
    finally:
        await wire.close()


async def _ask(wire: Wire, options: TalkOptions, kind: Kind) -> str | None:
    head = msgpack.packb(kind.hello)
    await wire.write(kind.preface + _frame(FrameType.HELLO, 0, 0, head))
    seen = _Listener(wire)
    welcome = await seen.until("WELCOME")
    if isinstance(welcome, str):
        return welcome
    if (welcome.head or {}).get("auth"):
        if options.token is None:
            raise WireError("the server wants credentials", "give a token with --token-file or PIXWIRE_TOKEN")
        await wire.write(_frame(0x02, 0, 0, msgpack.packb({"mechanism": "bearer", "token": options.token})))
        if isinstance(problem := await seen.until("AUTH_OK"), str):
            return problem
    payload = os.urandom(8)
    await wire.write(kind.frames)
    if kind.answer is not None and isinstance(problem := await seen.until(kind.answer), str):
        return problem
    last = b"".join(map(bytes, (*encode(Ping(payload)), *encode(Status(job=_NOBODY), 10_001, Flag.END))))
    await wire.write(last)
    for name in ("PONG", "ERROR"):
        if isinstance(problem := await seen.until(name), str):
            return problem
    return None


class _Listener:
    """What the server says, frame by frame."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._annotator = Annotator("S")
        self._waiting: list[SeenFrame] = []

    async def until(self, name: str) -> SeenFrame | str:
        """The next frame of this name; what else happened, when it does not come."""
        while True:
            while self._waiting:
                frame = self._waiting.pop(0)
                if frame.name == name:
                    return frame
                if frame.name == "GOAWAY" or (frame.name == "ERROR" and not frame.stream):
                    head = frame.head or {}
                    return f"the server ended the connection: {head.get('name')} {head.get('message', '')}".rstrip()
            data = await self._wire.read()
            if not data:
                return f"the server closed the connection, {name} was expected"
            self._waiting += [item for item in self._annotator.feed(data) if isinstance(item, SeenFrame)]
