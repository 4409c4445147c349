"""How uploads end before they are complete: resets, drains, lost connections, faults."""

import pytest
from protocol_pair import (
    END,
    STATUS,
    Pair,
    cut_frames,
    drain,
    raw,
    ready,
)
from upload_pair import (
    books_are_right,
    bytes_at_server,
    data,
    opening,
    upload,
    uploading,
)

from pixwire_protocol import messages as m
from pixwire_protocol.connection import Closed, Received, Role, State
from pixwire_protocol.registry import ErrorCode, FrameType

# ---------------------------------------------------------------------- ends of all sorts


@pytest.mark.parametrize("sent", [0, 1, 5000, 24_000])
def test_a_client_gives_up(sent: int) -> None:
    pair = Pair()
    stream = pair.client.open(upload(24_001))
    pair.settle()
    pair.client.send_data(stream, bytes(sent))
    pair.to_server()
    assert pair.client.reset(stream)
    assert pair.client.unsent(stream) == 0
    pair.settle()
    assert pair.messages_at_server(stream)[-1] == m.Reset(0, "NO_ERROR")
    assert pair.client.open_streams == pair.server.open_streams == 0
    assert pair.client.send_data(stream, b"x") is False
    assert pair.server.counts.aborts == 1
    books_are_right(pair)


def test_the_bytes_end_before_the_upload() -> None:
    connection = uploading(100)
    connection.receive(opening(3, 10) + data(3, 10, end=True) + opening(5, 10) + data(1, 50))
    drain(connection)
    *ends, closed = connection.receive_eof()
    assert ends == [Received(stream, m.Reset(0, "NO_ERROR"), True) for stream in (1, 5)]
    assert closed == Closed(False)
    assert connection.open_streams == 1  # what is complete will be answered
    assert connection.send(3, m.Result(STATUS), end=True)
    assert not connection.send(1, m.Result(STATUS), end=True)
    drain(connection)
    assert connection.open_streams == 0


def test_the_bytes_end_in_the_middle_of_the_last_frame() -> None:
    connection = uploading(100)
    connection.receive(data(1, 100, end=True)[:-1])
    assert connection.receive_eof() == [Received(1, m.Reset(0, "NO_ERROR"), True), Closed(False)]


@pytest.mark.req("PXW-DRN-005", "PXW-DRN-007")
def test_uploads_while_the_server_drains() -> None:
    """Those up to last_stream go on, those above it were not processed."""
    pair = Pair()
    first = pair.open(upload(1000))
    pair.server.goaway(ErrorCode.DRAINING, last_stream=first)
    second = pair.client.open(upload(1000))
    pair.client.send_data(second, bytes(1000), end=True)
    pair.to_server()
    pair.settle()
    assert pair.messages_at_client(second)[0] == m.Error(0x0403, "DRAINING", "the server is going away", "after", "no")
    assert pair.client.unsent(second) == 0
    assert pair.client.send_data(second, b"x") is False
    assert pair.messages_at_server(second) == []
    assert pair.client.send_data(first, bytes(1000), end=True)
    pair.settle()
    assert bytes_at_server(pair, first) == bytes(1000)
    pair.server.send(first, m.Result(STATUS), end=True)
    pair.settle()
    assert pair.client.open_streams == pair.server.open_streams == 0
    pair.server.consumed(first, 1000)
    books_are_right(pair)


def test_uploads_while_the_client_leaves() -> None:
    pair = Pair()
    stream = pair.open(upload(1000))
    pair.client.goaway()
    assert pair.client.send_data(stream, bytes(1000), end=True)
    pair.settle()
    assert bytes_at_server(pair, stream) == bytes(1000)
    assert pair.server.send(stream, m.Result(STATUS), end=True)
    pair.settle()
    assert pair.client.open_streams == 0


def test_a_failed_connection_lets_go_of_the_bytes() -> None:
    client = ready(Role.CLIENT)
    content = bytearray(100_000)
    client.open(upload(100_000))
    client.send_data(1, content, end=True)
    client.receive(b"nonsense")
    assert client.state is State.FAILED
    content.clear()
    assert client.send_data(1, b"x") is False
    assert client.unsent(1) == 0


@pytest.mark.req("PXW-STR-019", "PXW-STR-020")
def test_uploads_count_as_streams_until_they_are_answered() -> None:
    connection = ready(Role.SERVER, max_streams=2)
    connection.receive(opening(1, 100) + opening(3, 100) + data(1, 100, end=True))
    assert connection.open_streams == 2
    assert connection.receive(opening(5, 100) + data(5, 100, end=True)) == []
    refusal = cut_frames(drain(connection))[-1]
    assert refusal.head is not None
    assert refusal.head["code"] == ErrorCode.TOO_MANY_STREAMS
    connection.send(1, m.Result(STATUS), end=True)
    drain(connection)
    assert connection.open_streams == 1
    assert len(connection.receive(opening(7, 100))) == 1


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (raw(0x42, 1), ErrorCode.UNKNOWN_FRAME),
        (raw(FrameType.CREDIT, 1, {"n": 5, "crit": ["zzz"]}), ErrorCode.UNKNOWN_CRITICAL),
    ],
)
def test_a_fault_of_an_upload_says_that_nothing_was_submitted(fault: bytes, code: ErrorCode) -> None:
    connection = uploading(100)
    connection.receive(data(1, 10))
    assert connection.receive(fault) == [Received(1, m.Reset(code, code.name), True)]
    (error,) = cut_frames(drain(connection))
    assert error.head is not None
    assert error.head["code"] == code
    assert error.head["processed"] == "no"
    assert connection.receive(data(1, 50) + data(1, 500, end=True)) == []
    complete = uploading(100)
    complete.receive(data(1, 100, end=True) + fault)
    (error,) = cut_frames(drain(complete))
    assert error.head is not None
    assert "processed" not in error.head  # that is: maybe


@pytest.mark.req("PXW-EXT-001", "PXW-EXT-005")
@pytest.mark.parametrize("fault", [raw(0x42, 1), raw(FrameType.CREDIT, 1, {"n": 5, "crit": ["zzz"]})])
def test_a_fault_while_data_wait_for_credit(fault: bytes) -> None:
    """All of them are queued, but the stream has not ended: the ERROR comes in their place."""
    connection = ready(Role.SERVER)
    connection.receive(raw(FrameType.FETCH, 1, {"job": "j"}, flags=END))
    connection.send(1, m.Result({"length": 300_000}))
    connection.send_data(1, bytes(300_000), end=True)
    drain(connection)
    assert len(connection.receive(fault)) == 1
    (error,) = cut_frames(drain(connection))
    assert error.type == FrameType.ERROR
    assert error.head is not None
    assert error.head["processed"] == "yes"
    assert connection.open_streams == 0
