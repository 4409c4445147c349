"""What is fuzzed: one input becomes a connection in some state and bytes for it, whole and in pieces.

    input = state, pieces, bytes            state: which of the places of test_fuzz.STATES, for which role
                                            pieces: how the bytes are cut for the second connection
                                            bytes: as they are, or (odd `pieces`) as a list of frames whose lengths
                                            are put right, so that what is mutated is what the frames say

The invariant is h11's: any bytes give events or one RemoteProtocolError (reported as Failed, the last item), never
another exception; and the outcome does not depend on how the bytes were cut.
"""

import random
from collections.abc import Iterator

from protocol_pair import plain, raw
from test_fuzz import STATES, check

from pixwire_protocol.connection import Connection, Role
from pixwire_protocol.header import HEADER

PLACES = [(role, state) for role in Role for state in sorted(STATES)]
FRAME = HEADER.size
MAX_PIECE = 40


def frames(data: bytes) -> bytes:
    """The bytes as frames: 12 of header, of which type, flags and stream count, then lengths of head and tail."""
    out, position = b"", 0
    while position + 8 <= len(data):
        kind, flags, stream, head_size, tail_size = data[position : position + 5]
        body = data[position + 8 : position + 8 + head_size + tail_size]
        position += 8 + head_size + tail_size
        out += raw(kind, stream, body[:head_size] or None, body[head_size:], flags)
    return out


def pieces(data: bytes, seed: int) -> Iterator[bytes]:
    """The bytes, cut at places that follow from the seed."""
    rng, position = random.Random(seed), 0
    while position < len(data):
        size = rng.randint(1, MAX_PIECE)
        yield data[position : position + size]
        position += size


def outcome(connection: Connection, parts: Iterator[bytes]) -> object:
    items = [item for part in parts for item in connection.receive(part)]
    return plain(items), connection.state, connection.open_streams, repr(connection.failure)


def run(data: bytes) -> None:
    """One input. AssertionError, or any other exception, is a defect of the protocol code."""
    if len(data) < 2:
        return
    role, state = PLACES[data[0] % len(PLACES)]
    seed, wire = data[1], data[2:]
    if seed % 2:
        wire = frames(wire)
    whole = outcome(STATES[state](role), iter([wire]))
    cut = outcome(STATES[state](role), pieces(wire, seed))
    assert whole == cut, (role, state, wire.hex())
    check(STATES[state](role), wire)
