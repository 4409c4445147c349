"""Images on their way from a file into a socket: what the kernel takes, what it leaves, files that change meanwhile."""

import asyncio
import contextlib
import logging
import os
import socket
from pathlib import Path

import pytest
from door_scenes import BIG, answers, finished_job
from memory_jobs import MemoryJobs
from pki import Pki
from raw_client import Connect, OpenDoor, RawClient

from pixwire_protocol.messages import Error, Fetch, Status
from pixwire_server.doors.address import TcpAddress
from pixwire_server.doors.outlet import Outlet
from pixwire_server.store.stored_file import StoredFile

TLS = TcpAddress("127.0.0.1", 0, tls=True)
CHUNK = 1 << 18


async def half_sent(client: RawClient, jobs: MemoryJobs, image: bytes = BIG) -> tuple[int, bytes, Path]:
    """A FETCH whose first window has come: stream, bytes, and the file the rest lies in."""
    await finished_job(client, jobs, image=image)
    (stream,) = await client.open(Fetch(job="j"))
    await client.body(stream)
    first = await client.data(stream, consume=False)
    assert len(first) == CHUNK
    return stream, first, jobs.folder / "j-0"


async def the_rest(client: RawClient, stream: int, first: bytes, size: int = len(BIG)) -> bytes:
    client.connection.consumed(stream, len(first))
    await client.flush()
    got = bytearray(first)
    while len(got) < size:
        got += await client.data(stream)
    return bytes(got)


async def test_an_image_whose_file_is_removed_meanwhile_comes_whole(client: RawClient, jobs: MemoryJobs) -> None:
    stream, first, path = await half_sent(client, jobs)
    path.unlink()
    assert await the_rest(client, stream, first) == BIG


@pytest.mark.parametrize("tls", [False, True])
async def test_a_file_cut_short_meanwhile_ends_this_connection_and_no_other(
    tls: bool,
    connect: Connect,
    open_door: OpenDoor,
    jobs: MemoryJobs,
    pki: Pki,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A header may have promised what is not there any more; whoever comes again is told so (`Fetcher`)."""
    address = (await open_door(TLS, tls=pki.server()))[1] if tls else (await open_door())[1]
    client, other = [await connect(address, tls=pki.client() if tls else None) for _ in range(2)]
    stream, first, path = await half_sent(client, jobs)
    os.truncate(path, len(first) + 1000)
    client.connection.consumed(stream, len(first))
    with caplog.at_level(logging.ERROR):
        await client.flush()
        await client.closed()
        await jobs.until(lambda: jobs.open_images == 0)
    assert f"the file of an image had {len(BIG)} bytes and ends after {len(first) + 1000} now" in caplog.text
    await answers(other)


async def test_small_answers_and_images_keep_their_order_on_a_full_socket(connect: Connect, jobs: MemoryJobs) -> None:
    """The kernel takes parts of frames only; what comes behind them waits for the rest."""
    client = await connect(stream_window=16_000_000, connection_window=64_000_000)
    await finished_job(client, jobs, image=BIG * 2)
    fetched = await client.open(*(Fetch(job="j", offset=offset) for offset in (0, 1, 2)))
    asked = [(await client.open(Status(job="nothing")))[0] for _ in range(3)]
    for offset, stream in enumerate(fetched):
        assert (await client.image(stream, consume=False))[1] == (BIG * 2)[offset:]
    for stream in asked:
        assert isinstance((await client.next(stream)).message, Error)


# ---------------------------------------------------------------------- the outlet by itself


class Recorder(asyncio.Transport):
    """A transport that keeps what it is given, over a real socket or none."""

    def __init__(self, real: socket.socket, waiting: int = 0) -> None:
        super().__init__({"socket": real})
        self.waiting = waiting
        self.written: list[bytes] = []

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def writelines(self, list_of_data: object) -> None:
        self.written += map(bytes, list_of_data)  # type: ignore[call-overload]


@pytest.mark.parametrize("waiting", [0, 1])
def test_it_overtakes_nothing_that_waits(waiting: int, tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(b"0123456789")
    part = StoredFile(tmp_path / "image").part(2, 8)
    ours, theirs = socket.socketpair()
    with contextlib.closing(ours), contextlib.closing(theirs):
        transport = Recorder(ours, waiting)
        outlet = Outlet(transport)
        outlet.send([b"head ", b"and "], part)
        assert transport.written == ([b"head ", b"and ", b"234567"] if waiting else [])
        if not waiting:
            assert theirs.recv(100) == b"head and 234567"
        outlet.close()
        outlet.close()


def test_what_the_kernel_leaves_goes_by_the_transport(tmp_path: Path) -> None:
    image = os.urandom(1 << 22)
    (tmp_path / "image").write_bytes(image)
    ours, theirs = socket.socketpair()
    with contextlib.closing(ours), contextlib.closing(theirs):
        ours.setblocking(False)
        transport = Recorder(ours)
        outlet = Outlet(transport)
        outlet.send([b"head"], StoredFile(tmp_path / "image").part(0, len(image)))
        outlet.send([b"next"], StoredFile(tmp_path / "image").part(0, 1))  # takes nothing at all now
        outlet.close()
        theirs.setblocking(False)
        taken = b""
        with contextlib.suppress(BlockingIOError):
            while True:
                taken += theirs.recv(1 << 20)
        assert 4 < len(taken) < len(image)
        assert taken + b"".join(transport.written) == b"head" + image + b"next" + image[:1]
