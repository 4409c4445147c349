"""Giving up, many calls at once, and the end of the connection."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from session_pair import Pair, artifact, failure, generate, order

from pixwire import arguments
from pixwire.core import requests
from pixwire.core.calls import Call
from pixwire.errors import (
    ConnectionLost,
    Draining,
    RequestFailed,
    RequestTimeout,
    TooManyStreams,
)
from pixwire_protocol import messages
from pixwire_protocol.registry import ErrorCode

PNG = bytes(range(256)) * 16
BIG = bytes(range(251)) * 4000  # a million bytes: several windows


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
        pair.abandon(call)
        pair.abandon(call)
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
    assert pair.channel is not None


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
    assert len(pair.session._deadlines._heap) < 200


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
    pair.abandon(calls[3])
    pair.answer(1, "running", end=True)
    pair.pump()
    assert [request.job for request in pair.requests.values()] == ["j0", "j1", "j2", "j4"]
    pair.advance(5.0)
    assert [isinstance(call.error, RequestTimeout) for call in calls] == [False, False, True, False, True]


@pytest.mark.req("PXW-REQ-006")
def test_a_refused_stream_is_tried_again_a_few_times() -> None:
    pair = Pair()
    patient, unlucky = pair.begin(requests.submit(order("a"))), pair.begin(requests.status("b"))
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
    pair = Pair(max_frame=4096)
    long = arguments.pack_params("txt2img", (), "x" * 4000, None, negative_prompt="y" * 4000)
    call = pair.begin(requests.submit(requests.JobOrder("j", "txt2img", long)))
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
            pair.lose()
        case "eof":
            pair.eof()
        case _:
            pair.close()
    error = failure(call)
    assert isinstance(error, ConnectionLost)
    assert (error.processed, error.job) == (processed, "j")
    assert (error.status is not None) == (processed == "yes")
    assert (pair.over is not None) == (how == "close")
    assert call in pair.finished()
    with pytest.raises(ConnectionLost) as caught:
        pair.begin(requests.status("later"))
    assert caught.value.processed == "no"
    pair.abandon(call)


def test_closing_says_goodbye() -> None:
    pair = Pair()
    pair.close()
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
    pair.lose("the server closed the connection")
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
    while pair.channel is not None:
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
    assert pair.channel is not None
    assert not call.done


@pytest.mark.parametrize("first", ["told to wait", "lost"])
def test_who_does_not_wait_for_connections_waits_for_none(first: str) -> None:
    """Also a call that is held back for another reason: there is no room for it, or its image is another one."""
    pair = Pair(mend=False)
    call = pair.begin(requests.status("j"))
    pair.pump()
    refused = {"processed": "no", "retry_after_ms": 60_000}
    if first == "told to wait":
        pair.server.send_error(1, ErrorCode.TOO_MANY_STREAMS, "full", **refused)
        pair.pump()
        assert not call.done
        pair.lose()
    else:
        pair.server.goaway(ErrorCode.NO_ERROR, "going", last_stream=1)
        pair.server.send_error(1, ErrorCode.TOO_MANY_STREAMS, "full", **refused)
        pair.pump()
    assert isinstance(failure(call), ConnectionLost | Draining)
    assert pair.finished() == [call]
