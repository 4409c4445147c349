"""Calls that outlive their connections, in memory: what is asked again, when, and what it leads to."""

from collections.abc import Callable
from typing import Any

import pytest
from session_pair import Pair, artifact, failure, generate, order

from pixwire.core import requests
from pixwire.core.calls import Call
from pixwire.core.resume import MOST_TRIES
from pixwire.errors import (
    ArtifactChanged,
    AuthExpired,
    AuthFailed,
    AuthRequired,
    ConnectionLost,
    Draining,
    Forbidden,
    JobLost,
    JobNotFound,
    PixwireError,
    ProtocolViolation,
    RequestTimeout,
    TooManyStreams,
)
from pixwire.events import StateChange
from pixwire_protocol import messages
from pixwire_protocol.registry import ErrorCode

PNG = bytes(range(256)) * 16
BIG = bytes(range(251)) * 4000  # a million bytes: several windows


def mending(**more: Any) -> Pair:
    return Pair(mend=True, idle_ms=3_600_000, **more)


def reconnect(pair: Pair) -> None:
    """The connection breaks, and another one is made as soon as the client wants to."""
    before = len(pair.dials)
    pair.lose()
    pair.advance(10.0)
    assert len(pair.dials) == before + 1
    assert pair.channel is not None


def only(pair: Pair) -> tuple[int, Any]:
    """The one request on the present connection."""
    ((stream, request),) = pair.requests.items()
    return stream, request


# --- what is asked again


@pytest.mark.req("PXW-REQ-006")
def test_a_submit_without_answer_is_sent_again_byte_for_byte() -> None:
    pair = mending()
    call = pair.begin(requests.submit(order("j-1", "a green star")))
    for _ in range(3):
        pair.to_server()
        reconnect(pair)
    stream, _ = only(pair)
    pair.answer(stream, "queued", end=True, duplicate=True)
    pair.pump()
    assert call.outcome.job == "j-1"
    assert call.duplicate
    submits = pair.sent(messages.Submit)
    assert len(submits) == 4
    assert len({(submit.job, submit.kind, bytes(submit.tail)) for submit in submits}) == 1
    assert pair.finished() == [call]


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda: requests.status("j"), messages.Status),
        (lambda: requests.cancel("j", "late"), messages.Cancel),
        (lambda: requests.watch("j", ()), messages.Watch),
        (lambda: requests.models(), messages.List),
        (lambda: requests.jobs(7, "cursor", ("running",)), messages.List),
    ],
)
def test_everything_without_an_answer_is_asked_again(call: Callable[[], Call[Any]], kind: type) -> None:
    pair = mending()
    pair.begin(call())
    pair.to_server()
    first = only(pair)[1]
    reconnect(pair)
    assert only(pair)[1] == first
    assert isinstance(first, kind)


@pytest.mark.req("PXW-DRN-013")
def test_a_job_that_is_followed_is_followed_on() -> None:
    pair = mending()
    call = pair.begin(generate("j"))
    pair.pump()
    pair.answer(1, "queued", seq=1)
    pair.change(1, "running", seq=2)
    pair.server.send(1, messages.Event({"event": "progress", "job": "j", "seq": 5, "step": 2, "steps": 4}))
    pair.pump()
    reconnect(pair)
    stream, watch = only(pair)
    assert watch == messages.Watch("j", after_seq=5, want=("progress", "preview"), deliver=True)
    pair.answer(stream, "running", seq=5, step=2)
    pair.pump()
    pair.server.send(stream, messages.Event({"event": "progress", "job": "j", "seq": 6, "step": 3, "steps": 4}))
    pair.pump()
    pair.succeed(stream, [PNG])
    pair.pump()
    assert [event.seq for event in pair.emitted(call)] == [1, 2, 5, 6, 9]
    assert call.outcome[0].bytes == PNG


def test_what_happened_meanwhile_is_heard() -> None:
    pair = mending()
    call = pair.begin(requests.watch("j", ()))
    pair.pump()
    pair.answer(1, "running", seq=2)
    pair.pump()
    reconnect(pair)
    stream, _ = only(pair)
    pair.answer(stream, "queued", seq=1_000_003, attempt=2)
    pair.pump()
    queued = pair.emitted(call)[-1]
    assert isinstance(queued, StateChange)
    assert (queued.state, queued.status.attempt) == ("queued", 2)
    reconnect(pair)
    stream, watch = only(pair)
    assert watch.after_seq == 1_000_003
    pair.answer(stream, "cancelled", seq=1_000_009, end=True)
    pair.pump()
    assert call.outcome.state == "cancelled"


