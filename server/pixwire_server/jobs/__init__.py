"""The job layer: accepts jobs, keeps them in the journal, gives them to the engine, tells those who watch."""

from .admin import AdminCommand
from .clock import Clock
from .errors import EngineLostError, RequestError, StartupError, from_store, incident
from .events import JobEvent, JobPage, Listener, OpenArtifact, PreviewShown, Progressed, StateChanged, Submitted, Watch
from .futures import Answer
from .gauges import DENOISE, Gauges
from .model import Job
from .opening import open_jobs
from .request import Terms, Trace
from .service import Jobs
from .settings import JobsSettings
from .supervision import RestartPolicy
from .uploads import Upload

__all__ = [
    "DENOISE",
    "AdminCommand",
    "Answer",
    "Clock",
    "EngineLostError",
    "Gauges",
    "Job",
    "JobEvent",
    "JobPage",
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
    "Terms",
    "Trace",
    "Upload",
    "Watch",
    "from_store",
    "incident",
    "open_jobs",
]
