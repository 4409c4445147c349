"""HTTP: aiohttp's client for every server, and httpx for one row beside it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import httpx
import msgspec

from benchmarks.transport.clients.base import Call, Place
from benchmarks.transport.work import MIB, PARAMS, STANDING, image_job, new_params

decode = msgspec.json.Decoder().decode
encode = msgspec.json.Encoder().encode
JSON = {"content-type": "application/json"}
PATIENCE_S = 60.0
"""For servers that print their address before they listen."""


class Inline(msgspec.Struct):
    """An image inside JSON; msgspec decodes the base64 in C."""

    b64_json: bytes


async def patiently(ask: Callable[[], Awaitable[Any]]) -> Any:
    """Ask again while nobody listens or the service is still starting."""
    loop = asyncio.get_running_loop()
    end = loop.time() + PATIENCE_S
    while True:
        try:
            return await ask()
        except aiohttp.ClientError:
            if loop.time() > end:
                raise
            await asyncio.sleep(0.1)


class Http:
    """One session: a pool of connections that are kept. What is under way at a time decides how many there are."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._session: aiohttp.ClientSession | None = None
        self._job = ""
        scheme = "https" if place.cafile else "http"
        host = "localhost" if place.unix() else "{}:{}".format(*place.tcp())
        self._base = f"{scheme}://{host}/v1/jobs"

    async def connect(self, count: int) -> None:
        if self._session is None:
            path, secure = self._place.unix(), self._place.tls() or True
            pool = {"limit": 0, "keepalive_timeout": 3600.0, "ssl": secure}
            connector = aiohttp.UnixConnector(path, limit=0) if path else aiohttp.TCPConnector(**pool)  # type: ignore[arg-type]
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                raise_for_status=True,
                timeout=aiohttp.ClientTimeout(total=None),
                read_bufsize=MIB,
            )
            self._job = (await patiently(self._submit))["job"]
        await asyncio.gather(*(self._get(self._job) for _ in range(count)))

    def call(self, operation: str, connection: int) -> Call:
        return self._status if operation == "status" else self._submit

    async def fetch(self, size: int, how: str, connection: int = 0) -> memoryview:
        image = f"{image_job(size)}/artifacts/0"
        if how == "base64":
            return memoryview(msgspec.json.decode(await self._get(f"{image}/base64"), type=Inline).b64_json)
        return memoryview(await self._get_large(image))

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _status(self) -> Any:
        return decode(await self._get(self._job))

    async def _submit(self) -> Any:
        assert self._session is not None
        async with self._session.post(self._base, data=encode({"params": new_params()}), headers=JSON) as response:
            return decode(await response.read())

    async def _get(self, path: str) -> bytes:
        assert self._session is not None
        async with self._session.get(f"{self._base}/{path}") as response:
            return await response.read()

    async def _get_large(self, path: str) -> bytearray:
        """Into one buffer as it comes: a third of the CPU time that `response.read()` takes for 16 MiB."""
        assert self._session is not None
        async with self._session.get(f"{self._base}/{path}") as response:
            room, at = bytearray(int(response.headers["content-length"])), 0
            async for piece in response.content.iter_any():
                room[at : at + len(piece)] = piece
                at += len(piece)
            return room


class Service:
    """A model server with one address, which takes and gives a map: LitServe (JSON) and mosec (msgpack)."""

    def __init__(self, place: Place, path: str, pack: Callable[[Any], bytes], unpack: Callable[[bytes], Any]) -> None:
        self._url = "http://{}:{}{}".format(*place.tcp(), path)
        self._pack, self._unpack = pack, unpack
        self._session: aiohttp.ClientSession | None = None

    async def connect(self, count: int) -> None:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=3600),
                cookie_jar=aiohttp.DummyCookieJar(),
                raise_for_status=True,
            )
            await patiently(self._ask)

    def call(self, operation: str, connection: int) -> Call:
        return self._ask

    async def fetch(self, size: int, how: str, connection: int = 0) -> memoryview:
        raise NotImplementedError("this service has no images")

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _ask(self) -> Any:
        assert self._session is not None
        async with self._session.post(self._url, data=self._pack({"job": STANDING}), headers=JSON) as response:
            return self._unpack(await response.read())


class Httpx:
    """The client that the SDKs of the OpenAI kind use. One connection at a time: its pool is slow with many."""

    def __init__(self, place: Place) -> None:
        self._base = "http://{}:{}/v1/jobs".format(*place.tcp())
        self._client = httpx.AsyncClient(timeout=None)  # noqa: S113 - the server is ours
        self._job = ""

    async def connect(self, count: int) -> None:
        if not self._job:
            answer = await self._client.post(self._base, json={"params": PARAMS})
            self._job = answer.raise_for_status().json()["job"]

    def call(self, operation: str, connection: int) -> Call:
        return self._status

    async def fetch(self, size: int, how: str, connection: int = 0) -> memoryview:
        answer = await self._client.get(f"{self._base}/{image_job(size)}/artifacts/0")
        return memoryview(answer.raise_for_status().content)

    async def close(self) -> None:
        await self._client.aclose()

    async def _status(self) -> Any:
        return (await self._client.get(f"{self._base}/{self._job}")).raise_for_status().json()
