"""Whether the models of now can do the jobs of then: models come and go, and a restart may bring others."""

from pixwire_protocol.status import JobState

from . import model, resolve
from .catalogue import Catalogue
from .errors import RequestError
from .ledger import Ledger
from .model import Job
from .record import Record
from .state import Cause
from .table import JobQueue


class Fitness:
    """Lives in the event loop."""

    def __init__(self, queue: JobQueue, ledger: Ledger, models: Catalogue) -> None:
        self._queue = queue
        self._ledger = ledger
        self._models = models

    def check(self, job: Job) -> None:
        """Raise RequestError when no model can do it."""
        names = [one.name for one in job.attachments]
        resolve.check(job.params, resolve.check_model(job.kind, names, job.params, self._models))

    def settle(self, record: Record) -> None:
        """End a job that waits, if no model can do it."""
        if record.job.state is not JobState.QUEUED or record.settling is not None:
            return
        try:
            self.check(record.job)
        except RequestError as error:
            self._queue.remove(record)
            self._ledger.settle(record, Cause.FAILED, error=model.error(error.code, error.message))

    def removed(self, name: str) -> None:
        """A model is gone: what waits for it cannot be done."""
        for record in [record for record in self._queue if record.job.params.model == name]:
            self.settle(record)
