"""A PXW/1 server for tests: real sockets, the real protocol, and a test that decides every answer.

async with ScriptedServer() as server:
    task = asyncio.create_task(client.generate("x"))
    request = await server.next(Submit)        # waits for the client's frame
    request.accept()
    request.progress(1, 4)
    request.succeed([b"...png..."])
"""

import asyncio
import hashlib
import ssl
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from pixwire_protocol import messages
from pixwire_protocol.connection import Connection
from pixwire_protocol.incoming import Closed, Failed, Incoming, Received
from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.settings import Settings
from pixwire_protocol.states import Role

M = TypeVar("M", bound=messages.Message)

SETTINGS = Settings(agent="scripted/1", server_id="scripted", epoch="e1")


class Request:
    """One request of the client, and the ways to answer it."""

    def __init__(self, peer: "Peer", stream: int, message: Any) -> None:
        self.peer = peer
        self.stream = stream
        self.message = message
        self.job: str = getattr(message, "job", "")
        self.upload = bytearray()
        self.uploaded = False
        self.when_uploaded: Callable[[Request], None] | None = None
        self.seq = 0
        self.state = "queued"

    def status(self, state: str, **more: Any) -> dict[str, Any]:
        """A job status map with the next seq."""
        self.seq += 1
        self.state = state
        return {
            "job": self.job,
            "kind": "txt2img",
            "state": state,
            "seq": self.seq,
            "attempt": 1,
            "step": 0,
            "steps": 4,
            **more,
        }

    def result(self, state: str, *, end: bool = True, **more: Any) -> None:
        self.peer.send(self.stream, messages.Result(self.status(state, **more)), end)

    def accept(self, state: str = "queued", **more: Any) -> None:
        """The RESULT of a request that goes on with events."""
        self.result(state, end=False, **more)

    def change(self, state: str, *, end: bool = False, **more: Any) -> None:
        """A state event."""
        self.peer.send(self.stream, messages.Event({"event": "state", **self.status(state, **more)}), end)

    def progress(self, step: int, steps: int = 4) -> None:
        self.seq += 1
        body = {"event": "progress", "job": self.job, "seq": self.seq, "step": step, "steps": steps, "attempt": 1}
        self.peer.send(self.stream, messages.Event(body))

    def preview(self, step: int, data: bytes) -> None:
        self.seq += 1
        self.peer.send(self.stream, messages.Preview(self.job, self.seq, step, 4, "image/jpeg", 8, 8, tail=data))

    def info(self, index: int, data: bytes) -> dict[str, Any]:
        return {
            "artifact": index,
            "etag": hashlib.sha256(data).hexdigest(),
            "size": len(data),
            "media_type": "image/png",
            "width": 64,
            "height": 64,
            "seed": 100 + index,
        }

    def succeed(self, images: Sequence[bytes], *, deliver: bool = True, announce: bool = True) -> None:
        """The terminal event (unless not to `announce`), then the images, END on the last frame."""
        infos = [self.info(index, data) for index, data in enumerate(images)]
        if announce:
            self.change("succeeded", end=not deliver, artifacts=infos, engine={"passes": 4, "pass_share": 2.0})
        if deliver:
            for index, data in enumerate(images):
                self.image(index, data, end=index == len(images) - 1)

    def image(self, index: int, data: bytes, *, end: bool = True) -> None:
        """RESULT and DATA of one image."""
        self.announce_image(index, data)
        self.data(data, end=end)

    def split(self) -> list[bytes]:
        """The attachments that came, one by one."""
        parts, rest = [], bytes(self.upload)
        for attachment in self.message.attachments:
            parts.append(rest[: attachment.size])
            rest = rest[attachment.size :]
        return parts

    def listed(self, body: dict[str, Any]) -> None:
        """The answer to LIST."""
        self.peer.send(self.stream, messages.Result(body), True)

    def announce_image(self, index: int, data: bytes, offset: int = 0) -> None:
        body = {"job": self.job, "offset": offset, "length": len(data) - offset, **self.info(index, data)}
        self.peer.send(self.stream, messages.Result(body))

    def data(self, data: bytes, *, end: bool = False) -> None:
        self.peer.connection.send_data(self.stream, memoryview(data), end)
        self.peer.flush()

    def error(self, code: ErrorCode, message: str = "no", **more: Any) -> None:
        self.peer.connection.send_error(self.stream, code, message, **more)
        self.peer.flush()

    def reset(self, code: ErrorCode = ErrorCode.INTERNAL) -> None:
        self.peer.connection.reset(self.stream, code)
        self.peer.flush()


