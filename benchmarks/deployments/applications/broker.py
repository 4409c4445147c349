"""A message broker, asynchronous: the request is a message, accepted means on the broker's disk, the image comes when a
worker has made it. Nobody's patience is known to the broker: it guarantees that every message is processed.
"""

import asyncio
import uuid
from typing import Any

from ..broker.connection import Broker
from ..outcomes import Answer, Kind, NoImageError
from ..trace import Request
from . import Application

AGAIN_S = 0.1


class Brokered:
    """One connection to the broker; another one when it breaks."""

    async def open(self, address: str) -> None:
        self._address = address
        self._run = uuid.uuid4().hex[:8]
        self._broker = await Broker.connect(address)

    async def generate(self, request: Request, patience: float | None, *, detail: bool) -> Answer:
        """Publishing under the same id twice is one message, so whoever got no answer does it again."""
        job = f"{self._run}-{request.number}"
        told = await self._call("publish", id=job, body=request.to_map())
        if "refused" in told:
            raise NoImageError(Kind.REFUSED, told["refused"])
        made = await self._call("wait", id=job)
        if "unknown" in made:  # it was acknowledged: to publish it again would hide that it is gone
            raise NoImageError(Kind.LOST, "the broker does not know the message any more")
        return Answer(made["image"], told["accepted"], made["started"], made["ended"])

    async def _call(self, do: str, **fields: Any) -> dict[str, Any]:
        while True:
            broker = self._broker
            try:
                return await broker.call(do, **fields)
            except ConnectionError:
                await self._again(broker)

    async def _again(self, broken: Broker) -> None:
        """A new connection, whoever of the waiting is the first to try."""
        await asyncio.sleep(AGAIN_S)
        if self._broker is broken:
            try:
                found = await Broker.connect(self._address)
            except ConnectionError:
                return
            if self._broker is broken:
                self._broker = found
            else:
                await found.close()

    async def close(self) -> None:
        await self._broker.close()


def make() -> Application:
    return Brokered()
