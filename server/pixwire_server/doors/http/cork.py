"""One write for an answer's head and the first bytes of its body, where uvicorn makes two: with uvloop each of them is
a system call, a packet, and over TLS a record. And bytes of files, which uvicorn passes on as it gets them.
"""

import asyncio
from typing import Any, Final

from pixwire_server.doors.outlet import Outlet
from pixwire_server.store import FilePart

_HEAD: Final = b"HTTP/1.1 "
"""How heads begin. A piece of a body that begins so waits for a moment, too, and comes to no harm."""


class Cork:
    """A transport that holds back a head until what is written next, or to the end of the loop's turn; and that takes
    parts of files, as bytes or as what they are.
    """

    __slots__ = ("_head", "_loop", "_outlet", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head: bytes | None = None
        self._outlet: Outlet | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def write(self, data: bytes | bytearray | memoryview | FilePart) -> None:
        head = self._head
        if isinstance(data, FilePart):
            self._head = None
            if self._outlet is None:
                self._outlet = Outlet(self._transport)
            self._outlet.send(() if head is None else (head,), data)
        elif head is not None:
            self._head = None
            self._transport.writelines((head, data) if data else (head,))
        elif data[: len(_HEAD)] == _HEAD and type(data) is bytes:
            self._head = data
            self._loop.call_soon(self._flush)
        else:
            self._transport.write(data)

    def _flush(self) -> None:
        head, self._head = self._head, None
        if head is not None and not self._transport.is_closing():
            self._transport.write(head)

    def get_write_buffer_size(self) -> int:
        return self._transport.get_write_buffer_size() + len(self._head or b"")

    def write_eof(self) -> None:
        self._flush()
        self._transport.write_eof()

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def lost(self) -> None:
        """The connection is gone."""
        if self._outlet is not None:
            self._outlet.close()

    def abort(self) -> None:
        self._head = None
        self._transport.abort()
