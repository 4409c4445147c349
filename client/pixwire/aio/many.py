"""Many images, a few at a time, as tasks."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..core import requests
from ..core.drafts import draft
from ..core.many import Outcome, check_concurrency, request_of, wait_before_again
from ..errors import PixwireError
from .reading import read

if TYPE_CHECKING:
    from .several import AnyLink


class Batch:
    """The requests of one `generate_many`."""

    def __init__(
        self,
        link: "AnyLink",
        prompts: Iterable[str | Mapping[str, Any]],
        concurrency: int,
        timeout: float | None,
        common: Mapping[str, Any],
    ) -> None:
        check_concurrency(concurrency)
        self._link = link
        self._requests = enumerate(request_of(item, common) for item in prompts)
        self._concurrency = concurrency
        self._timeout = timeout
        self._running: set[asyncio.Task[Outcome]] = set()

    async def run(self) -> AsyncGenerator[Outcome, None]:
        """The outcomes, as they come. Closing it cancels what is under way."""
        try:
            while True:
                self._fill()
                if not self._running:
                    return
                done, _ = await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    outcome = task.result()
                    self._running.discard(task)
                    yield outcome
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    def _fill(self) -> None:
        while len(self._running) < self._concurrency:
            index, request = next(self._requests, (0, None))
            if request is None:
                return
            self._running.add(asyncio.get_running_loop().create_task(self._make(index, request)))

    async def _make(self, index: int, request: dict[str, Any]) -> Outcome:
        loop = asyncio.get_running_loop()
        since, tries = loop.time(), 0
        try:
            order = await read(draft(**{"count": None, **request}), self._timeout)
            while True:
                tries += 1
                try:
                    images = await self._link.perform(requests.generate(order, ()), self._timeout, None, since)
                    return Outcome(index, request, tuple(images))
                except PixwireError as error:
                    left = None if self._timeout is None else since + self._timeout - loop.time()
                    wait = wait_before_again(error, tries, left)
                    if wait is None:
                        raise
                await asyncio.sleep(wait)
        except PixwireError as error:
            return Outcome(index, request, error=error)
