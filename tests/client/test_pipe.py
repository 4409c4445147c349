"""The asyncio transport of a client: when what it has to say leaves."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from pixwire.aio.pipe import Pipe
from pixwire.core.channel import Channel
from pixwire.core.session import ClientSession
from pixwire.core.updates import Update


class Session:
    """Bytes that come make it give credit."""

    def __init__(self) -> None:
        self.has_output = False

    def buffer_updated(self, channel: object, count: int, now: float) -> Sequence[Update]:
        self.has_output = True
        return ()

    def data_to_send(self, channel: object, now: float) -> tuple[list[bytes], Sequence[Update]]:
        self.has_output = False
        return [b"credit"], ()


class Written(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.data: list[bytes] = []

    def write(self, data: Any) -> None:
        self.data.append(data)


@pytest.mark.parametrize("paused", [False, True])
async def test_credit_leaves_before_the_next_read(paused: bool) -> None:
    """One turn of the loop may read whole images: credit that waited for its end would let the server stand still."""
    session, transport = Session(), Written()
    heard: list[object] = []

    def came(channel: Channel, updates: Sequence[Update]) -> bool:
        return session.has_output

    double = cast("Any", session)
    pipe = Pipe(cast("ClientSession", double), double, asyncio.get_running_loop(), heard.append, came)
    pipe.connection_made(transport)
    if paused:
        pipe.pause_writing()
    pipe.buffer_updated(262_144)
    assert transport.data == ([] if paused else [b"credit"])
    if paused:
        pipe.resume_writing()
        assert transport.data == [b"credit"]
