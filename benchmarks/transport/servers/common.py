"""What the servers share: their options, sockets, TLS, and the thread that computes beside them."""

import argparse
import os
import socket
import ssl
import threading
from dataclasses import dataclass

BACKLOG = 16_384
IDLE_S = 3600
"""How long a peer keeps an idle connection: none may vanish while ten thousand are counted."""
WIDTH = 512
"""Of the matrices that are multiplied beside a server: a few milliseconds for one product."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a server is started. `unix`: a path instead of a TCP port; `cert` and `key`: TLS."""

    unix: str = ""
    cert: str = ""
    key: str = ""
    torch: bool = False


def options(description: str | None) -> Options:
    """From the command line. Starts the computing thread, if there is to be one."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--unix", default="", metavar="PATH", help="a Unix socket instead of a TCP port")
    parser.add_argument("--cert", default="", metavar="FILE", help="certificate chain, for TLS")
    parser.add_argument("--key", default="", metavar="FILE", help="its private key")
    parser.add_argument("--torch", action="store_true", help="a thread of this process multiplies matrices meanwhile")
    given = Options(**vars(parser.parse_args()))
    if given.torch:
        threading.Thread(target=compute, daemon=True).start()
    return given


def compute() -> None:
    """Multiply matrices for ever, on one core. Torch gives the GIL away inside a product, not between two."""
    import torch

    torch.set_num_threads(1)
    left, right = torch.rand(WIDTH, WIDTH), torch.rand(WIDTH, WIDTH)
    while True:
        torch.mm(left, right)


def ready(address: str) -> None:
    """Tell whoever started this server where it listens."""
    print(f"ready {address}", flush=True)


def listening(given: Options) -> tuple[socket.socket, str]:
    """A bound socket, listening, and its address: `127.0.0.1:PORT` or a path."""
    if given.unix:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(given.unix)
        listener.listen(BACKLOG)
        return listener, given.unix
    listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    host, port = listener.getsockname()
    return listener, f"{host}:{port}"


def tls(given: Options) -> ssl.SSLContext | None:
    """The server's context, or None for cleartext."""
    if not given.cert:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(given.cert, given.key)
    return context


def free_port() -> int:
    """A port for a server that wants to be told one."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def stay(niceness: int) -> None:
    """Stand back for the others by this much, as pixwire's engine does."""
    os.nice(niceness)
