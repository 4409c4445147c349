"""One socket of a client that never blocks: it connects, does TLS if it has to, then carries bytes. SPEC 3.

Only the thread of the connections touches it. Bytes come straight into the buffer that the session offers (the final
one, for images). Where a pipe is in its life says which method is called when the socket is ready:

    CONNECTING -> (HANDSHAKE) -> OPEN -> (CLOSING) -> closed
"""

import errno
import selectors
import socket
from collections.abc import Sequence
from contextlib import suppress
from enum import Enum, auto
from time import monotonic as now
from typing import TYPE_CHECKING, Any, Protocol, cast

from pixwire_protocol.registry import ALPN

from ..core.channel import Channel
from ..core.session import ClientSession
from ..core.updates import Update
from ..net.problems import describe, no_alpn
from ..net.tls import wanted
from ..url import Endpoint

if TYPE_CHECKING:
    from ssl import SSLContext, SSLSocket

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
Address = tuple[int, int, int, Any]
"""Family, type, protocol and address, as `socket` wants them."""


class Phase(Enum):
    """Where a pipe is in its life."""

    CONNECTING = auto()
    HANDSHAKE = auto()
    OPEN = auto()
    CLOSING = auto()
    CLOSED = auto()


class Host(Protocol):
    """What a pipe needs of the thread it lives in."""

    session: ClientSession
    selector: selectors.BaseSelector
    reached: bool
    was_connected: bool
    bytes_received: int

    def heard(self, updates: Sequence[Update]) -> None:
        """Carries out what the session wants."""


