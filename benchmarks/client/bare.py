"""What the library is measured against: PXW frames over a blocking socket, packed once, answers read by their header.

python -m benchmarks.client.bare PLACE      a driver, as `benchmarks.transport.driver` is one
"""

import functools
import json
import socket
import sys
import uuid
from collections.abc import Callable

from benchmarks.transport import driver
from benchmarks.transport.clients.base import Place
from benchmarks.transport.clients.blocks import dial, fill
from benchmarks.transport.clients.frames import (
    LENGTH,
    STREAM,
    STREAM_AT,
    Images,
    hello,
    is_ready,
    status_frame,
    submit_frame,
)
from pixwire_protocol.header import HEADER
from pixwire_protocol.registry import HEADER_SIZE, FrameType


class BlockingFrames:
    """A socket for each connection, one request at a time on it."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._open: list[Asker] = []
        self._images: Images | None = None
        self._job = uuid.uuid4().hex

    def connect(self, count: int) -> None:
        while len(self._open) < count:
            self._open.append(Asker(dial(self._place.tcp())))
            if len(self._open) == 1:
                self._open[0].ask(submit_frame(self._job))

    def call(self, operation: str, connection: int) -> Callable[[], object]:
        if operation != "status":
            raise NotImplementedError("only STATUS is asked of the bare frames here")
        return functools.partial(self._open[connection].ask, status_frame(self._job))

    def fetch(self, size: int, how: str, connection: int = 0) -> memoryview:
        if self._images is None:
            self._images = Images(dial(self._place.tcp()))
        return self._images.fetch(size)

    def close(self) -> None:
        for one in self._open:
            one.close()
        if self._images is not None:
            self._images.close()


class Asker:
    """One connection; the handshake is done."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket, self._stream = connection, -1
        state, first = hello()
        connection.sendall(first)
        while not is_ready(state.receive(connection.recv(4096))):
            pass

    def ask(self, frame: bytes) -> bytes:
        """Send a request (its stream id is put in here) and wait for its answer. Raises ConnectionError."""
        self._stream += 2
        self._socket.sendall(frame[:STREAM_AT] + STREAM.pack(self._stream) + frame[HEADER_SIZE:])
        data = self._socket.recv(65536)
        while len(data) < HEADER_SIZE:
            data += self._more()
        word, kind, _, _, stream = HEADER.unpack_from(data)
        while len(data) < HEADER_SIZE + (word & LENGTH):
            data += self._more()
        if kind != FrameType.RESULT or stream != self._stream:
            raise ConnectionError(f"the server answered {data!r}")
        return data

    def _more(self) -> bytes:
        room = memoryview(bytearray(1))
        fill(self._socket, room)
        return bytes(room)

    def close(self) -> None:
        self._socket.close()


def main(where: str) -> None:
    given = json.loads(where)
    client = BlockingFrames(Place(tuple(given["addresses"]), given["cafile"]))
    driver.serve_lines(functools.partial(driver.obey_blocking, client))
    client.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
