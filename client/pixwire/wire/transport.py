"""One raw byte stream to a server: TCP, TLS or a Unix socket, with what is known about it. No PXW in here.

    wire = await open_wire("pixwires://host", TlsOptions(ca=Path("ca.pem")), timeout=5.0)
    await wire.write(b"...")
    data = await wire.read()        b"" = the peer sends no more
    await wire.close()

What cannot be connected is a WireError in plain words.
"""

# ruff: noqa: ASYNC109 - `timeout` is an option of the tool

import asyncio
import contextlib
import hashlib
import socket
import ssl
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pixwire_protocol.registry import ALPN

from ..cli.exits import ExitCode
from ..errors import InvalidURL
from ..url import parse_url
from .diagnose import why_not_connected
from .errors import InputError, WireError

READ_SIZE: Final = 64 * 1024
CONNECT_SECONDS: Final = 5.0
_TLS_SCHEME: Final = "pixwires://"
_LINGER_NONE: Final = struct.pack("ii", 1, 0)
_GONE: Final = (ConnectionResetError, BrokenPipeError, ConnectionAbortedError, ssl.SSLError)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a server is: host and port, or the path of a Unix socket; with TLS or without."""

    url: str
    host: str
    port: int
    path: str | None
    tls: bool

    @property
    def where(self) -> str:
        """For messages."""
        return self.path or (f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}")

    @property
    def private(self) -> bool:
        """Whether what is sent cannot be overheard by others on a network: TLS, loopback or a Unix socket."""
        return self.tls or self.path is not None or self.host in ("localhost", "::1") or self.host.startswith("127.")


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """How to do TLS. ca: whom to trust instead of the system's list; cert and key: who we are.

    insecure: look at whoever is there, without trust. alpn: names to offer; the server must choose the first.
    server_name: sent in SNI and compared with the certificate, when it is not the URL's host.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    insecure: bool = False
    server_name: str | None = None
    alpn: tuple[str, ...] = (ALPN,)


@dataclass(frozen=True, slots=True)
class TlsFacts:
    """What the TLS handshake led to. Names of the certificate are known only when it was verified."""

    version: str
    cipher: str
    bits: int
    alpn: str | None
    verified: bool
    fingerprint: str
    subject: str | None = None
    issuer: str | None = None
    names: tuple[str, ...] = ()
    not_before: str | None = None
    not_after: str | None = None

    def to_map(self) -> dict[str, Any]:
        """For --json; what is not known is absent."""
        found = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: value for name, value in found.items() if value not in (None, ())}


class Wire:
    """An open byte stream. One task reads, one writes."""

    def __init__(
        self,
        target: Target,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        tls: TlsFacts | None = None,
        connect_ms: float = 0.0,
    ) -> None:
        self.target = target
        self.tls = tls
        self.connect_ms = connect_ms
        self._reader = reader
        self._writer = writer
        self.reset = False
        """Whether the peer cut the connection instead of ending it."""

    async def read(self, size: int = READ_SIZE) -> bytes:
        """The next bytes, b"" when no more come; a cut connection is an end, too (see `reset`)."""
        try:
            return await self._reader.read(size)
        except _GONE:
            self.reset = True
            return b""

    async def write(self, data: bytes | bytearray | memoryview) -> bool:
        """Sends. False when the peer is gone."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except _GONE:
            self.reset = True
            return False
        return True

    def end(self) -> None:
        """Sends no more; reading goes on (not over TLS, which cannot do that)."""
        with contextlib.suppress(OSError, NotImplementedError):
            if self._writer.can_write_eof():
                self._writer.write_eof()

    async def close(self) -> None:
        """Ends it, both directions."""
        self._writer.close()
        with contextlib.suppress(*_GONE, TimeoutError, OSError):
            async with asyncio.timeout(1.0):
                await self._writer.wait_closed()

    def cut(self) -> None:
        """Ends it so that the peer of a TCP connection sees a reset."""
        self.reset = True
        raw = self._writer.get_extra_info("socket")
        if raw is not None and self.target.path is None and raw.family != socket.AF_UNIX:
            with contextlib.suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
        self.abort()

    def abort(self) -> None:
        """Ends it at once; what waits to be sent is lost."""
        self._writer.transport.abort()


def parse_target(url: str) -> Target:
    """Reads a server URL. Raises InputError."""
    tls = url.startswith(_TLS_SCHEME)
    try:
        found = parse_url(f"pixwire://{url.removeprefix(_TLS_SCHEME)}" if tls else url)
    except InvalidURL as error:
        raise InputError(f"{url!r} is not a usable server URL: {error.reason}") from None
    return Target(url, found.host, found.port, found.path, tls)


def tls_context(options: TlsOptions) -> ssl.SSLContext:
    """The context of a client. Raises InputError for files that cannot be used."""
    wrong = repr(str(options.ca))
    try:
        context = ssl.create_default_context(cafile=options.ca)  # with a file: trusts that and nothing else
        if options.cert is not None:
            wrong = repr(str(options.cert)) + (f" with the key {str(options.key)!r}" if options.key else "")
            context.load_cert_chain(options.cert, options.key)
    except OSError as error:
        raise InputError(f"cannot use {wrong}: {_file_problem(error)}", "these must be PEM files") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if options.alpn:
        context.set_alpn_protocols(list(options.alpn))
    if options.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


_TLS_PROBLEMS: Final = {
    "NO_CERTIFICATE_OR_CRL_FOUND": "there is no certificate in it",
    "KEY_VALUES_MISMATCH": "the key belongs to another certificate",
}


def _file_problem(error: OSError) -> str:
    """Why a PEM file cannot be used, in words: OpenSSL's own name its source lines."""
    if not isinstance(error, ssl.SSLError):
        return error.strerror or str(error)
    return _TLS_PROBLEMS.get(error.reason or "", "no certificate, or no key that belongs to it, can be read from it")


