"""What `top` makes of an overview: the jobs in the order in which they are shown, and how each is named."""

from collections import Counter
from collections.abc import Sequence

from pixwire_protocol.overview import FailedOverview, JobOverview, Overview, QueueOverview

Job = JobOverview | FailedOverview
Key = tuple[str, str]
"""Principal and id: what names a job among those of everybody."""


def key(job: Job) -> Key:
    """The name of a job among all."""
    return job.principal, job.job


def together(jobs: Sequence[JobOverview]) -> tuple[JobOverview, ...]:
    """Jobs that shared their last pass side by side, the fullest pass first; those that were in none yet at the end."""
    sizes = Counter(job.pass_id for job in jobs)

    def place(job: JobOverview) -> tuple[bool, int, int]:
        return job.pass_id is None, -sizes[job.pass_id], -(job.pass_id or 0)

    return tuple(sorted(jobs, key=place))


def in_order(shown: Overview) -> tuple[Job, ...]:
    """All jobs of the overview as they stand on the screen."""
    return *together(shown.running), *shown.waiting, *shown.failed


def length(queue: QueueOverview) -> int:
    """How many jobs wait."""
    return queue.high + queue.normal + queue.low
