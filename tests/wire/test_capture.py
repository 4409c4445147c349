"""`.pxwcap`: what is written can be read, and what cannot be read says where."""

import json
from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest
from hypothesis import strategies as st
from wire_bytes import HELLO, STATUS, TOKEN, WELCOME, cut, frame, given

from pixwire.wire.annotate import SeenFrame, Side, annotate
from pixwire.wire.capture import Capture, CaptureError, Chunk, Mark, Record, dump, parse
from pixwire.wire.record import Recorder, TokenMask
from pixwire.wire.shown import lines as lines_of
from pixwire.wire.shown import to_map
from pixwire_protocol.header import pack_header
from pixwire_protocol.messages import Auth, Ping

sides: st.SearchStrategy[Side] = st.sampled_from(["C", "S"])
numbers = st.integers(0, 2**63)
records: st.SearchStrategy[Record] = st.one_of(
    st.builds(Chunk, numbers, numbers, sides, st.binary(max_size=50)),
    st.builds(
        Mark, numbers, numbers, st.text(max_size=9), st.one_of(st.none(), sides), st.one_of(st.none(), st.text())
    ),
)


@given(st.lists(records, max_size=6), st.dictionaries(st.sampled_from(["peer", "created"]), st.text()))
def test_written_is_read(found: list[Record], info: dict[str, str]) -> None:
    capture = Capture(tuple(found), info)
    assert parse(dump(capture).encode()) == capture


@given(st.one_of(st.binary(), st.binary().map(lambda rest: b'{"pxwcap": 1}\n' + rest)))
def test_any_bytes_are_a_capture_or_say_where_they_are_not(data: bytes) -> None:
    try:
        parse(data)
    except CaptureError as error:
        found = error
    else:
        return
    assert 1 <= found.line <= data.count(b"\n") + 1
    assert 0 <= found.byte <= len(data)


GOOD = b'{"pxwcap": 1}\n{"t_ns": 0, "conn": 1, "from": "C", "data": "iVBYVw=="}\n'


@pytest.mark.parametrize(
    ("data", "line", "byte", "reason"),
    [
        (b"", 1, 0, "empty"),
        (b"  \n", 1, 0, "empty"),
        (b"[]", 1, 0, "a line is a JSON object, not []"),
        (GOOD + b"null", 3, len(GOOD), "a line is a JSON object, not null"),
        (GOOD + b'{"t_ns": ' + b"9" * 5000 + b"}", 3, len(GOOD), "a number with too many digits"),
        (GOOD + b"[" * 100_000, 3, len(GOOD), "nested too deep"),
        (b"{}", 1, 0, 'the first line must say {"pxwcap": 1}'),
        (b'{"pxwcap": 2}', 1, 0, "version 2"),
        (b'{"pxwcap": true}', 1, 0, "version True"),
        (GOOD + b'{"t_ns": 1, "conn": 1, "fr', 3, len(GOOD) + 23, "not JSON"),
        (GOOD + b'{"t_ns": 1, "conn": 1, "from": "X", "data": ""}', 3, len(GOOD), '"from" must be "C" or "S"'),
        (GOOD + b'{"t_ns": 1, "conn": 1, "from": "C", "data": "!"}', 3, len(GOOD), "not base64"),
        (GOOD + b'{"t_ns": 1, "conn": 1, "from": "C", "data": 5}', 3, len(GOOD), "not base64"),
        (GOOD + b'{"t_ns": 1, "conn": 1, "data": ""}', 3, len(GOOD), '"from" is missing'),
        (GOOD + b'{"t_ns": 1, "conn": 1}', 3, len(GOOD), 'has "data"'),
        (
            GOOD + b'{"t_ns": -1, "conn": 1, "event": "x"}',
            3,
            len(GOOD),
            '"t_ns" must be an integer of 0 or more, not -1',
        ),
        (GOOD + b'{"t_ns": 1.5, "conn": 1, "event": "x"}', 3, len(GOOD), '"t_ns" must be'),
        (GOOD + b"\xff\n", 3, len(GOOD), "not UTF-8"),
    ],
)
def test_a_broken_capture_says_which_line_and_byte(data: bytes, line: int, byte: int, reason: str) -> None:
    with pytest.raises(CaptureError) as caught:
        parse(data)
    assert (caught.value.line, caught.value.byte) == (line, byte)
    assert reason in str(caught.value)
    assert len(caught.value.readable.records) == (1 if line == 3 else 0)


