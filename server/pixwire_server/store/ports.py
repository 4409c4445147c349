"""The interfaces behind which jobs, images and attachments are kept, and the plain data that passes through them.

The store knows neither the job states nor what a request means: a row is a key, an order, a few columns to find it
by, and two JSON documents that only the job layer reads. Every operation returns an `asyncio.Future` of the calling
loop and may be abandoned by cancelling it: the operation itself is then still carried out.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from pixwire_protocol.source import Source

ARTIFACTS = "artifacts"
ATTACHMENTS = "attachments"
FOLDERS = ARTIFACTS, ATTACHMENTS
"""Where a file lies: what jobs made, and what clients sent along. Bytes that are in both are two files."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FileRef:
    """A stored file: its folder, its name (the sha256 of its bytes in hex) and its size in bytes."""

    folder: str
    name: str
    size: int


@dataclass(frozen=True, slots=True)
class EndedRow:
    """What retention has to know of a job that has ended and still has its results."""

    position: int
    principal: str
    job: str
    finished_ms: int
    files: tuple[tuple[FileRef, int], ...] = ()
    """Each file it refers to, with the number of jobs that do."""


class JobRow(NamedTuple):
    """One job as the journal keeps it: a row of its table, in the order of the columns."""

    position: int
    """The place in the order of arrival, unique and rising; drawn by the job layer."""
    principal: str
    job: str
    """With `principal` the key: unique among the jobs that are not forgotten."""
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
    attachments: str = "[]"
    """JSON document of the job layer: what was sent along with the request."""
    traceparent: str | None = None
    tracestate: str | None = None
    gone_ms: int | None = None
    """Wall clock when the results were given up. What is left since then is a tombstone: key, fingerprint and how it
    ended.
    """
    terms: str = "{}"
    """JSON document of the job layer: how the job is to be treated (priority, deadlines, tags)."""


Entered = Callable[[JobRow | None, BaseException | None], None]
"""Told how `JobStore.enter` went."""


class JobStore(Protocol):
    """Keeps jobs. What it acknowledged is on disk; of what it refused (`StoreError`) nothing is kept."""

    def create(
        self,
        row: JobRow,
        files: Collection[FileRef] = (),
        forgotten_ms: int | None = None,
        tags: Collection[str] = (),
    ) -> asyncio.Future[JobRow | None]:
        """Keep a new job, which files it refers to and under which tags `page` finds it. The answer is None when it is
        on disk, or the row that already has this key, which is then left as it is; one that ended at `forgotten_ms` or
        earlier makes room.
        """
        ...

    def enter(
        self,
        told: Entered,
        row: JobRow,
        files: Collection[FileRef] = (),
        forgotten_ms: int | None = None,
        tags: Collection[str] = (),
    ) -> None:
        """As `create`, for those who do it by the thousand: `told` is called in the event loop, without a turn of it in
        between, with the answer and None, or with None and the StoreError. It must not raise.
        """
        ...

    def update(self, row: JobRow, files: Collection[FileRef] = ()) -> asyncio.Future[bool]:
        """Write state, seq, attempt, finished_ms, cancel_reason and detail of the row with this position; it refers to
        `files` as well from now on.

        False (and no change) when the stored row is finished or has this `seq` or a later one: the writer is behind
        and must not publish.
        """
        ...

    def find(self, principal: str, job: str) -> asyncio.Future[JobRow | None]:
        """The row with this key, finished or not. Works while the medium refuses writes."""
        ...

    def page(
        self, principal: str, before: int, states: Collection[str], limit: int, tag: str | None = None
    ) -> asyncio.Future[list[JobRow]]:
        """The `limit` newest jobs of `principal` at positions below `before` that are in one of `states`, were created
        with `tag` (any, when it is None) and have their results, newest first. What was asked to be written before is
        seen.
        """
        ...

    def owns(self, principal: str, files: Collection[FileRef]) -> asyncio.Future[bool]:
        """Whether jobs of this principal that have not lost their results refer to all of these files."""
        ...

    def expire(self, positions: Collection[int], now_ms: int) -> asyncio.Future[list[FileRef]]:
        """Make tombstones of these ended jobs; of their request and results nothing remains in the journal. The
        answer: the files they referred to and no job refers to any more.
        """
        ...

    def forget(self, positions: Collection[int]) -> asyncio.Future[list[FileRef]]:
        """Remove these ended jobs altogether; their keys may be used anew. Answers as `expire`."""
        ...


