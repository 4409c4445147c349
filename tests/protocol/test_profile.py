"""The msgpack profile: what is accepted, what is refused, and what refusing costs."""

import math
import tracemalloc
from typing import Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pixwire_protocol.errors import LocalProtocolError, MessageTooLargeError, RemoteProtocolError
from pixwire_protocol.profile import BIN, DEPTH, ENTRIES, STR, VALUES, pack_checked, pack_map, unpack_map
from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.status import JobState

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.binary(max_size=20)
)
keys = st.from_regex(r"[a-z][a-z0-9_]{0,31}", fullmatch=True)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=20
)


def nested(levels: int) -> dict[str, Any]:
    """A map with this many levels, itself included."""
    value: Any = 1
    for _ in range(levels - 1):
        value = [value]
    return {"a": value}


def refused(data: bytes) -> str:
    with pytest.raises(RemoteProtocolError) as caught:
        unpack_map(data)
    assert caught.value.code is ErrorCode.BAD_HEAD
    assert caught.value.stream is None
    return caught.value.message


def assert_map_or_bad_head(data: bytes) -> None:
    error: RemoteProtocolError | None = None
    try:
        value = unpack_map(data)
    except RemoteProtocolError as caught:
        error = caught
    if error is None:
        assert type(value) is dict
    else:
        assert error.code is ErrorCode.BAD_HEAD


@given(st.dictionaries(keys, values, max_size=6))
def test_round_trip(value: dict[str, Any]) -> None:
    try:
        data = pack_map(value)
    except MessageTooLargeError:
        depth_is_the_reason(value)
    else:
        assert unpack_map(data) == value


def depth_is_the_reason(value: Any) -> None:
    def depth(item: Any) -> int:
        inner = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
        return max((depth(part) for part in inner), default=0) + 1 if isinstance(item, dict | list) else 0

    assert depth(value) > DEPTH


@given(st.binary(max_size=300))
@example(b"")
@example(b"\xc1")
@example(b"\x81\xa1a")
@example(b"\x81\xa1a\xd9")
@example(b"\x80\x00")
@example(b"\xdf\xff\xff\xff\xff")
@example(b"\x81\xa1a\xdb\xff\xff\xff\xff")
@example(b"\x81\xa1a\xc7\x00\xff")
@example(b"\x81\xa1a\xd6\xff\x00\x00\x00\x00")
@example(b"\x81\x90\x01")
def test_any_bytes_give_a_map_or_bad_head(data: bytes) -> None:
    assert_map_or_bad_head(data)


@given(st.dictionaries(keys, values, max_size=4), st.binary(min_size=1, max_size=8), st.data())
def test_mutated_maps_give_a_map_or_bad_head(value: dict[str, Any], noise: bytes, data: st.DataObject) -> None:
    packed = bytearray(msgpack.packb(value))
    position = data.draw(st.integers(0, len(packed)))
    packed[position : position + len(noise)] = noise
    assert_map_or_bad_head(bytes(packed))


@pytest.mark.req("PXW-MSG-001", "PXW-MSG-002", "PXW-MSG-003", "PXW-MSG-006", "PXW-MSG-007", "PXW-MSG-008")
@pytest.mark.parametrize(
    ("what", "data"),
    [
        ("an array", b"\x90"),
        ("nil", b"\xc0"),
        ("two maps", b"\x80\x80"),
        ("half a map", b"\x82\xa1a\x01"),
        ("integer key", b"\x81\x01\x02"),
        ("bin key", b"\x81\xc4\x01a\x02"),
        ("nested bin key", b"\x81\xa1a\x81\xc4\x01b\x02"),
        ("map as key", b"\x81\x80\x01"),
        ("float32 NaN", b"\x81\xa1a\xca\x7f\xc0\x00\x00"),
        ("float64 NaN deep", msgpack.packb({"a": [{"b": math.nan}]})),
        ("infinity", msgpack.packb({"a": math.inf})),
        ("ext", msgpack.packb({"a": msgpack.ExtType(5, b"x")})),
        ("empty ext", b"\x81\xa1a\xc7\x00\x05"),
        ("timestamp", msgpack.packb({"a": msgpack.Timestamp(1)})),
        ("invalid UTF-8", b"\x81\xa1a\xa2\xff\xfe"),
        ("a surrogate", b"\x81\xa1a\xa3\xed\xa0\x80"),
        ("the unused byte", b"\x81\xa1a\xc1"),
        ("nil and much more", b"\xc0" + b"\x90" * 20),
        ("the unused byte among many", b"\x9f\xc1" + b"\x90" * 20),
    ],
)
def test_what_the_profile_forbids(what: str, data: bytes) -> None:
    refused(data)


