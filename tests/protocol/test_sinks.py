"""Receiving DATA in the place where it belongs: sinks, however the bytes are cut and whenever the sink comes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from protocol_pair import END, WAYS, by_buffer, drain, plain, raw, ready

from pixwire_protocol import messages as m
from pixwire_protocol.connection import Connection, Received, Role
from pixwire_protocol.errors import LocalProtocolError
from pixwire_protocol.parser import DIRECT_SIZE, SCRATCH_SIZE, SHORT_READ
from pixwire_protocol.registry import FrameType

PICTURE = bytes(range(256)) * 200  # 51,200 bytes


def fetch(size: int = len(PICTURE)) -> tuple[Connection, int, bytearray]:
    """A client that waits for DATA of `size` bytes on its stream, with a place for it."""
    connection = ready(Role.CLIENT)
    stream = connection.open(m.Fetch("j"))
    drain(connection)
    connection.receive(raw(FrameType.RESULT, stream, {"job": "j", "length": size}))
    return connection, stream, bytearray(size)


def chunks(stream: int, data: bytes, size: int) -> bytes:
    parts = [data[i : i + size] for i in range(0, len(data), size)]
    return b"".join(raw(FrameType.DATA, stream, tail=part, flags=END if part is parts[-1] else 0) for part in parts)


@pytest.mark.parametrize("way", WAYS)
@given(chunk=st.integers(1, 60_000), read=st.integers(1, 100_000), size=st.integers(1, len(PICTURE)))
def test_a_sink_holds_the_picture(way: str, chunk: int, read: int, size: int) -> None:
    chunk = max(chunk, size // 100)
    connection, stream, place = fetch(size)
    connection.set_sink(stream, memoryview(place))
    data = chunks(stream, PICTURE[:size], chunk)
    incoming = WAYS[way](connection, (data[i : i + read] for i in range(0, len(data), read)))
    assert place == PICTURE[:size]
    messages = [item.message for item in incoming if isinstance(item, Received)]
    assert all(isinstance(message, m.Data) and message.placed for message in messages)
    assert connection.open_streams == 0


def test_the_body_is_received_in_place_together_with_the_next_header() -> None:
    connection, stream, place = fetch()
    connection.set_sink(stream, memoryview(place))
    data = chunks(stream, PICTURE, 20_000)
    assert by_buffer(connection, iter([data[:12]])) == []  # the first header
    buffer = connection.get_buffer()
    assert len(buffer) == 20_000 + 12
    buffer[:] = data[12 : 12 + 20_000 + 12]
    (first,) = connection.buffer_updated(len(buffer))
    assert isinstance(first, Received)
    assert isinstance(first.message, m.Data)
    assert first.message.placed
    assert bytes(first.message.tail) == PICTURE[:20_000]
    buffer = connection.get_buffer()  # the next header was read: this is the second body
    assert len(buffer) == 20_000 + 12
    incoming = by_buffer(connection, iter([data[24 + 20_000 :]]))
    assert len(incoming) == 2
    assert place == PICTURE


def test_the_last_body_has_no_room_behind_it() -> None:
    connection, stream, place = fetch(DIRECT_SIZE)
    connection.set_sink(stream, memoryview(place))
    connection.receive(raw(FrameType.DATA, stream, length=DIRECT_SIZE))
    assert len(connection.get_buffer()) == DIRECT_SIZE


def test_small_frames_share_one_scratch_buffer() -> None:
    connection = ready(Role.SERVER)
    buffer = connection.get_buffer()
    assert len(buffer) == SCRATCH_SIZE
    frames = raw(FrameType.PING, 0, tail=b"12345678") * 10
    buffer[: len(frames)] = frames
    assert len(connection.buffer_updated(len(frames))) == 10
    buffer[:] = bytes(len(buffer))
    assert connection.get_buffer() is buffer


def test_a_tail_survives_the_next_read() -> None:
    connection = ready(Role.SERVER)
    (first,) = by_buffer(connection, iter([raw(FrameType.SUBMIT, 1, {"job": "j", "kind": "k"}, bytes(9000), END)]))
    by_buffer(connection, iter([raw(FrameType.SUBMIT, 3, {"job": "j", "kind": "k"}, b"\xff" * 9000, END)]))
    assert isinstance(first, Received)
    assert isinstance(first.message, m.Submit)
    assert bytes(first.message.tail) == bytes(9000)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seen", [0, 1, 5_000, 19_999])
def test_a_sink_that_comes_late_takes_over_the_frame_under_way(way: str, seen: int) -> None:
    connection, stream, place = fetch()
    data = chunks(stream, PICTURE, 20_000)
    begun = 12 + 20_000 + 12 + seen
    (first,) = WAYS[way](connection, iter([data[:begun]]))
    assert isinstance(first, Received)
    assert isinstance(first.message, m.Data)
    assert not first.message.placed
    place[:20_000] = first.message.tail
    connection.set_sink(stream, memoryview(place)[20_000:])
    rest = [item.message for item in WAYS[way](connection, iter([data[begun:]])) if isinstance(item, Received)]
    assert [message.placed for message in rest if isinstance(message, m.Data)] == [True, True]
    assert place == PICTURE


def test_a_sink_set_while_its_buffer_is_lent_waits_for_the_next_frame() -> None:
    connection, stream, place = fetch()
    data = chunks(stream, PICTURE, 20_000)
    connection.receive(data[:12])
    buffer = connection.get_buffer()
    connection.set_sink(stream, memoryview(place))
    buffer[:] = data[12 : 12 + len(buffer)]
    (first,) = connection.buffer_updated(len(buffer))
    assert isinstance(first, Received)
    assert isinstance(first.message, m.Data)
    assert not first.message.placed
    assert bytes(first.message.tail) == PICTURE[:20_000]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("same", [False, True])
def test_a_sink_may_be_set_again_in_the_middle_of_a_frame(way: str, same: bool) -> None:
    connection, stream, place = fetch()
    data = chunks(stream, PICTURE, 20_000)
    connection.set_sink(stream, memoryview(place))
    WAYS[way](connection, iter([data[:9_000]]))
    final = place if same else bytearray(len(PICTURE))
    connection.set_sink(stream, memoryview(final))
    incoming = WAYS[way](connection, iter([data[9_000:]]))
    assert [item.message.placed for item in incoming if isinstance(item, Received) and isinstance(item.message, m.Data)]
    assert final == PICTURE


def test_a_sink_too_small_for_the_frame_under_way_changes_nothing() -> None:
    connection, stream, place = fetch()
    data = chunks(stream, PICTURE, 20_000)
    connection.set_sink(stream, memoryview(place))
    connection.receive(data[:9_000])
    connection.set_sink(stream, memoryview(bytearray(10_000)))
    connection.set_sink(stream, memoryview(bytearray(0)))
    connection.receive(data[9_000:])
    assert place == PICTURE


def test_a_frame_that_does_not_fit_comes_unplaced_and_ends_the_sink() -> None:
    connection, stream, _ = fetch()
    small = bytearray(25_000)
    connection.set_sink(stream, memoryview(small))
    incoming = connection.receive(chunks(stream, PICTURE, 20_000))
    placed = [
        item.message.placed for item in incoming if isinstance(item, Received) and isinstance(item.message, m.Data)
    ]
    assert placed == [True, False, False]
    assert small[:20_000] == PICTURE[:20_000]
    assert plain(incoming)[1] == (stream, m.Data(PICTURE[20_000:40_000]), False)


def test_a_sink_must_be_writable() -> None:
    connection, stream, _ = fetch()
    with pytest.raises(LocalProtocolError, match="writable"):
        connection.set_sink(stream, memoryview(b"read-only"))
    with pytest.raises(LocalProtocolError, match="never opened"):
        connection.set_sink(99, memoryview(bytearray(5)))


@pytest.mark.parametrize("lend", [False, True])
def test_reset_lets_go_of_the_sink_at_once(lend: bool) -> None:
    connection, stream, place = fetch()
    connection.set_sink(stream, memoryview(place))
    data = chunks(stream, PICTURE, 20_000)
    connection.receive(data[:5_000])
    if lend:
        buffer = connection.get_buffer()
        connection.reset(stream)
        buffer[:] = data[5_000 : 5_000 + len(buffer)]
        rest = data[5_000 + len(buffer) :]
        incoming = connection.buffer_updated(len(buffer))
    else:
        connection.reset(stream)
        incoming, rest = [], data[5_000:]
    before = bytes(place)
    incoming += by_buffer(connection, iter([rest + raw(FrameType.PING, 0, tail=b"12345678")]))
    assert bytes(place) == before
    assert [item.message for item in incoming if isinstance(item, Received)] == [m.Ping(b"12345678")]


def test_an_empty_last_frame_with_a_sink() -> None:
    connection, stream, place = fetch(5)
    connection.set_sink(stream, memoryview(place))
    first, last = connection.receive(
        raw(FrameType.DATA, stream, tail=b"12345") + raw(FrameType.DATA, stream, flags=END)
    )
    assert isinstance(first, Received)
    assert last == Received(stream, m.Data(b""), True)
    assert place == b"12345"


def test_an_update_without_a_buffer_is_nothing() -> None:
    assert ready(Role.SERVER).buffer_updated(5) == []


def test_reads_are_short_only_where_an_image_may_begin() -> None:
    """What of it comes with another frame is copied: little, so that the rest can come into its place."""
    connection = ready(Role.CLIENT)
    assert len(connection.get_buffer()) == SCRATCH_SIZE
    connection.buffer_updated(0)
    stream = connection.open(m.Fetch("j"))
    drain(connection)
    assert len(connection.get_buffer()) == SHORT_READ
    answer = raw(FrameType.RESULT, stream, {"job": "j", "length": len(PICTURE)})
    connection.get_buffer()[: len(answer)] = answer
    connection.buffer_updated(len(answer))
    place = bytearray(len(PICTURE))
    connection.set_sink(stream, memoryview(place))
    data = chunks(stream, PICTURE, 20_000)
    position = 0
    while position < len(data):
        buffer = connection.get_buffer()
        assert len(buffer) == SHORT_READ or 0 < len(buffer) <= 20_000 + 12
        count = min(len(buffer), len(data) - position, 11_000)
        buffer[:count] = data[position : position + count]
        connection.buffer_updated(count)
        position += count
    assert place == PICTURE
    unary = connection.open(m.Status("j"))
    drain(connection)
    for _ in range(2):
        answer = raw(FrameType.PING, 0, tail=b"12345678")
        connection.get_buffer()[: len(answer)] = answer
        connection.buffer_updated(len(answer))
    assert len(connection.get_buffer()) == SCRATCH_SIZE, f"only stream {unary} is open, and it brings no image"
