"""Sections 3 and 6: preface, HELLO, waiting for WELCOME, what WELCOME may say."""

from collections.abc import Mapping
from typing import Any

from pixwire_protocol.registry import LIMITS, MAGIC, PREFACE, ErrorCode

from ..frames import frame, goaway, ping
from ..verdicts import Ended, Failure, Silent
from .actor import PROBE, Actor
from .bench import Bench
from .register import case

_PAUSE_SECONDS = 0.3
"""How long WELCOME is held back. A slow client may pass wrongly, none can fail wrongly."""


class Mute(Actor):
    """Says other first bytes than a preface and 1 to 1; sees to it that the client says nothing more."""

    first: bytes = b""
    may_say: tuple[str, ...] = ()

    async def perform(self) -> None:
        await self.read_preface()
        await self.read_hello()
        await self.write(self.first)
        try:
            while True:
                got = await self.peer.receive()
                if got.name not in self.may_say:
                    raise Failure(f"after the first bytes {self.first[:12].hex(' ')} the client sent {got}")
        except Ended:
            return


async def must_fail(bench: Bench, *actors: type[Actor]) -> None:
    """The client ends without an image."""
    (await bench.play(*actors)).failed()


@case(
    "PXW-CON-001",
    "PXW-CON-007",
    "PXW-HSK-001",
    "PXW-STR-001",
    "PXW-STR-006",
    "PXW-FRM-001",
    "PXW-FRM-017",
    "PXW-AUT-004",
)
async def plain(bench: Bench) -> None:
    """Nothing unusual: preface, HELLO, a request with an odd id and END; the image arrives"""
    (await bench.play(Actor)).got()


@case("PXW-HSK-002")
async def waits_for_welcome(bench: Bench) -> None:
    """Between HELLO and WELCOME the client sends nothing"""

    class Late(Actor):
        async def say_welcome(self) -> None:
            own, self.peer.deadline = self.peer.deadline, _PAUSE_SECONDS
            try:
                got = await self.peer.receive()
            except Silent:
                self.peer.deadline = own
                await super().say_welcome()
            else:
                raise Failure(f"the client sent {got} before WELCOME")

    (await bench.play(Late)).got()


@case("PXW-CON-005")
async def not_pxw(bench: Bench) -> None:
    """First bytes that are no preface: the client sends nothing more and closes"""

    class Http(Mute):
        first = b"HTTP/1.1 400 Bad Request\r\n\r\n"

    await must_fail(bench, Http)


@case("PXW-CON-006")
async def other_versions(bench: Bench) -> None:
    """A preface that does not choose a version, or chooses one that was not offered, is VERSION_UNSUPPORTED"""

    class Unchosen(Mute):
        first = MAGIC + b"\x01\x02\0\0"
        may_say = ("GOAWAY",)

    class Newer(Mute):
        first = MAGIC + b"\x07\x07\0\0"
        may_say = ("GOAWAY",)

    await must_fail(bench, Unchosen)
    await must_fail(bench, Newer)


@case("PXW-CON-008")
async def reserved_bytes(bench: Bench) -> None:
    """The last two bytes of the server's preface have no meaning"""

    class Odd(Actor):
        async def write(self, *parts: bytes) -> None:
            await super().write(*(PREFACE[:6] + b"\xff\x01" if part == PREFACE else part for part in parts))

    (await bench.play(Odd)).got()


class Instead(Actor):
    """Sends something else than WELCOME; the client ends the connection with a code."""

    bad: bytes = b""
    code = ErrorCode.PROTOCOL_ERROR

    async def say_welcome(self) -> None:
        await self.connection_dies(self.bad, self.code, probe=False)
        raise Ended("done")


@case("PXW-HSK-006")
async def other_first_frame(bench: Bench) -> None:
    """A first frame other than WELCOME, ERROR or GOAWAY is a PROTOCOL_ERROR, PING and ignorable types too"""
    for what in (ping(PROBE), frame(0x9B, 0), frame("CREDIT", 0, {"n": 1})):
        await bench.play(type("First", (Instead,), {"bad": what}))


