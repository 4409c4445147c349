"""A Connection as the runner of protocol/vectors/README.md wants an endpoint: four methods, results as JSON."""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from enum import IntEnum
from typing import Any

import msgpack

from pixwire_protocol.connection import Closed, Connection, Failed, Ready, Received, Role, Settings
from pixwire_protocol.header import Frame
from pixwire_protocol.incoming import AuthNeeded
from pixwire_protocol.messages import decode
from pixwire_protocol.registry import ErrorCode

Case = dict[str, Any]

# What the peer of the case sends for its handshake; the README has the same bytes.
PREFACE = bytes.fromhex("8950585701010000")
FROM_CLIENT = PREFACE + bytes.fromhex("c100000f0100000f0000000081a56167656e74a7766563746f7273")
FROM_SERVER = PREFACE + bytes.fromhex(
    "c1000023010100230000000083a56167656e74a7766563746f7273a97365727665725f6964a173a565706f6368a165"
)
ASKS_FOR_AUTH = PREFACE + bytes.fromhex(
    "c1000030010100300000000084a56167656e74a7766563746f7273a97365727665725f6964a173a565706f6368a165"
    "a46175746891a6626561726572"
)
AUTH = bytes.fromhex("c100001a0200001a0000000082a96d656368616e69736da6626561726572a5746f6b656ea174")
AUTH_OK = bytes.fromhex("c1000011020100110000000081a97072696e636970616ca5616c696365")

NAMES = {
    (0x01, 0): "HELLO", (0x01, 1): "WELCOME", (0x02, 0): "AUTH", (0x02, 1): "AUTH_OK",
    (0x04, 0): "PING", (0x04, 1): "PONG",
    0x05: "ERROR", 0x06: "GOAWAY", 0x07: "RESET", 0x10: "SUBMIT", 0x11: "STATUS", 0x12: "CANCEL", 0x13: "WATCH",
    0x15: "LIST", 0x16: "ADMIN", 0x20: "FETCH", 0x21: "DATA", 0x22: "CREDIT", 0x30: "RESULT", 0x31: "EVENT",
    0x32: "PREVIEW",
}  # fmt: skip
REQUESTS = ("SUBMIT", "STATUS", "CANCEL", "WATCH", "LIST", "ADMIN", "FETCH")


def cut_frames(data: bytes) -> Iterator[tuple[str, Frame]]:
    """The frames in well-formed bytes, cut without the package's own parser."""
    while data:
        word, kind, flags, head_len, stream = struct.unpack_from("!IBBHI", data)
        end = 12 + (word & 0xFFFFFF)
        assert word >> 24 == 0xC1
        assert end <= len(data)
        name = NAMES.get((kind, flags & 1)) or NAMES.get(kind, "")
        yield name, Frame(kind, flags, stream, data[12 : 12 + head_len], data[12 + head_len : end])
        data = data[end:]


def plain(value: Any) -> Any:
    """A value as JSON would have it."""
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return int(value) if isinstance(value, IntEnum) else value


def event(stream: int, message: Any, end: bool) -> Case:
    name = {"AuthOk": "AUTH_OK"}.get(type(message).__name__, type(message).__name__.upper())
    head = plain(message)
    tail = bytes(head.pop("tail", head.pop("payload", b"")) or b"")
    head.pop("placed", None)
    return {"type": name, "stream": stream, "end": end, "head": head.pop("body", head), "tail": tail.hex()}


