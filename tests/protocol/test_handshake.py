"""Preface, HELLO, WELCOME: versions, features, limits, refusals, grease."""

import itertools
from typing import Any

import pytest
from protocol_pair import END, HELLO, WELCOME, Pair, bytewise, cut_frames, drain, raw, ready, the_error

from pixwire_protocol import messages as m
from pixwire_protocol.connection import Connection, Ready, Received, Role, Settings, State
from pixwire_protocol.errors import LocalProtocolError, MessageTooLargeError, NotReadyError
from pixwire_protocol.grease import make_grease
from pixwire_protocol.limits import Limits
from pixwire_protocol.registry import LIMITS, PREFACE, ErrorCode, Flag, FrameType


def server(**settings: Any) -> Connection:
    return Connection(Role.SERVER, Settings(agent="s", **settings))


def client(**settings: Any) -> Connection:
    return Connection(Role.CLIENT, Settings(agent="c", **settings))


@pytest.mark.req("PXW-CON-001", "PXW-CON-002", "PXW-HSK-001", "PXW-HSK-003")
def test_one_round_trip_leads_to_ready() -> None:
    pair = Pair(
        {"max_frame": 8192}, {"server_id": "id", "epoch": "7", "durable": "disk", "max_streams": 5}, greet=False
    )
    assert pair.client.has_output
    assert not pair.server.has_output
    first = drain(pair.client)
    assert first[:8] == PREFACE
    assert [frame.type for frame in cut_frames(first)] == [FrameType.HELLO]
    (hello,) = pair.server.receive(first)
    assert isinstance(hello, Ready)
    assert hello.peer == m.Hello("client", ("preview",), Limits(max_frame=8192))
    answer = drain(pair.server)
    assert answer[:8] == PREFACE
    (welcome,) = pair.client.receive(answer)
    assert isinstance(welcome, Ready)
    assert welcome.peer == m.Welcome("server", "id", "7", ("preview",), "disk", Limits(max_streams=5))
    assert pair.client.state is pair.server.state is State.READY
    assert pair.client.peer_limits.max_streams == 5
    assert pair.server.peer_limits.max_frame == 8192
    assert pair.client.peer is welcome.peer


def test_nothing_may_be_sent_before_ready() -> None:
    for connection in (client(), server()):
        with pytest.raises(LocalProtocolError):
            connection.ping(b"12345678")
        assert repr(connection)
    with pytest.raises(NotReadyError, match="handshake"):
        client().open(m.Status("j"))
    waiting = client()
    waiting.receive(PREFACE)
    with pytest.raises(NotReadyError):
        waiting.open(m.Status("j"))
    waiting.receive(WELCOME[:-1])  # not yet
    with pytest.raises(NotReadyError):
        waiting.open(m.Status("j"))
    waiting.receive(WELCOME[-1:])
    assert waiting.open(m.Status("j")) == 1


@pytest.mark.req("PXW-CON-003", "PXW-CON-009", "PXW-CON-010")
@pytest.mark.parametrize(("low", "high"), [(0, 0), (2, 2), (2, 9), (255, 255), (1, 0), (9, 2)])
def test_a_server_without_a_common_version_says_its_own(low: int, high: int) -> None:
    connection = server()
    preface = b"\x89PXW" + bytes((low, high, 0, 0))
    assert the_error(connection.receive(preface + HELLO)).code is ErrorCode.VERSION_UNSUPPORTED
    assert drain(connection) == PREFACE
    assert connection.receive(HELLO) == []


@pytest.mark.parametrize(("low", "high"), [(1, 1), (0, 1), (1, 2), (0, 255)])
def test_a_server_in_the_range_chooses_one(low: int, high: int) -> None:
    connection = server()
    connection.receive(b"\x89PXW" + bytes((low, high, 0xAB, 0xCD)) + HELLO)  # reserved bytes do not matter
    assert connection.state is State.READY
    assert drain(connection)[:8] == PREFACE


