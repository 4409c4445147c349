"""What a driver wants from a client, and where it is to connect."""

import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

Call = Callable[[], Awaitable[object]]
"""One request, from its making to its decoded answer."""


@dataclass(frozen=True, slots=True)
class Place:
    """A server: `addresses` as it printed them; `cafile` when it speaks TLS."""

    addresses: tuple[str, ...]
    cafile: str = ""

    def tcp(self, index: int = 0) -> tuple[str, int]:
        """Host and port."""
        host, _, port = self.addresses[index].rpartition(":")
        return host.rpartition("//")[2], int(port)

    def unix(self, index: int = 0) -> str:
        """The path, or "" for a TCP address."""
        address = self.addresses[index]
        return address if address.startswith("/") else ""

    def tls(self) -> ssl.SSLContext | None:
        """The client's context, or None for cleartext."""
        return ssl.create_default_context(cafile=self.cafile) if self.cafile else None


class Client(Protocol):
    """A client in an asyncio loop."""

    async def connect(self, count: int) -> None:
        """Have at least so many connections; what is asked about exists then."""

    def call(self, operation: str, connection: int) -> Call:
        """`status` or `submit` on that connection."""

    async def fetch(self, size: int, how: str, connection: int = 0) -> memoryview:
        """The image of that size; `how` names the way where there are several."""

    async def close(self) -> None:
        """Leave."""


class BlockingClient(Protocol):
    """A client for threads. The same, without a loop."""

    def connect(self, count: int) -> None: ...

    def call(self, operation: str, connection: int) -> Callable[[], object]: ...

    def fetch(self, size: int, how: str, connection: int = 0) -> memoryview: ...

    def close(self) -> None: ...