def announce(pair: Pair, stream: int, index: int, data: bytes, offset: int = 0, **more: Any) -> None:
    head = {"job": "j", "offset": offset, "length": len(data) - offset, **artifact(index, data), **more}
    pair.server.send(stream, messages.Result(head))


def half_an_image(pair: Pair, call: Call[Any], *, images: int = 1, filled: int = 5000) -> None:
    """A generate call whose last image but `images` - 1 has come up to byte `filled`."""
    stream, request = only(pair)
    infos = [artifact(index, BIG) for index in range(images)]
    if isinstance(request, messages.Submit):
        pair.answer(stream, "succeeded", artifacts=infos)
    announce(pair, stream, 0, BIG)
    pair.server.send_data(stream, memoryview(BIG)[:filled], False)
    pair.pump()
    assert call.filling is not None
    assert call.filling.filled == filled


@pytest.mark.req("PXW-DRN-012")
@pytest.mark.req("PXW-JOB-015")
@pytest.mark.parametrize("make", [generate, lambda: requests.fetch("j", 0)], ids=["generate", "fetch"])
def test_an_image_goes_on_at_the_missing_byte_under_its_etag(make: Callable[[], Call[Any]]) -> None:
    pair = mending()
    call = pair.begin(make())
    pair.pump()
    half_an_image(pair, call)
    buffer = call.filling.buffer if call.filling is not None else None
    reconnect(pair)
    stream, fetch = only(pair)
    etag = artifact(0, BIG)["etag"]
    assert fetch == messages.Fetch("j", 0, 5000, etag=etag)
    announce(pair, stream, 0, BIG, 5000)
    pair.server.send_data(stream, memoryview(BIG)[5000:], True)
    pair.pump()
    image = call.outcome if call.operation == "image" else call.outcome[0]
    assert image.bytes == BIG
    assert image.data.obj is buffer
    assert pair.finished() == [call]


def test_the_rest_of_an_image_is_read_straight_into_its_place() -> None:
    pair = mending()
    call = pair.begin(requests.fetch("j", 0))
    pair.pump()
    half_an_image(pair, call)
    reconnect(pair)
    announce(pair, only(pair)[0], 0, BIG, 5000)
    pair.server.send_data(only(pair)[0], memoryview(BIG)[5000:], True)
    sent = b""
    while pair.server.has_output:
        sent += b"".join(pair.server.data_to_send())
    pair.feed(sent[:2000])
    assert call.filling is not None
    assert pair.channel is not None
    assert pair.session.get_buffer(pair.channel, 1).obj is call.filling.buffer


@pytest.mark.req("PXW-JOB-015")
@pytest.mark.parametrize("how", ["error", "announcement"])
def test_bytes_of_another_etag_are_not_joined(how: str) -> None:
    pair = mending()
    call = pair.begin(requests.fetch("j", 0))
    pair.pump()
    half_an_image(pair, call)
    reconnect(pair)
    stream, _ = only(pair)
    other = bytes(len(BIG))
    if how == "error":
        pair.server.send_error(stream, ErrorCode.ARTIFACT_CHANGED, "another one now")
    else:  # a server that does not look at the etag
        announce(pair, stream, 0, other, 5000)
        pair.server.send_data(stream, memoryview(other)[5000:], True)
    pair.pump()
    again, fetch = max(pair.requests.items())
    assert again != stream
    assert fetch == messages.Fetch("j", 0)
    announce(pair, again, 0, other)
    pair.server.send_data(again, memoryview(other), True)
    pair.pump()
    assert call.outcome.bytes == other


def test_an_image_that_changes_for_ever_is_given_up() -> None:
    pair = mending()
    call = pair.begin(requests.fetch("j", 0))
    pair.pump()
    for turn in range(10):
        if call.done:
            break
        stream, fetch = max(pair.requests.items())
        announce(pair, stream, 0, BIG, fetch.offset, etag=f"etag-{turn}")
        if fetch.offset == 0:
            pair.server.send_data(stream, memoryview(BIG)[:100], False)
            pair.pump()
            reconnect(pair)
        else:
            pair.pump()
    assert isinstance(failure(call), ProtocolViolation | ArtifactChanged)


def test_the_images_after_the_one_that_was_cut_are_fetched() -> None:
    pair = mending()
    call = pair.begin(generate("j"))
    pair.pump()
    infos = [artifact(index, data) for index, data in enumerate((PNG, BIG, PNG))]
    pair.answer(1, "succeeded", artifacts=infos)
    pair.image(1, 0, PNG, end=False)
    announce(pair, 1, 1, BIG)
    pair.pump()
    reconnect(pair)
    stream, fetch = only(pair)
    assert (fetch.artifact, fetch.offset, fetch.etag) == (1, 0, infos[1]["etag"])
    announce(pair, stream, 1, BIG)
    pair.server.send_data(stream, memoryview(BIG), True)
    pair.pump()
    stream, fetch = max(pair.requests.items())
    assert (fetch.artifact, fetch.offset, fetch.etag) == (2, 0, infos[2]["etag"])
    reconnect(pair)
    stream, again = only(pair)
    assert again == fetch
    announce(pair, stream, 2, PNG)
    pair.server.send_data(stream, memoryview(PNG), True)
    pair.pump()
    assert [image.bytes for image in call.outcome] == [PNG, BIG, PNG]
    assert [image.index for image in call.outcome] == [0, 1, 2]


