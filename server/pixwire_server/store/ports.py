"""The two interfaces behind which jobs and images are kept, and the plain data that passes through them.

The store knows neither the job states nor what a request means: a row is a key, an order, a few columns to find it
by, and two JSON documents that only the job layer reads. Every operation returns an `asyncio.Future` of the calling
loop and may be abandoned by cancelling it: the operation itself is then still carried out.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class JobRow:
    """One job as the journal keeps it."""

    position: int
    """The place in the order of arrival, unique and rising; drawn by the job layer."""
    principal: str
    job: str
    """With `principal` the key: unique for ever."""
    kind: str
    fingerprint: str
    """What the request was made of; decides whether a second submit of the same key is the same request."""
    params: str
    """JSON document of the job layer: the request with every choice made, so that a rerun makes the same image."""
    submitted_ms: int
    """Wall clock, milliseconds since 1970."""
    state: str
    seq: int
    """Number of the last event that was journalled; an update must raise it."""
    attempt: int
    finished_ms: int | None = None
    """Set once, by the last update; from then on the row never changes."""
    cancel_reason: str | None = None
    """Set when a cancel was asked for while the job was running."""
    detail: str = "{}"
    """JSON document of the job layer: artifacts, error, timings."""


class JobStore(Protocol):
    """Keeps jobs. What it acknowledged is on disk; of what it refused (`StoreError`) nothing is kept."""

    def create(self, row: JobRow) -> asyncio.Future[JobRow | None]:
        """Keep a new job. The answer is None when it is on disk, or the row that already has this key (which is then
        left as it is).
        """
        ...

    def update(self, row: JobRow) -> asyncio.Future[bool]:
        """Write state, seq, attempt, finished_ms, cancel_reason and detail of the row with this position.

        False (and no change) when the stored row is finished or has this `seq` or a later one: the writer is behind
        and must not publish.
        """
        ...

    def find(self, principal: str, job: str) -> asyncio.Future[JobRow | None]:
        """The row with this key, finished or not. Works while the medium refuses writes."""
        ...


class Blob(Protocol):
    """A stored image, readable until `close`."""

    @property
    def data(self) -> memoryview: ...

    def close(self) -> None:
        """Give the file back. Slices of `data` that are still in use stay readable."""
        ...


class ArtifactStore(Protocol):
    """Keeps images under the sha256 of their bytes (hex), which is also their etag."""

    def put(self, images: Sequence[bytes]) -> asyncio.Future[list[str]]:
        """Store all of them; the answer, their names in the same order, means that all are on disk."""
        ...

    def open(self, etag: str) -> asyncio.Future[Blob | None]:
        """The bytes stored under this name; None when there are none."""
        ...