class Retained(Protocol):
    """The look back at what is kept, off the path of requests. Removes files that nobody needs."""

    def ended(self, after: tuple[int, int], limit: int) -> asyncio.Future[list[EndedRow]]:
        """The `limit` jobs that ended first and still have their results, in the order of (`finished_ms`, `position`),
        from the first that is greater than `after`.
        """
        ...

    def bytes_kept(self, more_than: int) -> asyncio.Future[int]:
        """Bytes of all files that jobs which have ended refer to, each counted once; may be a rough upper bound if it
        is not above `more_than`.
        """
        ...

    def tombstones(self, before_ms: int, limit: int) -> asyncio.Future[list[int]]:
        """Positions of at most `limit` tombstones of jobs that ended at `before_ms` or earlier, the oldest first."""
        ...

    def collect(self, files: Iterable[FileRef]) -> asyncio.Future[int]:
        """Remove those of `files` that no job refers to and nobody holds; the answer is how many. Whoever has one of
        them open reads on.
        """
        ...


class Blob(Protocol):
    """A stored image. It stays readable as long as it, or a part of it, is referred to."""

    @property
    def size(self) -> int:
        """In bytes, when it was opened."""
        ...

    def part(self, start: int, stop: int) -> Source:
        """The bytes from `start` up to, not including, `stop`, on their way out; reading them may raise StoreError."""
        ...

    def read(self, offset: int, size: int) -> bytes:
        """Those bytes, at once. Blocks. Raises StoreError."""
        ...


class ArtifactStore(Protocol):
    """Keeps images under the sha256 of their bytes (hex), which is also their etag."""

    def put(self, images: Sequence[bytes | memoryview]) -> asyncio.Future[list[str]]:
        """Store all of them; the answer, their names in the same order, means that all are on disk. They are held
        until `release`, so that they outlive the moment between this and the journal's entry that refers to them.
        """
        ...

    def release(self, names: Sequence[str]) -> None:
        """Hold these no longer; once per `put` that worked."""
        ...

    def kept(self, etag: str) -> Blob | None:
        """The bytes stored under this name, if they are at hand without waiting for the disk."""
        ...

    def open(self, etag: str) -> asyncio.Future[Blob | None]:
        """The bytes stored under this name; None when there are none."""
        ...


class Arrival(Protocol[T]):
    """Files on their way in. Calls are carried out in their order, and never wait for each other's futures."""

    def write(self, data: bytes | bytearray | memoryview) -> asyncio.Future[None]:
        """The next bytes, across the borders of files; once it is done they were taken over. Fails, as everything
        after it does, with StoreError, MismatchError or what `inspect` raised.
        """
        ...

    def seal(self) -> asyncio.Future[list[T]]:
        """All bytes were written: put the files in their places, on disk and held. The answer: what `inspect` said."""
        ...

    def discard(self) -> asyncio.Future[None]:
        """Remove what was not sealed, release what was. May be called again, at any time; what was not carried out yet
        fails with StoreError.
        """
        ...


class AttachmentStore(Protocol):
    """Keeps what clients send along with their requests, under the sha256 of the bytes."""

    def receive(self, files: Sequence[FileRef], inspect: Callable[[int, Path], T]) -> Arrival[T]:
        """Take in these files, whose bytes will come one after the other. `inspect(index, path)` is called in a thread
        with each file whose bytes are complete and are the right ones; what it raises refuses them all.
        """
        ...

    def adopt(self, files: Sequence[FileRef], inspect: Callable[[int, Path], T]) -> asyncio.Future[list[T] | None]:
        """Hold these files if all of them are there, until `release`; the answer is what `inspect` said of each. None,
        and nothing held, when one of them is missing.
        """
        ...

    def release(self, files: Sequence[FileRef]) -> None:
        """Hold these no longer; once per `adopt` that found them."""
        ...

    def path(self, name: str) -> Path:
        """Where a file of this name lies, absolute."""
        ...
