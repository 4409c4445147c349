"""JSON -> frames, legal or not: what `send` and `repl` take. Pure.

    {"type": "STATUS", "stream": 1, "head": {"job": "j"}}
    {"type": "SUBMIT", "head": {...}, "tail": {"prompt": "a red circle"}}    a map becomes msgpack
    {"type": "DATA", "stream": 1, "end": true, "tail": "@image.png"}         a file; or "hex:89504e47"
    {"type": 145, "flags": 3, "stream": 0, "tail": "hex:00"}                 any type, any flags
    {"hex": "c1000000"}                                                      any bytes

END is set where the registry says that it always is, unless `end` or `flags` say otherwise; a request without `stream`
gets the next free id. Nothing is checked that one may want to break.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]

from pixwire_protocol.header import HEADER, MARKER_WORD, MAX_LENGTH
from pixwire_protocol.heads import MESSAGES, MessageSpec
from pixwire_protocol.registry import MAX_STREAM

from .errors import InputError

_KEYS: Final = ("type", "flags", "end", "stream", "head", "tail", "head_len", "length")
_END: Final = 0x01


@dataclass(slots=True)
class Streams:
    """Which stream id the next request gets."""

    last: int = -1

    def next(self) -> int:
        """A fresh odd id. Raises InputError when there is none left."""
        if self.last + 2 > MAX_STREAM:
            raise InputError(f"no stream id above {self.last} is left", "name one with stream, or begin a connection")
        self.last += 2
        return self.last

    def used(self, stream: int) -> None:
        """This id was given by hand."""
        if stream & 1 and stream > self.last:
            self.last = stream


def frame_of(text: str, streams: Streams, *, folder: Path | None = None) -> bytes:
    """The bytes that one JSON object asks for. Raises InputError that says what is wrong with it."""
    try:
        order = json.loads(text)
    except ValueError as error:
        raise InputError(f"not JSON: {error}") from None
    except RecursionError:
        raise InputError("not JSON: nested too deep") from None
    if not isinstance(order, dict):
        raise InputError(f"a frame is a JSON object, not {text.strip():.40}")
    if set(order) == {"hex"}:
        return hex_bytes(order["hex"])
    return frame_from(order, streams, folder=folder)


def frame_from(order: Mapping[str, Any], streams: Streams, *, folder: Path | None = None) -> bytes:
    """The same for the object itself."""
    unknown = [key for key in order if key not in _KEYS]
    if unknown:
        raise InputError(f"unknown key {unknown[0]!r}; a frame has {', '.join(_KEYS)}, or hex alone")
    frame_type, spec = _type(order.get("type"))
    stream = _stream(order.get("stream"), spec, streams)
    head = order.get("head", {} if spec is not None and spec.head == "map" else None)
    head_bytes = pack_value(head, folder) if head is not None else b""
    tail_bytes = pack_value(order["tail"], folder) if order.get("tail") is not None else b""
    head_len = _whole(order, "head_len", len(head_bytes), 0xFFFF)
    length = _whole(order, "length", len(head_bytes) + len(tail_bytes), MAX_LENGTH)
    flags = _whole(order, "flags", _flags(spec, stream, order), 0xFF)
    header = HEADER.pack(MARKER_WORD | length, frame_type, flags, head_len, stream)
    return header + head_bytes + tail_bytes


def _type(value: Any) -> tuple[int, MessageSpec | None]:
    if isinstance(value, str):
        spec = MESSAGES.get(value.upper())
        if spec is not None:
            return spec.type, spec
        if value.lower().startswith("0x"):
            try:
                value = int(value, 16)
            except ValueError:
                value = -1
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 0xFF:
        return value, None
    known = ", ".join(MESSAGES)
    raise InputError(f"type must be a number from 0 to 255 or one of {known}, not {value!r:.40}")


def _stream(value: Any, spec: MessageSpec | None, streams: Streams) -> int:
    if value is None:
        return streams.next() if spec is not None and spec.stream == "new" else 0
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 0xFFFFFFFF:
        raise InputError(f"stream must be an integer from 0 to {MAX_STREAM} (or up to 2^32-1, to break it)")
    streams.used(value)
    return value


def _flags(spec: MessageSpec | None, stream: int, order: Mapping[str, Any]) -> int:
    end = order.get("end")
    if end is not None and not isinstance(end, bool):
        raise InputError(f"end must be true or false, not {end!r:.40}")
    if spec is not None and spec.ack:
        return _END
    if end is None:
        end = spec is not None and _ends(spec, stream, order)
    return _END if end else 0


def _ends(spec: MessageSpec, stream: int, order: Mapping[str, Any]) -> bool:
    if spec.end == "stream":
        return bool(stream)
    head = order.get("head")
    follows = isinstance(head, Mapping) and bool(head.get("attachments"))
    return spec.end not in ("never", "optional") and not follows


def _whole(order: Mapping[str, Any], name: str, default: int, most: int) -> int:
    value = order.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise InputError(f"{name} must be an integer from 0 to {most}, not {value!r:.40}")
    return value


def pack_value(value: Any, folder: Path | None = None) -> bytes:
    """Head or tail: a map (msgpack), "hex:...", "@file", or any other text as UTF-8."""
    if isinstance(value, Mapping) and set(value) == {"$hex"}:
        return hex_bytes(value["$hex"])
    if isinstance(value, Mapping | list):
        try:
            packed: bytes = msgpack.packb(_bins(value))
        except (ValueError, OverflowError, TypeError) as error:
            raise InputError(f"cannot be sent as msgpack: {error}") from None
        except RecursionError:
            raise InputError("cannot be sent as msgpack: nested too deep") from None
        return packed
    if not isinstance(value, str):
        raise InputError(f'a head or tail is a map, "hex:...", "@file" or text, not {value!r:.40}')
    if value.startswith("hex:"):
        return hex_bytes(value[4:])
    if value.startswith("@"):
        return read_file((folder or Path()) / value[1:])
    return value.encode(errors="surrogatepass")


def _bins(value: Any) -> Any:
    if isinstance(value, Mapping):
        if set(value) == {"$hex"}:
            return hex_bytes(value["$hex"])
        if set(value) == {"$float"}:
            return float(value["$float"])
        return {key: _bins(item) for key, item in value.items()}
    return [_bins(item) for item in value] if isinstance(value, list) else value


def hex_bytes(text: Any) -> bytes:
    """Bytes from hex with any spacing, 0x and commas allowed. Raises InputError naming the place."""
    if not isinstance(text, str):
        raise InputError(f"hex must be a string, not {text!r:.40}")
    digits = "".join(text.replace("0x", " ").replace(",", " ").replace(":", " ").split())
    for position, digit in enumerate(digits):
        if digit not in "0123456789abcdefABCDEF":
            raise InputError(f"not hex: {digit!r} at digit {position + 1}")
    if len(digits) % 2:
        raise InputError(f"not hex: {len(digits)} digits make no whole number of bytes")
    return bytes.fromhex(digits)


def read_file(path: Path) -> bytes:
    """A file's bytes. Raises InputError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error.strerror}") from None
    except ValueError:  # a zero byte, half a surrogate pair
        raise InputError(f"cannot read {str(path)!r}: no file can have this name") from None
