"""What the handlers of one HTTP door share, and what a request is given on its way to its handler."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from pixwire_protocol.job_ids import RANDOM_BYTES, new_job_id
from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.status import ModelInfo
from pixwire_server.doors.auth import Guard, Identity
from pixwire_server.doors.http import problems, sse
from pixwire_server.doors.http.callers import Caller, Porter
from pixwire_server.doors.http.follow import EndedError, Follow, Why
from pixwire_server.doors.http.protocol import CALLER
from pixwire_server.doors.http.settings import HttpSettings
from pixwire_server.doors.ports import JobsPort
from pixwire_server.jobs import RequestError

QUOTA_RETRY_MS: Final = 5_000
"""When there may be room for another upload: those under way take seconds."""


class Desk:
    """One door's jobs, settings, and everybody who waits. Lives in the event loop."""

    def __init__(self, jobs: JobsPort, settings: HttpSettings, porter: Porter) -> None:
        self.jobs = jobs
        self.settings = settings
        self.porter = porter
        self.began = int(time.time())
        self.document: tuple[tuple[ModelInfo, ...], bytes] | None = None
        """The OpenAPI document, and the models it was made for: making it takes a while."""
        self.masks = asyncio.Lock()
        """One mask is decoded at a time: it takes memory."""
        self._follows: set[Follow] = set()
        self._stopping = False
        self._uploading = 0

    def admit(self, request: Request) -> Guard:
        """Who asks. Raises RequestError."""
        caller: Caller = request.scope["state"].get(CALLER, Caller())
        return self.porter.admit(caller, request.headers.get("authorization"))

    @contextlib.asynccontextmanager
    async def following(self, receive: Receive) -> AsyncIterator[Follow]:
        """A `Follow` that ends when the client goes, or the server. The body of the request was read before."""
        follow = Follow()
        if self._stopping:
            follow.end(Why.STOPPING)
        self._follows.add(follow)
        watcher = asyncio.create_task(_until_gone(receive, follow))
        try:
            yield follow
        finally:
            self._follows.discard(follow)
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher

    def dismiss(self) -> None:
        """The server stops: whoever still waits is told to come back, now and from now on."""
        self._stopping = True
        for follow in tuple(self._follows):
            follow.end(Why.STOPPING)

    @contextlib.contextmanager
    def room_for(self, request: Request, most: int) -> Iterator[None]:
        """Room for the files of a request while they are here. Raises RequestError(QUOTA_EXCEEDED)."""
        announced = request.headers.get("content-length", "")
        size = min(int(announced), most) if announced.isdecimal() else most
        if self._uploading and self._uploading + size > self.settings.upload_bytes:
            message = f"the uploads under way leave no room for {size} bytes more; send the request again later"
            raise RequestError(
                ErrorCode.QUOTA_EXCEEDED, message, {"allowed": self.settings.upload_bytes}, QUOTA_RETRY_MS
            )
        self._uploading += size
        try:
            yield
        finally:
            self._uploading -= size


async def _until_gone(receive: Receive, follow: Follow) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    follow.end(Why.GONE)


@dataclass(frozen=True, slots=True)
class Call:
    """One request, whose caller is known."""

    desk: Desk
    request: Request
    guard: Guard

    @property
    def identity(self) -> Identity:
        """As it was when the request came."""
        if self.guard.identity is None:
            raise RuntimeError("a request came to its handler before its caller was known")
        return self.guard.identity

    @property
    def principal(self) -> str:
        return self.identity.principal

    @property
    def query(self) -> list[tuple[str, str]]:
        return self.request.query_params.multi_items()


Handler = Callable[[Call], Awaitable[Response]]
Write = Callable[[bytes], Awaitable[None]]
"""Sends a piece of an answer; slow when the client is."""


def new_id() -> str:
    """The id of a job whose client has no name for it."""
    return new_job_id(int(time.time() * 1000), os.urandom(RANDOM_BYTES))


class JsonResponse(Response):
    """A value as JSON."""

    media_type = "application/json"

    def __init__(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        super().__init__(problems.to_json(value), status, {"cache-control": "no-store"} | (headers or {}))


class EventStream(Response):
    """Server-sent events. `tell(follow, write)` runs until there is nothing more to tell; it ends with the client and
    with the server.
    """

    def __init__(self, desk: Desk, tell: "Callable[[Follow, Write], Awaitable[None]]") -> None:
        super().__init__(None, 200, sse.HEADERS, sse.MEDIA_TYPE)
        self._desk, self._tell = desk, tell

    def init_headers(self, headers: Any = None) -> None:
        super().init_headers(headers)
        self.raw_headers = [pair for pair in self.raw_headers if pair[0] != b"content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        if scope["method"] != "HEAD":
            with contextlib.suppress(EndedError):
                async with self._desk.following(receive) as follow:
                    await self._tell(follow, lambda data: send(_body(data, more=True)))
        await send(_body(b"", more=False))


def _body(data: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}
