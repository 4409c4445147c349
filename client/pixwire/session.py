"""The decisions of a client on one connection, without a socket and without a clock.

A shell (`aio`, later a synchronous twin) owns the socket and the waiting; it feeds bytes and the time in and carries
out what comes back. All times are seconds of one monotonic clock that the shell chooses.

    shell -> session    begin, abandon, receive / get_buffer + buffer_updated, receive_eof, handle_timeout, lose, close
    session -> shell    updates (in order; each call is finished exactly once), data_to_send, next_deadline

Invariants: a call that was begun is finished or abandoned, never forgotten, whatever happens to the connection;
stream ids are never reused, so a frame that comes late for an abandoned call finds nobody and is dropped; more calls
than the server allows at once wait here, oldest first. SPEC 7, 12.
"""

import heapq
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from pixwire_protocol import messages
from pixwire_protocol.connection import Connection
from pixwire_protocol.errors import MessageTooLargeError, error_name
from pixwire_protocol.incoming import Closed, Failed, Incoming, Ready, Received
from pixwire_protocol.keepalive import Keepalive
from pixwire_protocol.limits import Limits
from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.settings import Settings
from pixwire_protocol.states import Role

from .calls import MAX_IMAGE_BYTES, Call, Phase
from .errors import ConnectionLost, PixwireError, ProtocolViolation, RequestTimeout, request_failed
from .events import Event

AnyCall = Call[Any]
Buffer = bytes | bytearray | memoryview

ORDERLY = (ErrorCode.NO_ERROR, ErrorCode.DRAINING)  # a GOAWAY with any other code is the end
MOST_PINGS = 7
"""Pings of the user in ten times `min_ping_ms`; three more are left for the keepalive (SPEC 12)."""
MOST_REFUSALS = 5
"""How often a call is sent again because the server saw the end of other streams later than we did (SPEC 7.3)."""
KEEPALIVE_PAYLOAD = bytes(8)  # the answer to it interests nobody


@dataclass(frozen=True, slots=True)
class Opened:
    """The handshake is done; calls may begin."""

    welcome: messages.Welcome


@dataclass(frozen=True, slots=True)
class Emitted:
    """A call that watches a job heard something."""

    call: AnyCall
    event: Event


@dataclass(frozen=True, slots=True)
class Finished:
    """The outcome of a call is known: `call.outcome`."""

    call: AnyCall


@dataclass(frozen=True, slots=True)
class Ended:
    """The connection is over. Every call was finished before this; send what is left to send, then close the socket."""

    error: ConnectionLost


Update = Opened | Emitted | Finished | Ended


