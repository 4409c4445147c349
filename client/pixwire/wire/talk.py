"""A connection to a server for tools: the handshake as any client does it, then frames by hand.

    async with await Talk.connect(options) as talk:
        await talk.send(frame_bytes)
        async for item in talk.items(): ...       what the server says, annotated

The handshake is the protocol's own `Connection`; afterwards nothing is sent that the caller did not ask for, except,
unless `raw`, PONG for PING and CREDIT for DATA (without which a server falls silent or gives up).
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from pixwire_protocol.connection import Connection, Role, Settings
from pixwire_protocol.errors import error_name
from pixwire_protocol.incoming import AuthNeeded, Closed, Failed, Incoming, Ready, Received
from pixwire_protocol.limits import CLIENT_LIMITS
from pixwire_protocol.messages import Credit, Error, GoAway, Pong, Welcome, encode
from pixwire_protocol.registry import LIMITS

from .._version import __version__
from ..cli.exits import ExitCode
from .annotate import Annotator, Item, SeenFrame
from .diagnose import why_no_welcome
from .errors import InputError, WireError, refused
from .transport import Target, TlsOptions, Wire, open_wire, parse_target

AGENT: Final = f"pixwire-wire/{__version__}"
HANDSHAKE_SECONDS: Final = 5.0
_AUTH_OK: Final = "AUTH_OK"


@dataclass(frozen=True, slots=True)
class TalkOptions:
    """How to connect. timeout: seconds for the connection, and again for the handshake.

    token: for AUTH; sent in cleartext over a network only with `insecure_token`. raw: answer nothing by itself.
    look: be content with WELCOME when the server wants credentials and there is no token.
    settings: fields of the protocol's Settings that differ from the tool's (windows as large as they can be).
    """

    url: str
    tls: TlsOptions = field(default_factory=TlsOptions)
    token: str | None = field(default=None, repr=False)
    insecure_token: bool = False
    timeout: float = HANDSHAKE_SECONDS
    raw: bool = False
    look: bool = False
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Greeting:
    """What the handshake told."""

    welcome: Welcome
    principal: str | None
    roles: tuple[str, ...]
    handshake_ms: float
    authenticated: bool
    ready: bool = True
    """False when the server waits for credentials that there are none of (TalkOptions.look)."""


class Talk:
    """One connection, the handshake done."""

    def __init__(self, wire: Wire, options: TalkOptions) -> None:
        self.wire = wire
        self.options = options
        self.connection = Connection(Role.CLIENT, _settings(options.settings))
        self.greeting: Greeting | None = None
        self.over = False
        """Whether the server's byte stream has ended."""
        self._seen = Annotator("S", preface=True)
        self._early: list[Item] = []
        self._received = bytearray()

    @classmethod
    async def connect(cls, options: TalkOptions) -> "Talk":
        """Connects and shakes hands. Raises WireError that says what the server is or does instead."""
        target = parse_target(options.url)
        wire = await open_wire(target, options.tls, timeout=options.timeout)
        talk = cls(wire, options)
        try:
            check_alpn(wire, options.tls)
            async with asyncio.timeout(options.timeout):
                talk.greeting = await talk._shake_hands(target)
        except TimeoutError:
            received = bytes(talk._received) or await nudge(wire, options.timeout)
            wire.abort()
            raise silence(target, options.timeout, received) from None
        except BaseException:
            wire.abort()
            raise
        return talk

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.wire.close()

    @property
    def welcome(self) -> Welcome:
        """The server's WELCOME."""
        if self.greeting is None:
            raise RuntimeError("the handshake is not done")
        return self.greeting.welcome

    # ------------------------------------------------------------------ frames

    async def send(self, data: bytes | bytearray | memoryview) -> bool:
        """Sends bytes as they are. False when the server is gone."""
        return await self.wire.write(data)

    async def items(self) -> AsyncIterator[Item]:
        """What the server says from the end of the handshake on, until its byte stream ends."""
        early, self._early = self._early, []
        for item in early:
            yield item
        while not self.over:
            data = await self.wire.read()
            found = self._seen.feed(data) if data else self._seen.end()
            self.over = not data
            if not self.options.raw:
                await self._answer(found)
            for item in found:
                yield item

    async def _answer(self, items: list[Item]) -> None:
        """PONG and CREDIT: what every client owes."""
        out: list[bytes] = []
        credit = 0
        for item in items:
            if not isinstance(item, SeenFrame):
                continue
            if item.name == "PING" and len(item.tail) == 8:
                out += map(bytes, encode(Pong(item.tail)))
            elif item.name == "DATA" and item.tail:
                credit += len(item.tail)
                if not item.end:
                    out += map(bytes, encode(Credit(len(item.tail)), item.stream))
        if credit:
            out += map(bytes, encode(Credit(credit)))
        if out:
            await self.wire.write(b"".join(out))

    # ------------------------------------------------------------------ handshake

    async def _shake_hands(self, target: Target) -> Greeting:
        start = time.perf_counter()
        authenticated = False
        await self._flush()
        while True:
            data = await self.wire.read()
            if not data:
                raise self._refusal(target)
            self._received += data
            self._early += _behind_handshake(self._seen.feed(data))
            for happened in self.connection.receive(data):
                if isinstance(happened, Ready) and isinstance(happened.peer, Welcome):
                    await self._flush()
                    spent = (time.perf_counter() - start) * 1000
                    return self._greeting(happened.peer, spent, authenticated)
                if isinstance(happened, AuthNeeded):
                    if self.options.look and self.options.token is None:
                        spent = (time.perf_counter() - start) * 1000
                        return Greeting(happened.peer, None, (), spent, authenticated, ready=False)
                    authenticated = True
                    self._authenticate(target, happened.peer)
                else:
                    self._check(happened, target)
            await self._flush()

    def _greeting(self, welcome: Welcome, spent: float, authenticated: bool) -> Greeting:
        known = self.connection
        return Greeting(welcome, known.principal or welcome.principal, known.roles, spent, authenticated)

    def _authenticate(self, target: Target, welcome: Any) -> None:
        mechanisms = ", ".join(welcome.auth)
        if self.options.token is None:
            raise WireError(
                f"{target.where} wants credentials ({mechanisms})",
                "give a token with --token-file or PIXWIRE_TOKEN",
                exit_code=ExitCode.ACCESS,
                agent=welcome.agent,
                auth=list(welcome.auth),
            )
        if "bearer" not in welcome.auth:
            raise WireError(
                f"{target.where} wants credentials of a kind that is not known here ({mechanisms})",
                exit_code=ExitCode.ACCESS,
            )
        if not (target.private or self.options.insecure_token):
            raise InputError(
                f"the token would travel in cleartext to {target.where}",
                "use a pixwires:// URL, or --allow-insecure-auth if you mean it",
            )
        self.connection.authenticate("bearer", self.options.token)

    def _check(self, happened: Incoming, target: Target) -> None:
        match happened:
            case Received(0, GoAway() as goaway):
                raise refused(goaway.code, goaway.message, f"{target.where} refused the connection")
            case Received(0, Error() as error):
                raise refused(error.code, error.message, f"{target.where} refused the connection")
            case Failed(error):
                message, hint = self._stranger(target, error.message)
                raise WireError(message, hint)
            case Closed():
                raise self._refusal(target)

    def _stranger(self, target: Target, problem: str) -> tuple[str, str]:
        if self._received[:4] != b"\x89PXW":
            return why_no_welcome(bytes(self._received), target.where, over_tls=target.tls)
        return f"{target.where} speaks PXW, but not as PXW/1 asks: {problem}", ""

    def _refusal(self, target: Target) -> WireError:
        if self._received:
            return WireError(f"{target.where} closed the connection in the middle of the handshake", "see its log")
        return WireError(*why_no_welcome(b"", target.where, over_tls=target.tls))

    async def _flush(self) -> None:
        while self.connection.has_output:
            await self.wire.write(b"".join(self.connection.data_to_send()))


