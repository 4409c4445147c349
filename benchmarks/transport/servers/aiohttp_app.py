"""aiohttp's own server on uvloop, with msgspec for JSON and without an access log."""

import asyncio
import base64
from typing import Any

import uvloop
from aiohttp import web

from benchmarks.transport.servers.asgi import decode, encode, event
from benchmarks.transport.servers.common import BACKLOG, IDLE_S, listening, options, ready, tls
from benchmarks.transport.work import MIB, Board

board = Board()
routes = web.RouteTableDef()


@routes.post("/v1/jobs")
async def submit(request: web.Request) -> web.Response:
    return json(board.submit(decode(await request.read())["params"]), 201)


@routes.get("/v1/jobs/{job}")
async def status(request: web.Request) -> web.Response:
    return json(found(board.status(request.match_info["job"])))


@routes.get("/v1/jobs/{job}/events")
async def events(request: web.Request) -> web.StreamResponse:
    state = found(board.status(request.match_info["job"]))
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    await response.write(event(state))
    await asyncio.get_running_loop().create_future()
    return response


@routes.get("/v1/jobs/{job}/artifacts/0")
async def fetch(request: web.Request) -> web.Response:
    return web.Response(body=found(board.image(request.match_info["job"])), content_type="image/png")


@routes.get("/v1/jobs/{job}/artifacts/0/base64")
async def fetch_inline(request: web.Request) -> web.Response:
    image = found(board.image(request.match_info["job"]))
    return json({"b64_json": base64.b64encode(image).decode()})


def json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=encode(value), status=status, content_type="application/json")


def found(thing: Any) -> Any:
    """The thing, or 404."""
    if thing is None:
        raise web.HTTPNotFound
    return thing


async def serve() -> None:
    given = options(__doc__)
    listener, address = listening(given)
    application = web.Application(client_max_size=MIB)
    application.add_routes(routes)
    runner = web.AppRunner(application, access_log=None, keepalive_timeout=IDLE_S, shutdown_timeout=1)
    await runner.setup()
    await web.SockSite(runner, listener, ssl_context=tls(given), backlog=BACKLOG).start()
    ready(address)
    await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    uvloop.run(serve())
