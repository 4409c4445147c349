"""Many connections at once, on bare sockets: idle ones, watching ones, and one that does not read what it asked for.

What is counted is the server's memory, so the other side is kept as small as can be: prepared bytes of each protocol,
and a read until the answer is there. Nothing is sent afterwards.
"""

import itertools
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from benchmarks.transport.clients.base import Place
from benchmarks.transport.work import STANDING, image_job

READ = 64 * 1024
STALLED_BUFFER = 64 * 1024
"""Of the one that does not read: what the kernel takes for it is not what is asked about."""


class Dialect(Protocol):
    """One protocol in prepared bytes. Each function takes a fresh socket and returns when the answer is there."""

    def status(self, to: socket.socket) -> None:
        """One small request, answered; the connection stays."""

    def watch(self, to: socket.socket) -> None:
        """Follow a job in which nothing happens; its present state has come."""

    def stall(self, to: socket.socket, size: int) -> None:
        """Ask for an image and read none of it."""


class Pxw:
    """HELLO, then one request."""

    def __init__(self, place: Place) -> None:
        from benchmarks.transport.clients import frames

        self._frames = frames
        self._job = "0" * 32
        with socket.create_connection(place.tcp()) as first:
            self._ask(first, frames.submit_frame(self._job))

    def status(self, to: socket.socket) -> None:
        self._ask(to, self._frames.status_frame(self._job))

    def watch(self, to: socket.socket) -> None:
        self._ask(to, self._frames.watch_frame(self._job))

    def stall(self, to: socket.socket, size: int) -> None:
        self._greet(to)
        to.sendall(self._frames.fetch_frame(size))

    def _greet(self, to: socket.socket) -> None:
        state, first = self._frames.hello()
        to.sendall(first)
        while not self._frames.is_ready(state.receive(to.recv(READ))):
            pass

    def _ask(self, to: socket.socket, frame: bytes) -> None:
        self._greet(to)
        to.sendall(frame)
        got = b""
        while len(got) < 12 or len(got) < 12 + int.from_bytes(got[1:4], "big"):
            got += to.recv(READ)
        if got[4] not in (0x30, 0x31):  # RESULT, EVENT
            raise ConnectionError(f"the server answered {got!r}")


class Http:
    """A request line and its headers."""

    def __init__(self, place: Place) -> None:
        self._host = "{}:{}".format(*place.tcp())
        self._job = self._submit(place)

    def status(self, to: socket.socket) -> None:
        self._get(to, self._job)

    def watch(self, to: socket.socket) -> None:
        self._get(to, f"{self._job}/events", until=b"event: state")

    def stall(self, to: socket.socket, size: int) -> None:
        to.sendall(self._head("GET", f"/{image_job(size)}/artifacts/0"))

    def _head(self, method: str, path: str, more: str = "") -> bytes:
        return f"{method} /v1/jobs{path} HTTP/1.1\r\nhost: {self._host}\r\n{more}\r\n".encode()

    def _get(self, to: socket.socket, path: str, until: bytes = b"\r\n\r\n{") -> None:
        to.sendall(self._head("GET", f"/{path}"))
        self._read(to, until)

    def _read(self, to: socket.socket, until: bytes) -> bytes:
        got = b""
        while until not in got:
            more = to.recv(READ)
            if not more or (got and not got.startswith(b"HTTP/1.1 2")):
                raise ConnectionError(f"the server answered {got!r}")
            got += more
        return got

    def _submit(self, place: Place) -> str:
        body = b'{"params":{"prompt":"idle","seed":1,"steps":12}}'
        more = f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
        with socket.create_connection(place.tcp()) as first:
            first.sendall(self._head("POST", "", more) + body)
            got = self._read(first, b'{"job":"')
        return got.partition(b'{"job":"')[2].partition(b'"')[0].decode()


