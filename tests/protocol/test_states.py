"""The transition tables themselves: complete, closed, reachable, and obeyed by the Connection for random inputs."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from protocol_pair import END, STATUS, TAIL, drain, raw, ready

from pixwire_protocol import messages as m
from pixwire_protocol.connection import Connection, Failed, Role, Settings, State
from pixwire_protocol.errors import LocalProtocolError
from pixwire_protocol.heads import MESSAGES
from pixwire_protocol.registry import PREFACE, Flag, FrameType
from pixwire_protocol.rules import EXTENSIONS, KNOWN_TYPES, RULES, rule_key
from pixwire_protocol.states import (
    CONNECTION,
    REQUEST_KINDS,
    STREAMS,
    UPLOAD,
    Input,
    StreamInput,
    StreamKind,
    StreamState,
    UploadInput,
    UploadState,
)
from pixwire_protocol.status import JOB_TRANSITIONS, JobState


@pytest.mark.parametrize("role", Role)
def test_every_state_has_a_row_and_is_reachable(role: Role) -> None:
    table = CONNECTION[role]
    assert set(table) == set(State)
    reached = {State.START}
    for _ in State:
        reached |= {target for state in reached for target in table[state].values()}
    assert reached == set(State)
    assert not table[State.CLOSED]
    assert all(Input.FAIL in table[state] for state in State if state < State.FAILED)
    assert all(Input.RECV_EOF in table[state] for state in State if state < State.CLOSED)
    used = {happened for row in table.values() for happened in row}
    only_here = {
        Role.CLIENT: {
            Input.RECV_WELCOME,
            Input.RECV_AUTH_OK,
            Input.SEND_AUTH,
            Input.SEND_REQUEST,
            Input.SEND_DATA,
        },
        Role.SERVER: {
            Input.RECV_HELLO,
            Input.RECV_AUTH,
            Input.SEND_AUTH_OK,
            Input.RECV_REQUEST,
            Input.SEND_REPLY,
        },
    }
    assert used == set(Input) - set().union(*(inputs for other, inputs in only_here.items() if other is not role))


@pytest.mark.parametrize("kind", StreamKind)
def test_every_stream_ends(kind: StreamKind) -> None:
    table = STREAMS[kind]
    assert not table[StreamState.CLOSED]
    for state, row in table.items():
        if state is StreamState.CLOSED:
            continue
        assert row[StreamInput.ERROR] is row[StreamInput.RESET] is StreamState.CLOSED
        assert set(row.values()) <= set(table)
        for happened, target in row.items():
            if happened.name.endswith("_END"):
                assert target is StreamState.CLOSED
            elif happened not in (StreamInput.ERROR, StreamInput.RESET):
                assert target is not StreamState.CLOSED
    assert set(REQUEST_KINDS) == {m.Submit, m.Status, m.Cancel, m.Watch, m.List, m.Admin, m.Fetch}


def test_every_upload_is_answered_and_then_stays_so() -> None:
    assert set(UPLOAD) == set(UploadState)
    assert UPLOAD[UploadState.ANSWERED] == {UploadInput.LATE: UploadState.ANSWERED}
    for state in (UploadState.SENDING, UploadState.COMPLETE):
        assert UPLOAD[state][UploadInput.RESULT] is UploadState.ANSWERED
    assert not {UploadInput.DATA, UploadInput.DATA_END} & set(UPLOAD[UploadState.COMPLETE])
    assert {happened for row in UPLOAD.values() for happened in row} == set(UploadInput)


def test_terminal_job_states_lead_nowhere() -> None:
    assert {state for state in JobState if state.terminal} == {
        JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED,
    }  # fmt: skip
    assert all(target is not state for state, targets in JOB_TRANSITIONS.items() for target in targets)


@pytest.mark.req("PXW-FRM-017", "PXW-FRM-018")
def test_rules_cover_exactly_what_the_registry_says() -> None:
    for role in Role:
        for frame_type, flags in itertools.product(range(256), range(256)):
            rule = RULES[role].get(rule_key(frame_type, flags))
            if rule is None:
                continue
            spec = rule.codec.spec
            assert spec.type == frame_type
            assert spec.sender in ("both", "server" if role is Role.CLIENT else "client")
            assert flags in (0, 1)
            if spec.end in ("never", "required"):
                assert rule.end == (spec.end == "required")
            assert (rule.on_zero is not None) or (rule.on_stream is not None)
    assert set(KNOWN_TYPES) == {spec.type for spec in MESSAGES.values()}
    assert not set(KNOWN_TYPES) & set(EXTENSIONS)


# ---------------------------------------------------------------------- the Connection and its tables

STREAM_FRAMES = {
    StreamInput.RESULT: raw(FrameType.RESULT, 1, STATUS),
    StreamInput.RESULT_END: raw(FrameType.RESULT, 1, STATUS, flags=END),
    StreamInput.EVENT: raw(FrameType.EVENT, 1, STATUS),
    StreamInput.EVENT_END: raw(FrameType.EVENT, 1, STATUS, flags=END),
    StreamInput.PREVIEW: raw(
        FrameType.PREVIEW,
        1,
        {"job": "j", "seq": 1, "step": 1, "steps": 2, "media_type": "image/png", "width": 1, "height": 1},
    ),
    StreamInput.DATA: raw(FrameType.DATA, 1, tail=b"x"),
    StreamInput.DATA_END: raw(FrameType.DATA, 1, tail=b"x", flags=END),
    StreamInput.ERROR: raw(FrameType.ERROR, 1, {"code": 5}, flags=END),
    StreamInput.RESET: raw(FrameType.RESET, 1, {"code": 5}),
}
OPENINGS: dict[StreamKind, m.Request] = {
    StreamKind.UNARY: m.Status("j"),
    StreamKind.WATCH: m.Watch("j"),
    StreamKind.TRANSFER: m.Fetch("j"),
}


@given(st.sampled_from(StreamKind), st.lists(st.sampled_from(StreamInput), max_size=8))
def test_a_client_follows_the_stream_table(kind: StreamKind, inputs: list[StreamInput]) -> None:
    connection = ready(Role.CLIENT)
    connection.open(OPENINGS[kind])
    drain(connection)
    state = StreamState.OPEN
    for happened in inputs:
        incoming = connection.receive(STREAM_FRAMES[happened])
        if state is StreamState.CLOSED:
            assert incoming == []
            continue
        following = STREAMS[kind][state].get(happened)
        if following is None:
            assert isinstance(incoming[-1], Failed)
            assert connection.state is State.FAILED
            return
        assert len(incoming) == 1
        state = following
        assert connection.open_streams == (state is not StreamState.CLOSED)
    assert connection.state is State.READY


@given(st.sampled_from(StreamKind), st.lists(st.sampled_from(StreamInput), max_size=8))
def test_a_server_follows_the_stream_table(kind: StreamKind, inputs: list[StreamInput]) -> None:
    connection = ready(Role.SERVER)
    connection.receive(b"".join(m.encode(OPENINGS[kind], 1, Flag.END)))
    calls: dict[StreamInput, Any] = {
        StreamInput.RESULT: lambda: connection.send(1, m.Result({})),
        StreamInput.RESULT_END: lambda: connection.send(1, m.Result({}), end=True),
        StreamInput.EVENT: lambda: connection.send(1, m.Event({})),
        StreamInput.EVENT_END: lambda: connection.send(1, m.Event({}), end=True),
        StreamInput.PREVIEW: lambda: connection.send(1, m.Preview("j", 1, 1, 2, "image/png", 1, 1, b"x")),
        StreamInput.DATA: lambda: connection.send_data(1, b"x"),
        StreamInput.DATA_END: lambda: connection.send_data(1, b"x", end=True),
        StreamInput.ERROR: lambda: connection.send_error(1, 5, "x"),
        StreamInput.RESET: lambda: connection.reset(1),
    }
    state = StreamState.OPEN
    for happened in inputs:
        following = STREAMS[kind][state].get(happened)
        if state is StreamState.CLOSED:
            assert calls[happened]() is False
        elif following is None:
            with pytest.raises(LocalProtocolError):
                calls[happened]()
        else:
            assert calls[happened]() is True
            state = following
    drain(connection)
    assert connection.open_streams == (state is not StreamState.CLOSED)


CONNECTION_FRAMES = {
    Input.RECV_HELLO: raw(FrameType.HELLO, 0, {"agent": "x"}),
    Input.RECV_WELCOME: raw(FrameType.HELLO, 0, {"agent": "x", "server_id": "s", "epoch": "e"}, flags=Flag.ACK),
    Input.RECV_AUTH: raw(FrameType.AUTH, 0, {"mechanism": "bearer", "token": "secret"}),
    Input.RECV_AUTH_OK: raw(FrameType.AUTH, 0, {"principal": "alice"}, flags=Flag.ACK),
    Input.RECV_PING: raw(FrameType.PING, 0, tail=b"12345678"),
    Input.RECV_PONG: raw(FrameType.PING, 0, tail=b"12345678", flags=Flag.ACK),
    Input.RECV_CREDIT: raw(FrameType.CREDIT, 0, {"n": 5}),
    Input.RECV_ERROR: raw(FrameType.ERROR, 0, {"code": 5}),
    Input.RECV_GOAWAY: raw(FrameType.GOAWAY, 0, {"last_stream": 0, "code": 0}),
    Input.RECV_EXTENSION: raw(0x99, 0, tail=b"x"),
}
WELCOME_AUTH = raw(
    FrameType.HELLO, 0, {"agent": "x", "server_id": "s", "epoch": "e", "auth": ["bearer"]}, flags=Flag.ACK
)


@given(
    st.sampled_from(Role),
    st.booleans(),
    st.lists(
        st.sampled_from([*CONNECTION_FRAMES, Input.RECV_REQUEST, Input.RECV_EOF, Input.SEND_AUTH, Input.SEND_AUTH_OK]),
        max_size=12,
    ),
)
def test_a_connection_follows_its_table(role: Role, needs_auth: bool, inputs: list[Input]) -> None:
    auth = ("bearer",) if needs_auth and role is Role.SERVER else ()
    connection = Connection(role, Settings(agent="x", auth=auth))
    connection.receive(PREFACE)
    assert connection.state is State.PREFACED
    stream = -1
    ended = pending = False
    for happened in inputs:
        before = connection.state
        greeting = happened is (Input.RECV_HELLO if role is Role.SERVER else Input.RECV_WELCOME)
        expected = CONNECTION[role][before].get(Input.AUTH_NEEDED if greeting and needs_auth else happened)
        if happened in (Input.SEND_AUTH, Input.SEND_AUTH_OK):
            # What the program says; whether an AUTH is due or waits is not the table's business.
            due = happened is Input.SEND_AUTH and isinstance(connection.peer, m.Welcome) and needs_auth
            due = due and not pending if role is Role.CLIENT else happened is Input.SEND_AUTH_OK and pending
            if connection.state >= State.FAILED:
                assert not say(connection, happened)
            elif due and expected is not None:
                assert say(connection, happened)
                assert connection.state is expected
                pending = role is Role.CLIENT
            else:
                with pytest.raises(LocalProtocolError):
                    say(connection, happened)
            continue
        if happened is Input.RECV_EOF:
            connection.receive_eof()
            ended = True
        elif happened is Input.RECV_REQUEST:
            stream += 2
            connection.receive(raw(FrameType.SUBMIT, stream, {"job": "j", "kind": "k"}, TAIL, END))
        else:
            frame = WELCOME_AUTH if happened is Input.RECV_WELCOME and needs_auth else CONNECTION_FRAMES[happened]
            connection.receive(frame)
        if happened is Input.RECV_AUTH and expected is not None:
            expected = expected if needs_auth and not pending else State.FAILED
            pending = not ended or pending
        if happened is Input.RECV_AUTH_OK and expected is not None:
            expected = expected if pending else State.FAILED
            pending = pending and ended
        if before in (State.FAILED, State.CLOSED) or (ended and happened is not Input.RECV_EOF):
            assert connection.state is (expected if happened is Input.RECV_EOF and expected is not None else before)
        else:
            assert connection.state is (State.FAILED if expected is None else expected)


def say(connection: Connection, what: Input) -> bool:
    if what is Input.SEND_AUTH:
        return connection.authenticate("bearer", "secret")
    return connection.accept_auth("alice")


def test_local_calls_follow_the_table() -> None:
    for role in Role:
        connection = Connection(role, Settings(agent="x"))
        for state in (State.START, State.PREFACED):
            assert connection.state is state
            with pytest.raises(LocalProtocolError, match=state.name):
                connection.ping(b"12345678")
            connection.receive(PREFACE)
