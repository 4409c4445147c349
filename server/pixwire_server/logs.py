"""Logging of the server: one line per record on stderr, and nothing from the wire can forge a line."""

import logging
import sys
import time
import warnings
from typing import TextIO

ROOT = "pixwire_server"
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {
    ord("\n"): "\\n",
    ord("\r"): "\\r",
    ord("\t"): "\\t",
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}
# Bidirectional overrides reorder what a terminal shows: as misleading as an escape sequence.
_ESCAPES |= {code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}


def escape(text: str) -> str:
    """`text` with every character that moves a terminal's cursor, ends a line or reorders text written as an escape."""
    return text.translate(_ESCAPES)


class LineFormatter(logging.Formatter):
    """`2026-11-22T16:18:47.123Z warning doors.tcp: message`, then a traceback (if any) indented below."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        name = record.name.removeprefix(f"{ROOT}.")
        head = f"{stamp}.{int(record.msecs):03d}Z {record.levelname.lower()} {name}: {escape(record.getMessage())}"
        if not record.exc_info:
            return head
        # Split on "\n" only: splitlines() would also split at separators that an exception's text may carry.
        lines = self.formatException(record.exc_info).split("\n")
        return "\n".join([head, *(f"    {escape(line)}" for line in lines)])


def configure(level: str, stream: TextIO | None = None) -> None:
    """Send the server's log records of `level` and above to `stream` (default: stderr). Replaces an earlier call's."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(LineFormatter())
    root = logging.getLogger()
    for old in [h for h in root.handlers if isinstance(h.formatter, LineFormatter)]:
        root.removeHandler(old)
    root.addHandler(handler)
    logging.getLogger(ROOT).setLevel(level.upper())
    # asyncio says "Executing ... took ..." and lost exceptions here: both matter, its debug chatter does not.
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    # What it finds odd in a picture concerns the client, who is told; and each new text would be kept for ever.
    warnings.filterwarnings("ignore", module=r"PIL\.")