@pytest.mark.req("PXW-CON-006")
@pytest.mark.parametrize(("low", "high"), [(2, 2), (1, 2), (0, 1), (0, 0)])
def test_a_client_takes_one_version_or_none(low: int, high: int) -> None:
    connection = client()
    drain(connection)
    preface = b"\x89PXW" + bytes((low, high, 0, 0))
    assert the_error(connection.receive(preface + WELCOME)).code is ErrorCode.VERSION_UNSUPPORTED
    assert not connection.has_output


@pytest.mark.req("PXW-CON-004", "PXW-CON-005")
@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"SSH-2.0-x\r\n",
        b"\x89PNG\r\n\x1a\n",
        b"\x00" * 8,
        b"\x89PX",
    ],
)
def test_whoever_speaks_something_else_is_told_nothing(data: bytes) -> None:
    for make, cut in itertools.product((server, client), (bytewise, lambda data: iter([data]))):
        connection = make()
        incoming = [item for piece in cut(data) for item in connection.receive(piece)]
        if data == b"\x89PX":
            assert incoming == []
            continue
        assert the_error(incoming).code is ErrorCode.PROTOCOL_ERROR
        assert connection.state is State.FAILED
        assert not connection.has_output
        assert connection.data_to_send() == []


@pytest.mark.req("PXW-HSK-005", "PXW-HSK-006", "PXW-HSK-007", "PXW-FRM-006")
@pytest.mark.parametrize(
    ("role", "frame", "code"),
    [
        (Role.SERVER, raw(FrameType.PING, 0, tail=b"12345678"), ErrorCode.PROTOCOL_ERROR),
        (Role.SERVER, raw(FrameType.STATUS, 1, {"job": "j"}, flags=END), ErrorCode.PROTOCOL_ERROR),
        (Role.SERVER, raw(0x80, 0), ErrorCode.PROTOCOL_ERROR),
        (Role.SERVER, raw(0x02, 0, {"token": "x"}), ErrorCode.PROTOCOL_ERROR),
        (Role.SERVER, WELCOME, ErrorCode.PROTOCOL_ERROR),
        (Role.SERVER, HELLO + HELLO, ErrorCode.PROTOCOL_ERROR),
        (Role.SERVER, raw(FrameType.HELLO, 0, {"agent": "x", "pad": "x" * 4096}), ErrorCode.FRAME_TOO_LARGE),
        (Role.SERVER, raw(FrameType.HELLO, 0, {}), ErrorCode.BAD_HEAD),
        (Role.SERVER, raw(FrameType.HELLO, 0, {"agent": "x", "limits": {"max_frame": 5}}), ErrorCode.BAD_HEAD),
        (Role.SERVER, raw(FrameType.HELLO, 0, {"agent": "x", "crit": ["zzz"]}), ErrorCode.UNKNOWN_CRITICAL),
        (Role.CLIENT, raw(FrameType.PING, 0, tail=b"12345678"), ErrorCode.PROTOCOL_ERROR),
        (Role.CLIENT, raw(FrameType.RESULT, 1, {"job": "j"}), ErrorCode.PROTOCOL_ERROR),
        (Role.CLIENT, raw(0x80, 0), ErrorCode.PROTOCOL_ERROR),
        (Role.CLIENT, HELLO, ErrorCode.PROTOCOL_ERROR),
        (Role.CLIENT, WELCOME + WELCOME, ErrorCode.PROTOCOL_ERROR),
        (Role.CLIENT, raw(FrameType.HELLO, 0, {"agent": "x"}, flags=Flag.ACK), ErrorCode.BAD_HEAD),
    ],
)
def test_a_handshake_that_goes_wrong(role: Role, frame: bytes, code: ErrorCode) -> None:
    connection = Connection(role, Settings(agent="x"))
    drain(connection)
    incoming = connection.receive(PREFACE + frame)
    assert the_error(incoming).code is code
    goaway = cut_frames(drain(connection))[-1]
    assert goaway.type == FrameType.GOAWAY
    assert goaway.head is not None
    assert goaway.head["code"] == code
    assert goaway.head["name"] == code.name
    assert goaway.head["last_stream"] == 0


