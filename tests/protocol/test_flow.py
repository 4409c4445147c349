"""Credit: the arithmetic, its violations, and the promise that every byte arrives within the windows."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from protocol_pair import END, STATUS, Pair, bytewise, cut_frames, drain, raw, ready, received, the_error, watch, whole

from pixwire_protocol import messages as m
from pixwire_protocol.connection import Connection, Failed, Received, Role
from pixwire_protocol.errors import LocalProtocolError, RemoteProtocolError
from pixwire_protocol.flow import ReceiveWindow, SendWindow
from pixwire_protocol.registry import MAX_CREDIT, ErrorCode, Flag, FrameType

# ---------------------------------------------------------------------- the arithmetic


@pytest.mark.req("PXW-FLW-005", "PXW-FLW-006")
@pytest.mark.parametrize("n", [0, -1, MAX_CREDIT + 1, 2**63])
def test_credit_outside_its_range(n: int) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        SendWindow(10).grant(n)
    assert caught.value.code is ErrorCode.FLOW_CONTROL


def test_a_window_never_exceeds_its_maximum() -> None:
    window = SendWindow(10)
    window.grant(MAX_CREDIT - 10)
    assert window.available == MAX_CREDIT
    with pytest.raises(RemoteProtocolError) as caught:
        window.grant(1)
    assert caught.value.code is ErrorCode.FLOW_CONTROL


@given(st.integers(1, 1000), st.lists(st.integers(0, 1200), max_size=60))
def test_a_receive_window_loses_nothing(size: int, steps: list[int]) -> None:
    """available + unreturned + outstanding = size; credit comes in batches of half the window at least."""
    window = ReceiveWindow(size)
    for number, n in enumerate(steps):
        if number % 2 == 0:
            if n > window.available:
                with pytest.raises(RemoteProtocolError):
                    window.receive(n, "here")
            else:
                window.receive(n, "here")
        elif n > window.outstanding:
            with pytest.raises(LocalProtocolError):
                window.consume(n)
        else:
            credit = window.consume(n)
            assert credit == 0 or credit >= max(1, size // 2)
        assert window.available + window.unreturned + window.outstanding == size
        assert min(window.available, window.unreturned, window.outstanding) >= 0
        # Whoever consumes everything is never left without credit for at least half a window.
        assert window.outstanding or window.available > size // 2 - 1


# ---------------------------------------------------------------------- violations


def announced(connection: Connection) -> int:
    stream = connection.open(m.Fetch("j"))
    drain(connection)
    connection.receive(raw(FrameType.RESULT, stream, {"length": 10**9}))
    return stream


@pytest.mark.req("PXW-FLW-003", "PXW-FLW-004")
def test_data_beyond_the_stream_window() -> None:
    connection = ready(Role.CLIENT, stream_window=2000, connection_window=10_000)
    stream = announced(connection)
    assert len(connection.receive(raw(FrameType.DATA, stream, tail=bytes(1999)))) == 1
    assert len(connection.receive(raw(FrameType.DATA, stream, tail=b"x"))) == 1
    error = the_error(connection.receive(raw(FrameType.DATA, stream, length=1)))  # judged by its header
    assert error.code is ErrorCode.FLOW_CONTROL
    assert "stream" in error.message


@pytest.mark.req("PXW-FLW-003", "PXW-FLW-009")
def test_data_beyond_the_connection_window() -> None:
    connection = ready(Role.CLIENT, stream_window=2000, connection_window=3000)
    first, second = announced(connection), announced(connection)
    connection.receive(raw(FrameType.DATA, first, tail=bytes(2000)))
    connection.receive(raw(FrameType.DATA, second, tail=bytes(1000)))
    error = the_error(connection.receive(raw(FrameType.DATA, second, tail=b"x")))
    assert error.code is ErrorCode.FLOW_CONTROL
    assert "connection" in error.message


@pytest.mark.req("PXW-FLW-005", "PXW-FLW-006")
@pytest.mark.parametrize("stream", [0, 1])
@pytest.mark.parametrize("n", [0, -5, MAX_CREDIT, MAX_CREDIT + 1])
def test_wrong_credit_costs_the_connection(stream: int, n: int) -> None:
    connection = ready(Role.SERVER)
    connection.receive(raw(FrameType.WATCH, 1, {"job": "j"}, flags=END))
    assert the_error(connection.receive(raw(FrameType.CREDIT, stream, {"n": n}))).code is ErrorCode.FLOW_CONTROL


@pytest.mark.parametrize("n", ["5", 5.0, True, None])
def test_credit_that_is_no_integer(n: Any) -> None:
    assert the_error(ready(Role.SERVER).receive(raw(FrameType.CREDIT, 0, {"n": n}))).code is ErrorCode.BAD_HEAD


@pytest.mark.req("PXW-LIM-003")
def test_a_flood_of_tiny_data_frames() -> None:
    connection = ready(Role.CLIENT, small_data_run=50)
    stream = announced(connection)
    tiny = raw(FrameType.DATA, stream, tail=b"x")
    assert len(connection.receive(tiny * 50)) == 50
    assert len(connection.receive(raw(FrameType.DATA, stream, tail=bytes(1024)) + tiny * 50)) == 51
    assert the_error(connection.receive(tiny)).code is ErrorCode.EXCESSIVE_LOAD


@pytest.mark.req("PXW-LIM-003")
@pytest.mark.parametrize(("size", "flags"), [(1024, 0), (1, Flag.END), (0, Flag.END)])
def test_ignored_data_that_is_not_small_ends_a_row_of_small_frames(size: int, flags: int) -> None:
    connection = ready(Role.CLIENT, small_data_run=50)
    stream = announced(connection)
    connection.reset(stream)
    tiny = raw(FrameType.DATA, stream, tail=b"x")
    for _ in range(3):
        assert connection.receive(tiny * 50) == []
        assert connection.receive(raw(FrameType.DATA, stream, tail=bytes(size), flags=flags)) == []
    assert the_error(connection.receive(tiny * 51)).code is ErrorCode.EXCESSIVE_LOAD


@pytest.mark.req("PXW-LIM-003")
@pytest.mark.parametrize(("window", "small"), [(1024, 255), (1025, 256), (1027, 256), (1028, 256), (8192, 1023)])
def test_small_is_below_a_quarter_of_the_window(window: int, small: int) -> None:
    for size, fails in ((small, True), (small + 1, False)):
        connection = ready(Role.CLIENT, small_data_run=16, stream_window=window)
        stream = announced(connection)
        for _ in range(17):
            reported = connection.receive(raw(FrameType.DATA, stream, tail=bytes(size)))
            if connection.failure is None:
                connection.consumed(stream, size)
                drain(connection)
        assert isinstance(reported[-1], Failed) is fails


def test_consuming_more_than_came() -> None:
    connection = ready(Role.CLIENT)
    stream = announced(connection)
    connection.receive(raw(FrameType.DATA, stream, tail=b"12345"))
    connection.consumed(stream, 5)
    with pytest.raises(LocalProtocolError, match="outstanding"):
        connection.consumed(stream, 1)
    with pytest.raises(LocalProtocolError):
        connection.consumed(stream, -1)


# ---------------------------------------------------------------------- giving back


@pytest.mark.req("PXW-FLW-007")
def test_credit_comes_back_in_halves() -> None:
    connection = ready(Role.CLIENT, stream_window=2000, connection_window=8000)
    stream = announced(connection)
    connection.receive(raw(FrameType.DATA, stream, tail=bytes(2000)))
    connection.consumed(stream, 999)
    assert not connection.has_output
    connection.consumed(stream, 1)
    connection.consumed(stream, 1000)
    frames = cut_frames(drain(connection))
    assert [(frame.type, frame.stream, frame.head) for frame in frames] == [(FrameType.CREDIT, stream, {"n": 2000})]
    connection.receive(raw(FrameType.DATA, stream, tail=bytes(2000)))
    connection.consumed(stream, 2000)
    frames = cut_frames(drain(connection))
    assert [(frame.stream, frame.head) for frame in frames] == [(stream, {"n": 2000}), (0, {"n": 4000})]


@pytest.mark.req("PXW-FLW-008")
@pytest.mark.parametrize("ending", ["end", "error", "reset", "own reset", "goaway"])
def test_a_stream_that_ends_gives_everything_back_to_the_connection(ending: str) -> None:
    connection = ready(Role.CLIENT, stream_window=2000, connection_window=2000)
    stream = announced(connection)
    connection.receive(raw(FrameType.DATA, stream, tail=bytes(1000)))
    if ending == "own reset":
        connection.reset(stream)
    last = {
        "end": raw(FrameType.DATA, stream, tail=bytes(1000), flags=END),
        "error": raw(FrameType.ERROR, stream, {"code": 5}, flags=END),
        "reset": raw(FrameType.RESET, stream, {"code": 5}),
        "own reset": raw(FrameType.DATA, stream, tail=bytes(1000)),  # late: paid back at once
        "goaway": raw(FrameType.GOAWAY, 0, {"last_stream": 0, "code": 0}),
    }
    connection.receive(last[ending])
    credit = [frame.head for frame in cut_frames(drain(connection)) if frame.type == FrameType.CREDIT]
    assert credit == [{"n": 2000 if ending in ("end", "own reset") else 1000}]
    connection.consumed(stream, 1000)  # too late to matter
    assert not connection.has_output
    assert connection.open_streams == 0


@pytest.mark.req("PXW-FLW-009")
def test_late_data_is_paid_back_but_not_beyond_the_window() -> None:
    connection = ready(Role.CLIENT, stream_window=2000, connection_window=2000)
    stream = announced(connection)
    connection.reset(stream)
    drain(connection)
    for _ in range(20):
        assert connection.receive(raw(FrameType.DATA, stream, tail=bytes(1500))) == []
        assert cut_frames(drain(connection))[0].head == {"n": 1500}
    error = the_error(connection.receive(raw(FrameType.DATA, stream, length=2001)))
    assert error.code is ErrorCode.FLOW_CONTROL


@pytest.mark.req("PXW-FLW-001", "PXW-FLW-002", "PXW-FLW-011", "PXW-FLW-012")
def test_a_stalled_consumer_stops_its_own_stream_only() -> None:
    pair = Pair({"stream_window": 1024, "connection_window": 8192})
    stalled, lively = pair.open(m.Fetch("j")), pair.open(m.Fetch("k"))
    for stream in (stalled, lively):
        pair.server.send(stream, m.Result(STATUS))
        pair.server.send_data(stream, bytes(20_000), end=True)
    total = 0
    for _ in range(200):
        pair.settle()
        arrived = [
            item for item in received(pair.at_client) if isinstance(item.message, m.Data) and item.stream == lively
        ]
        pair.forget()
        for item in arrived:
            assert isinstance(item.message, m.Data)
            total += len(item.message.tail)
            pair.client.consumed(lively, len(item.message.tail))
    assert total == 20_000
    assert pair.server.unsent(stalled) == 20_000 - 1024
    assert pair.server.unsent(lively) == 0
    other = pair.client.open(m.Status("j"))
    pair.settle()
    assert [item.stream for item in received(pair.at_server)] == [other]


@pytest.mark.req("PXW-FLW-010")
def test_credit_for_a_stream_whose_end_is_queued_still_counts() -> None:
    pair = Pair({"stream_window": 1024})
    stream = pair.open(m.Fetch("j"))
    pair.server.send(stream, m.Result(STATUS))
    pair.server.send_data(stream, bytes(3000), end=True)
    for _ in range(10):
        pair.settle()
        for item in received(pair.at_client):
            if isinstance(item.message, m.Data):
                pair.client.consumed(stream, len(item.message.tail))
        pair.forget()
    assert pair.client.open_streams == pair.server.open_streams == 0


# ---------------------------------------------------------------------- everything arrives


@dataclass
class Transfer:
    """One stream of the property below."""

    pieces: list[bytes]
    got: bytearray = field(default_factory=bytearray)
    over: bool = False
    owed: int = 0

    @property
    def whole(self) -> bytes:
        return b"".join(self.pieces)


class Ledger:
    """An outsider's books: what may be under way, judged from the frames alone."""

    def __init__(self, stream_window: int, connection_window: int) -> None:
        self.stream_window = stream_window
        self.connection = connection_window
        self.streams: dict[int, int] = {}

    def data(self, stream: int, size: int) -> None:
        self.connection -= size
        self.streams[stream] = self.streams.get(stream, self.stream_window) - size
        assert self.connection >= 0
        assert self.streams[stream] >= 0

    def credit(self, stream: int, n: int) -> None:
        if stream:
            self.streams[stream] = self.streams.get(stream, self.stream_window) + n
            assert self.streams[stream] <= self.stream_window
        else:
            self.connection += n


