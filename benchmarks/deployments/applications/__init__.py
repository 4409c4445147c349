"""The application in each deployment: the few lines a developer writes to get an image, and nothing else."""

from collections.abc import Callable
from importlib import import_module
from typing import Protocol, runtime_checkable

from ..outcomes import Answer
from ..trace import Request


class Application(Protocol):
    """Opens its service once and asks it for images, any number at a time."""

    async def open(self, address: str) -> None:
        """Be ready to ask. `address`: where the service is, or the folder that it may keep things in."""

    async def generate(self, request: Request, patience: float | None, *, detail: bool) -> Answer:
        """One image. Raises NoImageError.

        patience: seconds after which nobody wants it any more; None: it is waited for, also through a restart of the
        service, where the deployment can. detail: the answer says what the service was at when.
        """

    async def close(self) -> None:
        """Let go of everything."""


@runtime_checkable
class Recovering(Protocol):
    """An application that can ask for what it had asked for before it was killed."""

    async def again(self, request: Request) -> Answer:
        """The image of a request that was accepted, and not asked for again. Raises NoImageError: it is lost."""


NAMES = ("direct_http", "http_jobs", "pxw", "embedded", "in_process", "broker")


def make(name: str) -> Application:
    """The application of that name, one of `NAMES` or a module with a `make` of its own; not yet open."""
    factory: Callable[[], Application] = import_module(f"{__name__}.{name}" if name in NAMES else name).make
    return factory()
