"""What ADMIN with the action overview answers (SPEC 8.19): the server at one moment, as frozen dataclasses.

Times are milliseconds. None = the server does not know, or there is nothing to tell; such fields do not travel.
"""

from dataclasses import dataclass, fields
from typing import Any, Final

from pixwire_protocol.maps import Fields, Map, checked, each, strings
from pixwire_protocol.status import NORMAL

NUMBER_KEY: Final = "pass"
"""The key of JobOverview.pass_id: as a name it is taken in Python."""


@dataclass(frozen=True, slots=True)
class QueueOverview:
    """Jobs that wait, by priority; oldest_ms is 0 when none does; limit = how many may."""

    high: int
    normal: int
    low: int
    oldest_ms: int
    limit: int

    def to_map(self) -> dict[str, Any]:
        """Its map."""
        return _to_map(self)

    @classmethod
    def from_map(cls, values: Map) -> "QueueOverview":
        """From a received map. Raises RemoteProtocolError(BAD_HEAD)."""
        return cls(**checked(values, _QUEUE, "overview_queue"))


@dataclass(frozen=True, slots=True)
class JobOverview:
    """A job of anybody that waits or runs. pass_id: jobs with the same number shared their last forward pass."""

    job: str
    principal: str
    kind: str
    model: str
    state: str
    step: int
    steps: int
    age_ms: int
    priority: str = NORMAL
    eta_ms: int | None = None
    pass_id: int | None = None
    tags: tuple[str, ...] = ()

    def to_map(self) -> dict[str, Any]:
        """Its map."""
        values = _to_map(self)
        if self.pass_id is not None:
            values[NUMBER_KEY] = values.pop("pass_id")
        return values

    @classmethod
    def from_map(cls, values: Map) -> "JobOverview":
        """From a received map. Raises RemoteProtocolError(BAD_HEAD)."""
        known = checked(values, _JOB, "overview_job")
        if NUMBER_KEY in known:
            known["pass_id"] = known.pop(NUMBER_KEY)
        if "tags" in known:
            known["tags"] = strings(known["tags"], "overview_job", "tags")
        return cls(**known)


@dataclass(frozen=True, slots=True)
class FailedOverview:
    """A job of anybody that failed or expired `ended_ms` ago; error = the name of its code, message is for people."""

    job: str
    principal: str
    kind: str
    model: str
    state: str
    error: str
    message: str
    ended_ms: int
    tags: tuple[str, ...] = ()

    def to_map(self) -> dict[str, Any]:
        """Its map."""
        return _to_map(self)

    @classmethod
    def from_map(cls, values: Map) -> "FailedOverview":
        """From a received map. Raises RemoteProtocolError(BAD_HEAD)."""
        known = checked(values, _FAILED, "overview_failed")
        if "tags" in known:
            known["tags"] = strings(known["tags"], "overview_failed", "tags")
        return cls(**known)


@dataclass(frozen=True, slots=True)
class EngineOverview:
    """What makes the images: ready | starting | lost | refused; rows and step_ms are means of the last minute."""

    state: str
    restarts: int
    resident: int
    parked: int
    passes: int
    images_per_minute: float
    rows: float | None = None
    step_ms: float | None = None

    def to_map(self) -> dict[str, Any]:
        """Its map."""
        return _to_map(self)

    @classmethod
    def from_map(cls, values: Map) -> "EngineOverview":
        """From a received map. Raises RemoteProtocolError(BAD_HEAD)."""
        return cls(**checked(values, _ENGINE, "overview_engine"))


@dataclass(frozen=True, slots=True)
class ModelOverview:
    """A model: loaded | loading | available | failed, and the bytes of memory that it takes."""

    name: str
    state: str
    bytes: int | None = None

    def to_map(self) -> dict[str, Any]:
        """Its map."""
        return _to_map(self)

    @classmethod
    def from_map(cls, values: Map) -> "ModelOverview":
        """From a received map. Raises RemoteProtocolError(BAD_HEAD)."""
        return cls(**checked(values, _MODEL, "overview_model"))


@dataclass(frozen=True, slots=True)
class PrincipalOverview:
    """Somebody who has jobs that wait or run."""

    principal: str
    queued: int
    running: int

    def to_map(self) -> dict[str, Any]:
        """Its map."""
        return _to_map(self)

    @classmethod
    def from_map(cls, values: Map) -> "PrincipalOverview":
        """From a received map. Raises RemoteProtocolError(BAD_HEAD)."""
        return cls(**checked(values, _PRINCIPAL, "overview_principal"))


