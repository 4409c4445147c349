"""Bytes of one direction of a connection -> what they are, with offsets (SPEC 3.2, 4). Pure; never raises for bytes.

    annotator = Annotator("C")
    for chunk in chunks:
        for item in annotator.feed(chunk): ...
    for item in annotator.end(): ...

The items tile the input: each begins where the one before ended, and their `data` put together is the input. What they
are does not depend on how the input was cut, except that what follows `Broken` comes as one `Unread` per chunk.

This looks at single frames. Whether a frame was allowed at its place is the business of lint.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from pixwire_protocol.errors import RemoteProtocolError
from pixwire_protocol.header import HEADER, MARKER_WORD, MAX_LENGTH, Frame
from pixwire_protocol.heads import MESSAGES, MessageSpec
from pixwire_protocol.messages import decode
from pixwire_protocol.profile import unpack_map
from pixwire_protocol.registry import HEADER_SIZE, MAGIC, MARKER, MAX_STREAM, PREFACE

from .diagnose import what_speaks
from .heads import loose_map

Side = Literal["C", "S"]
"""Who sent it: the client or the server."""

_SPECS: Final[Mapping[tuple[int, bool], MessageSpec]] = {(spec.type, spec.ack): spec for spec in MESSAGES.values()}
_ACKED: Final = frozenset(spec.type for spec in MESSAGES.values() if spec.ack)
_BIT: Final = 0x01
_SEARCHED: Final = 4096  # bytes behind a break in which the next header is looked for
_IGNORABLE: Final = range(0x80, 0xC0)
_PRIVATE: Final = range(0xC0, 0x100)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong inside a frame that can still be read: at which byte, in which part, and what."""

    offset: int
    part: str
    text: str


@dataclass(frozen=True, slots=True)
class Preface:
    """The eight bytes before all frames."""

    offset: int
    data: bytes
    problems: tuple[Problem, ...] = ()

    @property
    def versions(self) -> tuple[int, int]:
        """Lowest and highest major version offered, or the chosen one twice."""
        return self.data[4], self.data[5]


@dataclass(frozen=True, slots=True)
class SeenFrame:
    """One frame. `number` counts the frames of this direction from 1; `name` is "0x91" for an unknown type.

    head: the decoded map, also when it breaks the profile but can be read; None when there is none or it cannot be.
    tail_map: the map in the tail of a message that has one there (SUBMIT), else None.
    """

    offset: int
    data: bytes
    number: int
    type: int
    flags: int
    head_len: int
    stream: int
    name: str
    head: dict[str, Any] | None = None
    tail_map: dict[str, Any] | None = None
    problems: tuple[Problem, ...] = ()

    @property
    def length(self) -> int:
        """The header's length field: head and tail."""
        return len(self.data) - HEADER_SIZE

    @property
    def head_bytes(self) -> bytes:
        """The head as it came."""
        return self.data[HEADER_SIZE : HEADER_SIZE + self.head_len]

    @property
    def tail(self) -> bytes:
        """The tail as it came."""
        return self.data[HEADER_SIZE + self.head_len :]

    @property
    def spec(self) -> MessageSpec | None:
        """What the registry says about this type; None for an unknown one."""
        return spec_of(self.type, self.flags)

    @property
    def skipped(self) -> bool:
        """Whether receivers skip it: an unknown type that is meant to be ignored."""
        return self.spec is None and self.type in _IGNORABLE

    @property
    def end(self) -> bool:
        """Whether END is set (on types where bit 0 is ACK it never is)."""
        return self.type not in _ACKED and bool(self.flags & _BIT)

    @property
    def flag_names(self) -> tuple[str, ...]:
        """ACK or END, and the bits that have no name as 0x.."""
        if self.spec is None:
            return (f"0x{self.flags:02x}",) if self.flags else ()
        named = (("ACK" if self.type in _ACKED else "END"),) if self.flags & _BIT else ()
        rest = self.flags & ~_BIT
        return (*named, f"0x{rest:02x}") if rest else named


@dataclass(frozen=True, slots=True)
class Broken:
    """Here the bytes stop making sense.

    offset is where the unreadable preface or frame begins, `at` the very byte that is wrong, `data` everything that had
    come from `offset` on. `resume`: where something that looks like a frame header begins again, if it does.
    """

    offset: int
    data: bytes
    at: int
    reason: str
    resume: int | None = None


@dataclass(frozen=True, slots=True)
class Unread:
    """Bytes behind the place where sense was lost."""

    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Incomplete:
    """The input ended inside a preface or a frame. missing: bytes, as far as known."""

    offset: int
    data: bytes
    missing: int
    reason: str


Item = Preface | SeenFrame | Broken | Unread | Incomplete


