"""Uploads for tests: announcements, their bytes, and both sides of a connection in the middle of one."""

from collections.abc import Callable
from typing import Any

from protocol_pair import END, STATUS, TAIL, Pair, raw, ready, submit

from pixwire_protocol import messages as m
from pixwire_protocol.attachments import Attachment
from pixwire_protocol.connection import Connection, Received, Role
from pixwire_protocol.registry import ErrorCode, FrameType

SIZES = (3000, 1, 20_000)
PICTURES = b"".join(bytes([65 + number]) * size for number, size in enumerate(SIZES))


def attachment(name: str, size: int) -> Attachment:
    return Attachment(name, size, "0" * 64, "image/png")


def upload(*sizes: int, **options: Any) -> m.Submit:
    """A SUBMIT with attachments of these sizes."""
    return submit(attachments=tuple(attachment(f"a{i}", size) for i, size in enumerate(sizes)), **options)


def head_of(*sizes: int) -> dict[str, Any]:
    maps = [attachment(f"a{i}", size).to_map() for i, size in enumerate(sizes)]
    return {"job": "j", "kind": "img2img", "attachments": maps}


def opening(stream: int, *sizes: int, flags: int = 0) -> bytes:
    return raw(FrameType.SUBMIT, stream, head_of(*sizes), TAIL, flags)


def data(stream: int, size: int, end: bool = False) -> bytes:
    return raw(FrameType.DATA, stream, tail=bytes(size), flags=END if end else 0)


def uploading(*sizes: int, **settings: Any) -> Connection:
    """A server with an upload on stream 1."""
    connection = ready(Role.SERVER, **settings)
    (item,) = connection.receive(opening(1, *sizes))
    assert isinstance(item, Received)
    assert not item.end
    return connection


def bytes_at_server(pair: Pair, stream: int) -> bytes:
    return b"".join(bytes(item.tail) for item in pair.messages_at_server(stream) if isinstance(item, m.Data))


def books_are_right(pair: Pair) -> None:
    """No credit of the connection is lost: what the client may send and what the server owes make one window."""
    server, client = pair.server._machine, pair.client._machine
    held = sum(stream.receive.outstanding for stream in server.streams.values() if stream.receive is not None)
    assert client.outbox.window.available + server.window.unreturned + held == server.window.size


ANSWERS: dict[str, Callable[[Connection], bool]] = {
    "result": lambda connection: connection.send(1, m.Result(STATUS), end=True),
    "result that goes on": lambda connection: connection.send(1, m.Result(STATUS)),
    "error": lambda connection: connection.send_error(1, ErrorCode.QUEUE_FULL, "full"),
    "reset": lambda connection: connection.reset(1),
}