class Pipe:
    """The transport of one channel. With a TLS context the handshake belongs to connecting."""

    def __init__(self, host: Host, channel: Channel, endpoint: Endpoint, context: "SSLContext | None") -> None:
        self._host = host
        self._channel = channel
        self._endpoint = endpoint
        self._context = context
        self._addresses: list[Address] = []
        self._socket: socket.socket | None = None
        self._out = memoryview(b"")
        self._mask = 0
        self._write_waits = 0  # for what; TLS may have to read first
        self._read_waits = 0
        self.phase = Phase.CONNECTING

    @property
    def closed(self) -> bool:
        """Whether it is over."""
        return self.phase is Phase.CLOSED

    # --- connecting

    def connect(self, addresses: Sequence[Address]) -> None:
        """Tries the addresses of the server, one after the other."""
        self._addresses = list(addresses)
        self._try_next(OSError(errno.EADDRNOTAVAIL, "the host has no address"))

    def _try_next(self, problem: OSError) -> None:
        self._drop_socket()
        if self.phase is not Phase.CONNECTING:
            return
        if not self._addresses:
            self._fail(describe(problem, self._endpoint))
            return
        family, kind, protocol, address = self._addresses.pop(0)
        try:
            self._socket = socket.socket(family, kind, protocol)
            self._socket.setblocking(False)
            code = self._socket.connect_ex(address)
        except OSError as error:
            self._try_next(error)
            return
        if code not in (0, errno.EINPROGRESS):
            self._try_next(OSError(code, ""))
            return
        self._watch(WRITE)

    def _on_connecting(self) -> None:
        connected = self._sock
        code = connected.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._try_next(OSError(code, ""))
            return
        if connected.family != socket.AF_UNIX:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context is None:
            self._open()
            return
        self._watch(0)
        try:
            self._socket = self._context.wrap_socket(
                connected, do_handshake_on_connect=False, server_hostname=self._endpoint.host
            )
        except (OSError, ValueError) as error:  # ValueError: a host name that no certificate can have
            self._fail(describe(error, self._endpoint))
            return
        self.phase = Phase.HANDSHAKE
        self._on_handshake()

    def _on_handshake(self) -> None:
        import ssl

        secure = self._secure
        try:
            secure.do_handshake()
        except ssl.SSLWantReadError:
            self._watch(READ)
        except ssl.SSLWantWriteError:
            self._watch(WRITE)
        except OSError as error:
            self._host.reached = self._host.reached or isinstance(error, ssl.SSLError)
            final = isinstance(error, ssl.SSLCertVerificationError) or "NO_APPLICATION" in str(error)
            self._fail(describe(error, self._endpoint), final=final)
        else:
            if secure.selected_alpn_protocol() != ALPN:
                self._host.reached = True
                self._fail(no_alpn(), final=True)
            else:
                self._open()

    def _open(self) -> None:
        self.phase = Phase.OPEN
        self._host.reached = self._host.was_connected = True
        self._watch(READ)

    # --- bytes

    def on_ready(self, mask: int) -> None:
        """The socket can do something."""
        match self.phase:
            case Phase.CONNECTING:
                self._on_connecting()
            case Phase.HANDSHAKE:
                self._on_handshake()
            case Phase.OPEN if mask & (READ | self._read_waits):
                self._read()
        # what can be written, `flush` writes: the thread calls it for every pipe after anything happened

    def _read(self) -> None:
        host, channel, source = self._host, self._channel, self._sock
        self._read_waits = 0
        while True:
            try:
                count = source.recv_into(channel.get_buffer(-1))
            except BlockingIOError:
                return
            except OSError as error:
                if not self._may_go_on(error):
                    self._lose(describe(error))
                elif wanted(error) == "write":
                    self._read_waits = WRITE
                return
            if not count:
                host.heard(host.session.receive_eof(channel, now()))
                self._lose("the server closed the connection")
                return
            host.bytes_received += count
            if updates := host.session.buffer_updated(channel, count, now()):
                host.heard(updates)
            # What TLS has decrypted already makes no socket readable; everything else waits for its turn.
            if self.phase is not Phase.OPEN or self._context is None or not self._secure.pending():
                return

    def flush(self) -> None:
        """Sends what there is to send, as far as the network takes it."""
        if self.phase not in (Phase.OPEN, Phase.CLOSING):
            return
        host, channel = self._host, self._channel
        self._write_waits = 0
        while self._out or channel.has_output:
            if not self._out:
                buffers, updates = host.session.data_to_send(channel, now())
                self._out = memoryview(b"".join(buffers))
                if updates:
                    host.heard(updates)
                if not self._out:
                    break
            try:
                self._out = self._out[self._sock.send(self._out) :]
            except BlockingIOError:
                self._write_waits = WRITE
                break
            except OSError as error:
                if not self._may_go_on(error):
                    self._lose(describe(error))
                    return
                self._write_waits = READ if wanted(error) == "read" else WRITE
                break
        if self.phase is Phase.CLOSING and not self._write_waits:
            self._shut()
        elif self._socket is not None:
            self._watch(self._write_waits | (READ | self._read_waits if self.phase is Phase.OPEN else 0))

    # --- the end

    def hang_up(self) -> None:
        """Sends what is left, then closes."""
        if self.phase is Phase.OPEN:
            self.phase = Phase.CLOSING
            self.flush()
        elif self.phase is not Phase.CLOSING:
            self._shut()

    def abort(self) -> None:
        """Closes at once."""
        self.phase = Phase.CLOSED
        self._out = memoryview(b"")  # `flush` may be under way, further up
        self._drop_socket()

    def forget(self) -> None:
        """Closes our copy of a socket that belongs to the process from which this one was forked."""
        self.phase = Phase.CLOSED
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _shut(self) -> None:
        if self._context is not None and self._socket is not None and self.phase is Phase.CLOSING:
            with suppress(OSError, ValueError):
                self._secure.unwrap()  # says goodbye, and does not wait for the server's
        self.abort()

    def _lose(self, reason: str) -> None:
        self.abort()
        self._host.heard(self._host.session.lose(self._channel, reason, now()))

    def _fail(self, reason: str, *, final: bool = False) -> None:
        self.abort()
        self._host.heard(self._host.session.lose(self._channel, reason, now(), final=final))

    @property
    def _sock(self) -> socket.socket:
        return cast("socket.socket", self._socket)  # a pipe that is over is not asked any more

    @property
    def _secure(self) -> "SSLSocket":
        return cast("SSLSocket", self._socket)  # with a context, once it is connected

    def _may_go_on(self, error: OSError) -> bool:
        """Whether TLS only wants the socket to be ready for something first."""
        return self._context is not None and wanted(error) is not None

    def _watch(self, mask: int) -> None:
        """Be told when the socket can do this."""
        if mask == self._mask or self._socket is None:
            return
        selector, handler = self._host.selector, self.on_ready
        if not self._mask:
            selector.register(self._socket, mask, handler)
        elif mask:
            selector.modify(self._socket, mask, handler)
        else:
            selector.unregister(self._socket)
        self._mask = mask

    def _drop_socket(self) -> None:
        if self._socket is not None:
            self._watch(0)
            self._socket.close()
            self._socket = None
