"""The receiving half of the protocol's own Connection as a judge of recorded frames. Pure.

A judge sits at one end (its role) of a recorded connection. It hears every frame of the other end and says what a real
endpoint would have said to it. What its own end sent is entered into its books, so that streams, windows and states are
those that the recorded endpoint had.
"""

from dataclasses import dataclass
from typing import Any, Final

from pixwire_protocol.errors import RemoteProtocolError
from pixwire_protocol.flow import ReceiveWindow
from pixwire_protocol.header import Frame
from pixwire_protocol.limits import DECLARED
from pixwire_protocol.machine import Machine
from pixwire_protocol.messages import GoAway, Hello, Submit, Welcome, decode
from pixwire_protocol.receiving import Receiving
from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.settings import Settings
from pixwire_protocol.states import Input, Role, StreamKind, kind_of

from .annotate import SeenFrame, annotate

_ALL: Final = 1 << 40
_KINDS: Final = {"WATCH": StreamKind.WATCH, "FETCH": StreamKind.TRANSFER}


@dataclass(frozen=True, slots=True)
class Fault:
    """What the other end did wrong. stream None: it ends the connection."""

    code: int
    message: str
    stream: int | None = None


class _Window(ReceiveWindow):
    """Credit comes back when the recorded endpoint gives it, not when this one would."""

    __slots__ = ()

    def consume(self, n: int) -> int:
        self.outstanding -= min(n, self.outstanding)
        return 0


class Judge:
    """One end. `hear` what the other end sent, `said` what this end sent, in the order in which they were recorded."""

    def __init__(self, role: Role, settings: Settings) -> None:
        self.machine = Machine(role, settings)
        self.machine.window = _Window(settings.connection_window)
        self._receiving = Receiving(self.machine)
        self._role = role

    @property
    def over(self) -> bool:
        """Whether nothing is judged any more."""
        return self.machine.over

    def stop(self) -> None:
        """This end ended the connection: what still comes was under way."""
        self.machine.over = True

    def hear(self, data: bytes) -> list[Fault]:
        """Bytes of the other end, at most one frame. What a real endpoint says to them."""
        machine = self.machine
        before = set(machine.streams)
        self._receiving.feed(self._receiving.parser.feed, data)
        if machine.failure is not None:
            return [Fault(machine.failure.code, machine.failure.message)]
        for stream in machine.streams.keys() - before:
            machine.streams[stream].receive = _Window(machine.settings.stream_window)
        return self._complaints()

    def _complaints(self) -> list[Fault]:
        """ERROR (from a server) and RESET (from a client) that the judge itself would send."""
        found: list[Fault] = []
        while chunks := self.machine.outbox.take(_ALL):
            for item in annotate(b"".join(map(bytes, chunks)), preface=None):
                if isinstance(item, SeenFrame) and item.name in ("ERROR", "RESET"):
                    head = item.head or {}
                    found.append(Fault(head.get("code", 0), head.get("message", ""), item.stream))
        return found

    # ------------------------------------------------------------------ what this end sent

    def said(self, frame: SeenFrame) -> None:
        """This end sent a frame."""
        if self.over:
            return
        message = _message(frame)
        if frame.name == "CREDIT":
            self._grant(frame.stream, getattr(message, "n", 0))
        elif frame.name == "DATA":
            self._spend(frame.stream, len(frame.tail))
        elif frame.name == "GOAWAY" or (frame.name == "ERROR" and not frame.stream):
            self._goaway(message)
        elif frame.name == "AUTH":
            self.machine.auth_pending = True
        elif frame.name == "AUTH_OK":
            self._auth_ok()
        elif self._role is Role.CLIENT and _opens(frame):
            self._open(frame, message)
        if frame.stream and self._role is Role.SERVER and frame.name == "RESULT":
            self._answer(frame.stream)
        if frame.stream and (frame.name in ("ERROR", "RESET") or (frame.end and self._role is Role.SERVER)):
            self._finish(frame.stream)

    def _open(self, frame: SeenFrame, message: Any) -> None:
        machine = self.machine
        if not frame.stream & 1 or frame.stream <= machine.last_stream:
            return
        machine.last_stream = frame.stream
        kind = _KINDS.get(frame.name, StreamKind.UNARY) if message is None else kind_of(message)
        opened = machine.open(frame.stream, kind)
        opened.receive = _Window(machine.settings.stream_window)
        if isinstance(message, Submit) and message.attachments:
            opened.expect_upload(sum(attachment.size for attachment in message.attachments))

    def _grant(self, stream: int, n: int) -> None:
        if not stream:
            self.machine.window.available += n
        elif (found := self.machine.streams.get(stream)) is not None and found.receive is not None:
            found.receive.available += n

    def _spend(self, stream: int, n: int) -> None:
        self.machine.outbox.window.available -= n
        if (found := self.machine.streams.get(stream)) is not None:
            found.to_send().available -= n

    def _goaway(self, message: Any) -> None:
        machine = self.machine
        code = getattr(message, "code", ErrorCode.INTERNAL)
        if code not in (ErrorCode.NO_ERROR, ErrorCode.DRAINING):
            self.stop()
        elif isinstance(message, GoAway):
            machine.goaway_sent = message
            if Input.SEND_GOAWAY in machine.inputs:
                machine.local(Input.SEND_GOAWAY)

    def _auth_ok(self) -> None:
        machine = self.machine
        machine.auth_pending, machine.authenticated = False, True
        if Input.SEND_AUTH_OK in machine.inputs:
            machine.local(Input.SEND_AUTH_OK)
            self._receiving.be_ready()

    def _answer(self, stream: int) -> None:
        found = self.machine.streams.get(stream)
        if found is not None and found.upload is not None:
            self.machine.answer_upload(found)

    def _finish(self, stream: int) -> None:
        found = self.machine.streams.get(stream)
        if found is not None:
            self.machine.finish(found)


def _opens(frame: SeenFrame) -> bool:
    """Requests, and unknown types that a server answers as if they were requests."""
    if frame.spec is None:
        return bool(frame.stream) and not 0x80 <= frame.type < 0xC0
    return frame.spec.stream == "new"


def _message(frame: SeenFrame) -> Any:
    try:
        return decode(Frame(frame.type, frame.flags, frame.stream, frame.head_bytes, frame.tail))
    except (RemoteProtocolError, ValueError):
        return None


def judges(hello: SeenFrame | None, welcome: SeenFrame | None) -> tuple[Judge, Judge]:
    """A client (who judges the server) and a server (who judges the client), with the settings of the recorded ones."""
    said_hello = None if hello is None else _message(hello)
    said_welcome = None if welcome is None else _message(welcome)
    offered: dict[str, Any] = {"agent": "judge"}
    if isinstance(said_hello, Hello):
        offered |= {"features": tuple(said_hello.features), **_limits(said_hello)}
    served: dict[str, Any] = {"agent": "judge"}
    if isinstance(said_welcome, Welcome):
        served |= {"features": tuple(said_welcome.features), "auth": tuple(said_welcome.auth), **_limits(said_welcome)}
    return Judge(Role.CLIENT, _settings(offered)), Judge(Role.SERVER, _settings(served))


def _limits(said: Hello | Welcome) -> dict[str, int]:
    return {name: getattr(said.limits, name) for name in DECLARED}


def _settings(values: dict[str, Any]) -> Settings:
    try:
        return Settings(**values)
    except ValueError:
        return Settings(agent="judge")
