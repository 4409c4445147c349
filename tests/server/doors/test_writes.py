"""How answers leave: those to everything that was read in one write, at once, and large ones without being copied."""

from collections.abc import Sequence
from typing import Any, cast

import pytest
from door_scenes import answers
from memory_jobs import MemoryJobs
from raw_client import OpenDoor, RawClient

from pixwire_protocol.messages import Status, Submit
from pixwire_protocol.params import GenerateParams
from pixwire_server.doors.address import TcpAddress
from pixwire_server.doors.tcp import JOINED, PxwProtocol


class Counting:
    """A transport that notes what it is given."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.writes: list[bytes] = []
        self.gathered: list[list[int]] = []

    def write(self, data: bytes) -> None:
        self.writes.append(bytes(data))
        self._transport.write(data)

    def writelines(self, buffers: Sequence[bytes]) -> None:
        self.gathered.append([len(buffer) for buffer in buffers])
        self._transport.writelines(buffers)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


@pytest.fixture
async def scene(open_door: OpenDoor, jobs: MemoryJobs) -> tuple[RawClient, PxwProtocol, Counting]:
    """A client, its shell at the server, and that one's transport; a job "j" that can be asked for."""
    door, address = await open_door(TcpAddress("127.0.0.1", 0), max_streams=1000, stream_rate=10_000)
    client = await RawClient.connect(address)
    await client.ready()
    (stream,) = await client.open(Submit("j", "txt2img", GenerateParams("a red circle").pack()))
    await client.last(stream)
    await answers(client)
    (shell,) = door._reception.members
    shell = cast("PxwProtocol", shell)
    transport = Counting(shell._transport)
    shell._transport = cast("Any", transport)
    return client, shell, transport


def asked(client: RawClient, count: int) -> tuple[list[int], bytes]:
    """So many questions, as the server will read them."""
    streams = [client.connection.open(Status("j")) for _ in range(count)]
    return streams, b"".join(client.connection.data_to_send(1 << 20))


def read(shell: PxwProtocol, data: bytes) -> None:
    """What the loop does when these bytes have come in one read."""
    shell.get_buffer(-1)[: len(data)] = data
    shell.buffer_updated(len(data))


@pytest.mark.parametrize("count", [1, 2, 50])
async def test_answers_to_all_that_was_read_leave_in_one_write_in_the_same_turn(
    scene: tuple[RawClient, PxwProtocol, Counting], count: int
) -> None:
    client, shell, transport = scene
    streams, data = asked(client, count)
    read(shell, data)
    assert (len(transport.writes), transport.gathered) == (1, [])
    for stream in streams:
        assert (await client.last(stream))["job"] == "j"
    assert len(transport.writes) == 1
    client.close()


async def test_many_bytes_are_handed_over_as_they_are(scene: tuple[RawClient, PxwProtocol, Counting]) -> None:
    client, shell, transport = scene
    streams, data = asked(client, 800)
    read(shell, data)
    assert transport.writes == []
    (gathered,) = transport.gathered
    assert len(gathered) == 800
    assert sum(gathered) > JOINED
    for stream in streams:
        assert (await client.last(stream))["job"] == "j"
    client.close()
