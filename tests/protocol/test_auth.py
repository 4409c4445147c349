"""AUTH and AUTH_OK: who may say what before, between and after them, and that a token is never shown."""

import logging
from typing import Any

import pytest
from protocol_pair import HELLO, Pair, bytewise, cut_frames, drain, raw, request, the_error, whole

from pixwire_protocol import messages as m
from pixwire_protocol.connection import AuthNeeded, Closed, Connection, Failed, Ready, Received, Role, Settings, State
from pixwire_protocol.errors import LocalProtocolError, NotReadyError, RemoteProtocolError
from pixwire_protocol.grease import make_grease
from pixwire_protocol.profile import pack_map
from pixwire_protocol.registry import MECHANISMS, PREFACE, ErrorCode, Flag, FrameType

TOKEN = "correct-horse-battery-staple"
AUTH = raw(FrameType.AUTH, 0, {"mechanism": "bearer", "token": TOKEN})
AUTH_OK = raw(FrameType.AUTH, 0, {"principal": "alice"}, flags=Flag.ACK)
WELCOME = raw(FrameType.HELLO, 0, {"agent": "s", "server_id": "s", "epoch": "e", "auth": ["bearer"]}, flags=Flag.ACK)


def pair(**server: Any) -> Pair:
    """Both sides AUTHENTICATING."""
    made = Pair(server={"auth": ("bearer",), **server}, greet=False)
    made.settle()
    assert made.client.state is made.server.state is State.AUTHENTICATING
    return made


def authenticated(**server: Any) -> Pair:
    made = pair(**server)
    made.client.authenticate("bearer", TOKEN)
    made.settle()
    made.server.accept_auth("alice")
    made.settle()
    made.forget()
    assert made.client.state is made.server.state is State.READY
    return made


def asking_server(**settings: Any) -> Connection:
    connection = Connection(Role.SERVER, Settings(agent="s", auth=("bearer",), **settings))
    assert connection.receive(PREFACE + HELLO) == []
    drain(connection)
    return connection


def asked_client(**settings: Any) -> Connection:
    connection = Connection(Role.CLIENT, Settings(agent="c", **settings))
    connection.receive(PREFACE + WELCOME)
    drain(connection)
    assert connection.state is State.AUTHENTICATING
    return connection


# ---------------------------------------------------------------------- how it goes


@pytest.mark.req("PXW-AUT-006")
@pytest.mark.parametrize("cut", [whole, bytewise])
def test_the_whole_handshake(cut: Any) -> None:
    made = Pair(server={"auth": ("bearer",)}, cut=cut, greet=False)
    made.settle()
    assert made.at_server == []  # nothing is ready, and the program has nothing to do yet
    (needed,) = made.at_client
    assert isinstance(needed, AuthNeeded)
    assert needed.peer.auth == ("bearer",) == MECHANISMS
    assert made.client.peer == needed.peer
    assert isinstance(made.server.peer, m.Hello)
    assert made.client.authenticate("bearer", TOKEN)
    made.settle()
    assert made.at_server == [Received(0, m.Auth("bearer", TOKEN), False)]
    assert made.server.accept_auth("alice", expires_ms=60_000)
    assert made.server.state is State.READY
    made.settle()
    assert made.at_client[1:] == [Received(0, m.AuthOk("alice", 60_000), False), Ready(needed.peer)]
    assert made.client.principal == made.server.principal == "alice"
    stream = made.open(m.Status("j"))
    assert made.messages_at_server(stream) == [m.Status("j")]


def test_without_authentication_nothing_changes_and_the_principal_may_be_told() -> None:
    made = Pair(server={"principal": "anonymous"}, greet=False)
    made.settle()
    assert [type(item) for item in made.at_client] == [Ready]
    assert [type(item) for item in made.at_server] == [Ready]
    assert made.client.principal == made.server.principal == "anonymous"
    assert Pair().client.principal is None
    with pytest.raises(LocalProtocolError, match="mechanisms: none"):
        made.client.authenticate("bearer", TOKEN)


