"""A client in a process of its own: takes commands (lines of JSON) from standard input, prints what they came to.

    python -m benchmarks.transport.driver KIND PLACE       PLACE: JSON with addresses and cafile

Of its own, so that its CPU time can be told from the server's, and so that no client carries another one's objects.
"""

import asyncio
import functools
import json
import sys
from collections.abc import Callable
from typing import Any

import msgpack  # type: ignore[import-untyped, unused-ignore]
import uvloop

from benchmarks.transport import driving
from benchmarks.transport.clients.base import BlockingClient, Client, Place
from benchmarks.transport.crowd import Crowd, crowd

KINDS = ("echo", "echo-corked", "pxw", "pxw-raw", "http", "httpx", "litserve", "mosec", "grpc")
BLOCKING_KINDS = ("pxw-sync", "blocks")


def make(kind: str, place: Place) -> Client:
    """The client of that kind; only its own libraries are loaded."""
    if kind.startswith("echo"):
        from benchmarks.transport.clients.echo import Echoes

        return Echoes(place, corked=kind == "echo-corked")
    if kind == "pxw":
        from benchmarks.transport.clients.pxw import Asyncio

        return Asyncio(place)
    if kind == "pxw-raw":
        from benchmarks.transport.clients.frames import Frames

        return Frames(place)
    if kind == "grpc":
        from benchmarks.transport.clients.grpc import Grpc

        return Grpc(place)
    from benchmarks.transport.clients import http

    if kind == "litserve":
        return http.Service(place, "/predict", http.encode, http.decode)
    if kind == "mosec":
        return http.Service(place, "/inference", msgpack.packb, msgpack.unpackb)
    return http.Httpx(place) if kind == "httpx" else http.Http(place)


def make_blocking(kind: str, place: Place) -> BlockingClient:
    """The client of that kind, for threads."""
    if kind == "pxw-sync":
        from benchmarks.transport.clients.pxw import Threads

        return Threads(place)
    from benchmarks.transport.clients.blocks import Blocks

    return Blocks(place)


async def obey(client: Client, command: dict[str, Any]) -> driving.Figures:
    """Do what a command says. Its `pids` are the server's, whose CPU time counts."""
    meter = driving.Meter(command["pids"])
    match command.pop("do"):
        case "requests":
            load = driving.LOADS[command["load"]]
            return await driving.requests(client, command["operation"], load, command["s"], meter)
        case "fetches":
            return await driving.fetches(client, command["size"], command["how"], command["s"], meter)
        case "mixed":
            size, how, every = command["size"], command["how"], command["every"]
            return await driving.Mixed(client, size, how, every, command["s"]).run()
        case other:
            raise ValueError(f"no command {other!r}")


def obey_blocking(client: BlockingClient, command: dict[str, Any]) -> driving.Figures:
    """The same for threads."""
    meter = driving.Meter(command["pids"])
    match command.pop("do"):
        case "requests":
            load = driving.LOADS[command["load"]]
            return driving.blocking_requests(client, command["operation"], load, command["s"], meter)
        case "fetches":
            return driving.blocking_fetches(client, command["size"], command["how"], command["s"], meter)
        case other:
            raise ValueError(f"no command {other!r}")


def answer(figures: Any) -> None:
    """To whoever gave the command."""
    print(f"done {json.dumps(figures)}", flush=True)


async def serve(kind: str, place: Place) -> None:
    """Commands one after the other, while the loop goes on, until there are no more."""
    client, loop = make(kind, place), asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    answer(None)
    while line := await lines.readline():
        answer(await obey(client, json.loads(line)))
    await client.close()


def serve_lines(obey_one: Callable[[dict[str, Any]], Any]) -> None:
    """The same without a loop."""
    answer(None)
    for line in sys.stdin:
        answer(obey_one(json.loads(line)))


def main(kind: str, where: str) -> None:
    given = json.loads(where)
    place = Place(tuple(given["addresses"]), given["cafile"])
    if kind.startswith("crowd-"):
        members: Crowd = crowd(kind.removeprefix("crowd-"), place)
        serve_lines(members.obey)
    elif kind in BLOCKING_KINDS:
        client = make_blocking(kind, place)
        serve_lines(functools.partial(obey_blocking, client))
        client.close()
    elif kind == "grpc":
        asyncio.run(serve(kind, place))
    else:
        uvloop.run(serve(kind, place))


if __name__ == "__main__":
    main(*sys.argv[1:])
