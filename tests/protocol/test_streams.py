"""Streams: ids, legal orders, endings from both sides, late frames, refusals, unknown frames."""

from typing import Any

import pytest
from protocol_pair import (
    END,
    STATUS,
    TAIL,
    Pair,
    cut_frames,
    drain,
    fetching,
    raw,
    ready,
    received,
    request,
    submit,
    the_error,
    watch,
)

from pixwire_protocol import messages as m
from pixwire_protocol.connection import Received, Role, State
from pixwire_protocol.errors import DrainingError, LocalProtocolError, TooManyStreamsError
from pixwire_protocol.registry import MAX_STREAM, ErrorCode, Flag, FrameType
from pixwire_protocol.states import StreamKind, kind_of

ERROR = raw(FrameType.ERROR, 1, {"code": 0x010B}, flags=END)
RESET = raw(FrameType.RESET, 1, {"code": 0})
CREDIT = raw(FrameType.CREDIT, 1, {"n": 5})


def test_kinds() -> None:
    assert kind_of(submit()) is StreamKind.UNARY
    assert kind_of(submit(watch=True)) is kind_of(submit(deliver=True)) is kind_of(watch()) is StreamKind.WATCH
    assert kind_of(m.Fetch("j")) is StreamKind.TRANSFER
    assert kind_of(m.Status("j")) is kind_of(m.Cancel("j")) is StreamKind.UNARY


@pytest.mark.req("PXW-STR-001", "PXW-STR-002", "PXW-STR-006")
def test_requests_get_rising_odd_ids_and_end() -> None:
    pair = Pair()
    assert [pair.client.open(m.Status("j")) for _ in range(3)] == [1, 3, 5]
    frames = cut_frames(drain(pair.client))
    assert [(frame.stream, frame.flags) for frame in frames] == [(1, END), (3, END), (5, END)]


def test_ids_run_out_after_a_billion() -> None:
    connection = ready(Role.CLIENT)
    connection._machine.last_stream = MAX_STREAM - 2
    assert connection.open(m.Status("j")) == MAX_STREAM
    with pytest.raises(DrainingError, match="used up"):
        connection.open(m.Status("j"))


@pytest.mark.parametrize("message", [m.Result({}), m.Ping(b"12345678"), m.Credit(5), m.Hello("x"), m.Reset(0)])
def test_only_requests_open_streams(message: Any) -> None:
    with pytest.raises(LocalProtocolError, match="not a request"):
        ready(Role.CLIENT).open(message)


def test_a_failed_open_uses_no_id() -> None:
    connection = ready(Role.CLIENT)
    with pytest.raises(LocalProtocolError, match="job"):
        connection.open(m.Status("not a job"))
    assert connection.open_streams == 0
    assert connection.open(m.Status("j")) == 1


@pytest.mark.req("PXW-STR-004")
def test_a_server_opens_nothing_and_a_client_answers_nothing() -> None:
    server, client = ready(Role.SERVER), ready(Role.CLIENT)
    with pytest.raises(LocalProtocolError, match="only clients"):
        server.open(m.Status("j"))
    stream = client.open(m.Status("j"))
    for call in (
        lambda: client.send(stream, m.Result({}), end=True),
        lambda: client.send_data(stream, b"x"),
        lambda: client.send_error(stream, ErrorCode.INTERNAL, "x"),
    ):
        with pytest.raises(LocalProtocolError, match="client"):
            call()


def test_calls_on_streams_that_never_were() -> None:
    connection = ready(Role.SERVER)
    connection.receive(request(5))
    for stream in (0, -1, 2, 7, 10**12):
        for call in (
            lambda stream=stream: connection.send(stream, m.Result({}), end=True),
            lambda stream=stream: connection.send_data(stream, b"x"),
            lambda stream=stream: connection.send_error(stream, ErrorCode.INTERNAL, "x"),
            lambda stream=stream: connection.reset(stream),
            lambda stream=stream: connection.consumed(stream, 1),
        ):
            with pytest.raises(LocalProtocolError, match="never opened"):
                call()
    assert not connection.send(3, m.Result({}), end=True)  # skipped, so it is over


