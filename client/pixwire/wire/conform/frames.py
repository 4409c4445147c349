"""Frames as bytes, right or wrong: what a tester sends and how it reads what comes. Knows no rule and refuses nothing.

Deliberately independent of `pixwire_protocol`'s own encoder: that one refuses to produce most of what is sent here, and
a mistake in it would go unnoticed if the judge shared it. Only the numbers come from the registry.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]  # it ships none

from pixwire_protocol.heads import MESSAGES, MessageSpec
from pixwire_protocol.registry import ERRORS, HEADER_SIZE, PREFACE, ErrorCode

HEADER: Final = struct.Struct("!IBBHI")
MARKER: Final = 0xC1
BIT: Final = 0x01
"""Flag bit 0: END, or ACK on HELLO, AUTH and PING."""
GREETING: Final = PREFACE
BY_TYPE: Final[Mapping[tuple[int, bool], MessageSpec]] = {(spec.type, spec.ack): spec for spec in MESSAGES.values()}
ACK_TYPES: Final = frozenset(spec.type for spec in MESSAGES.values() if spec.ack)
REQUESTS: Final = tuple(spec.name for spec in MESSAGES.values() if spec.stream == "new")
UNKNOWN_TYPES: Final = (0x00, 0x3F, 0x7F, 0xC0, 0xFF)
"""Types nobody has assigned, outside the ignorable range."""
IGNORABLE_TYPES: Final = (0x80, 0x9B, 0xBF)
EXTENSIONS: Final = range(0x80, 0xC0)
"""Types that are skipped when unknown."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A received frame; `head` is None when it has none, and the raw bytes are kept beside what they mean."""

    type: int
    flags: int
    stream: int
    head_bytes: bytes
    tail: bytes

    @property
    def bit(self) -> bool:
        """Flag bit 0."""
        return bool(self.flags & BIT)

    @property
    def end(self) -> bool:
        """Whether the frame carries END."""
        return self.bit and self.type not in ACK_TYPES

    @property
    def spec(self) -> MessageSpec | None:
        """The message of the registry, None for an unknown type."""
        return BY_TYPE.get((self.type, self.bit and self.type in ACK_TYPES))

    @property
    def name(self) -> str:
        """The message's name, or the type in hexadecimal."""
        return self.spec.name if self.spec is not None else f"0x{self.type:02X}"

    @property
    def head(self) -> dict[str, Any]:
        """The head's map, {} without one. Raises ValueError for bytes that are no map."""
        return unpack(self.head_bytes) if self.head_bytes else {}

    def __str__(self) -> str:
        text = f"{self.name} on stream {self.stream}{' END' if self.end else ''}"
        if self.name in ("ERROR", "GOAWAY", "RESET"):
            text += f" {code_name(self.head.get('code'))}"
            if message := self.head.get("message"):
                text += f" ({str(message)[:80]!r})"
        return f"{text}, {len(self.tail)} bytes" if self.tail else text


def code_name(code: Any) -> str:
    """The name of an error code, for failure texts."""
    return ErrorCode(code).name if isinstance(code, int) and code in ERRORS else f"code {code!r}"


def unpack(data: bytes) -> dict[str, Any]:
    """The one map in `data`, whatever its keys are. ValueError when it is something else."""
    try:
        value = msgpack.unpackb(data, raw=False, strict_map_key=False)
    except (ValueError, msgpack.UnpackException) as error:
        raise ValueError(f"no msgpack: {error!r}") from None
    if not isinstance(value, dict):
        raise ValueError(f"a {type(value).__name__} where a map should be")
    return value


def pack(value: Any) -> bytes:
    """msgpack, shortest form."""
    data: bytes = msgpack.packb(value)
    return data


# ---------------------------------------------------------------------- making frames


