"""Writing a capture while it happens, without the secrets in it.

Tokens of AUTH are replaced by as many asterisks: every offset and length stays what it was. Sans-IO: lines go to a
function.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from pixwire_protocol.header import HEADER, MAX_LENGTH
from pixwire_protocol.registry import HEADER_SIZE, MAGIC, MARKER, PREFACE

from .capture import EOF, RESET, Chunk, Mark, Record, header_line, record_line
from .heads import loose_map
from .shown import SECRETS

_AUTH_TYPE: Final = 0x02  # whatever the flags: a client that sets ACK by mistake has sent its token all the same
_STAR: Final = b"*"


class TokenMask:
    """The client's direction of one connection, with its tokens masked. Bytes of an unfinished AUTH are held back."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._pass = -1  # bytes to let through unseen; -1: the preface has not come
        self._lost = False

    def feed(self, data: bytes) -> bytes:
        """The next bytes; returns those that may be written down."""
        self._held += data
        out = bytearray()
        while self._held and (ready := self._next()):
            out += ready
        return bytes(out)

    def end(self) -> bytes:
        """What was held back when the bytes ended."""
        held = self._take(len(self._held))
        self._pass = 0
        return held[:HEADER_SIZE] + _STAR * (len(held) - HEADER_SIZE) if len(held) > HEADER_SIZE else held

    def _next(self) -> bytes:
        """The next bytes that can be let through, b"" while too little is there."""
        held = self._held
        if self._lost:
            return self._take(len(held))
        if self._pass < 0:  # nothing was seen yet
            self._pass = len(PREFACE) if held[:1] == MAGIC[:1] else 0
        if self._pass:
            return self._take(min(self._pass, len(held)))
        if held[0] != MARKER:
            self._lost = True
            return self._take(len(held))
        if len(held) < HEADER_SIZE:
            return b""
        word, frame_type, _flags, head_len, _stream = HEADER.unpack_from(held)
        size = HEADER_SIZE + (word & MAX_LENGTH)
        if frame_type != _AUTH_TYPE:
            self._pass = size
            return self._take(min(size, len(held)))
        if len(held) < size:
            return b""
        self._pass = size
        return _masked(self._take(size), head_len)

    def _take(self, size: int) -> bytes:
        data = bytes(self._held[:size])
        del self._held[:size]
        self._pass -= min(size, max(0, self._pass))
        return data


def _masked(frame: bytes, head_len: int) -> bytes:
    """An AUTH frame whose token is asterisks; one whose head is not what it should be is masked whole."""
    head = frame[HEADER_SIZE : HEADER_SIZE + head_len]
    rest = frame[HEADER_SIZE + head_len :]
    found = loose_map(head)
    secrets = [(found.map or {}).get(key, "") for key in SECRETS["AUTH"]]
    if found.map is None or found.problems or not all(isinstance(secret, str) for secret in secrets):
        return frame[:HEADER_SIZE] + _STAR * len(head) + _STAR * len(rest)
    for secret in filter(None, secrets):
        raw = secret.encode(errors="surrogatepass")
        head = head.replace(raw, _STAR * len(raw))
    return frame[:HEADER_SIZE] + head + rest


class Recorder:
    """Takes records as they happen and writes lines. secrets: write tokens down as they are."""

    def __init__(self, write: Callable[[str], object], info: Mapping[str, Any], *, secrets: bool = False) -> None:
        self._write = write
        self._secrets = secrets
        self._masks: dict[int, TokenMask] = {}
        self.records = 0
        write(header_line(info))

    def __call__(self, record: Record) -> None:
        """One more record."""
        for line in self._lines(record):
            self.records += 1
            self._write(record_line(line))

    def _lines(self, record: Record) -> list[Record]:
        if self._secrets or record.side != "C":
            return [record]
        mask = self._masks.setdefault(record.conn, TokenMask())
        if isinstance(record, Mark):
            held = mask.end() if record.event in (EOF, RESET) else b""
            return [Chunk(record.t_ns, record.conn, "C", held), record] if held else [record]
        data = mask.feed(record.data)
        return [Chunk(record.t_ns, record.conn, "C", data)] if data else []
