"""A client that is nothing but a socket and a `Connection`: every byte it sends or takes is the test's decision."""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from pixwire_protocol.connection import AuthNeeded, Connection, Incoming, Ready, Received, Role, Settings
from pixwire_protocol.messages import Data, Error, Event, GoAway, Request, Result
from pixwire_protocol.registry import ErrorCode
from pixwire_server.doors.address import Address, UnixAddress
from pixwire_server.doors.door import Door
from pixwire_server.doors.settings import DoorSettings

SETTINGS = DoorSettings(agent="door-under-test", server_id="server-1", epoch="epoch-1")
DEADLINE_S = 10.0
"""A bound for a hang, never a measure."""
CHUNK = 1 << 16

Found = TypeVar("Found")


class TlsEnd:
    """A client's TLS without I/O: what is to be sent, and what was received, pass through it."""

    def __init__(self, context: ssl.SSLContext, server_name: str) -> None:
        self._arriving, self._leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._arriving, self._leaving, server_hostname=server_name)

    def encrypt(self, data: bytes) -> bytes:
        self.tls.write(data)
        return self._leaving.read()

    def decrypt(self, data: bytes) -> bytes:
        self._arriving.write(data)
        plain = b""
        try:
            while piece := self.tls.read(CHUNK):
                plain += piece
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            pass
        return plain

    async def shake_hands(self, sock: socket.socket) -> None:
        """Raises ssl.SSLError when the server refuses, EOFError when it only closes."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                done = False
            else:
                done = True
            if self._leaving.pending:
                await loop.sock_sendall(sock, self._leaving.read())
            if done:
                return
            data = await loop.sock_recv(sock, CHUNK)
            if not data:
                raise EOFError("the server closed during the handshake")
            self._arriving.write(data)


class RawClient:
    """Receives only inside `wait`, so a test may stall by simply not waiting."""

    def __init__(self, sock: socket.socket, connection: Connection, tls: TlsEnd | None = None) -> None:
        self.sock = sock
        self.connection = connection
        self.tls = tls
        self.inbox: deque[Incoming] = deque()
        self.received_bytes = 0
        self.eof = False
        self.shut = False

    @classmethod
    async def connect(
        cls, address: Address, tls: ssl.SSLContext | None = None, source: str | None = None, **settings: object
    ) -> "RawClient":
        """`tls`: encrypted; `source`: from this address of the machine; the rest are settings of the connection."""
        loop = asyncio.get_running_loop()
        is_unix = isinstance(address, UnixAddress)
        sock = socket.socket(socket.AF_UNIX if is_unix else socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        place = address.path if isinstance(address, UnixAddress) else (address.host, address.port)
        if not is_unix:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        end = None if tls is None else TlsEnd(tls, "localhost")
        try:
            if source is not None:
                sock.bind((source, 0))
            await loop.sock_connect(sock, place)
            if end is not None:
                async with asyncio.timeout(DEADLINE_S):
                    await end.shake_hands(sock)
        except BaseException:
            sock.close()
            raise
        # limits and features, as the test wants them
        connection = Connection(Role.CLIENT, Settings(agent="raw-client", **settings))  # type: ignore[arg-type]
        return cls(sock, connection, end)

    # ------------------------------------------------------------------ sending

    async def open(self, *messages: Request) -> list[int]:
        """Send requests in one write; returns their streams."""
        streams = [self.connection.open(message) for message in messages]
        await self.flush()
        return streams

    async def flush(self) -> None:
        while buffers := self.connection.data_to_send():
            await self.send_bytes(b"".join(buffers))

    async def send_bytes(self, data: bytes) -> None:
        if self.tls is not None:
            data = self.tls.encrypt(data)
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.get_running_loop().sock_sendall(self.sock, data)

    # ------------------------------------------------------------------ receiving

    async def ready(self) -> Ready:
        await self.flush()
        return await self.wait(lambda item: item if isinstance(item, Ready) else None)

    async def authenticate(self, token: str, mechanism: str = "bearer") -> Ready:
        """The handshake with a token."""
        await self.flush()
        await self.wait(lambda item: item if isinstance(item, AuthNeeded) else None)
        self.connection.authenticate(mechanism, token)
        return await self.ready()

    async def wait(self, choose: Callable[[Incoming], Found | None]) -> Found:
        """The first received thing that `choose` makes something of; the others stay for later calls."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                for item in self.inbox:
                    found = choose(item)
                    if found is not None:
                        self.inbox.remove(item)
                        return found
                assert not self.eof, f"the server closed; not waited for: {list(self.inbox)}"
                await self.read()

    async def read(self) -> None:
        """Take what has arrived, at least one byte (or the end)."""
        data = await asyncio.get_running_loop().sock_recv(self.sock, CHUNK)
        self.received_bytes += len(data)
        self.eof = not data
        if self.tls is not None and data:
            data = self.tls.decrypt(data)
            if not data:
                return
        self.inbox += self.connection.receive(data) if data else self.connection.receive_eof()
        if not self.shut:
            await self.flush()

    async def next(self, stream: int) -> Received:
        """The next message on `stream`."""
        return await self.wait(lambda item: item if isinstance(item, Received) and item.stream == stream else None)

    async def body(self, stream: int) -> dict[str, Any]:
        """The body of the next RESULT or EVENT."""
        message = (await self.next(stream)).message
        assert isinstance(message, Result | Event), message
        return message.body

    async def error(self, stream: int) -> Error:
        """The next message, an ERROR that ends the stream."""
        received = await self.next(stream)
        assert isinstance(received.message, Error), received
        assert received.end
        return received.message

    async def last(self, stream: int) -> dict[str, Any]:
        """The body of the next RESULT or EVENT, with which the stream ends."""
        received = await self.next(stream)
        assert received.end
        assert isinstance(received.message, Result | Event), received
        return received.message.body

    async def data(self, stream: int, *, consume: bool = True) -> bytes:
        """The next DATA; with `consume` its credit goes back."""
        message = (await self.next(stream)).message
        assert isinstance(message, Data), message
        if consume:
            self.connection.consumed(stream, len(message.tail))
            await self.flush()
        return bytes(message.tail)

    async def image(self, stream: int, *, consume: bool = True) -> tuple[dict[str, Any], bytes]:
        """A RESULT and its DATA."""
        announced = await self.body(stream)
        data = bytearray()
        while len(data) < announced["length"]:
            data += await self.data(stream, consume=consume)
        return announced, bytes(data)

    async def failure(self) -> GoAway:
        """The server's last word: a GOAWAY with an error code."""

        def choose(item: Incoming) -> GoAway | None:
            message = item.message if isinstance(item, Received) else None
            return message if isinstance(message, GoAway) and message.code != ErrorCode.DRAINING else None

        return await self.wait(choose)

    async def closed(self) -> None:
        """Read until the server has closed; whatever came before is in the inbox."""
        async with asyncio.timeout(DEADLINE_S):
            while not self.eof:
                try:
                    await self.read()
                except ConnectionResetError:
                    self.eof = True

    # ------------------------------------------------------------------ leaving

    def half_close(self) -> None:
        """Send no more, read on."""
        self.shut = True
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Vanish as a crashed machine's kernel would: RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.sock.close()

    def close(self) -> None:
        self.sock.close()


OpenDoor = Callable[..., Awaitable[tuple[Door, Address]]]
"""What the fixture `open_door` gives: address and settings -> the door and where it listens."""
Connect = Callable[..., Awaitable[RawClient]]
"""What the fixture `connect` gives: address and the client's settings -> a client."""
