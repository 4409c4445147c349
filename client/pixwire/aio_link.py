"""The asyncio shell of a `ClientSession`: moves bytes, wakes waiters, holds one timer. No decision is taken here.

Bytes come straight into the buffer that the session offers (the final one, for images); what is to be sent is
collected and written once per turn of the loop. No task is started: everything happens in the callbacks of the
transport and in the tasks of the callers.
"""

# ruff: noqa: ASYNC109 - every call takes `timeout`: the session keeps the deadlines, for every kind of shell

import asyncio
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from pixwire_protocol.messages import Welcome

from .calls import Call
from .errors import ConnectionLost
from .events import Event
from .session import ClientSession, Emitted, Ended, Finished, Opened, Update

T = TypeVar("T")

Listener = Callable[[Event], bool]
"""Takes an event of a call. Returns False when nobody listens any more, so the call can be abandoned."""

CLOSE_SECONDS = 2.0  # how long a close waits for the server to take the last bytes


@dataclass(slots=True)
class _Waiter:
    future: asyncio.Future[Any]
    listener: Listener | None


class Link(asyncio.BufferedProtocol):
    """One connection: the session, its transport and who waits for what."""

    def __init__(self, session: ClientSession, loop: asyncio.AbstractEventLoop) -> None:
        self.session = session
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._waiters: dict[Call[Any], _Waiter] = {}
        self._flushing = False
        self._paused = False
        self._timer: asyncio.TimerHandle | None = None
        self.bytes_received = 0
        self.opened: asyncio.Future[Welcome] = loop.create_future()
        self.opened.add_done_callback(retrieve)
        self.closed: asyncio.Future[None] = loop.create_future()

    # --- for the client

    def start(self, call: Call[T], timeout: float | None, listener: Listener | None = None) -> "asyncio.Future[T]":
        """Begins a call. The future gets its outcome; `release` the call when nobody waits for that any more.

        Raises: what `ClientSession.begin` does.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        updates = self.session.begin(call, self._loop.time(), timeout)
        self._waiters[call] = _Waiter(future, listener)
        self._carry_out(updates)
        return future

    def release(self, call: Call[Any]) -> None:
        """Forgets a call; if it is still under way its stream is reset."""
        if self._waiters.pop(call, None) is not None:
            self._carry_out(self.session.abandon(call))

    async def perform(self, call: Call[T], timeout: float | None, listener: Listener | None = None) -> T:
        """Begins a call and waits for its outcome. Cancelling resets its stream and harms nothing else."""
        future = self.start(call, timeout, listener)
        try:
            return await future
        finally:
            self.release(call)

    async def close(self) -> None:
        """Ends the connection; calls under way get ConnectionLost. Waits a moment for the last bytes to leave."""
        self._carry_out(self.session.close())
        if self._transport is None:
            return
        timer = self._loop.call_later(CLOSE_SECONDS, self._transport.abort)
        try:
            await asyncio.shield(self.closed)
        finally:
            timer.cancel()

    def abort(self) -> None:
        """Ends the connection at once."""
        self._carry_out(self.session.lose("aborted"))
        if self._transport is not None:
            self._transport.abort()

    # --- called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._flush()
        self._changed()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.session.get_buffer(sizehint)

    def buffer_updated(self, nbytes: int) -> None:
        self.bytes_received += nbytes
        self._carry_out(self.session.buffer_updated(nbytes, self._loop.time()))

    def eof_received(self) -> None:
        self._carry_out(self.session.receive_eof(self._loop.time()))

    def connection_lost(self, exc: Exception | None) -> None:
        self._carry_out(self.session.lose("the server closed the connection" if exc is None else describe(exc)))
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        if not self.closed.done():
            self.closed.set_result(None)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._changed()

    # --- the session's wishes

    def _carry_out(self, updates: Sequence[Update]) -> None:
        for update in updates:
            match update:
                case Emitted(call, event):
                    self._emit(call, event)
                case Finished(call):
                    self._finish(call)
                case Opened(welcome):
                    if not self.opened.done():
                        self.opened.set_result(welcome)
                case Ended(error):
                    self._end(error)
        self._changed()

    def _emit(self, call: Call[Any], event: Event) -> None:
        waiter = self._waiters.get(call)
        if waiter is None or waiter.listener is None:
            return
        try:
            wanted = waiter.listener(event)
        except Exception as error:  # a mistake in the caller's callback belongs to the caller, not to the connection
            if not waiter.future.done():
                waiter.future.set_exception(error)
            wanted = False
        if not wanted:
            self.release(call)

    def _finish(self, call: Call[Any]) -> None:
        waiter = self._waiters.pop(call, None)
        if waiter is None or waiter.future.done():
            return
        if call.error is not None:
            waiter.future.set_exception(call.error)
        else:
            waiter.future.set_result(call.value)

    def _end(self, error: ConnectionLost) -> None:
        if not self.opened.done():
            self.opened.set_exception(error)
        if self._transport is not None:
            self._flush()
            self._transport.close()

    def _changed(self) -> None:
        """After anything happened to the session: it may have something to send or another deadline."""
        if self.session.has_output and not self._flushing and not self._paused and self._transport is not None:
            self._flushing = True
            self._loop.call_soon(self._flush)
        due = self.session.next_deadline(self._loop.time())
        if self._timer is not None:
            if due is not None and self._timer.when() <= due and not self._timer.cancelled():
                return  # it fires early enough, and then looks again
            self._timer.cancel()
        self._timer = None if due is None else self._loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._carry_out(self.session.handle_timeout(self._loop.time()))

    def _flush(self) -> None:
        self._flushing = False
        while self.session.has_output and not self._paused and self._transport is not None:
            # One write for all of it: requests are small, and writelines does not hold back in CPython 3.12.0-3.12.8
            # (gh-127655).
            self._transport.write(b"".join(self.session.data_to_send()))
        if updates := self.session.take_updates():
            self._carry_out(updates)


def retrieve(future: "asyncio.Future[Any]") -> None:
    """A done callback: an error that nobody came for is nobody's loss, so the loop need not complain about it."""
    if not future.cancelled():
        future.exception()


def describe(error: Exception) -> str:
    """An error of the socket in the words of a person."""
    if not isinstance(error, OSError):
        return repr(error)
    text = error.strerror or str(error) or type(error).__name__
    number = error.errno or next((int(n) for n in re.findall(r"\[Errno (\d+)\]", text)), 0)
    if number > 0:  # asyncio puts its own words, or a list of all addresses it tried, into strerror
        text = os.strerror(number)
    return text[0].lower() + text[1:]