def frame(
    name: str | int,
    stream: int = 0,
    head: Mapping[str, Any] | bytes | None = None,
    tail: bytes = b"",
    *,
    flags: int | None = None,
    length: int | None = None,
    head_size: int | None = None,
    marker: int = MARKER,
) -> bytes:
    """The bytes of a frame. What is not given is right: flags as the message has them, lengths as they are.

    `name` is a message of the registry or a type number; a head of bytes is taken as it is.
    """
    head_bytes = b"" if head is None else head if isinstance(head, bytes) else pack(dict(head))
    size = len(head_bytes) + len(tail) if length is None else length
    frame_type = name if isinstance(name, int) else MESSAGES[name].type
    return (
        HEADER.pack(
            marker << 24 | size,
            frame_type,
            _usual_flags(name, stream) if flags is None else flags,
            len(head_bytes) if head_size is None else head_size,
            stream,
        )
        + head_bytes
        + tail
    )


def _usual_flags(name: str | int, stream: int) -> int:
    if isinstance(name, int):
        return 0
    spec = MESSAGES[name]
    ends = spec.stream == "new" or (spec.end == "stream" and stream != 0)
    return BIT if spec.ack or ends else 0


def hello(**fields: Any) -> bytes:
    """HELLO; `agent` unless another is given."""
    return frame("HELLO", 0, {"agent": "pixwire-conform", **fields})


def ping(payload: bytes) -> bytes:
    """PING."""
    return frame("PING", 0, None, payload)


def credit(n: Any, stream: int = 0) -> bytes:
    """CREDIT."""
    return frame("CREDIT", stream, {"n": n})


def goaway(code: int = 0, last_stream: int = 0) -> bytes:
    """GOAWAY."""
    return frame("GOAWAY", 0, {"last_stream": last_stream, "code": code})


def reset(stream: int, code: int = 0) -> bytes:
    """RESET."""
    return frame("RESET", stream, {"code": code})


def opens_stream(frame: Frame) -> bool:
    """Whether a client's frame uses up the stream id it is on."""
    return frame.spec.stream == "new" if frame.spec is not None else frame.type not in EXTENSIONS


def split_frames(data: bytes) -> list[Frame]:
    """The whole frames in `data`, as far as lengths and markers are right."""
    frames, position = [], 0
    while len(data) - position >= HEADER_SIZE:
        word, kind, flags, head_size, stream = HEADER.unpack_from(data, position)
        start, end = position + HEADER_SIZE, position + HEADER_SIZE + (word & 0xFFFFFF)
        if word >> 24 != MARKER or end > len(data) or head_size > word & 0xFFFFFF:
            break
        frames.append(Frame(kind, flags, stream, data[start : start + head_size], data[start + head_size : end]))
        position = end
    return frames


# ---------------------------------------------------------------------- msgpack, also as nobody writes it


def raw_map(*pairs: tuple[bytes, bytes]) -> bytes:
    """A map of up to 15 entries given as encoded bytes: keys may repeat or be no strings."""
    return bytes([0x80 | len(pairs)]) + b"".join(key + value for key, value in pairs)


def nested(levels: int, inner: Any = None) -> Any:
    """Arrays in arrays: `levels` of them."""
    value = inner
    for _ in range(levels):
        value = [value]
    return value


def long_form(value: Any) -> bytes:
    """The same value in the longest encoding msgpack has: every integer and every length takes the widest form."""
    match value:
        case bool() | None:
            return pack(value)
        case int():
            return b"\xcf" + struct.pack("!Q", value) if value >= 0 else b"\xd3" + struct.pack("!q", value)
        case float():
            return b"\xcb" + struct.pack("!d", value)
        case str():
            data = value.encode()
            return b"\xdb" + struct.pack("!I", len(data)) + data
        case bytes():
            return b"\xc6" + struct.pack("!I", len(value)) + value
        case dict():
            parts = [long_form(key) + long_form(item) for key, item in value.items()]
            return b"\xdf" + struct.pack("!I", len(parts)) + b"".join(parts)
    items = [long_form(item) for item in value]
    return b"\xdd" + struct.pack("!I", len(items)) + b"".join(items)