class Peer(asyncio.Protocol):
    """One connection of a client."""

    def __init__(self, server: "ScriptedServer") -> None:
        self.server = server
        self.connection = Connection(Role.SERVER, server.settings)
        self.transport: Any = None
        self.resets: asyncio.Queue[int] = asyncio.Queue()
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.held: bytearray | None = None
        self.by_stream: dict[int, Request] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.server.peers.append(self)
        self.server.arrived.put_nowait(self)
        if self.server.mute:
            return
        self.flush()

    def data_received(self, data: bytes) -> None:
        if self.server.mute:
            return
        if self.held is not None:
            self.held += data
            return
        self.take(self.connection.receive(data))
        self.flush()

    def take(self, incoming: Sequence[Incoming]) -> None:
        for item in incoming:
            match item:
                case Received(stream, messages.Reset()):
                    self.resets.put_nowait(stream)
                case Received(stream, messages.Data() as data, end):
                    self.take_upload(stream, data, end)
                case Received(stream, message) if stream:
                    request = self.by_stream[stream] = Request(self, stream, message)
                    self.server.requests.put_nowait(request)
                case Received(0, messages.Auth() as message):
                    self.server.auths.append(message)
                    self.server.shown.put_nowait(message.token)
                    self.judge(message.token)
                case Received(0, messages.GoAway() as message):
                    self.server.goaways.append(message)
                case Failed(error):
                    self.server.faults.append(error)
                    self.flush()
                    self.transport.close()
                case Closed():
                    pass

    def take_upload(self, stream: int, data: messages.Data, end: bool) -> None:
        request = self.by_stream[stream]
        request.upload += data.tail
        if self.server.takes_uploads:
            self.connection.consumed(stream, len(data.tail))
        if end:
            request.uploaded = True
            self.server.uploads.put_nowait(request)
            if request.when_uploaded is not None:
                request.when_uploaded(request)

    def judge(self, token: str) -> None:
        """Whether the token is good: `tokens` of the server has it, and for how many milliseconds."""
        if token in self.server.tokens:
            self.connection.accept_auth("alice", expires_ms=self.server.tokens[token])
        else:
            self.connection.goaway(ErrorCode.AUTH_FAILED, "wrong token")
            self.flush()
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self.gone.set_result(None)

    def send(self, stream: int, message: messages.Message, end: bool = False) -> None:
        self.connection.send(stream, message, end=end)
        self.flush()

    def flush(self) -> None:
        while self.connection.has_output and self.transport is not None:
            buffers = self.connection.data_to_send()
            if not buffers:
                break
            self.transport.write(b"".join(buffers))

    def hold(self) -> None:
        """Read nothing more (a server that hangs)."""
        self.held = bytearray()

    def cut(self) -> None:
        """End the connection without a word."""
        self.transport.abort()

    def close(self) -> None:
        """End it orderly, after what was written."""
        self.transport.close()

    def goaway(self, code: ErrorCode, message: str = "", *, last_stream: int, **more: Any) -> None:
        self.connection.goaway(code, message, last_stream=last_stream, **more)
        self.flush()


class ScriptedServer:
    """Listens on loopback (or a Unix socket at `path`), with TLS when there is a `context`.

    With `mute` it accepts connections and says nothing; without `takes_uploads` it gives no credit for uploads.
    """

    def __init__(
        self, settings: Settings = SETTINGS, *, path: str | None = None, context: ssl.SSLContext | None = None
    ) -> None:
        self.settings = settings
        self.path = path
        self.context = context
        self.takes_uploads = True
        self.tokens: dict[str, int | None] = {}
        self.auths: list[messages.Auth] = []
        self.shown: asyncio.Queue[str] = asyncio.Queue()
        self.uploads: asyncio.Queue[Request] = asyncio.Queue()
        self.mute = False
        self.url = ""
        self.peers: list[Peer] = []
        self.arrived: asyncio.Queue[Peer] = asyncio.Queue()
        self.requests: asyncio.Queue[Request] = asyncio.Queue()
        self.goaways: list[messages.GoAway] = []
        self.faults: list[Exception] = []
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        if self.path is not None:
            self._server = await loop.create_unix_server(lambda: Peer(self), self.path)
            self.url = f"pixwire+unix://{self.path}"
        else:
            self._server = await loop.create_server(lambda: Peer(self), "127.0.0.1", 0, ssl=self.context)
            scheme = "pixwire" if self.context is None else "pixwires"
            self.url = f"{scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for peer in self.peers:
            if peer.transport is not None:
                peer.transport.abort()
        await asyncio.gather(*(peer.gone for peer in self.peers))
        if kind is None:
            assert not self.faults, self.faults

    async def next(self, kind: type[messages.Message]) -> Request:
        """The next request of the client, which must be of that kind."""
        async with asyncio.timeout(20):
            request = await self.requests.get()
        assert isinstance(request.message, kind), request.message
        return request
