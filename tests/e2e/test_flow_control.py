"""Credit, against a real server: how much can stand before a control frame, and what readers that stall cost others.

By counts of bytes, not by time: the delay of a PING is the bytes ahead of its PONG over the rate of reading.
"""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from benchmarks.paced_reader import PacedReader
from benchmarks.stored_job import store_job

import pixwire
from pixwire_protocol.connection import Connection, Ready, Role, Settings
from pixwire_protocol.messages import Fetch

SIZE = 16 * 1024 * 1024
PING_EVERY = 512 * 1024
STALLED_WINDOW = 256 * 1024
STALLED_READERS = 12


class Serving:
    """A server whose job `big` has an image of 16 MiB."""

    def __init__(self, server: Any, image: bytes) -> None:
        self.server, self.image = server, image
        parts = urlsplit(server.url)
        assert parts.hostname
        assert parts.port
        self.address = parts.hostname, parts.port

    def resident_bytes(self) -> int:
        """Memory of the server process that is its own: mapped files do not count."""
        status = Path(f"/proc/{self.server.process.pid}/status").read_text()
        return 1024 * int(status.split("RssAnon:")[1].split()[0])


@pytest.fixture(scope="module")
def serving(new_module_server: Callable[..., Any]) -> Iterator[Serving]:
    server = new_module_server("--max-resident", "0", fast=True)
    image = store_job(server.data_dir, "big", SIZE)
    yield Serving(server.start(), image)
    assert server.stop() == 0, server.log()


@pytest.mark.parametrize("window", [64 * 1024, 256 * 1024, 1024 * 1024])
@pytest.mark.req("PXW-FLW-001")
def test_no_more_than_one_window_of_data_stands_before_a_pong(serving: Serving, window: int) -> None:
    reader = PacedReader(serving.address, window)
    reading = reader.fetch("big", ping_every=PING_EVERY)
    reader.close()
    assert bytes(reading.received) == serving.image
    assert len(reading.pings) >= SIZE // (PING_EVERY + window)
    assert max(ping.data_ahead for ping in reading.pings) <= window


def stall(address: tuple[str, int]) -> socket.socket:
    """Ask for the image on a connection of its own and read none of it beyond the handshake."""
    connection = Connection(
        Role.CLIENT, Settings(agent="staller", stream_window=STALLED_WINDOW, connection_window=STALLED_WINDOW)
    )
    sock = socket.create_connection(address, timeout=60)
    ready = False
    while not ready:
        sock.sendall(b"".join(connection.data_to_send()))
        ready = any(isinstance(item, Ready) for item in connection.receive(sock.recv(4096)))
    connection.open(Fetch("big"))
    sock.sendall(b"".join(connection.data_to_send()))
    return sock


async def test_readers_that_stall_cost_little_memory_and_nobody_notices(serving: Serving) -> None:
    async with pixwire.connect(serving.server.url) as client:
        await client.job("big").image()  # the code is warm, the file is open
        before = serving.resident_bytes()
        stalled = [stall(serving.address) for _ in range(STALLED_READERS)]
        image = await client.job("big").image()
        assert image.bytes == serving.image
        job = await client.submit("a red circle")
        assert (await job.status()).state == "queued"
        grown = serving.resident_bytes() - before
        for sock in stalled:
            sock.close()
    assert grown <= STALLED_READERS * STALLED_WINDOW, f"{grown} bytes more for {STALLED_READERS} stalled readers"
