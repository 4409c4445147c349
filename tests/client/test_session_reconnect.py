"""When a session connects and asks again, in memory: waits, drains, and what is given up in the end."""

import pytest
from session_mending import PNG, mending, only
from session_pair import failure, generate, order

from pixwire.core import requests
from pixwire.core.resume import MOST_TRIES
from pixwire.errors import (
    ConnectionLost,
    RequestTimeout,
)
from pixwire_protocol import messages
from pixwire_protocol.registry import ErrorCode

# --- when


@pytest.mark.req("PXW-DRN-009")
def test_the_waits_between_attempts_grow() -> None:
    pair = mending(chance=0.5, handshake_timeout=1.0)
    call = pair.begin(generate("j"))
    pair.network = False
    pair.lose()
    pair.advance(60.0)
    waits = [later - earlier for earlier, later in zip([0.0, *pair.dials[1:]], pair.dials[1:], strict=False)]
    assert waits[:8] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])
    assert not call.done


def test_a_connection_that_worked_for_half_a_minute_starts_the_waits_anew() -> None:
    pair = mending(chance=0.5)
    for seconds, wait in ((0.0, 0.1), (29.0, 0.2), (31.0, 0.1), (0.0, 0.2)):
        pair.advance(seconds)
        lost = pair.now
        pair.lose()
        pair.advance(10.0)
        assert pair.dials[-1] - lost == pytest.approx(wait)
        pair.now = pair.dials[-1]  # as if nothing had happened since it was made


@pytest.mark.req("PXW-DRN-008")
@pytest.mark.req("PXW-DRN-001")
@pytest.mark.req("PXW-DRN-005")
@pytest.mark.parametrize("order_of_ends", ["goaway first", "at once"])
def test_a_server_that_goes_away_is_left_alone_as_long_as_it_wants(order_of_ends: str) -> None:
    pair = mending(chance=0.0)
    following, late = pair.begin(generate("a")), None
    pair.pump()
    pair.answer(1, "running")
    pair.pump()
    pair.server.goaway(ErrorCode.DRAINING, "restart", last_stream=1, reconnect_after_ms=3_000)
    pair.to_client()
    late = pair.begin(generate("b"))
    pair.to_server()
    assert [request.job for request in pair.requests.values()] == ["a"]
    if order_of_ends == "at once":
        pair.eof()
    else:
        pair.advance(2.0)
        pair.succeed(1, [PNG])
        pair.pump()
        assert following.outcome[0].bytes == PNG
    pair.advance(2.999 - pair.now)
    assert len(pair.dials) == 1
    pair.advance(0.002)
    assert pair.dials[1:] == [pytest.approx(3.0)]
    again = ["b"] if order_of_ends == "goaway first" else ["a", "b"]
    assert sorted(request.job for request in pair.requests.values()) == again
    assert late is not None
    assert not late.done


def test_streams_of_a_draining_server_finish_while_the_next_connection_serves() -> None:
    pair = mending(chance=0.0)
    old = pair.begin(generate("old"))
    pair.pump()
    pair.answer(1, "running")
    pair.pump()
    server, channel = pair.server, pair.channel
    server.goaway(ErrorCode.DRAINING, "restart", last_stream=1)
    pair.to_client()
    pair.channel = None  # the pair drives one connection at a time: from now on the next one
    pair.advance(0.0)
    new = pair.begin(requests.status("new"))
    pair.pump()
    pair.answer(only(pair)[0], "queued", end=True)
    pair.pump()
    assert new.outcome.job == "new"
    assert not old.done
    pair.server, pair.channel = server, channel
    pair.requests[1] = messages.Submit("old", "txt2img", b"")
    pair.succeed(1, [PNG])
    pair.pump()
    assert old.outcome[0].bytes == PNG
    assert pair.channel is None, "nothing is left to do on the old connection: it is closed"


@pytest.mark.req("PXW-DRN-005")
def test_requests_above_the_last_stream_go_to_the_next_connection() -> None:
    pair = mending(chance=0.0)
    calls = [pair.begin(requests.status(f"j{i}")) for i in range(3)]
    pair.to_server()
    pair.server.goaway(ErrorCode.DRAINING, "restart", last_stream=1)
    pair.to_client()
    pair.eof()
    pair.advance(1.0)
    assert sorted(request.job for request in pair.requests.values()) == ["j0", "j1", "j2"]
    for stream in pair.requests:
        pair.answer(stream, "running", end=True)
    pair.pump()
    assert [call.outcome.job for call in calls] == ["j0", "j1", "j2"]


@pytest.mark.req("PXW-ERR-005")
@pytest.mark.parametrize("code", [ErrorCode.DRAINING, ErrorCode.TOO_MANY_STREAMS])
def test_nothing_is_sent_again_before_the_server_wants_it(code: ErrorCode) -> None:
    pair = mending()
    call = pair.begin(requests.submit(order("j")))
    pair.pump()
    pair.server.send_error(1, code, "later", retry_after_ms=2_500, processed="no")
    pair.pump()
    pair.advance(2.499)
    assert len(pair.requests) == 1
    pair.advance(0.002)
    assert len(pair.requests) == 2
    pair.answer(3, "queued", end=True)
    pair.pump()
    assert call.outcome.state == "queued"