@pytest.mark.req("PXW-AUT-011")
def test_a_renewal_goes_on_under_the_same_principal() -> None:
    made = authenticated()
    stream = made.open(m.Status("j"))
    made.client.authenticate("bearer", "another")
    made.settle()
    assert made.messages_at_server(0) == [m.Auth("bearer", "another")]
    assert made.server.accept_auth("alice", expires_ms=5)
    made.settle()
    assert made.at_client == [Received(0, m.AuthOk("alice", 5), False)]
    made.server.send(stream, m.Result({}), end=True)
    made.settle()
    assert made.client.open_streams == 0


@pytest.mark.req("PXW-AUT-012")
def test_another_principal_ends_the_connection() -> None:
    made = authenticated()
    made.client.authenticate("bearer", "that of bob")
    made.settle()
    assert not made.server.accept_auth("bob")
    assert the_error(made.server.receive(b"")).code is ErrorCode.AUTH_FAILED
    made.settle()
    (goodbye,) = made.at_client
    assert isinstance(goodbye, Received)
    assert isinstance(goodbye.message, m.GoAway)
    assert goodbye.message.code == ErrorCode.AUTH_FAILED
    assert not made.server.accept_auth("alice")  # it is over


def test_the_principal_of_a_certificate_holds_for_auth_too() -> None:
    connection = asking_server(principal="cn")
    connection.receive(AUTH)
    assert not connection.accept_auth("alice")
    assert connection.state is State.FAILED


@pytest.mark.req("PXW-AUT-007")
def test_wrong_credentials_end_the_connection() -> None:
    made = pair()
    made.client.authenticate("bearer", TOKEN)
    made.settle()
    assert made.server.goaway(ErrorCode.AUTH_FAILED, "unknown token")
    assert made.server.state is State.FAILED
    made.settle()
    assert made.client.state is State.DRAINING
    assert isinstance(made.at_client[-1], Received)
    assert made.client.receive_eof() == [Closed(True)]
    assert not made.server.accept_auth("alice")


def test_a_renewal_while_draining() -> None:
    made = authenticated()
    made.server.goaway(ErrorCode.DRAINING)
    made.settle()
    assert made.client.authenticate("bearer", TOKEN)
    made.settle()
    assert made.server.accept_auth("alice")
    assert made.server.state is State.DRAINING
    made.settle()
    assert made.at_client[-1] == Received(0, m.AuthOk("alice"), False)
    assert made.client.state is State.DRAINING


# ---------------------------------------------------------------------- what is not allowed


@pytest.mark.req("PXW-AUT-001")
@pytest.mark.parametrize(
    "data",
    [
        request(1),
        HELLO,
        raw(FrameType.PING, 0, tail=b"12345678"),
        raw(FrameType.CREDIT, 0, {"n": 5}),
        raw(FrameType.CREDIT, 1, {"n": 5}),
        raw(FrameType.DATA, 1, tail=b"x"),
        raw(FrameType.RESET, 1, {"code": 0}),
        raw(0x99, 0),
        raw(0x42, 1),
        raw(FrameType.SUBMIT, 1, {"job": "j", "kind": "k"}, b"\x80"),
    ],
)
@pytest.mark.parametrize("asked", [False, True])
def test_a_server_wants_auth_first(data: bytes, asked: bool) -> None:
    connection = asking_server()
    connection.receive(AUTH if asked else b"")
    assert the_error(connection.receive(data)).code is ErrorCode.AUTH_REQUIRED
    goaway = cut_frames(drain(connection))[-1]
    assert goaway.head is not None
    assert goaway.head["code"] == ErrorCode.AUTH_REQUIRED


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (raw(FrameType.RESULT, 1, {}), ErrorCode.PROTOCOL_ERROR),
        (raw(FrameType.PING, 0, tail=b"1"), ErrorCode.PROTOCOL_ERROR),
        (raw(FrameType.AUTH, 1, {"mechanism": "bearer", "token": "x"}), ErrorCode.PROTOCOL_ERROR),
        (raw(FrameType.AUTH, 0, {"mechanism": "bearer"}), ErrorCode.BAD_HEAD),
        (raw(FrameType.AUTH, 0, {"mechanism": "bearer", "token": "x" * 3073}), ErrorCode.BAD_HEAD),
        (raw(FrameType.AUTH, 0, {"mechanism": "bearer", "token": "x", "crit": ["y"]}), ErrorCode.UNKNOWN_CRITICAL),
        (raw(FrameType.PING, 2**31, tail=b"12345678"), ErrorCode.STREAM_ID),
        (AUTH_OK, ErrorCode.PROTOCOL_ERROR),
    ],
)
def test_other_faults_keep_their_codes(data: bytes, code: ErrorCode) -> None:
    assert the_error(asking_server().receive(data)).code is code