@pytest.mark.req("PXW-HSK-009", "PXW-HSK-011")
def test_features_are_the_common_ones() -> None:
    connection = server(features=("preview", "later"))
    hello = raw(FrameType.HELLO, 0, {"agent": "x", "features": ["grease-1234", "later", "org.example.x"]})
    connection.receive(PREFACE + hello)
    (welcome,) = cut_frames(drain(connection))
    assert welcome.head is not None
    assert welcome.head["features"] == ["later"]


def test_a_feature_that_is_offered_often_is_answered_once() -> None:
    """Or a client could ask for a WELCOME that is longer than it takes."""
    feature = "org.example." + "x" * 52
    connection = server(features=(feature,))
    hello = {"agent": "x", "features": [feature] * 61, "limits": {"max_frame": 4096}}
    connection.receive(PREFACE + raw(FrameType.HELLO, 0, hello))
    (welcome,) = cut_frames(drain(connection))
    assert welcome.head is not None
    assert welcome.head["features"] == [feature]


@pytest.mark.req("PXW-HSK-010")
def test_a_feature_that_was_not_offered_is_refused() -> None:
    connection = client(features=())
    welcome = raw(
        FrameType.HELLO, 0, {"agent": "x", "server_id": "s", "epoch": "e", "features": ["preview"]}, flags=Flag.ACK
    )
    assert the_error(connection.receive(PREFACE + welcome)).code is ErrorCode.PROTOCOL_ERROR


@pytest.mark.req("PXW-FRM-003")
def test_the_peers_max_frame_holds_from_the_handshake_on() -> None:
    pair = Pair({"max_frame": 4096}, {"max_frame": 5000})
    with pytest.raises(MessageTooLargeError, match="5000"):
        pair.client.open(m.Submit("j", "k", bytes(5000)))
    stream = pair.open(m.Submit("j", "k", bytes(4900)))
    with pytest.raises(MessageTooLargeError, match="4096"):
        pair.server.send(stream, m.Result({"x": "x" * 4096}), end=True)
    assert pair.server.send(stream, m.Result({"x": "x" * 4000}), end=True)
    pair.settle()
    assert pair.client.open_streams == pair.server.open_streams == 0


# ---------------------------------------------------------------------- refusing a connection


@pytest.mark.parametrize("before", [b"", PREFACE[:3]])
def test_a_refusal_waits_for_the_preface(before: bytes) -> None:
    connection = server()
    connection.receive(before)
    assert connection.goaway(ErrorCode.EXCESSIVE_LOAD, "too many connections")
    assert not connection.has_output
    assert connection.receive(PREFACE[len(before) :] + HELLO) == []
    sent = drain(connection)
    assert sent[:8] == PREFACE
    (frame,) = cut_frames(sent)
    assert frame.head is not None
    assert (frame.type, frame.head["code"]) == (FrameType.GOAWAY, ErrorCode.EXCESSIVE_LOAD)
    assert connection.receive(HELLO) == []


def test_a_refusal_of_something_else_is_silent() -> None:
    connection = server()
    connection.goaway(ErrorCode.EXCESSIVE_LOAD, "too many connections")
    assert the_error(connection.receive(b"GET / HTTP/1.1")).code is ErrorCode.PROTOCOL_ERROR
    assert not connection.has_output


def test_a_refusal_after_the_preface_keeps_the_preface() -> None:
    connection = server()
    connection.receive(PREFACE)
    connection.goaway(ErrorCode.DRAINING, "not now", reconnect_after_ms=5)
    sent = drain(connection)
    assert sent[:8] == PREFACE
    assert [frame.type for frame in cut_frames(sent)] == [FrameType.GOAWAY]
    assert connection.receive(HELLO) == []
    assert not connection.has_output


