"""For any bytes, in any state, in either role: events, and perhaps Failed at the end. Never another exception.

If one of these tests finds an exception, that is a defect in pixwire_protocol, whatever the bytes were.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from protocol_pair import END, HELLO, STATUS, TAIL, WELCOME, cut_frames, drain, raw, ready, watch
from protocol_strategies import any_message
from test_parser import plain, to_client, to_server
from upload_pair import data as data_frame
from upload_pair import head_of, opening, upload

from pixwire_protocol import messages as m
from pixwire_protocol.connection import (
    AuthNeeded,
    Closed,
    Connection,
    Failed,
    Incoming,
    Ready,
    Received,
    Role,
    Settings,
    State,
)
from pixwire_protocol.errors import LocalProtocolError, RemoteProtocolError
from pixwire_protocol.header import Frame
from pixwire_protocol.params import ParamError, parse
from pixwire_protocol.registry import PREFACE, Flag, FrameType
from pixwire_protocol.status import JobStatus


def fresh(role: Role) -> Connection:
    return Connection(role, Settings(agent="x"))


def prefaced(role: Role) -> Connection:
    connection = fresh(role)
    connection.receive(PREFACE)
    return connection


def busy(role: Role) -> Connection:
    """Streams of all kinds, some of them over, DATA under way in both senses."""
    connection = ready(role)
    if role is Role.CLIENT:
        for request in (watch(), m.Fetch("j"), m.Status("j"), m.Fetch("j"), m.Status("j")):
            connection.open(request)
        connection.receive(raw(FrameType.RESULT, 1, STATUS) + raw(FrameType.RESULT, 3, {"length": 5000}))
        connection.receive(raw(FrameType.RESULT, 7, {"length": 100}))
        connection.set_sink(3, memoryview(bytearray(5000)))
        connection.reset(5)
        connection.receive(raw(FrameType.DATA, 7, tail=bytes(50)))
    else:
        for stream, head in ((1, {"job": "j"}), (3, {"job": "j", "deliver": True}), (5, {"job": "j"})):
            connection.receive(raw(FrameType.WATCH, stream, head, flags=END))
            connection.send(stream, m.Result(STATUS))
        connection.send(3, m.Result({"length": 10**6}))
        connection.send_data(3, bytes(10**6), end=True)
        connection.send_error(5, 0x010B, "x")
        drain(connection)
    return connection


def draining(role: Role) -> Connection:
    connection = busy(role)
    connection.receive(raw(FrameType.GOAWAY, 0, {"last_stream": 5, "code": 0x0403}))
    return connection


def uploading(role: Role) -> Connection:
    """Uploads in all states: nothing came, some, all, answered early, over."""
    connection = ready(role, stream_window=4000, connection_window=9000)
    if role is Role.CLIENT:
        for watching in (False, True, False, True, False):
            connection.open(upload(3000, 200, watch=watching))
        for stream in (3, 5, 7):
            connection.send_data(stream, bytes(3200 if stream == 5 else 100), end=stream == 5)
        drain(connection)
        connection.receive(raw(FrameType.RESULT, 7, STATUS))
        connection.reset(9)
    else:
        connection.receive(b"".join(opening(stream, 3000, 200) for stream in (1, 3, 5, 7, 9)))
        connection.receive(data_frame(3, 100) + data_frame(5, 3200, end=True) + data_frame(7, 100) + data_frame(9, 100))
        connection.set_sink(3, memoryview(bytearray(3100)))
        connection.send_error(7, 0x0400, "full")
    drain(connection)
    return connection


def authenticating(role: Role) -> Connection:
    """AUTH was said and has no answer."""
    if role is Role.CLIENT:
        connection = fresh(role)
        asks = {"agent": "s", "server_id": "s", "epoch": "e", "auth": ["bearer"]}
        connection.receive(PREFACE + raw(FrameType.HELLO, 0, asks, flags=Flag.ACK))
        connection.authenticate("bearer", "secret")
    else:
        connection = Connection(role, Settings(agent="x", auth=("bearer",)))
        connection.receive(PREFACE + HELLO + raw(FrameType.AUTH, 0, {"mechanism": "bearer", "token": "secret"}))
    drain(connection)
    assert connection.state is State.AUTHENTICATING
    return connection


STATES: dict[str, Callable[[Role], Connection]] = {
    "fresh": fresh,
    "prefaced": prefaced,
    "ready": ready,
    "busy": busy,
    "draining": draining,
    "uploading": uploading,
    "authenticating": authenticating,
}
places = st.tuples(st.sampled_from(Role), st.sampled_from(sorted(STATES)))

small_ints = st.sampled_from([0, 1, 2, 3, 4, 5, 7, 8, 9, 2**16, 2**31 - 1, 2**31, 2**32 - 1])
heads = (
    st.none()
    | st.binary(max_size=12)
    | st.sampled_from(
        [
            STATUS,
            {},
            {"n": 5},
            {"n": 0},
            {"n": 2**31},
            {"code": 5},
            {"job": "j"},
            {"last_stream": 0, "code": 0},
            {"crit": ["x"], "n": 1},
            {"mechanism": "bearer", "token": "x"},
            {"principal": "alice"},
            {"what": "jobs"},
            {"what": "jobs", "tag": "a"},
            {"action": "pause", "reason": "x"},
            {"action": "cancel", "crit": ["principal"]},
            head_of(5) | {"priority": "high", "timeout_ms": 1, "tags": ["a"]},
            head_of(5),
            head_of(5) | {"attachments": [{}]},
        ]
    )
)
frames = st.builds(
    raw,
    st.one_of(st.sampled_from([int(kind) for kind in FrameType]), st.integers(0, 255)),
    small_ints,
    heads,
    st.binary(max_size=20),
    st.sampled_from([0, 0, 1, 1, 2, 255]),
)
odd_headers = st.builds(
    raw,
    st.integers(0, 255),
    small_ints,
    st.none(),
    st.just(b""),
    length=st.integers(0, 2**24 - 1),
    head_size=st.integers(0, 99),
)


def ended_by_peer(incoming: list[Incoming]) -> bool:
    """Whether the last item is the peer's goodbye or its error on stream 0: it is reported as what it is."""
    last = incoming[-1] if incoming else None
    if not isinstance(last, Received):
        return False
    return isinstance(last.message, m.GoAway) or (isinstance(last.message, m.Error) and last.stream == 0)


