"""Reading the images that go with a job, which may block for as long as a disk or a pipe likes."""

import threading
from queue import Empty, SimpleQueue

from ..core.drafts import Draft
from ..core.requests import JobOrder
from ..errors import RequestTimeout


def read(drafted: Draft, timeout: float | None) -> JobOrder:
    """The job with its images. Raises InvalidArgument, and RequestTimeout when they are not there in time; the thread
    that reads them then ends when the system lets it.
    """
    if drafted.quick or timeout is None:
        return drafted.read()
    done: SimpleQueue[JobOrder | BaseException] = SimpleQueue()

    def work() -> None:
        try:
            done.put(drafted.read())
        except BaseException as error:
            done.put(error)

    threading.Thread(target=work, name="pixwire reading", daemon=True).start()
    try:
        outcome = done.get(timeout=max(0.0, timeout))
    except Empty:
        raise RequestTimeout("reading the images", timeout) from None
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome
