"""The decisions of a client, without a socket, a clock or chance: calls that outlive their connections.

A shell (`aio.link`, `sync.worker`) makes transports, moves bytes and waits; it tells what happened and when,
and carries out what comes back. All times are seconds of one monotonic clock that the shell chooses.

    shell -> session    start, begin, abandon, close; for each channel: get_buffer + buffer_updated, receive_eof,
                        data_to_send, authenticate, lose; handle_timeout at next_deadline (which need not be asked
                        again as long as `soonest` is not earlier than the time that the shell waits for)
    session -> shell    updates, in order

    connection:  dial -> (authenticate) -> ready -> lost -> wait (backoff) -> dial ...     at most one of them is new
                                             \\-> going away: its streams finish, while the next one is made
    call:        held (no connection, or told to wait) <-> on a channel -> finished, exactly once, unless abandoned

With `mend` a call survives its connection (`resume` says how it goes on); without, it fails with it. SPEC 12.
"""

from collections.abc import Callable, Sequence
from typing import Literal

from pixwire_protocol import messages
from pixwire_protocol.settings import Settings

from ..errors import ConnectionLost, PixwireError, RequestTimeout
from .auth import MECHANISM, Identity, renewal_at
from .backoff import Backoff
from .calls import AnyCall, Call
from .channel import Buffer, Channel
from .channel_updates import (
    Authenticated,
    AuthWanted,
    Disconnected,
    Emitted,
    Finished,
    GoingAway,
    Lost,
    Opened,
    Returned,
)
from .deadlines import Deadlines
from .endings import draining, too_late, unreached
from .policy import Policy
from .resume import go_on, why_not_again
from .updates import Dial, HangUp, Over, TokenWanted, Unreached, Update

Key = AnyCall | tuple[Literal["patience", "retry"], AnyCall] | tuple[Literal["dial", "renew"], None]
"""What is due: a call alone is its timeout."""


