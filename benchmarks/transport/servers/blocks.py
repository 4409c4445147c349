"""The floor without a loop: blocking sockets in Python, a thread for each connection.

Prints two addresses: one sends back what it gets, the other answers eight bytes (a size, big-endian) with so many.
"""

import socket
import threading
from collections.abc import Callable

from benchmarks.transport.servers.common import Options, listening, options, ready
from benchmarks.transport.work import image

READ = 64 * 1024


def echo(connection: socket.socket) -> None:
    while data := connection.recv(READ):
        connection.sendall(data)


def blobs(connection: socket.socket) -> None:
    while asked := connection.recv(8, socket.MSG_WAITALL):
        connection.sendall(image(int.from_bytes(asked, "big")))


def accept(listener: socket.socket, handle: Callable[[socket.socket], None]) -> None:
    while True:
        connection = listener.accept()[0]
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=handle, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    options(__doc__)
    echoing, at = listening(Options())
    sending, also_at = listening(Options())
    threading.Thread(target=accept, args=(echoing, echo), daemon=True).start()
    ready(f"{at} {also_at}")
    accept(sending, blobs)
