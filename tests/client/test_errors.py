"""The error classes: fields, texts, which code is which class."""

import pickle

import pytest

from pixwire import errors
from pixwire.errors import PixwireError, job_ended, request_failed
from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.status import JobError, JobState, JobStatus

STATUS = JobStatus(
    job="j-1",
    kind="txt2img",
    state=JobState.FAILED,
    seq=4,
    error=JobError(code=ErrorCode.OUT_OF_MEMORY, name="OUT_OF_MEMORY", message="too large", retry="no"),
)
SAMPLES: list[PixwireError] = [
    errors.InvalidURL("x", "why"),
    errors.ConnectError("pixwire://x", "connection refused"),
    errors.job_lost("j-1", "the server was started anew", STATUS),
    errors.AuthFailed(513, "AUTH_FAILED", "wrong"),
    errors.ConnectionLost("broken pipe", processed="maybe", job="j-1", status=STATUS),
    errors.RequestTimeout("generate", 1.5, job="j-1", status=STATUS),
    errors.ProtocolViolation("EVENT came first", job="j-1"),
    errors.InvalidArgument(
        768, "INVALID_ARGUMENT", "bad", details={"field": "width", "value": 1, "allowed": "16..8192"}
    ),
    errors.QueueFull(1024, "QUEUE_FULL", "full", retry="after", retry_after_ms=1500),
    job_ended(STATUS),
]


@pytest.mark.parametrize("error", SAMPLES, ids=lambda e: type(e).__name__)
def test_errors_survive_a_pickle(error: PixwireError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_has_a_class(code: ErrorCode) -> None:
    error = request_failed(code, code.name, "why")
    special = {"JOB_EXPIRED": "JobGone"}
    name = special.get(code.name, "".join(word.title() for word in code.name.split("_")))
    own_class = getattr(errors, name, None)
    if own_class is not None and issubclass(own_class, errors.RequestFailed):
        assert type(error) is own_class
    elif code >> 8 == 2:
        assert type(error) is errors.AccessDenied
    else:
        assert type(error) is errors.RequestFailed


@pytest.mark.req("PXW-ERR-010")
@pytest.mark.parametrize(
    ("code", "kind"), [(0x02FF, errors.AccessDenied), (0x04FF, errors.CapacityError), (0xE001, errors.RequestFailed)]
)
def test_an_unknown_code_is_judged_by_its_class(code: int, kind: type[PixwireError]) -> None:
    assert type(request_failed(code, "NEW", "why")) is kind


@pytest.mark.req("PXW-ERR-006")
def test_the_text_decides_nothing() -> None:
    for text in ("", "JOB_NOT_FOUND", "try again after 5 s", "succeeded"):
        error = request_failed(ErrorCode.QUEUE_FULL, "", text, retry="after", retry_after_ms=100)
        assert type(error) is errors.QueueFull
        assert (error.retry, error.retry_after_ms) == ("after", 100)


def test_texts_say_what_to_do_next() -> None:
    assert str(errors.QueueFull(1024, "QUEUE_FULL", "1000 jobs wait", retry_after_ms=1500)) == (
        "1000 jobs wait; try again in 1.5 s [QUEUE_FULL]"
    )
    assert str(job_ended(STATUS)) == "job j-1 failed: too large [OUT_OF_MEMORY]"
    assert "connect again" in str(errors.ConnectionLost("reset", processed="yes", job="j-1", status=STATUS))
    assert "was not processed" in str(errors.ConnectionLost("reset", processed="no"))


def test_the_usual_classes_of_python_fit_too() -> None:
    assert issubclass(errors.RequestTimeout, TimeoutError)
    assert issubclass(errors.ConnectError, ConnectionError)
    assert issubclass(errors.ConnectionLost, ConnectionError)


def test_invalid_argument_names_field_value_and_allowed() -> None:
    error = errors.InvalidArgument(
        768, "INVALID_ARGUMENT", "m", details={"field": "width", "value": 1, "allowed": "16..8192"}
    )
    assert (error.field, error.value, error.allowed) == ("width", 1, "16..8192")
