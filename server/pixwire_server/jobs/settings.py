"""What an operator may choose about jobs."""

from dataclasses import dataclass, field
from pathlib import Path

from pixwire_server.engine.api import EngineConfig

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
    store_retry_s: float = 1.0
    """Pause before something that must get onto the disk is tried again."""
    restart: RestartPolicy = field(default_factory=RestartPolicy)
