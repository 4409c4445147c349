"""How long what has ended is kept. Pure: the time and what there is are arguments.

    ended --retain--> gone: a tombstone, which knows that there was such a job --dedupe--> forgotten

Both times count from the end of the job.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from pixwire_server.store import EndedRow, FileRef


class Fate(Enum):
    """What has become of a job."""

    KEPT = auto()
    """It lives, or its results are there."""
    GONE = auto()
    """Its results were given up: JOB_EXPIRED."""
    FORGOTTEN = auto()
    """JOB_NOT_FOUND; its id may be used anew."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which jobs lose their results, and what is known then."""

    expiring: tuple[EndedRow, ...]
    kept_bytes: int
    """Of all that is left."""
    complete: bool
    """No job after those that were looked at has to go."""


@dataclass(frozen=True, slots=True)
class Retention:
    """The bounds. `dedupe_ms` is at least `retain_ms`; `retain_bytes` 0 means no bound."""

    retain_ms: int
    dedupe_ms: int
    retain_bytes: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.retain_ms <= self.dedupe_ms:
            raise ValueError(
                f"retain ({self.retain_ms} ms) must not be negative or longer than dedupe ({self.dedupe_ms} ms)"
            )

    def fate(self, finished_ms: int | None, gone_ms: int | None, now_ms: int) -> Fate:
        """What has become of a job that ended at `finished_ms`, whether the sweeper has come by already or not."""
        if finished_ms is None:
            return Fate.KEPT
        if finished_ms <= self.forgotten_ms(now_ms):
            return Fate.FORGOTTEN
        return Fate.GONE if gone_ms is not None or not self.left_ms(finished_ms, now_ms) else Fate.KEPT

    def left_ms(self, finished_ms: int, now_ms: int) -> int:
        """How long the results stay from now."""
        return min(self.retain_ms, max(0, finished_ms + self.retain_ms - now_ms))

    def forgotten_ms(self, now_ms: int) -> int:
        """Who ended then or earlier is forgotten."""
        return now_ms - self.dedupe_ms

    def judge(self, ended: Sequence[EndedRow], kept_bytes: int, now_ms: int) -> Verdict:
        """Which of `ended` lose their results now: those whose time is over, and then, while `kept_bytes` (of all files
        of ended jobs) are too many, those that ended first. `ended` is in that order.

        A file that other jobs refer to as well frees no bytes before the last of them goes. A job without files is
        spared: its end costs nothing to keep.
        """
        expiring: list[EndedRow] = []
        uses: dict[FileRef, int] = {}
        complete = False
        for row in ended:
            overdue = not self.left_ms(row.finished_ms, now_ms)
            complete = not overdue and not self._too_many(kept_bytes)
            if complete:
                break
            if not overdue and not row.files:
                continue
            expiring.append(row)
            for file, known in row.files:
                uses[file] = uses.get(file, known) - 1
                kept_bytes -= 0 if uses[file] else file.size
        return Verdict(tuple(expiring), kept_bytes, complete)

    def _too_many(self, kept_bytes: int) -> bool:
        return 0 < self.retain_bytes < kept_bytes
