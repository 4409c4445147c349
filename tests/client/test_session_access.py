"""Sessions and those who ask who they are, or are no server at all, in memory."""

from typing import Any

import pytest
from session_mending import PNG, mending, only, reconnect
from session_pair import Pair, failure, generate

from pixwire.core import requests
from pixwire.errors import (
    AuthExpired,
    AuthFailed,
    AuthRequired,
    Draining,
    Forbidden,
    PixwireError,
    TooManyStreams,
)
from pixwire_protocol import messages
from pixwire_protocol.registry import ErrorCode

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
