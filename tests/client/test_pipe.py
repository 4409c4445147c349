"""The asyncio transport of a client: when what it has to say leaves."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from pixwire.aio.pipe import BURST, Pipe
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


def piped(session: Session, transport: Written) -> Pipe:
    def came(channel: Channel, updates: Sequence[Update]) -> bool:
        return session.has_output

    double = cast("Any", session)
    pipe = Pipe(cast("ClientSession", double), double, asyncio.get_running_loop(), lambda _: None, came)
    pipe.connection_made(transport)
    return pipe


@pytest.mark.parametrize("paused", [False, True])
async def test_credit_leaves_before_the_next_read(paused: bool) -> None:
    """One turn of the loop may read whole images: credit that waited for its end would let the server stand still."""
    transport = Written()
    pipe = piped(Session(), transport)
    if paused:
        pipe.pause_writing()
    pipe.buffer_updated(262_144)
    assert transport.data == ([] if paused else [b"credit"])
    if paused:
        pipe.resume_writing()
        assert transport.data == [b"credit"]


async def test_one_turn_of_the_loop_does_not_read_for_ever() -> None:
    """After a burst credit waits for what else the loop has to do; then the next burst begins."""
    transport = Written()
    pipe = piped(Session(), transport)
    for _ in range(2):
        transport.data.clear()
        for _ in range(10):
            pipe.buffer_updated(BURST // 2)
        assert transport.data == [b"credit"] * 2
        turned = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(turned.set_result, None)
        await turned
        assert transport.data == [b"credit"] * 3
