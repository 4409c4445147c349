"""Maps of which most is packed once: they read like the whole map packed at a time."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixwire_protocol.errors import LocalProtocolError
from pixwire_protocol.packed_map import PackedMap
from pixwire_protocol.profile import pack_map, unpack_map

values = st.none() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=20) | st.lists(st.booleans(), max_size=3)


@given(
    st.dictionaries(st.from_regex(r"a[a-z0-9]{0,9}", fullmatch=True), values, max_size=40),
    st.dictionaries(st.from_regex(r"b[a-z0-9]{0,9}", fullmatch=True), values, max_size=15),
)
def test_the_entries_come_behind_what_stays(lasting: dict[str, Any], more: dict[str, Any]) -> None:
    packed = PackedMap(lasting)
    for _ in range(2):
        assert packed.with_entries(more) == pack_map(lasting | more)
    assert unpack_map(packed.with_entries({})) == lasting


@pytest.mark.parametrize("count", [0, 1, 13, 14, 15, 16, 17, 100])
def test_the_size_of_the_map_is_right_where_its_first_bytes_change(count: int) -> None:
    lasting = {f"a{number}": number for number in range(count)}
    assert unpack_map(PackedMap(lasting).with_entries({"b": 1, "c": 2})) == lasting | {"b": 1, "c": 2}


def test_what_no_map_may_contain_is_refused() -> None:
    with pytest.raises(LocalProtocolError):
        PackedMap({"a": object()})
    with pytest.raises(LocalProtocolError):
        PackedMap({}).with_entries({"a": {"b": float("nan")}})
