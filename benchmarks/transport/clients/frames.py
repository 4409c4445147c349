"""Raw PXW frames: the real server without a client library. Heads are packed once and answers read by their header.

What the library does beside (deadlines, reconnecting, decoding, checks) is left out, so this is the protocol's own cost
and what a client could reach.
"""

import asyncio
import socket
import uuid
from struct import Struct
from typing import Final, cast

from msgpack import packb  # type: ignore[import-untyped, unused-ignore]

from benchmarks.transport.clients.base import Call, Place
from benchmarks.transport.clients.blocks import dial, fill
from benchmarks.transport.servers.echo import Corked
from benchmarks.transport.work import PARAMS, image_job, new_params
from pixwire_protocol.connection import Connection, Incoming, Ready, Role, Settings
from pixwire_protocol.header import HEADER
from pixwire_protocol.messages import Credit, Fetch, Request, Status, Submit, Watch, encode
from pixwire_protocol.params import GenerateParams
from pixwire_protocol.registry import HEADER_SIZE, LIMITS, Flag, FrameType

LENGTH: Final = 0xFFFFFF
STREAM: Final = Struct("!I")
STREAM_AT: Final = HEADER_SIZE - STREAM.size
WIDE: Final = Settings(
    agent="frames",
    stream_window=LIMITS["stream_window"].maximum,
    connection_window=LIMITS["connection_window"].maximum,
)
"""Windows that hold the largest image: credit is given once for each."""


def hello() -> tuple[Connection, bytes]:
    """The client's side of a handshake, and its first bytes."""
    connection = Connection(Role.CLIENT, WIDE)
    return connection, b"".join(connection.data_to_send())


def is_ready(items: list[Incoming]) -> bool:
    """Whether these tell that the handshake is done. Raises ConnectionError for anything else."""
    if any(not isinstance(item, Ready) for item in items):
        raise ConnectionError(f"the handshake brought {items}")
    return bool(items)


def request(message: Request, stream: int = 1) -> bytes:
    """A request's frame; nothing follows it on its stream."""
    return b"".join(encode(message, stream, Flag.END))


def submit_frame(job: str, seed: int = PARAMS["seed"]) -> bytes:
    """A SUBMIT of the usual job, as the first request of a connection."""
    return request(Submit(job=job, kind="txt2img", tail=GenerateParams(**PARAMS | {"seed": seed}).pack()))


class Submits:
    """Frames of new jobs, each with a name and a seed of its own, out of one that was packed once."""

    def __init__(self) -> None:
        job, seed = uuid.uuid4().hex, new_params()["seed"]
        self._before, self._between, self._after = (
            part for piece in submit_frame(job, seed).split(job.encode()) for part in piece.split(packb(seed))
        )
        self._stem = job[:20].encode()

    def next(self) -> bytes:
        """The next one."""
        seed = new_params()["seed"]
        return b"%b%b%012x%b%b%b" % (self._before, self._stem, seed, self._between, packb(seed), self._after)


class Requests(asyncio.Protocol):
    """One connection: a future for each stream; writes are joined per turn of the loop."""

    def __init__(self) -> None:
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._hello: Connection | None = None
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._stream = -1
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._out = Corked(self.transport)
        self._hello, first = hello()
        self._out.write(first)

    def data_received(self, data: bytes) -> None:
        if self._hello is not None:
            if is_ready(self._hello.receive(data)):
                self._hello = None
                self.ready.set_result(None)
            return
        data = self._rest + data if self._rest else data
        at, size = 0, len(data)
        while size - at >= HEADER_SIZE:
            word, kind, _, _, stream = HEADER.unpack_from(data, at)
            end = at + HEADER_SIZE + (word & LENGTH)
            if end > size:
                break
            if kind != FrameType.RESULT:
                self._fail(f"the server answered {data[at:end]!r}")
                return
            self._waiting.pop(stream).set_result(data[at:end])
            at = end
        self._rest = data[at:]

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"the server closed the connection ({exc})")

    def _fail(self, why: str) -> None:
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ConnectionError(why))

    async def ask(self, frame: bytes) -> bytes:
        """Send a request (its stream id is put in here) and wait for its answer."""
        stream = self._stream = self._stream + 2
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[stream] = future
        self._out.write(frame[:STREAM_AT] + STREAM.pack(stream) + frame[HEADER_SIZE:])
        return await future


class Frames:
    """The client of the driver. Images come over a blocking socket of their own, as on the floor."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._open: list[Requests] = []
        self._images: Images | None = None
        self._job = uuid.uuid4().hex
        self._submits = Submits()

    async def connect(self, count: int) -> None:
        loop = asyncio.get_running_loop()
        while len(self._open) < count:
            _, made = await loop.create_connection(Requests, *self._place.tcp())
            await made.ready
            self._open.append(made)
            if len(self._open) == 1:
                await made.ask(submit_frame(self._job))

    def call(self, operation: str, connection: int) -> Call:
        own = self._open[connection]
        if operation == "status":
            frame = status_frame(self._job)
            return lambda: own.ask(frame)
        return lambda: own.ask(self._submits.next())

    async def fetch(self, size: int, how: str, connection: int = 0) -> memoryview:
        if self._images is None:
            self._images = Images(dial(self._place.tcp()))
        return self._images.fetch(size)

    async def close(self) -> None:
        for one in self._open:
            one.transport.close()
        if self._images is not None:
            self._images.close()


class Images:
    """FETCH over a blocking socket, straight into the image's buffer."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket, self._stream, self._taken = connection, 1, 0
        state, first = hello()
        connection.sendall(first)
        while not is_ready(state.receive(connection.recv(4096))):
            pass

    def fetch(self, size: int) -> memoryview:
        """The image of that size. A chunk and the next header are read together: the header lies where the next chunk
        will, and is read before that overwrites it.
        """
        ask = request(Fetch(image_job(size)), self._stream) + self._credit()
        self._socket.sendall(ask)
        room = memoryview(bytearray(size + HEADER_SIZE))
        fill(self._socket, room[:HEADER_SIZE])
        length, kind, _ = self._header(room, 0)
        if kind != FrameType.RESULT:
            raise ConnectionError("the server refused the FETCH")
        head = memoryview(bytearray(length + HEADER_SIZE))
        fill(self._socket, head)
        room[:HEADER_SIZE] = head[length:]
        at, ended = 0, False
        while not ended:
            length, kind, flags = self._header(room, at)
            ended = bool(flags & Flag.END)
            fill(self._socket, room[at : at + length + (0 if ended else HEADER_SIZE)])
            at += length
        self._stream, self._taken = self._stream + 2, at
        return room[:at]

    def close(self) -> None:
        self._socket.close()

    def _credit(self) -> bytes:
        """For what the fetch before has taken of the connection's window."""
        return b"".join(encode(Credit(self._taken), 0)) if self._taken else b""

    def _header(self, room: memoryview, at: int) -> tuple[int, int, int]:
        word, kind, flags, _, _ = HEADER.unpack_from(room, at)
        return word & LENGTH, kind, flags


def watch_frame(job: str) -> bytes:
    """A WATCH of a job, as the first request."""
    return request(Watch(job))


def status_frame(job: str) -> bytes:
    """A STATUS, as the first request."""
    return request(Status(job))


def fetch_frame(size: int) -> bytes:
    """A FETCH, as the first request."""
    return request(Fetch(image_job(size)))
