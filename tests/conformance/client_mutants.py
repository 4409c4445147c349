"""Defects of a client, one small patch each, and the requirement whose scenario has to notice it."""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgpack
import python_client
from patching import around, decode_floats_as_ints

import pixwire
from pixwire.core.calls import Call
from pixwire_protocol import connection, greeting, receiving, sending
from pixwire_protocol.codec import Codec
from pixwire_protocol.connection import Connection
from pixwire_protocol.machine import Machine
from pixwire_protocol.messages import Ping, Submit, Welcome, encode, encode_within
from pixwire_protocol.registry import Flag
from pixwire_protocol.states import Role
from pixwire_protocol.streams import Stream

Patch = Callable[[], None]


@dataclass(frozen=True)
class Mutant:
    """The scenarios of `requirement` are run against it, and one of them must fail."""

    patch: Patch
    requirement: str


MUTANTS: dict[str, Mutant] = {}


def mutant(requirement: str) -> Callable[[Patch], Patch]:
    """Decorator: enters the patch under its name."""

    def enter(patch: Patch) -> Patch:
        MUTANTS[patch.__name__] = Mutant(patch, requirement)
        return patch

    return enter


def apply(name: str) -> None:
    """Change this process."""
    MUTANTS[name].patch()


# ---------------------------------------------------------------------- on the wire


@mutant("PXW-CON-007")
def preface_with_a_flag() -> None:
    around(greeting, "make_preface", lambda old, *major: old(*major)[:-1] + b"\x01")


@mutant("PXW-HSK-002")
def does_not_wait_for_welcome() -> None:
    hurry = b"".join(encode(Ping(b"too soon")))
    around(connection, "make_hello", lambda old, settings: old(settings) + hurry)


@mutant("PXW-HSK-010")
def takes_any_feature() -> None:
    on_welcome = receiving._HANDLERS[Welcome]
    receiving._HANDLERS[Welcome] = lambda self, message: on_welcome(self, replace(message, features=()))  # type: ignore[index]


@mutant("PXW-STR-001")
def even_ids() -> None:
    def shifted(old: Any, self: Machine, role: Role, *rest: Any) -> None:
        old(self, role, *rest)
        self.last_stream = 2

    around(Machine, "__init__", shifted)


@mutant("PXW-STR-006")
def requests_without_end() -> None:
    sending.encode_within = lambda message, stream, flags, limit: encode_within(
        message, stream, flags & ~Flag.END, limit
    )


@mutant("PXW-REQ-037")
def ignores_malformed_bodies() -> None:
    around(Call, "_on_state", lambda old, self, body: old(self, body) if isinstance(body.get("state"), str) else None)


@mutant("PXW-REQ-038")
def takes_any_announcement() -> None:
    def trusting(old: Any, self: Any, body: Any) -> None:
        old(self, {**body, "artifact": self.image_index, "offset": 0, "length": body["size"]})

    around(Call, "_begin_image", trusting)


@mutant("PXW-KAL-001")
def no_pong() -> None:
    receiving.Receiving._on_ping = lambda self, message: None  # type: ignore[method-assign]
    receiving._HANDLERS[Ping] = receiving.Receiving._on_ping  # type: ignore[index]


@mutant("PXW-EXT-002")
def ignores_crit() -> None:
    Codec._check_critical = lambda self, names, stream: None  # type: ignore[method-assign]


@mutant("PXW-MSG-010")
def takes_floats_for_ints() -> None:
    decode_floats_as_ints()


@mutant("PXW-FLW-007")
def returns_no_credit() -> None:
    Connection.consumed = lambda self, stream, n: None  # type: ignore[method-assign]


@mutant("PXW-FLW-001")
def uploads_beyond_credit() -> None:
    def generous(old: Any, self: Any, peer: Any) -> None:
        old(self, peer)
        self._machine.outbox.window.available = 1 << 20

    around(receiving.Receiving, "_meet", generous)
    around(Stream, "__init__", lambda old, self, stream, kind, send, receive: old(self, stream, kind, 1 << 20, receive))


@mutant("PXW-FRM-003")
def longer_frames_than_allowed() -> None:
    def chunky(old: Any, self: Any, peer: Any) -> None:
        old(self, peer)
        self._machine.outbox.chunk = 1 << 18

    around(receiving.Receiving, "_meet", chunky)


@mutant("PXW-REQ-006")
def other_bytes_when_it_repeats() -> None:
    def fresh(old: Any, self: Codec, message: Any) -> Any:
        head, tail = old(self, message)
        if type(message) is Submit:
            tail = msgpack.packb({**msgpack.unpackb(tail), "seed": int.from_bytes(os.urandom(4), "big")})
        return head, tail

    around(Codec, "encode", fresh)


@mutant("PXW-DRN-012")
def continues_without_etag() -> None:
    def headless(old: Any, self: Codec, message: Any) -> Any:
        head: dict[str, Any] = old(self, message)
        if self.spec.name == "FETCH":
            head.pop("etag", None)
        return head

    around(Codec, "_head", headless)


# ---------------------------------------------------------------------- above it


def again(error: type[Exception], pause: float = 0.0) -> None:
    """The program tries once more, whatever the server says."""

    async def stubborn(old: Callable[[], Awaitable[None]]) -> None:
        try:
            await old()
        except error:
            await asyncio.sleep(pause)
            await old()

    around(python_client, "work", stubborn)


@mutant("PXW-ERR-002")
def retries_what_it_must_not() -> None:
    again(pixwire.RequestFailed)


@mutant("PXW-ERR-005")
def retries_at_once() -> None:
    again(pixwire.RequestFailed)


@mutant("PXW-JOB-011")
def claims_an_image() -> None:
    async def boastful(old: Callable[[], Awaitable[None]]) -> None:
        with contextlib.suppress(pixwire.PixwireError):
            await old()
        Path(os.environ["PIXWIRE_OUT"]).touch()

    around(python_client, "work", boastful)


@mutant("PXW-SEC-006")
def prints_what_it_is_told() -> None:
    async def loud(old: Callable[[], Awaitable[None]]) -> None:
        try:
            await old()
        except pixwire.PixwireError as error:
            print(error)
            raise

    around(python_client, "work", loud)
