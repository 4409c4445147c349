"""GREASE (SPEC 13): reserved nonsense that clients send at random, so that ignoring the unknown stays a habit.

Pure: the randomness is an argument. A client makes one Grease per connection and hands it over in its Settings. The
versions of the preface are no place for it: a server may choose what a client offers.
"""

from dataclasses import dataclass
from typing import Any, Final

from pixwire_protocol.header import pack_header

RANDOM_BYTES: Final = 8
IGNORABLE_FIRST: Final = 0x80
IGNORABLE_COUNT: Final = 0x40


@dataclass(frozen=True, slots=True)
class Grease:
    """What one client connection says beyond sense.

    feature    an unknown feature to offer
    key, value an unknown field of HELLO
    frame      an ignorable frame, ready to be sent once the connection is ready
    """

    feature: str
    key: str
    value: Any
    frame: bytes


def make_grease(random_bytes: bytes) -> Grease:
    """Grease from at least 8 random bytes. Same bytes, same grease. Raises ValueError for too few bytes."""
    if len(random_bytes) < RANDOM_BYTES:
        raise ValueError(f"random_bytes must be at least {RANDOM_BYTES} bytes, not {len(random_bytes)}")
    noise = random_bytes[:RANDOM_BYTES].hex()
    frame_type = IGNORABLE_FIRST + random_bytes[4] % IGNORABLE_COUNT
    tail = bytes(random_bytes[5] % 16)
    return Grease(
        feature=f"grease-{noise[:4]}",
        key=f"grease_{noise[4:8]}",
        value=random_bytes[7],
        frame=pack_header(frame_type, 0, 0, 0, len(tail)) + tail,
    )