def check(connection: Connection, data: bytes) -> list[Incoming]:
    """Give it the bytes; see that the result is well-formed and that what it answers is well-formed."""
    incoming = connection.receive(data)
    for position, item in enumerate(incoming):
        assert isinstance(item, Received | Failed | Ready | AuthNeeded)
        assert not isinstance(item, Failed) or position == len(incoming) - 1
    failed = bool(incoming) and isinstance(incoming[-1], Failed)
    if connection.state is State.FAILED:
        assert failed or ended_by_peer(incoming)
    assert connection.state is State.FAILED or not failed
    answer = drain(connection)
    sent = cut_frames(answer) if answer else []
    if failed and sent:
        assert sent[-1].type == FrameType.GOAWAY
    if failed:
        assert connection.receive(data) == []
        assert not connection.has_output
        assert connection.open_streams == 0
    for frame in sent:
        head = b"" if frame.head is None else msgpack.packb(frame.head)
        m.decode(Frame(frame.type, frame.flags, frame.stream, head, frame.tail))
    return incoming


@settings(max_examples=300)
@given(places, st.binary(max_size=400))
def test_any_bytes(place: tuple[Role, str], data: bytes) -> None:
    role, state = place
    check(STATES[state](role), data)


@settings(max_examples=300)
@given(places, st.lists(frames | odd_headers, max_size=6), st.binary(max_size=30))
def test_any_frames(place: tuple[Role, str], parts: list[bytes], rest: bytes) -> None:
    role, state = place
    check(STATES[state](role), b"".join(parts) + rest)


@settings(max_examples=60)
@given(places, st.lists(st.tuples(any_message, small_ints, st.booleans()), max_size=5))
def test_any_messages(place: tuple[Role, str], parts: list[tuple[m.Message, int, bool]]) -> None:
    role, state = place
    data = b""
    for message, stream, end in parts:
        data += b"".join(m.encode(message, min(stream, 2**31 - 1), Flag.END if end else 0))
    check(STATES[state](role), data)


@settings(max_examples=200)
@given(st.sampled_from(Role), st.data())
def test_damaged_sessions(role: Role, data: st.DataObject) -> None:
    """A good session with a few bytes changed, dropped or doubled."""
    session = bytearray(to_server() if role is Role.SERVER else PREFACE + WELCOME + to_client(30_000))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, min(len(session) - 1, 900)))
        match data.draw(st.sampled_from(["change", "drop", "double"])):
            case "change":
                session[position] = data.draw(st.integers(0, 255))
            case "drop":
                del session[position]
            case "double":
                session.insert(position, session[position])
    connection = fresh(role)
    if role is Role.CLIENT:
        drain(connection)
    check(connection, bytes(session))


