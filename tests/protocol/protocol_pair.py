"""Two Connections wired back to back in memory, and small helpers to say what goes over the wire."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import msgpack

from pixwire_protocol.connection import Connection, Failed, Incoming, Received, Role, Settings, State
from pixwire_protocol.errors import RemoteProtocolError
from pixwire_protocol.header import HEADER, MARKER_WORD
from pixwire_protocol.messages import Data, Fetch, Message, Preview, Request, Submit, Watch
from pixwire_protocol.params import GenerateParams
from pixwire_protocol.registry import HEADER_SIZE, PREFACE, Flag, FrameType

Cut = Callable[[bytes], Iterator[bytes]]

END = Flag.END
TAIL = GenerateParams("a red circle").pack()
STATUS: dict[str, Any] = {"job": "j", "kind": "txt2img", "state": "queued", "seq": 1}


def whole(data: bytes) -> Iterator[bytes]:
    yield data


def bytewise(data: bytes) -> Iterator[bytes]:
    for position in range(len(data)):
        yield data[position : position + 1]


def drain(connection: Connection, max_bytes: int = 1 << 18) -> bytes:
    """Everything the connection wants to send now."""
    out = b""
    while connection.has_output:
        buffers = connection.data_to_send(max_bytes)
        assert buffers
        assert all(len(buffer) for buffer in buffers)
        out += b"".join(buffers)
    assert connection.data_to_send() == []
    return out


def received(incoming: list[Incoming]) -> list[Received]:
    """The messages among them; anything else is a failure of the test."""
    assert all(isinstance(item, Received) for item in incoming), incoming
    return [item for item in incoming if isinstance(item, Received)]


def the_error(incoming: list[Incoming]) -> RemoteProtocolError:
    """The error in a list that ends with Failed."""
    assert incoming, "nothing was reported"
    last = incoming[-1]
    assert isinstance(last, Failed), incoming
    return last.error


@dataclass(frozen=True)
class Seen:
    """One frame cut out of a byte stream."""

    type: int
    flags: int
    stream: int
    head: dict[str, Any] | None
    tail: bytes


def cut_frames(data: bytes) -> list[Seen]:
    """The frames in data (a preface in front is left out)."""
    position = len(PREFACE) if data[:4] == PREFACE[:4] else 0
    frames = []
    while position < len(data):
        word, frame_type, flags, head_size, stream = HEADER.unpack_from(data, position)
        assert word & 0xFF000000 == MARKER_WORD
        start = position + HEADER_SIZE
        position = start + (word & 0xFFFFFF)
        head = msgpack.unpackb(data[start : start + head_size]) if head_size else None
        frames.append(Seen(frame_type, flags, stream, head, data[start + head_size : position]))
    assert position == len(data)
    return frames


def raw(
    frame_type: int,
    stream: int = 0,
    head: dict[str, Any] | bytes | None = None,
    tail: bytes = b"",
    flags: int = 0,
    *,
    length: int | None = None,
    head_size: int | None = None,
    marker: int = MARKER_WORD,
) -> bytes:
    """A frame with any fields, legal or not."""
    packed = b"" if head is None else head if isinstance(head, bytes) else msgpack.packb(head)
    size = len(packed) + len(tail) if length is None else length
    return (
        HEADER.pack(marker | size, frame_type, flags, len(packed) if head_size is None else head_size, stream)
        + packed
        + tail
    )


HELLO = raw(FrameType.HELLO, 0, {"agent": "raw"})
WELCOME = raw(FrameType.HELLO, 0, {"agent": "raw", "server_id": "s", "epoch": "e"}, flags=Flag.ACK)


def ready(role: Role, **settings: Any) -> Connection:
    """A connection whose peer is the test: the handshake is done, the output thrown away."""
    connection = Connection(role, Settings(agent="under-test", **settings))
    connection.receive(PREFACE + (HELLO if role is Role.SERVER else WELCOME))
    drain(connection)
    assert connection.state is State.READY
    return connection


def watch() -> Watch:
    return Watch("j", want=("progress", "preview"), deliver=True)


def submit(**options: Any) -> Submit:
    return Submit("j", "txt2img", TAIL, **options)


def request(stream: int, job: Any = "j", flags: int = END) -> bytes:
    return raw(FrameType.STATUS, stream, {"job": job}, flags=flags)


def fetching(window: int = 262144) -> Connection:
    """A client with a FETCH on stream 1."""
    connection = ready(Role.CLIENT, stream_window=window)
    connection.open(Fetch("j"))
    drain(connection)
    return connection


def by_receive(connection: Connection, pieces: Iterator[bytes]) -> list[Incoming]:
    return [item for piece in pieces for item in connection.receive(piece)]


def by_buffer(connection: Connection, pieces: Iterator[bytes]) -> list[Incoming]:
    """What a BufferedProtocol does: as much of each piece as the buffer takes, then the rest."""
    incoming: list[Incoming] = []
    for piece in pieces:
        rest = piece
        while rest:
            place = connection.get_buffer(-1)
            assert len(place) > 0
            count = min(len(place), len(rest))
            place[:count] = rest[:count]
            incoming += connection.buffer_updated(count)
            rest = rest[count:]
    return incoming


def plain(incoming: list[Incoming]) -> list[Any]:
    """The items with every buffer as bytes, so that they can be compared."""

    def solid(item: Incoming) -> Any:
        if not isinstance(item, Received):
            return repr(item)
        message = item.message
        if isinstance(message, Data | Submit | Preview):
            message = replace(message, tail=bytes(message.tail))
        return item.stream, message, item.end

    return [solid(item) for item in incoming]


WAYS = {"receive": by_receive, "buffer": by_buffer}


class Pair:
    """A client and a server. What one side sends is cut by `cut` and given to the other."""

    def __init__(
        self,
        client: dict[str, Any] | None = None,
        server: dict[str, Any] | None = None,
        cut: Cut = whole,
        greet: bool = True,
    ) -> None:
        self.client = Connection(Role.CLIENT, Settings(agent="client", **(client or {})))
        self.server = Connection(Role.SERVER, Settings(agent="server", **(server or {})))
        self.cut = cut
        self.at_client: list[Incoming] = []
        self.at_server: list[Incoming] = []
        if greet:
            self.settle()
            self.forget()

    def settle(self) -> None:
        """Carry everything to the other side until nobody has anything to say."""
        while self.to_server() + self.to_client():
            pass

    def to_server(self) -> int:
        """One data_to_send() of the client; returns the bytes carried."""
        return self._carry(self.client, self.server, self.at_server)

    def to_client(self) -> int:
        """One data_to_send() of the server; returns the bytes carried."""
        return self._carry(self.server, self.client, self.at_client)

    def _carry(self, sender: Connection, receiver: Connection, incoming: list[Incoming]) -> int:
        data = b"".join(sender.data_to_send())
        for piece in self.cut(data):
            incoming += receiver.receive(piece)
        return len(data)

    def forget(self) -> None:
        self.at_client.clear()
        self.at_server.clear()

    def open(self, request: Request) -> int:
        """Open a stream and let the server see the request."""
        stream = self.client.open(request)
        self.settle()
        return stream

    def messages_at_client(self, stream: int) -> list[Message]:
        return [item.message for item in self.at_client if isinstance(item, Received) and item.stream == stream]

    def messages_at_server(self, stream: int) -> list[Message]:
        return [item.message for item in self.at_server if isinstance(item, Received) and item.stream == stream]
