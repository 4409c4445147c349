"""What several door tests do first."""

import msgpack  # type: ignore[import-untyped]  # it ships none
from memory_jobs import MemoryJobs
from raw_client import SETTINGS, RawClient

from pixwire_protocol.connection import Connection, Role, Settings
from pixwire_protocol.messages import Error, Status, Submit
from pixwire_protocol.status import JobState
from pixwire_server.doors.auth import Guard

PARAMS = msgpack.packb({"prompt": "a red circle"})
BIG = bytes(range(256)) * 16384  # 4 MiB


async def finished_job(client: RawClient, jobs: MemoryJobs, job: str = "j", image: bytes = BIG) -> None:
    (stream,) = await client.open(Submit(job=job, kind="txt2img", tail=PARAMS))
    await client.next(stream)
    jobs.change(job, JobState.SUCCEEDED, image)


async def answers(client: RawClient) -> None:
    """The server still serves: a round trip on this connection."""
    (stream,) = await client.open(Status(job="nothing"))
    assert isinstance((await client.next(stream)).message, Error)


async def receive_at_least(client: RawClient, stream: int, count: int) -> None:
    """The announcement and at least `count` bytes of DATA on the stream, without giving credit."""
    await client.body(stream)
    received = 0
    while received < count:
        received += len(await client.data(stream, consume=False))


def greeting_of_the_server() -> bytes:
    """What a server says to a HELLO, so that a client may open streams."""
    server = SETTINGS.make_connection(Guard(None))
    server.receive(b"".join(Connection(Role.CLIENT, Settings(agent="x")).data_to_send()))
    return b"".join(server.data_to_send())
