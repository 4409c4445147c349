"""A map of which most is packed once and sent often, each time with some other entries (SPEC 5)."""

from typing import Final

from pixwire_protocol.profile import Map, pack_map

_FIX: Final = 16
"""Maps of fewer entries begin with one byte, others with three."""


class PackedMap:
    """What stays the same of a map. Raises what pack_map() does."""

    __slots__ = ("_count", "_entries")

    def __init__(self, values: Map) -> None:
        self._count = len(values)
        self._entries = pack_map(values)[1 if self._count < _FIX else 3 :]

    def with_entries(self, more: Map) -> bytes:
        """The whole map, packed: with these entries, fewer than 16, whose keys are none of the others."""
        count = self._count + len(more)
        start = bytes((0x80 | count,)) if count < _FIX else b"\xde" + count.to_bytes(2)
        return start + self._entries + pack_map(more)[1:]
