"""Messages and their bytes: round trips, defaults, wrong fields, unknown fields, boundaries of the header."""

import math
from dataclasses import FrozenInstanceError, replace
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from protocol_pair import cut_frames, raw
from protocol_strategies import any_message

from pixwire_protocol import messages as m
from pixwire_protocol.errors import LocalProtocolError, MessageTooLargeError, RemoteProtocolError
from pixwire_protocol.header import HEADER, MAX_HEAD, MAX_LENGTH, Frame, pack_header
from pixwire_protocol.heads import MESSAGES, FieldSpec
from pixwire_protocol.limits import Limits
from pixwire_protocol.registry import MAX_STREAM, ErrorCode, Flag, FrameType

FIELDS = [(name, item) for name, spec in MESSAGES.items() for item in spec.fields]
FIELD_IDS = [f"{name}.{item.name}" for name, item in FIELDS]


def as_frame(data: bytes) -> Frame:
    (seen,) = cut_frames(data)
    size = HEADER.unpack_from(data)[3]
    return Frame(seen.type, seen.flags, seen.stream, data[12 : 12 + size], seen.tail)


def encoded(message: m.Message, stream: int = 0, flags: int = 0) -> bytes:
    return b"".join(m.encode(message, stream, flags))


def minimal_head(name: str) -> dict[str, Any]:
    """The required fields of a message, with values that are right."""
    values: dict[str, Any] = {"str": "x", "int": 1}
    required = [item for item in MESSAGES[name].fields if item.required]
    return {item.name: item.choices[0] if item.choices else values[item.type] for item in required}


def frame_of(name: str, head: dict[str, Any]) -> Frame:
    spec = MESSAGES[name]
    flags = Flag.ACK if spec.ack else 0
    return Frame(spec.type, flags, 0 if spec.stream == "zero" else 1, msgpack.packb(head), b"")


@given(any_message, st.integers(0, MAX_STREAM), st.booleans())
def test_round_trip(message: m.Message, stream: int, end: bool) -> None:
    acked = isinstance(message, m.Hello | m.Welcome | m.Auth | m.AuthOk | m.Ping | m.Pong)
    data = encoded(message, stream, Flag.END if end and not acked else 0)
    frame = as_frame(data)
    assert frame.stream == stream
    assert m.decode(frame) == message


@given(any_message)
def test_encoding_is_canonical_and_never_empty(message: m.Message) -> None:
    buffers = m.encode(message)
    assert all(len(buffer) for buffer in buffers)
    assert b"".join(m.encode(m.decode(as_frame(b"".join(buffers))))) == b"".join(buffers)


@pytest.mark.req("PXW-FRM-001")
@pytest.mark.parametrize(
    ("message", "stream", "flags", "expected"),
    [
        (m.Ping(bytes.fromhex("0011223344556677")), 0, 0, "c100000804000000000000000011223344556677"),
        (m.Pong(bytes.fromhex("0011223344556677")), 0, 0, "c100000804010000000000000011223344556677"),
        (m.Data(b"\x89PNG\r\n\x1a\n"), 3, Flag.END, "c100000821010000000000 0389504e470d0a1a0a"),
        (m.Credit(65536), 3, 0, "c1000008220000080000000381a16ece00010000"),
        (m.Status("j"), 5, Flag.END, "c1000007110100070000000581a36a6f62a16a"),
    ],
)
def test_known_bytes(message: m.Message, stream: int, flags: int, expected: str) -> None:
    assert encoded(message, stream, flags) == bytes.fromhex(expected)


def test_fields_with_their_default_are_left_out() -> None:
    submit = m.Submit("j", "txt2img", b"", watch=False, want=(), ct="application/msgpack")
    assert msgpack.unpackb(as_frame(encoded(submit, 1, 1)).head) == {"job": "j", "kind": "txt2img"}
    assert msgpack.unpackb(as_frame(encoded(m.Error(5), 1, 1)).head) == {"code": 5}
    assert m.decode(as_frame(encoded(m.Fetch("j"), 1, 1))) == m.Fetch("j", 0, 0, None, None)