class Grpc:
    """HTTP/2 by hand: the preface, settings, and one call with literal headers."""

    PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    DATA, HEADERS, SETTINGS = 0, 1, 4
    END_STREAM, END_HEADERS = 1, 4

    def __init__(self, place: Place) -> None:
        from benchmarks.transport.grpc_api import board_pb2
        from benchmarks.transport.servers.grpc_app import SERVICE

        self._service, self._authority = SERVICE, place.addresses[0]
        self._name = board_pb2.JobName(job=STANDING).SerializeToString()
        self._wanted: Callable[[int], bytes] = lambda size: board_pb2.Wanted(
            job=image_job(size), chunk=READ
        ).SerializeToString()

    def status(self, to: socket.socket) -> None:
        self._call(to, "GetStatus", self._name)
        self._until_data(to)

    def watch(self, to: socket.socket) -> None:
        self._call(to, "Events", self._name)
        self._until_data(to)

    def stall(self, to: socket.socket, size: int) -> None:
        self._call(to, "FetchChunks", self._wanted(size))

    def _call(self, to: socket.socket, method: str, message: bytes) -> None:
        headers = {
            ":method": "POST",
            ":scheme": "http",
            ":path": f"/{self._service}/{method}",
            ":authority": self._authority,
            "content-type": "application/grpc",
            "te": "trailers",
        }
        block = b"".join(
            b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
            for name, value in headers.items()  # literal without indexing, lengths below 127
        )
        body = b"\0" + len(message).to_bytes(4, "big") + message
        to.sendall(
            self.PREFACE
            + self._frame(self.SETTINGS, 0, 0, b"")
            + self._frame(self.HEADERS, self.END_HEADERS, 1, block)
            + self._frame(self.DATA, self.END_STREAM, 1, body)
        )

    def _frame(self, kind: int, flags: int, stream: int, content: bytes) -> bytes:
        return len(content).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + content

    def _until_data(self, to: socket.socket) -> None:
        got, at = b"", 0
        while True:
            while len(got) - at >= 9:
                if got[at + 3] == self.DATA:
                    to.sendall(self._frame(self.SETTINGS, 1, 0, b""))  # theirs, acknowledged
                    return
                at += 9 + int.from_bytes(got[at : at + 3], "big")
            more = to.recv(READ)
            if not more:
                raise ConnectionError(f"the server answered {got!r}")
            got += more


DIALECTS: dict[str, Callable[[Place], Dialect]] = {"pxw": Pxw, "http": Http, "grpc": Grpc}


@dataclass(slots=True)
class Crowd:
    """The connections of one process, and what they speak."""

    place: Place
    dialect: Dialect
    open: list[socket.socket] = field(default_factory=list)
    source: int = 1
    """The last number of the loopback address they come from; the next one when its ports run out."""

    def obey(self, command: dict[str, Any]) -> dict[str, float]:
        """`status` or `watch` with `count`: have so many connections. `stall`: one more, which reads nothing."""
        what = command["do"]
        if what == "stall":
            stalled = self._dial(STALLED_BUFFER)
            self.dialect.stall(stalled, command["size"])
            return {"connections": float(len(self.open))}
        act = self.dialect.status if what == "status" else self.dialect.watch
        problem = 0.0
        while len(self.open) < command["count"]:
            try:
                act(self._dial())
            except OSError as error:
                problem = float(error.errno or -1)
                break
        return {"connections": float(len(self.open)), "errno": problem}

    def _dial(self, buffer: int = 0) -> socket.socket:
        for address in itertools.count(self.source):
            made = socket.socket()
            if buffer:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            try:
                if address > 1:
                    made.bind((f"127.0.0.{address}", 0))
                made.connect(self.place.tcp())
            except OSError:
                made.close()
                if address > self.source + 1:
                    raise
                continue
            made.settimeout(60)
            self.source = address
            self.open.append(made)
            return made
        raise AssertionError("count() ends")


def crowd(dialect: str, place: Place) -> Crowd:
    """Raise the limit of open files as far as it goes, and begin with no connection."""
    import resource

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return Crowd(place, DIALECTS[dialect](place))
