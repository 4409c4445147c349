"""pixwire's own clients, used as a program would use them."""

from collections.abc import Callable
from typing import Any

import pixwire
from benchmarks.transport.clients.base import Call, Place
from benchmarks.transport.work import PARAMS, image_job, new_params

WAIT_S = 60.0


def arguments(place: Place) -> dict[str, Any]:
    """Of `connect`: where to, and what it trusts."""
    return {"cafile": place.cafile or None, "timeout": WAIT_S}


class Asyncio:
    """`pixwire.AsyncClient`."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._open: list[pixwire.AsyncClient] = []
        self._images: dict[tuple[int, int], pixwire.AsyncJob] = {}
        self._job = ""

    async def connect(self, count: int) -> None:
        while len(self._open) < count:
            self._open.append(await pixwire.connect(self._place.addresses[0], **arguments(self._place)))
        if not self._job:
            self._job = (await self._open[0].submit(**PARAMS)).id

    def call(self, operation: str, connection: int) -> Call:
        client = self._open[connection]
        return client.job(self._job).status if operation == "status" else lambda: client.submit(**new_params())

    async def fetch(self, size: int, how: str, connection: int = 0) -> memoryview:
        job = self._images.get((connection, size))
        if job is None:
            job = self._images[connection, size] = self._open[connection].job(image_job(size))
            await job.status()  # so that it is known to have ended, and a fetch is one request
        return (await job.image()).data

    async def close(self) -> None:
        for client in self._open:
            await client.close()


class Threads:
    """`pixwire.Client`."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._open: list[pixwire.Client] = []
        self._images: dict[int, pixwire.Job] = {}
        self._job = ""

    def connect(self, count: int) -> None:
        while len(self._open) < count:
            self._open.append(pixwire.Client(self._place.addresses[0], **arguments(self._place)))
        if not self._job:
            self._job = self._open[0].submit(**PARAMS).id

    def call(self, operation: str, connection: int) -> Callable[[], object]:
        client = self._open[connection]
        return client.job(self._job).status if operation == "status" else lambda: client.submit(**new_params())

    def fetch(self, size: int, how: str, connection: int = 0) -> memoryview:
        job = self._images.get(size)
        if job is None:
            job = self._images[size] = self._open[0].job(image_job(size))
            job.status()
        return job.image().data

    def close(self) -> None:
        for client in self._open:
            client.close()
