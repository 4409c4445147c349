"""Job status as it travels (SPEC 9): the map inside RESULT and EVENT, as frozen dataclasses.

Shared vocabulary of doors, jobs and clients. `from_map` ignores unknown keys, so that newer servers can say more.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from pixwire_protocol.attachments import Attachment, attachments_from, attachments_problem
from pixwire_protocol.forms import is_job_id
from pixwire_protocol.maps import Fields, Map, checked, each, numbers, strings, wrong
from pixwire_protocol.model_info import ModelInfo as ModelInfo  # what is listed beside the jobs
from pixwire_protocol.record import filled, record, sparse_record
from pixwire_protocol.registry import LIMITS

LOW: Final = "low"
NORMAL: Final = "normal"
HIGH: Final = "high"
PRIORITIES: Final = (LOW, NORMAL, HIGH)
"""What `priority` of SUBMIT may be, the least urgent first (SPEC 9.6)."""


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


@record
class ArtifactInfo:
    """One image a job made. SPEC 8.16.

    Attributes:
        artifact: its index among the images of the job, from 0.
        etag: its exact identity; FETCH may name it, so that nothing else is delivered.
        size: bytes of the encoded image.
        media_type: how it is encoded, e.g. "image/png".
        width: pixels.
        height: pixels.
        seed: makes it again, with a count of one.
    """

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
        return cls(**checked(values, _ARTIFACT, "artifact"))


@record
class JobError:
    """Why a job ended without an image. SPEC 10.

    Attributes:
        code: the number in the error registry.
        name: its name, e.g. "PIPELINE_ERROR".
        message: a sentence for people; never parse it.
        retry: "no" (a new job would fail, too), "same_id" or "after": trying again may help.
    """

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
        return cls(**checked(values, _ERROR, "error"))


@sparse_record
class JobStatus:
    """A job at one moment. SPEC 8.16, 9.

    Attributes:
        job: its id.
        kind: "txt2img", "img2img" or "inpaint".
        state: where it is in its life.
        seq: number of this state in the job's event sequence, from 1; a higher one is newer.
        attempt: 1 for the first run, one more for every run after a lost engine.
        step: denoising steps done in this attempt.
        steps: denoising steps in all; 0 until known.
        seed: the seed of its first image, also where the server drew it.
        queue_position: about which place in the order of starts, 1 = next; None when not queued.
        artifacts: its images, once it has succeeded.
        error: why it ended without an image; None in every other state.
        timings: milliseconds by phase.
        engine: `passes`, and `pass_share`, its part of the passes that it shared.
        params: what was submitted; only in the answer to STATUS.
        attachments: the pictures that were submitted; only in the answer to STATUS.
        traceparent: that of the SUBMIT.
        retain_ms: how long the results of a job that has ended stay, from now.
        priority: that of the SUBMIT.
        tags: those of the SUBMIT.
        eta_ms: about how long until it has ended, from now; None in terminal states.
        deadline_ms: what is left of its deadline; None without one, and in terminal states.
        timesteps: what the denoiser was called with, one for each step done; only for a watcher who asked for them.
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
    priority: str = NORMAL
    tags: tuple[str, ...] = ()
    eta_ms: int | None = None
    deadline_ms: int | None = None
    timesteps: tuple[float, ...] = ()

    def to_map(self) -> dict[str, Any]:
        """The status map; what is None, empty or normal is left out."""
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
        if self.tags or self.priority != NORMAL:
            result |= _labels(self.priority, self.tags)
        if self.eta_ms is not None:
            result["eta_ms"] = self.eta_ms
        if self.deadline_ms is not None:
            result["deadline_ms"] = self.deadline_ms
        if self.timesteps:
            result["timesteps"] = list(self.timesteps)
        return result

    @classmethod
    def from_map(cls, values: Map) -> "JobStatus":
        """From the body of RESULT or EVENT; unknown keys are ignored. Raises RemoteProtocolError(BAD_HEAD)."""
        known = _job(values, _STATUS, "status")
        if "artifacts" in known:
            known["artifacts"] = each(known["artifacts"], ArtifactInfo.from_map)
        if "error" in known:
            known["error"] = JobError.from_map(known["error"])
        if "attachments" in known:
            problem = attachments_problem(known["attachments"], "attachments", _MOST_ATTACHMENTS)
            if problem is not None:
                raise wrong("status", *problem)
            known["attachments"] = attachments_from(known["attachments"])
        if "tags" in known:
            known["tags"] = strings(known["tags"], "status", "tags")
        if "timesteps" in known:
            known["timesteps"] = numbers(known["timesteps"], "status", "timesteps")
        return filled(cls, known)


