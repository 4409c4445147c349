"""The order of what is sent: classes, fairness, lossy frames, bounds, references."""

import itertools
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from protocol_pair import END, STATUS, Pair, cut_frames, drain, raw, ready, received, submit, the_error, watch

from pixwire_protocol import messages as m
from pixwire_protocol.connection import Connection, Failed, Role, State
from pixwire_protocol.errors import LocalProtocolError
from pixwire_protocol.registry import ErrorCode, FrameType

PROGRESS = {"event": "progress", "job": "j"}
BIG = raw(FrameType.CREDIT, 0, {"n": 1 << 28})


def server(*requests: bytes, **settings: Any) -> Connection:
    connection = ready(Role.SERVER, **settings)
    connection.receive(b"".join(requests))
    return connection


def watching(stream: int) -> bytes:
    return raw(FrameType.WATCH, stream, {"job": "j", "want": ["progress", "preview"]}, flags=END)


def fetching(stream: int) -> bytes:
    return raw(FrameType.FETCH, stream, {"job": "j"}, flags=END) + raw(FrameType.CREDIT, stream, {"n": 1 << 28})


def preview(seq: int, size: int = 10) -> m.Preview:
    return m.Preview("j", seq, seq, 8, "image/png", 8, 8, bytes(size))


def types(data: bytes) -> list[str]:
    return [FrameType(frame.type).name for frame in cut_frames(data)]


@pytest.mark.req("PXW-KAL-001", "PXW-KAL-002")
def test_the_four_classes_in_order() -> None:
    connection = server(BIG, fetching(1), watching(3), fetching(5))
    connection.send(1, m.Result(STATUS))
    connection.send_data(1, bytes(300_000))
    connection.send(3, m.Result(STATUS))
    connection.send(3, m.Event(STATUS | {"event": "state"}))
    connection.send(3, preview(1))
    connection.send(3, m.Event(PROGRESS))
    connection.send_error(5, ErrorCode.INTERNAL, "x")
    connection.receive(raw(FrameType.PING, 0, tail=b"12345678"))
    assert types(b"".join(connection.data_to_send())) == [
        "PING", "RESULT", "RESULT", "EVENT", "ERROR", "PREVIEW", "EVENT", "DATA",
    ]  # fmt: skip
    assert types(b"".join(connection.data_to_send())) == ["DATA"]
    assert not connection.has_output


def test_one_data_frame_per_call_and_control_in_between() -> None:
    connection = server(BIG, fetching(1), data_chunk=1024)
    connection.send(1, m.Result(STATUS))
    connection.send_data(1, bytes(10_000), end=True)
    drained = []
    while connection.has_output:
        connection.receive(raw(FrameType.PING, 0, tail=b"12345678"))
        drained.append(types(b"".join(connection.data_to_send())))
        if len(drained) > 9:
            break
    assert drained[0] == ["PING", "RESULT", "DATA"]
    assert all(names == ["PING", "DATA"] for names in drained[1:])


def test_max_bytes_bounds_all_but_one_frame_and_one_chunk() -> None:
    connection = server(BIG, *(watching(1 + 2 * n) for n in range(20)), fetching(41))
    for n in range(20):
        connection.send(1 + 2 * n, m.Result({"x": "x" * 1000}))
    connection.send(41, m.Result(STATUS))
    connection.send_data(41, b"data", end=True)
    sizes = []
    while connection.has_output:
        sizes.append(types(b"".join(connection.data_to_send(3000))))
    assert [len(names) for names in sizes[:-1]] == [3] * 6
    assert [name for names in sizes for name in names] == ["RESULT"] * 21 + ["DATA"]
    assert connection.data_to_send(1) == []


@pytest.mark.req("PXW-JOB-006", "PXW-JOB-007", "PXW-JOB-008", "PXW-JOB-009")
def test_lossy_frames_keep_the_newest_and_never_follow_a_state() -> None:
    connection = server(watching(1), watching(3))
    for stream in (1, 3):
        connection.send(stream, m.Result(STATUS))
    drain(connection)
    connection.send(1, m.Event(PROGRESS | {"seq": 2}))
    connection.send(1, preview(3))
    connection.send(1, m.Event(PROGRESS | {"seq": 4}))
    connection.send(3, m.Event(PROGRESS | {"seq": 9}))
    frames = cut_frames(drain(connection))
    assert [(frame.stream, frame.head["seq"]) for frame in frames if frame.head] == [(1, 3), (1, 4), (3, 9)]
    connection.send(1, m.Event(PROGRESS | {"seq": 5}))
    connection.send(1, preview(6))
    connection.send(3, m.Event(PROGRESS | {"seq": 10}))
    connection.send(1, m.Event(STATUS | {"event": "state", "seq": 7}))
    frames = cut_frames(drain(connection))
    assert [(frame.stream, frame.head["seq"]) for frame in frames if frame.head] == [(1, 7), (3, 10)]


