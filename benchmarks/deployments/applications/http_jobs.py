"""A separate process over HTTP: job resources. POST makes the job, server-sent events tell its end, GET fetches it.

The job has a name, so what the killed connection was about is asked again: every request here is safe to repeat.
"""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import aiohttp

from ..outcomes import Answer, Kind, NoImageError
from ..trace import GUIDANCE, SIZE, Request
from . import Application
from .refusals import kind_of, moments

ENDS = {"succeeded", "failed", "cancelled", "expired"}
AGAIN_S, LONG = 0.1, 120.0
T = TypeVar("T")


class HttpJobs:
    """One pool of connections, as many as there are requests."""

    async def open(self, address: str) -> None:
        self._url = address
        self._run = uuid.uuid4().hex[:8]
        self._http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def generate(self, request: Request, patience: float | None, *, detail: bool) -> Answer:
        job = f"{self._run}-{request.number}"
        try:
            async with asyncio.timeout(None if patience is None else patience * 2):
                return await self._until_it_is_there(request, job, patience)
        except TimeoutError:
            raise NoImageError(Kind.EXPIRED, "the client gave up") from None

    async def _until_it_is_there(self, request: Request, job: str, patience: float | None) -> Answer:
        await self._persist(lambda: self._post(request, job, patience), patience)
        status = await self._persist(lambda: self._end(job), patience)
        if status["state"] != "succeeded":
            kind = Kind.EXPIRED if status["state"] == "expired" else Kind.FAILED
            raise NoImageError(kind, str(status.get("error")))
        return Answer(await self._persist(lambda: self._fetch(job), patience), **moments(status["timings"]))

    async def _persist(self, step: Callable[[], Awaitable[T]], patience: float | None) -> T:
        """Again, until there is a service that answers; only while nobody is impatient."""
        while True:
            try:
                return await step()
            except aiohttp.ClientError as error:
                if patience is not None:
                    raise NoImageError(Kind.UNREACHABLE, repr(error)) from None
                await asyncio.sleep(AGAIN_S)

    async def _post(self, request: Request, job: str, patience: float | None) -> None:
        params: dict[str, Any] = {"prompt": request.prompt, "seed": request.seed, "steps": request.steps}
        params |= {"width": SIZE, "height": SIZE, "guidance_scale": GUIDANCE}
        wanted: dict[str, Any] = {"job": job, "params": params}
        if patience is not None:
            wanted["timeout_ms"] = round(patience * 1000)
        headers = {"content-type": "application/json"}
        async with self._http.post(
            f"{self._url}/v1/jobs", data=json.dumps(wanted).encode(), headers=headers
        ) as response:
            if response.status not in (200, 201):
                raise NoImageError(kind_of(response.status), await response.text())

    async def _end(self, job: str) -> dict[str, Any]:
        """The terminal status of the job, from its events."""
        url = f"{self._url}/v1/jobs/{job}/events?want="
        async with self._http.get(url, timeout=aiohttp.ClientTimeout(total=LONG)) as response:
            if response.status != 200:  # it was acknowledged: to post it again would hide that it is gone
                raise NoImageError(Kind.LOST if response.status == 404 else Kind.FAILED, await response.text())
            async for line in response.content:
                if line.startswith(b"data: "):
                    status: dict[str, Any] = json.loads(line[6:])
                    if status.get("state") in ENDS:
                        return status
        raise aiohttp.ServerDisconnectedError("the events ended before the job")

    async def _fetch(self, job: str) -> bytes:
        async with self._http.get(f"{self._url}/v1/jobs/{job}/artifacts/0") as response:
            if response.status != 200:
                raise NoImageError(Kind.FAILED, await response.text())
            return await response.read()

    async def close(self) -> None:
        await self._http.close()


def make() -> Application:
    return HttpJobs()
