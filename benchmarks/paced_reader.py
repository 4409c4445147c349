"""A PXW client that fetches one artifact at a set pace and sends PINGs meanwhile: what a slow consumer sees.

It reads the socket in small pieces, each when it is due, gives credit for what it has read, and notes for every PING
how many bytes of DATA came before its PONG, and how long that took. Blocking, without the client library.
"""

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pixwire_protocol.connection import Connection, Ready, Received, Role, Settings
from pixwire_protocol.messages import Data, Error, Fetch, Pong

PIECE = 16 * 1024
"""Bytes of one read at most."""


@dataclass(slots=True)
class Ping:
    """One PING: when it left, and the bytes of DATA that were received until its PONG came."""

    sent_at: float
    data_before: int
    delay_s: float = 0.0
    data_ahead: int = 0


@dataclass(slots=True)
class Reading:
    """What one fetch came to."""

    received: bytearray = field(default_factory=bytearray)
    pings: list[Ping] = field(default_factory=list)
    seconds: float = 0.0


class PacedReader:
    """One connection with the given windows. `rate` in bytes per second; None: as fast as it goes."""

    def __init__(self, address: tuple[str, int], window: int, rate: float | None = None) -> None:
        self._connection = Connection(
            Role.CLIENT,
            Settings(agent="paced-reader", stream_window=window, connection_window=window, max_frame=64 * 1024),
        )
        self._socket = socket.create_connection(address, timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rate = rate
        self._ready = False
        while not self._ready:
            self._send()
            for item in self._connection.receive(self._read()):
                self._ready |= isinstance(item, Ready)

    def close(self) -> None:
        self._socket.close()

    def fetch(self, job: str, ping_every: int, clock: Callable[[], float] = time.perf_counter) -> Reading:
        """Fetch artifact 0 of the job, with a PING after every `ping_every` bytes of DATA, one at a time.

        Raises RuntimeError when the connection fails or the server refuses.
        """
        reading, stream, begin = Reading(), self._connection.open(Fetch(job)), clock()
        waiting: Ping | None = None
        ended = False
        while not ended or waiting is not None:
            self._send()
            for item in self._connection.receive(self._paced_read(reading, begin, clock)):
                if not isinstance(item, Received):
                    raise RuntimeError(f"the connection ended: {item}")
                ended = ended or (item.stream == stream and item.end)
                if isinstance(item.message, Data):
                    reading.received += item.message.tail
                    self._connection.consumed(stream, len(item.message.tail))
                elif isinstance(item.message, Pong) and waiting is not None:
                    waiting.delay_s = clock() - waiting.sent_at
                    waiting.data_ahead = len(reading.received) - waiting.data_before
                    waiting = None
                elif isinstance(item.message, Error):
                    raise RuntimeError(f"the server answered {item.message}")
            if not ended and waiting is None and len(reading.received) >= (len(reading.pings) + 1) * ping_every:
                waiting = Ping(clock(), len(reading.received))
                reading.pings.append(waiting)
                self._connection.ping(b"paceping")
        reading.seconds = clock() - begin
        return reading

    def _paced_read(self, reading: Reading, begin: float, clock: Callable[[], float]) -> bytes:
        if self._rate is not None:
            due = begin + len(reading.received) / self._rate
            time.sleep(max(0.0, due - clock()))
        return self._read()

    def _read(self) -> bytes:
        data = self._socket.recv(PIECE)
        if not data:
            raise RuntimeError("the server closed the connection")
        return data

    def _send(self) -> None:
        while self._connection.has_output:
            self._socket.sendall(b"".join(self._connection.data_to_send()))