class ClientSession:
    """One connection of a client: its requests, their deadlines, its liveness.

    Args:
        settings: what HELLO says (agent, limits, features).
        now: the time of the shell's clock.
        handshake_timeout: seconds until WELCOME must be here.
        max_image_bytes: the largest image to make room for when the server announces it.
    """

    def __init__(
        self, settings: Settings, now: float, handshake_timeout: float, max_image_bytes: int = MAX_IMAGE_BYTES
    ) -> None:
        self._connection = Connection(Role.CLIENT, settings)
        self._handshake_timeout = handshake_timeout
        self._max_image_bytes = max_image_bytes
        self._keepalive = Keepalive(Limits(), now, round(handshake_timeout * 1000))
        self._calls: dict[int, AnyCall] = {}
        self._waiting: deque[AnyCall] = deque()
        self._unsent: list[AnyCall] = []
        self._pings: dict[bytes, tuple[AnyCall, float]] = {}
        self._ping_count = int.from_bytes(KEEPALIVE_PAYLOAD)
        self._deadlines: list[tuple[float, int, AnyCall]] = []
        self._begun = 0
        self._goaway: messages.GoAway | None = None
        self._updates: list[Update] = []
        self._max_streams = 0
        self._min_ping = 0.0
        self._ping_times: deque[float] = deque()
        self.welcome: messages.Welcome | None = None
        self.ended: ConnectionLost | None = None

    # --- requests

    def begin(self, call: AnyCall, now: float, timeout: float | None) -> Sequence[Update]:
        """Starts a call; `timeout` seconds from now (None: no limit) it is finished with RequestTimeout.

        Raises:
            ConnectionLost: the connection is over (or not there yet), so nothing was sent.
            Draining: the server said that it stops; nothing was sent.
            RateLimited: a ping too many (SPEC 12); nothing was sent.
        """
        if self.ended is not None:
            raise ConnectionLost(self.ended.reason, processed="no", job=call.job)
        if self.welcome is None:
            raise ConnectionLost("the handshake is not done", processed="no", job=call.job)
        if self._goaway is not None:
            raise self._refused(self._goaway)
        call.max_image_bytes = self._max_image_bytes
        if call.request is None:
            self._ping(call, now)
        else:
            self._waiting.append(call)
            self._open_waiting()
        if timeout is not None:
            self._watch_deadline(call, now, timeout)
        return self.take_updates()

    def abandon(self, call: AnyCall) -> Sequence[Update]:
        """Nobody waits for the call any more: its stream is reset and late frames are dropped. The job goes on."""
        if not call.done:
            call.phase, call.filling = Phase.DONE, None
            self._release(call, reset=True)
        return self.take_updates()

    def _watch_deadline(self, call: AnyCall, now: float, timeout: float) -> None:
        call.timeout, call.deadline = timeout, now + timeout
        if len(self._deadlines) > 2 * (len(self._calls) + len(self._waiting) + len(self._pings)) + 100:
            self._deadlines = [entry for entry in self._deadlines if not entry[2].done]  # they would pile up till then
            heapq.heapify(self._deadlines)
        self._begun += 1
        heapq.heappush(self._deadlines, (call.deadline, self._begun, call))

    def _ping(self, call: AnyCall, now: float) -> None:
        self._count_ping(now, MOST_PINGS)
        self._ping_count += 1
        payload = self._ping_count.to_bytes(8)
        self._pings[payload] = call, now
        self._unsent.append(call)
        self._connection.ping(payload)

    def _count_ping(self, now: float, most: int | None = None) -> None:
        """Notes a PING. Raises RateLimited when `most` were sent in the time in which the server takes ten."""
        span = 10 * self._min_ping
        while self._ping_times and self._ping_times[0] <= now - span:
            self._ping_times.popleft()
        if most is not None and len(self._ping_times) >= most:
            rest = math.ceil((self._ping_times[0] + span - now) * 1000)
            text = f"the server takes few pings, {most} in {span:g} s were sent"
            raise request_failed(ErrorCode.RATE_LIMITED, "RATE_LIMITED", text, retry="after", retry_after_ms=rest)
        self._ping_times.append(now)

    def _open_waiting(self) -> None:
        if self.ended is not None or self._goaway is not None:
            return
        while self._waiting and self._connection.open_streams < self._max_streams:
            call = self._waiting.popleft()
            try:
                call.stream = self._connection.open(cast("messages.Request", call.request))
            except MessageTooLargeError as error:  # the server takes less than the parameters need
                call.fail(request_failed(ErrorCode.FRAME_TOO_LARGE, "FRAME_TOO_LARGE", str(error)))
                self._updates.append(Finished(call))
            else:
                self._calls[call.stream] = call
                self._unsent.append(call)

    def _release(self, call: AnyCall, *, reset: bool) -> None:
        """Takes a call out of the tables; with `reset`, its stream is still open at the server."""
        if call.stream is not None and self._calls.pop(call.stream, None) is not None:
            if reset and self.ended is None:
                broken = isinstance(call.error, ProtocolViolation)
                self._connection.reset(call.stream, ErrorCode.PROTOCOL_ERROR if broken else ErrorCode.NO_ERROR)
        elif call in self._waiting:
            self._waiting.remove(call)
        else:
            self._pings = {payload: ping for payload, ping in self._pings.items() if ping[0] is not call}
        self._open_waiting()

    def _finish(self, call: AnyCall, *, reset: bool = False) -> None:
        self._release(call, reset=reset)
        self._updates.append(Finished(call))

    # --- bytes in

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes of the socket go."""
        return self._connection.get_buffer(sizehint)

    def buffer_updated(self, count: int, now: float) -> Sequence[Update]:
        """`count` bytes were put into the buffer."""
        return self._take(self._connection.buffer_updated(count), now)

    def receive(self, data: bytes | memoryview, now: float) -> Sequence[Update]:
        """Bytes of the socket, for a shell that does not use `get_buffer`."""
        return self._take(self._connection.receive(data), now)

    def receive_eof(self, now: float) -> Sequence[Update]:
        """The server will send no more."""
        return self._take(self._connection.receive_eof(), now)

    def _take(self, incoming: Sequence[Incoming], now: float) -> Sequence[Update]:
        self._keepalive.on_receive(now)
        filling: list[AnyCall] = []
        for item in incoming:
            match item:
                case Received(0, message):
                    self._on_connection_message(message, now)
                case Received(stream, message, end):
                    call = self._calls.get(stream)
                    if call is not None:
                        self._on_stream_message(stream, call, message, end)
                        filling.append(call)
                case Ready(messages.Welcome() as welcome):
                    self._on_ready(welcome, now)
                case Closed():
                    self._end(self._reason("the server closed the connection"))
                case Failed(error):
                    self._end(f"the server does not keep to PXW/1: {error}")
        for call in filling:  # only now: bytes that came in the same read are not a sink's business any more
            self._set_sink(call)
        return self.take_updates()

    def _on_ready(self, welcome: messages.Welcome, now: float) -> None:
        self.welcome = welcome
        self._max_streams = welcome.limits.max_streams
        self._min_ping = welcome.limits.min_ping_ms / 1000
        self._keepalive.on_limits(welcome.limits, now)
        self._keepalive.on_ready(now)
        self._updates.append(Opened(welcome))

    def _on_connection_message(self, message: messages.Message, now: float) -> None:
        match message:
            case messages.Pong(payload):
                if (ping := self._pings.pop(bytes(payload), None)) is not None:
                    call, asked = ping
                    call.phase, call.value = Phase.DONE, now - asked
                    self._updates.append(Finished(call))
            case messages.GoAway():
                self._on_goaway(message)
            case messages.Error():
                self._end(f"the server ended it with {error_name(message.code)}: {message.message}")

    def _on_goaway(self, message: messages.GoAway) -> None:
        """No call may begin any more, and those without a stream fail. Streams that may still finish go on.

        The others, those that the server did not process, get an error from the connection.
        """
        self._goaway = message
        if message.code not in ORDERLY:
            self._end(f"the server ended it with {error_name(message.code)}: {message.message}")
        for call in tuple(self._waiting):
            call.fail(self._refused(message))
            self._finish(call)

    def _on_stream_message(self, stream: int, call: AnyCall, message: messages.Message, end: bool) -> None:
        if isinstance(message, messages.Data):
            self._connection.consumed(stream, len(message.tail))
        if _is_refusal(message) and call.refusals < MOST_REFUSALS and self._goaway is None:
            del self._calls[stream]
            call.stream, call.refusals = None, call.refusals + 1
            self._waiting.appendleft(call)
            self._open_waiting()
            return
        event = call.receive(message, end)
        if event is not None:
            self._updates.append(Emitted(call, event))
        if call.done:
            over = end or isinstance(message, messages.Reset)
            self._finish(call, reset=not over)

    def _set_sink(self, call: AnyCall) -> None:
        filling = call.filling
        if filling is not None and call.stream is not None and not filling.has_sink:
            filling.has_sink = True
            self._connection.set_sink(call.stream, filling.rest)

    # --- time

    def next_deadline(self, now: float) -> float | None:
        """When `handle_timeout` wants to be called, or None. It may move with every call of any other method."""
        while self._deadlines and self._deadlines[0][2].done:
            heapq.heappop(self._deadlines)
        times = [self._deadlines[0][0]] if self._deadlines else []
        if self.ended is None:
            times.append(self._keepalive.next_deadline(now))
        return min(times, default=None)

    def handle_timeout(self, now: float) -> Sequence[Update]:
        """Does what is due: ends calls whose time is up, asks a silent server for a sign, gives up on a dead one."""
        while self._deadlines and self._deadlines[0][0] <= now:
            call = heapq.heappop(self._deadlines)[2]
            if not call.done:
                call.fail(RequestTimeout(call.operation, call.timeout, job=call.job, status=call.status))
                self._finish(call, reset=True)
        if self.ended is None:
            match self._keepalive.poll(now):
                case "ping":
                    self._count_ping(now)
                    self._connection.ping(KEEPALIVE_PAYLOAD)
                case "dead" if self.welcome is None:
                    self._end(f"no answer within {self._handshake_timeout:g} s")
                case "dead":
                    self._end("the server has gone silent and did not answer a ping")
        return self.take_updates()

    # --- the end

    def lose(self, reason: str) -> Sequence[Update]:
        """The socket is gone. All calls are finished with ConnectionLost."""
        self._end(self._reason(reason))
        return self.take_updates()

    def close(self) -> Sequence[Update]:
        """The user closes the connection: the server is told, all calls are finished with ConnectionLost."""
        if self.ended is None and self.welcome is not None:
            self._connection.goaway(ErrorCode.NO_ERROR, "the client closes", last_stream=0)
        self._end("the client was closed")
        return self.take_updates()

    def _end(self, reason: str) -> None:
        if self.ended is not None:
            return
        self.ended = ConnectionLost(reason, processed="maybe")
        for call in [*self._calls.values(), *self._waiting, *(call for call, _ in self._pings.values())]:
            call.fail(ConnectionLost(reason, processed=self._processed(call), job=call.job, status=call.status))
            self._updates.append(Finished(call))
        self._calls.clear()
        self._waiting.clear()
        self._pings.clear()
        self._updates.append(Ended(self.ended))

    def _processed(self, call: AnyCall) -> str:
        """What is known about a call that the connection did not survive. SPEC 3.5, 12."""
        if call.status is not None:
            return "yes"
        never_left = call.stream is None or call in self._unsent
        refused = self._goaway is not None and (call.stream or 0) > self._goaway.last_stream
        return "no" if never_left or refused else "maybe"

    def _reason(self, reason: str) -> str:
        """With what the server said about it, if it said something."""
        if self._goaway is None:
            return reason
        said = f": {self._goaway.message}" if self._goaway.message else ""
        return f"{reason} after it announced {error_name(self._goaway.code)}{said}"

    @staticmethod
    def _refused(goaway: messages.GoAway) -> PixwireError:
        return request_failed(
            ErrorCode.DRAINING,
            ErrorCode.DRAINING.name,
            goaway.message or "the server takes no new requests on this connection",
            retry="after",
            processed="no",
            retry_after_ms=goaway.reconnect_after_ms,
        )

    # --- bytes out

    @property
    def has_output(self) -> bool:
        """Whether `data_to_send` has something."""
        return self._connection.has_output

    def data_to_send(self, max_bytes: int = 1 << 18) -> list[Buffer]:
        """The next bytes for the socket; what is returned counts as sent. Look at `take_updates` afterwards."""
        buffers = self._connection.data_to_send(max_bytes)
        if self._unsent and not self._connection.has_output:
            self._unsent.clear()
        self._open_waiting()  # a stream that was reset is free once its RESET has left
        return buffers

    def take_updates(self) -> Sequence[Update]:
        """What was decided since the last call of a method that returns updates."""
        updates, self._updates = self._updates, []
        return updates


def _is_refusal(message: messages.Message) -> bool:
    """Whether the server had no room for the stream and has done nothing."""
    return isinstance(message, messages.Error) and message.code == ErrorCode.TOO_MANY_STREAMS