@pytest.mark.req("PXW-ERR-005")
def test_the_wait_of_an_error_holds_on_the_next_connection_too() -> None:
    pair = mending(chance=0.0)
    call = pair.begin(requests.submit(order("j")))
    pair.pump()
    pair.server.send_error(1, ErrorCode.DRAINING, "later", retry_after_ms=60_000, processed="no")
    pair.pump()
    pair.lose()
    pair.advance(59.9)
    assert len(pair.dials) == 2
    assert not pair.requests
    pair.advance(0.2)
    assert only(pair)[1].job == "j"
    assert not call.done


@pytest.mark.req("PXW-ERR-005")
def test_error_on_stream_0_says_when_to_come_again() -> None:
    pair = mending(chance=0.0)
    call = pair.begin(requests.status("j"))
    pair.pump()
    error = messages.Error(ErrorCode.INTERNAL, "INTERNAL", "a defect", retry="no", retry_after_ms=5_000)
    pair.feed(b"".join(bytes(buffer) for buffer in messages.encode(error)))
    pair.advance(4.9)
    assert len(pair.dials) == 1
    pair.advance(0.2)
    assert only(pair)[1].job == "j"
    assert not call.done


def test_a_followed_job_whose_server_ends_its_grace() -> None:
    pair = mending(chance=0.0)
    call = pair.begin(generate("j"))
    pair.pump()
    pair.answer(1, "running", seq=2)
    pair.pump()
    pair.server.goaway(ErrorCode.DRAINING, "restart", last_stream=1, reconnect_after_ms=1000)
    pair.change(1, "queued", seq=4)
    pair.server.send_error(1, ErrorCode.DRAINING, "come back", retry_after_ms=1000, processed="yes")
    pair.pump()
    pair.advance(1.0)
    assert only(pair)[1] == messages.Watch("j", after_seq=4, want=("progress", "preview"), deliver=True)
    assert not call.done


# --- not for ever


@pytest.mark.req("PXW-ERR-011")
def test_patience_ends() -> None:
    pair = mending(patience=30.0)
    under_way = pair.begin(generate("a"))
    pair.pump()
    pair.answer(1, "running")
    pair.pump()
    pair.network = False
    pair.lose()
    pair.advance(10.0)
    later, quick = pair.begin(generate("b")), pair.begin(generate("c"), 5.0)
    pair.advance(19.9)
    assert isinstance(failure(quick), RequestTimeout)
    assert not under_way.done
    pair.advance(0.2)
    error = failure(under_way)
    assert isinstance(error, ConnectionLost)
    assert (error.processed, error.job) == ("yes", "a")
    assert not later.done
    pair.advance(10.0)
    assert failure(later).processed == "no"  # type: ignore[attr-defined]
    pair.network = True
    pair.advance(10.0)
    again = pair.begin(requests.status("a"))
    pair.pump()
    pair.answer(only(pair)[0], "running", end=True)
    pair.pump()
    assert again.outcome.state == "running"


@pytest.mark.req("PXW-ERR-011")
def test_a_call_that_may_be_what_breaks_the_connections_is_given_up() -> None:
    pair = mending(chance=0.0)
    call = pair.begin(requests.status("j"))
    for turn in range(MOST_TRIES):
        assert not call.done, turn
        pair.to_server()
        pair.lose()
        pair.advance(0.0)
    assert isinstance(failure(call), ConnectionLost)
    other = pair.begin(requests.status("k"))
    pair.pump()
    assert not other.done


def test_a_call_that_was_open_at_two_defects_is_given_up() -> None:
    pair = mending(chance=0.0)
    call = pair.begin(requests.status("j"))
    pair.to_server()
    pair.feed(b"\x00" * 12)
    pair.advance(0.0)
    assert not call.done
    assert only(pair)[1].job == "j"
    pair.server.goaway(ErrorCode.PROTOCOL_ERROR, "I do not understand", last_stream=1)
    pair.to_client()
    assert isinstance(failure(call), ConnectionLost)
    assert "PROTOCOL_ERROR" in str(failure(call))


def test_a_ping_does_not_survive_its_connection() -> None:
    pair = mending()
    call = pair.begin(requests.ping())
    pair.lose()
    assert isinstance(failure(call), ConnectionLost)


def test_an_abandoned_call_is_not_asked_again() -> None:
    pair = mending()
    call = pair.begin(generate("j"))
    pair.to_server()
    pair.lose()
    pair.abandon(call)
    pair.advance(10.0)
    assert not pair.requests
    assert pair.finished() == []


def test_closing_while_there_is_no_connection() -> None:
    pair = mending()
    call = pair.begin(generate("j"))
    pair.network = False
    pair.lose()
    pair.close()
    assert isinstance(failure(call), ConnectionLost)
    assert "closed" in str(failure(call))
    assert pair.session.next_deadline(pair.now) is None
    before = len(pair.dials)
    pair.advance(100.0)
    assert len(pair.dials) == before