def _settings(changes: dict[str, Any]) -> Settings:
    most: dict[str, Any] = {name: LIMITS[name].maximum for name in CLIENT_LIMITS}
    return Settings(**{"agent": AGENT, **most, **changes})


def _behind_handshake(items: list[Item]) -> list[Item]:
    """What came along with WELCOME and AUTH_OK."""
    shaken = ("WELCOME", _AUTH_OK)
    return [item for item in items if isinstance(item, SeenFrame) and item.name not in shaken]


def check_alpn(wire: Wire, tls: TlsOptions) -> None:
    """Raises WireError for a TLS server that did not choose PXW/1."""
    if wire.tls is not None and tls.alpn and wire.tls.alpn != tls.alpn[0]:
        chosen = f"chose {wire.tls.alpn!r}" if wire.tls.alpn else "chose nothing"
        raise WireError(
            f"{wire.target.where} speaks TLS, but not for PXW/1: offered the ALPN name {tls.alpn[0]!r} it {chosen}",
            "check host and port",
        )


async def nudge(wire: Wire, seconds: float) -> bytes:
    """What a silent peer says to an empty line: those who wait for the end of a line tell who they are."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(min(seconds, 1.0)):
            if await wire.write(b"\r\n\r\n"):
                return await wire.read()
    return b""


def silence(target: Target, seconds: float, received: bytes) -> WireError:
    """The handshake took too long."""
    if received and received[:4] != b"\x89PXW":
        return WireError(*why_no_welcome(received, target.where, over_tls=target.tls))
    said = "it sent its preface and then nothing" if received else "connected, and then silence: not one byte came"
    return WireError(
        f"{target.where}: {said} within {seconds:g} s",
        "the server may be hung, or wait for something that is not PXW (TLS: pixwires://); --timeout gives it longer",
        exit_code=ExitCode.TIMEOUT,
    )


async def say_goodbye(talk: Talk) -> None:
    """An orderly end: GOAWAY NO_ERROR."""
    with contextlib.suppress(OSError):
        await talk.send(b"".join(encode(GoAway(0, 0, error_name(0)))))