class Annotator:
    """Annotates one direction. preface: whether it begins with one; None = if it looks like it."""

    def __init__(self, side: Side | None = None, *, preface: bool | None = None) -> None:
        self.side = side
        self._preface = preface
        self._held = bytearray()
        self._offset = 0  # of the first byte held
        self._frames = 0
        self._lost = False

    @property
    def lost(self) -> bool:
        """Whether the bytes have stopped making sense."""
        return self._lost

    @property
    def pending(self) -> bool:
        """Whether a preface or a frame has begun that is not complete."""
        return bool(self._held)

    def feed(self, data: bytes | bytearray | memoryview) -> list[Item]:
        """The next bytes; what is complete with them."""
        if self._lost:
            return [self._unread(bytes(data))] if len(data) else []
        self._held += data
        items: list[Item] = []
        while not self._lost and (item := self._next()) is not None:
            items.append(item)
        return items

    def end(self) -> list[Item]:
        """The input is over: what is left of it."""
        if self._lost or not self._held:
            return []
        held = bytes(self._held)
        if self._preface is not False:
            what, whole = "preface", len(PREFACE)
        elif len(held) < 4:
            what, whole = "frame header", HEADER_SIZE
        else:
            what, whole = "frame", HEADER_SIZE + int.from_bytes(held[1:4])
        missing = whole - len(held)
        reason = f"the bytes end inside a {what}: {missing:,} of {whole:,} are missing"
        self._take(len(held))
        return [Incomplete(self._offset - len(held), held, missing, reason)]

    # ------------------------------------------------------------------ steps

    def _next(self) -> Item | None:
        held = self._held
        if not held:
            return None
        if self._preface is None:
            if held[0] not in (MARKER, MAGIC[0]):
                starts = f"a preface begins with 0x{MAGIC[0]:02X}, a frame with 0x{MARKER:02X}"
                reason = f"{starts}; here is 0x{held[0]:02X}"
                return self._break(0, _with_guess(reason, bytes(held)))
            self._preface = held[0] != MARKER
        if self._preface:
            return self._take_preface()
        if held[0] != MARKER:
            return self._break(0, f"a frame begins with 0xC1, here is 0x{held[0]:02X}")
        if len(held) < HEADER_SIZE:
            return None
        word, _type, _flags, head_len, _stream = HEADER.unpack_from(held)
        length = word & MAX_LENGTH
        if head_len > length:
            return self._break(6, f"head_len {head_len:,} is more than the whole length {length:,}")
        if len(held) < HEADER_SIZE + length:
            return None
        offset = self._offset
        self._frames += 1
        return see(self._take(HEADER_SIZE + length), offset, self._frames)

    def _take_preface(self) -> Item | None:
        held = self._held
        for position, byte in enumerate(held[: len(MAGIC)]):
            if byte != MAGIC[position]:
                reason = f"a preface begins with {MAGIC.hex(' ')}, here is 0x{byte:02X}"
                return self._break(position, _with_guess(reason, bytes(held)))
        if len(held) < len(PREFACE):
            return None
        offset = self._offset
        self._preface = False
        data = self._take(len(PREFACE))
        zero = data[6:] == b"\0\0"
        problems = () if zero else (Problem(offset + 6, "reserved", "the last two bytes are sent as zero"),)
        return Preface(offset, data, problems)

    def _take(self, size: int) -> bytes:
        data = bytes(self._held[:size])
        del self._held[:size]
        self._offset += size
        return data

    def _break(self, position: int, reason: str) -> Broken:
        self._lost = True
        offset = self._offset
        data = self._take(len(self._held))
        return Broken(offset, data, offset + position, reason, _resume(data, offset))

    def _unread(self, data: bytes) -> Unread:
        item = Unread(self._offset, data)
        self._offset += len(data)
        return item


def annotate(data: bytes, side: Side | None = None, *, preface: bool | None = None) -> list[Item]:
    """All of one direction at once."""
    annotator = Annotator(side, preface=preface)
    return [*annotator.feed(data), *annotator.end()]


def spec_of(frame_type: int, flags: int) -> MessageSpec | None:
    """The message with this type byte and these flags, as far as the type is known."""
    return _SPECS.get((frame_type, frame_type in _ACKED and bool(flags & _BIT)))


def name_of(frame_type: int, flags: int) -> str:
    """The message's name; "0x91" for an unknown type."""
    spec = spec_of(frame_type, flags)
    return f"0x{frame_type:02x}" if spec is None else spec.name


