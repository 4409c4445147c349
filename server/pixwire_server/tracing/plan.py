"""What is told of a job that has ended: its phases with their times. Pure.

    job                    from the acceptance to the end on disk
      queue                until the (last) attempt began
      run                  until the engine's last word was heard
        encode, denoise, decode, image       what the engine did, by its own clock
      store                images and journal, until the end was on disk

Before `encode` a job may wait in the engine for its model, or for the end of the pass that runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pixwire_protocol.status import JobState
from pixwire_server.engine.api import JobStats
from pixwire_server.jobs import Job

Value = str | int | float | Sequence[str]

_MS = 1_000_000
STAGES = ("encode", "denoise", "decode", "image")
UNWANTED = (JobState.CANCELLED,)
"""Ends that are no success and no error either."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One span: nanoseconds since 1970, and what lies in it. `error`: the name and the text of what went wrong."""

    name: str
    start: int
    end: int
    attributes: Mapping[str, Value] = field(default_factory=dict)
    parts: tuple["Piece", ...] = ()
    error: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What the engine told of the last attempt. `began`: when its first stage did, in nanoseconds since 1970."""

    stats: JobStats
    began: int


def story(job: Job, told: Told | None, settled: int) -> Piece:
    """All of a job whose end was on disk at `settled`. `told` is None for one that the engine did not finish."""
    accepted = job.submitted_ms * _MS
    return Piece(
        "job",
        accepted,
        max(accepted, settled),
        _about(job),
        _phases(job, told, accepted, settled),
        _error(job),
    )


def _about(job: Job) -> dict[str, Value]:
    values: dict[str, Value | None] = {
        "pixwire.job": job.id,
        "pixwire.kind": job.kind,
        "pixwire.model": job.params.model,
        "pixwire.state": job.state.value,
        "pixwire.priority": job.terms.priority,
        "pixwire.attempt": job.attempt,
        "pixwire.images": len(job.artifacts),
        "pixwire.image_bytes": sum(one.size for one in job.artifacts),
        "pixwire.tags": job.terms.tags or None,
    }
    return {name: value for name, value in values.items() if value is not None}


def _error(job: Job) -> tuple[str, str] | None:
    if job.error is None or job.state in UNWANTED:
        return None
    return job.error.name, job.error.message


def _phases(job: Job, told: Told | None, accepted: int, settled: int) -> tuple[Piece, ...]:
    timings = job.timings
    if "queue_ms" not in timings:  # it never ran, or what ran was lost
        return (Piece("queue", accepted, max(accepted, settled)),)
    started = accepted + round(timings["queue_ms"] * _MS)
    heard = started + round(timings.get("run_ms", 0.0) * _MS)
    run = Piece(
        "run", started, heard, {"pixwire.attempt": job.attempt}, () if told is None else _stages(job, told, heard)
    )
    return (
        Piece("queue", accepted, started),
        run,
        Piece("store", heard, max(heard, settled)),
    )


def _stages(job: Job, told: Told, heard: int) -> tuple[Piece, ...]:
    """One after the other, without gaps; not beyond the moment at which the server heard of the end."""
    stats, at, pieces = told.stats, told.began, []
    for name in STAGES:
        ns = round(getattr(stats, f"{name}_ms") * _MS)
        if ns:
            start, end = min(at, heard), min(at + ns, heard)
            pieces.append(Piece(name, start, end, _of_denoising(job, stats) if name == "denoise" else {}))
        at += ns
    return tuple(pieces)


def _of_denoising(job: Job, stats: JobStats) -> dict[str, Value]:
    """How many steps, and how well its passes were shared: rows of a pass, and requests in it, on average."""
    values: dict[str, Value] = {"pixwire.steps": job.step, "pixwire.passes": stats.passes}
    if stats.passes:
        values["pixwire.rows_per_pass"] = round(stats.pass_rows / stats.passes, 3)
    if stats.pass_share:
        values["pixwire.requests_per_pass"] = round(stats.passes / stats.pass_share, 3)
    return values