def test_a_refused_client_sees_why() -> None:
    pair = Pair(greet=False)
    pair.server.goaway(ErrorCode.EXCESSIVE_LOAD, "too many connections", reconnect_after_ms=70)
    pair.settle()
    (refusal,) = pair.at_client
    assert isinstance(refusal, Received)
    assert refusal.message == m.GoAway(0, ErrorCode.EXCESSIVE_LOAD, "EXCESSIVE_LOAD", "too many connections", None, 70)
    with pytest.raises(LocalProtocolError, match="70 ms"):
        pair.client.open(m.Status("j"))


def test_a_client_may_leave_before_welcome() -> None:
    connection = client()
    assert connection.goaway(ErrorCode.NO_ERROR)
    assert connection.state is State.FAILED
    assert not connection.goaway(ErrorCode.NO_ERROR)
    assert connection.receive(PREFACE + WELCOME) == []


def test_an_error_on_stream_0_instead_of_welcome() -> None:
    connection = client()
    drain(connection)
    (item,) = connection.receive(PREFACE + raw(FrameType.ERROR, 0, {"code": 0x0200, "message": "who are you?"}))
    assert item == Received(0, m.Error(0x0200, message="who are you?"), True)
    with pytest.raises(LocalProtocolError, match="who are you"):
        connection.open(m.Status("j"))


# ---------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_frame": 100},
        {"max_frame": 2**24},
        {"stream_window": 0},
        {"connection_window": 2**31},
        {"max_streams": 0},
        {"idle_ms": 1.5},
        {"data_chunk": 1},
        {"control_frames": True},
    ],
)
def test_settings_name_what_is_wrong(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name} must be an integer from {LIMITS[name].minimum}"):
        Settings(agent="x", **wrong)


def test_a_greeting_that_is_too_long_is_found_at_once() -> None:
    features = tuple(f"feature-{i:055d}" for i in range(64))
    for role in Role:
        with pytest.raises(MessageTooLargeError):
            Connection(role, Settings(agent="x", features=features))
        with pytest.raises(LocalProtocolError, match="agent"):
            Connection(role, Settings(agent="x" * 129))


# ---------------------------------------------------------------------- grease


@pytest.mark.req("PXW-HSK-002", "PXW-CON-023")
@pytest.mark.parametrize("seed", range(40))
def test_grease_is_sent_and_ignored(seed: int) -> None:
    grease = make_grease(bytes((seed * k * 7 + k) % 256 for k in range(1, 9)))
    pair = Pair({"grease": grease}, greet=False)
    first = drain(pair.client)
    assert first[:8] == b"\x89PXW\x01" + bytes((1, 0, 0))
    (hello,) = cut_frames(first)
    assert hello.head is not None
    assert hello.head[grease.key] == grease.value
    assert grease.feature in hello.head["features"]
    (greeted,) = pair.server.receive(first)
    assert isinstance(greeted, Ready)
    pair.client.receive(drain(pair.server))
    (ignorable,) = cut_frames(drain(pair.client))
    assert 0x80 <= ignorable.type <= 0xBF
    assert ignorable.stream == 0
    assert pair.server.receive(grease.frame) == []
    assert pair.server.state is State.READY
    assert pair.client.peer is not None
    assert grease.feature not in pair.client.peer.features


def test_grease_depends_on_its_bytes_only() -> None:
    assert make_grease(b"12345678") == make_grease(b"12345678")
    assert make_grease(b"12345678") != make_grease(b"12345679")
    with pytest.raises(ValueError, match="8 bytes"):
        make_grease(b"1234567")


def test_a_pong_is_reported_and_asks_for_nothing() -> None:
    pair = Pair()
    pair.client.ping(b"12345678")
    pair.settle()
    assert pair.at_server == [Received(0, m.Ping(b"12345678"), False)]
    assert pair.at_client == [Received(0, m.Pong(b"12345678"), False)]


def test_ready_helper_is_ready() -> None:
    assert ready(Role.CLIENT).state is ready(Role.SERVER).state is State.READY
