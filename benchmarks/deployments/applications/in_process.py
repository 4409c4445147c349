"""The model truly inside the application process: the plain diffusers pipeline in one thread of it, first come first
served. Nothing travels, nothing is kept, and torch is part of the application.
"""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from .. import cores
from ..outcomes import Answer, Kind, NoImageError
from ..trace import Request
from . import Application


class InProcess:
    """One thread that computes, on the core where the servers of the other deployments are."""

    async def open(self, address: str) -> None:
        self._thread = ThreadPoolExecutor(1, "model")
        await asyncio.get_running_loop().run_in_executor(self._thread, self._load)

    def _load(self) -> None:
        from ..model import Plain

        self._plain = Plain()
        self._plain.warm_up()
        cores.stay(cores.SERVER)

    async def generate(self, request: Request, patience: float | None, *, detail: bool) -> Answer:
        """Who loses patience in the queue leaves it; what is being computed is computed to its end."""
        accepted = time.monotonic()
        making = asyncio.get_running_loop().run_in_executor(self._thread, self._make, request)
        try:
            image, started, ended = await asyncio.wait_for(making, patience)
        except TimeoutError:
            raise NoImageError(Kind.EXPIRED, "the application gave up") from None
        return Answer(image, accepted, started, ended)

    def _make(self, request: Request) -> tuple[bytes, float, float]:
        from ..model import png

        started = time.monotonic()
        (image,) = self._plain.make([request])
        return png(image), started, time.monotonic()

    async def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)


def make() -> Application:
    return InProcess()
