"""What an operator can do (SPEC 8.19): the table of the actions of ADMIN, what is wrong with one, and their answers.

The answer of the action overview is in overview.py. Whether a connection may do any of it is said by its roles.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pixwire_protocol.attachments import Problem
from pixwire_protocol.forms import is_job_id
from pixwire_protocol.maps import Fields, Map, checked, wrong
from pixwire_protocol.messages import Admin
from pixwire_protocol.model_info import ModelInfo

ROLE: Final = "admin"
"""The role without which ADMIN is FORBIDDEN (SPEC 6.4)."""


@dataclass(frozen=True, slots=True)
class ActionSpec:
    """One action: the fields of ADMIN that it needs and takes, what the RESULT has (Markdown), and what it does."""

    name: str
    required: tuple[str, ...]
    optional: tuple[str, ...]
    answer: str
    description: str


ACTIONS: Final[Mapping[str, ActionSpec]] = {
    spec.name: spec
    for spec in (
        ActionSpec("overview", (), ("limit",), "overview", "What runs and waits, how the engine does."),
        ActionSpec("pause", (), ("reason",), "`paused`", "Refuse new jobs with PAUSED; what was accepted goes on."),
        ActionSpec("resume", (), (), "`paused`", "Take new jobs again."),
        ActionSpec("drain", (), ("reason",), "`draining`", "Stop the server in order (section 12.2)."),
        ActionSpec(
            "cancel", (), ("job", "principal", "reason"), "`cancelled`", "Cancel one job, or all of a principal."
        ),
        ActionSpec("requeue", ("job",), ("principal",), "`job`", "Run a job that ended badly again, under a new id."),
        ActionSpec("load", ("model",), (), "`model`", "Load a model now, not when a job asks for it."),
        ActionSpec("unload", ("model",), (), "`model`", "Give back the memory of a model; jobs load it again."),
        ActionSpec("add_model", ("model", "path"), (), "`model`", "Make a folder on the server known as a model."),
        ActionSpec("remove_model", ("model",), (), "`model`", "Forget a model that was added."),
    )
}


def admin_problem(request: Admin) -> Problem | None:
    """The first field that this action needs and does not have: its name, None, and what is allowed there.

    Fields that the action does not take are ignored. An unknown action is refused before, as a wrong field. Where a
    principal is missing the caller's own is meant; only cancel needs one of job and principal.
    """
    spec = ACTIONS[request.action]
    for name in spec.required:
        if getattr(request, name) is None:
            return name, None, f"a string: {request.action} needs {' and '.join(spec.required)}"
    if request.action == "cancel" and request.job is None and request.principal is None:
        return "job", None, "a string: cancel needs job, or principal for all jobs of a principal"
    return None


@dataclass(frozen=True, slots=True)
class AdminResult:
    """The RESULT of every action but overview; one of these is there, as the action says.

    paused     whether new jobs are refused now; draining: the server stops
    cancelled  jobs that were cancelled or told to stop
    job        id of the new job
    model      the model as it is now
    """

    paused: bool | None = None
    draining: bool | None = None
    cancelled: int | None = None
    job: str | None = None
    model: ModelInfo | None = None

    def to_map(self) -> dict[str, Any]:
        """The body of the RESULT."""
        values = {name: value for name in _RESULT if (value := getattr(self, name)) is not None}
        return values if self.model is None else values | {"model": self.model.to_map()}

    @classmethod
    def from_map(cls, values: Map) -> "AdminResult":
        """From the body of the RESULT; unknown keys are ignored. Raises RemoteProtocolError(BAD_HEAD)."""
        known = checked(values, _RESULT, "admin")
        if "job" in known and not is_job_id(known["job"]):
            raise wrong("admin", "job", known["job"], "a job id")
        if "model" in known:
            known["model"] = ModelInfo.from_map(known["model"])
        return cls(**known)


_RESULT: Final = Fields(
    {
        "paused": (bool, False),
        "draining": (bool, False),
        "cancelled": (int, False),
        "job": (str, False),
        "model": (dict, False),
    }
)
