"""`import pixwire` for asyncio: connect, ask for images, follow and cancel jobs.

    async with pixwire.connect("pixwire://localhost") as client:
        image = await client.generate("a red circle on a blue background", seed=7)
        image.save("circle.png")

Everything may be called concurrently from the tasks of the loop that the client was connected in; any number of calls
share the one connection. Cancelling an `await` never cancels a job and never harms the connection; `job.cancel()` is
what ends a job. SPEC 7, 9.
"""

# ruff: noqa: ASYNC109 - every call takes `timeout`: the session keeps the deadlines, for every kind of shell

import asyncio
import os
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Self, Unpack, overload

from pixwire_protocol.grease import RANDOM_BYTES as GREASE_BYTES
from pixwire_protocol.grease import make_grease
from pixwire_protocol.messages import Welcome
from pixwire_protocol.settings import Settings

from . import requests
from ._version import __version__
from .aio_job import AsyncJob
from .aio_link import Link, describe
from .calls import MAX_IMAGE_BYTES
from .errors import ConnectError, ConnectionLost
from .events import Preview, Progress, StateChange
from .image import Image
from .requests import GenerateArguments
from .session import ClientSession
from .url import DEFAULT_URL, Endpoint, parse_url


class AsyncClient:
    """A connection to a server. Made by `pixwire.connect`; use it as an async context manager, or `close` it.

    When the connection dies, every call under way and every later one raises ConnectionLost at once. Jobs live in the
    server: connect again and go on with `client.job(id)`.
    """

    def __init__(self, endpoint: Endpoint, link: Link, server: Welcome) -> None:
        self._endpoint = endpoint
        self._link = link
        self.server = server
        """What the server said about itself: agent, server_id, epoch, features, limits."""

    @overload
    async def generate(self, prompt: str, *, count: None = None, **arguments: Unpack[GenerateArguments]) -> Image: ...

    @overload
    async def generate(self, prompt: str, *, count: int, **arguments: Unpack[GenerateArguments]) -> list[Image]: ...

    async def generate(
        self,
        prompt: str,
        *,
        negative_prompt: str | None = None,
        width: int | None = None,
        height: int | None = None,
        steps: int | None = None,
        guidance_scale: float | None = None,
        seed: int | None = None,
        count: int | None = None,
        model: str | None = None,
        media_type: str | None = None,
        job_id: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        on_preview: Callable[[Preview], object] | None = None,
        on_state: Callable[[StateChange], object] | None = None,
        timeout: float | None = None,
    ) -> Image | list[Image]:
        """Makes images, in one round trip: one `Image`, or, when `count` is given (even 1), a list of that many.

        Image i of a list is what `seed + i` gives alone. `width`, `height` are pixels, `timeout` seconds; a parameter
        left out is the server's choice, a missing seed is drawn there. The callbacks are called in the loop and must
        not block; what one raises comes out of this call. `job_id` makes the call repeatable: the same id and
        parameters attach to the job that exists.

        Cancellation and timeout end the waiting, not the job: it goes on at the server under its id (see
        `AsyncJob.cancel`).

        Raises:
            InvalidArgument: mostly before anything is sent; names field, value and what is allowed.
            JobFailed, JobCancelled, JobExpired: the job ended without an image.
            RequestFailed: the server refused, e.g. QueueFull or Draining with `retry_after_ms`.
            RequestTimeout, ConnectionLost: with the id of the job, which may be going on.
        """
        packed = requests.pack_params(
            prompt,
            count,
            negative_prompt=negative_prompt,
            width=width,
            height=height,
            steps=steps,
            guidance_scale=guidance_scale,
            seed=seed,
            model=model,
            media_type=media_type,
        )
        job = requests.new_job_id() if job_id is None else requests.check_job_id(job_id)
        callbacks = requests.EventCallbacks(on_progress, on_preview, on_state)
        images = await self._link.perform(requests.generate(job, packed, callbacks.want), timeout, callbacks)
        return images[0] if count is None else images

    async def submit(
        self,
        prompt: str,
        *,
        negative_prompt: str | None = None,
        width: int | None = None,
        height: int | None = None,
        steps: int | None = None,
        guidance_scale: float | None = None,
        seed: int | None = None,
        count: int | None = None,
        model: str | None = None,
        media_type: str | None = None,
        job_id: str | None = None,
        timeout: float | None = 30.0,
    ) -> AsyncJob:
        """Hands a job to the server and returns once it is on the server's disk: from then on it survives a crash
        there and here.

        Parameters as for `generate`. Cancelling or timing out leaves it open whether the job was accepted; submitting
        again under the same `job_id` is safe and attaches to it.

        Raises: InvalidArgument, JobConflict (the id belongs to other parameters), CapacityError, RequestTimeout,
        ConnectionLost.
        """
        packed = requests.pack_params(
            prompt,
            count,
            negative_prompt=negative_prompt,
            width=width,
            height=height,
            steps=steps,
            guidance_scale=guidance_scale,
            seed=seed,
            model=model,
            media_type=media_type,
        )
        job = requests.new_job_id() if job_id is None else requests.check_job_id(job_id)
        status = await self._link.perform(requests.submit(job, packed), timeout)
        return AsyncJob(self._link, job, status)

    def job(self, job_id: str) -> AsyncJob:
        """A handle on a job that was submitted earlier, here or elsewhere. Asks nothing: an unknown id shows at the
        first use.

        Raises InvalidArgument when this cannot be a job id.
        """
        return AsyncJob(self._link, requests.check_job_id(job_id))

    async def ping(self, *, timeout: float | None = 10.0) -> float:
        """The round trip to the server's loop and back, in seconds.

        Raises RequestTimeout, ConnectionLost, and RateLimited for more pings than the server wants (7 in 50 s, mostly).
        """
        return await self._link.perform(requests.ping(), timeout)

    async def close(self) -> None:
        """Closes the connection; calls under way raise ConnectionLost, jobs go on. Closing twice is fine.

        Cancelling stops the wait for the last bytes to leave, not the closing.
        """
        await self._link.close()

    @property
    def url(self) -> str:
        """The URL this client was connected with."""
        return self._endpoint.url

    @property
    def closed(self) -> bool:
        """Whether the connection is over, for whatever reason."""
        return self._link.session.ended is not None

    @property
    def bytes_received(self) -> int:
        """All bytes that came over this connection."""
        return self._link.bytes_received

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<pixwire.AsyncClient {self.url}{' closed' if self.closed else ''}>"