def test_a_large_tail_is_passed_by_reference() -> None:
    tail = bytearray(100_000)
    head, body = m.encode(m.Data(tail), 1)
    assert body is tail
    assert len(head) == 12
    assert len(m.encode(m.Data(bytes(m.SMALL_TAIL)), 1)) == 1
    assert len(m.encode(m.Data(bytes(m.SMALL_TAIL + 1)), 1)) == 2


def test_enums_stand_for_their_numbers_and_lists_may_be_any_collection() -> None:
    assert encoded(m.Reset(ErrorCode.INTERNAL), 1) == encoded(m.Reset(0x010B), 1)
    assert encoded(m.Watch("j", want=["progress"]), 1) == encoded(m.Watch("j", want=("progress",)), 1)
    assert encoded(m.Watch("j", want={"progress"}), 1) == encoded(m.Watch("j", want=("progress",)), 1)


def test_messages_are_immutable_values() -> None:
    status = m.Status("j")
    with pytest.raises((FrozenInstanceError, AttributeError)):
        status.job = "k"  # type: ignore[misc]
    assert status == m.Status(job="j")
    assert hash(status) == hash(m.Status("j"))
    assert repr(status) == "Status(job='j')"
    assert replace(m.Fetch("j"), offset=3) == m.Fetch("j", offset=3)
    with pytest.raises(TypeError):
        m.Status()  # type: ignore[call-arg]
    match m.Ping(b"12345678"):
        case m.Ping(payload):
            assert payload == b"12345678"


# ---------------------------------------------------------------------- wrong fields


