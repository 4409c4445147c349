"""pixwire: images from a pixwire server, over one connection.

    import asyncio, pixwire

    async def main():
        async with pixwire.connect("pixwire://localhost") as client:
            image = await client.generate("a red circle on a blue background", seed=7)
            image.save("circle.png")

    asyncio.run(main())

    with pixwire.Client("pixwire://localhost") as client:               # the same for threads
        client.generate("a green star").save("star.png")

Start at `connect` and `AsyncClient`, or at `Client`. Errors: `PixwireError` and below. Importing this needs the
standard library and msgpack alone; what needs asyncio or threads is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pixwire_protocol.status import ArtifactInfo, JobError, JobState, JobStatus, JobSummary, ModelInfo

from ._version import __version__
from .errors import (
    AccessDenied,
    ArtifactChanged,
    ArtifactNotFound,
    AuthExpired,
    AuthFailed,
    AuthRequired,
    CapacityError,
    ConnectError,
    ConnectionLost,
    DeadlineExceeded,
    Draining,
    EmbeddedError,
    Forbidden,
    InvalidArgument,
    InvalidURL,
    JobCancelled,
    JobConflict,
    JobEnded,
    JobExpired,
    JobFailed,
    JobGone,
    JobLost,
    JobNotFound,
    Paused,
    PixwireError,
    ProtocolViolation,
    QueueFull,
    QuotaExceeded,
    RateLimited,
    RequestFailed,
    RequestTimeout,
    TooManyStreams,
)
from .events import Event, Preview, Progress, StateChange
from .image import Image
from .recipe import arguments_of

if TYPE_CHECKING:
    from .aio.client import AsyncClient
    from .aio.connecting import connect
    from .aio.job import AsyncEvents, AsyncJob
    from .core.many import Outcome
    from .core.observe import CallRecord
    from .embedding import embedded
    from .pipeline import Pipeline, PipelineOutput
    from .sources import ImageSource
    from .sync.client import Client
    from .sync.job import Events, Job

__all__ = [
    "AccessDenied",
    "ArtifactChanged",
    "ArtifactInfo",
    "ArtifactNotFound",
    "AsyncClient",
    "AsyncEvents",
    "AsyncJob",
    "AuthExpired",
    "AuthFailed",
    "AuthRequired",
    "CallRecord",
    "CapacityError",
    "Client",
    "ConnectError",
    "ConnectionLost",
    "DeadlineExceeded",
    "Draining",
    "EmbeddedError",
    "Event",
    "Events",
    "Forbidden",
    "Image",
    "ImageSource",
    "InvalidArgument",
    "InvalidURL",
    "Job",
    "JobCancelled",
    "JobConflict",
    "JobEnded",
    "JobError",
    "JobExpired",
    "JobFailed",
    "JobGone",
    "JobLost",
    "JobNotFound",
    "JobState",
    "JobStatus",
    "JobSummary",
    "ModelInfo",
    "Outcome",
    "Paused",
    "Pipeline",
    "PipelineOutput",
    "PixwireError",
    "Preview",
    "Progress",
    "ProtocolViolation",
    "QueueFull",
    "QuotaExceeded",
    "RateLimited",
    "RequestFailed",
    "RequestTimeout",
    "StateChange",
    "TooManyStreams",
    "__version__",
    "arguments_of",
    "connect",
    "embedded",
]

# Loading asyncio takes as long as everything else here together, and not every program needs it.
_LAZY = {
    "AsyncClient": ".aio.client",
    "AsyncEvents": ".aio.job",
    "AsyncJob": ".aio.job",
    "CallRecord": ".core.observe",
    "Client": ".sync.client",
    "Events": ".sync.job",
    "ImageSource": ".sources",
    "Job": ".sync.job",
    "Outcome": ".core.many",
    "Pipeline": ".pipeline",
    "PipelineOutput": ".pipeline",
    "connect": ".aio.connecting",
    "embedded": ".embedding",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_LAZY[name], __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