@settings(max_examples=150)
@given(places, st.lists(frames, max_size=4), st.integers(1, 50))
def test_any_frames_in_any_pieces(place: tuple[Role, str], parts: list[bytes], size: int) -> None:
    role, state = place
    data = b"".join(parts)
    expected = plain(STATES[state](role).receive(data))
    connection = STATES[state](role)
    got = [item for i in range(0, len(data), size) for item in connection.receive(data[i : i + size])]
    assert plain(got) == expected


CALLS: dict[str, Callable[[Connection, int], Any]] = {
    "open": lambda connection, stream: connection.open(m.Status("j")),
    "result": lambda connection, stream: connection.send(stream, m.Result(STATUS)),
    "progress": lambda connection, stream: connection.send(stream, m.Event({"event": "progress"})),
    "data": lambda connection, stream: connection.send_data(stream, b"x", end=True),
    "upload": lambda connection, stream: connection.open(upload(5)),
    "some": lambda connection, stream: connection.send_data(stream, b"xy"),
    "authenticate": lambda connection, stream: connection.authenticate("bearer", "secret"),
    "accept": lambda connection, stream: connection.accept_auth("alice"),
    "error": lambda connection, stream: connection.send_error(stream, 0x010B, "x"),
    "reset": lambda connection, stream: connection.reset(stream),
    "ping": lambda connection, stream: connection.ping(b"12345678"),
    "goaway": lambda connection, stream: connection.goaway(0x0403, "x"),
    "consumed": lambda connection, stream: connection.consumed(stream, 1),
    "sink": lambda connection, stream: connection.set_sink(stream, memoryview(bytearray(100))),
    "unsent": lambda connection, stream: connection.unsent(stream),
    "output": lambda connection, stream: connection.data_to_send(),
    "eof": lambda connection, stream: connection.receive_eof(),
}


@settings(max_examples=150)
@given(places, st.lists(frames, max_size=3), st.data())
def test_local_calls_at_any_time(place: tuple[Role, str], parts: list[bytes], data: st.DataObject) -> None:
    """Whatever came before, a local call either works, does nothing, or raises LocalProtocolError."""
    role, state = place
    connection = STATES[state](role)
    streams = st.integers(-1, 9)
    for part in [*parts, b""]:
        rest = part
        if data.draw(st.booleans()):  # some of it by the buffer, with the calls in between
            place = connection.get_buffer()
            count = min(len(place), len(rest))
            place[:count], rest = rest[:count], rest[count:]
        else:
            count = 0
        for name in data.draw(st.lists(st.sampled_from(sorted(CALLS)), max_size=4)):
            with contextlib.suppress(LocalProtocolError):
                CALLS[name](connection, data.draw(streams))
        if count:
            connection.buffer_updated(count)
        connection.receive(rest)
    drain(connection)
    ends = connection.receive_eof()
    assert all(isinstance(item, Closed | Failed) for item in ends[-1:])
    # Uploads that lack bytes are over with them.
    assert all(isinstance(item, Received) and isinstance(item.message, m.Reset) for item in ends[:-1])


@given(st.binary(max_size=200))
def test_any_parameters(tail: bytes) -> None:
    with contextlib.suppress(ParamError):
        parse(tail)


names = st.sampled_from([*STATUS, "artifacts", "error", "timings", "x"])
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=8),
    max_leaves=30,
)


@given(anything)
def test_any_status_map(value: Any) -> None:
    for candidate in (value, STATUS | value if isinstance(value, dict) else value):
        with contextlib.suppress(RemoteProtocolError):
            JobStatus.from_map(candidate)


def test_the_example_sessions_are_clean() -> None:
    """What the damaged sessions start from does not fail by itself."""
    for role, session in ((Role.SERVER, to_server()), (Role.CLIENT, PREFACE + WELCOME)):
        incoming = check(fresh(role), session)
        assert not any(isinstance(item, Failed) for item in incoming)
    assert HELLO
    assert TAIL


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("role", Role)
def test_every_single_byte(role: Role, state: str) -> None:
    for byte in range(256):
        check(STATES[state](role), bytes([byte]) * 13)
