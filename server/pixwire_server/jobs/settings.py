"""What an operator may choose about jobs."""

from dataclasses import dataclass, field
from pathlib import Path

from pixwire_server.engine.api import EngineConfig

from .retention import Retention
from .supervision import RestartPolicy


@dataclass(frozen=True, slots=True)
class JobsSettings:
    """Where jobs live, which engine runs them, and the bounds."""

    data_dir: Path
    engine: EngineConfig
    """Its `max_resident` is also how many jobs the engine is given at once; 0 keeps all of them in the queue."""
    queue_limit: int = 1000
    """Jobs that may wait; one more is QUEUE_FULL."""
    max_attempts: int = 3
    """Runs of a job whose engine dies under it, before it fails with WORKER_LOST."""
    recent_limit: int = 1000
    """Ended jobs kept in memory; older ones are read from the journal."""
    principal_queue_limit: int | None = None
    """Jobs of one principal that may wait; one more is QUOTA_EXCEEDED. None: as many as of all."""
    principal_running_limit: int | None = None
    """Jobs of one principal that may be denoised at once; the others wait. None: as many as of all."""
    resident_bytes: int | None = None
    """Memory that the jobs in the engine may hold beside the model, as estimated from their images; None: no bound."""
    max_upload_bytes: int = 64 * 2**20
    """Size of one attachment."""
    upload_bytes: int = 2**30
    """Bytes of all uploads that are not finished; one more is QUOTA_EXCEEDED."""
    retain_s: float = 86_400.0
    """How long a job that ended keeps its results."""
    dedupe_s: float = 604_800.0
    """How long its id is known, from its end; at least `retain_s`."""
    retain_bytes: int = 20 * 2**30
    """Bytes of the files of all ended jobs; above, those that ended first lose their results. 0: no bound."""
    sweep_s: float = 30.0
    """Pause between two looks at what has to go."""
    cost_save_s: float = 300.0
    """How often what was learnt of the cost of passes is written down."""
    store_retry_s: float = 1.0
    """Pause before something that must get onto the disk is tried again."""
    restart: RestartPolicy = field(default_factory=RestartPolicy)

    @property
    def retention(self) -> Retention:
        """How long what has ended is kept. Raises ValueError when `dedupe_s` is below `retain_s`."""
        return Retention(int(self.retain_s * 1000), int(self.dedupe_s * 1000), self.retain_bytes)