def wrong_values(item: FieldSpec) -> list[Any]:
    """Values that this field must not have, all of them valid msgpack."""
    wrong: dict[str, list[Any]] = {
        "str": [1, True, b"x", ["x"], {}, 1.5],
        "int": [1.0, 1.5, True, "1", [1], b"1"],
        "bool": [1, 0, "true", [], 1.0],
        "list[str]": ["x", {"x": 1}, [1], [["x"]], [None], 1],
        "map": [[], "x", 1, True],
        "list[attachment]": ["x", {"name": "image"}, [1], [None], [[]], 1, [{}]],
        "limits": [[], 1, "x", {"max_frame": 1.0}, {"max_frame": True}, {"max_frame": 1}, {"stream_window": 2**40}],
    }
    values = wrong[item.type]
    if item.type == "str":
        values = [*values, "é" * ((item.maximum or 0) // 2 + 1), "x" * ((item.maximum or 0) + 1)]
    if item.pattern == "tag":
        odd = ["", "a\n", "\0", "\x7f", "a\x85", "é" * 33]
        values = [*values, *(odd if item.type == "str" else [*([text] for text in odd), ["a", "b", "a"]])]
    elif item.pattern or item.choices:
        odd = ["a b", "a/b", "ä", "a\n", "x" * 65]
        values = [*values, *([text] for text in odd)] if item.type == "list[str]" else [*values, "", *odd]
    if item.type == "str" and item.minimum:
        values = [*values, ""]
    if item.type == "int" and item.minimum is not None and item.maximum is not None:
        values = [*values, item.minimum - 1, item.maximum + 1]
    if item.type == "list[str]":
        values = [*values, ["x"] * ((item.maximum or 0) + 1), ["x" * ((item.item_maximum or 0) + 1)]]
    return values


@pytest.mark.req("PXW-MSG-010", "PXW-MSG-011", "PXW-MSG-021", "PXW-HSK-014", "PXW-REQ-009")
@pytest.mark.parametrize(("name", "item"), FIELDS, ids=FIELD_IDS)
def test_a_wrong_field_is_blamed_by_name(name: str, item: FieldSpec) -> None:
    spec = MESSAGES[name]
    for value in wrong_values(item):
        frame = frame_of(name, minimal_head(name) | {item.name: value})
        with pytest.raises(RemoteProtocolError) as caught:
            m.decode(frame)
        error = caught.value
        assert name in error.message
        if spec.fault == "stream":
            assert error.code is ErrorCode.INVALID_ARGUMENT
            assert error.stream == 1
            assert error.details is not None
            assert error.details["field"].partition("[")[0] == item.name
            assert error.details["allowed"]
            assert item.name in error.message
        else:
            assert error.code is ErrorCode.BAD_HEAD
            assert error.stream is None


@pytest.mark.parametrize(("name", "item"), FIELDS, ids=FIELD_IDS)
def test_a_wrong_field_cannot_be_sent(name: str, item: FieldSpec) -> None:
    if item.type == "limits":
        return
    codec = m.CODECS[name]
    good = m.decode(frame_of(name, minimal_head(name)))
    for value in wrong_values(item):
        message = replace(good, **{item.name: value})  # type: ignore[type-var]
        if item.type == "list[str]" and isinstance(value, dict) and not item.choices and len(value) == 1:
            continue  # a collection of strings, as good as a list
        if value == item.default:
            continue  # left out: 0 is as good as False
        with pytest.raises(LocalProtocolError, match=item.name):
            codec.encode(message)


@pytest.mark.parametrize(
    ("tags", "blamed"),
    [
        (("a", ""), r"tags\[1\] must be a string of 1 to 64 bytes .*, not ''"),
        (("a", "b", "a"), r"tags\[2\] must be different from those before it, not 'a'"),
        (tuple("abcdefghi"), "tags must be an array of at most 8 different strings"),
    ],
)
def test_the_item_of_a_list_that_is_wrong_is_named(tags: tuple[str, ...], blamed: str) -> None:
    with pytest.raises(LocalProtocolError, match=blamed):
        m.encode(m.Submit(job="j", kind="txt2img", want=(), tags=tags, tail=b""), 1)


@pytest.mark.parametrize(
    "name", [name for name, spec in MESSAGES.items() if any(item.required for item in spec.fields)]
)
def test_a_missing_field_is_blamed_by_name(name: str) -> None:
    for item in MESSAGES[name].fields:
        if not item.required:
            continue
        for head in ({}, {item.name: None}):
            rest = {key: value for key, value in minimal_head(name).items() if key != item.name}
            with pytest.raises(RemoteProtocolError, match=f"{item.name} is missing") as caught:
                m.decode(frame_of(name, rest | head))
            expected = ErrorCode.INVALID_ARGUMENT if MESSAGES[name].fault == "stream" else ErrorCode.BAD_HEAD
            assert caught.value.code is expected


@pytest.mark.req("PXW-MSG-019", "PXW-MSG-020", "PXW-HSK-013", "PXW-HSK-015")
@pytest.mark.parametrize("name", [name for name, spec in MESSAGES.items() if spec.fields])
def test_unknown_keys_and_nil_change_nothing(name: str) -> None:
    head = minimal_head(name)
    optional = {item.name: None for item in MESSAGES[name].fields if not item.required}
    extra = {"zzz": [1, {"deep": 2.5}], "Weird Key": None, "": 1}
    assert m.decode(frame_of(name, head | optional | extra)) == m.decode(frame_of(name, head))


def test_absent_limits_are_the_defaults() -> None:
    hello = m.decode(
        frame_of("HELLO", {"agent": "x", "limits": {"max_frame": 5000, "new_limit": 1, "stream_window": None}})
    )
    assert isinstance(hello, m.Hello)
    assert hello.limits == Limits(max_frame=5000)


@pytest.mark.parametrize("name", [name for name, spec in MESSAGES.items() if spec.fields or spec.body])
def test_crit_names_must_be_known(name: str) -> None:
    spec = MESSAGES[name]
    head = minimal_head(name) | ({"job": "j", "state": "queued"} if spec.body else {})
    known = [*head][:1]
    assert m.decode(frame_of(name, head | {"crit": known})) == m.decode(frame_of(name, head))
    assert m.decode(frame_of(name, head | {"crit": []})) == m.decode(frame_of(name, head))
    with pytest.raises(RemoteProtocolError, match="zzz") as caught:
        m.decode(frame_of(name, head | {"zzz": 1, "crit": [*known, "zzz"]}))
    assert caught.value.code is ErrorCode.UNKNOWN_CRITICAL
    assert caught.value.stream == (None if spec.stream == "zero" else 1)
    for wrong in ("zzz", [1], {}, 5, [None]):
        with pytest.raises(RemoteProtocolError) as caught:
            m.decode(frame_of(name, head | {"crit": wrong}))
        assert caught.value.code in (ErrorCode.INVALID_ARGUMENT, ErrorCode.BAD_HEAD)


def test_an_unknown_type_is_said_to_be_unknown() -> None:
    for frame_type in (0x00, 0x14, 0x7F, 0x80, 0xFF):
        with pytest.raises(RemoteProtocolError) as caught:
            m.decode(Frame(frame_type, 0, 7, b"", b""))
        assert caught.value.code is ErrorCode.UNKNOWN_FRAME


# ---------------------------------------------------------------------- boundaries


@pytest.mark.req("PXW-FRM-009")
def test_the_length_field_is_never_truncated() -> None:
    tail = memoryview(bytearray(MAX_LENGTH + 1))
    head, body = m.encode(m.Data(tail[:MAX_LENGTH]), 1)
    assert int.from_bytes(head[1:4]) == MAX_LENGTH == len(body) == 2**24 - 1
    with pytest.raises(MessageTooLargeError):
        m.encode(m.Data(tail), 1)
    with pytest.raises(MessageTooLargeError):
        pack_header(0x21, 0, 1, 0, MAX_LENGTH + 1)
    with pytest.raises(MessageTooLargeError):
        m.encode(m.Submit("j", "k", tail[:MAX_LENGTH]), 1)


@pytest.mark.req("PXW-FRM-009")
def test_the_head_length_field_is_never_truncated() -> None:
    assert MAX_HEAD == 2**16 - 1
    room = {f"k{i}": "x" * 16000 for i in range(4)}
    overhead = len(msgpack.packb(room | {"z": "x" * 1000})) - 1000
    fits = m.Result(room | {"z": "x" * (MAX_HEAD - overhead)})
    assert HEADER.unpack_from(m.encode(fits, 1)[0])[3] == MAX_HEAD
    with pytest.raises(MessageTooLargeError, match="65535"):
        m.encode(m.Result(room | {"z": "x" * (MAX_HEAD - overhead + 1)}), 1)


@pytest.mark.req("PXW-FRM-009")
def test_the_stream_field_is_never_truncated() -> None:
    assert pack_header(0x11, 1, MAX_STREAM, 0, 0)[8:] == b"\x7f\xff\xff\xff"
    for stream in (-1, MAX_STREAM + 1, 2**32):
        with pytest.raises(LocalProtocolError):
            pack_header(0x11, 1, stream, 0, 0)


@pytest.mark.parametrize("size", [2**16 - 1, 2**16, 2**16 + 1, 2**24 - 1])
def test_tails_around_powers_of_two(size: int) -> None:
    data = encoded(m.Data(bytes(size)), 1)
    assert int.from_bytes(data[1:4]) == size
    assert len(data) == size + 12


def test_pings_have_eight_bytes() -> None:
    for payload in (b"", b"1234567", b"123456789"):
        with pytest.raises(LocalProtocolError):
            m.encode(m.Ping(payload))


# ---------------------------------------------------------------------- helpers


def test_error_messages_come_from_the_registry() -> None:
    error = m.error_message(ErrorCode.QUEUE_FULL, "full", retry_after_ms=50)
    assert error == m.Error(0x0400, "QUEUE_FULL", "full", "after", "no", 50)
    assert m.error_message(ErrorCode.INTERNAL, "x", retry_after_ms=5).retry == "after"
    assert m.error_message(ErrorCode.INTERNAL, "x", retry="no", retry_after_ms=5).retry == "no"
    assert m.error_message(0xE001, "x").name.startswith("private")


@pytest.mark.req("PXW-ERR-008")
@pytest.mark.parametrize("text", ["x" * 5000, "é" * 5000, "\ud800", "a" * 1023 + "é"])
def test_long_and_broken_texts_are_made_to_fit(text: str) -> None:
    clipped = m.clip(text)
    assert len(clipped.encode()) <= 1024
    assert encoded(m.error_message(ErrorCode.INTERNAL, text), 1, 1)


def test_a_raw_frame_with_another_head() -> None:
    data = m.encode_raw(m.Hello("x"), msgpack.packb({"agent": "x", "new": 1}))
    assert data == raw(FrameType.HELLO, 0, {"agent": "x", "new": 1})


def test_not_a_number_is_never_sent() -> None:
    with pytest.raises(LocalProtocolError):
        m.encode(m.Result({"a": math.nan}), 1)
