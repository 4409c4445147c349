"""Cutting the byte stream: the same result for every split, both ways in, sinks, and refusals before the body."""

import itertools
import os
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from protocol_pair import END, HELLO, STATUS, TAIL, WELCOME, bytewise, drain, raw, ready, submit, the_error, watch

from pixwire_protocol import messages as m
from pixwire_protocol.connection import Closed, Connection, Incoming, Received, Role, Settings, State
from pixwire_protocol.errors import LocalProtocolError
from pixwire_protocol.header import HEADER
from pixwire_protocol.parser import DIRECT_SIZE, SCRATCH_SIZE
from pixwire_protocol.registry import MARKER, PREFACE, ErrorCode, FrameType

PICTURE = bytes(range(256)) * 200  # 51,200 bytes
ANNOUNCED = {"job": "j", "artifact": 0, "length": len(PICTURE)}


def to_server() -> bytes:
    """What a busy client sends."""
    return b"".join(
        [
            PREFACE,
            raw(FrameType.HELLO, 0, {"agent": "x", "features": ["grease-0000", "preview"], "new": [1, {"deep": None}]}),
            raw(0x9A, 0, tail=b"ignorable" * 3),
            raw(FrameType.PING, 0, tail=b"12345678"),
            raw(FrameType.SUBMIT, 1, {"job": "j", "kind": "txt2img", "watch": True, "want": ["progress"]}, TAIL, END),
            raw(FrameType.STATUS, 3, {"job": 5}, flags=END),
            raw(FrameType.FETCH, 5, {"job": "j", "offset": 7}, flags=END),
            raw(FrameType.CREDIT, 5, {"n": 5000}),
            raw(0x55, 7, {"what": "is this"}, b"tail"),
            raw(FrameType.RESET, 5, {"code": 0}),
            raw(FrameType.CREDIT, 5, {"n": 5000}),
            raw(FrameType.GOAWAY, 0, {"last_stream": 0, "code": 0}),
            raw(FrameType.SUBMIT, 9, {"job": "k", "kind": "txt2img"}, bytes(6000), END),
        ]
    )


def to_client(size: int = 10_000) -> bytes:
    """What a busy server sends to a client with a watch on stream 1 and a fetch on stream 3."""
    chunks = [PICTURE[i : i + size] for i in range(0, len(PICTURE), size)]
    frames = [raw(FrameType.DATA, 3, tail=chunk, flags=END if chunk is chunks[-1] else 0) for chunk in chunks]
    interleaved = [
        raw(FrameType.EVENT, 1, {"event": "progress", "job": "j", "seq": 2, "step": 1, "steps": 8}),
        raw(0xBF, 77, b"not msgpack", b"more"),
        raw(
            FrameType.PREVIEW,
            1,
            {"job": "j", "seq": 3, "step": 1, "steps": 8, "media_type": "image/png", "width": 8, "height": 8},
            PICTURE[:5000],
        ),
        raw(FrameType.CREDIT, 0, {"n": 1}),
        raw(FrameType.EVENT, 1, STATUS | {"event": "state"}, flags=END),
        raw(FrameType.DATA, 1, tail=b"too late"),
    ]
    pairs = itertools.zip_longest(frames, interleaved, fillvalue=b"")
    return b"".join([raw(FrameType.RESULT, 1, STATUS), raw(FrameType.RESULT, 3, ANNOUNCED), *itertools.chain(*pairs)])


def server() -> Connection:
    return Connection(Role.SERVER, Settings(agent="s"))


def client() -> Connection:
    connection = ready(Role.CLIENT)
    connection.open(watch())
    connection.open(m.Fetch("j"))
    drain(connection)
    return connection


def by_receive(connection: Connection, pieces: Iterator[bytes]) -> list[Incoming]:
    return [item for piece in pieces for item in connection.receive(piece)]


def by_buffer(connection: Connection, pieces: Iterator[bytes]) -> list[Incoming]:
    """What a BufferedProtocol does: as much of each piece as the buffer takes, then the rest."""
    incoming: list[Incoming] = []
    for piece in pieces:
        rest = piece
        while rest:
            place = connection.get_buffer(-1)
            assert len(place) > 0
            count = min(len(place), len(rest))
            place[:count] = rest[:count]
            incoming += connection.buffer_updated(count)
            rest = rest[count:]
    return incoming