@pytest.mark.req(
    "PXW-STR-003", "PXW-STR-005", "PXW-STR-007", "PXW-FRM-008", "PXW-FRM-012", "PXW-FRM-016", "PXW-FRM-018"
)
@pytest.mark.parametrize(
    ("what", "data", "code"),
    [
        ("even id", request(2), ErrorCode.STREAM_ID),
        ("falling id", request(5) + request(3), ErrorCode.STREAM_ID),
        ("same id", request(5) + request(5), ErrorCode.STREAM_ID),
        ("top bit", raw(FrameType.STATUS, 2**31 + 1, {"job": "j"}, flags=END), ErrorCode.STREAM_ID),
        ("request on stream 0", request(0), ErrorCode.PROTOCOL_ERROR),
        ("request without END", request(1, flags=0), ErrorCode.PROTOCOL_ERROR),
        ("request with reserved flag", request(1, flags=END | 2), ErrorCode.PROTOCOL_ERROR),
        ("PING on a stream", raw(FrameType.PING, 1, tail=b"12345678"), ErrorCode.PROTOCOL_ERROR),
        ("GOAWAY on a stream", raw(FrameType.GOAWAY, 1, {"last_stream": 0, "code": 0}), ErrorCode.PROTOCOL_ERROR),
        ("RESET on stream 0", raw(FrameType.RESET, 0, {"code": 0}), ErrorCode.PROTOCOL_ERROR),
        ("RESET with END", raw(FrameType.RESET, 1, {"code": 0}, flags=END), ErrorCode.PROTOCOL_ERROR),
        ("RESET of an idle stream", RESET, ErrorCode.STREAM_ID),
        ("CREDIT for an idle stream", CREDIT, ErrorCode.STREAM_ID),
        ("ERROR on an idle stream", ERROR, ErrorCode.STREAM_ID),
        ("ERROR on a stream without END", raw(FrameType.ERROR, 1, {"code": 5}), ErrorCode.PROTOCOL_ERROR),
        ("ERROR on stream 0 with END", raw(FrameType.ERROR, 0, {"code": 5}, flags=END), ErrorCode.PROTOCOL_ERROR),
        ("RESULT from a client", request(1) + raw(FrameType.RESULT, 1, {"a": 1}), ErrorCode.PROTOCOL_ERROR),
        ("DATA from a client", request(1) + raw(FrameType.DATA, 1, tail=b"x"), ErrorCode.PROTOCOL_ERROR),
        ("WELCOME from a client", raw(FrameType.HELLO, 0, {"agent": "x"}, flags=Flag.ACK), ErrorCode.PROTOCOL_ERROR),
        ("unknown type on stream 0", raw(0x42, 0), ErrorCode.PROTOCOL_ERROR),
        ("reserved type UPLOAD", raw(0x14, 0, {"job": "j"}), ErrorCode.PROTOCOL_ERROR),
        ("AUTH_OK from a client", raw(0x02, 0, {"principal": "x"}, flags=Flag.ACK), ErrorCode.PROTOCOL_ERROR),
        ("unknown type on an even stream", raw(0x42, 2), ErrorCode.STREAM_ID),
    ],
)
def test_what_a_client_must_not_send(what: str, data: bytes, code: ErrorCode) -> None:
    connection = ready(Role.SERVER)
    assert the_error(connection.receive(data)).code is code
    goaway = cut_frames(drain(connection))[-1]
    assert goaway.type == FrameType.GOAWAY
    assert goaway.head is not None
    assert goaway.head["code"] == code
    assert goaway.head["message"]
    assert connection.receive(request(99)) == []