@pytest.mark.req("PXW-AUT-021")
def test_an_auth_waits_for_its_answer() -> None:
    assert the_error(asking_server().receive(AUTH + AUTH)).code is ErrorCode.PROTOCOL_ERROR
    made = authenticated()
    drain(made.client)
    assert the_error(made.server.receive(AUTH + AUTH)).code is ErrorCode.PROTOCOL_ERROR
    client = asked_client()
    client.authenticate("bearer", TOKEN)
    with pytest.raises(LocalProtocolError, match="waits"):
        client.authenticate("bearer", TOKEN)


@pytest.mark.req("PXW-AUT-005")
def test_auth_where_none_is_asked_for() -> None:
    connection = Connection(Role.SERVER, Settings(agent="s"))
    assert the_error(connection.receive(PREFACE + HELLO + AUTH)).code is ErrorCode.PROTOCOL_ERROR


@pytest.mark.req("PXW-AUT-009")
def test_auth_ok_out_of_the_blue() -> None:
    assert the_error(asked_client().receive(AUTH_OK)).code is ErrorCode.PROTOCOL_ERROR
    client = asked_client()
    client.authenticate("bearer", TOKEN)
    assert the_error(client.receive(AUTH_OK + AUTH_OK)).code is ErrorCode.PROTOCOL_ERROR
    plain = Pair().client
    assert the_error(plain.receive(AUTH_OK)).code is ErrorCode.PROTOCOL_ERROR


@pytest.mark.req("PXW-AUT-003")
@pytest.mark.parametrize(
    "data",
    [
        raw(FrameType.PING, 0, tail=b"12345678"),
        raw(FrameType.CREDIT, 0, {"n": 5}),
        WELCOME,
        raw(FrameType.RESULT, 1, {}, flags=Flag.END),
        raw(0x99, 0),
    ],
)
def test_a_client_takes_nothing_but_the_answer(data: bytes) -> None:
    client = asked_client()
    client.authenticate("bearer", TOKEN)
    assert the_error(client.receive(data)).code is ErrorCode.PROTOCOL_ERROR


@pytest.mark.req("PXW-AUT-002")
def test_a_client_says_nothing_else_before_the_answer() -> None:
    client = asked_client(grease=make_grease(b"12345678"))
    for call in (
        lambda: client.open(m.Status("j")),
        lambda: client.ping(b"12345678"),
        lambda: client.authenticate("plain", TOKEN),
        lambda: client.accept_auth("alice"),
    ):
        with pytest.raises(LocalProtocolError):
            call()
        assert not client.has_output
    with pytest.raises(NotReadyError, match="authenticate"):
        client.open(m.Status("j"))
    client.authenticate("bearer", TOKEN)
    assert [frame.type for frame in cut_frames(drain(client))] == [FrameType.AUTH]
    client.receive(AUTH_OK)
    assert len(cut_frames(drain(client))) == 1  # the ignorable frame had to wait
    leaving = asked_client()
    assert leaving.goaway()
    assert [frame.type for frame in cut_frames(drain(leaving))] == [FrameType.GOAWAY]
    assert leaving.state is State.DRAINING


def test_out_of_place_calls_of_a_server() -> None:
    connection = asking_server()
    for call in (
        lambda: connection.accept_auth("alice"),
        lambda: connection.authenticate("bearer", TOKEN),
        lambda: connection.ping(b"12345678"),
    ):
        with pytest.raises(LocalProtocolError):
            call()
    connection.receive(AUTH)
    for principal in ("", "x" * 257):
        with pytest.raises(LocalProtocolError, match="principal"):
            connection.accept_auth(principal)
    with pytest.raises(LocalProtocolError, match="expires_ms"):
        connection.accept_auth("alice", expires_ms=-1)
    assert connection.state is State.AUTHENTICATING
    assert connection.accept_auth("alice")


