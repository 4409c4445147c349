"""A bare ASGI application on uvicorn (uvloop, httptools), with msgspec for JSON: as little as HTTP can do with."""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import uvicorn

from benchmarks.transport.servers.common import BACKLOG, IDLE_S, Options, listening, options, ready
from benchmarks.transport.work import Board

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

JSON, BYTES, STREAM = b"application/json", b"image/png", b"text/event-stream"
decode = msgspec.json.Decoder().decode
encode = msgspec.json.Encoder().encode


class Application:
    """The four operations, and the image as base64 in JSON."""

    def __init__(self) -> None:
        self.board = Board()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        parts = scope["path"].split("/")[3:]  # "", v1, jobs
        match scope["method"], parts:
            case "POST", []:
                status = self.board.submit(decode(await body(receive))["params"])
                await answer(send, 201, JSON, encode(status))
            case "GET", [job]:
                found = self.board.status(job)
                await answer(send, 404 if found is None else 200, JSON, encode(found))
            case "GET", [job, "events"] if (found := self.board.status(job)) is not None:
                await follow(send, found)
            case "GET", [job, "artifacts", "0"] if (image := self.board.image(job)) is not None:
                await answer(send, 200, BYTES, image)
            case "GET", [job, "artifacts", "0", "base64"] if (image := self.board.image(job)) is not None:
                await answer(send, 200, JSON, encode({"b64_json": base64.b64encode(image).decode()}))
            case _:
                await answer(send, 404, JSON, b"null")


async def body(receive: Receive) -> bytes:
    """All of the request's body."""
    read, more = b"", True
    while more:
        message = await receive()
        read += message.get("body", b"")
        more = message.get("more_body", False)
    return read


async def answer(send: Send, status: int, kind: bytes, content: bytes) -> None:
    headers = [(b"content-type", kind), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def follow(send: Send, status: Message) -> None:
    """Server-sent events: the present state, and then nothing, since nothing happens."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", STREAM)]})
    await send({"type": "http.response.body", "body": event(status), "more_body": True})
    await asyncio.get_running_loop().create_future()


def event(status: Message) -> bytes:
    """The state as a server-sent event."""
    return b"event: state\nid: %d\ndata: %s\n\n" % (status["seq"], encode(status))


def run(application: Any, given: Options) -> None:
    """Serve with uvicorn as it is fastest, until a signal."""
    listener, address = listening(given)
    config = uvicorn.Config(
        application,
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="error",
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=1,
        backlog=BACKLOG,
        ssl_certfile=given.cert or None,
        ssl_keyfile=given.key or None,
    )
    ready(address)
    uvicorn.Server(config).run([listener])


if __name__ == "__main__":
    run(Application(), options(__doc__))
