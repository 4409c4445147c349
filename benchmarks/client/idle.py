"""Memory of the client's process for each connection that is open and idle.

python -m benchmarks.client.idle KIND PLACE COUNT       prints bytes for each, and how many there were
"""

import asyncio
import gc
import json
import os
import sys
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.processes import resident_bytes
from benchmarks.transport.clients.base import Client, Place
from benchmarks.transport.driver import BLOCKING_KINDS, make, make_blocking

STATE, INODE, ESTABLISHED = 3, 9, "01"
"""Columns of /proc/net/tcp, and the state that counts."""


class ManyHttpx:
    """httpx with a pool as large as asked for; its connections are made by as many requests at once."""

    def __init__(self, place: Place) -> None:
        import httpx

        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=None)
        self._base = "http://{}:{}/v1/jobs/standing".format(*place.tcp())
        self._client = httpx.AsyncClient(timeout=None, limits=limits)  # noqa: S113 - the server is ours

    async def connect(self, count: int) -> None:
        await asyncio.gather(*(self._client.get(self._base) for _ in range(count)))

    async def close(self) -> None:
        await self._client.aclose()


def connections() -> int:
    """TCP connections of this process that are established; pipes and pairs of sockets are none."""
    inodes: set[str] = set()
    for table in ("tcp", "tcp6"):
        rows = [line.split() for line in Path(f"/proc/self/net/{table}").read_text().splitlines()[1:]]
        inodes |= {f"socket:[{row[INODE]}]" for row in rows if row[STATE] == ESTABLISHED}
    found = 0
    for name in Path("/proc/self/fd").iterdir():
        try:
            found += os.readlink(name) in inodes
        except FileNotFoundError:  # what iterates over the folder
            continue
    return found


class Growth:
    """What the process has grown by since the start, for each new connection."""

    def __init__(self) -> None:
        gc.collect()
        self._connections, self._bytes = connections(), resident_bytes(os.getpid())

    def each(self) -> dict[str, float]:
        gc.collect()
        grown, opened = resident_bytes(os.getpid()) - self._bytes, connections() - self._connections
        return {"bytes": grown / max(1, opened), "connections": float(opened)}


async def hold(client: Client | ManyHttpx, count: int) -> dict[str, float]:
    """One connection first, so that what the library needs once is not charged to the others."""
    await client.connect(1)
    growth = Growth()
    await client.connect(count + 1)
    found = growth.each()
    await client.close()
    return found


def hold_blocking(client: Any, count: int) -> dict[str, float]:
    """The same for threads."""
    client.connect(1)
    growth = Growth()
    client.connect(count + 1)
    found = growth.each()
    client.close()
    return found


def main(kind: str, where: str, count: str) -> None:
    given = json.loads(where)
    place = Place(tuple(given["addresses"]), given["cafile"])
    if kind in BLOCKING_KINDS:
        found = hold_blocking(make_blocking(kind, place), int(count))
    else:
        run = asyncio.run if kind == "grpc" else uvloop.run

        async def held() -> dict[str, float]:
            return await hold(ManyHttpx(place) if kind == "httpx" else make(kind, place), int(count))

        found = run(held())
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
