"""A `ClientSession` and the protocol's own server side, joined in memory by a clock and a pump that the test turns."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

from pixwire import arguments
from pixwire.core import requests
from pixwire.core.calls import Call
from pixwire.core.channel import Channel
from pixwire.core.channel_updates import Emitted, Finished, Opened
from pixwire.core.policy import Policy
from pixwire.core.session import ClientSession
from pixwire.core.updates import Dial, HangUp, Over, TokenWanted, Update
from pixwire.errors import PixwireError
from pixwire_protocol import messages
from pixwire_protocol.connection import Connection
from pixwire_protocol.incoming import Failed, Incoming, Received
from pixwire_protocol.settings import Settings
from pixwire_protocol.states import Role

M = TypeVar("M", bound=messages.Message)
Split = Callable[[bytes], Sequence[bytes]]


def whole(data: bytes) -> Sequence[bytes]:
    """One piece."""
    return [data]


def bytewise(data: bytes) -> Sequence[bytes]:
    """Every byte alone."""
    return [data[i : i + 1] for i in range(len(data))]


def artifact(index: int, data: bytes) -> dict[str, Any]:
    """The artifact map of an image."""
    etag = hashlib.sha256(data).hexdigest()
    shape = {"media_type": "image/png", "width": 64, "height": 64, "seed": 100 + index}
    return {"artifact": index, "etag": etag, "size": len(data), **shape}


def status(job: str, state: str, seq: int = 1, **more: Any) -> dict[str, Any]:
    """A job status map."""
    return {"job": job, "kind": "txt2img", "state": state, "seq": seq, "attempt": 1, "step": 0, "steps": 4, **more}


class Pair:
    """The two ends. `pump` carries bytes across; `updates`: what the client decided, `requests`: what it asked.

    A connection that the client wants is made at once, unless `network` is False; each has a server side of its own,
    made with the settings in `server_settings`, and `server` is the latest one.
    """

    def __init__(
        self,
        *,
        ready: bool = True,
        handshake_timeout: float = 10.0,
        window: int = 1 << 18,
        max_image_bytes: int = 1 << 28,
        mend: bool = False,
        patience: float = 120.0,
        identity: Literal["none", "fixed", "renewable"] = "none",
        chance: float = 0.5,
        **server: Any,
    ) -> None:
        self.now = 0.0
        client = Settings(agent="client", stream_window=window, connection_window=4 * window)
        policy = Policy(mend, patience, handshake_timeout, max_image_bytes, identity)
        self.session = ClientSession(client, policy, lambda: chance)
        self.server_settings: dict[str, Any] = server
        self.network = True
        self.channel: Channel | None = None
        self.updates: list[Update] = []
        self.requests: dict[int, Any] = {}
        self.messages: list[tuple[int, Any]] = []
        self.faults: list[Failed] = []
        self.dials: list[float] = []
        self.tokens_wanted = 0
        self.server = Connection(Role.SERVER, Settings(agent="server", **server))
        self.heard(self.session.start(self.now))
        if ready:
            self.pump()
            self.updates.clear()

    # --- moving bytes

    def pump(self, split: Split = whole) -> None:
        """Carries bytes both ways until nobody has any."""
        while (self.channel is not None and self.channel.has_output) or self.server.has_output:
            self.to_server()
            self.to_client(split)
            if self.channel is None:
                break

    def to_server(self) -> None:
        while self.channel is not None and self.channel.has_output:
            buffers, updates = self.session.data_to_send(self.channel, self.now)
            self.heard(updates)
            for buffer in buffers:
                self.take(self.server.receive(bytes(buffer)))

    def to_client(self, split: Split = whole) -> None:
        while self.server.has_output and self.channel is not None:
            data = b"".join(self.server.data_to_send())
            for piece in split(data):
                self.feed(piece)

    def feed(self, data: bytes) -> None:
        """Bytes for the client, through its buffers, as a socket would put them there."""
        view = memoryview(data)
        while view and self.channel is not None:
            buffer = self.session.get_buffer(self.channel, len(view))
            count = min(len(buffer), len(view))
            buffer[:count] = view[:count]
            self.heard(self.session.buffer_updated(self.channel, count, self.now))
            view = view[count:]

    def take(self, incoming: Sequence[Incoming]) -> None:
        for item in incoming:
            match item:
                case Received(stream, message):
                    self.messages.append((stream, message))
                    if isinstance(message, messages.Request):
                        self.requests[stream] = message
                case Failed():
                    self.faults.append(item)

    # --- the client's side

    def heard(self, updates: Sequence[Update]) -> None:
        soonest = self.session.soonest
        due = self.session.next_deadline(self.now)
        assert due is None or soonest <= due, "a shell that looks when `soonest` moves would wake too late"
        for update in updates:
            self.updates.append(update)
            match update:
                case Dial(channel):
                    self._dialled(channel)
                case HangUp(channel):
                    self._last_words(channel)
                case TokenWanted():
                    self.tokens_wanted += 1

    def _dialled(self, channel: Channel) -> None:
        self.dials.append(self.now)
        if not self.network:
            self.heard(self.session.lose(channel, "connection refused", self.now))
            return
        if self.channel is None:
            self.requests.clear()
            self.server = Connection(Role.SERVER, Settings(agent="server", **self.server_settings))
        self.channel = channel

    def _last_words(self, channel: Channel) -> None:
        if channel is self.channel:
            self.to_server()
            self.channel = None

    def begin(self, call: Call[Any], timeout: float | None = None) -> Call[Any]:
        self.heard(self.session.begin(call, self.now, timeout))
        return call

    def abandon(self, call: Call[Any]) -> None:
        self.heard(self.session.abandon(call, self.now))

    def lose(self, reason: str = "broken pipe") -> None:
        """The connection breaks."""
        assert self.channel is not None
        self.heard(self.session.lose(self.channel, reason, self.now))

    def eof(self) -> None:
        """The server closes its side."""
        assert self.channel is not None
        self.heard(self.session.receive_eof(self.channel, self.now))

    def close(self) -> None:
        """The user closes the client."""
        self.heard(self.session.close(self.now))

    def advance(self, seconds: float) -> None:
        """Lets time pass, deadline by deadline."""
        end = self.now + seconds
        while (due := self.session.next_deadline(self.now)) is not None and due <= end:
            self.now = max(due, self.now)
            self.heard(self.session.handle_timeout(self.now))
            self.pump()
        self.now = end

    def finished(self) -> list[Call[Any]]:
        return [update.call for update in self.updates if isinstance(update, Finished)]

    def emitted(self, call: Call[Any]) -> list[Any]:
        return [update.event for update in self.updates if isinstance(update, Emitted) and update.call is call]

    def sent(self, kind: type[M]) -> list[M]:
        """The messages of one kind that came at the server, over all connections."""
        return [message for _, message in self.messages if isinstance(message, kind)]

    @property
    def over(self) -> PixwireError | None:
        """Why the client is over for good, as its shell was told."""
        return next((update.error for update in self.updates if isinstance(update, Over)), None)

    @property
    def opened(self) -> list[Opened]:
        return [update for update in self.updates if isinstance(update, Opened)]

    # --- the server's side

    def answer(self, stream: int, state: str, *, end: bool = False, **more: Any) -> None:
        self.server.send(stream, messages.Result(status(self.requests[stream].job, state, **more)), end=end)

    def change(self, stream: int, state: str, *, end: bool = False, **more: Any) -> None:
        body = {"event": "state", **status(self.requests[stream].job, state, **more)}
        self.server.send(stream, messages.Event(body), end=end)

    def succeed(self, stream: int, images: Sequence[bytes]) -> None:
        """The terminal event with all the images to follow."""
        self.change(stream, "succeeded", seq=9, artifacts=[artifact(i, data) for i, data in enumerate(images)])
        for index, data in enumerate(images):
            self.image(stream, index, data, end=index == len(images) - 1)

    def image(self, stream: int, index: int, data: bytes, *, end: bool = True) -> None:
        head = {"job": self.requests[stream].job, "offset": 0, "length": len(data), **artifact(index, data)}
        self.server.send(stream, messages.Result(head))
        self.server.send_data(stream, memoryview(data), end)


def generate(job: str = "j", *, want: tuple[str, ...] = ("progress", "preview")) -> Call[Any]:
    """A generate call."""
    return requests.generate(order(job), want)


def order(job: str = "j", prompt: str = "a red circle", **more: Any) -> requests.JobOrder:
    """A job without attachments."""
    return requests.JobOrder(job, "txt2img", arguments.pack_params("txt2img", (), prompt, None), **more)


def failure(call: Call[Any]) -> PixwireError:
    """Why a call failed."""
    assert call.error is not None
    return call.error