def test_unknown_keys_and_events_are_no_error() -> None:
    found = parse(GOOD + b'{"t_ns": 1, "conn": 2, "event": "moon", "phase": 3}\n')
    assert [connection.id for connection in found.connections()] == [1, 2]


# ---------------------------------------------------------------------- secrets


def raw_auth(pairs: list[tuple[str, Any]]) -> bytes:
    """An AUTH with these keys, whatever they are."""
    packer = msgpack.Packer()
    head = packer.pack_map_pairs([("mechanism", "bearer"), *pairs])
    return pack_header(0x02, 0, 0, len(head), 0) + head


AUTH = frame(Auth("bearer", TOKEN))
SESSION = HELLO + AUTH + STATUS + frame(Ping(b"12345678"))


@pytest.mark.req("PXW-AUT-020")
@given(st.lists(st.integers(0, len(SESSION)), max_size=8))
def test_a_recording_holds_no_token_however_it_was_cut(places: list[int]) -> None:
    lines: list[str] = []
    recorder = Recorder(lines.append, {})
    for number, piece in enumerate(cut(SESSION, places)):
        recorder(Chunk(number, 1, "C", piece))
    (connection,) = parse("".join(lines).encode()).connections()
    data = connection.sent("C")
    assert len(data) == len(SESSION)
    assert TOKEN.encode() not in data
    assert data.replace(b"*" * len(TOKEN), TOKEN.encode()) == SESSION
    names = [item.name for item in annotate(data) if isinstance(item, SeenFrame)]
    assert names == ["HELLO", "AUTH", "STATUS", "PING"]


@given(st.binary(), st.lists(st.integers(0, 60), max_size=4))
def test_masking_keeps_the_length_of_any_bytes(data: bytes, places: list[int]) -> None:
    mask = TokenMask()
    out = b"".join(mask.feed(piece) for piece in cut(data, places)) + mask.end()
    assert len(out) == len(data)


@pytest.mark.req("PXW-AUT-020")
def test_an_auth_that_was_cut_off_is_masked_too() -> None:
    lines: list[str] = []
    recorder = Recorder(lines.append, {})
    recorder(Chunk(0, 1, "C", HELLO + AUTH[:-3]))
    recorder(Mark(1, 1, "eof", "C"))
    data = parse("".join(lines).encode()).connections()[0].sent("C")
    assert len(data) == len(HELLO + AUTH) - 3
    assert TOKEN.encode()[:5] not in data


@pytest.mark.req("PXW-AUT-020")
@pytest.mark.parametrize(
    "auth",
    [
        pytest.param(AUTH[:5] + b"\x01" + AUTH[6:], id="with ACK"),
        pytest.param(raw_auth([("token", TOKEN), ("token", "x")]), id="two tokens"),
        pytest.param(raw_auth([("token", [TOKEN])]), id="a token in an array"),
    ],
)
def test_a_token_in_an_auth_that_is_wrong_is_masked_too(auth: bytes) -> None:
    mask = TokenMask()
    assert TOKEN.encode() not in mask.feed(HELLO + auth) + mask.end()
    (item,) = annotate(auth)
    assert TOKEN not in "".join(lines_of(item, "C")) + json.dumps(to_map(item, "C"))


def test_the_server_s_bytes_and_wanted_secrets_are_written_as_they_are() -> None:
    lines: list[str] = []
    recorder = Recorder(lines.append, {}, secrets=True)
    recorder(Chunk(0, 1, "S", WELCOME))
    recorder(Chunk(0, 1, "C", SESSION))
    (connection,) = parse("".join(lines).encode()).connections()
    assert connection.sent("S") == WELCOME
    assert connection.sent("C") == SESSION
    assert json.loads(lines[0]) == {"pxwcap": 1}
