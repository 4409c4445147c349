"""The transports of a client: when what it has to say leaves, and what closes them."""

import asyncio
import selectors
import socket
import struct
from collections.abc import Sequence
from typing import Any, cast

import pytest
from aio_support import SECONDS

from pixwire.aio.pipe import BURST, Pipe
from pixwire.core.channel import Channel
from pixwire.core.session import ClientSession
from pixwire.core.updates import Update
from pixwire.sync.pipe import Pipe as BlockingPipe
from pixwire.url import Endpoint


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


class Host:
    """The thread of a blocking client: it is told to hang up by the very call that gives the last bytes."""

    bytes_received = 0
    reached = was_connected = False

    def __init__(self) -> None:
        self.session = self
        self.selector = selectors.DefaultSelector()
        self.has_output = True
        self.lost: list[str] = []
        self.pipe: BlockingPipe | None = None

    def data_to_send(self, channel: object, now: float) -> tuple[list[bytes], list[str]]:
        self.has_output = False
        return [b"goodbye"], ["hang up"]

    def lose(self, channel: object, reason: str, now: float) -> list[str]:
        self.lost.append(reason)
        return []

    def heard(self, updates: Sequence[Any]) -> None:
        if updates and self.pipe is not None:
            self.pipe.hang_up()


def test_a_hang_up_in_the_middle_of_a_flush() -> None:
    """And the server is gone when the bytes are sent: the flush that was under way finds its socket closed."""
    listener = socket.create_server(("127.0.0.1", 0))
    host = Host()
    double = cast("Any", host)
    pipe = host.pipe = BlockingPipe(double, double, Endpoint("pixwire://h"), None)
    pipe.connect([(socket.AF_INET, socket.SOCK_STREAM, 0, listener.getsockname())])
    peer, _ = listener.accept()
    (ready,) = host.selector.select(SECONDS)
    ready[0].data(ready[1])
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()  # with a reset
    host.selector.select(SECONDS)
    pipe.flush()
    assert pipe.closed
    assert len(host.lost) == 1
    listener.close()
    host.selector.close()
