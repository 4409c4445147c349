"""The model inside the application, as pixwire has it: a child process that lives and dies with this one.

Its journal is kept in a folder, so what was accepted before a crash is done after it. It does not say when it was at
what: its server is started by the client library, and not by this benchmark.
"""

from pathlib import Path

import pixwire

from .. import cores
from ..outcomes import Answer, Kind, NoImageError
from ..trace import Request
from . import Application
from .pxw import ask


class Embedded:
    """One child, one connection over a Unix socket."""

    async def open(self, address: str) -> None:
        server = {"threads": 1, "drain_grace_s": 0}
        self._embedded = pixwire.embedded(journal=Path(address), server=server, quiet=True)
        self._client = await self._embedded.__aenter__()
        cores.pin_children()

    async def generate(self, request: Request, patience: float | None, *, detail: bool) -> Answer:
        """The name of a job is its number: an application that was killed finds it again under it."""
        return await ask(self._client, _name(request), request, patience, detail=detail)

    async def again(self, request: Request) -> Answer:
        try:
            image = await self._client.job(_name(request)).image()
        except pixwire.JobNotFound as error:
            raise NoImageError(Kind.LOST, str(error)) from None
        return Answer(image.bytes)

    async def close(self) -> None:
        await self._embedded.__aexit__(None, None, None)


def _name(request: Request) -> str:
    return f"request-{request.number}"


def make() -> Application:
    return Embedded()