@pytest.mark.req("PXW-FRM-007", "PXW-FRM-013", "PXW-FRM-014", "PXW-FRM-015", "PXW-MSG-001", "PXW-MSG-002")
@pytest.mark.parametrize(
    ("data", "code"),
    [
        (raw(FrameType.STATUS, 1, {"job": "j"}, flags=END, length=5, head_size=6), ErrorCode.PROTOCOL_ERROR),
        (raw(FrameType.STATUS, 1, {"job": "j"}, b"tail", END), ErrorCode.PROTOCOL_ERROR),
        (raw(FrameType.STATUS, 1, None, flags=END), ErrorCode.BAD_HEAD),
        (raw(FrameType.SUBMIT, 1, None, TAIL, END), ErrorCode.BAD_HEAD),
        (raw(FrameType.STATUS, 1, b"\x90", flags=END), ErrorCode.BAD_HEAD),
        (raw(FrameType.STATUS, 1, b"\x81\xa3job\xa1j\x00", flags=END), ErrorCode.BAD_HEAD),
        (raw(FrameType.STATUS, 1, b"\x81\xa3job", flags=END), ErrorCode.BAD_HEAD),
        (raw(FrameType.PING, 0, tail=b"1234567"), ErrorCode.PROTOCOL_ERROR),
        (raw(FrameType.PING, 0, tail=b"123456789"), ErrorCode.PROTOCOL_ERROR),
        (raw(FrameType.PING, 0, {"a": 1}), ErrorCode.PROTOCOL_ERROR),
        (raw(FrameType.PING, 0, b"\x80", b"12345678"), ErrorCode.PROTOCOL_ERROR),
        (raw(FrameType.CREDIT, 0, {"n": 1}, b"x"), ErrorCode.PROTOCOL_ERROR),
    ],
)
def test_wrong_shapes(data: bytes, code: ErrorCode) -> None:
    assert the_error(ready(Role.SERVER).receive(data)).code is code


# ---------------------------------------------------------------------- what servers may send


@pytest.mark.req("PXW-STR-009", "PXW-STR-010", "PXW-STR-012")
def test_the_orders_a_server_may_use() -> None:
    result, event, data = m.Result({"job": "j"}), m.Event({"event": "state"}), b"bytes"
    preview = m.Preview("j", 1, 1, 8, "image/png", 8, 8, b"x")
    scripts: list[tuple[m.Request, list[tuple[Any, bool]]]] = [
        (m.Status("j"), [(result, True)]),
        (submit(), [(result, True)]),
        (m.Fetch("j"), [(result, True)]),
        (m.Fetch("j"), [(result, False), (data, False), (data, True)]),
        (m.Fetch("j"), [(result, False), (b"", True)]),
        (watch(), [(result, True)]),
        (watch(), [(result, False), (event, False), (preview, False), (event, True)]),
        (watch(), [(result, False), (event, False), (result, False), (data, False), (result, False), (data, True)]),
        (watch(), [(result, False), (result, False), (data, False), (result, True)]),
        (submit(watch=True), [(result, False), (event, True)]),
    ]
    for opening, script in scripts:
        pair = Pair()
        stream = pair.open(opening)
        for message, end in script:
            if isinstance(message, bytes):
                assert pair.server.send_data(stream, message, end)
            else:
                assert pair.server.send(stream, message, end)
        pair.settle()
        arrived = [(item.message, item.end) for item in received(pair.at_client)]
        expected = [(m.Data(part) if isinstance(part, bytes) else part, end) for part, end in script]
        assert [(message, end) for message, end in arrived if message != preview] == [
            (message, end) for message, end in expected if message != preview
        ]
        assert pair.client.open_streams == pair.server.open_streams == 0


@pytest.mark.req("PXW-STR-011", "PXW-STR-012")
@pytest.mark.parametrize(
    ("opening", "before", "wrong"),
    [
        (m.Status("j"), [], (m.Result({}), False)),
        (m.Status("j"), [], (m.Event({}), False)),
        (m.Status("j"), [], (b"data", False)),
        (m.Fetch("j"), [], (b"data", False)),
        (m.Fetch("j"), [m.Result({})], (m.Result({}), False)),
        (m.Fetch("j"), [m.Result({})], (m.Event({}), False)),
        (watch(), [], (m.Event({}), False)),
        (watch(), [m.Result({})], (b"data", False)),
        (watch(), [m.Result({}), m.Result({}), b"data"], (m.Event({}), False)),
        (watch(), [m.Result({})], (m.Preview("j", 1, 1, 8, "image/png", 8, 8, b"x"), True)),
        (watch(), [m.Result({})], (m.Event({"event": "progress"}), True)),
        (watch(), [m.Result({})], (m.Reset(0), False)),
    ],
)
def test_an_illegal_order_is_refused_here_and_changes_nothing(
    opening: Any, before: list[Any], wrong: tuple[Any, bool]
) -> None:
    pair = Pair()
    stream = pair.open(opening)

    def send(message: Any, end: bool) -> Any:
        return (pair.server.send_data if isinstance(message, bytes) else pair.server.send)(stream, message, end)

    for message in before:
        send(message, False)
    with pytest.raises(LocalProtocolError):
        send(*wrong)
    assert pair.server.send_error(stream, ErrorCode.INTERNAL, "after all")
    pair.settle()
    assert isinstance(received(pair.at_client)[-1].message, m.Error)


