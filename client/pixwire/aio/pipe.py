"""One asyncio transport of a client: bytes in, bytes out. SPEC 3.

Bytes come straight into the buffer that the session offers (the final one, for images); what is to be sent is
collected and written once per turn of the loop. Credit leaves sooner: libuv reads on as long as something comes (up to
32 buffers in a turn), and a server that has to wait for the turn's end stands still meanwhile. But not for ever: after
BURST bytes credit does wait, or all that the loop has to do beside an image would wait for that image.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import cast

from ..core.channel import Channel
from ..core.session import ClientSession
from ..core.updates import Update
from ..net.problems import describe

BURST = 1 << 18  # bytes
CLOSE_SECONDS = 2.0  # how long a close waits for the server to take the last bytes


class Pipe(asyncio.BufferedProtocol):
    """The transport of one channel. `heard` takes the session's updates; `came` those that bytes led to, and says
    whether something is to be sent at once.
    """

    def __init__(
        self,
        session: ClientSession,
        channel: Channel,
        loop: asyncio.AbstractEventLoop,
        heard: Callable[[Sequence[Update]], None],
        came: Callable[[Channel, Sequence[Update]], bool],
    ) -> None:
        self._session = session
        self._channel = channel
        self._loop = loop
        self._heard = heard
        self._came = came
        self._transport: asyncio.Transport | None = None
        self._paused = False
        self.bytes_received = self._turn_from = 0
        self._in_turn = False
        self.closed: asyncio.Future[None] = loop.create_future()

    # --- called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._channel.get_buffer(sizehint)

    def buffer_updated(self, nbytes: int) -> None:
        self.bytes_received += nbytes
        if self._came(self._channel, self._session.buffer_updated(self._channel, nbytes, self._loop.time())):
            self._give_credit()

    def _give_credit(self) -> None:
        if not self._in_turn:
            self._in_turn, self._turn_from = True, self.bytes_received
            self._loop.call_soon(self._end_turn)
        if self.bytes_received - self._turn_from < BURST:
            self.flush()

    def _end_turn(self) -> None:
        self._in_turn = False
        self.flush()

    def eof_received(self) -> None:
        self._heard(self._session.receive_eof(self._channel, self._loop.time()))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self.closed.done():
            self.closed.set_result(None)
        reason = "the server closed the connection" if exc is None else describe(exc)
        self._heard(self._session.lose(self._channel, reason, self._loop.time()))

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self.flush()

    # --- for the link

    def flush(self) -> None:
        """Sends what there is to send, as far as the kernel takes it."""
        while self._channel.has_output and not self._paused and self._transport is not None:
            buffers, updates = self._session.data_to_send(self._channel, self._loop.time())
            # One write for all of it: requests are small, and writelines does not hold back in CPython 3.12.0-3.12.8
            # (gh-127655).
            self._transport.write(buffers[0] if len(buffers) == 1 else b"".join(buffers))
            if updates:
                self._heard(updates)

    def hang_up(self) -> None:
        """Sends what is left, then closes; a server that does not take it is cut off after a moment."""
        if self._transport is not None and not self._transport.is_closing():
            self.flush()
            transport = self._transport
            transport.close()
            timer = self._loop.call_later(CLOSE_SECONDS, transport.abort)
            self.closed.add_done_callback(lambda _: timer.cancel())

    def abort(self) -> None:
        """Closes at once."""
        if self._transport is not None:
            self._transport.abort()
