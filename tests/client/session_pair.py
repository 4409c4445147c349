"""A `ClientSession` and the protocol's own server side, joined in memory by a clock and a pump that the test turns."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from pixwire import requests
from pixwire.calls import Call
from pixwire.errors import PixwireError
from pixwire.session import ClientSession, Emitted, Ended, Finished, Update
from pixwire_protocol import messages
from pixwire_protocol.connection import Connection
from pixwire_protocol.incoming import Failed, Incoming, Received
from pixwire_protocol.settings import Settings
from pixwire_protocol.states import Role

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
    """The two ends. `pump` carries bytes across; `updates`: what the client decided, `requests`: what it asked."""

    def __init__(
        self,
        *,
        ready: bool = True,
        handshake_timeout: float = 10.0,
        window: int = 1 << 18,
        max_image_bytes: int = 1 << 28,
        **server: Any,
    ) -> None:
        self.now = 0.0
        client = Settings(agent="client", stream_window=window, connection_window=4 * window)
        self.session = ClientSession(client, self.now, handshake_timeout, max_image_bytes)
        self.server = Connection(Role.SERVER, Settings(agent="server", **server))
        self.updates: list[Update] = []
        self.requests: dict[int, Any] = {}
        self.messages: list[tuple[int, Any]] = []
        self.faults: list[Failed] = []
        if ready:
            self.pump()
            self.updates.clear()

    # --- moving bytes

    def pump(self, split: Split = whole) -> None:
        """Carries bytes both ways until nobody has any."""
        while self.session.has_output or self.server.has_output:
            self.to_server()
            self.to_client(split)

    def to_server(self) -> None:
        while self.session.has_output:
            for buffer in self.session.data_to_send():
                self.take(self.server.receive(bytes(buffer)))

    def to_client(self, split: Split = whole) -> None:
        while self.server.has_output:
            data = b"".join(self.server.data_to_send())
            for piece in split(data):
                self.feed(piece)

    def feed(self, data: bytes) -> None:
        """Bytes for the client, through its buffers, as a socket would put them there."""
        view = memoryview(data)
        while view:
            buffer = self.session.get_buffer(len(view))
            count = min(len(buffer), len(view))
            buffer[:count] = view[:count]
            self.heard(self.session.buffer_updated(count, self.now))
            view = view[count:]

    def take(self, incoming: Sequence[Incoming]) -> None:
        for item in incoming:
            match item:
                case Received(stream, message):
                    self.messages.append((stream, message))
                    if isinstance(
                        message, messages.Submit | messages.Status | messages.Cancel | messages.Watch | messages.Fetch
                    ):
                        self.requests[stream] = message
                case Failed():
                    self.faults.append(item)

    # --- the client's side

    def heard(self, updates: Sequence[Update]) -> None:
        self.updates += updates

    def begin(self, call: Call[Any], timeout: float | None = None) -> Call[Any]:
        self.session.begin(call, self.now, timeout)
        return call

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

    @property
    def ended(self) -> Ended | None:
        return next((update for update in self.updates if isinstance(update, Ended)), None)

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
    return requests.generate(job, requests.pack_params("a red circle", None), want)


def failure(call: Call[Any]) -> PixwireError:
    """Why a call failed."""
    assert call.error is not None
    return call.error
