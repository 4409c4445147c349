"""The bytes of a job's attachments on their way: one after the other, from the beginning after each broken connection.

Sans-IO apart from reading the source. SPEC 8.7, 7.4.
"""

from dataclasses import dataclass

from pixwire_protocol.attachments import Attachment

from ..errors import InvalidArgument, invalid
from ..sources import CHUNK, Part


@dataclass(slots=True)
class Upload:
    """All attachments of one job as one run of bytes; `given` of them went to the connection, `sent` to the socket."""

    parts: tuple[Part, ...]
    given: int = 0
    sent: int = 0

    @property
    def attachments(self) -> tuple[Attachment, ...]:
        """What the request says about them."""
        return tuple(part.attachment for part in self.parts)

    @property
    def total(self) -> int:
        """Bytes of all attachments."""
        return sum(part.attachment.size for part in self.parts)

    def restart(self) -> None:
        """Begin again with the first byte, on another stream."""
        self.given = self.sent = 0

    def next(self) -> memoryview:
        """The next piece, at most CHUNK bytes. Raises InvalidArgument when its source cannot be read any more."""
        offset = self.given
        for part in self.parts:
            size = part.attachment.size
            if offset < size:
                piece = self._read(part, offset, min(CHUNK, size - offset))
                self.given += len(piece)
                return piece
            offset -= size
        return memoryview(b"")

    @staticmethod
    def _read(part: Part, offset: int, size: int) -> memoryview:
        try:
            return part.content.read(offset, size)
        except OSError as error:
            raise _gone(part.attachment.name, error) from None


def _gone(name: str, error: OSError) -> InvalidArgument:
    problem = error.strerror or str(error)
    return invalid(name, None, "an image that stays as it is", f"{name} cannot be read any more: {problem.lower()}")
