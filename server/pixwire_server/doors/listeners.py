"""Sockets to listen on: bound and tuned, not yet accepting."""

import asyncio
import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pixwire_server.doors.address import Address, UnixAddress
from pixwire_server.doors.tcp import tune


class ListenError(Exception):
    """An address cannot be listened on. The text names it, says why and what to do."""


_ADVICE = {
    errno.EADDRINUSE: "; another program has it: choose another one with --listen",
    errno.EACCES: "; this user may not: choose a port above 1023 or a folder it may write",
    errno.EADDRNOTAVAIL: "; no interface of this machine has this address",
}


@contextlib.contextmanager
def _explained(address: Address) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        raise ListenError(f"cannot listen on {address.url}: {why}{_ADVICE.get(error.errno or 0, '')}") from error


@dataclass(frozen=True, slots=True)
class Listener:
    """A real address (a free port instead of 0) and the bound sockets that serve it."""

    address: Address
    sockets: list[socket.socket]

    def close(self) -> None:
        """Close the sockets and remove what they left in the file system."""
        for sock in self.sockets:
            sock.close()
        if isinstance(self.address, UnixAddress):
            Path(self.address.path).unlink(missing_ok=True)


async def bind_all(addresses: Sequence[Address]) -> list[Listener]:
    """A listener for each address; ListenError if one of them is not possible, and then none is held."""
    bound: list[Listener] = []
    try:
        for address in addresses:
            with _explained(address):
                bound.append(await _bind(address))
    except BaseException:
        for listener in bound:
            listener.close()
        raise
    return bound


async def _bind(address: Address) -> Listener:
    """A name may have several addresses (`localhost`: IPv4 and IPv6): all get one port, one that works is enough."""
    if isinstance(address, UnixAddress):
        return Listener(address, [_bind_unix(address)])
    infos = await asyncio.get_running_loop().getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    bound: list[socket.socket] = []
    failure: OSError | None = None
    for family, _, _, _, place in dict.fromkeys(infos):
        try:
            bound.append(_bind_tcp(family, (place[0], address.port, *place[2:])))
        except OSError as error:
            failure = failure or error
        else:
            address = replace(address, port=bound[0].getsockname()[1])
    if not bound:
        raise failure or OSError("the name has no address")
    return Listener(address, bound)


def _bind_tcp(family: int, place: tuple[object, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        tune(sock)
        sock.bind(place)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _bind_unix(address: UnixAddress) -> socket.socket:
    path = Path(address.path)
    if len(os.fsencode(path)) > 107:
        raise OSError(f"the path has {len(os.fsencode(path))} bytes, a socket's may have 107")
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(address.path)
        path.chmod(0o600)  # nobody can connect before listen(), so there is no moment in which others could
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _remove_stale(path: Path) -> None:
    """Remove the socket file of a server that is gone; leave anything else alone (binding then fails and says so)."""
    if not path.exists() or not stat.S_ISSOCK(path.stat().st_mode):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
