"""grpc.aio with protobuf: the four operations, events as a stream, images in one message or in a stream of chunks.

The handlers are registered by name, which is what generated service code does.
"""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped, unused-ignore]

from benchmarks.transport.grpc_api import board_pb2 as api
from benchmarks.transport.servers.common import Options, options, ready
from benchmarks.transport.work import Board

UNLIMITED = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))
SERVICE = "pixwire.benchmark.Board"

board = Board()
Context = Any


def as_message(status: dict[str, Any]) -> api.Status:
    """A status map as its message."""
    return api.Status(**status | {"params": api.Params(**status["params"])})


async def submit(request: api.NewJob, context: Context) -> api.Status:
    asked = request.params
    return as_message(board.submit({"prompt": asked.prompt, "seed": asked.seed, "steps": asked.steps}))


async def get_status(request: api.JobName, context: Context) -> api.Status:
    return as_message(await found(board.status(request.job), context))


async def events(request: api.JobName, context: Context) -> AsyncIterator[api.Status]:
    yield as_message(await found(board.status(request.job), context))
    await asyncio.get_running_loop().create_future()


async def fetch(request: api.Wanted, context: Context) -> api.Bytes:
    return api.Bytes(data=await found(board.image(request.job), context))


async def fetch_chunks(request: api.Wanted, context: Context) -> AsyncIterator[api.Bytes]:
    image = await found(board.image(request.job), context)
    for start in range(0, len(image), request.chunk):
        yield api.Bytes(data=image[start : start + request.chunk])


async def found(thing: Any, context: Context) -> Any:
    """The thing, or NOT_FOUND."""
    if thing is None:
        await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such thing")
    return thing


def handlers() -> Any:
    """The service's table."""
    unary, stream = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
    table = {
        "Submit": unary(submit, api.NewJob.FromString, api.Status.SerializeToString),
        "GetStatus": unary(get_status, api.JobName.FromString, api.Status.SerializeToString),
        "Events": stream(events, api.JobName.FromString, api.Status.SerializeToString),
        "Fetch": unary(fetch, api.Wanted.FromString, api.Bytes.SerializeToString),
        "FetchChunks": stream(fetch_chunks, api.Wanted.FromString, api.Bytes.SerializeToString),
    }
    return grpc.method_handlers_generic_handler(SERVICE, table)


def bind(server: Any, given: Options) -> str:
    """Listen; the address as a client writes it."""
    if given.unix:
        server.add_insecure_port(f"unix:{given.unix}")
        return f"unix:{given.unix}"
    if given.cert:
        pair = Path(given.key).read_bytes(), Path(given.cert).read_bytes()
        return f"127.0.0.1:{server.add_secure_port('127.0.0.1:0', grpc.ssl_server_credentials([pair]))}"
    return f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"


async def serve() -> None:
    given = options(__doc__)
    server = grpc.aio.server(options=UNLIMITED)
    server.add_generic_rpc_handlers((handlers(),))
    address = bind(server, given)
    await server.start()
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    ready(address)
    await over.wait()
    await server.stop(None)  # ended in the middle, gRPC's threads abort the process with a message


if __name__ == "__main__":
    asyncio.run(serve())
