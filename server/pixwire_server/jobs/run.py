"""One attempt that the engine works on."""

from dataclasses import dataclass

from pixwire_protocol.status import JobError
from pixwire_server.scheduling.cost import Work

from .record import Record


@dataclass(slots=True, eq=False)
class Run:
    """What the server knows of an attempt beside its job."""

    handle: int
    record: Record
    alone: bool
    work: Work
    memory: int
    """Bytes it is taken to hold in the engine."""
    foretold: float
    """Seconds it was expected to take when it started; 0: nothing was known of its kind."""
    holds_place: bool = True
    """Until the engine reports Left: then its last step is done, though its image is not."""
    expiring: JobError | None = None
    """Why the engine was told to stop it, if that was for want of time."""

    @property
    def ending(self) -> bool:
        """It was told to stop, and does so with its next step: nobody who waits has to wait for the rest of it."""
        return self.expiring is not None or self.record.job.cancel_reason is not None