def test_between_the_end_of_the_job_and_its_first_image() -> None:
    pair = mending()
    call = pair.begin(generate("j"))
    pair.pump()
    pair.answer(1, "succeeded", artifacts=[artifact(0, PNG)])
    pair.pump()
    reconnect(pair)
    stream, fetch = only(pair)
    assert fetch == messages.Fetch("j", 0, etag=artifact(0, PNG)["etag"])
    announce(pair, stream, 0, PNG)
    pair.server.send_data(stream, memoryview(PNG), True)
    pair.pump()
    assert call.outcome[0].bytes == PNG


# --- a server that forgot


@pytest.mark.req("PXW-DRN-011")
@pytest.mark.parametrize(
    ("identity", "error", "says"),
    [
        ({"epoch": "e-2"}, JobLost, "started anew"),
        ({"server_id": "other"}, JobLost, "now 'other' answers"),
        ({}, JobNotFound, "no such job"),
    ],
)
def test_a_job_the_server_lost_is_told_and_not_submitted_anew(
    identity: dict[str, str], error: type[JobNotFound], says: str
) -> None:
    pair = mending()
    call = pair.begin(generate("j"))
    pair.pump()
    pair.answer(1, "running")
    pair.pump()
    pair.server_settings |= identity
    reconnect(pair)
    stream, _ = only(pair)
    pair.server.send_error(stream, ErrorCode.JOB_NOT_FOUND, "no such job")
    pair.pump()
    assert type(failure(call)) is error
    assert says in str(failure(call))
    assert len(pair.sent(messages.Submit)) == 1
    if isinstance(call.error, JobLost):
        assert call.error.job == "j"
        assert call.error.status is not None


def test_an_unanswered_submit_may_go_to_another_server() -> None:
    pair = mending()
    call = pair.begin(requests.submit(order("j")))
    pair.to_server()
    pair.server_settings |= {"server_id": "other"}
    reconnect(pair)
    pair.answer(only(pair)[0], "queued", end=True)
    pair.pump()
    assert call.outcome.state == "queued"
    later = pair.begin(requests.status("j", call.known_at))
    pair.pump()
    pair.server_settings |= {"server_id": "third"}
    reconnect(pair)
    pair.server.send_error(only(pair)[0], ErrorCode.JOB_NOT_FOUND, "no such job")
    pair.pump()
    assert isinstance(failure(later), JobLost)


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


# --- who asks


def authenticated(pair: Pair, token: str = "secret", **more: Any) -> None:
    pair.heard(pair.session.authenticate(pair.channel, token, pair.now))  # type: ignore[arg-type]
    pair.to_server()
    pair.server.accept_auth("alice", **more)
    pair.pump()


def test_a_server_that_asks_who_we_are() -> None:
    pair = mending(identity="fixed", auth=("bearer",), ready=False)
    pair.pump()
    assert (pair.tokens_wanted, pair.opened) == (1, [])
    authenticated(pair)
    assert len(pair.opened) == 1
    assert pair.session.principal == "alice"
    assert pair.sent(messages.Auth) == [messages.Auth("bearer", "secret")]
    reconnect(pair)
    assert pair.tokens_wanted == 2


@pytest.mark.req("PXW-AUT-004")
def test_a_server_that_does_not_ask_is_not_told() -> None:
    pair = mending(identity="fixed")
    pair.begin(generate("j"))
    pair.pump()
    assert pair.tokens_wanted == 0
    assert pair.sent(messages.Auth) == []


@pytest.mark.parametrize(("identity", "mechanism"), [("none", "bearer"), ("fixed", "kerberos")])
def test_nothing_to_show(identity: Any, mechanism: str) -> None:
    pair = mending(identity=identity, auth=(mechanism,), ready=False)
    pair.pump()
    assert isinstance(pair.over, AuthRequired)
    assert pair.sent(messages.Auth) == []
    assert [goodbye.code for goodbye in pair.sent(messages.GoAway)] == [ErrorCode.NO_ERROR]


