"""Attachments on the wire: the bytes behind a SUBMIT, early answers, and the credit of both."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from protocol_pair import (
    END,
    STATUS,
    TAIL,
    WAYS,
    Pair,
    bytewise,
    cut_frames,
    drain,
    plain,
    raw,
    ready,
    received,
    request,
    whole,
)
from upload_pair import (
    ANSWERS,
    PICTURES,
    SIZES,
    books_are_right,
    bytes_at_server,
    data,
    head_of,
    opening,
    upload,
    uploading,
)

from pixwire_protocol import messages as m
from pixwire_protocol.connection import Received, Role, State
from pixwire_protocol.errors import LocalProtocolError
from pixwire_protocol.parser import DIRECT_SIZE
from pixwire_protocol.registry import ErrorCode, FrameType

# ---------------------------------------------------------------------- how it goes


@pytest.mark.req("PXW-UPL-001", "PXW-UPL-002")
@pytest.mark.parametrize("cut", [whole, bytewise])
@pytest.mark.parametrize("pieces", [1, 3, 7])
def test_all_bytes_arrive_and_then_the_answer(cut: Any, pieces: int) -> None:
    pair = Pair(server={"stream_window": 4096, "connection_window": 5000}, cut=cut)
    stream = pair.client.open(upload(*SIZES))
    step = len(PICTURES) // pieces + 1
    for start in range(0, len(PICTURES), step):
        piece = PICTURES[start : start + step]
        assert pair.client.send_data(stream, piece, end=start + step >= len(PICTURES))
    assert pair.client.unsent(stream) == len(PICTURES)
    taken = 0
    while pair.client.unsent(stream):
        pair.settle()
        ready_bytes = len(bytes_at_server(pair, stream))
        pair.server.consumed(stream, ready_bytes - taken)
        taken = ready_bytes
    pair.settle()
    first, *rest = received(pair.at_server)
    assert isinstance(first.message, m.Submit)
    assert [attachment.size for attachment in first.message.attachments] == list(SIZES)
    assert [first.end, *(item.end for item in rest)] == [False] * len(rest) + [True]
    assert bytes_at_server(pair, stream) == PICTURES
    assert pair.server.open_streams == pair.client.open_streams == 1
    assert not pair.client.has_output
    pair.server.send(stream, m.Result(STATUS), end=True)
    pair.settle()
    assert received(pair.at_client)[-1] == Received(stream, m.Result(STATUS), True)
    assert pair.client.open_streams == pair.server.open_streams == 0
    books_are_right(pair)


def test_the_frames_of_an_upload() -> None:
    client = ready(Role.CLIENT, data_chunk=1024)
    client.open(upload(1500))
    client.send_data(1, b"x" * 1500)
    client.send_data(1, b"", end=True)  # END may come alone
    frames = cut_frames(drain(client))
    assert [(frame.type, frame.flags, len(frame.tail)) for frame in frames[1:]] == [
        (FrameType.DATA, 0, 1024),
        (FrameType.DATA, 0, 476),
        (FrameType.DATA, END, 0),
    ]
    assert frames[0].type == FrameType.SUBMIT
    assert frames[0].flags == 0
    server = uploading(1500)
    incoming = received(server.receive(b"".join(data(1, size) for size in (1024, 476)) + data(1, 0, end=True)))
    assert [item.end for item in incoming] == [False, False, True]


def test_a_watched_upload_delivers_on_the_same_stream() -> None:
    """Both directions carry DATA, one after the other, each under its own credit."""
    pair = Pair({"stream_window": 1024, "connection_window": 2048}, {"stream_window": 1024, "connection_window": 2048})
    stream = pair.client.open(upload(1000, watch=True, deliver=True))
    pair.client.send_data(stream, bytes(1000), end=True)
    pair.settle()
    pair.server.consumed(stream, 1000)
    image = b"i" * 3000
    pair.server.send(stream, m.Result(STATUS))
    pair.server.send(stream, m.Event(STATUS | {"event": "state", "state": "succeeded"}))
    pair.server.send(stream, m.Result({"length": len(image)}))
    pair.server.send_data(stream, image, end=True)
    got = b""
    for _ in range(20):
        pair.settle()
        fresh = b"".join(bytes(item.tail) for item in pair.messages_at_client(stream) if isinstance(item, m.Data))
        if pair.client.open_streams:
            pair.client.consumed(stream, len(fresh) - len(got))
        got = fresh
    assert got == image
    assert pair.client.open_streams == pair.server.open_streams == 0
    assert not pair.client.send_data(stream, b"x")
    books_are_right(pair)


@pytest.mark.parametrize("way", WAYS)
@given(chunk=st.integers(1024, 60_000), read=st.integers(1, 70_000), size=st.integers(1, 51_200))
def test_a_server_receives_in_place(way: str, chunk: int, read: int, size: int) -> None:
    content = (bytes(range(256)) * 200)[:size]
    connection = uploading(size)
    place = bytearray(size)
    connection.set_sink(1, memoryview(place))
    parts = [content[i : i + chunk] for i in range(0, size, chunk)]
    sent = b"".join(raw(FrameType.DATA, 1, tail=part) for part in parts[:-1])
    sent += raw(FrameType.DATA, 1, tail=parts[-1], flags=END)
    incoming = received(WAYS[way](connection, (sent[i : i + read] for i in range(0, len(sent), read))))
    assert place == content
    assert all(isinstance(item.message, m.Data) and item.message.placed for item in incoming)
    assert [item.end for item in incoming] == [False] * (len(parts) - 1) + [True]
    connection.consumed(1, size)


def test_any_split_gives_the_same() -> None:
    sent = opening(1, 2000, 1) + data(1, 1500) + data(1, 501, end=True) + request(3)
    expected = plain(ready(Role.SERVER).receive(sent))
    assert len(expected) == 4
    for way in WAYS.values():
        for split in range(len(sent)):
            assert plain(way(ready(Role.SERVER), iter([sent[:split], sent[split:]]))) == expected
        assert plain(way(ready(Role.SERVER), bytewise(sent))) == expected


# ---------------------------------------------------------------------- early answers


@pytest.mark.req("PXW-UPL-007", "PXW-UPL-008", "PXW-FLW-009")
@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("consumed", [0, 700, 2000])
def test_an_early_answer(answer: str, consumed: int) -> None:
    pair = Pair(server={"stream_window": 2000, "connection_window": 4000})
    stream = pair.client.open(upload(10_000, watch=answer == "result that goes on"))
    content = bytearray(10_000)
    pair.client.send_data(stream, content, end=True)
    pair.to_server()
    pair.to_server()
    pair.server.consumed(stream, consumed)
    seen = len(pair.at_server)
    assert ANSWERS[answer](pair.server)
    assert pair.client.unsent(stream) == 8000
    pair.settle()
    assert len(pair.at_server) == seen  # nothing of what still came was reported
    assert pair.client.unsent(stream) == 0
    content.clear()  # nobody holds it any more: a bytearray with a view cannot shrink
    goes_on = answer == "result that goes on"
    assert pair.client.open_streams == pair.server.open_streams == int(goes_on)
    assert pair.client.send_data(stream, b"x") is False
    assert pair.client.send_data(stream, b"", end=True) is False
    pair.server.consumed(stream, 2000)  # harmless: it went back already
    books_are_right(pair)
    if goes_on:
        pair.server.send(stream, m.Event(STATUS | {"event": "state"}), end=True)
        pair.settle()
        assert pair.client.open_streams == pair.server.open_streams == 0
    assert pair.client.state is pair.server.state is State.READY


@pytest.mark.req("PXW-UPL-008")
@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("rest", [b"", data(1, 4999, end=True), data(1, 9999), data(1, 10) * 5])
def test_what_was_under_way_is_ignored(answer: str, rest: bytes) -> None:
    """Whatever it is: counts are no longer looked at, the stream's window no longer counts."""
    watching = answer == "result that goes on"
    connection = ready(Role.SERVER, stream_window=5000, connection_window=12_000)
    head = head_of(100_000) | {"watch": watching}
    connection.receive(raw(FrameType.SUBMIT, 1, head, TAIL) + data(1, 1000))
    ANSWERS[answer](connection)
    drain(connection)
    for _ in range(20):
        assert connection.receive(rest) == []
    assert connection.state is State.READY
    window = connection._machine.window
    assert window.outstanding == 0
    granted = sum(frame.head["n"] for frame in cut_frames(drain(connection)) if frame.head and frame.stream == 0)
    assert window.available + window.unreturned == window.size
    assert granted <= 1000 + 20 * len(rest)


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_in_the_middle_of_a_frame(answer: str) -> None:
    """The rest of the frame is thrown away, wherever it is being received."""
    for lent in (False, True):
        for sink in (False, True):
            connection = ready(Role.SERVER)
            head = head_of(50_000) | {"watch": answer == "result that goes on"}
            connection.receive(raw(FrameType.SUBMIT, 1, head, TAIL))
            place = bytearray(50_000)
            if sink:
                connection.set_sink(1, memoryview(place))
            frame = raw(FrameType.DATA, 1, tail=b"x" * 30_000)
            connection.receive(frame[:100])
            buffer = connection.get_buffer() if lent else None
            assert ANSWERS[answer](connection)
            if buffer is not None:
                assert len(buffer) >= DIRECT_SIZE
                buffer[:1000] = frame[100:1100]
                assert connection.buffer_updated(1000) == []
            else:
                assert connection.receive(frame[100:1100]) == []
            assert connection.receive(frame[1100:] + request(3)) == [Received(3, m.Status("j"), True)]
            assert not any(place[1100:])  # it belongs to the program again
            del buffer
            place.clear()
            assert connection._machine.window.outstanding == 0