@pytest.mark.req("PXW-STR-005", "PXW-STR-013", "PXW-FLW-013")
@pytest.mark.parametrize(
    ("opening", "data", "code"),
    [
        (m.Status("j"), raw(FrameType.RESULT, 1, STATUS), ErrorCode.PROTOCOL_ERROR),
        (m.Status("j"), raw(FrameType.EVENT, 1, STATUS), ErrorCode.PROTOCOL_ERROR),
        (m.Status("j"), raw(FrameType.DATA, 1, tail=b"x"), ErrorCode.PROTOCOL_ERROR),
        (m.Fetch("j"), raw(FrameType.DATA, 1, tail=b"x"), ErrorCode.PROTOCOL_ERROR),
        (m.Fetch("j"), raw(FrameType.RESULT, 1, STATUS) * 2, ErrorCode.PROTOCOL_ERROR),
        (m.Fetch("j"), raw(FrameType.RESULT, 1, STATUS) + raw(FrameType.DATA, 1), ErrorCode.PROTOCOL_ERROR),
        (watch(), raw(FrameType.EVENT, 1, STATUS), ErrorCode.PROTOCOL_ERROR),
        (watch(), raw(FrameType.RESULT, 1, STATUS) + raw(FrameType.DATA, 1, tail=b"x"), ErrorCode.PROTOCOL_ERROR),
        (watch(), raw(FrameType.RESULT, 3, STATUS), ErrorCode.STREAM_ID),
        (watch(), raw(FrameType.RESULT, 2, STATUS), ErrorCode.STREAM_ID),
        (watch(), raw(FrameType.RESULT, 0, STATUS), ErrorCode.PROTOCOL_ERROR),
        (watch(), raw(FrameType.STATUS, 1, {"job": "j"}, flags=END), ErrorCode.PROTOCOL_ERROR),
        (watch(), raw(FrameType.RESULT, 1, b"\x90"), ErrorCode.BAD_HEAD),
        (watch(), raw(FrameType.PREVIEW, 1, {"job": "j"}), ErrorCode.PROTOCOL_ERROR),
    ],
)
def test_what_a_server_must_not_send(opening: Any, data: bytes, code: ErrorCode) -> None:
    connection = ready(Role.CLIENT)
    connection.open(opening)
    drain(connection)
    assert the_error(connection.receive(data)).code is code
    assert cut_frames(drain(connection))[-1].type == FrameType.GOAWAY


def test_a_wrong_field_in_an_event_costs_the_connection() -> None:
    connection = ready(Role.CLIENT)
    connection.open(watch())
    preview = raw(FrameType.PREVIEW, 1, {"job": "j", "seq": 1.0}, b"x")
    assert the_error(connection.receive(raw(FrameType.RESULT, 1, STATUS) + preview)).code is ErrorCode.BAD_HEAD


# ---------------------------------------------------------------------- endings


@pytest.mark.req("PXW-STR-014")
def test_an_error_ends_the_stream_and_says_what_to_do() -> None:
    pair = Pair()
    stream = pair.open(m.Status("j"))
    assert pair.server.send_error(stream, ErrorCode.JOB_NOT_FOUND, "no job j", details={"field": "job"})
    pair.settle()
    (item,) = received(pair.at_client)
    assert item.end
    assert item.message == m.Error(0x0302, "JOB_NOT_FOUND", "no job j", "no", "no", None, {"field": "job"})
    assert pair.client.open_streams == pair.server.open_streams == 0
    assert not pair.server.send_error(stream, ErrorCode.INTERNAL, "again")


