"""Bytes that lie somewhere else, such as in a file, and need not pass through this process on their way out."""

from typing import Protocol


class Source(Protocol):
    """So many bytes, known by their place. Given to `send_data`, cut like a memoryview, and handed out by `take_source`
    when their turn has come: how they reach the socket is the shell's business.
    """

    @property
    def nbytes(self) -> int: ...

    def __getitem__(self, part: slice, /) -> "Source":
        """A part of them. Never fails: it is not looked whether the bytes are there."""
        ...

    def tobytes(self) -> bytes:
        """The bytes, read now. What it raises when they are not there any more is between whoever made this and whoever
        sends it.
        """
        ...