def plain(incoming: list[Incoming]) -> list[Any]:
    """The items with every buffer as bytes, so that they can be compared."""

    def solid(item: Incoming) -> Any:
        if not isinstance(item, Received):
            return repr(item)
        message = item.message
        if isinstance(message, m.Data | m.Submit | m.Preview):
            message = replace(message, tail=bytes(message.tail))
        return item.stream, message, item.end

    return [solid(item) for item in incoming]


CASES: dict[str, tuple[Callable[[], Connection], bytes]] = {
    "server": (server, to_server()),
    "client": (client, to_client()),
    "client, then nonsense": (client, to_client() + b"\x00nonsense" * 9),
    "server, frame too large": (server, PREFACE + HELLO + raw(FrameType.STATUS, 1, length=300_000) + bytes(99)),
    "server, half a frame": (server, PREFACE + HELLO + raw(FrameType.SUBMIT, 1, {"job": "j"}, TAIL, END)[:-1]),
    "http": (server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    "version": (server, b"\x89PXW\x02\x03\x00\x00" + HELLO),
}
WAYS = {"receive": by_receive, "buffer": by_buffer}


def run(case: str, way: str, cut: Callable[[bytes], Iterator[bytes]]) -> tuple[list[Any], bytes, State]:
    make, data = CASES[case]
    connection = make()
    incoming = WAYS[way](connection, cut(data))
    return plain(incoming), drain(connection), connection.state


@pytest.mark.req("PXW-FRM-010", "PXW-FRM-011")
@pytest.mark.parametrize("case", CASES)
def test_bytewise_is_like_whole(case: str) -> None:
    expected = run(case, "receive", lambda data: iter([data]))
    assert expected[0] or case == "server, half a frame"
    assert run(case, "receive", bytewise) == expected
    assert run(case, "buffer", bytewise) == expected
    assert run(case, "buffer", lambda data: iter([data])) == expected


@given(st.sampled_from(sorted(CASES)), st.sampled_from(sorted(WAYS)), st.lists(st.integers(1, 60_000), max_size=30))
def test_any_split_is_like_whole(case: str, way: str, sizes: list[int]) -> None:
    def cut(data: bytes) -> Iterator[bytes]:
        position = 0
        for size in sizes:
            yield data[position : position + size]
            position += size
        yield data[position:]

    assert run(case, way, cut) == run(case, "receive", lambda data: iter([data]))


def test_the_two_ways_may_be_mixed() -> None:
    expected = run("client", "receive", lambda data: iter([data]))
    connection, data = client(), to_client()
    incoming: list[Incoming] = []
    for number, position in enumerate(range(0, len(data), 7001)):
        incoming += (by_buffer if number % 2 else by_receive)(connection, iter([data[position : position + 7001]]))
    assert plain(incoming) == expected[0]


def test_any_buffer_type_is_taken() -> None:
    for kind in (bytes, bytearray, memoryview):
        connection = server()
        data = bytearray(to_server())
        incoming = connection.receive(kind(data))
        data[:] = bytes(len(data))  # the caller's buffer is the caller's again
        assert plain(incoming) == run("server", "receive", lambda data: iter([data]))[0]


# ---------------------------------------------------------------------- sinks


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


# ---------------------------------------------------------------------- reset while a frame is coming in

CRIT = STATUS | {"new": 1, "crit": ["new"]}


@pytest.mark.req("PXW-STR-015", "PXW-STR-017")
@pytest.mark.parametrize("flush", [False, True])
@pytest.mark.parametrize(
    "frame",
    [
        raw(FrameType.RESULT, 1, STATUS),
        raw(FrameType.RESULT, 1, STATUS, flags=END),
        raw(FrameType.RESULT, 1, CRIT),
        raw(FrameType.RESET, 1, {"code": 5}),
        raw(FrameType.ERROR, 1, {"code": 5}, flags=END),
        raw(FrameType.CREDIT, 1, {"n": 5}),
    ],
)
def test_a_frame_that_was_coming_in_when_the_client_reset_its_stream(frame: bytes, flush: bool) -> None:
    connection = ready(Role.CLIENT)
    connection.open(m.Fetch("j"))
    drain(connection)
    connection.receive(frame[:-1])
    connection.reset(1)
    if flush:
        drain(connection)
    assert connection.receive(frame[-1:]) == []
    drain(connection)
    assert connection.open_streams == 0
    assert connection.state is State.READY
    assert not connection.has_output


@pytest.mark.parametrize("flush", [False, True])
@pytest.mark.parametrize("head", [{"n": 5}, {"n": 5, "new": 1, "crit": ["new"]}])
def test_a_frame_that_was_coming_in_when_the_server_ended_its_stream(head: dict[str, Any], flush: bool) -> None:
    connection = ready(Role.SERVER)
    connection.receive(raw(FrameType.WATCH, 1, {"job": "j"}, flags=END))
    frame = raw(FrameType.CREDIT, 1, head)
    connection.receive(frame[:-1])
    connection.send_error(1, ErrorCode.INTERNAL, "x")
    if flush:
        drain(connection)
    before = connection.has_output
    assert connection.receive(frame[-1:]) == []
    assert connection.has_output is before
    drain(connection)
    assert connection.open_streams == 0
    assert connection.state is State.READY


# ---------------------------------------------------------------------- refusals before the body


@pytest.mark.req("PXW-FRM-004", "PXW-FRM-005")
def test_a_long_frame_is_refused_by_its_first_four_bytes() -> None:
    connection = ready(Role.SERVER)
    error = the_error(connection.receive(HEADER.pack(MARKER << 24 | 300_000, 0x10, 1, 10, 1)[:4]))
    assert error.code is ErrorCode.FRAME_TOO_LARGE
    assert "262144" in error.message


@pytest.mark.req("PXW-FRM-002")
def test_desync_is_noticed_by_one_byte_and_three() -> None:
    connection = ready(Role.SERVER)
    assert connection.receive(b"\x00\x00\x00") == []
    assert the_error(connection.receive(b"\x00")).code is ErrorCode.PROTOCOL_ERROR


@pytest.mark.req("PXW-FRM-005")
def test_headers_alone_allocate_nothing() -> None:
    """16 MiB declared, a peer that is allowed none of it: nothing is set aside."""
    bad = [
        raw(FrameType.RESULT, 1, length=16_000_000, head_size=10),  # a server's frame
        raw(FrameType.SUBMIT, 2, length=16_000_000, head_size=10, flags=END),  # even id
        raw(FrameType.PING, 0, length=16_000_000),
        raw(FrameType.STATUS, 1, length=16_000_000, head_size=10, flags=END),  # a tail it must not have
        raw(0x90, 1, length=16_000_000),  # ignorable: skipped
        raw(0x55, 1, length=16_000_000),  # unknown: skipped
    ]
    for header in bad:
        connection = ready(Role.SERVER, max_frame=16_777_215)
        tracemalloc.start()
        connection.receive(header)
        for _ in range(20):
            connection.receive(bytes(1000))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 100_000, header


@pytest.mark.req("PXW-CON-015")
@pytest.mark.parametrize(
    ("data", "clean", "mid_frame"),
    [
        (b"", False, False),
        (PREFACE[:5], False, False),
        (PREFACE, False, False),
        (PREFACE + HELLO[:3], False, True),
        (PREFACE + HELLO[:-1], False, True),
        (PREFACE + HELLO, True, False),
        (PREFACE + HELLO + b"\xc1", False, True),
        (PREFACE + HELLO + raw(0x99, 0, tail=b"skipped")[:-1], False, True),
        (PREFACE + HELLO + raw(FrameType.STATUS, 1, {"job": "j"}, flags=END), False, False),
    ],
)
def test_end_of_file(data: bytes, clean: bool, mid_frame: bool) -> None:
    connection = server()
    connection.receive(data)
    assert connection.mid_frame is mid_frame
    incoming = connection.receive_eof()
    ready = data.startswith(PREFACE + HELLO)
    if ready or len(data) < len(PREFACE + HELLO):
        assert incoming == [Closed(clean and ready)]
    assert connection.receive(b"more") == []


def test_end_of_file_is_told_once() -> None:
    connection = ready(Role.CLIENT)
    assert connection.receive_eof() == [Closed(True)]
    assert connection.receive_eof() == []
    assert connection.state is State.CLOSED
    assert connection.receive(WELCOME) == []


def test_random_bytes_of_all_lengths() -> None:
    for size in range(0, 200, 7):
        connection = ready(Role.CLIENT)
        connection.open(submit())
        incoming = connection.receive(os.urandom(size))
        assert all(not isinstance(item, Closed) for item in incoming)
