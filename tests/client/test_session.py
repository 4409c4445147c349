"""The client's decisions, in memory and without waiting: what each message means for the request it belongs to."""

from typing import Any

import pytest
from session_pair import Pair, Split, artifact, bytewise, failure, generate, order, whole

from pixwire.core import requests
from pixwire.errors import (
    CapacityError,
    ConnectionLost,
    JobCancelled,
    JobExpired,
    JobFailed,
    PixwireError,
    ProtocolViolation,
    QueueFull,
    RateLimited,
    RequestFailed,
)
from pixwire.events import Preview, Progress, StateChange
from pixwire_protocol import messages
from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.status import JobState

PNG = bytes(range(256)) * 16
BIG = bytes(range(251)) * 4000  # a million bytes: several windows


# --- the handshake


def test_handshake() -> None:
    pair = Pair(ready=False, max_streams=7)
    with pytest.raises(ConnectionLost) as caught:
        pair.begin(requests.status("j"))
    assert caught.value.processed == "no"
    pair.pump()
    (opened,) = pair.opened
    assert pair.session.connected
    assert opened.welcome.limits.max_streams == 7


@pytest.mark.req("PXW-HSK-008")
def test_handshake_that_takes_too_long() -> None:
    pair = Pair(ready=False, handshake_timeout=5.0)
    assert pair.session.next_deadline(pair.now) == 5.0
    pair.heard(pair.session.handle_timeout(5.0))
    assert isinstance(pair.over, ConnectionLost)
    assert pair.over.reason == "no answer within 5 s"
    assert pair.session.next_deadline(pair.now) is None


