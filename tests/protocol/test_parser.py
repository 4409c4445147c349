"""Cutting the byte stream: the same result for every split, both ways in, sinks, and refusals before the body."""

import itertools
import os
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from protocol_pair import (
    END,
    HELLO,
    STATUS,
    TAIL,
    WAYS,
    WELCOME,
    by_buffer,
    by_receive,
    bytewise,
    drain,
    plain,
    raw,
    ready,
    submit,
    the_error,
    watch,
)

from pixwire_protocol import messages as m
from pixwire_protocol.connection import Closed, Connection, Incoming, Role, Settings, State
from pixwire_protocol.header import HEADER
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


CASES: dict[str, tuple[Callable[[], Connection], bytes]] = {
    "server": (server, to_server()),
    "client": (client, to_client()),
    "client, then nonsense": (client, to_client() + b"\x00nonsense" * 9),
    "server, frame too large": (server, PREFACE + HELLO + raw(FrameType.STATUS, 1, length=300_000) + bytes(99)),
    "server, half a frame": (server, PREFACE + HELLO + raw(FrameType.SUBMIT, 1, {"job": "j"}, TAIL, END)[:-1]),
    "http": (server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    "version": (server, b"\x89PXW\x02\x03\x00\x00" + HELLO),
}


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
