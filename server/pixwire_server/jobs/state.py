"""The life of a job, as a table.

    QUEUED --admitted--> RUNNING --succeeded--> SUCCEEDED
      ^  \\                 |  \\--failed-----> FAILED
      |   \\--requeued------'   \\-cancelled--> CANCELLED      (QUEUED, too, may fail, be cancelled or expire)
                                \\-expired----> EXPIRED

A state without a row is terminal and never changes.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from pixwire_protocol.status import JobState

from .errors import IllegalTransition


class Cause(StrEnum):
    """Why a job changes its state."""

    ADMITTED = "admitted"
    """It was given to an engine."""
    REQUEUED = "requeued"
    """The engine was lost, or had to stop, before the job was done."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


TRANSITIONS: Mapping[tuple[JobState, Cause], JobState] = MappingProxyType(
    {
        (JobState.QUEUED, Cause.ADMITTED): JobState.RUNNING,
        (JobState.QUEUED, Cause.FAILED): JobState.FAILED,
        (JobState.QUEUED, Cause.CANCELLED): JobState.CANCELLED,
        (JobState.QUEUED, Cause.EXPIRED): JobState.EXPIRED,
        (JobState.RUNNING, Cause.REQUEUED): JobState.QUEUED,
        (JobState.RUNNING, Cause.SUCCEEDED): JobState.SUCCEEDED,
        (JobState.RUNNING, Cause.FAILED): JobState.FAILED,
        (JobState.RUNNING, Cause.CANCELLED): JobState.CANCELLED,
        (JobState.RUNNING, Cause.EXPIRED): JobState.EXPIRED,
    }
)


def next_state(state: JobState, cause: Cause) -> JobState:
    """The state that follows. Raises IllegalTransition when the table has no such row."""
    try:
        return TRANSITIONS[state, cause]
    except KeyError:
        raise IllegalTransition(f"a job that is {state} cannot be {cause}") from None