@dataclass(frozen=True, slots=True)
class CostOverview:
    """Actual time / foretold time of the last passes; slack = what a foretold time is multiplied with for a promise."""

    slack: float
    error_p50: float | None = None
    error_p90: float | None = None

    def to_map(self) -> dict[str, Any]:
        """Its map."""
        return _to_map(self)

    @classmethod
    def from_map(cls, values: Map) -> "CostOverview":
        """From a received map. Raises RemoteProtocolError(BAD_HEAD)."""
        return cls(**checked(values, _COST, "overview_cost"))


@dataclass(frozen=True, slots=True)
class Overview:
    """The server at one moment.

    paused, reason  whether new jobs are refused, and why; draining: it is about to stop
    uptime_ms       of the server process
    running, waiting  jobs; the first of `waiting` starts next
    failed          those that failed or expired last, the latest first
    models          the default one first
    """

    paused: bool
    draining: bool
    uptime_ms: int
    connections: int
    queue: QueueOverview
    running: tuple[JobOverview, ...]
    waiting: tuple[JobOverview, ...]
    engine: EngineOverview
    models: tuple[ModelOverview, ...]
    principals: tuple[PrincipalOverview, ...]
    cost: CostOverview
    failed: tuple[FailedOverview, ...] = ()
    reason: str | None = None

    def to_map(self) -> dict[str, Any]:
        """The body of the RESULT."""
        return _to_map(self)

    @classmethod
    def from_map(cls, values: Map) -> "Overview":
        """From the body of the RESULT; unknown keys are ignored. Raises RemoteProtocolError(BAD_HEAD)."""
        known = checked(values, _OVERVIEW, "overview")
        return cls(
            **known
            | {
                "queue": QueueOverview.from_map(known["queue"]),
                "running": each(known["running"], JobOverview.from_map),
                "waiting": each(known["waiting"], JobOverview.from_map),
                "failed": each(known["failed"], FailedOverview.from_map),
                "engine": EngineOverview.from_map(known["engine"]),
                "models": each(known["models"], ModelOverview.from_map),
                "principals": each(known["principals"], PrincipalOverview.from_map),
                "cost": CostOverview.from_map(known["cost"]),
            }
        )


_QUEUE: Final = Fields(dict.fromkeys(("high", "normal", "low", "oldest_ms", "limit"), (int, True)))
_JOB: Final = Fields(
    {
        "job": (str, True),
        "principal": (str, True),
        "kind": (str, True),
        "model": (str, True),
        "state": (str, True),
        "priority": (str, True),
        "step": (int, True),
        "steps": (int, True),
        "age_ms": (int, True),
        "eta_ms": (int, False),
        NUMBER_KEY: (int, False),
        "tags": (list, False),
    }
)
_FAILED: Final = Fields(
    {
        "job": (str, True),
        "principal": (str, True),
        "kind": (str, True),
        "model": (str, True),
        "state": (str, True),
        "error": (str, True),
        "message": (str, True),
        "ended_ms": (int, True),
        "tags": (list, False),
    }
)
_ENGINE: Final = Fields(
    {
        "state": (str, True),
        "restarts": (int, True),
        "resident": (int, True),
        "parked": (int, True),
        "passes": (int, True),
        "rows": (float, False),
        "step_ms": (float, False),
        "images_per_minute": (float, True),
    }
)
_MODEL: Final = Fields({"name": (str, True), "state": (str, True), "bytes": (int, False)})
_PRINCIPAL: Final = Fields({"principal": (str, True), "queued": (int, True), "running": (int, True)})
_COST: Final = Fields({"error_p50": (float, False), "error_p90": (float, False), "slack": (float, True)})
_OVERVIEW: Final = Fields(
    {
        "paused": (bool, True),
        "reason": (str, False),
        "draining": (bool, True),
        "uptime_ms": (int, True),
        "connections": (int, True),
        "queue": (dict, True),
        "running": (list, True),
        "waiting": (list, True),
        "failed": (list, True),
        "engine": (dict, True),
        "models": (list, True),
        "principals": (list, True),
        "cost": (dict, True),
    }
)


def _to_map(part: Any) -> dict[str, Any]:
    """A part's set fields as they travel: tuples are arrays, parts are maps, no tags are left out."""
    values = ((item.name, getattr(part, item.name)) for item in fields(part))
    return {name: _plain(value) for name, value in values if value is not None and (name != "tags" or value)}


def _plain(value: Any) -> Any:
    if type(value) is tuple:
        return [_plain(item) for item in value]
    return value.to_map() if hasattr(value, "to_map") else value
