"""The two shells of the client behind one face, so that one test runs against both.

A test awaits everything. For the asyncio shell that is what it is; for the blocking one each call runs in a thread of
its own, which is how such a client is used from many threads at once.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Protocol

import pytest

import pixwire

MOST_THREADS = 400
LOOPS = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])
"""For what threads have not: cancellation of an `await`, asynchronous functions."""

Connected = Any
"""A client of either shell: `pixwire.AsyncClient`, or something that looks like it."""


class Shell(Protocol):
    """How to connect with one of the shells."""

    name: str

    def connect(self, url: str, **options: Any) -> Any:
        """As `pixwire.connect`."""


class Asyncio:
    """The asyncio shell as it is."""

    name = "asyncio"

    def connect(self, url: str, **options: Any) -> Any:
        return pixwire.connect(url, **options)


class Threads:
    """The blocking shell: every call in a thread."""

    name = "threads"

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(MOST_THREADS, thread_name_prefix="caller")

    def connect(self, url: str, **options: Any) -> Any:
        return Connecting(self.pool, url, options)

    def close(self) -> None:
        """Waits for all threads."""
        self.pool.shutdown()


def in_thread(pool: ThreadPoolExecutor, work: Callable[..., Any], *args: Any, **more: Any) -> "asyncio.Future[Any]":
    """Calls it there; what it returns looks asynchronous, too."""
    loop = asyncio.get_running_loop()
    return loop.run_in_executor(pool, lambda: wrapped(pool, work(*args, **more)))


def wrapped(pool: ThreadPoolExecutor, value: Any) -> Any:
    """A handle on something that blocks, as one that is awaited; everything else as it is."""
    if isinstance(value, pixwire.Events):
        return Events(pool, value)
    return Handle(pool, value) if isinstance(value, pixwire.Client | pixwire.Job) else value


class Connecting:
    """What `connect` returns."""

    def __init__(self, pool: ThreadPoolExecutor, url: str, options: dict[str, Any]) -> None:
        self.pool, self.url, self.options = pool, url, options
        self.client: Any = None

    def __await__(self) -> Generator[Any, None, Any]:
        return in_thread(self.pool, pixwire.Client, self.url, **self.options).__await__()

    async def __aenter__(self) -> Any:
        self.client = await self
        return self.client

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.client.close()


class Handle:
    """A client or a job whose methods are awaited."""

    def __init__(self, pool: ThreadPoolExecutor, target: Any) -> None:
        self._pool, self.target = pool, target

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.target, name)
        if not inspect.ismethod(found):
            return found
        if name in ("job", "events"):  # which ask nothing
            return lambda *args, **more: wrapped(self._pool, found(*args, **more))
        if inspect.isgeneratorfunction(found):
            return lambda *args, **more: iterate(self._pool, found(*args, **more))
        return lambda *args, **more: in_thread(self._pool, found, *args, **more)

    async def __aenter__(self) -> Any:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await in_thread(self._pool, self.target.close)


class Events:
    """The events of a job, awaited one by one."""

    def __init__(self, pool: ThreadPoolExecutor, target: pixwire.Events) -> None:
        self._pool, self._target = pool, target

    def __aiter__(self) -> "Events":
        return self

    async def __anext__(self) -> Any:
        event = await in_thread(self._pool, next, self._target, None)
        if event is None:
            raise StopAsyncIteration
        return event

    async def aclose(self) -> None:
        await in_thread(self._pool, self._target.close)

    async def __aenter__(self) -> "Events":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


async def iterate(pool: ThreadPoolExecutor, iterator: Any) -> AsyncIterator[Any]:
    """An iterator that blocks, step by step."""
    over = object()
    while (item := await in_thread(pool, next, iterator, over)) is not over:
        yield item