@case("PXW-HSK-007")
async def second_welcome(bench: Bench) -> None:
    """A second WELCOME is a PROTOCOL_ERROR"""

    class Twice(Actor):
        async def say_welcome(self) -> None:
            await super().say_welcome()
            await self.connection_dies(frame("WELCOME", 0, self.welcome()), ErrorCode.PROTOCOL_ERROR)
            raise Ended("done")

    await bench.play(Twice)


@case("PXW-HSK-010")
async def uninvited_feature(bench: Bench) -> None:
    """A feature in WELCOME that was not offered is a PROTOCOL_ERROR"""
    await bench.play(welcome_dies(ErrorCode.PROTOCOL_ERROR, features=["org.example.conform"]))


def welcome_dies(code: ErrorCode, **fields: Any) -> type[Actor]:
    """An actor whose WELCOME has these fields, which end the connection."""

    class Wrong(Actor):
        async def say_welcome(self) -> None:
            self.peer.judge.declare(self.limits)  # a client that takes it has a right to go on
            await self.connection_dies(frame("WELCOME", 0, {**self.welcome(), **fields}), code)
            raise Ended("done")

    return Wrong


@case("PXW-HSK-014", "PXW-MSG-021")
async def wrong_welcome(bench: Bench) -> None:
    """A limit out of its range, of a wrong type, or a missing field in WELCOME is BAD_HEAD"""
    wrong: tuple[dict[str, Any], ...] = (
        {"limits": {"max_frame": LIMITS["max_frame"].minimum - 1}},
        {"limits": {"max_streams": 1.0}},
        {"limits": []},
        {"agent": None},
        {"server_id": 7},
    )
    for fields in wrong:
        await bench.play(welcome_dies(ErrorCode.BAD_HEAD, **fields))


@case("PXW-HSK-013", "PXW-HSK-015", "PXW-MSG-019", "PXW-MSG-020")
async def little_welcome(bench: Bench) -> None:
    """A WELCOME without limits, with nil, unknown keys and unknown limits is fine"""

    class Little(Actor):
        limits: Mapping[str, Any] = {}
        more: Mapping[str, Any] = {
            "limits": None,
            "features": None,
            "durable": "granite",
            "x_new": {"a": [1]},
            "grease_1": None,
        }

    class Unknown(Actor):
        more: Mapping[str, Any] = {"limits": {"x_limit": "much", "grease_2": -1, "min_ping_ms": 0}}

    (await bench.play(Little)).got()
    (await bench.play(Unknown)).got()


@case("PXW-AUT-002", "PXW-AUT-003")
async def asked_for_credentials(bench: Bench) -> None:
    """A server that asks for AUTH gets nothing but AUTH or GOAWAY; a client without credentials gives up"""

    class Asking(Actor):
        more: Mapping[str, Any] = {"auth": ["bearer"]}

        async def perform(self) -> None:
            self.peer.judge.asks_auth = True
            await self.greet()
            try:
                while True:
                    got = await self.peer.receive()
                    if got.name not in ("AUTH", "GOAWAY"):
                        raise Failure(f"the client sent {got} before AUTH_OK")
                    if got.name == "AUTH":
                        await self.write(goaway(ErrorCode.AUTH_FAILED))
            except Ended:
                return

    (await bench.play(Asking)).failed()


@case("PXW-CON-012", section="6")
async def refused(bench: Bench) -> None:
    """GOAWAY EXCESSIVE_LOAD instead of WELCOME: the client sends nothing more there, and may come again"""

    class Full(Actor):
        async def say_welcome(self) -> None:
            await self.write(goaway(ErrorCode.EXCESSIVE_LOAD))
            self.peer.half_close()
            await self.nothing_more()

        async def nothing_more(self) -> None:
            got = [got for got in await self.peer.ended() if got.name != "GOAWAY"]
            if got:
                raise Failure(f"behind the refusal the client sent {', '.join(map(str, got))}")
            raise Ended("done")

    (await bench.play(Full, Actor)).got_or_failed()


@case("PXW-CON-015", section="3.5")
async def cut_preface(bench: Bench) -> None:
    """A server that closes in the middle of its preface: no image, no crash"""

    class Cut(Actor):
        async def perform(self) -> None:
            await self.read_preface()
            await self.write(PREFACE[:5])
            self.peer.half_close()
            await self.peer.ended()

    (await bench.play(Cut, Actor)).got_or_failed()
