"""Where the connections of a loop receive what has no place of its own: one piece of memory for all of them.

A loop reads for one transport after the other, and what came is copied out before the next one is read.
"""

import asyncio
from weakref import WeakKeyDictionary

from pixwire_protocol.parser import SCRATCH_SIZE

_pieces: "WeakKeyDictionary[asyncio.AbstractEventLoop, memoryview]" = WeakKeyDictionary()


def scratch_of(loop: asyncio.AbstractEventLoop) -> memoryview:
    """The loop's. Of the loop and not of the thread, so that two loops never share one."""
    piece = _pieces.get(loop)
    if piece is None:
        piece = _pieces[loop] = memoryview(bytearray(SCRATCH_SIZE))
    return piece
