"""The thread of a client's connections: it alone touches the session, everybody else leaves it notes.

So nothing needs a lock, and Ctrl-C, which Python raises in the main thread and nowhere else, cannot leave the session
half changed. No decision is taken here; that is the session's. A thread besides runs only while a host name is looked
up or the user's token function is asked, both of which may block.
"""

import selectors
import socket
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from math import inf
from mmap import mmap
from queue import SimpleQueue
from time import monotonic as now
from typing import Any

from pixwire_protocol.parser import SCRATCH_SIZE

from ..core.auth import Credentials, check_token
from ..core.calls import Call
from ..core.channel import Channel
from ..core.channel_updates import Disconnected, Emitted, Finished, Opened
from ..core.plan import Plan
from ..core.updates import Dial, HangUp, Over, TokenWanted, Unreached, Update
from ..errors import ConnectionLost, PixwireError
from ..net.problems import describe
from .mailbox import Box, Mailbox
from .pipe import READ, Address, Pipe

CLOSE_SECONDS = 2.0  # how long a close waits for the server to take the last bytes
LONGEST_SLEEP = 3600.0
"""Seconds; a server may want to see us again in three weeks and a half, which is more than the system can wait for."""
Note = Callable[[], None]


class Worker:
    """The connections of one client in one process, from `start` until the session is over and all is closed."""

    def __init__(self, plan: Plan, bell: "SimpleQueue[Mailbox[Any]] | None" = None) -> None:
        """`bell`: rings when `opened` is done, for who waits for several."""
        # Memory that takes no room until it is written to, which for small answers is a page of it.
        self.session = plan.new_session(memoryview(mmap(-1, SCRATCH_SIZE)))
        self.selector: selectors.BaseSelector = selectors.DefaultSelector()
        self.reached = self.was_connected = False
        self.bytes_received = 0
        self.opened: Mailbox[None] = Mailbox(bell=bell)
        """Done when the first connection is ready, or the session is over without one."""
        self._plan = plan
        self._observer = plan.observer()
        self._notes: deque[Note] = deque()
        self._bell, self._button = socket.socketpair()
        self._pipes: dict[Channel, Pipe] = {}
        self._leaving: dict[Pipe, float] = {}
        self._boxes: dict[Call[Any], Box] = {}
        self._is_over = False
        self._is_asleep = False
        """Whether the thread waits, or is about to: who leaves a note then rings. Only the thread itself sets it."""
        self._due = 0.0
        """When it wakes by itself."""
        self._thread = threading.Thread(target=self._run, name=f"pixwire {plan.endpoint.url}", daemon=True)
        for end in (self._bell, self._button):
            end.setblocking(False)
        self.selector.register(self._bell, READ, self._on_bell)

    def start(self) -> None:
        """Begins with the first connection. Raises RuntimeError when the system has no thread to give."""
        try:
            self._thread.start()
        except RuntimeError:
            self._is_over = True
            self._put_away()
            raise

    # --- for all threads

    @property
    def is_current(self) -> bool:
        """Whether it is the worker's own thread that asks."""
        return threading.current_thread() is self._thread

    def begin(self, call: Call[Any], box: Box, timeout: float | None, since: float) -> None:
        """The session takes on a call; what becomes of it goes into the box."""
        self._post(lambda: self._begin(call, box, timeout, since))

    def release(self, call: Call[Any]) -> None:
        """Nobody waits for the call any more: if it is still under way its stream is reset."""
        self._post(lambda: self._release(call))

    def recall(self) -> None:
        """Another server is there for calls that wait here for a connection."""
        self._post(lambda: self._heard(self.session.recall(now())))

    def close(self) -> None:
        """Ends everything; calls under way get ConnectionLost."""
        self._post(lambda: self._heard(self.session.close(now())))

    def join(self) -> None:
        """Waits until everything is closed: a moment after `close`."""
        if self._thread.is_alive() and not self.is_current:  # a callback may close the client
            self._thread.join()

    def abort(self) -> None:
        """Ends everything at once."""
        self._post(self._abort)

    def forget(self) -> None:
        """In a process that was forked: puts away what belongs to the other one, without touching its connections."""
        for pipe in (*self._pipes.values(), *self._leaving):
            pipe.forget()
        self._is_over = True
        self._put_away()
        self._fail_all("the process was forked, and the connection belongs to the other one")
        self._leave_nobody_waiting()

    def _post(self, note: Note) -> None:
        self._notes.append(note)  # before it is asked who sleeps: the thread looks for notes after it said that it does
        if self._is_asleep:  # no flag that says that somebody rang already: Ctrl-C might come between flag and bell
            with suppress(OSError):  # full: it will wake; closed: nobody is there any more
                self._button.send(b"!")
        if self._is_over:
            self._leave_nobody_waiting()

    # --- the thread

    def _run(self) -> None:
        try:
            self._heard(self.session.start(now()))
            while not self._is_finished():
                self._turn()
        except BaseException as error:
            self._break(error)
            raise
        finally:
            self._is_over = True
            self._put_away()
            self._leave_nobody_waiting()

    def _turn(self) -> None:
        time = now()
        if self._due <= time or self.session.soonest < self._due or self._leaving:
            self._due = min(self._deadlines(time), default=inf)
        self._is_asleep = True
        if self._notes:
            ready = self.selector.select(0)
        else:
            ready = self.selector.select(None if self._due == inf else min(max(0.0, self._due - time), LONGEST_SLEEP))
        self._is_asleep = False
        for key, mask in ready:
            key.data(mask)
        while self._notes:
            self._notes.popleft()()
        if self._due <= now():
            self._heard(self.session.handle_timeout(now()))
            for pipe in [pipe for pipe, end in self._leaving.items() if end <= now()]:
                pipe.abort()
        for pipe in tuple(self._pipes.values()):
            pipe.flush()
        if self._leaving:
            for pipe in tuple(self._leaving):
                pipe.flush()
            self._leaving = {pipe: end for pipe, end in self._leaving.items() if not pipe.closed}

    def _deadlines(self, time: float) -> Iterator[float]:
        due = self.session.next_deadline(time)
        if due is not None:
            yield due
        yield from self._leaving.values()

    def _on_bell(self, mask: int) -> None:
        self._bell.recv(4096)

    def _is_finished(self) -> bool:
        return self.session.over is not None and not self._pipes and not self._leaving and not self._notes

    def _put_away(self) -> None:
        for pipe in (*self._pipes.values(), *self._leaving):
            pipe.abort()
        self.selector.close()
        self._bell.close()
        self._button.close()

    def _break(self, error: BaseException) -> None:
        """A defect of this library: whoever waits must hear of it, because nothing comes after it."""
        self._fail_all(f"the thread of the connections failed: {error!r}")

    def _fail_all(self, reason: str) -> None:
        for call, box in self._boxes.items():
            box.fail(ConnectionLost(reason, processed="maybe", job=call.job, status=call.status))
        self._boxes.clear()
        self.opened.fail(ConnectionLost(reason, processed="no"))
        self.session.over = self.session.over or ConnectionLost(reason, processed="no")

    def _leave_nobody_waiting(self) -> None:
        """After the end: notes that came too late are calls that fail at once."""
        while True:
            try:
                note = self._notes.popleft()
            except IndexError:
                return
            note()

    # --- notes

    def _begin(self, call: Call[Any], box: Box, timeout: float | None, since: float) -> None:
        self._boxes[call] = box  # first of all: whatever goes wrong, who waits hears of it
        try:
            updates = self.session.begin(call, now(), timeout, since)
        except (PixwireError, TypeError) as error:
            del self._boxes[call]
            box.fail(error)
            return
        if self._observer.wanted:
            self._observer.begun(call, now())
        self._heard(updates)

    def _release(self, call: Call[Any]) -> None:
        if self._boxes.pop(call, None) is not None:
            self._observer.ended(call, now(), given_up=True)
            self._heard(self.session.abandon(call, now()))

    def _abort(self) -> None:
        pipes = tuple(self._pipes.values())
        self._heard(self.session.close(now()))
        for pipe in pipes:
            pipe.abort()

    # --- the session's wishes

    def heard(self, updates: Sequence[Update]) -> None:
        """Carries out what the session wants; for the pipes."""
        self._heard(updates)

    def _heard(self, updates: Sequence[Update]) -> None:
        for update in updates:
            if type(update) is Finished:
                self._finish(update.call)
            elif type(update) is Emitted:
                if (box := self._boxes.get(update.call)) is not None:
                    box.push(update.event)
            else:
                self._obey(update)

    def _obey(self, update: Update) -> None:
        """An update about connections."""
        match update:
            case Opened():
                self._observer.connection(None)
                was_told = self.opened.done
                self.opened.succeed(None)
                if was_told or self._plan.policy.persistent:
                    self._tell(None)
            case Disconnected(reason):
                self._observer.connection(reason)
                self._tell(reason)
            case Dial(channel):
                self._dial(channel)
            case TokenWanted(channel):
                self._want_token(channel)
            case HangUp(channel):
                self._hang_up(channel)
            case Over(error):
                self.opened.fail(error)
            case Unreached(reason):
                self.opened.fail(ConnectionLost(reason, processed="no"))

    def _finish(self, call: Call[Any]) -> None:
        box = self._boxes.pop(call, None)
        if self._observer.watched:
            self._observer.ended(call, now())
        if box is None:
            return
        if call.error is not None:
            box.fail(call.error)
        else:
            box.succeed(call.value)

    def _tell(self, reason: str | None) -> None:
        if self._plan.on_connection is None:
            return
        try:
            self._plan.on_connection(reason)
        except Exception as error:  # a mistake of the user's, reported as one in any thread is
            threading.excepthook(
                threading.ExceptHookArgs((type(error), error, error.__traceback__, threading.current_thread()))
            )

    def _hang_up(self, channel: Channel) -> None:
        pipe = self._pipes.pop(channel, None)
        if pipe is not None:
            pipe.hang_up()
            if not pipe.closed:
                self._leaving[pipe] = now() + CLOSE_SECONDS

    # --- what may block

    def _dial(self, channel: Channel) -> None:
        endpoint = self._plan.endpoint
        pipe = self._pipes[channel] = Pipe(self, channel, endpoint, self._plan.context)
        if endpoint.path is not None:
            pipe.connect([(socket.AF_UNIX, socket.SOCK_STREAM, 0, endpoint.path)])
            return
        try:
            pipe.connect(_look_up(endpoint.host, endpoint.port, socket.AI_NUMERICHOST))
        except (OSError, ValueError):  # ValueError: no name of a host looks like that, which `_resolve` finds, too
            self._aside(channel, lambda: self._resolve(channel, pipe))

    def _resolve(self, channel: Channel, pipe: Pipe) -> None:
        try:
            found = _look_up(self._plan.endpoint.host, self._plan.endpoint.port)
        except (OSError, ValueError) as error:
            reason = describe(error, self._plan.endpoint)
            self._post(lambda: self._heard(self.session.lose(channel, reason, now())))
        else:
            self._post(lambda: pipe.connect(found))

    def _want_token(self, channel: Channel) -> None:
        credentials = self._plan.credentials
        if credentials is None:
            self._authenticate(channel, "")
        elif not credentials.renewable:
            self._authenticate(channel, credentials.ask())
        else:
            self._aside(channel, lambda: self._ask_for_token(channel, credentials))

    def _ask_for_token(self, channel: Channel, credentials: Credentials) -> None:
        try:
            given: Any = credentials.ask()
            if isinstance(given, Coroutine):
                given.close()  # nobody will await it
        except Exception as error:  # whatever the user's function raises: it is why there is no connection
            given = error
        self._post(lambda: self._authenticate(channel, given))

    def _authenticate(self, channel: Channel, given: Any) -> None:
        try:
            if isinstance(given, Awaitable):
                raise TypeError("it is asynchronous, which only pixwire.connect can use; Client needs a plain one")
            if isinstance(given, Exception):
                raise given
            token = check_token(given)
        except Exception as error:
            reason = str(error) if isinstance(error, PixwireError) else f"the token function failed: {error!r}"
            self._heard(self.session.lose(channel, reason, now()))
        else:
            self._heard(self.session.authenticate(channel, token, now()))

    def _aside(self, channel: Channel, work: Note) -> None:
        """Does what may block in a thread of its own, which posts what came of it."""
        try:
            threading.Thread(target=work, name="pixwire aside", daemon=True).start()
        except RuntimeError as error:  # no more threads, or the interpreter is about to end
            self._heard(self.session.lose(channel, str(error), now()))


def _look_up(host: str, port: int, flags: int = 0) -> list[Address]:
    """The addresses of a host. Blocks, unless only numbers are looked at."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return [(family, kind, protocol, address) for family, kind, protocol, _, address in found]
