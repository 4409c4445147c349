"""`pixwire.Pipeline` over a client that only notes what it is asked: seeds, time, and what is left when a call ends."""

from collections.abc import Iterator
from typing import Any, Self, cast

import numpy as np
import pytest
from pictures import png

import pixwire
from pixwire import errors, pipeline
from pixwire.errors import ConnectionLost, InvalidArgument, job_not_found, request_failed
from pixwire_protocol.registry import ErrorCode


class Job:
    """A job that is done when it is asked for."""

    def __init__(self, client: "Client", name: str) -> None:
        self.client, self.id = client, name

    def cancel(self, reason: str, *, timeout: float) -> None:
        self.client.cancelled.append(self.id)
        if problem := self.client.problems.get(self.id):
            raise problem

    def images(self, *, timeout: float | None) -> list[pixwire.Image]:
        self.client.times.append(timeout)
        if self.id in self.client.cancelled:
            raise request_failed(ErrorCode.CANCELLED, "CANCELLED", "it was cancelled")
        return [pixwire.Image(memoryview(png()), "image/png", 8, 8)]

    def events(self, *, timesteps: bool, timeout: float | None) -> "Job":
        self.client.times.append(timeout)
        return self

    def __iter__(self) -> Iterator[pixwire.Progress]:
        yield pixwire.Progress(self.id, 1, 1, 2)
        yield pixwire.Progress(self.id, 2, 2, 2)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *what: object) -> None:
        pass


class Client:
    """`broken`: what the third `submit` raises. `problems`: what cancelling some jobs raises."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.cancelled: list[str] = []
        self.times: list[float | None] = []
        self.problems: dict[str, Exception] = {}
        self.broken: BaseException | None = None

    def submit(self, **request: Any) -> Job:
        self.asked.append(request)
        self.times.append(request.get("timeout"))
        if self.broken is not None and len(self.asked) == 3:
            raise self.broken
        return Job(self, request["job_id"])

    def job(self, name: str) -> Job:
        return Job(self, name)

    @property
    def names(self) -> list[str]:
        """The jobs that were submitted."""
        return [request["job_id"] for request in self.asked]


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def pipe(client: Client) -> pixwire.Pipeline:
    return pixwire.Pipeline(cast("pixwire.Client", client))


@pytest.mark.parametrize(
    ("seed", "sent"),
    [
        (7, [7, 8]),
        (np.int64(7), [7, 8]),
        ([np.int32(3), 9], [3, 9]),
        (2**63 - 1, [2**63 - 1, 0]),
        (-2, [-2, -1]),  # for `submit` to refuse
        (None, [None, None]),
    ],
)
def test_seeds(client: Client, pipe: pixwire.Pipeline, seed: Any, sent: list[int | None]) -> None:
    assert [image.size for image in pipe(["a", "b"], seed=seed).images] == [(8, 8)] * 2
    assert [request["seed"] for request in client.asked] == sent


@pytest.mark.parametrize("arguments", [{"prompt": []}, {"prompt": "x", "seed": 0.5}])
def test_refused_before_anything_is_sent(client: Client, pipe: pixwire.Pipeline, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        pipe(callback_on_step_end=lambda *_: None, **arguments)
    assert client.asked == []


def test_the_time_is_that_of_the_whole_call(
    client: Client, pipe: pixwire.Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(100))
    monkeypatch.setattr(pipeline, "now", lambda: float(next(clock)))  # a second passes between two looks at it
    pipe(["a", "b"], timeout=10.0, callback_on_step_end=lambda *_: None)
    assert client.times == [9.0, 8.0, 7.0, 6.0, 5.0], "two are submitted, one is followed, both are fetched"
    client.times.clear()
    pipe("a")
    assert client.times == [None, None]
    assert "timeout" not in client.asked[-1], "`submit` has a time of its own"


@pytest.mark.parametrize("broken", [KeyboardInterrupt(), errors.RequestTimeout("submit", 1.0)])
def test_a_job_that_was_being_sent_is_cancelled_too(
    client: Client, pipe: pixwire.Pipeline, broken: BaseException
) -> None:
    client.broken = broken
    with pytest.raises(type(broken)):
        pipe(["a", "b", "c", "d"])
    assert len(client.asked) == 3
    assert client.cancelled == client.names


def test_a_job_that_was_refused_is_not(client: Client, pipe: pixwire.Pipeline) -> None:
    client.broken = request_failed(ErrorCode.QUEUE_FULL, "QUEUE_FULL", "full")
    with pytest.raises(errors.QueueFull):
        pipe(["a", "b", "c"])
    assert client.cancelled == client.names[:2]


@pytest.mark.parametrize(
    ("problem", "tried"), [(job_not_found("gone"), 3), (ConnectionLost("cut", processed="maybe"), 1)]
)
def test_what_cannot_be_cancelled(client: Client, pipe: pixwire.Pipeline, problem: Exception, tried: int) -> None:
    """One job that is not there any more says nothing about the others; a connection that is lost does."""

    def fail(*_: Any) -> None:
        client.problems = dict.fromkeys(client.names[:1], problem)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        pipe(["a", "b", "c"], callback_on_step_end=fail)
    assert client.cancelled == client.names[:tried]


def test_an_interrupt_is_for_all_jobs(client: Client, pipe: pixwire.Pipeline) -> None:
    steps: list[int] = []

    def stop(pipe: Any, step: int, *_: Any) -> None:
        steps.append(step)
        pipe._interrupt = True

    with pytest.raises(errors.RequestFailed):
        pipe(["a", "b"], callback_on_step_end=stop)
    assert steps == [0]
    assert set(client.cancelled) == set(client.names)
