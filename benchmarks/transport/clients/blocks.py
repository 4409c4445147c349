"""The floor's client for threads: a blocking socket for each connection."""

import socket
from collections.abc import Callable

from benchmarks.transport.clients.base import Place
from benchmarks.transport.clients.echo import MESSAGE


def dial(address: tuple[str, int]) -> socket.socket:
    """A connection without Nagle's delay."""
    made = socket.create_connection(address)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def fill(connection: socket.socket, place: memoryview) -> None:
    """Receive until the place is full. Raises ConnectionError."""
    while place:
        count = connection.recv_into(place)
        if not count:
            raise ConnectionError("the server closed the connection")
        place = place[count:]


class Blocks:
    """Echo on some connections, images on one of its own."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._open: list[socket.socket] = []
        self._images = dial(place.tcp(1))

    def connect(self, count: int) -> None:
        while len(self._open) < count:
            self._open.append(dial(self._place.tcp()))

    def call(self, operation: str, connection: int) -> Callable[[], object]:
        own, room = self._open[connection], memoryview(bytearray(len(MESSAGE)))

        def round_trip() -> None:
            own.sendall(MESSAGE)
            fill(own, room)

        return round_trip

    def fetch(self, size: int, how: str, connection: int = 0) -> memoryview:
        self._images.sendall(size.to_bytes(8, "big"))
        room = memoryview(bytearray(size))
        fill(self._images, room)
        return room

    def close(self) -> None:
        for one in (*self._open, self._images):
            one.close()
