"""How bytes of a stored file get into a socket: the kernel moves them from its cache (`sendfile`), and they are copied
only where that is not possible.

    plain TCP, Unix socket     header (MSG_MORE: it waits for what follows), then sendfile
    the kernel takes a part    the rest is read and left to the transport, which goes on when the peer has read
    TLS, no sendfile           read, then written like everything else
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Sequence
from typing import Final

from pixwire_protocol.header import Buffer
from pixwire_protocol.source import Source
from pixwire_server.doors.tls_transport import TlsTransport
from pixwire_server.store import FilePart

_MORE: Final[int] = getattr(socket, "MSG_MORE", 0)


class Outlet:
    """The way of one connection. It writes past the transport only when that holds nothing back."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._socket = _copy_of(transport)

    def send(self, buffers: Sequence[Buffer], source: Source) -> None:
        """Send these, and right behind them the source's bytes. Raises StoreError when they are gone; the connection
        cannot go on then.
        """
        rest: list[Buffer] = list(buffers)
        if self._socket is not None and type(source) is FilePart and not self._transport.get_write_buffer_size():
            try:
                rest = self._send_ahead(rest, self._socket)
                if not rest:
                    source = source[source.send_to(self._socket.fileno()) :]
            except OSError:  # it takes nothing now, or never again: the transport finds out
                pass
        if source.nbytes:
            rest.append(source.tobytes())
        if rest:
            self._transport.writelines(rest)

    def close(self) -> None:
        """The connection is gone. May be called again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send_ahead(self, buffers: list[Buffer], to: socket.socket) -> list[Buffer]:
        """What the kernel did not take of them, nearly always nothing."""
        head = b"".join(buffers)
        sent = to.send(head, _MORE)
        return [head[sent:]] if sent < len(head) else []


def _copy_of(transport: asyncio.Transport) -> socket.socket | None:
    """A descriptor of our own for the transport's socket; None where its bytes have to pass through us."""
    own = transport.get_extra_info("socket")
    if isinstance(transport, TlsTransport) or own is None or not hasattr(os, "sendfile"):
        return None
    with contextlib.suppress(OSError):  # no descriptor is left
        return socket.socket(fileno=os.dup(own.fileno()))
    return None