@record
class JobSummary:
    """A job in a list. SPEC 8.12.

    Attributes:
        job: its id.
        kind: "txt2img", "img2img" or "inpaint".
        state: where it is in its life.
        seq: number of this state in its event sequence.
        step: denoising steps done.
        steps: denoising steps in all; 0 until known.
        artifacts: how many images it has.
        age_ms: milliseconds since it was accepted.
        priority: that of the SUBMIT.
        tags: those of the SUBMIT.
        model: the name of its model; None when the server does not say.
    """

    job: str
    kind: str
    state: JobState
    seq: int
    step: int
    steps: int
    artifacts: int
    age_ms: int
    priority: str = NORMAL
    tags: tuple[str, ...] = ()
    model: str | None = None

    def to_map(self) -> dict[str, Any]:
        """The summary's map; what is None, empty or normal is left out."""
        result = {name: getattr(self, name) for name, (_, required) in _SUMMARY.items() if required}
        result |= {"state": self.state.value} | _labels(self.priority, self.tags)
        if self.model is not None:
            result["model"] = self.model
        return result

    @classmethod
    def from_map(cls, values: Map) -> "JobSummary":
        """From a received map; unknown keys are ignored. Raises RemoteProtocolError(BAD_HEAD)."""
        known = _job(values, _SUMMARY, "summary")
        if "tags" in known:
            known["tags"] = strings(known["tags"], "summary", "tags")
        return cls(**known)


_ARTIFACT: Final = Fields(
    {
        "artifact": (int, True),
        "etag": (str, True),
        "size": (int, True),
        "media_type": (str, True),
        "width": (int, True),
        "height": (int, True),
        "seed": (int, True),
    }
)
_ERROR: Final = Fields({"code": (int, True), "name": (str, True), "message": (str, True), "retry": (str, False)})
_STATUS: Final = Fields(
    {
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
        "priority": (str, False),
        "tags": (list, False),
        "eta_ms": (int, False),
        "deadline_ms": (int, False),
        "timesteps": (list, False),
    }
)
_SUMMARY: Final = Fields(
    {
        "job": (str, True),
        "kind": (str, True),
        "state": (str, True),
        "seq": (int, True),
        "step": (int, True),
        "steps": (int, True),
        "artifacts": (int, True),
        "age_ms": (int, True),
        "priority": (str, False),
        "tags": (list, False),
        "model": (str, False),
    }
)
_STATES: Final[Mapping[str, JobState]] = {state.value: state for state in JobState}
_MAPS: Final = ("timings", "engine", "params")
_MOST_ATTACHMENTS: Final = LIMITS["attachments"].default


def _job(values: Map, table: Fields, what: str) -> dict[str, Any]:
    """The same for a map about a job: its id and its state are right, too."""
    known = checked(values, table, what)
    if not is_job_id(known["job"]):
        raise wrong(what, "job", known["job"], "a job id")
    state = _STATES.get(known["state"])
    if state is None:
        raise wrong(what, "state", known["state"], " or ".join(JobState))
    known["state"] = state
    return known


def _labels(priority: str, tags: tuple[str, ...]) -> dict[str, Any]:
    """What of a job's labels is worth saying."""
    said: dict[str, Any] = {} if priority == NORMAL else {"priority": priority}
    return said | {"tags": list(tags)} if tags else said
