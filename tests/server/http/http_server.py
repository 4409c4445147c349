"""A running server with an HTTP door, and its clients."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import httpx
import msgpack  # type: ignore[import-untyped]  # it ships none
from running_server import RunningServer

from pixwire_protocol.messages import Status
from pixwire_protocol.registry import ErrorCode

PROMPT = {"prompt": "a red circle", "steps": 4, "seed": 7}
DEADLINE_S = 20.0
"""A bound for a hang, never a measure."""


class HttpServer(RunningServer):
    """The line it prints names the PXW address first, then the HTTP one."""

    clients: list[httpx.AsyncClient]

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.clients = []

    async def listening(self) -> str:
        return (await super().listening()).rstrip(",")

    async def url(self) -> str:
        """The HTTP address."""
        await self.listening()
        return self.lines[0].split()[4].rstrip(",")

    async def client(self, *, token: str | None = None, tls: ssl.SSLContext | None = None) -> httpx.AsyncClient:
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        client = httpx.AsyncClient(
            base_url=await self.url(), headers=headers, verify=tls or False, timeout=DEADLINE_S, trust_env=False
        )
        self.clients.append(client)
        return client

    async def port(self) -> int:
        return int((await self.url()).rpartition(":")[2])


StartHttp = Callable[..., HttpServer]
"""What the fixture `start_http` gives: engine and configuration -> a server that is being started."""


def problem(answer: httpx.Response) -> dict[str, Any]:
    """The problem document of an answer, which looks as each of them has to."""
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["status"] == answer.status_code
    assert body["title"] == ErrorCode(body["code"]).name
    assert body["type"].endswith(body["title"])
    assert body["retry"] in ("no", "same_id", "after")
    assert body["processed"] in ("no", "maybe", "yes")
    assert answer.headers["x-should-retry"] == ("false" if body["retry"] == "no" else "true")
    return body


async def submit(client: httpx.AsyncClient, job: str | None = None, **params: Any) -> dict[str, Any]:
    """Submit a job; its status map."""
    body = {"params": PROMPT | params} | ({"job": job} if job else {})
    answer = await client.post("/v1/jobs", json=body)
    assert answer.status_code in (200, 201), answer.text
    status: dict[str, Any] = answer.json()
    return status


async def ended(client: httpx.AsyncClient, job: str) -> dict[str, Any]:
    """The job's status map once it has ended, learnt from its events."""
    async with client.stream("GET", f"/v1/jobs/{job}/events") as stream:
        last: dict[str, Any] = {}
        async for event in events(stream):
            last = event["data"]
        return last


async def events(stream: httpx.Response) -> Any:
    """The server-sent events of an answer: {id, event, data}."""
    import json

    event: dict[str, Any] = {}
    async for line in stream.aiter_lines():
        if not line:
            if "data" in event:
                yield event | {"data": json.loads(event["data"])}
            event = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(": ")
            event[name] = value


async def raw(port: int, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A bare connection on which `data` was sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    await writer.drain()
    return reader, writer


async def pxw_state(server: HttpServer, job: str) -> str:
    """What the PXW door says of a job."""
    client = await server.connect()
    (stream,) = await client.open(Status(job))
    state: str = (await client.last(stream))["state"]
    client.close()
    return state


PARAMS_TAIL: bytes = msgpack.packb(PROMPT)