@pytest.mark.req("PXW-AUT-008")
def test_frames_stay_small_until_the_answer() -> None:
    connection = asking_server()
    large = raw(FrameType.SUBMIT, 1, {"job": "j", "kind": "k"}, bytes(4096), Flag.END)
    assert the_error(connection.receive(large[:4])).code is ErrorCode.FRAME_TOO_LARGE
    connection = asking_server()
    connection.receive(AUTH)
    connection.accept_auth("alice")
    (item,) = connection.receive(large)
    assert isinstance(item, Received)
    client = asked_client()
    client.authenticate("bearer", TOKEN)
    big = {"last_stream": 0, "code": 0, "grease_x": "x" * 4096}
    assert the_error(client.receive(raw(FrameType.GOAWAY, 0, big)[:4])).code is ErrorCode.FRAME_TOO_LARGE
    client = asked_client()
    client.authenticate("bearer", TOKEN)
    assert not any(isinstance(item, Failed) for item in client.receive(AUTH_OK + raw(FrameType.GOAWAY, 0, big)))


@pytest.mark.parametrize("code", [ErrorCode.NO_ERROR, ErrorCode.DRAINING, ErrorCode.INTERNAL])
def test_a_client_that_leaves_instead(code: ErrorCode) -> None:
    connection = asking_server()
    (item,) = connection.receive(raw(FrameType.GOAWAY, 0, {"last_stream": 0, "code": code}))
    assert isinstance(item, Received)
    assert connection.state is State.FAILED
    assert not connection.has_output
    assert connection.receive(AUTH) == []


def test_the_end_of_the_bytes_before_the_answer() -> None:
    connection = asking_server()
    connection.receive(AUTH)
    assert connection.receive_eof() == [Closed(True)]
    assert connection.state is State.CLOSED
    assert not connection.accept_auth("alice")
    client = asked_client()
    client.receive_eof()
    assert not client.authenticate("bearer", TOKEN)


def test_a_mechanism_must_be_one_that_was_offered() -> None:
    client = asked_client()
    with pytest.raises(LocalProtocolError, match="bearer"):
        client.authenticate("plain", TOKEN)
    with pytest.raises(LocalProtocolError, match="token"):
        client.authenticate("bearer", "")
    assert client.authenticate("bearer", TOKEN)
    # What an unknown mechanism means is the server program's business: it is told.
    server = asking_server()
    (item,) = server.receive(raw(FrameType.AUTH, 0, {"mechanism": "plain", "token": "x"}))
    assert item == Received(0, m.Auth("plain", "x"), False)


# ---------------------------------------------------------------------- the token


@pytest.mark.req("PXW-AUT-020", "PXW-ERR-007")
def test_a_token_is_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    message = m.Auth("bearer", TOKEN)
    logging.getLogger("x").warning("%r %s", message, Received(0, message, False))
    shown = [repr(message), str(message), caplog.text]
    for head in (
        {"mechanism": "bearer", "token": TOKEN * 200},
        {"mechanism": "bearer", "token": [TOKEN]},
        {"mechanism": "bearer", "token": TOKEN.encode()},
        {"mechanism": "b" * 33, "token": TOKEN},
        {"token": TOKEN},
        {"mechanism": "bearer", "token": TOKEN, "crit": ["x"]},
    ):
        with pytest.raises(RemoteProtocolError) as caught:
            m.CODECS["AUTH"].decode(pack_map(head), b"", 0)
        shown += [str(caught.value), repr(caught.value)]
    client = asked_client()
    for mechanism, token in (("bearer", TOKEN * 200), ("bearer", TOKEN + "\ud800"), ("bearer", [TOKEN]), ("x", TOKEN)):
        with pytest.raises(LocalProtocolError) as local:
            client.authenticate(mechanism, token)  # type: ignore[arg-type]
        shown += [str(local.value), repr(local.value)]
    client.authenticate("bearer", TOKEN)
    shown += [repr(client)]
    assert not any("horse" in text for text in shown), shown
    assert any("token" in text for text in shown)