async def open_wire(url: str | Target, tls: TlsOptions | None = None, *, timeout: float = CONNECT_SECONDS) -> Wire:
    """Connects. Raises InputError for a bad URL or file, WireError when no connection comes about within `timeout`."""
    target = parse_target(url) if isinstance(url, str) else url
    options = tls or TlsOptions()
    context = tls_context(options) if target.tls else None
    start = time.perf_counter()
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await _connect(target, context, options)
    except TimeoutError:
        raise WireError(
            f"{target.where} did not answer within {timeout:g} s",
            "check the host, the port and the firewall between",
            exit_code=ExitCode.TIMEOUT,
        ) from None
    except OSError as error:
        message, hint = why_not_connected(error, target.where)
        raise WireError(message, hint) from None
    except UnicodeError:  # a part of the name is empty, or has more than 63 characters
        raise InputError(f"{target.url!r} is not a usable server URL: no host can have this name") from None
    connect_ms = (time.perf_counter() - start) * 1000
    found = writer.get_extra_info("ssl_object")
    facts = None if found is None else tls_facts(found, verified=not options.insecure)
    return Wire(target, reader, writer, tls=facts, connect_ms=connect_ms)


async def _connect(
    target: Target, context: ssl.SSLContext | None, options: TlsOptions
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if target.path is not None:
        return await asyncio.open_unix_connection(target.path)
    if context is None:
        return await asyncio.open_connection(target.host, target.port)
    name = options.server_name or target.host
    return await asyncio.open_connection(target.host, target.port, ssl=context, server_hostname=name)


def tls_facts(found: ssl.SSLObject | ssl.SSLSocket, *, verified: bool) -> TlsFacts:
    """What is known about a finished TLS handshake."""
    name, _version, bits = found.cipher() or ("?", "?", 0)
    raw = found.getpeercert(binary_form=True) or b""
    certificate: Any = found.getpeercert() or {}
    return TlsFacts(
        version=found.version() or "?",
        cipher=name,
        bits=bits,
        alpn=found.selected_alpn_protocol(),
        verified=verified,
        fingerprint=hashlib.sha256(raw).hexdigest(),
        subject=_name(certificate.get("subject")),
        issuer=_name(certificate.get("issuer")),
        names=tuple(f"{kind}:{value}" for kind, value in certificate.get("subjectAltName", ())),
        not_before=certificate.get("notBefore"),
        not_after=certificate.get("notAfter"),
    )


def _name(parts: Any) -> str | None:
    """A distinguished name on one line."""
    pairs = [f"{key}={value}" for part in parts or () for key, value in part]
    return ", ".join(pairs) or None
