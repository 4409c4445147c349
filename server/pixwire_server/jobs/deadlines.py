"""What a job's terms mean in time, and what is told to those whose time ran out. Pure: time is an argument.

    term            counts from        until             missed: EXPIRED with DEADLINE_EXCEEDED
    timeout_ms      the acceptance     the end           in the queue as soon as it could not be met even with the
                                                         engine for itself, or while running
    queue_ttl_ms    the acceptance     the first start   in the queue
    run_timeout_ms  each start         the end           while running; another attempt would be as long

All are times that passed on the monotonic clock; only across a restart of the server the wall clock has to do.
"""

from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.status import PRIORITIES, JobError

from . import model
from .errors import RequestError, invalid
from .model import Job
from .record import Record
from .request import Terms

LONGEST_MS = 2**31 - 1
_TIMES = ("timeout_ms", "queue_ttl_ms", "run_timeout_ms")


def check(terms: Terms) -> None:
    """Raise RequestError(INVALID_ARGUMENT) for terms that nobody can keep."""
    if terms.priority not in PRIORITIES:
        message = f"priority: {terms.priority!r} is no priority; use {', '.join(PRIORITIES)}"
        raise invalid("priority", terms.priority, list(PRIORITIES), message)
    for name in _TIMES:
        value = getattr(terms, name)
        if value is not None and not 1 <= value <= LONGEST_MS:
            allowed = f"from 1 to {LONGEST_MS}"
            raise invalid(
                name, value, allowed, f"{name}: {value} milliseconds; use a number {allowed}, or leave it out"
            )


def ends_by(record: Record) -> float | None:
    """When the job has to be done, on the monotonic clock."""
    timeout_ms = record.job.terms.timeout_ms
    return None if timeout_ms is None else record.accepted_at + timeout_ms / 1000


def starts_by(record: Record) -> float | None:
    """When the job has to be started, on the monotonic clock; None also for one that was started before."""
    ttl_ms = record.job.terms.queue_ttl_ms
    return None if ttl_ms is None or record.job.started else record.accepted_at + ttl_ms / 1000


def attempt_ends_by(record: Record) -> float | None:
    """When the attempt that runs has to be done, on the monotonic clock."""
    run_ms = record.job.terms.run_timeout_ms
    return None if run_ms is None else record.started_at + run_ms / 1000


def left_ms(record: Record, now: float) -> int | None:
    """What is left of `timeout_ms`; 0 when it is over."""
    deadline = ends_by(record)
    return None if deadline is None else max(0, round((deadline - now) * 1000))


def refusal(terms: Terms, least_ms: int) -> RequestError:
    """A job that could not be done in its time, and was not accepted."""
    message = (
        f"timeout_ms: the job takes about {least_ms} ms even with the engine for itself, longer than the"
        f" {terms.timeout_ms} ms it was given; allow more time, or ask for fewer steps or a smaller image"
    )
    details = {"field": "timeout_ms", "eta_ms": least_ms, "timeout_ms": terms.timeout_ms}
    return RequestError(ErrorCode.DEADLINE_EXCEEDED, message, details)


def missed_in_queue(record: Record, now: float, latency: float) -> JobError:
    """The error of a job that waited too long; `latency`: seconds it would have taken."""
    waited_ms, terms = _ms(now - record.accepted_at), record.job.terms
    starts = starts_by(record)
    if starts is not None and starts <= now and terms.queue_ttl_ms is not None:
        why = f"was not started within queue_ttl_ms = {terms.queue_ttl_ms}"
    elif 0 < latency <= (left := (left_ms(record, now) or 0) / 1000):
        why = f"needs about {_ms(latency)} ms more, for which what runs before it leaves no time in the {_ms(left)} ms"
        why += f" until timeout_ms = {terms.timeout_ms}"
    elif latency > 0:
        why = f"needs about {_ms(latency)} ms more, which goes beyond timeout_ms = {terms.timeout_ms}"
    else:
        why = f"was not done within timeout_ms = {terms.timeout_ms}"
    return _error(f"queued: the job waited for {waited_ms} ms and {why}; nothing more was computed for it")


def missed_running(record: Record, now: float) -> JobError | None:
    """The error of a job whose time is over while it runs; None: it is not."""
    for limit, name in ((attempt_ends_by(record), "run_timeout_ms"), (ends_by(record), "timeout_ms")):
        if limit is not None and limit <= now:
            return _error(f"running: {name} = {getattr(record.job.terms, name)} is over, {_progress(record.job)}")
    return None


def hopeless_running(record: Record, left: float) -> JobError:
    """The error of a job that runs and could not be done in time any more: it needs `left` seconds more."""
    timeout_ms = record.job.terms.timeout_ms
    return _error(
        f"running: {_ms(left)} ms more are needed than timeout_ms = {timeout_ms} leaves, {_progress(record.job)}"
    )


def _progress(job: Job) -> str:
    return f"at step {job.step} of {job.steps} in attempt {job.attempt}; allow more time, or ask for less"


def _error(message: str) -> JobError:
    return model.error(ErrorCode.DEADLINE_EXCEEDED, message)


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))