class Endpoint:
    """A Connection with the four methods that the runner wants."""

    greeted = False
    """Whether HELLO or WELCOME was reported already, where AUTH is asked for."""

    def __init__(self, case: Case) -> None:
        self.role = Role(case["side"])
        options = dict(case.get("limits", {}))
        options |= {name: tuple(case[name]) for name in ("features", "auth") if name in case}
        if self.role is Role.CLIENT:
            options.pop("auth", None)
        self.asks = "auth" in options
        self.connection = Connection(self.role, Settings(agent="vectors", server_id="s", epoch="e", **options))
        for piece in self._before(case):
            assert not any("failed" in event for event in self.receive(piece))
            if piece == AUTH:
                self.connection.accept_auth("alice")

    def _before(self, case: Case) -> Iterator[bytes]:
        """What the peer has sent before the case begins."""
        asked, state = "auth" in case, case["state"]
        if state == "preface":
            yield PREFACE
        if state not in ("ready", "authenticating"):
            return
        if "peer" in case:
            yield PREFACE + bytes.fromhex(case["peer"])
        elif self.role is Role.SERVER:
            yield FROM_CLIENT
        else:
            yield ASKS_FOR_AUTH if asked or state == "authenticating" else FROM_SERVER
        if asked and state == "ready" and self.role is Role.CLIENT:
            self.connection.authenticate("bearer", "t")
            yield AUTH_OK
        elif asked and state == "ready":
            yield AUTH

    def receive(self, data: bytes) -> list[Case]:
        events = self._events(self.connection.receive(data))
        if self.asks and not self.greeted and self.connection.peer is not None:
            self.greeted = True  # Ready comes with AUTH only, but the HELLO is here
            return [event(0, self.connection.peer, False), *events]
        return events

    def eof(self) -> list[Case]:
        return self._events(self.connection.receive_eof())

    def _events(self, incoming: Iterable[Any]) -> list[Case]:
        events: list[Case] = []
        for item in incoming:
            match item:
                case AuthNeeded(peer):
                    self.greeted = True
                    events.append(event(0, peer, False))
                case Ready(peer):
                    if not self.greeted:
                        events.append(event(0, peer, False))
                case Received(stream, message, end):
                    events.append(event(stream, message, end))
                case Closed(clean):
                    events.append({"closed": "clean" if clean else "broken"})
                case Failed(error):
                    events.append({"failed": error.code.name})
        return events

    def send(self, data: bytes) -> None:
        """As an application would; handshake and PONG are the connection's own affair, CREDIT comes of consuming."""
        ((name, frame),) = cut_frames(data)
        if name in ("HELLO", "WELCOME", "PONG", ""):
            return
        message: Any = decode(frame)
        end = bool(frame.flags & 1)
        match name:
            case "PING":
                self.connection.ping(message.payload)
            case "CREDIT":
                if frame.stream:  # the connection's credit comes with it
                    self.connection.consumed(frame.stream, message.n)
            case "RESET":
                self.connection.reset(frame.stream, message.code)
            case "GOAWAY":
                times = {"grace_ms": message.grace_ms, "reconnect_after_ms": message.reconnect_after_ms}
                self.connection.goaway(message.code, message.message, last_stream=message.last_stream, **times)
            case "ERROR":
                words = {"retry": message.retry, "processed": message.processed}
                self.connection.send_error(frame.stream, message.code, message.message, **words)
            case "DATA":
                self.connection.send_data(frame.stream, bytes(message.tail), end)
            case "AUTH":
                self.connection.authenticate(message.mechanism, message.token)
            case "AUTH_OK":
                self.connection.accept_auth(message.principal, expires_ms=message.expires_ms, roles=message.roles)
            case _ if name in REQUESTS:
                assert self.connection.open(message) == frame.stream
            case _:
                assert self.connection.send(frame.stream, message, end)

    def sent_bytes(self) -> bytes:
        out = b""
        while self.connection.has_output:
            out += b"".join(self.connection.data_to_send())
        return out

    def sent(self) -> list[Case]:
        data = self.sent_bytes()
        frames: list[Case] = []
        if data.startswith(b"\x89"):
            frames.append({"preface": data[:8].hex()})
            data = data[8:]
        for name, frame in cut_frames(data):
            head = msgpack.unpackb(frame.head) if frame.head else {}
            sent = {"type": name, "stream": frame.stream, "end": bool(frame.flags & 1), "head": head}
            sent["tail"] = bytes(frame.tail).hex()
            if name in ("ERROR", "RESET", "GOAWAY"):
                sent["name"] = ErrorCode(head["code"]).name
            frames.append(sent)
        return frames