@pytest.mark.req("PXW-MSG-009")
@pytest.mark.parametrize(
    "data",
    [
        b"\xde\x00\x01\xa1a\x01",
        b"\xdf\x00\x00\x00\x01\xa1a\x01",
        b"\x81\xd9\x01a\x01",
        b"\x81\xdb\x00\x00\x00\x01a\x01",
        b"\x81\xa1a\xcf\x00\x00\x00\x00\x00\x00\x00\x01",
        b"\x81\xa1a\xd3\x00\x00\x00\x00\x00\x00\x00\x01",
    ],
)
def test_longer_forms_are_as_good(data: bytes) -> None:
    assert unpack_map(data) == {"a": 1}


@pytest.mark.req("PXW-MSG-018")
def test_of_two_equal_keys_the_last_counts() -> None:
    assert unpack_map(b"\x82\xa1a\x01\xa1a\x02") == {"a": 2}


@pytest.mark.req("PXW-MSG-012", "PXW-MSG-013", "PXW-MSG-014", "PXW-MSG-015", "PXW-MSG-016")
@pytest.mark.parametrize(
    ("fits", "too_much"),
    [
        (nested(DEPTH), nested(DEPTH + 1)),
        ({"a": [0] * ENTRIES}, {"a": [0] * (ENTRIES + 1)}),
        ({f"k{i}": 0 for i in range(ENTRIES)}, {f"k{i}": 0 for i in range(ENTRIES + 1)}),
        ({"a": "x" * STR}, {"a": "x" * (STR + 1)}),
        ({"a": b"x" * BIN}, {"a": b"x" * (BIN + 1)}),
        ({"a": [[0] * 817] * 5, "b": [0]}, {"a": [[0] * 817] * 5, "b": [0, 0, 0]}),
    ],
    ids=["depth", "array", "map", "str", "bin", "values"],
)
def test_limits_are_exact_and_the_same_both_ways(fits: dict[str, Any], too_much: dict[str, Any]) -> None:
    assert unpack_map(pack_map(fits)) == fits
    refused(msgpack.packb(too_much))
    with pytest.raises(MessageTooLargeError):
        pack_map(too_much)


def test_the_number_of_values_counts_keys_and_containers() -> None:
    # map + key + array of n: 3 + n values
    rows = [[0] * ENTRIES] * 3
    room = VALUES - 3 - 3 * (ENTRIES + 1) - 2
    fits = {"a": rows, "b": [0] * (room - 1)}
    assert unpack_map(msgpack.packb(fits)) == fits
    assert "values" in refused(msgpack.packb({"a": rows, "b": [0] * (room + 1)}))


@pytest.mark.parametrize(
    "bomb",
    [
        b"\xdc\xff\xff" * 21845,
        b"\xdc\x04\x00" * 21845,
        b"\xde\x04\x00" * 21845,
        b"\xdd\xff\xff\xff\xff" * 13107,
        b"\x81\xa1a" + b"\xdc\x04\x00" * 21000,
        b"\x91" * 65535,
        b"\x81\xa1a" * 20000,
        b"\x81\xa1a\xdc\x04\x00" + (b"\xdc\x04\x00" + b"\x90" * 1024) * 62,
        b"\x81\xa1a\xdc\x04\x00" + b"\xa1a" * 21000,
    ],
    ids=[
        "array16",
        "array16 in limits",
        "map16",
        "array32",
        "in a field",
        "fixarray",
        "fixmap",
        "many empty",
        "many strings",
    ],
)
def test_bombs_cost_next_to_nothing(bomb: bytes) -> None:
    """64 KiB can make the decoder allocate 67 MiB; the survey refuses before it runs."""
    assert len(bomb) <= 65536
    tracemalloc.start()
    try:
        refused(bomb)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 400_000


def test_a_wide_head_within_the_limits_stays_cheap() -> None:
    tracemalloc.start()
    try:
        unpack_map(b"\x81\xa1a\xdc\x04\x00" + b"\x90" * ENTRIES)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 400_000


@pytest.mark.req("PXW-MSG-005")
@pytest.mark.parametrize(
    "value",
    [
        {1: 2},
        {b"a": 1},
        {"a": {1: 2}},
        {"a": math.nan},
        {"a": [math.inf]},
        {"a": object()},
        {"a": 2**64},
        {"a": "\ud800"},
        {"a": msgpack.ExtType(1, b"x")},
        {"a": [msgpack.Timestamp(1)]},
    ],
)
def test_what_cannot_be_sent_says_so(value: dict[Any, Any]) -> None:
    with pytest.raises(LocalProtocolError):
        pack_map(value)


def test_enums_travel_as_what_they_are() -> None:
    assert unpack_map(pack_map({"a": [ErrorCode.INTERNAL], "b": {"c": JobState.QUEUED}})) == {
        "a": [0x010B],
        "b": {"c": "queued"},
    }


def test_checked_maps_too() -> None:
    assert pack_checked({"a": 1}) == pack_map({"a": 1})
    for value in ({"a": "\ud800"}, {"a": 2**64}):
        with pytest.raises(LocalProtocolError):
            pack_checked(value)
