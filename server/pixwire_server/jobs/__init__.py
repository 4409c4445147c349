"""The job layer: accepts jobs, keeps them in the journal, gives them to the engine, tells those who watch."""

from .clock import Clock
from .errors import EngineLostError, RequestError, StartupError
from .events import JobEvent, Listener, OpenArtifact, PreviewShown, Progressed, StateChanged, Submitted, Watch
from .opening import open_jobs
from .service import Jobs
from .settings import JobsSettings
from .supervision import RestartPolicy

__all__ = [
    "Clock",
    "EngineLostError",
    "JobEvent",
    "Jobs",
    "JobsSettings",
    "Listener",
    "OpenArtifact",
    "PreviewShown",
    "Progressed",
    "RequestError",
    "RestartPolicy",
    "StartupError",
    "StateChanged",
    "Submitted",
    "Watch",
    "open_jobs",
]
