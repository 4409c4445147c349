"""What a client and the handles made by it hold together; when the last of them is forgotten, the connection ends."""

import warnings
from typing import Generic, Protocol, TypeVar


class Closable(Protocol):
    """A link of either shell."""

    @property
    def url(self) -> str:
        """The server's."""

    def abandoned(self) -> bool:
        """Nobody will use this any more: it ends, if somebody forgot to end it. Returns whether that was so."""


L = TypeVar("L", bound=Closable)


class Lease(Generic[L]):
    """A share in a link. A link that nobody holds any more and nobody closed is closed, with a ResourceWarning."""

    def __init__(self, link: L) -> None:
        self.link = link

    def __del__(self) -> None:
        if self.link.abandoned():
            text = f"unclosed pixwire client of {self.link.url}: use it in a `with` (`async with`), or close it"
            warnings.warn(text, ResourceWarning, 2, source=self)
