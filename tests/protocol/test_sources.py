"""DATA whose bytes lie elsewhere: cut and counted like the others, and handed out as places, not as bytes."""

import pytest
from protocol_pair import END, STATUS, Pair, cut_frames, raw, ready

from pixwire_protocol import messages as m
from pixwire_protocol.connection import Connection, Role
from pixwire_protocol.registry import ErrorCode, FrameType


class Place:
    """Bytes of `whole` from `start` to `stop`; nobody may look at them before they leave."""

    def __init__(self, whole: bytes, start: int = 0, stop: int | None = None) -> None:
        self.whole, self.start, self.stop = whole, start, len(whole) if stop is None else stop

    @property
    def nbytes(self) -> int:
        return self.stop - self.start

    def __getitem__(self, part: slice) -> "Place":
        start, stop, _ = part.indices(self.nbytes)
        return Place(self.whole, self.start + start, self.start + stop)

    def tobytes(self) -> bytes:
        return self.whole[self.start : self.stop]


def drained(connection: Connection) -> bytes:
    """What a shell would send: the buffers, and the place behind them."""
    out = b""
    while connection.has_output:
        out += b"".join(connection.data_to_send())
        source = connection.take_source()
        out += b"" if source is None else source.tobytes()
    return out


def fetching(credit: int) -> Connection:
    connection = ready(Role.SERVER)
    connection.receive(raw(FrameType.FETCH, 1, {"job": "j"}, flags=END) + raw(FrameType.CREDIT, 1, {"n": credit}))
    connection.receive(raw(FrameType.CREDIT, 0, {"n": credit}))
    connection.send(1, m.Result(STATUS))
    return connection


@pytest.mark.req("PXW-FLW-001")
def test_the_bytes_arrive_and_only_their_places_pass_through() -> None:
    image = bytes(range(256)) * 2500
    connection = fetching(1 << 28)
    connection.send_data(1, Place(image), end=True)
    seen = []
    while connection.has_output:
        buffers = connection.data_to_send()
        assert sum(map(len, buffers)) < 300
        source = connection.take_source()
        assert source is not None
        assert connection.take_source() is None, "it is given once"
        seen.append(source.nbytes)
    assert seen == [262144, 262144, len(image) - 2 * 262144]
    assert connection.open_streams == 0


@pytest.mark.parametrize("size", [1, 4096, 262144, 600_000])
def test_places_and_bytes_give_the_same_frames(size: int) -> None:
    image = bytes(index % 251 for index in range(size))
    wires = []
    for data in (image, Place(image)):
        connection = fetching(1 << 28)
        connection.send_data(1, data, end=True)
        wires.append(drained(connection))
    assert wires[0] == wires[1]
    assert b"".join(frame.tail for frame in cut_frames(wires[1])[1:]) == image


def test_places_keep_to_the_credit() -> None:
    connection = fetching(1000)
    connection.send_data(1, Place(bytes(1_000_000)), end=True)
    sent = sum(len(frame.tail) for frame in cut_frames(drained(connection))[1:])
    assert sent == 262144 + 1000
    assert connection.unsent(1) == 1_000_000 - sent


def test_an_error_drops_the_places_before_it() -> None:
    connection = fetching(1 << 28)
    connection.send_data(1, Place(bytes(1_000_000)))
    connection.data_to_send()
    connection.take_source()
    connection.send_error(1, ErrorCode.INTERNAL, "x")
    assert [FrameType(frame.type).name for frame in cut_frames(drained(connection))] == ["ERROR"]
    assert connection.take_source() is None


def test_an_empty_place_ends_the_stream() -> None:
    connection = fetching(1 << 28)
    connection.send_data(1, Place(b"x"))
    connection.send_data(1, Place(b""), end=True)
    frames = cut_frames(drained(connection))
    assert [(len(frame.tail), frame.flags) for frame in frames[1:]] == [(1, 0), (0, END)]


def test_a_client_that_gives_bytes_is_asked_for_no_places() -> None:
    pair = Pair()
    pair.client.open(m.Status("j"))
    pair.client.data_to_send()
    assert pair.client.take_source() is None
