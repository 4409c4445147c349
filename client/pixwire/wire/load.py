"""Files and arguments -> captures: whatever somebody has, hex, raw bytes, `.pxwcap`, pcap."""

import sys
from pathlib import Path
from typing import Final, Literal

from . import capture
from .annotate import Side
from .build import hex_bytes, read_file
from .capture import Capture
from .errors import InputError

Kind = Literal["auto", "hex", "raw", "pxwcap", "pcap"]
_PCAP: Final = tuple(map(bytes.fromhex, ("d4c3b2a1", "a1b2c3d4", "4d3cb2a1", "a1b23c4d", "0a0d0d0a")))
_HEX: Final = frozenset(b"0123456789abcdefABCDEFx, \t\r\n:")


def read_input(source: str) -> bytes:
    """`-` is stdin, anything else a file. Raises InputError."""
    return sys.stdin.buffer.read() if source == "-" else read_file(Path(source))


def as_capture(data: bytes, kind: Kind = "auto", *, side: Side = "C", port: int | None = None) -> Capture:
    """Bytes as a capture; `side` is who sent them when the format does not say. Raises InputError."""
    chosen = kind_of(data) if kind == "auto" else kind
    if not data.strip(b" \t\r\n"):
        raise InputError("there is nothing to decode: the input is empty")
    match chosen:
        case "pxwcap":
            return capture.parse(data)
        case "pcap":
            from .pcap import read_pcap  # dpkt takes its time

            return read_pcap(data, port)
        case "hex":
            found = hex_bytes(data.decode("latin-1"))
            if not found:
                raise InputError("there is nothing to decode: the input has no digits")
            return capture.merge([(side, found)])
    return capture.merge([(side, data)])


def kind_of(data: bytes) -> Kind:
    """What it looks like."""
    if capture.is_capture(data):
        return "pxwcap"
    if data[:4] in _PCAP:
        return "pcap"
    return "hex" if _HEX.issuperset(data) else "raw"


def load(path: str, kind: Kind = "auto", *, port: int | None = None) -> Capture:
    """A capture file (`.pxwcap` or pcap) for commands that compare or judge. Raises InputError."""
    data = read_input(path)
    if not data:
        raise InputError(f"{path!r} is empty")
    found = kind_of(data) if kind == "auto" else kind
    if found not in ("pxwcap", "pcap"):
        raise InputError(f"{path!r} is neither a .pxwcap nor a packet capture", "record one with pixwire wire tap")
    return as_capture(data, found, port=port)
