"""From what the user says to a job that can be sent, in two steps: check everything, then read the images. SPEC 8.

What is wrong with an argument is known before a file is opened, and reading is the one part that blocks, so a shell
decides where that happens.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Unpack

from pixwire_protocol.record import record

from .. import sources
from ..arguments import (
    NO_TRACE,
    GenerateOptions,
    Priority,
    Terms,
    Trace,
    check_job_id,
    kind_of,
    new_job_id,
    pack_params,
)
from ..sources import ImageSource
from .requests import JobOrder
from .uploads import Upload

NO_IMAGES: Mapping[str, ImageSource | None] = MappingProxyType({})


@record
class Draft:
    """A job all of whose arguments are right; the images to go with it were not read yet."""

    job: str
    kind: str
    params: bytes
    images: Mapping[str, ImageSource | None]
    trace: Trace
    terms: Mapping[str, Any]

    @property
    def quick(self) -> bool:
        """Whether `read` blocks for no longer than a millisecond or so."""
        return not self.images or sources.is_quick(self.images)

    def read(self) -> JobOrder:
        """Reads and hashes the images: the job is ready to be sent. Blocks; raises InvalidArgument."""
        parts = sources.prepare(self.images) if self.images else ()
        return JobOrder(self.job, self.kind, self.params, Upload(parts) if parts else None, self.trace, self.terms)


def draft(
    prompt: str,
    count: int | None,
    *,
    image: ImageSource | None = None,
    mask: ImageSource | None = None,
    control: ImageSource | None = None,
    style: ImageSource | None = None,
    priority: Priority | None = None,
    deadline: float | None = None,
    queue_ttl: float | None = None,
    run_timeout: float | None = None,
    tags: Iterable[str] = (),
    job_id: str | None = None,
    traceparent: str | None = None,
    tracestate: str | None = None,
    **options: Unpack[GenerateOptions],
) -> Draft:
    """Checks the arguments of `generate` and `submit`.

    Raises InvalidArgument naming field, value and what is allowed; TypeError for an argument that does not exist.
    """
    images = NO_IMAGES
    if not (image is mask is control is style is None):
        given = {"image": image, "mask": mask, "control": control, "style": style}
        images = {name: source for name, source in given.items() if source is not None}
    kind = kind_of(image="image" in images, mask="mask" in images)
    packed = pack_params(kind, tuple(images), prompt, count, **options)
    job = new_job_id() if job_id is None else check_job_id(job_id)
    terms = Terms(priority, deadline, queue_ttl, run_timeout, tags).head()
    trace = NO_TRACE if traceparent is tracestate is None else Trace(traceparent, tracestate).check()
    return Draft(job, kind, packed, images, trace, terms)