@given(
    data=st.data(),
    stream_window=st.integers(1024, 5000),
    connection_window=st.integers(1024, 9000),
    chunk=st.integers(1024, 8000),
    sizes=st.lists(st.lists(st.integers(0, 6000), min_size=1, max_size=4), min_size=1, max_size=5),
)
def test_all_bytes_arrive_within_the_windows(
    data: st.DataObject, stream_window: int, connection_window: int, chunk: int, sizes: list[list[int]]
) -> None:
    """Any windows and any order of things: no window is exceeded, nothing is lost, nothing hangs."""
    pair = Pair({"stream_window": stream_window, "connection_window": connection_window}, {"data_chunk": chunk})
    ledger = Ledger(stream_window, connection_window)
    transfers: dict[int, Transfer] = {}
    for number, parts in enumerate(sizes):
        transfers[pair.open(m.Fetch("j"))] = Transfer([bytes([number + 1]) * size for size in parts])
    for stream, transfer in transfers.items():
        pair.server.send(stream, m.Result(STATUS))
        for piece in transfer.pieces:
            pair.server.send_data(stream, piece)
        pair.server.send_data(stream, b"", end=True)
    lazy = data.draw(st.integers(0, 3))
    for turn in range(2000):
        if all(transfer.over for transfer in transfers.values()) and not pair.client.open_streams:
            break
        buffers = b"".join(pair.server.data_to_send())
        frames = cut_frames(buffers)
        assert sum(frame.type == FrameType.DATA for frame in frames) <= 1
        for frame in frames:
            if frame.type == FrameType.DATA:
                ledger.data(frame.stream, len(frame.tail))
        for item in received(pair.client.receive(buffers)):
            if isinstance(item.message, m.Data):
                transfer = transfers[item.stream]
                transfer.got += item.message.tail
                transfer.owed += len(item.message.tail)
                transfer.over = item.end
        if turn % (lazy + 1) == 0:
            for stream, transfer in transfers.items():
                part = transfer.owed if lazy != 2 else (transfer.owed + 1) // 2
                if part and not transfer.over:
                    pair.client.consumed(stream, part)
                    transfer.owed -= part
        answer = b"".join(pair.client.data_to_send())
        for frame in cut_frames(answer):
            assert frame.type == FrameType.CREDIT
            assert frame.head is not None
            ledger.credit(frame.stream, frame.head["n"])
        pair.server.receive(answer)
    for transfer in transfers.values():
        assert transfer.over
        assert transfer.got == transfer.whole
    assert ledger.connection > connection_window // 2 - 1


@pytest.mark.parametrize("cut", [whole, bytewise])
def test_delivery_after_a_watch(cut: Any) -> None:
    pair = Pair(cut=cut)
    stream = pair.open(watch())
    images = [bytes([n]) * 3000 for n in range(3)]
    pair.server.send(stream, m.Result(STATUS))
    pair.server.send(stream, m.Event(STATUS | {"event": "state", "state": "succeeded"}))
    for number, image in enumerate(images):
        pair.server.send(stream, m.Result({"artifact": number, "length": len(image)}))
        pair.server.send_data(stream, memoryview(image)[:1000])
        pair.server.send_data(stream, memoryview(image)[1000:], end=number == 2)
    pair.settle()
    kinds = [type(item.message).__name__ for item in received(pair.at_client)]
    assert kinds == ["Result", "Event", *["Result", "Data", "Data"] * 3]
    tails = [bytes(item.message.tail) for item in received(pair.at_client) if isinstance(item.message, m.Data)]
    assert b"".join(tails) == b"".join(images)
    last = pair.at_client[-1]
    assert isinstance(last, Received)
    assert last.end
    assert pair.client.open_streams == pair.server.open_streams == 0