def test_lossy_frames_never_cost_the_connection() -> None:
    connection = server(*(watching(1 + 2 * n) for n in range(10)), reply_bytes=65536)
    for n in range(10):
        connection.send(1 + 2 * n, m.Result(STATUS))
    sent = [connection.send(1 + 2 * n, preview(2, 10_000)) for n in range(10)]
    assert sent == [True] * 6 + [False] * 4
    assert connection.send(1, preview(3, 10_000))  # in place of the older one
    assert connection.state is State.READY
    drain(connection)
    assert connection.send(19, preview(3, 10_000))


@given(st.lists(st.integers(1, 5), min_size=2, max_size=5), st.integers(1024, 20_000), st.integers(0, 7))
def test_bulk_is_fair_by_bytes(pieces: list[int], chunk: int, uneven: int) -> None:
    """While all streams have DATA, none is ahead of another by more than two chunks, however it was handed over."""
    streams = [1 + 2 * n for n in range(len(pieces))]
    connection = server(BIG, *map(fetching, streams), data_chunk=chunk)
    total = 40 * chunk
    for stream, parts in zip(streams, pieces, strict=True):
        connection.send(stream, m.Result(STATUS))
        size = max(1, total // (parts * 10) - uneven * stream)
        for _ in range(total // size + 1):
            connection.send_data(stream, bytes(size))
    sent: Counter[int] = Counter(dict.fromkeys(streams, 0))
    while all(connection.unsent(stream) for stream in streams):
        for frame in cut_frames(b"".join(connection.data_to_send())):
            if frame.type == FrameType.DATA:
                assert 0 < len(frame.tail) <= chunk
                sent[frame.stream] += len(frame.tail)
        assert max(sent.values()) - min(sent.values()) <= 2 * chunk


def test_a_blocked_stream_holds_nobody_up() -> None:
    connection = server(BIG, raw(FrameType.FETCH, 1, {"job": "j"}, flags=END), fetching(3))
    for stream in (1, 3):
        connection.send(stream, m.Result(STATUS))
        connection.send_data(stream, bytes(1_000_000), end=True)
    out = cut_frames(drain(connection))
    assert sum(len(frame.tail) for frame in out if frame.stream == 1) == 262144
    assert sum(len(frame.tail) for frame in out if frame.stream == 3) == 1_000_000
    assert connection.unsent(1) == 1_000_000 - 262144
    assert connection.unsent(3) == 0
    connection.receive(raw(FrameType.CREDIT, 1, {"n": 1 << 28}))
    assert sum(len(frame.tail) for frame in cut_frames(drain(connection))) == 1_000_000 - 262144


def test_data_is_cut_late_and_never_copied() -> None:
    connection = server(BIG, fetching(1))
    picture = bytearray(600_000)
    connection.send(1, m.Result(STATUS))
    connection.send_data(1, memoryview(picture))
    picture[300_000] = 7  # not sent yet
    views = [buffer for _ in range(3) for buffer in connection.data_to_send() if isinstance(buffer, memoryview)]
    assert [view.obj for view in views] == [picture] * 3
    assert b"".join(views) == picture


def test_frames_do_not_overtake_the_data_before_them() -> None:
    connection = server(BIG, watching(1), raw(FrameType.CREDIT, 1, {"n": 1 << 28}), data_chunk=1024)
    connection.send(1, m.Result(STATUS))
    for number in range(3):
        connection.send(1, m.Result({"artifact": number}))
        connection.send_data(1, bytes(2000), end=number == 2)
    assert types(drain(connection)) == ["RESULT", *["RESULT", "DATA", "DATA"] * 3]
    assert connection.open_streams == 0


def test_an_empty_last_frame_needs_no_credit() -> None:
    connection = server(raw(FrameType.FETCH, 1, {"job": "j"}, flags=END))
    connection.send(1, m.Result(STATUS))
    connection.send_data(1, bytes(262144))
    connection.send_data(1, b"", end=True)
    connection.send_data(1, b"")  # over
    frames = cut_frames(drain(connection))
    assert [(frame.type, len(frame.tail), frame.flags) for frame in frames][1:] == [
        (FrameType.DATA, 262144, 0),
        (FrameType.DATA, 0, END),
    ]
    assert connection.open_streams == 0


def test_an_error_drops_the_data_before_it() -> None:
    for end in (lambda c: c.send_error(1, ErrorCode.INTERNAL, "x"), lambda c: c.reset(1, ErrorCode.INTERNAL)):
        connection = server(BIG, fetching(1))
        connection.send(1, m.Result(STATUS))
        connection.send_data(1, bytes(1_000_000))
        connection.data_to_send()
        assert end(connection)
        assert connection.unsent(1) == 0
        assert types(drain(connection)) in (["ERROR"], ["RESET"])
        assert connection.open_streams == 0


def test_a_reset_of_the_peer_drops_the_data_at_once() -> None:
    connection = server(BIG, fetching(1))
    connection.send(1, m.Result(STATUS))
    picture = bytearray(1_000_000)
    connection.send_data(1, picture, end=True)
    connection.data_to_send()
    (item,) = received(connection.receive(raw(FrameType.RESET, 1, {"code": 0})))
    assert item.message == m.Reset(0)
    assert connection.unsent(1) == 0
    assert not connection.has_output
    picture.clear()  # nobody holds a view of it any more: this would raise BufferError


def test_failure_lets_go_of_all_buffers() -> None:
    connection = server(BIG, fetching(1))
    connection.send(1, m.Result(STATUS))
    picture = bytearray(1_000_000)
    connection.send_data(1, picture, end=True)
    connection.receive(b"\x00" * 12)
    assert connection.unsent(1) == 0
    picture.clear()
    assert types(drain(connection)) == ["GOAWAY"]
    for harmless in (
        lambda: connection.send(1, m.Result(STATUS)),
        lambda: connection.send_data(1, b"x"),
        lambda: connection.send_error(1, ErrorCode.INTERNAL, "x"),
        lambda: connection.reset(1),
        lambda: connection.ping(b"12345678"),
        lambda: connection.goaway(),
    ):
        assert harmless() is False
    connection.consumed(1, 5)
    assert not connection.has_output


# ---------------------------------------------------------------------- bounds


@pytest.mark.req("PXW-LIM-001")
@pytest.mark.parametrize("limit", [{"control_frames": 100}, {"control_bytes": 4096}])
def test_a_peer_that_reads_no_answers(limit: dict[str, int]) -> None:
    connection = ready(Role.SERVER, **limit)
    ping = raw(FrameType.PING, 0, tail=b"12345678")
    incoming = connection.receive(ping * 2000)
    assert the_error(incoming).code is ErrorCode.EXCESSIVE_LOAD
    assert 90 < len(incoming) < 220
    assert types(drain(connection)) == ["GOAWAY"]


def test_refusals_are_bounded_too() -> None:
    connection = ready(Role.SERVER, max_streams=1, control_frames=20)
    flood = b"".join(raw(FrameType.STATUS, 1 + 2 * n, {"job": "j"}, flags=END) for n in range(50))
    assert the_error(connection.receive(flood)).code is ErrorCode.EXCESSIVE_LOAD


def test_credit_takes_one_place_however_often_it_is_given() -> None:
    connection = ready(Role.CLIENT, stream_window=1024, control_frames=16)
    stream = connection.open(m.Fetch("j"))
    drain(connection)
    connection.receive(raw(FrameType.RESULT, stream, STATUS))
    for _ in range(100):
        connection.receive(raw(FrameType.DATA, stream, tail=bytes(1024)))
        connection.consumed(stream, 1024)
    assert [(frame.stream, frame.head) for frame in cut_frames(drain(connection))] == [(1, {"n": 102400})]


@pytest.mark.req("PXW-LIM-002")
def test_a_peer_that_takes_no_replies() -> None:
    connection = server(*(watching(1 + 2 * n) for n in range(3)), reply_bytes=65536)
    results = [connection.send(stream, m.Result({"x": "x" * 10_000, "y": "y" * 15_000})) for stream in (1, 3, 5)]
    assert results == [True, True, False]
    assert connection.state is State.FAILED
    assert connection.failure is not None
    assert connection.failure.code is ErrorCode.SLOW_CONSUMER
    assert types(drain(connection)) == ["GOAWAY"]
    assert connection.receive(b"whatever") == [Failed(connection.failure)]
    assert connection.receive(b"whatever") == []


def test_a_peer_that_does_not_even_take_an_error() -> None:
    connection = server(*(watching(1 + 2 * n) for n in range(70)), reply_bytes=65536)
    results = [connection.send_error(1 + 2 * n, ErrorCode.INTERNAL, "x" * 1000) for n in range(70)]
    assert results.count(False) > 5
    assert connection.failure is not None
    assert connection.failure.code is ErrorCode.SLOW_CONSUMER


def test_a_local_failure_is_told_at_the_end_of_file_at_the_latest() -> None:
    connection = server(control_frames=16)
    assert [connection.ping(b"12345678") for _ in range(17)] == [True] * 16 + [False]
    failure = connection.failure
    assert failure is not None
    assert connection.receive_eof() == [Failed(failure)]
    assert connection.receive_eof() == []


def test_a_client_cannot_pile_up_requests() -> None:
    connection = ready(Role.CLIENT, reply_bytes=65536)
    for _ in range(3):
        connection.open(m.Submit("j", "k", bytes(20_000)))
    with pytest.raises(LocalProtocolError, match="65536"):
        connection.open(m.Submit("j", "k", bytes(20_000)))
    assert connection.open_streams == 3
    drain(connection)
    assert connection.open(m.Submit("j", "k", bytes(20_000))) == 7


@pytest.mark.req("PXW-SEC-001")
def test_rapid_open_and_reset_leaves_nothing_behind() -> None:
    """Open and reset in one flight, answered or not: places are freed when the answers have left, not before."""
    connection = ready(Role.SERVER, max_streams=8)
    for round_number in range(50):
        first = 1 + 16 * round_number
        flight = b"".join(
            raw(FrameType.WATCH, stream, {"job": "j"}, flags=END) + raw(FrameType.RESET, stream, {"code": 0})
            for stream in range(first, first + 16, 2)
        )
        incoming = received(connection.receive(flight))
        assert len(incoming) == 16
        for item in incoming:
            if isinstance(item.message, m.Watch):
                assert not connection.send(item.stream, m.Result(STATUS))
        assert connection.open_streams == 0
        assert not connection.has_output


def test_streams_answered_and_reset_keep_their_place_until_flushed() -> None:
    connection = ready(Role.SERVER, max_streams=4)
    for stream in range(1, 9, 2):
        connection.receive(watching(stream))
        connection.send(stream, m.Result(STATUS))
        connection.receive(raw(FrameType.RESET, stream, {"code": 0}))
    assert connection.open_streams == 4
    assert connection.receive(watching(9)) == []
    drain(connection)
    assert connection.open_streams == 0


@given(st.data())
def test_buffers_are_never_empty_and_has_output_is_true_to_its_word(data: st.DataObject) -> None:
    pair = Pair({"stream_window": 2048, "connection_window": 4096}, {"data_chunk": 1024})
    streams = [pair.open(request) for request in (watch(), m.Fetch("j"), submit(watch=True, deliver=True))]
    for stream in streams:
        pair.server.send(stream, m.Result(STATUS))
    actions = data.draw(st.lists(st.tuples(st.sampled_from("epdrxc"), st.sampled_from(streams)), max_size=40))
    for action, stream in actions:
        try:
            match action:
                case "e":
                    pair.server.send(stream, m.Event(STATUS | {"event": "state"}))
                case "p":
                    pair.server.send(stream, m.Event(PROGRESS))
                case "d":
                    pair.server.send_data(stream, bytes(700))
                case "r":
                    pair.server.send(stream, m.Result(STATUS))
                case "x":
                    pair.client.reset(stream)
                case "c":
                    for side in (pair.client, pair.server):
                        expected = side.has_output
                        buffers = side.data_to_send(data.draw(st.integers(1, 5000)))
                        assert bool(buffers) is expected
                        assert all(len(buffer) for buffer in buffers)
                        other = pair.server if side is pair.client else pair.client
                        assert not any(isinstance(item, Failed) for item in other.receive(b"".join(buffers)))
        except LocalProtocolError:
            pass
    for side in itertools.chain([pair.client, pair.server]):
        drain(side)
        assert not side.has_output
