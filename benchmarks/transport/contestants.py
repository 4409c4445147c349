"""Who is compared: servers, and clients against them. The tables are the whole of it."""

from dataclasses import dataclass
from typing import Final

SERVERS_PACKAGE: Final = "benchmarks.transport.servers"
C_SOCKET, PY_SOCKET = "floor: C socket", "floor: blocking Python"
ECHO, CORKED = "echo: uvloop", "echo: uvloop, corked"
FDATASYNC, COMMIT, GROUP = "floor: fdatasync", "floor: SQLite commit", "floor: SQLite commits of 64"
PXW, THREADS, FRAMES, DOOR = "pixwire asyncio", "pixwire threads", "pixwire raw frames", "pixwire HTTP door"
FASTAPI, ASGI, AIOHTTP, HTTPX = "FastAPI", "ASGI on uvicorn", "aiohttp", "FastAPI, httpx"
GRPC, LITSERVE, MOSEC = "gRPC", "LitServe", "mosec"

BASE64 = "base64"
CHUNKS: Final = (64 << 10, 256 << 10, 1 << 20)
"""Of gRPC's streamed images, in bytes."""


@dataclass(frozen=True, slots=True)
class Server:
    """A program to start. `module` in `servers`; "" is the C program. `tls`, `unix`: whether it can."""

    module: str
    what: str
    tls: bool = False
    unix: bool = False


@dataclass(frozen=True, slots=True)
class Contestant:
    """A client (kind of driver) against a server. `address`: which of those that the server prints comes first.

    `many`: whether 64 requests share a connection; `operations` and `fetches` (ways to fetch, "" the only one) are what
    it takes part in; `small`: whether a small request beside a large fetch is measured, with which way of fetching.
    """

    server: str
    kind: str
    what: str
    operations: tuple[str, ...] = ("status",)
    many: bool = False
    pools: bool = True
    fetches: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    address: int = 0


SERVERS: Final = {
    "native": Server("", "C, epoll, one thread; `cc -O2`, compiled for the run"),
    "blocks": Server("blocks", "Python, blocking sockets, a thread for each connection"),
    "echo": Server("echo", "uvloop Protocol that writes what it gets", tls=True, unix=True),
    "pxw": Server(
        "pxw",
        "the real server: configuration, doors, journal (SQLite, synchronous=FULL), store; no engine at work"
        " (--max-resident 0); PXW and HTTP door in one process; rate limits raised",
        tls=True,
        unix=True,
    ),
    "fastapi": Server("fastapi_app", "FastAPI, pydantic models, uvicorn (uvloop, httptools), no log", True, True),
    "asgi": Server("asgi", "bare ASGI function, msgspec, uvicorn (uvloop, httptools), no log", True, True),
    "aiohttp": Server("aiohttp_app", "aiohttp.web on uvloop, msgspec, no access log", True, True),
    "grpc": Server("grpc_app", "grpc.aio on asyncio, protobuf (upb)", tls=True, unix=True),
    "litserve": Server("litserve_app", "LitServe, one worker, fast_queue (ZeroMQ), JSON"),
    "mosec": Server("mosec_app", "mosec (Rust server), one worker, msgpack"),
}

BOTH = ("status", "submit")
CONTESTANTS: Final = {
    C_SOCKET: Contestant("native", "native", "C client, one thread", many=True, fetches=("",)),
    PY_SOCKET: Contestant("blocks", "blocks", "blocking socket in Python", pools=False, fetches=("",)),
    ECHO: Contestant("echo", "echo", "uvloop Protocol, a future for each request", many=True),
    CORKED: Contestant("echo", "echo-corked", "the same, writes of a loop turn joined on both sides", many=True),
    PXW: Contestant("pxw", "pxw", "pixwire.AsyncClient on uvloop", BOTH, True, True, ("",), ("",)),
    THREADS: Contestant(
        "pxw", "pxw-sync", "pixwire.Client, a thread for each request under way", BOTH, True, True, ("",)
    ),
    FRAMES: Contestant(
        "pxw", "pxw-raw", "no library: frames packed once, answers read by their header", BOTH, True, True, ("",)
    ),
    DOOR: Contestant(
        "pxw", "http", "aiohttp client on uvloop against `pixwire serve --http`", BOTH, False, True, ("",), ("",), 1
    ),
    FASTAPI: Contestant("fastapi", "http", "aiohttp client on uvloop", BOTH, fetches=("", BASE64)),
    ASGI: Contestant("asgi", "http", "aiohttp client on uvloop", BOTH, fetches=("", BASE64), beside=("",)),
    AIOHTTP: Contestant("aiohttp", "http", "aiohttp client on uvloop", BOTH, fetches=("",), beside=("",)),
    HTTPX: Contestant("fastapi", "httpx", "httpx client; one at a time only", pools=False),
    GRPC: Contestant(
        "grpc",
        "grpc",
        "grpc.aio client, a channel for each connection",
        BOTH,
        True,
        True,
        ("unary", *map(str, CHUNKS)),
        ("unary", *map(str, CHUNKS[:2])),
    ),
    LITSERVE: Contestant("litserve", "litserve", "aiohttp client on uvloop; STATUS only"),
    MOSEC: Contestant("mosec", "mosec", "aiohttp client on uvloop; STATUS only"),
}
HTTP_PEERS: Final = (FASTAPI, ASGI, AIOHTTP)
"""The Python HTTP servers that the best one is taken of."""