@pytest.mark.req("PXW-AUT-010")
@pytest.mark.parametrize(
    ("code", "error"),
    [
        (ErrorCode.AUTH_FAILED, AuthFailed),
        (ErrorCode.AUTH_REQUIRED, AuthRequired),
        (ErrorCode.FORBIDDEN, Forbidden),
        (ErrorCode.AUTH_EXPIRED, AuthExpired),
    ],
)
@pytest.mark.parametrize("when", ["first", "later"])
def test_wrong_credentials_are_not_shown_again(code: ErrorCode, error: type[PixwireError], when: str) -> None:
    pair = mending(identity="fixed", auth=("bearer",), ready=False)
    pair.pump()
    call = None
    if when == "later":
        authenticated(pair)
        call = pair.begin(generate("j"))
        pair.to_server()
    pair.server.goaway(code, "no", last_stream=0)
    pair.to_client()
    assert type(pair.over) is error
    if call is not None:
        assert type(failure(call)) is error
    with pytest.raises(error):
        pair.begin(generate("k"))
    pair.advance(100.0)
    assert len(pair.dials) == 1
    assert "secret" not in str(pair.over)


def test_expired_credentials_are_renewed_when_there_may_be_others() -> None:
    pair = mending(identity="renewable", auth=("bearer",), ready=False)
    pair.pump()
    authenticated(pair, expires_ms=3_600_000)
    call = pair.begin(generate("j"))
    pair.to_server()
    pair.advance(3539.0)
    assert pair.tokens_wanted == 1
    pair.advance(1.0)
    assert pair.tokens_wanted == 2, "a minute before the end"
    authenticated(pair, expires_ms=10_000)
    assert len(pair.opened) == 1
    pair.advance(8.0)
    assert pair.tokens_wanted == 3, "a fifth of a short life before the end"
    pair.server.goaway(ErrorCode.AUTH_EXPIRED, "too late", last_stream=1)
    pair.to_client()
    pair.advance(1.0)
    assert pair.tokens_wanted == 4
    authenticated(pair, "another")
    assert only(pair)[1].job == "j"
    assert not call.done


@pytest.mark.parametrize("when", ["first", "later"])
def test_an_expired_token_is_not_shown_twice(when: str) -> None:
    pair = mending(identity="renewable", auth=("bearer",), ready=False, chance=0.0)
    pair.pump()
    if when == "later":
        authenticated(pair)
    else:
        pair.heard(pair.session.authenticate(pair.channel, "secret", pair.now))  # type: ignore[arg-type]
    pair.server.goaway(ErrorCode.AUTH_EXPIRED, "too late", last_stream=0)
    pair.to_client()
    if when == "later":
        pair.advance(1.0)
        pair.messages.clear()
        pair.heard(pair.session.authenticate(pair.channel, "secret", pair.now))  # type: ignore[arg-type]
        pair.to_server()
        assert pair.sent(messages.Auth) == []
    assert isinstance(pair.over, AuthExpired)


# --- servers that are none


@pytest.mark.parametrize(
    ("first", "says"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "HTTP server"),
        (b"\x15\x03\x01\x00\x02\x02\x46\x00", "pixwires://"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "SSH"),
        (b"\x89PXX----", "does not keep to PXW/1"),
    ],
)
def test_a_stranger_is_not_asked_twice(first: bytes, says: str) -> None:
    pair = mending()
    call = pair.begin(generate("j"))
    pair.lose()
    due = pair.session.next_deadline(pair.now)
    assert due is not None
    pair.now = due
    pair.heard(pair.session.handle_timeout(pair.now))
    pair.feed(first)
    assert says in str(pair.over)
    assert says in str(failure(call))


def test_impatient_clients_hear_of_a_drain_at_once() -> None:
    pair = Pair(mend=False, chance=0.0)
    first = pair.begin(generate("a"))
    pair.pump()
    pair.server.goaway(ErrorCode.DRAINING, "restart", last_stream=1, reconnect_after_ms=700)
    pair.to_client()
    with pytest.raises(Draining) as caught:
        pair.begin(generate("b"))
    assert caught.value.retry_after_ms == 700
    pair.answer(1, "running")
    pair.succeed(1, [PNG])
    pair.pump()
    assert first.outcome[0].bytes == PNG
    pair.advance(0.7)
    pair.begin(requests.status("b"))
    pair.pump()
    assert only(pair)[1].job == "b"


@pytest.mark.req("PXW-ERR-011")
def test_a_busy_server_is_asked_a_few_times() -> None:
    pair = mending()
    call = pair.begin(requests.status("j"))
    while not call.done:
        pair.pump()
        pair.server.send_error(max(pair.requests), ErrorCode.TOO_MANY_STREAMS, "busy", retry_after_ms=100)
        pair.pump()
        pair.advance(0.1)
    assert isinstance(failure(call), TooManyStreams)
    assert len(pair.requests) == 6
