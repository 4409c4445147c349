"""The client's decisions, in memory and without waiting: what each message means for the request it belongs to."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from session_pair import Pair, Split, artifact, bytewise, generate, status, whole

from pixwire import requests
from pixwire.calls import HANDLERS, Call, Phase
from pixwire.errors import (
    CapacityError,
    ConnectionLost,
    Draining,
    JobCancelled,
    JobExpired,
    JobFailed,
    PixwireError,
    ProtocolViolation,
    QueueFull,
    RateLimited,
    RequestFailed,
    RequestTimeout,
    TooManyStreams,
)
from pixwire.events import Preview, Progress, StateChange
from pixwire.session import Opened
from pixwire_protocol import messages
from pixwire_protocol.connection import Connection
from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.settings import Settings
from pixwire_protocol.states import Role
from pixwire_protocol.status import JobState

PNG = bytes(range(256)) * 16
BIG = bytes(range(251)) * 4000  # a million bytes: several windows


def failure(call: Call[Any]) -> PixwireError:
    assert call.error is not None
    return call.error


# --- the handshake


def test_handshake() -> None:
    pair = Pair(ready=False, max_streams=7)
    with pytest.raises(ConnectionLost) as caught:
        pair.begin(requests.status("j"))
    assert caught.value.processed == "no"
    pair.pump()
    (opened,) = pair.updates
    assert isinstance(opened, Opened)
    assert opened.welcome.limits.max_streams == 7


@pytest.mark.req("PXW-HSK-008")
def test_handshake_that_takes_too_long() -> None:
    pair = Pair(ready=False, handshake_timeout=5.0)
    assert pair.session.next_deadline(pair.now) == 5.0
    pair.heard(pair.session.handle_timeout(5.0))
    assert pair.ended is not None
    assert pair.ended.error.reason == "no answer within 5 s"
    assert pair.session.next_deadline(pair.now) is None


def test_handshake_with_a_server_of_another_protocol() -> None:
    pair = Pair(ready=False)
    pair.heard(pair.session.receive(b"HTTP/1.1 400 Bad Request\r\n\r\n", 0.0))
    assert pair.ended is not None


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


def test_status_cancel_and_submit_end_with_their_answer() -> None:
    pair = Pair()
    packed = requests.pack_params("x", None)
    calls = [pair.begin(c) for c in (requests.submit("a", packed), requests.status("b"), requests.cancel("c", "why"))]
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
    into = pair.session.get_buffer(1 << 16)
    assert into.obj is target
    into[:100] = sent[2000:2100]
    pair.heard(pair.session.buffer_updated(100, pair.now))
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


# --- what the server must not do


def result(pair: Pair, body: dict[str, Any]) -> None:
    pair.server.send(1, messages.Result(body))


def image_of(pair: Pair, length: int, data: bytes) -> None:
    """A promised image that is announced with `length` bytes and has `data`."""
    pair.answer(1, "succeeded", artifacts=[artifact(0, data)])
    result(pair, {"job": "j", "length": length, **artifact(0, data)})
    if data:
        pair.server.send_data(1, memoryview(data), True)


def progress_without_step(pair: Pair) -> None:
    pair.answer(1, "running")
    pair.server.send(1, messages.Event({"event": "progress", "job": "j", "seq": 1}))


def success_without_images(pair: Pair) -> None:
    pair.answer(1, "running")
    pair.change(1, "succeeded", end=True)


NONSENSE: dict[str, Callable[[Pair], None]] = {
    "status without job": lambda pair: result(pair, {"state": "queued"}),
    "unknown state": lambda pair: result(pair, status("j", "dreaming")),
    "text for a number": lambda pair: result(pair, status("j", "queued", attempt="1")),
    "progress without step": progress_without_step,
    "success without images": success_without_images,
    "END before the promised images": lambda pair: pair.answer(1, "succeeded", artifacts=[artifact(0, PNG)], end=True),
    "END in the middle": lambda pair: pair.answer(1, "queued", end=True),
    "negative length": lambda pair: image_of(pair, -1, b""),
    "length beyond all bounds": lambda pair: image_of(pair, 1 << 60, b""),
    "more bytes than announced": lambda pair: image_of(pair, 2, b"xyz"),
    "fewer bytes than announced": lambda pair: image_of(pair, 2, b"x"),
}


@pytest.mark.req("PXW-STR-013")
@pytest.mark.req("PXW-REQ-027")
@pytest.mark.parametrize("misbehave", NONSENSE.values(), ids=NONSENSE.keys())
def test_what_makes_no_sense_fails_the_call_and_nothing_else(misbehave: Callable[[Pair], None]) -> None:
    pair = Pair()
    call, other = pair.begin(generate("j")), pair.begin(requests.status("other"))
    pair.pump()
    misbehave(pair)
    pair.pump()
    assert isinstance(failure(call), ProtocolViolation)
    resets = [(stream, m.code) for stream, m in pair.messages if isinstance(m, messages.Reset)]
    assert resets in ([], [(1, ErrorCode.PROTOCOL_ERROR)])  # none when the server has ended the stream itself
    pair.answer(3, "running", end=True)
    pair.pump()
    assert other.outcome.state == "running"
    assert pair.finished() == [call, other]


@pytest.mark.req("PXW-REQ-029")
def test_events_of_a_later_version_change_nothing() -> None:
    pair = Pair()
    call = pair.begin(generate("j"))
    pair.pump()
    pair.answer(1, "running", colour="blue")
    pair.server.send(1, messages.Event({"event": "applause", "job": "j", "seq": 2}))
    pair.succeed(1, [PNG])
    pair.pump()
    assert call.outcome[0].bytes == PNG


@pytest.mark.req("PXW-JOB-005")
def test_a_jump_in_the_numbers_is_no_error() -> None:
    pair = Pair()
    call = pair.begin(generate("j"))
    pair.pump()
    pair.answer(1, "running", seq=5)
    pair.change(1, "queued", seq=1_000_007, attempt=2)
    pair.succeed(1, [PNG])
    pair.pump()
    assert [event.seq for event in pair.emitted(call)] == [5, 1_000_007, 9]
    assert call.outcome[0].bytes == PNG


@pytest.mark.req("PXW-SEC-003")
def test_an_image_larger_than_the_limit_is_not_allocated() -> None:
    pair = Pair(max_image_bytes=1000)
    call = pair.begin(requests.fetch("j", 0))
    pair.pump()
    pair.image(1, 0, bytes(1001))
    pair.pump()
    assert isinstance(failure(call), ProtocolViolation)
    assert "1,001 bytes" in str(failure(call))


@pytest.mark.req("PXW-CON-012")
@pytest.mark.parametrize(
    "frame", [messages.Error(0x010B, "INTERNAL", "defect"), messages.GoAway(1, 0x0109, "EXCESSIVE_LOAD", "defect")]
)
def test_a_connection_error_of_the_server_ends_everything(frame: messages.Message) -> None:
    pair = Pair()
    call, later = pair.begin(generate("j")), pair.begin(generate("k"))
    pair.pump()
    pair.feed(b"".join(bytes(buffer) for buffer in messages.encode(frame)))
    error, other = failure(call), failure(later)
    assert isinstance(error, ConnectionLost)
    assert isinstance(other, ConnectionLost)
    assert "defect" in str(error)
    assert error.processed == "maybe"
    assert other.processed == ("no" if isinstance(frame, messages.GoAway) else "maybe")
    assert pair.ended is not None


def test_the_table_has_no_way_out_of_done() -> None:
    assert {phase for phase, _ in HANDLERS} == set(Phase)
    call = generate()
    call.phase = Phase.DONE
    assert call.receive(messages.Result({}), True) is None
    assert call.error is None


# --- giving up


STAGES = ("waiting", "unsent", "sent", "accepted", "running", "announced", "half an image")


def bring_to(pair: Pair, stage: str) -> tuple[Call[Any], Callable[[], None]]:
    """A generate call that has come to a stage, and what the server does next with it."""
    others = [pair.begin(requests.status(f"o{i}")) for i in range(2)] if stage == "waiting" else []
    call = pair.begin(generate("j"), 1.0)
    if stage in ("waiting", "unsent"):
        return call, lambda: None
    assert not others
    pair.pump()
    (stream,) = pair.requests
    if stage == "sent":
        return call, lambda: pair.answer(stream, "queued")
    pair.answer(stream, "queued")
    pair.pump()
    if stage == "accepted":
        return call, lambda: pair.change(stream, "running")
    pair.change(stream, "running")
    pair.pump()
    if stage == "running":
        return call, lambda: pair.succeed(stream, [PNG])
    pair.change(stream, "succeeded", artifacts=[artifact(0, BIG)])
    pair.server.send(stream, messages.Result({"job": "j", "offset": 0, "length": len(BIG), **artifact(0, BIG)}))
    if stage == "half an image":
        pair.server.send_data(stream, memoryview(BIG)[:5000], False)
    pair.pump()
    return call, lambda: pair.server.send_data(stream, memoryview(BIG)[-5000:], False)


@pytest.mark.parametrize("how", ["abandon", "timeout"])
@pytest.mark.parametrize("stage", STAGES)
def test_giving_up_resets_the_stream_and_harms_nothing_else(stage: str, how: str) -> None:
    pair = Pair(max_streams=2)
    call, go_on = bring_to(pair, stage)
    if how == "abandon":
        pair.session.abandon(call)
        pair.session.abandon(call)
        assert call not in pair.finished()
    else:
        pair.now = 1.0
        pair.heard(pair.session.handle_timeout(pair.now))
        assert isinstance(failure(call), RequestTimeout)
    before = len(pair.finished())
    go_on()
    pair.pump()
    assert len(pair.finished()) == before
    resets = [stream for stream, message in pair.messages if isinstance(message, messages.Reset)]
    assert len(resets) == (stage != "waiting")
    again = pair.begin(requests.fetch("k", 0))
    pair.pump()
    for stream, request in pair.requests.items():
        if request.job.startswith("o"):
            pair.answer(stream, "running", end=True)
    pair.pump()
    stream = next(stream for stream, request in pair.requests.items() if request.job == "k")
    pair.image(stream, 0, BIG)
    pair.pump()
    assert again.outcome.bytes == BIG
    assert not pair.faults
    assert pair.ended is None


def test_deadlines() -> None:
    pair = Pair()
    slow, slower = pair.begin(generate("slow"), 1.0), pair.begin(generate("slower"), 2.0)
    pair.pump()
    pair.answer(1, "queued")
    pair.pump()
    assert pair.session.next_deadline(pair.now) == 1.0
    pair.advance(0.999)
    assert not slow.done
    pair.advance(0.001)
    error = failure(slow)
    assert isinstance(error, RequestTimeout)
    assert (error.operation, error.timeout, error.job) == ("generate", 1.0, "slow")
    assert error.status is not None
    assert not slower.done
    pair.advance(1.0)
    assert isinstance(failure(slower), RequestTimeout)
    assert [m for _, m in pair.messages if isinstance(m, messages.Reset)]


def test_a_deadline_that_was_met_is_forgotten() -> None:
    pair = Pair(idle_ms=3_600_000)
    call = pair.begin(requests.status("j"), 1.0)
    pair.pump()
    pair.answer(1, "running", end=True)
    pair.pump()
    due = pair.session.next_deadline(pair.now)
    assert due is not None
    assert due > 1.0
    pair.advance(5.0)
    assert pair.finished() == [call]


def test_deadlines_of_finished_calls_do_not_pile_up() -> None:
    pair = Pair()
    for number in range(1000):
        pair.begin(requests.status(f"j{number}"), 3600.0)
        pair.pump()
        pair.answer(2 * number + 1, "running", end=True)
        pair.pump()
    assert len(pair.finished()) == 1000
    assert len(pair.session._deadlines) < 200


# --- many at once


@pytest.mark.req("PXW-STR-019")
def test_more_calls_than_streams_wait_their_turn() -> None:
    pair = Pair(max_streams=2)
    calls = [pair.begin(requests.status(f"j{i}"), 5.0) for i in range(5)]
    pair.pump()
    assert [request.job for request in pair.requests.values()] == ["j0", "j1"]
    pair.answer(3, "running", end=True)
    pair.pump()
    assert [request.job for request in pair.requests.values()] == ["j0", "j1", "j2"]
    pair.session.abandon(calls[3])
    pair.answer(1, "running", end=True)
    pair.pump()
    assert [request.job for request in pair.requests.values()] == ["j0", "j1", "j2", "j4"]
    pair.advance(5.0)
    assert [isinstance(call.error, RequestTimeout) for call in calls] == [False, False, True, False, True]


@pytest.mark.req("PXW-REQ-006")
def test_a_refused_stream_is_tried_again_a_few_times() -> None:
    pair = Pair()
    packed = requests.pack_params("x", None)
    patient, unlucky = pair.begin(requests.submit("a", packed)), pair.begin(requests.status("b"))
    for attempt in range(6):
        pair.to_server()
        for stream, request in list(pair.requests.items()):
            if request.job == "b" or attempt < 2:
                pair.server.send_error(stream, ErrorCode.TOO_MANY_STREAMS, "busy")
            else:
                pair.answer(stream, "running", end=True)
        pair.requests.clear()
        pair.to_client()
    assert patient.outcome.state == "running"
    assert isinstance(failure(unlucky), TooManyStreams)
    assert pair.finished() == [patient, unlucky]
    submits = [message for _, message in pair.messages if isinstance(message, messages.Submit)]
    assert len(submits) == 3
    assert len({(message.job, message.kind, bytes(message.tail)) for message in submits}) == 1


def test_a_request_the_server_has_no_room_for() -> None:
    pair = Pair(ready=False)
    pair.server = Connection(Role.SERVER, Settings(agent="small", max_frame=4096))
    pair.pump()
    call = requests.submit("j", requests.pack_params("x" * 4000, None, negative_prompt="y" * 4000))
    pair.heard(pair.session.begin(call, pair.now, None))
    error = failure(call)
    assert isinstance(error, RequestFailed)
    assert (error.name, error.processed) == ("FRAME_TOO_LARGE", "no")
    assert pair.finished() == [call]


# --- the end of the connection


@pytest.mark.req("PXW-CON-013")
@pytest.mark.parametrize(
    ("stage", "processed"),
    list(zip(STAGES, ["no", "no", "maybe", "yes", "yes", "yes", "yes"], strict=True)),
)
@pytest.mark.parametrize("how", ["lose", "eof", "close"])
def test_every_call_hears_of_the_end(stage: str, processed: str, how: str) -> None:
    pair = Pair(max_streams=2)
    call, _ = bring_to(pair, stage)
    match how:
        case "lose":
            pair.heard(pair.session.lose("broken pipe"))
        case "eof":
            pair.heard(pair.session.receive_eof(pair.now))
        case _:
            pair.heard(pair.session.close())
    error = failure(call)
    assert isinstance(error, ConnectionLost)
    assert (error.processed, error.job) == (processed, "j")
    assert (error.status is not None) == (processed == "yes")
    assert pair.ended is not None
    assert pair.updates[-1] is pair.ended
    assert call in pair.finished()
    with pytest.raises(ConnectionLost) as caught:
        pair.begin(requests.status("later"))
    assert caught.value.processed == "no"
    assert pair.session.lose("again") == []
    pair.session.abandon(call)


def test_closing_says_goodbye() -> None:
    pair = Pair()
    pair.session.close()
    pair.to_server()
    ((_, goodbye),) = pair.messages
    assert isinstance(goodbye, messages.GoAway)
    assert goodbye.code == ErrorCode.NO_ERROR


@pytest.mark.req("PXW-DRN-005")
@pytest.mark.req("PXW-DRN-001")
def test_goaway_fails_what_was_not_processed_and_lets_the_rest_finish() -> None:
    pair = Pair(max_streams=3)
    calls = [pair.begin(generate(f"j{i}")) for i in range(4)]
    pair.pump()
    pair.answer(1, "running")
    pair.pump()
    pair.server.goaway(ErrorCode.DRAINING, "restart", last_stream=3, reconnect_after_ms=700)
    pair.pump()
    assert [type(call.error) for call in calls] == [type(None), type(None), Draining, Draining]
    assert all(failure(call).processed == "no" for call in calls[2:])  # type: ignore[attr-defined]
    with pytest.raises(Draining) as caught:
        pair.begin(requests.status("j"))
    assert caught.value.retry_after_ms == 700
    pair.succeed(1, [PNG])
    pair.pump()
    assert calls[0].outcome[0].bytes == PNG
    pair.heard(pair.session.lose("the server closed the connection"))
    assert isinstance(failure(calls[1]), ConnectionLost)
    assert "DRAINING" in str(failure(calls[1]))


def test_a_broken_frame_ends_the_connection_with_the_reason() -> None:
    pair = Pair()
    call = pair.begin(generate("j"))
    pair.pump()
    pair.feed(b"\x00" * 12)
    assert isinstance(failure(call), ConnectionLost)
    assert "PXW/1" in str(failure(call))
    pair.to_server()
    assert any(isinstance(message, messages.GoAway) for _, message in pair.messages)


def test_a_silent_server_is_asked_and_then_given_up() -> None:
    pair = Pair(idle_ms=6_000, ping_timeout_ms=2_000)
    call = pair.begin(generate("j"))
    pair.to_server()
    times = itertools.count()
    while pair.ended is None:
        assert next(times) < 20
        due = pair.session.next_deadline(pair.now)
        assert due is not None
        pair.now = max(due, pair.now)
        pair.heard(pair.session.handle_timeout(pair.now))
        pair.to_server()
    assert any(isinstance(message, messages.Ping) for _, message in pair.messages)
    assert isinstance(failure(call), ConnectionLost)
    assert 6.0 <= pair.now <= 8.1


def test_a_server_that_answers_pings_is_alive() -> None:
    pair = Pair(idle_ms=6_000, ping_timeout_ms=2_000)
    call = pair.begin(generate("j"))
    pair.advance(60.0)
    assert pair.ended is None
    assert not call.done