def test_handshake_with_a_server_of_another_protocol() -> None:
    pair = Pair(ready=False)
    pair.feed(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert "looks like an HTTP server" in str(pair.over)
    assert pair.dials == [0.0]


# --- the four operations


@pytest.mark.parametrize("split", [whole, bytewise])
def test_generate_is_one_request(split: Split) -> None:
    pair = Pair()
    call = pair.begin(generate("j-1"))
    pair.pump()
    ((stream, submit),) = pair.requests.items()
    assert (submit.job, submit.watch, submit.deliver, submit.want) == ("j-1", True, True, ("progress", "preview"))
    pair.answer(stream, "queued", queue_position=3)
    pair.pump(split)
    pair.change(stream, "running", seq=2)
    pair.pump(split)
    progress = {"event": "progress", "job": "j-1", "seq": 3, "step": 1, "steps": 4, "attempt": 2}
    pair.server.send(stream, messages.Event(progress))
    pair.server.send(stream, messages.Preview("j-1", 4, 1, 4, "image/jpeg", 8, 8, tail=b"rough"))
    pair.pump(split)
    pair.succeed(stream, [PNG, BIG])
    pair.pump(split if split is whole else whole)
    assert [type(event) for event in pair.emitted(call)] == [StateChange, StateChange, Progress, Preview, StateChange]
    queued, running, step, preview, succeeded = pair.emitted(call)
    assert queued.status.queue_position == 3
    assert running.state is JobState.RUNNING
    assert step == Progress("j-1", 3, 1, 4, 2)
    assert preview.image.bytes == b"rough"
    assert succeeded.state is JobState.SUCCEEDED
    assert [image.bytes for image in call.outcome] == [PNG, BIG]
    first, second = call.outcome
    assert (first.seed, first.job, first.index, first.width, first.media_type) == (100, "j-1", 0, 64, "image/png")
    assert second.index == 1
    assert first.data.readonly
    assert pair.finished() == [call]
    assert not pair.faults
    assert len(pair.messages) == 1 + len([m for _, m in pair.messages if isinstance(m, messages.Credit)])


def test_timesteps_of_a_watched_job() -> None:
    pair = Pair()
    call = pair.begin(requests.events("j-1", previews=True, timesteps=True))
    pair.pump()
    ((stream, watch),) = pair.requests.items()
    assert watch.want == ("progress", "preview", "timesteps")
    pair.answer(stream, "running", step=1, timesteps=[999])
    progress = {"event": "progress", "job": "j-1", "seq": 3, "step": 2, "steps": 4, "attempt": 1}
    pair.server.send(stream, messages.Event({**progress, "timesteps": [999, 749.5]}))
    pair.pump()
    pair.server.send(stream, messages.Event({**progress, "seq": 4}))
    pair.pump()
    pair.change(stream, "succeeded", seq=5, step=4, timesteps=[999, 749.5, 500, 1], end=True)
    pair.pump()
    known = [event.timesteps for event in pair.emitted(call)]
    assert known == [(999,), (999, 749.5), (), (999, 749.5, 500, 1)]
    assert [event.timestep for event in pair.emitted(call) if isinstance(event, Progress)] == [749.5, None]


@pytest.mark.parametrize("wrong", [5, "999", ["999"], [True], [None], {"0": 9}])
def test_timesteps_that_are_no_numbers_break_the_protocol(wrong: Any) -> None:
    for kind in ("progress", "state"):
        pair = Pair()
        call = pair.begin(requests.events("j-1", previews=False, timesteps=True))
        pair.pump()
        pair.answer(1, "running")
        if kind == "state":
            pair.change(1, "queued", seq=3, timesteps=wrong)
        else:
            body = {"event": "progress", "job": "j-1", "seq": 3, "step": 1, "steps": 4, "attempt": 1}
            pair.server.send(1, messages.Event({**body, "timesteps": wrong}))
        pair.pump()
        assert isinstance(failure(call), ProtocolViolation)


def test_status_cancel_and_submit_end_with_their_answer() -> None:
    pair = Pair()
    calls = [pair.begin(c) for c in (requests.submit(order("a")), requests.status("b"), requests.cancel("c", "why"))]
    pair.pump()
    for stream, state in zip(pair.requests, ("queued", "running", "cancelled"), strict=True):
        pair.answer(stream, state, end=True)
    pair.pump()
    assert [call.outcome.state for call in calls] == ["queued", "running", "cancelled"]
    assert [type(m).__name__ for m in pair.requests.values()] == ["Submit", "Status", "Cancel"]
    assert pair.finished() == calls


def test_answers_may_come_in_any_order() -> None:
    pair = Pair()
    calls = {job: pair.begin(generate(job)) for job in "abc"}
    pair.pump()
    for stream, request in reversed(pair.requests.items()):
        pair.answer(stream, "running")
        pair.succeed(stream, [request.job.encode() * 5])
    pair.pump()
    assert {job: call.outcome[0].bytes for job, call in calls.items()} == {job: job.encode() * 5 for job in "abc"}


def test_fetch_of_a_large_image_goes_through_many_windows() -> None:
    pair = Pair(window=1 << 16)
    call = pair.begin(requests.fetch("j", 3))
    pair.pump()
    ((stream, request),) = pair.requests.items()
    assert request.artifact == 3
    pair.image(stream, 3, BIG)
    pair.pump()
    assert call.outcome.bytes == BIG
    assert call.outcome.index == 3


def test_the_socket_is_read_straight_into_the_image() -> None:
    pair = Pair()
    call = pair.begin(requests.fetch("j", 0))
    pair.pump()
    pair.server.send(1, messages.Result({"job": "j", "offset": 0, "length": len(BIG), **artifact(0, BIG)}))
    pair.server.send_data(1, memoryview(BIG), True)
    sent = bytearray()
    while pair.server.has_output:
        sent += b"".join(pair.server.data_to_send())
    pair.feed(bytes(sent[:2000]))
    assert call.filling is not None
    target = call.filling.buffer
    assert pair.channel is not None
    into = pair.session.get_buffer(pair.channel, 1 << 16)
    assert into.obj is target
    into[:100] = sent[2000:2100]
    pair.heard(pair.session.buffer_updated(pair.channel, 100, pair.now))
    pair.feed(bytes(sent[2100:]))
    pair.pump()
    assert call.outcome.data.obj is target
    assert call.outcome.bytes == BIG


def test_an_empty_image_needs_no_data() -> None:
    pair = Pair()
    call = pair.begin(requests.fetch("j", 0))
    pair.pump()
    pair.server.send(1, messages.Result({"job": "j", "offset": 0, "length": 0, **artifact(0, b"")}), end=True)
    pair.pump()
    assert call.outcome.bytes == b""


def test_a_job_that_is_over_already_delivers_at_once() -> None:
    pair = Pair()
    call = pair.begin(generate("j"))
    pair.pump()
    pair.answer(1, "succeeded", duplicate=True, artifacts=[artifact(0, PNG)])
    pair.image(1, 0, PNG)
    pair.pump()
    assert call.outcome[0].bytes == PNG
    assert call.duplicate


@pytest.mark.parametrize(
    ("state", "error"), [("failed", JobFailed), ("cancelled", JobCancelled), ("expired", JobExpired)]
)
@pytest.mark.parametrize("at_once", [False, True])
def test_a_job_without_an_image(state: str, error: type[PixwireError], at_once: bool) -> None:
    pair = Pair()
    call, watch = pair.begin(generate("j")), pair.begin(requests.watch("j", ()))
    pair.pump()
    for stream in pair.requests:
        why = {"code": 1285, "name": "PIPELINE_ERROR", "message": "NaN in latents", "retry": "no"}
        if at_once:
            pair.answer(stream, state, error=why, end=True)
        else:
            pair.answer(stream, "running")
            pair.change(stream, state, error=why, end=True)
    pair.pump()
    assert type(failure(call)) is error
    assert "NaN in latents" in str(failure(call))
    assert watch.outcome.state == state


def test_ping_measures_the_round_trip() -> None:
    pair = Pair()
    call = pair.begin(requests.ping())
    pair.now += 0.25
    pair.pump()
    assert call.outcome == 0.25


@pytest.mark.req("PXW-KAL-006")
def test_pings_are_not_too_many() -> None:
    pair = Pair()
    for _ in range(7):
        pair.begin(requests.ping())
        pair.now += 0.5
    with pytest.raises(RateLimited) as caught:
        pair.begin(requests.ping())
    assert caught.value.retry_after_ms == 46_500
    pair.now += 46.6
    pair.begin(requests.ping())
    pair.pump()
    assert len([m for _, m in pair.messages if isinstance(m, messages.Ping)]) == 8


def test_an_error_frame_becomes_its_class() -> None:
    pair = Pair()
    call = pair.begin(generate("j"))
    pair.pump()
    pair.server.send_error(1, ErrorCode.QUEUE_FULL, "1000 jobs wait", retry_after_ms=1500)
    pair.pump()
    error = failure(call)
    assert isinstance(error, QueueFull)
    assert (error.retry, error.processed, error.retry_after_ms) == ("after", "no", 1500)


@pytest.mark.req("PXW-ERR-003")
@pytest.mark.req("PXW-ERR-004")
def test_an_error_frame_that_says_unheard_of_things() -> None:
    pair = Pair()
    call = pair.begin(generate("j"))
    pair.pump()
    pair.server.send_error(1, 0x04FE, "try on Sundays", retry="sometimes", processed="perhaps")
    pair.pump()
    error = failure(call)
    assert isinstance(error, CapacityError)
    assert (error.retry, error.processed) == ("no", "maybe")


@pytest.mark.req("PXW-ERR-002")
def test_the_frame_knows_better_than_the_registry() -> None:
    pair = Pair()
    call = pair.begin(generate("j"))
    pair.pump()
    pair.server.send_error(1, ErrorCode.QUEUE_FULL, "never again", retry="no", processed="yes")
    pair.pump()
    error = failure(call)
    assert isinstance(error, QueueFull)
    assert (error.retry, error.processed) == ("no", "yes")


def test_a_reset_by_the_server() -> None:
    pair = Pair()
    call = pair.begin(generate("j"))
    pair.pump()
    pair.server.reset(1, ErrorCode.INTERNAL)
    pair.pump()
    error = failure(call)
    assert isinstance(error, RequestFailed)
    assert (error.name, error.processed) == ("INTERNAL", "maybe")
