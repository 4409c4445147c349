"""What a server holds: memory, descriptors, threads, tasks, files and rows; and whether that is more than before."""

import asyncio
import os
import sqlite3
import statistics
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from crashing import CrashServer

MIB = 1 << 20
WARM_SHARE = 0.3
"""Of the samples: what comes first is the heap finding its size."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What may have grown by the end."""

    memory_bytes: int = 12 * MIB
    """From the first samples after the heap has found its size to the last ones; also that share of it."""
    memory_share: float = 0.1
    descriptors: int = 0
    threads: int = 8
    """Pools make theirs when they are needed for the first time, and keep them."""
    journal_bytes: int = 64 * MIB


@dataclass(frozen=True, slots=True)
class Sample:
    """The server under load at one moment."""

    second: float
    jobs: int
    rss: int
    descriptors: int
    files: int

    def shown(self) -> dict[str, Any]:
        return {**asdict(self), "second": round(self.second, 1)}


@dataclass(frozen=True, slots=True)
class Rest:
    """The server when nothing is left to be done: no connection, and all results have run out of time."""

    rss: int
    descriptors: int
    threads: int
    tasks: list[str] = field(default_factory=list)
    rows: int = 0
    files: list[str] = field(default_factory=list)
    journal_bytes: int = 0
    engines: int = 0

    def shown(self) -> dict[str, Any]:
        return asdict(self) | {"tasks": len(self.tasks)}


class Gauge:
    """Looks at one server from outside."""

    def __init__(self, server: CrashServer) -> None:
        self.samples: list[Sample] = []
        self._server = server
        self._began = 0.0

    def begin(self) -> None:
        self._began = time.monotonic()

    def sample(self, jobs: int) -> None:
        """`jobs`: how many were done so far."""
        second = time.monotonic() - self._began
        self.samples.append(Sample(second, jobs, self._rss(), self._descriptors(), len(self._files())))

    async def at_rest(self, empty_after: float) -> Rest:
        """Wait until no job and no file is left, at most `empty_after` seconds, and until an engine is there; what the
        server then holds.
        """
        until = time.monotonic() + empty_after
        while not self._at_rest() and time.monotonic() < until:  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(0.2)
        counted = await self._server.count()
        return Rest(
            rss=self._rss(),
            descriptors=self._descriptors(),
            threads=counted["threads"],
            tasks=[name.split(" at ")[0] for name in counted["tasks"]],
            rows=self._rows(),
            files=self._files(),
            journal_bytes=sum(path.stat().st_size for path in self._server.data_dir.glob("journal*")),
            engines=len(self._server.engine_pids()),
        )

    def _at_rest(self) -> bool:
        return not self._rows() and not self._files() and len(self._server.engine_pids()) == 1

    def memory(self, limits: Limits) -> dict[str, float]:
        """How it went: the slope is that of a robust line through the samples (Theil-Sen)."""
        early, late = windows(self.samples)
        warm = self.samples[int(len(self.samples) * WARM_SHARE) :]
        slopes = [
            (b.rss - a.rss) / (b.second - a.second)
            for i, a in enumerate(warm)
            for b in warm[i + 1 :]
            if b.second > a.second
        ]
        jobs = max(1, late[-1].jobs - early[0].jobs)
        grown = typical(late) - typical(early)
        return {
            "early_mib": round(typical(early) / MIB, 2),
            "late_mib": round(typical(late) / MIB, 2),
            "allowed_growth_mib": round(allowed(early, limits) / MIB, 2),
            "slope_kib_per_minute": round(statistics.median(slopes) * 60 / 1024, 2) if slopes else 0.0,
            "bytes_per_job": round(grown / jobs, 1),
        }

    def _rss(self) -> int:
        pages = int(Path(f"/proc/{self._server.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def _descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self._server.pid}/fd"))

    def _files(self) -> list[str]:
        folders = ("artifacts", "attachments")
        return sorted(
            str(path.relative_to(self._server.data_dir))
            for folder in folders
            for path in (self._server.data_dir / folder).rglob("*")
            if path.is_file()
        )

    def _rows(self) -> int:
        journal = f"{(self._server.data_dir / 'journal.sqlite3').as_uri()}?mode=ro"
        with closing(sqlite3.connect(journal, uri=True, timeout=60)) as reader:
            tables = "SELECT (SELECT count(*) FROM job) + (SELECT count(*) FROM file) + (SELECT count(*) FROM tag)"
            return int(reader.execute(tables).fetchone()[0])


def windows(samples: Sequence[Sample]) -> tuple[Sequence[Sample], Sequence[Sample]]:
    """The first quarter after the heap has found its size, and the last quarter."""
    warm = samples[int(len(samples) * WARM_SHARE) :] or samples
    size = max(1, len(warm) // 4)
    return warm[:size], warm[-size:]


def typical(samples: Sequence[Sample]) -> float:
    return statistics.median(sample.rss for sample in samples)


def allowed(early: Sequence[Sample], limits: Limits) -> float:
    return max(limits.memory_bytes, typical(early) * limits.memory_share)


def judge(baseline: Rest, end: Rest, samples: Sequence[Sample], limits: Limits) -> list[str]:
    """What has leaked, in words; empty when nothing has."""
    problems: list[str] = []
    if end.rows:
        problems.append(f"{end.rows} rows are left in the journal")
    if end.files:
        problems.append(f"{len(end.files)} files are left, such as {end.files[0]}")
    if end.engines != 1:
        problems.append(f"there are {end.engines} engine processes")
    more = list(end.tasks)
    for name in baseline.tasks:
        if name in more:
            more.remove(name)
    if more:
        problems.append(f"{len(more)} tasks more than at first: {', '.join(more[:5])}")
    for name in ("descriptors", "threads"):
        before, after, allowance = getattr(baseline, name), getattr(end, name), getattr(limits, name)
        if after > before + allowance:
            problems.append(f"{after} {name}, {before} at first")
    if end.journal_bytes > limits.journal_bytes:
        problems.append(f"the empty journal has {end.journal_bytes} bytes")
    if samples:
        early, late = windows(samples)
        grown = typical(late) - typical(early)
        if grown > allowed(early, limits):
            problems.append(f"memory has grown by {grown / MIB:.1f} MiB under steady load")
    else:
        problems.append("nothing was measured")
    return problems
