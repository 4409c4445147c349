"""The scenarios for clients: importing this package fills `register.CLIENT`."""

from . import c03_handshake, c04_frames, c07_streams, c08_uploads, c09_jobs, c12_drain  # noqa: F401 - for their cases
from .bench import Bench, run_all
from .register import CLIENT

__all__ = ["CLIENT", "Bench", "run_all"]
