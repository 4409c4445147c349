"""Two Connections back to back that keep what each side sent, read without the package's own parser."""

import struct
from typing import Any

import msgpack

from pixwire_protocol import messages as m
from pixwire_protocol.connection import Connection, Failed, Received, Role, Settings
from pixwire_protocol.registry import PREFACE, ErrorCode

STATUS: dict[str, Any] = {"job": "j", "kind": "txt2img", "state": "queued", "seq": 1}


class Sent:
    """One frame as it went over the wire."""

    def __init__(self, data: bytes) -> None:
        word, self.type, self.flags, head_len, self.stream = struct.unpack_from("!IBBHI", data)
        self.size = 12 + (word & 0xFFFFFF)
        head = data[12 : 12 + head_len]
        self.head: dict[str, Any] = msgpack.unpackb(head) if head else {}
        self.tail = data[12 + head_len : self.size]


def frames(data: bytes) -> list[Sent]:
    found = []
    while data:
        found.append(Sent(data))
        data = data[found[-1].size :]
    return found


def output(connection: Connection) -> bytes:
    data = b""
    while connection.has_output:
        data += b"".join(connection.data_to_send())
    return data


class Pair:
    """A client and a server that are READY; `log` keeps what each side sent."""

    def __init__(self, client: dict[str, Any] | None = None, server: dict[str, Any] | None = None) -> None:
        self.client = Connection(Role.CLIENT, Settings(agent="c", **(client or {})))
        self.server = Connection(Role.SERVER, Settings(agent="s", **(server or {})))
        self.received: dict[Role, list[Any]] = {Role.CLIENT: [], Role.SERVER: []}
        self.log: dict[Role, list[Sent]] = {Role.CLIENT: [], Role.SERVER: []}
        self.exchange()

    def exchange(self) -> None:
        """Carry bytes both ways until nothing moves."""
        moved = True
        while moved:
            moved = self.carry(Role.CLIENT) | self.carry(Role.SERVER)

    def carry(self, source: Role) -> bool:
        here, there = (self.client, self.server) if source is Role.CLIENT else (self.server, self.client)
        data = output(here)
        other = Role.SERVER if source is Role.CLIENT else Role.CLIENT
        self.received[other] += there.receive(data)
        self.log[source] += frames(data.removeprefix(PREFACE) if data.startswith(PREFACE) else data)
        return bool(data)

    def fetch(self, size: int) -> tuple[int, bytes]:
        """A FETCH whose artifact the server begins to send; returns stream and content."""
        stream = self.client.open(m.Fetch("j"))
        self.exchange()
        body = {"job": "j", "artifact": 0, "etag": "e", "size": size, "offset": 0, "length": size}
        self.server.send(stream, m.Result(body))
        content = bytes(i % 251 for i in range(size))
        self.server.send_data(stream, content, end=True)
        return stream, content

    def data_of(self, stream: int) -> bytes:
        items = [x for x in self.received[Role.CLIENT] if isinstance(x, Received) and x.stream == stream]
        return b"".join(bytes(x.message.tail) for x in items if isinstance(x.message, m.Data))


def failure(incoming: list[Any]) -> ErrorCode:
    assert isinstance(incoming[-1], Failed), incoming
    return incoming[-1].error.code
