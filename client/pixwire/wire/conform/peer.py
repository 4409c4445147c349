"""One raw connection of the tester: sends any bytes, reads frames, and never waits without a bound.

A bound is only there for a peer that hangs. What is to be seen is always awaited as a definite frame or as the end of
the byte stream: "nothing comes" is what came before the answer to a PING that was sent behind.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final, Generic, Protocol, TypeVar

from pixwire_protocol.registry import HEADER_SIZE, MAX_STREAM, ErrorCode

from ..transport import Wire
from .frames import HEADER, MARKER, Frame, code_name, opens_stream, ping, split_frames
from .verdicts import Ended, Failure, Silent, Violation

PREFACE_SIZE: Final = 8
_FENCES = itertools.count(1)


class Judge(Protocol):
    """Reads along."""

    def sent(self, frame: Frame) -> None:
        """The tester sent this."""

    def received(self, frame: Frame) -> None:
        """The peer sent this. Raises Violation."""


J = TypeVar("J", bound=Judge)


class Peer(Generic[J]):
    """Frames over a byte stream. `deadline` bounds every wait for the other side, in seconds."""

    def __init__(self, wire: Wire, deadline: float, judge: J) -> None:
        self._wire = wire
        self._buffer = bytearray()
        self.deadline = deadline
        self.judge = judge
        self.inbox: deque[Frame] = deque()
        """Frames that were read and that nobody has asked for yet."""
        self.history: deque[Frame] = deque(maxlen=6)
        self.welcome: dict[str, Any] = {}
        self.next_stream = 1
        self.over = False

    # ------------------------------------------------------------------ sending

    async def send(self, *parts: bytes) -> None:
        """Send bytes in one write. A peer that has closed already is no error: reading will tell."""
        data = b"".join(parts)
        for frame in split_frames(data):
            self.judge.sent(frame)
            if opens_stream(frame) and self.next_stream <= frame.stream < MAX_STREAM - 1:
                self.next_stream = (frame.stream + 2) | 1
        await self.send_raw(data)

    async def send_raw(self, data: bytes) -> None:
        """The same for bytes whose frames are none: pieces, other protocols."""
        try:
            async with asyncio.timeout(self.deadline):
                await self._wire.write(data)
        except TimeoutError:
            raise Silent(f"it takes no bytes for {self.deadline:g} s") from None

    async def send_slowly(self, data: bytes, sizes: Iterable[int]) -> None:
        """Send bytes in pieces of these sizes, each handed to the kernel by itself; the rest at the end."""
        position = 0
        for size in sizes:
            await self.send_raw(data[position : position + size])
            position += size
            await asyncio.sleep(0)  # let the transport write before the next piece is there
        if position < len(data):
            await self.send_raw(data[position:])

    def stream(self) -> int:
        """A fresh stream id."""
        stream, self.next_stream = self.next_stream, self.next_stream + 2
        return stream

    def half_close(self) -> None:
        """Send no more (over TLS, which cannot do that, nothing happens)."""
        self._wire.end()

    # ------------------------------------------------------------------ receiving

    async def exactly(self, size: int) -> bytes:
        """The next `size` bytes."""
        while len(self._buffer) < size:
            try:
                async with asyncio.timeout(self.deadline):
                    data = await self._wire.read()
            except TimeoutError:
                raise Silent(f"nothing came within {self.deadline:g} s{self._last()}") from None
            if not data:
                how = "cut" if self._wire.reset else "closed"
                rest = f" behind {len(self._buffer)} bytes of a frame" if self._buffer else ""
                raise Ended(f"the connection was {how}{rest}{self._last()}", reset=self._wire.reset)
            self._buffer += data
        found = bytes(self._buffer[:size])
        del self._buffer[:size]
        return found

    async def read(self) -> Frame:
        """Read the next frame from the socket and let the judge see it."""
        header = await self.exactly(HEADER_SIZE)
        word, kind, flags, head_size, stream = HEADER.unpack(header)
        length = word & 0xFFFFFF
        if word >> 24 != MARKER:
            raise Violation("PXW-FRM-001", f"a frame begins with {header.hex(' ')}{self._last()}")
        if head_size > length or stream >> 31:
            raise Violation("PXW-FRM-009", f"a header contradicts itself: {header.hex(' ')}{self._last()}")
        body = await self.exactly(length)
        frame = Frame(kind, flags, stream, body[:head_size], body[head_size:])
        self.judge.received(frame)
        self.history.append(frame)
        return frame

    async def receive(self) -> Frame:
        """The next frame."""
        return self.inbox.popleft() if self.inbox else await self.read()

    async def find(self, wanted: Callable[[Frame], bool]) -> Frame:
        """The first frame that is wanted; the others stay for later."""
        for frame in self.inbox:
            if wanted(frame):
                self.inbox.remove(frame)
                return frame
        while True:
            frame = await self.read()
            if wanted(frame):
                return frame
            self.inbox.append(frame)

    async def on(self, stream: int) -> Frame:
        """The next frame on a stream (CREDIT excepted). Fails when the peer ends the connection instead."""
        frame = await self.find(lambda frame: (frame.stream == stream and frame.name != "CREDIT") or _is_failure(frame))
        if frame.stream != stream:
            raise Failure(f"waiting for stream {stream}, the connection was ended: {frame}")
        return frame

    async def named(self, name: str) -> Frame:
        """The next frame of this message."""
        frame = await self.find(lambda frame: frame.name == name or _is_failure(frame))
        if frame.name != name:
            raise Failure(f"waiting for {name}, the connection was ended: {frame}")
        return frame

    async def fence(self) -> list[Frame]:
        """Everything that comes before the answer to a PING that is sent now."""
        payload = next(_FENCES).to_bytes(8, "big")
        await self.send(ping(payload))
        before, self.inbox = list(self.inbox), deque()
        while True:
            frame = await self.read()
            if frame.name == "PONG" and frame.tail == payload:
                return before
            if _is_failure(frame):
                raise Failure(f"a PING was not answered: {frame}")
            before.append(frame)

    async def ended(self) -> list[Frame]:
        """Everything up to the end of the byte stream, however it ends."""
        frames = list(self.inbox)
        self.inbox.clear()
        try:
            while True:
                frames.append(await self.read())
        except Ended:
            self.over = True
            return frames

    async def failed(self, *codes: ErrorCode) -> list[Frame]:
        """The peer ends the connection: GOAWAY with one of these codes is its last frame. Returns what came before."""
        wanted = " or ".join(code.name for code in codes)
        frames = list(self.inbox)
        self.inbox.clear()
        try:
            while True:
                frames.append(await self.read())
                if frames[-1].name == "PONG" and frames[-1].tail == _PROBE:
                    raise Failure(f"GOAWAY {wanted} was expected, but the connection goes on{self._last()}")
                if frames[-1].name == "AUTH_OK":
                    raise Failure(f"GOAWAY {wanted} was expected, AUTH_OK came{self._last()}")
        except Ended as end:
            self.over = True
            if not frames or frames[-1].name != "GOAWAY":
                raise Failure(f"GOAWAY {wanted} was expected as the last frame; {end}") from None
        said = frames.pop().head.get("code")
        if said not in codes:
            raise Failure(f"GOAWAY {wanted} was expected, {code_name(said)} came{self._last()}")
        return frames

    async def dies(self, *codes: ErrorCode, of: bytes, probe: bool = True) -> list[Frame]:
        """Send offending bytes; the peer ends the connection with one of these codes.

        With `probe` a PING follows: a peer that answers it has not minded the bytes before it.
        """
        await self.send(of, ping(_PROBE) if probe else b"")
        return await self.failed(*codes)

    @property
    def ahead(self) -> bytes:
        """Bytes that have arrived and that nobody has read as frames."""
        return bytes(self._buffer)

    # ------------------------------------------------------------------ the end

    def cut(self) -> None:
        """Drop the connection at once."""
        self.over = True
        self._wire.abort()

    async def close(self) -> None:
        """End it, both directions."""
        self.over = True
        await self._wire.close()

    def _last(self) -> str:
        return f"; last came: {', '.join(map(str, self.history))}" if self.history else ""


_PROBE: Final = b"conform?"


def _is_failure(frame: Frame) -> bool:
    """Whether the frame ends the connection."""
    if frame.stream != 0 or frame.name not in ("GOAWAY", "ERROR"):
        return False
    return frame.name == "ERROR" or frame.head.get("code") not in (ErrorCode.NO_ERROR, ErrorCode.DRAINING)
