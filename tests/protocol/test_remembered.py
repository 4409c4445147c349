"""Messages of one field are remembered with their heads: nobody may notice, whatever was sent or received before."""

from typing import Any

import msgpack
import pytest

from pixwire_protocol import codec
from pixwire_protocol import messages as m
from pixwire_protocol.errors import LocalProtocolError, RemoteProtocolError
from pixwire_protocol.registry import ErrorCode

STATUS, CREDIT = m.CODECS["STATUS"], m.CODECS["CREDIT"]


def pack(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value)
    return packed


def test_the_same_head_is_the_same_message_again() -> None:
    first = STATUS.decode(pack({"job": "same"}), b"", 1)
    assert first == m.Status("same")
    assert STATUS.decode(pack({"job": "same"}), b"", 3) is first
    assert STATUS.decode(pack({"job": "other"}), b"", 3) == m.Status("other")
    assert CREDIT.decode(pack({"n": 7}), b"", 0) == CREDIT.decode(pack({"n": 7}), b"", 5) == m.Credit(7)


def test_unknown_keys_in_a_remembered_head_are_still_ignored_and_critical_ones_refused() -> None:
    for _ in range(2):
        assert STATUS.decode(pack({"job": "j", "new": [1]}), b"", 1) == m.Status("j")
        assert STATUS.decode(pack({"job": "j", "crit": ["job"]}), b"", 1) == m.Status("j")
        with pytest.raises(RemoteProtocolError) as refused:
            STATUS.decode(pack({"job": "j", "crit": ["new"]}), b"", 1)
        assert refused.value.code is ErrorCode.UNKNOWN_CRITICAL


def test_a_wrong_head_is_wrong_each_time_and_on_its_own_stream() -> None:
    for stream in (1, 3):
        with pytest.raises(RemoteProtocolError) as refused:
            STATUS.decode(pack({"job": "not an id"}), b"", stream)
        assert (refused.value.code, refused.value.stream) == (ErrorCode.INVALID_ARGUMENT, stream)
        with pytest.raises(RemoteProtocolError, match="job is missing"):
            STATUS.decode(pack({}), b"", stream)


@pytest.mark.parametrize("value", [True, 1.0, "1", [1], {"n": 1}, None])
def test_what_equals_a_remembered_value_is_not_taken_for_it(value: Any) -> None:
    assert CREDIT.encode(m.Credit(1))[0] == pack({"n": 1})
    if value is None:
        assert CREDIT.encode(m.Credit(value))[0] == pack({})
    else:
        with pytest.raises(LocalProtocolError, match="n must be"):
            CREDIT.encode(m.Credit(value))


def test_only_so_many_and_no_long_ones_are_remembered() -> None:
    for number in range(3 * codec.REMEMBERED):
        head = STATUS.encode(m.Status(f"job-{number}"))[0]
        assert head == pack({"job": f"job-{number}"})
        assert STATUS.decode(head, b"", 1) == m.Status(f"job-{number}")
        assert len(STATUS._heads) <= codec.REMEMBERED
        assert len(STATUS._messages) <= codec.REMEMBERED
    long = pack({"job": "j", "new": "x" * 10_000})
    assert STATUS.decode(long, b"", 1) == m.Status("j")
    assert long not in STATUS._messages


def test_messages_of_more_fields_are_not_remembered() -> None:
    fetch = m.CODECS["FETCH"]
    head = fetch.encode(m.Fetch("j", offset=3))[0]
    assert fetch.decode(head, b"", 1) is not fetch.decode(head, b"", 1)
