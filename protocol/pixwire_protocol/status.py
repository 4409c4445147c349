"""Job status as it travels (SPEC 9): the map inside RESULT and EVENT, as frozen dataclasses.

Shared vocabulary of doors, jobs and clients. `from_map` ignores unknown keys, so that newer servers can say more.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeVar

from pixwire_protocol.attachments import Attachment, attachments_from, attachments_problem
from pixwire_protocol.errors import RemoteProtocolError
from pixwire_protocol.forms import is_job_id, show
from pixwire_protocol.heads import BODIES
from pixwire_protocol.registry import LIMITS, ErrorCode

Map = Mapping[str, Any]
Part = TypeVar("Part")


class JobState(StrEnum):
    """Where a job is in its life (SPEC 9). Terminal states never change."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def terminal(self) -> bool:
        """Whether the job is over."""
        return not JOB_TRANSITIONS[self]


# State -> the states that may follow. running -> queued is a run that lost its worker (attempt + 1).
JOB_TRANSITIONS: Final[Mapping[JobState, frozenset[JobState]]] = {
    JobState.QUEUED: frozenset([JobState.RUNNING, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED]),
    JobState.RUNNING: frozenset(
        [JobState.QUEUED, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED]
    ),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
    JobState.EXPIRED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class ArtifactInfo:
    """One image a job made: its index, its exact identity (etag), size in bytes and how to make it again (seed)."""

    artifact: int
    etag: str
    size: int
    media_type: str
    width: int
    height: int
    seed: int

    def to_map(self) -> dict[str, Any]:
        """The artifact's map."""
        return {name: getattr(self, name) for name in _ARTIFACT}

    @classmethod
    def from_map(cls, values: Map) -> "ArtifactInfo":
        """From a received map. Raises RemoteProtocolError(BAD_HEAD)."""
        return _from_map(cls, values, _ARTIFACT, "artifact")


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job failed: a code of the error registry, its name, a sentence, and whether to try again (SPEC 10)."""

    code: int
    name: str
    message: str
    retry: str = "no"

    def to_map(self) -> dict[str, Any]:
        """The error's map."""
        return {name: getattr(self, name) for name in _ERROR}

    @classmethod
    def from_map(cls, values: Map) -> "JobError":
        """From a received map. Raises RemoteProtocolError(BAD_HEAD)."""
        return _from_map(cls, values, _ERROR, "error")


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job at one moment.

    seq       number of this state in the job's event sequence, from 1; a higher seq is newer
    attempt   1 for the first run, +1 for every run after a lost worker
    steps     denoising steps in all, 0 until known; step = done so far
    queue_position  1 = next to start, None when not queued
    timings   milliseconds by phase; engine = passes and pass_share
    params, attachments  what was submitted, only in the answer to STATUS
    traceparent  that of the SUBMIT; retain_ms = how long the results of a job that has ended stay, from now
    """

    job: str
    kind: str
    state: JobState
    seq: int
    attempt: int = 1
    step: int = 0
    steps: int = 0
    seed: int | None = None
    queue_position: int | None = None
    artifacts: tuple[ArtifactInfo, ...] = ()
    error: JobError | None = None
    timings: Map | None = None
    engine: Map | None = None
    params: Map | None = None
    attachments: tuple[Attachment, ...] = ()
    traceparent: str | None = None
    retain_ms: int | None = None

    def to_map(self) -> dict[str, Any]:
        """The status map; what is None or empty is left out."""
        result: dict[str, Any] = {
            "job": self.job,
            "kind": self.kind,
            "state": self.state.value,
            "seq": self.seq,
            "attempt": self.attempt,
            "step": self.step,
            "steps": self.steps,
        }
        if self.seed is not None:
            result["seed"] = self.seed
        if self.queue_position is not None:
            result["queue_position"] = self.queue_position
        if self.artifacts:
            result["artifacts"] = [artifact.to_map() for artifact in self.artifacts]
        if self.error is not None:
            result["error"] = self.error.to_map()
        for name in _MAPS:
            value = getattr(self, name)
            if value is not None:
                result[name] = dict(value)
        if self.attachments:
            result["attachments"] = [attachment.to_map() for attachment in self.attachments]
        if self.traceparent is not None:
            result["traceparent"] = self.traceparent
        if self.retain_ms is not None:
            result["retain_ms"] = self.retain_ms
        return result

    @classmethod
    def from_map(cls, values: Map) -> "JobStatus":
        """From the body of RESULT or EVENT; unknown keys are ignored. Raises RemoteProtocolError(BAD_HEAD)."""
        checked = _job(values, _STATUS, "status")
        if "artifacts" in checked:
            checked["artifacts"] = tuple(_each(checked["artifacts"]))
        if "error" in checked:
            checked["error"] = JobError.from_map(checked["error"])
        if "attachments" in checked:
            problem = attachments_problem(checked["attachments"], "attachments", _MOST_ATTACHMENTS)
            if problem is not None:
                raise _wrong("status", *problem)
            checked["attachments"] = attachments_from(checked["attachments"])
        return cls(**checked)


@dataclass(frozen=True, slots=True)
class JobSummary:
    """A job in a list (SPEC 8): artifacts is their number, age_ms the time since it was accepted."""

    job: str
    kind: str
    state: JobState
    seq: int
    step: int
    steps: int
    artifacts: int
    age_ms: int

    def to_map(self) -> dict[str, Any]:
        """The summary's map."""
        return {name: getattr(self, name) for name in _SUMMARY} | {"state": self.state.value}

    @classmethod
    def from_map(cls, values: Map) -> "JobSummary":
        """From a received map; unknown keys are ignored. Raises RemoteProtocolError(BAD_HEAD)."""
        return cls(**_job(values, _SUMMARY, "summary"))


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model in a list (SPEC 8).

    name         what the parameter `model` calls it; default: it runs when no model is named
    pipeline     its family, for humans
    kinds, attachments, media_types   what it can do, which attachments it understands, what it can make
    defaults     steps, guidance_scale, width, height where parameters are absent
    limits       size_multiple, max_width, max_height, max_steps, max_count
    """

    name: str
    default: bool
    pipeline: str
    kinds: tuple[str, ...]
    attachments: tuple[str, ...]
    defaults: Map
    limits: Map
    media_types: tuple[str, ...]

    def to_map(self) -> dict[str, Any]:
        """The model's map."""
        values = {name: getattr(self, name) for name in _MODEL}
        return values | {name: list(values[name]) for name in _LISTS} | {name: dict(values[name]) for name in _NUMBERS}

    @classmethod
    def from_map(cls, values: Map) -> "ModelInfo":
        """From a received map; unknown keys are ignored. Raises RemoteProtocolError(BAD_HEAD)."""
        checked = dict(_checked(values, _MODEL, "model"))
        for name in _LISTS:
            if not all(type(item) is str for item in checked[name]):
                raise _wrong("model", name, checked[name], "an array of strings")
            checked[name] = tuple(checked[name])
        for name, keys in _NUMBERS.items():
            for key in keys:
                if type(checked[name].get(key)) not in (int, float):
                    raise _wrong("model", f"{name}.{key}", checked[name].get(key), "a number")
        return cls(**checked)


# Field -> (type on the wire, required). Integers are never negative here.
_Fields = Mapping[str, tuple[type, bool]]
_ARTIFACT: Final[_Fields] = {
    "artifact": (int, True),
    "etag": (str, True),
    "size": (int, True),
    "media_type": (str, True),
    "width": (int, True),
    "height": (int, True),
    "seed": (int, True),
}
_ERROR: Final[_Fields] = {"code": (int, True), "name": (str, True), "message": (str, True), "retry": (str, False)}
_STATUS: Final[_Fields] = {
    "job": (str, True),
    "kind": (str, True),
    "state": (str, True),
    "seq": (int, True),
    "attempt": (int, False),
    "step": (int, False),
    "steps": (int, False),
    "seed": (int, False),
    "queue_position": (int, False),
    "artifacts": (list, False),
    "error": (dict, False),
    "timings": (dict, False),
    "engine": (dict, False),
    "params": (dict, False),
    "attachments": (list, False),
    "traceparent": (str, False),
    "retain_ms": (int, False),
}
_SUMMARY: Final[_Fields] = {
    "job": (str, True),
    "kind": (str, True),
    "state": (str, True),
    "seq": (int, True),
    "step": (int, True),
    "steps": (int, True),
    "artifacts": (int, True),
    "age_ms": (int, True),
}
_MODEL: Final[_Fields] = {
    "name": (str, True),
    "default": (bool, True),
    "pipeline": (str, True),
    "kinds": (list, True),
    "attachments": (list, True),
    "defaults": (dict, True),
    "limits": (dict, True),
    "media_types": (list, True),
}
_LISTS: Final = ("kinds", "attachments", "media_types")
_NUMBERS: Final = {name: BODIES[f"model_{name}"] for name in ("defaults", "limits")}
_MAPS: Final = ("timings", "engine", "params")
_MOST_ATTACHMENTS: Final = LIMITS["attachments"].default
_KINDS: Final = {int: "an integer from 0", str: "a string", list: "an array", dict: "a map", bool: "true or false"}


def _from_map(cls: type[Part], values: Map, table: _Fields, what: str) -> Part:
    return cls(**_checked(values, table, what))


def _checked(values: Any, table: _Fields, what: str) -> Map:
    """The known fields of a received map, each of the right type; nil counts as absent."""
    if type(values) is not dict:
        raise _wrong(what, what, values, "a map")
    known: dict[str, Any] = {}
    for name, (kind, required) in table.items():
        value = values.get(name)
        if value is None:
            if required:
                raise _wrong(what, name, None, _KINDS[kind])
        elif type(value) is not kind or (type(value) is int and value < 0):
            raise _wrong(what, name, value, _KINDS[kind])
        else:
            known[name] = value
    return known


def _job(values: Map, table: _Fields, what: str) -> dict[str, Any]:
    """The same for a map about a job: its id and its state are right, too."""
    checked = dict(_checked(values, table, what))
    if not is_job_id(checked["job"]):
        raise _wrong(what, "job", checked["job"], "a job id")
    try:
        checked["state"] = JobState(checked["state"])
    except ValueError:
        raise _wrong(what, "state", checked["state"], " or ".join(JobState)) from None
    return checked


def _each(values: list[Any]) -> list[ArtifactInfo]:
    return [ArtifactInfo.from_map(value) for value in values]


def _wrong(what: str, name: str, value: Any, allowed: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.BAD_HEAD, f"{what} map: {name} must be {allowed}, not {show(value)} (SPEC 9)")
