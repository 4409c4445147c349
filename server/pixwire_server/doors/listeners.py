"""Sockets to listen on: bound and tuned, not yet accepting.

A Unix socket listens from the moment it is bound (who connects early waits): only so can another server that starts
tell it from one whose server is gone, and would not remove it. A TCP port listens when `Listener.listen` is called.
"""

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pixwire_server.doors.address import Address, UnixAddress
from pixwire_server.doors.tcp import tune


class ListenError(Exception):
    """An address cannot be listened on. The text names it, says why and what to do."""


_ADVICE = {
    errno.EADDRINUSE: "; another program has it: choose another one with --listen or --http",
    errno.EACCES: "; this user may not: choose a port above 1023 or a folder it may write",
    errno.EADDRNOTAVAIL: "; no interface of this machine has this address",
    errno.ENOENT: "; make the folder first, or choose another one",
    errno.EEXIST: "; a file is there that is no socket: remove it, or choose another path",
    socket.EAI_NONAME: "; write an address of this machine, or 0.0.0.0 for all it has",
}
BACKLOG = 1024
"""Connections that may wait to be accepted."""


@contextlib.contextmanager
def _explained(address: Address) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        raise ListenError(f"cannot listen on {address.url}: {why}{_ADVICE.get(error.errno or 0, '')}") from error
    except UnicodeError as error:  # an empty part, or one of more than 63 bytes
        why = f"this is no name of a machine{_ADVICE[socket.EAI_NONAME]}"
        raise ListenError(f"cannot listen on {address.url}: {why}") from error


@dataclass(frozen=True, slots=True)
class Listener:
    """A real address (a free port instead of 0) and the bound sockets that serve it."""

    address: Address
    sockets: list[socket.socket]
    file: tuple[int, int] | None = None
    """Device and inode of the socket file, for a Unix socket."""

    def listen(self) -> None:
        """Let clients connect. ListenError when another program took the port, or the path, since it was bound.

        To be called before an event loop accepts: uvloop would keep to itself that the port is gone.
        """
        with _explained(self.address):
            if isinstance(self.address, UnixAddress) and _file_at(self.address.path) != self.file:
                raise OSError("the socket file was removed or replaced while the server was starting; start it again")
            for sock in self.sockets:
                sock.listen(BACKLOG)

    def close(self) -> None:
        """Close the sockets and remove what they left in the file system."""
        for sock in self.sockets:
            sock.close()
        if isinstance(self.address, UnixAddress) and _file_at(self.address.path) == self.file:
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
        sock = _bind_unix(address)
        return Listener(address, [sock], _file_at(address.path))
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
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _remove_stale(path: Path) -> None:
    """Remove the socket file of a server that is gone; leave a live one alone (binding then fails and says so)."""
    if not os.path.lexists(path):
        return
    if not path.is_socket():
        raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()


def _file_at(path: str) -> tuple[int, int] | None:
    """Which file is at `path`, if any."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
