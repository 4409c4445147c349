"""The clients that are compared. The table is the whole of it."""

from dataclasses import dataclass
from typing import Final

from benchmarks.transport.contestants import CONTESTANTS, FASTAPI, FRAMES, GRPC, HTTPX, PXW, THREADS


@dataclass(frozen=True, slots=True)
class Compared:
    """One client. `contestant`: what `benchmarks.transport` calls it, "" for what only this benchmark has.

    `many`: whether it takes part with 64 requests under way; `multiplexes`: on one connection, else on 64. `fetch`: the
    way images are fetched, None: none are. `asks`: whether one request at a time is measured; `idles`: whether idle
    connections are.
    """

    name: str
    what: str
    contestant: str = ""
    many: bool = False
    multiplexes: bool = True
    fetch: str | None = ""
    asks: bool = True
    idles: bool = True

    @property
    def kind(self) -> str:
        """Of its driver."""
        return CONTESTANTS[self.contestant].kind if self.contestant else "bare"

    @property
    def server(self) -> str:
        """That it talks to."""
        return CONTESTANTS[self.contestant].server if self.contestant else "pxw"


COMPARED: Final = (
    Compared(
        "bare frames, asyncio",
        "bare frames, asyncio: uvloop; frames packed once, answers read by their header; no image (see blocking)",
        FRAMES,
        many=True,
        fetch=None,
        idles=False,
    ),
    Compared("bare frames, blocking", "bare frames, blocking: the same over a blocking socket", idles=False),
    Compared("pixwire asyncio", "pixwire asyncio: pixwire.connect on uvloop", PXW, many=True),
    Compared("pixwire sync", "pixwire sync: pixwire.Client, a thread for each request under way", THREADS, many=True),
    Compared(
        "grpc.aio", "grpc.aio: against grpc.aio, protobuf (upb), images in one message", GRPC, True, True, "unary"
    ),
    Compared(
        "grpc.aio, 256 KiB",
        "grpc.aio, 256 KiB: the same, images streamed in messages of 256 KiB",
        GRPC,
        fetch=str(256 << 10),
        asks=False,
        idles=False,
    ),
    Compared("aiohttp", "aiohttp: on uvloop, against FastAPI on uvicorn; msgspec for JSON", FASTAPI, True, False),
    Compared("httpx", "httpx: AsyncClient on uvloop, against the same FastAPI; its pool is slow with many", HTTPX),
)
_BLOCKING: Final = ("pixwire sync", "bare frames, blocking")
BARE: Final = {
    one.name: "bare frames, blocking" if one.name in _BLOCKING else "bare frames, asyncio" for one in COMPARED
}
"""The floor of each: blocking sockets for blocking clients."""