def see(data: bytes, offset: int = 0, number: int = 1) -> SeenFrame:
    """One whole frame whose header is consistent, examined."""
    _word, frame_type, flags, head_len, stream = HEADER.unpack_from(data)
    head = data[HEADER_SIZE : HEADER_SIZE + head_len]
    tail = data[HEADER_SIZE + head_len :]
    spec = spec_of(frame_type, flags)
    found = loose_map(head)
    follows = bool((found.map or {}).get("attachments"))
    problems = _header_problems(spec, frame_type, flags, stream, offset, follows=follows)
    problems += _body_problems(spec, Frame(frame_type, flags, stream, head, tail), offset + HEADER_SIZE)
    problems += (Problem(offset + HEADER_SIZE, "head", text) for text in found.problems)
    tail_map = loose_map(tail).map if spec is not None and spec.tail == "params" else None
    name = name_of(frame_type, flags)
    return SeenFrame(
        offset, data, number, frame_type, flags, head_len, stream, name, found.map, tail_map, tuple(problems)
    )


def _header_problems(
    spec: MessageSpec | None, frame_type: int, flags: int, stream: int, offset: int, *, follows: bool
) -> list[Problem]:
    found: list[Problem] = []
    if stream > MAX_STREAM:
        found.append(Problem(offset + 8, "stream", f"stream id 0x{stream:08x} has its top bit set"))
    if spec is None:
        if frame_type not in _IGNORABLE:
            found.append(Problem(offset + 4, "type", _unknown_type(frame_type, stream)))
        return found
    if rest := flags & ~_BIT:
        found.append(Problem(offset + 5, "flags", f"the bits 0x{rest:02x} have no meaning"))
    if frame_type not in _ACKED and (problem := _end_problem(spec, bool(flags & _BIT), stream, follows=follows)):
        found.append(Problem(offset + 5, "flags", f"{spec.name} {problem}"))
    if spec.stream == "zero" and stream:
        found.append(Problem(offset + 8, "stream", f"{spec.name} belongs on stream 0"))
    if spec.stream in ("new", "open") and not stream:
        found.append(Problem(offset + 8, "stream", f"{spec.name} belongs on a stream, not on 0"))
    if spec.stream == "new" and stream and not stream & 1:
        found.append(Problem(offset + 8, "stream", f"requests have odd stream ids, this one has {stream}"))
    return found


def _unknown_type(frame_type: int, stream: int) -> str:
    kind = "a private type, only for those who agreed on it" if frame_type in _PRIVATE else "an unknown type"
    return f"{kind}; {'ends its stream' if stream else 'ends the connection, on stream 0'}"


def _end_problem(spec: MessageSpec, end: bool, stream: int, *, follows: bool) -> str | None:
    match spec.end:
        case "request" if end == follows:
            return "carries no END: attachments follow" if follows else "without attachments carries END"
        case "never" if end:
            return "never carries END"
        case "required" if not end:
            return "always carries END"
        case "stream" if end != bool(stream):
            return "carries END" if stream else "carries no END on stream 0"
    return None


def _body_problems(spec: MessageSpec | None, frame: Frame, body: int) -> list[Problem]:
    """What is wrong with head and tail; the fields are judged by the protocol's own decoder."""
    if spec is None:
        return []
    tail = body + len(frame.head)
    found: list[Problem] = []
    if spec.head == "none" and frame.head:
        found.append(Problem(body, "head", f"{spec.name} has no head, here are {len(frame.head):,} bytes"))
    elif spec.head == "map" and not frame.head:
        found.append(Problem(body, "head", f"{spec.name} has a head, here is none"))
    else:
        try:
            decode(frame)
        except RemoteProtocolError as error:
            found.append(Problem(body, "head", error.message))
        except ValueError as error:
            found.append(Problem(body, "head", str(error)))
    size = len(frame.tail)
    if spec.tail == "none" and size:
        found.append(Problem(tail, "tail", f"{spec.name} has no tail, here are {size:,} bytes"))
    if spec.tail == "eight" and size != 8:
        found.append(Problem(tail, "tail", f"{spec.name} has a tail of 8 bytes, here are {size:,}"))
    if spec.tail == "params":
        try:
            unpack_map(bytes(frame.tail))
        except RemoteProtocolError as error:
            found.append(Problem(tail, "tail", error.message))
    return found


def _with_guess(reason: str, data: bytes) -> str:
    said = what_speaks(data)
    return f"{reason}; {said}" if said else reason


def _resume(data: bytes, offset: int) -> int | None:
    """Where, behind its first byte, the data look like a known frame's header again."""
    position = data.find(MARKER, 1, _SEARCHED)
    while position >= 0:
        if len(data) - position >= HEADER_SIZE:
            word, frame_type, flags, head_len, stream = HEADER.unpack_from(data, position)
            length = word & MAX_LENGTH
            known = spec_of(frame_type, flags) is not None and flags in (0, _BIT)
            if word & ~MAX_LENGTH == MARKER_WORD and known and head_len <= length and stream <= MAX_STREAM:
                return offset + position
        position = data.find(MARKER, position + 1, _SEARCHED)
    return None