class ClientSession:
    """A client's connections, one after the other, and the calls on them.

    Args:
        settings: what HELLO says (agent, limits, features).
        policy: what the user wants.
        chance: gives a random number from 0 to below 1, for the waits between connections.
        scratch: where its channels receive what has no place of its own (see `Channel`).
    """

    def __init__(
        self, settings: Settings, policy: Policy, chance: Callable[[], float], scratch: memoryview | None = None
    ) -> None:
        self._settings = settings
        self._policy = policy
        self._chance = chance
        self._scratch = scratch
        self._backoff = Backoff()
        self._channels: list[Channel] = []
        self._held: dict[AnyCall, float] = {}
        self._deadlines: Deadlines[Key] = Deadlines()
        self._updates: list[Update] = []
        self._told = self._is_ready = False
        self._identity = Identity(policy.identity)
        self.welcome: messages.Welcome | None = None
        """What the latest server said about itself; None before the first was ready."""
        self.principal: str | None = None
        self.roles: tuple[str, ...] = ()
        self.over: PixwireError | None = None
        """Why the session is over for good."""

    @property
    def connected(self) -> bool:
        """Whether a call would be sent at once."""
        return self._current is not None

    def silent(self, now: float) -> bool:
        """Whether the server owes the answer to a PING for longer than is usual."""
        channel = self._current
        return channel is not None and channel.liveness.owes_pong(now)

    @property
    def _current(self) -> Channel | None:
        for channel in self._channels:
            if channel.accepts:
                return channel
        return None

    # --- from the user

    def start(self, now: float) -> Sequence[Update]:
        """Makes the first connection. If that fails, the session is over."""
        self._dial(now)
        return self._take_updates()

    def begin(self, call: AnyCall, now: float, timeout: float | None, since: float | None = None) -> Sequence[Update]:
        """Starts a call; `timeout` seconds after `since` (now) it is finished with RequestTimeout; None: no limit.

        Raises:
            ConnectionLost, Draining: there is no connection, and the policy is not to wait; nothing was sent.
            ConnectionLost, AccessDenied: the session is over.
            RateLimited: a ping too many (SPEC 12); nothing was sent.
            TypeError: a timeout that is no number; nothing was sent.
        """
        due = None if timeout is None else (now if since is None else since) + timeout
        if self.over is not None:
            raise too_late(self.over, call)
        channel = self._current
        if channel is None and not self._policy.mend:
            raise self._unconnected(call)
        call.max_image_bytes = self._policy.max_image_bytes
        if channel is not None:
            channel.send(call, now)
        else:
            self._hold(call, now)
        if timeout is not None and due is not None:
            call.timeout = timeout
            self._deadlines.set(call, due)
        return self._after(now) if channel is not None and channel.updates else ()

    def abandon(self, call: AnyCall, now: float) -> Sequence[Update]:
        """Nobody waits for the call any more: its stream is reset and late frames are dropped. The job goes on."""
        if call.done:
            return ()
        self._give_up(call, None)
        return self._after(now)

    def recall(self, now: float) -> Sequence[Update]:
        """Another server is there: calls that `roam` and wait here for a connection end with ConnectionLost, processed
        "no". Those that were sent once stay: this server may have taken them.
        """
        if self._current is None:
            error = "another server is there"
            for call in [call for call in self._held if call.roams and not call.doubtful and call.status is None]:
                self._give_up(call, ConnectionLost(error, processed="no", job=call.job))
        return self._after(now)

    def close(self, now: float) -> Sequence[Update]:
        """The user closes the client: the server is told, all calls are finished with ConnectionLost."""
        self._finish(ConnectionLost("the client was closed", processed="maybe"))
        self._absorb(now)
        return self._take_updates()

    # --- from the transports

    def get_buffer(self, channel: Channel, sizehint: int) -> memoryview:
        """Where the next bytes of the channel's socket go."""
        return channel.get_buffer(sizehint)

    def buffer_updated(self, channel: Channel, count: int, now: float) -> Sequence[Update]:
        """`count` bytes were put into the buffer."""
        channel.buffer_updated(count, now)
        if not channel.updates:
            return ()
        if self._held or self.over is not None or channel.goaway is not None:
            return self._after(now)
        for update in channel.updates:
            if type(update) is not Finished and type(update) is not Emitted:
                return self._after(now)
        updates = channel.take_updates()  # outcomes and events need no decision: they go on as they are
        for update in updates:
            if type(update) is Finished:
                self._forget(update.call)
        return updates  # type: ignore[return-value]

    def receive_eof(self, channel: Channel, now: float) -> Sequence[Update]:
        """The server will send no more on this channel."""
        channel.receive_eof(now)
        return self._after(now)

    def lose(self, channel: Channel, reason: str, now: float, *, final: bool = False) -> Sequence[Update]:
        """The channel's transport is gone, or did not come about; `final`: trying again makes no sense. Saying it
        twice does no harm.
        """
        channel.lose(reason, final=final)
        return self._after(now)

    def data_to_send(self, channel: Channel, now: float) -> tuple[list[Buffer], Sequence[Update]]:
        """The next bytes for the channel's socket; what is returned counts as sent."""
        buffers = channel.data_to_send()
        return buffers, self._after(now) if channel.updates else ()

    def authenticate(self, channel: Channel, token: str, now: float) -> Sequence[Update]:
        """The answer to TokenWanted. The same token as one that has expired ends the session."""
        problem = self._identity.show(token)
        if problem is None:
            channel.authenticate(MECHANISM, token)
        else:
            self._finish(problem)
        return self._after(now)

    # --- time

    @property
    def soonest(self) -> float:
        """`next_deadline` is not earlier than this. It may be later; asking for that makes this exact, too."""
        soonest = self._deadlines.soonest
        for channel in self._channels:
            if channel.liveness.alarm < soonest:
                soonest = channel.liveness.alarm
        return soonest

    def next_deadline(self, now: float) -> float | None:
        """When `handle_timeout` wants to be called, or None. It may move with every call of any other method."""
        due = self._deadlines.next()
        for channel in self._channels:
            at = channel.next_deadline(now)
            if at is not None and (due is None or at < due):
                due = at
        return due

    def handle_timeout(self, now: float) -> Sequence[Update]:
        """Does what is due: ends calls whose time is up, connects again, looks after the connections."""
        for key in self._deadlines.due(now):
            match key:
                case ("dial", _):
                    self._dial(now)
                case ("renew", _):
                    self._renew()
                case ("patience", call) if call is not None:
                    self._give_up(call, unreached(call, self._policy.patience))
                case Call() as call:
                    self._give_up(call, RequestTimeout(call.operation, call.timeout, job=call.job, status=call.status))
        for channel in self._channels:
            channel.handle_timeout(now)
        return self._after(now)

    # --- calls

    def _hold(self, call: AnyCall, now: float, after: float = 0.0) -> None:
        """The call waits for a connection, and until the time `after`."""
        self._held[call] = after
        if after > now:
            self._deadlines.set(("retry", call), after)
        if self._current is None:
            self._deadlines.set(("patience", call), max(now, after) + self._policy.patience)

    def _forget(self, call: AnyCall) -> None:
        if self._held and self._held.pop(call, None) is not None:
            self._deadlines.drop(("patience", call))
            self._deadlines.drop(("retry", call))
        self._deadlines.drop(call)

    def _give_up(self, call: AnyCall, error: PixwireError | None) -> None:
        """Ends a call wherever it is; without an error nobody wants to hear of it."""
        if call.done:
            return
        call.fail(error or ConnectionLost("abandoned", processed="maybe"))
        self._forget(call)
        for channel in self._channels:
            channel.drop(call)
        if error is not None:
            self._updates.append(Finished(call))

    def _send_held(self, now: float) -> None:
        channel = self._current
        if channel is None or not self._held:
            return
        for call in [call for call, after in self._held.items() if after <= now]:
            del self._held[call]
            self._deadlines.drop(("patience", call))
            self._deadlines.drop(("retry", call))
            try:
                channel.send(call, now)
            except PixwireError as error:
                self._give_up(call, error)

    def _on_returned(self, returned: Returned, now: float) -> None:
        """A call came back from a channel without an outcome: it is sent again, or fails."""
        call = returned.call
        if call.done:
            return
        if self.over is not None or (not returned.here and self._is_hopeless(returned)):
            self._give_up(call, returned.error)
            return
        if self._current is None and not self._policy.mend:
            self._give_up(call, self._unconnected(call))
            return
        go_on(call)
        after = 0.0 if returned.retry_after_ms is None else now + returned.retry_after_ms / 1000
        self._hold(call, now, after)

    def _is_hopeless(self, returned: Returned) -> bool:
        again = why_not_again(returned.call, sent=returned.sent, suspect=returned.suspect)
        return not self._policy.mend or again is not None

    # --- connections

    def _dial(self, now: float) -> None:
        if self.over is None and not any(channel.accepts or channel.is_new for channel in self._channels):
            policy = self._policy
            channel = Channel(self._settings, now, policy.connect_timeout, policy.probe, self._scratch)
            self._channels.append(channel)
            self._updates.append(Dial(channel))

    def _after(self, now: float) -> Sequence[Update]:
        self._absorb(now)
        return self._take_updates()

    def _absorb(self, now: float) -> None:
        """Takes in what the channels have to say, until none of them has anything left."""
        if not self._held:
            for channel in self._channels:
                if channel.updates or channel.goaway is not None:
                    break
            else:
                return
        while True:
            for channel in tuple(self._channels):
                if channel.updates:
                    for update in channel.take_updates():
                        if type(update) is Finished:
                            self._forget(update.call)
                            self._updates.append(update)
                        else:
                            self._on_update(channel, update, now)
                if channel.goaway is not None and channel.lost is None and not channel.busy:
                    channel.close("nothing is left to do here")
            if self._held:
                self._send_held(now)
            for channel in self._channels:
                if channel.updates:
                    break
            else:
                return

    def _on_update(self, channel: Channel, update: object, now: float) -> None:
        match update:
            case Emitted():
                self._updates.append(update)
            case Returned():
                self._on_returned(update, now)
            case Opened(welcome):
                self.welcome, self.principal, self.roles = welcome, channel.principal, channel.roles
                self._is_ready = True
                self._updates.append(update)
            case AuthWanted(mechanisms):
                problem = self._identity.wanted(mechanisms)
                if problem is None:
                    self._updates.append(TokenWanted(channel))
                else:
                    self._finish(problem)
            case Authenticated(expires_ms):
                if expires_ms is not None and self._identity.can_renew():
                    self._deadlines.set(("renew", None), renewal_at(now, expires_ms))
            case GoingAway(reconnect_after_ms):
                self._backoff.hold_off(now + (reconnect_after_ms or 0) / 1000)
                self._schedule(now)
                self._tell_disconnected("the server is about to stop")
            case Lost():
                self._on_lost(channel, update, now)

    def _on_lost(self, channel: Channel, lost: Lost, now: float) -> None:
        self._channels.remove(channel)
        self._updates.append(HangUp(channel))
        if channel.ready_since is not None:
            self._backoff.lasted(now - channel.ready_since)
        if self.over is not None:
            return
        final = self._final_error(lost)
        if final is not None:
            self._finish(final)
        else:
            self._schedule(now)
            self._tell_disconnected(lost.reason)
            if self.welcome is None:
                self._updates.append(Unreached(lost.reason))

    def _tell_disconnected(self, reason: str) -> None:
        """Once for each connection that was ready, when no other one takes its place at once."""
        if self._is_ready and self._current is None:
            self._is_ready = False
            self._updates.append(Disconnected(reason))

    def _final_error(self, lost: Lost) -> PixwireError | None:
        """Why the session cannot go on after this, or None."""
        refused = self._identity.refused(lost.code, lost.said, was_ready=self.welcome is not None)
        if refused is not None:
            return refused
        if lost.final or (self.welcome is None and not self._policy.persistent):
            return ConnectionLost(lost.reason, processed="no")
        return None

    def _schedule(self, now: float) -> None:
        """Plans the next connection, unless one is there, or under way, or planned."""
        if self.over is not None or (self.welcome is None and not self._policy.persistent):
            return
        if self._current is None and not self._policy.mend:  # they waited for something else, and not for this
            for call in tuple(self._held):
                self._give_up(call, self._unconnected(call))
        for call, after in self._held.items():  # those that waited for something else wait for a connection now
            if ("patience", call) not in self._deadlines:
                self._hold(call, now, after)
        has_one = any(channel.accepts or channel.is_new for channel in self._channels)
        if not has_one and ("dial", None) not in self._deadlines:
            self._deadlines.set(("dial", None), self._backoff.next(now, self._chance()))

    def _renew(self) -> None:
        channel = self._current
        if channel is not None:
            self._updates.append(TokenWanted(channel))

    # --- the end

    def _finish(self, error: PixwireError) -> None:
        """Nothing goes on after this; every call that is left fails."""
        if self.over is not None:
            return
        self.over = error
        for channel in self._channels:
            channel.close(str(getattr(error, "reason", "the client gives up")))
        for call in tuple(self._held):
            self._give_up(call, too_late(error, call))
        self._deadlines = Deadlines()

    def _unconnected(self, call: AnyCall) -> PixwireError:
        """The error for a call that does not want to wait for a connection."""
        leaving = next((channel.goaway for channel in self._channels if channel.goaway is not None), None)
        if leaving is not None:
            return draining(leaving)
        processed = "no" if call.status is None else "yes"
        reason = "there is no connection at the moment"
        return ConnectionLost(reason, processed=processed, job=call.job, status=call.status)

    def _take_updates(self) -> Sequence[Update]:
        if not self._updates and self.over is None:
            return ()
        updates, self._updates = self._updates, []
        if self.over is not None and not self._told:
            self._told = True
            updates.append(Over(self.over))
        return updates
