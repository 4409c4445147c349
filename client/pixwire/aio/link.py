"""The asyncio shell of a `ClientSession`: makes connections, wakes waiters, holds one timer. No decision is taken here.

Everything happens in the callbacks of the transports and in the tasks of the callers; a task of its own runs only
while a connection is made or a token is awaited.
"""

# ruff: noqa: ASYNC109 - every call takes `timeout`: the session keeps the deadlines, for every kind of shell

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from pixwire_protocol.messages import Welcome

from ..core.auth import check_token
from ..core.calls import Call
from ..core.channel import Channel
from ..core.channel_updates import Disconnected, Emitted, Finished, Opened
from ..core.plan import Plan
from ..core.session import ClientSession
from ..core.updates import Dial, HangUp, Over, TokenWanted, Unreached, Update
from ..errors import ConnectError, ConnectionLost, PixwireError
from ..events import Heard
from .dial import DialError, dial
from .pipe import Pipe

T = TypeVar("T")

Listener = Callable[[Heard], bool]
"""Takes an event of a call. Returns False when nobody listens any more, so the call can be abandoned."""


class Link:
    """A client's way to its server: the session, its transports, and who waits for what."""

    def __init__(
        self,
        session: ClientSession,
        plan: Plan,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.session = session
        self._plan = plan
        self._loop = loop
        self._observer = plan.observer()
        self._pipes: dict[Channel, Pipe] = {}
        self._tasks: dict[asyncio.Task[None], Channel] = {}
        self._leaving: set[asyncio.Future[None]] = set()
        self._waiters: dict[Call[Any], asyncio.Future[Any]] = {}
        self._listeners: dict[Call[Any], Listener] = {}
        self._settling = False
        self._timer: asyncio.Handle | None = None
        self._timer_due = 0.0  # of our own: for a time that has come, uvloop gives a handle that does not know it
        self._received = 0
        self.reached = self.was_connected = False
        self.opened: asyncio.Future[Welcome] = loop.create_future()
        self.opened.add_done_callback(retrieve)

    # --- for the client

    def open(self) -> None:
        """Makes the first connection; `opened` tells how that went."""
        self._carry_out(self.session.start(self._loop.time()))

    async def ready(self) -> None:
        """Waits for the first connection. Raises ConnectError, AccessDenied."""
        try:
            await self.opened
        except ConnectionLost as error:
            raise self.problem(error) from error

    def problem(self, error: ConnectionLost) -> ConnectError:
        """Why the first connection did not come about."""
        hint = self._plan.hint(connected=self.was_connected, received=self.bytes_received)
        return ConnectError(self.url, error.reason + hint, reached=self.reached)

    def start(
        self, call: Call[T], timeout: float | None, listener: Listener | None = None, since: float | None = None
    ) -> "asyncio.Future[T]":
        """Begins a call. The future gets its outcome; `release` the call when nobody waits for that any more.

        Raises: what `ClientSession.begin` does.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        now = self._loop.time()
        updates = self.session.begin(call, now, timeout, since)
        if self._observer.wanted:
            self._observer.begun(call, now)
        self._waiters[call] = future
        if listener is not None:
            self._listeners[call] = listener
        if updates:
            self._carry_out(updates)
        elif not self._settling:
            self._settling = True
            self._loop.call_soon(self._settle)
        return future

    def release(self, call: Call[Any]) -> None:
        """Forgets a call; if it is still under way its stream is reset."""
        if self._waiters.pop(call, None) is not None:
            self._listeners.pop(call, None)
            self._observer.ended(call, self._loop.time(), given_up=True)
            self._carry_out(self.session.abandon(call, self._loop.time()))

    async def perform(
        self, call: Call[T], timeout: float | None, listener: Listener | None = None, since: float | None = None
    ) -> T:
        """Begins a call and waits for its outcome; its time counts from `since`, if not from now. Cancelling resets its
        stream and harms nothing else.
        """
        future = self.start(call, timeout, listener, since)
        try:
            return await future
        finally:
            if call in self._waiters:
                self.release(call)

    def recall(self) -> None:
        """Another server is there for calls that wait here for a connection."""
        self._carry_out(self.session.recall(self._loop.time()))

    async def close(self) -> None:
        """Ends everything; calls under way get ConnectionLost. Waits a moment for the last bytes to leave."""
        self.leave()
        await self.ended()

    async def ended(self) -> None:
        """After `close` or `abort`: waits until the connections are closed and no task is left."""
        if last := [*self._leaving, *self._tasks]:
            await asyncio.wait(last)

    def abort(self) -> None:
        """Ends everything at once."""
        pipes = tuple(self._pipes.values())
        self.leave()
        for pipe in pipes:
            pipe.abort()

    def abandoned(self) -> bool:
        """Nobody will use this any more: it ends, if somebody forgot to end it. Returns whether that was so.

        May be called in any thread: it is the garbage collector that does.
        """
        if self.session.over is not None:
            return False
        with contextlib.suppress(RuntimeError):  # a loop that was closed has taken everything with it
            self._loop.call_soon_threadsafe(self.abort)
        return True

    @property
    def url(self) -> str:
        """The server's."""
        return self._plan.endpoint.url

    @property
    def homes(self) -> tuple[str | None, ...]:
        """The servers behind this: one, whichever it is."""
        return (None,)

    @property
    def connected(self) -> bool:
        """Whether a call would be sent at once."""
        return self.session.connected

    @property
    def closed(self) -> bool:
        """Whether it is over for good."""
        return self.session.over is not None

    @property
    def bytes_received(self) -> int:
        """Over all connections."""
        return self._received + sum(pipe.bytes_received for pipe in self._pipes.values())

    def leave(self) -> None:
        """Ends everything, without waiting for the last bytes."""
        self._carry_out(self.session.close(self._loop.time()))
        for task in self._tasks:
            task.cancel()

    # --- the session's wishes

    def _carry_out(self, updates: Sequence[Update]) -> None:
        for update in updates:
            if type(update) is Finished:
                self._finish(update.call)
            elif type(update) is Emitted:
                self._emit(update.call, update.event)
            else:
                self._obey(update)
        if not self._settling:
            self._settling = True
            self._loop.call_soon(self._settle)

    def _came(self, channel: Channel, updates: Sequence[Update]) -> bool:
        """Bytes came there, which led to this: mostly to nothing, when they are a part of an image. Whether something
        is to be sent there: credit, mostly, and that cannot wait, for one turn of the loop may read whole images.
        """
        if updates or channel.liveness.alarm < self._timer_due:
            self._carry_out(updates)
        return channel.has_output

    def _settle(self) -> None:
        """At the end of a turn of the loop in which anything happened: all that is to be sent leaves at once, and the
        timer is set once.
        """
        self._settling = False
        for pipe in tuple(self._pipes.values()):
            pipe.flush()
        if self._timer is None or self.session.soonest < self._timer_due:
            self._set_timer()

    def _obey(self, update: Update) -> None:
        """An update about connections."""
        match update:
            case Opened(welcome):
                self._on_opened(welcome)
            case Disconnected(reason):
                self._observer.connection(reason)
                self._tell(reason)
            case Dial(channel):
                self._run(channel, self._dial(channel))
            case TokenWanted(channel):
                self._run(channel, self._authenticate(channel))
            case HangUp(channel):
                self._hang_up(channel)
            case Over(error):
                self._not_opened(error)
                self._set_timer()  # to none: it would hold all of this for as long as it had to run
            case Unreached(reason):
                self._not_opened(ConnectionLost(reason, processed="no"))

    def _on_opened(self, welcome: Welcome) -> None:
        self._observer.connection(None)
        was_told = self.opened.done()
        if not was_told:
            self.opened.set_result(welcome)
        if was_told or self._plan.policy.persistent:
            self._tell(None)

    def _not_opened(self, error: PixwireError) -> None:
        if not self.opened.done():
            self.opened.set_exception(error)

    def _tell(self, reason: str | None) -> None:
        if self._plan.on_connection is not None:
            self._loop.call_soon(self._plan.on_connection, reason)  # what it raises is the loop's to report, not ours

    def _emit(self, call: Call[Any], event: Heard) -> None:
        listener = self._listeners.get(call)
        if listener is None:
            return
        try:
            wanted = listener(event)
        except (KeyboardInterrupt, SystemExit):  # these two end the loop
            raise
        except BaseException as error:  # a mistake in the caller's callback is the caller's, not the connection's
            if not self._waiters[call].done():
                self._waiters[call].set_exception(_raisable(error))
            wanted = False
        if not wanted:
            self.release(call)

    def _finish(self, call: Call[Any]) -> None:
        if self._observer.watched:
            self._observer.ended(call, self._loop.time())
        if self._listeners:
            self._listeners.pop(call, None)
        future = self._waiters.pop(call, None)
        if future is None or future.done():
            return
        if call.error is None:
            future.set_result(call.value)
        else:
            future.set_exception(call.error)

    def _hang_up(self, channel: Channel) -> None:
        for task, mine in self._tasks.items():
            if mine is channel:
                task.cancel()
        pipe = self._pipes.pop(channel, None)
        if pipe is not None:
            self._received += pipe.bytes_received
            self._leaving.add(pipe.closed)
            pipe.closed.add_done_callback(self._leaving.discard)
            pipe.hang_up()

    def _set_timer(self) -> None:
        """After anything happened to the session: it may have another deadline."""
        due = self.session.next_deadline(self._loop.time())
        if self._timer is not None:
            if due is not None and self._timer_due <= due and not self._timer.cancelled():
                return  # it fires early enough, and then looks again
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._timer, self._timer_due = self._loop.call_at(due, self._on_timer), due

    def _on_timer(self) -> None:
        self._timer = None
        self._carry_out(self.session.handle_timeout(self._loop.time()))

    # --- what takes a while

    def _run(self, channel: Channel, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks[task] = channel
        task.add_done_callback(lambda done: self._tasks.pop(done, None))

    async def _dial(self, channel: Channel) -> None:
        try:
            pipe = await dial(
                self._plan.endpoint,
                self._plan.context,
                lambda: Pipe(self.session, channel, self._loop, self._carry_out, self._came),
            )
        except DialError as error:
            self.reached = self.reached or error.reached
            self._carry_out(self.session.lose(channel, error.reason, self._loop.time(), final=error.final))
            return
        self.reached = True
        if channel.lost is None:
            self._pipes[channel], self.was_connected = pipe, True
            pipe.flush()
        else:
            pipe.abort()

    async def _authenticate(self, channel: Channel) -> None:
        try:
            given = self._plan.credentials.ask() if self._plan.credentials is not None else ""
            token = check_token(await given if isinstance(given, Awaitable) else given)
        except Exception as error:  # whatever the user's function raises: it is why there is no connection
            reason = str(error) if isinstance(error, PixwireError) else f"the token function failed: {error!r}"
            self._carry_out(self.session.lose(channel, reason, self._loop.time()))
        else:
            self._carry_out(self.session.authenticate(channel, token, self._loop.time()))


def _raisable(error: BaseException) -> BaseException:
    """What a future can hold: a StopIteration would end the coroutine that waits for it, so it is as in a generator."""
    if not isinstance(error, StopIteration):
        return error
    raised = RuntimeError("a callback raised StopIteration")
    raised.__cause__ = error
    return raised


def retrieve(future: "asyncio.Future[Any]") -> None:
    """A done callback: an error that nobody came for is nobody's loss, so the loop need not complain about it."""
    if not future.cancelled():
        future.exception()