class Connecting:
    """What `connect` returns: await it for a client, or enter it with `async with`. Nothing happens before that."""

    def __init__(self, url: str, timeout: float, settings: Settings, max_image_bytes: int) -> None:
        self._endpoint = parse_url(url)
        self._timeout = timeout
        self._settings = settings
        self._max_image_bytes = max_image_bytes
        self._client: AsyncClient | None = None

    def __await__(self) -> Generator[None, None, AsyncClient]:
        return self._connect().__await__()

    async def __aenter__(self) -> AsyncClient:
        self._client = await self._connect()
        return self._client

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.close()

    async def _connect(self) -> AsyncClient:
        endpoint, loop = self._endpoint, asyncio.get_running_loop()
        link = Link(ClientSession(self._settings, loop.time(), self._timeout, self._max_image_bytes), loop)
        client = None
        try:
            async with asyncio.timeout(self._timeout):
                if endpoint.path is not None:
                    await loop.create_unix_connection(lambda: link, endpoint.path)
                else:
                    await loop.create_connection(lambda: link, endpoint.host, endpoint.port)
                client = AsyncClient(endpoint, link, await link.opened)
        except ConnectionLost as error:
            raise ConnectError(endpoint.url, error.reason) from error
        except TimeoutError as error:
            raise ConnectError(endpoint.url, f"no answer within {self._timeout:g} s") from error
        except OSError as error:
            raise ConnectError(endpoint.url, describe(error)) from error
        finally:
            if client is None:
                link.abort()
        return client


def connect(
    url: str = DEFAULT_URL,
    *,
    timeout: float = 10.0,
    stream_window: int = 1 << 20,
    connection_window: int = 4 << 20,
    max_image_bytes: int = MAX_IMAGE_BYTES,
) -> Connecting:
    """Connects to a server: `client = await pixwire.connect(url)`, or `async with pixwire.connect(url) as client:`.

    Args:
        url: `pixwire://host[:port]` or `pixwire+unix:///path/to/socket`.
        timeout: seconds for the connection and the handshake together.
        stream_window, connection_window: how many bytes of images the server may send ahead, per call and in all.
            Larger ones help when the round trip is long (throughput is at most window / round trip).
        max_image_bytes: a larger image is not received; the call that waits for it fails with ProtocolViolation.

    Cancelling the await closes what was opened so far.

    Raises:
        InvalidURL, InvalidArgument (a window out of range): at once.
        ConnectError: nobody listens, the handshake failed or took too long. SPEC 6.
    """
    try:
        settings = Settings(
            agent=f"pixwire-python/{__version__}",
            stream_window=stream_window,
            connection_window=connection_window,
            grease=make_grease(os.urandom(GREASE_BYTES)),
        )
    except ValueError as error:
        raise requests.invalid("window", None, None, str(error)) from None
    return Connecting(url, timeout, settings, max_image_bytes)