@pytest.mark.req("PXW-STR-015", "PXW-STR-018")
def test_reset_by_the_client() -> None:
    pair = Pair()
    stream = pair.open(watch())
    pair.server.send(stream, m.Result(STATUS))
    pair.settle()
    pair.server.send(stream, m.Event({"event": "progress"}))  # crosses the reset
    assert pair.client.reset(stream, ErrorCode.NO_ERROR)
    assert not pair.client.reset(stream)
    pair.forget()
    pair.settle()
    assert pair.at_client == []
    assert received(pair.at_server) == [Received(stream, m.Reset(0, "NO_ERROR"), True)]
    assert not pair.server.send(stream, m.Event({"event": "state"}), end=True)
    assert not pair.server.send_data(stream, b"x")
    assert not pair.server.reset(stream)
    assert pair.client.open_streams == pair.server.open_streams == 0


def test_reset_of_a_request_that_was_not_sent() -> None:
    pair = Pair()
    stream = pair.client.open(watch())
    pair.client.reset(stream)
    pair.settle()
    assert [type(item.message) for item in received(pair.at_server)] == [m.Watch, m.Reset]
    assert pair.client.open_streams == pair.server.open_streams == 0


@pytest.mark.req("PXW-STR-016")
def test_reset_by_the_server_is_not_answered() -> None:
    pair = Pair()
    stream = pair.open(watch())
    assert pair.server.reset(stream, ErrorCode.INTERNAL)
    pair.to_client()
    assert received(pair.at_client) == [Received(stream, m.Reset(0x010B, "INTERNAL"), True)]
    assert not pair.client.has_output
    assert not pair.client.reset(stream)
    assert pair.client.open_streams == pair.server.open_streams == 0


def test_an_error_from_the_client_ends_the_stream_like_a_reset() -> None:
    connection = ready(Role.SERVER)
    connection.receive(raw(FrameType.WATCH, 1, {"job": "j"}, flags=END))
    (item,) = connection.receive(ERROR)
    assert item == Received(1, m.Error(0x010B), True)
    assert not connection.has_output
    assert connection.open_streams == 0


@pytest.mark.req("PXW-STR-017", "PXW-FLW-010")
def test_late_frames_are_ignored() -> None:
    connection = ready(Role.SERVER)
    connection.receive(request(1) + RESET)
    assert connection.receive(RESET + CREDIT + ERROR + raw(0x42, 1, tail=b"x")) == []
    assert not connection.has_output
    client = fetching()
    client.reset(1)
    drain(client)
    late = raw(FrameType.RESULT, 1, STATUS) + raw(FrameType.EVENT, 1, b"junk") + raw(FrameType.PREVIEW, 1, b"\xc1")
    assert client.receive(late + RESET + ERROR + raw(0x42, 1)) == []
    assert not client.has_output
    assert client.state is State.READY


@pytest.mark.req("PXW-STR-020")
def test_one_stream_too_many() -> None:
    connection = ready(Role.SERVER, max_streams=2)
    incoming = connection.receive(request(1) + request(3) + request(5) + request(7))
    assert [item.stream for item in received(incoming)] == [1, 3]
    refused = cut_frames(drain(connection))
    assert [(frame.stream, frame.type, frame.flags) for frame in refused] == [
        (5, FrameType.ERROR, END),
        (7, FrameType.ERROR, END),
    ]
    assert refused[0].head is not None
    assert refused[0].head["code"] == ErrorCode.TOO_MANY_STREAMS
    assert refused[0].head["processed"] == "no"
    assert refused[0].head["retry"] == "after"
    connection.send(1, m.Result({}), end=True)
    assert connection.receive(request(9)) == []  # the answer to 1 has not left yet
    drain(connection)
    assert [item.stream for item in received(connection.receive(request(11)))] == [11]


@pytest.mark.req("PXW-STR-019")
def test_a_client_keeps_to_max_streams() -> None:
    pair = Pair(server={"max_streams": 2})
    first = pair.open(m.Status("j"))
    pair.open(m.Status("j"))
    with pytest.raises(TooManyStreamsError, match="2 streams"):
        pair.client.open(m.Status("j"))
    pair.server.send(first, m.Result({}), end=True)
    pair.settle()
    assert pair.client.open(m.Status("j"))