def test_an_early_answer_before_the_client_has_said_anything() -> None:
    pair = Pair()
    stream = pair.client.open(upload(10_000))
    pair.settle()
    pair.server.send_error(stream, ErrorCode.INVALID_ARGUMENT, "no", {"field": "kind"})
    pair.settle()
    assert pair.client.send_data(stream, bytes(10_000), end=True) is False
    assert not pair.client.has_output
    assert pair.client.unsent(stream) == 0


def test_credit_of_the_stream_ends_with_the_upload() -> None:
    """Once everything is there, or answered, only the connection's credit goes back."""
    connection = uploading(3000, stream_window=4000, connection_window=4000)
    connection.receive(data(1, 3000, end=True))
    connection.consumed(1, 3000)
    assert [frame.stream for frame in cut_frames(drain(connection))] == [0]
    connection = uploading(5000, stream_window=4000, connection_window=4000)
    connection.receive(data(1, 3000))
    connection.consumed(1, 3000)
    connection.send(1, m.Result(STATUS), end=True)
    assert [(frame.type, frame.stream) for frame in cut_frames(drain(connection))] == [
        (FrameType.CREDIT, 0),
        (FrameType.RESULT, 1),
    ]


@pytest.mark.req("PXW-UPL-006")
def test_a_server_says_nothing_but_the_answer_first() -> None:
    connection = uploading(100)
    for call in (
        lambda: connection.send(1, m.Event({})),
        lambda: connection.send(1, m.Preview("j", 1, 1, 2, "image/png", 1, 1, b"x")),
        lambda: connection.send_data(1, b"x"),
    ):
        with pytest.raises(LocalProtocolError):
            call()
    assert not connection.has_output
    assert len(connection.receive(data(1, 100, end=True))) == 1  # and nothing was changed


def test_more_than_was_received_is_not_consumed() -> None:
    connection = uploading(100)
    connection.receive(data(1, 60))
    with pytest.raises(LocalProtocolError, match="outstanding"):
        connection.consumed(1, 61)
