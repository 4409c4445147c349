"""The answering side of one connection: what each open stream still waits for or holds, and how it ends.

A stream is open from its request until its last frame is queued, the client resets it, or the connection goes. Whatever
it holds (a watch, an open image) is closed exactly then. Answers for streams that are gone are dropped here, so nobody
else has to ask.
"""

import logging
import secrets
from asyncio import Future
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeVar

from pixwire_protocol.connection import Connection
from pixwire_protocol.errors import LocalProtocolError, MessageTooLargeError
from pixwire_protocol.messages import Message
from pixwire_protocol.registry import ErrorCode
from pixwire_server.doors.tally import LOST, Tally
from pixwire_server.jobs import Answer, RequestError

log = logging.getLogger(__name__)

Result = TypeVar("Result")


class Resource(Protocol):
    """Something a stream holds until it ends."""

    def close(self) -> None:
        """Give it back. Called once."""
        ...


class Sender(Resource, Protocol):
    """A resource that feeds DATA into its stream bit by bit."""

    def advance(self) -> None:
        """The transport holds none of our bytes now: release what is out, queue what comes next."""
        ...


class Replies:
    """Sends answers on streams of one connection and owns what these streams hold.

    `wake` is called after every change made outside a received batch: the shell then flushes once for all of them.
    `tally` counts how requests end.
    """

    def __init__(self, connection: Connection, wake: Callable[[], None], tally: Tally) -> None:
        self.connection = connection
        self._wake = wake
        self._tally = tally
        self._open: dict[int, type] = {}
        """The open streams, with the class of each one's request."""
        self._held: dict[int, Resource] = {}
        self._senders: dict[int, Sender] = {}
        self._waiting: set[int] = set()
        self._effective: set[int] = set()
        self._dismissal: tuple[RequestError, RequestError] | None = None

    # ------------------------------------------------------------------ life of a stream

    def begin(self, stream: int, kind: type) -> None:
        """A request of this class opened this stream."""
        self._open[stream] = kind

    def is_open(self, stream: int) -> bool:
        return stream in self._open

    def held(self, stream: int) -> Resource | None:
        """What the stream owns."""
        return self._held.get(stream)

    def hold(self, stream: int, resource: Resource) -> None:
        """Let the stream own `resource`, in place of what it held."""
        if stream not in self._open:
            resource.close()
            return
        before = self._held.get(stream)
        self._held[stream] = resource
        if before is not None:
            self._close(before)

    def hold_sender(self, stream: int, sender: Sender) -> None:
        """The same for a resource that wants `advance`."""
        if stream in self._open:
            self._senders[stream] = sender
        self.hold(stream, sender)

    def drop(self, stream: int, why: str | None = None) -> None:
        """The stream is over: close what it holds. Harmless when it is over already. `why`: what the tally says of a
        request that is not answered to its end.
        """
        kind = self._open.pop(stream, None)
        if kind is None:
            return
        if why is None:
            self._tally.answered[kind] += 1
        else:
            self._tally.unanswered[kind, why] += 1
        # Most streams hold nothing and are answered at once.
        if self._waiting:
            self._waiting.discard(stream)
        if self._effective:
            self._effective.discard(stream)
        if self._held:
            self._senders.pop(stream, None)
            held = self._held.pop(stream, None)
            if held is not None:
                self._close(held)

    def drop_all(self) -> None:
        """The connection is over: nothing that waits will be sent."""
        for stream in list(self._senders):
            self.connection.reset(stream)  # lets go of the image's bytes
        for stream in list(self._open):
            self.drop(stream, LOST)

    def dismiss(self, following: RequestError, uploading: RequestError) -> None:
        """End what would go on for ever, now and later: streams that follow a job, and such that wait for the client's
        bytes.

        Those that wait for their first answer or send an image go on.
        """
        self._dismissal = following, uploading
        self.settle()

    def settle(self) -> None:
        """Dismiss the streams that have come so far since `dismiss`, if that was called."""
        if self._dismissal is not None:
            following, uploading = self._dismissal
            for stream in self._open.keys() - self._waiting - self._senders.keys():
                self.fail(stream, following if stream in self._effective else uploading)

    def took_effect(self, stream: int) -> None:
        """The request has done something: whatever fails from now on, its error says `processed: "yes"`."""
        if stream in self._open:
            self._effective.add(stream)

    @property
    def awaited(self) -> bool:
        """Whether some request still waits for its first answer."""
        return bool(self._waiting)

    @property
    def sending(self) -> bool:
        """Whether some image is on its way out."""
        return bool(self._senders)

    def advance(self) -> None:
        """The transport took everything: let senders go on."""
        for stream, sender in list(self._senders.items()):
            self.guard(stream, sender.advance)

    def consumed(self, stream: int, count: int) -> None:
        """So many bytes of the client's DATA are done with: it may send more. Harmless on a stream that is over."""
        if count:
            self.connection.consumed(stream, count)
            self._wake()

    # ------------------------------------------------------------------ answers

    def send(self, stream: int, message: Message, *, end: bool = False) -> None:
        """Queue a message; with `end` the stream is over. Nothing happens on a stream that is gone."""
        if stream not in self._open:
            return
        self.connection.send(stream, message, end)
        if end:
            self.drop(stream)
        else:
            self._effective.add(stream)
        self._wake()

    def answer(self, stream: int, body: bytes) -> None:
        """Queue a RESULT whose map is packed; the stream is over. Nothing happens on a stream that is gone."""
        kind = self._open.get(stream)
        if kind is None:
            return
        self.connection.answer(stream, body)
        if self._waiting or self._effective or self._held:
            self.drop(stream)
        else:  # nothing holds or waits for anything on any stream: the shortest way to the same
            del self._open[stream]
            self._tally.answered[kind] += 1
        self._wake()

    def fail(self, stream: int, error: RequestError, processed: str | None = None) -> None:
        """End the stream with an ERROR frame; `processed` is the code's own unless given (SPEC 10)."""
        if stream not in self._open:
            return
        if stream in self._effective:
            processed = "yes"
        elif processed is None and error.code is ErrorCode.DEADLINE_EXCEEDED:
            processed = "no"  # its own "yes" is that of a job which ended so; a request is refused before there is one
        send = partial(self.connection.send_error, stream, error.code, error.message, processed=processed)
        try:
            send(error.details or None, error.retry_after_ms)
        except LocalProtocolError:  # details that no frame can carry
            send(None, error.retry_after_ms)
        self.drop(stream, error.code.name)
        self._wake()

    # ------------------------------------------------------------------ running things for a stream

    def guard(self, stream: int, action: Callable[..., None], *arguments: Any) -> None:
        """Run `action`; a refusal becomes its ERROR frame, a defect an INTERNAL one that names an incident only."""
        try:
            action(*arguments)
        except Exception as error:
            self.give_up(stream, error)

    def give_up(self, stream: int, error: Exception) -> None:
        """Something was raised for this stream: end it, see `guard`. Called where it is handled."""
        if isinstance(error, RequestError):
            self.fail(stream, error)
        elif isinstance(error, MessageTooLargeError):  # this client takes smaller frames than its answer needs
            self.fail(stream, RequestError(ErrorCode.UNSUPPORTED, f"the answer cannot be sent: {error}"), "yes")
        else:
            incident = secrets.token_hex(4)
            log.exception("incident %s on stream %d", incident, stream)
            self.fail(stream, RequestError(ErrorCode.INTERNAL, f"internal error, incident {incident}"))

    def when_done(self, stream: int, future: "Future[Result]", action: Callable[[Result], None]) -> None:
        """Call `action` with the result: at once if it is there, else when it comes, if the stream still lives."""
        if future.done():
            self.guard(stream, self._deliver, stream, action, future)
        else:
            self._waiting.add(stream)
            late = partial(self._late, stream, action)
            if isinstance(future, Answer):
                future.hear(late)
            else:
                future.add_done_callback(late)

    def _late(self, stream: int, action: Callable[[Result], None], future: "Future[Result]") -> None:
        self._waiting.discard(stream)
        self.guard(stream, self._deliver, stream, action, future)
        self._wake()

    def _deliver(self, stream: int, action: Callable[[Result], None], future: "Future[Result]") -> None:
        if future.cancelled():  # the journal was closed under it
            self.fail(stream, RequestError(ErrorCode.DRAINING, "the server is stopping; ask again later"), "maybe")
        elif stream in self._open:
            action(future.result())
        elif future.exception() is None and (close := getattr(future.result(), "close", None)) is not None:
            close()

    @staticmethod
    def _close(resource: Resource) -> None:
        try:
            resource.close()
        except Exception:
            log.exception("a resource of a finished stream could not be closed")
