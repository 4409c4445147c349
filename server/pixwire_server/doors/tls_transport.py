"""TLS between a socket and the shell of a connection, so that buffers stay where this server can count them.

The TLS transports of asyncio and uvloop do not suit: they hold up to two encrypted frames more than they tell
(`get_write_buffer_size` leaves out the transport below), with a high water of 0 they pause after each write and resume
only when something else happens, they have no half close, and their application hears nothing before the handshake is
done, so that connections which never finish it would count for no limit. Here every byte is encrypted when it is
written, and "not paused" means what it means without TLS: the kernel has everything. An image's pages are free as soon
as `writelines` returns.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Iterable
from typing import Any


class TlsTransport(asyncio.Transport):
    """What the shell of a connection writes to."""

    def __init__(self, raw: asyncio.Transport, context: ssl.SSLContext) -> None:
        super().__init__()
        self.raw = raw
        self.arriving = ssl.MemoryBIO()
        """Encrypted bytes from the peer."""
        self._leaving = ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.arriving, self._leaving, server_side=True)
        self.silent = False
        """We have said that nothing follows."""

    def flush(self) -> None:
        """Give the socket what TLS has to say."""
        if self._leaving.pending and not self.raw.is_closing():
            self.raw.write(self._leaving.read())

    def write(self, data: "bytes | bytearray | memoryview[Any]") -> None:
        self.writelines((data,))

    def writelines(self, list_of_data: "Iterable[bytes | bytearray | memoryview[Any]]") -> None:
        if self.silent:
            return
        try:
            for data in list_of_data:
                rest = memoryview(data)
                while rest:
                    rest = rest[self.tls.write(rest) :]
        except ssl.SSLError:  # the peer has ended TLS with an alert
            self.silent = True
            self.abort()
        self.flush()

    def write_eof(self) -> None:
        """Say with TLS and with TCP that nothing follows; the peer may go on."""
        if not self.silent:
            self._take_leave()
            self.raw.write_eof()

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        if not self.silent:
            self._take_leave()
        self.raw.close()

    def _take_leave(self) -> None:
        self.silent = True
        with contextlib.suppress(ssl.SSLError):  # it asks for the peer's own farewell, which nobody waits for
            self.tls.unwrap()
        self.flush()

    def abort(self) -> None:
        self.raw.abort()

    def is_closing(self) -> bool:
        return self.raw.is_closing()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.raw.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return self.raw.get_write_buffer_size()

    def pause_reading(self) -> None:
        """What has come already may still be delivered."""
        self.raw.pause_reading()

    def resume_reading(self) -> None:
        self.raw.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "sslcontext":
            return self.tls.context
        if name == "peercert":
            return self.tls.getpeercert()
        return self.raw.get_extra_info(name, default)
