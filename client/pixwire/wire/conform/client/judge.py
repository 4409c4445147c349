"""Reads along what a client sends and raises Violation for the first frame that it must not send (SPEC 4 to 8, 12)."""

from collections.abc import Mapping
from typing import Any, Final

from pixwire_protocol.registry import LIMITS, MAX_CREDIT, ErrorCode

from ..frames import EXTENSIONS, Frame, opens_stream
from ..judge import check_parts
from ..verdicts import Violation

JUDGED: Final = (
    *("PXW-AUT-004", "PXW-CON-001", "PXW-CON-007", "PXW-CON-010", "PXW-DRN-001", "PXW-ERR-008", "PXW-EXT-008"),
    *("PXW-FLW-001", "PXW-FLW-002", "PXW-FLW-005", "PXW-FLW-006", "PXW-FLW-012", "PXW-FRM-001", "PXW-FRM-003"),
    *("PXW-FRM-009", "PXW-FRM-017", "PXW-HSK-001", "PXW-HSK-002", "PXW-HSK-012", "PXW-HSK-014", "PXW-MSG-001"),
    *("PXW-MSG-004", "PXW-MSG-005", "PXW-MSG-017", "PXW-REQ-006", "PXW-STR-001", "PXW-STR-002", "PXW-STR-006"),
    *("PXW-STR-008", "PXW-STR-011", "PXW-STR-019", "PXW-UPL-001", "PXW-UPL-002"),
)
"""Requirements that are looked at in every frame of every scenario."""
_AFTER_REQUEST: Final = ("CREDIT", "RESET")


class ClientJudge:
    """One connection's judge. The actor says when WELCOME went out (`welcomed`) and when its GOAWAY was surely read."""

    def __init__(self) -> None:
        self.max_frame = LIMITS["handshake_max_frame"].default
        self.max_streams = LIMITS["max_streams"].default
        self.hello: Mapping[str, Any] = {}
        self.welcomed = False
        self.asks_auth = False
        self.drained = False
        self.said_goaway = False
        self.last_stream = 0
        self.open: set[int] = set()
        self.reset: set[int] = set()
        self.uploads: dict[int, int] = {}
        """Stream -> bytes of attachments that are missing."""
        self.windows: dict[int, int] = {}
        """What the client may still send, by stream; 0: on the connection."""
        self.stream_window = LIMITS["stream_window"].default
        self.granted: dict[int, int] = {}
        """What we may still send, by stream; 0: on the connection."""

    # ------------------------------------------------------------------ what the played server sends

    def declare(self, limits: Mapping[str, int]) -> None:
        """The limits of our WELCOME hold from now on."""

        def declared(name: str) -> int:
            return limits.get(name, LIMITS[name].default)

        self.welcomed = True
        self.max_frame, self.max_streams = declared("max_frame"), declared("max_streams")
        self.stream_window = declared("stream_window")
        self.windows[0] = declared("connection_window")

    def sent(self, frame: Frame) -> None:
        """Note a frame of the played server."""
        if frame.name == "CREDIT" and type(n := frame.head.get("n")) is int:
            self.windows[frame.stream] = self.windows.get(frame.stream, 0) + n
        elif frame.stream and (frame.end or frame.name in ("RESET", "ERROR")):
            self.open.discard(frame.stream)

    def window_of(self, stream: int) -> int:
        """What the client takes on a stream now."""
        limits = self.hello.get("limits") or {}
        default = limits.get("stream_window", LIMITS["stream_window"].default)
        return min(self.granted.setdefault(stream, default), self.granted[0])

    def took(self, stream: int, size: int) -> None:
        """We sent DATA."""
        self.granted[stream] -= size
        self.granted[0] -= size

    # ------------------------------------------------------------------ what the client sends

    def received(self, frame: Frame) -> None:
        """Judge a frame. Raises Violation."""
        size = len(frame.head_bytes) + len(frame.tail)
        if size > self.max_frame:
            raise Violation("PXW-FRM-003", f"{frame} of {size} bytes exceeds our max_frame {self.max_frame}")
        if self.said_goaway and frame.name not in ("CREDIT", "RESET", "PING", "PONG", "GOAWAY", "ERROR", "DATA"):
            raise Violation("PXW-CON-010", f"{frame} came behind the client's own GOAWAY")
        spec = frame.spec
        if spec is None:
            if frame.type not in EXTENSIONS:
                raise Violation("PXW-EXT-008", f"{frame}: nobody knows frames of this type")
            if not self.welcomed:
                raise Violation("PXW-HSK-002", f"{frame} before WELCOME")
            return
        if spec.sender == "server":
            raise Violation("PXW-FRM-016", f"{frame}: only a server sends this")
        head = check_parts(frame, spec)
        self._in_order(frame, head)

    def _in_order(self, frame: Frame, head: Mapping[str, Any]) -> None:
        if not self.hello:
            if frame.name not in ("HELLO", "GOAWAY"):
                raise Violation("PXW-HSK-001", f"the first frame is {frame}")
            self._on_hello(head)
        elif frame.name == "HELLO":
            raise Violation("PXW-HSK-007", "a second HELLO")
        elif not self.welcomed and frame.name not in ("GOAWAY", "ERROR"):
            raise Violation("PXW-HSK-002", f"{frame} before WELCOME")
        elif frame.name == "GOAWAY":
            self.said_goaway = True
        elif frame.name == "AUTH":
            self._on_auth(frame)
        elif frame.name == "CREDIT":
            self._on_credit(frame, head)
        elif opens_stream(frame):
            self._on_request(frame, head)
        elif frame.stream:
            self._on_stream(frame)

    def _on_hello(self, head: Mapping[str, Any]) -> None:
        self.hello = head or {"agent": ""}
        limits = head.get("limits") or {}
        for name, value in limits.items():
            spec = LIMITS.get(name)
            wrong = spec is not None and (type(value) is not int or not spec.minimum <= value <= spec.maximum)
            if spec is not None and spec.declared != "" and wrong:
                raise Violation("PXW-HSK-014", f"HELLO declares {name} = {value!r}")
        self.granted[0] = limits.get("connection_window", LIMITS["connection_window"].default)

    def _on_auth(self, frame: Frame) -> None:
        if not self.asks_auth:
            raise Violation("PXW-AUT-004", f"{frame}, although WELCOME asked for none")

    def _on_credit(self, frame: Frame, head: Mapping[str, Any]) -> None:
        n = head["n"]
        if not 1 <= n <= MAX_CREDIT:
            raise Violation("PXW-FLW-005", f"{frame} with n = {n}")
        if frame.stream > self.last_stream:
            raise Violation("PXW-STR-005", f"{frame}: this stream was never opened")
        if frame.stream in self.granted:
            self.granted[frame.stream] += n
            if self.granted[frame.stream] > MAX_CREDIT:
                raise Violation("PXW-FLW-006", f"{frame} raises the window to {self.granted[frame.stream]}")

    def _on_request(self, frame: Frame, head: Mapping[str, Any]) -> None:
        stream = frame.stream
        if not stream & 1:
            raise Violation("PXW-STR-001", f"{frame}: the id is even")
        if stream <= self.last_stream:
            raise Violation("PXW-STR-002", f"{frame}: the id is not above {self.last_stream}")
        if self.drained:
            raise Violation("PXW-DRN-001", f"{frame} behind our GOAWAY")
        attachments = head.get("attachments") or ()
        if frame.end is bool(attachments):
            requirement = "PXW-UPL-001" if attachments else "PXW-STR-006"
            raise Violation(requirement, f"{frame} {'with' if frame.end else 'without'} END")
        if len(self.open) >= self.max_streams:
            raise Violation(
                "PXW-STR-019", f"{frame}: {len(self.open)} streams are open, allowed are {self.max_streams}"
            )
        self.last_stream = stream
        self.open.add(stream)
        if attachments:
            self.uploads[stream] = sum(attachment["size"] for attachment in attachments)
            self.windows[stream] = self.stream_window

    def _on_stream(self, frame: Frame) -> None:
        if frame.stream > self.last_stream or not frame.stream & 1:
            raise Violation("PXW-STR-005", f"{frame}: this stream was never opened")
        if frame.name == "DATA":
            self._on_data(frame)
        elif frame.name in ("RESET", "ERROR"):
            self.open.discard(frame.stream)
            self.uploads.pop(frame.stream, None)
            self.reset.add(frame.stream)
        elif frame.name not in _AFTER_REQUEST:
            raise Violation("PXW-STR-008", f"{frame} behind the request")

    def _on_data(self, frame: Frame) -> None:
        stream, size = frame.stream, len(frame.tail)
        if stream in self.reset:
            raise Violation("PXW-STR-011", f"{frame} behind the client's own RESET")
        if stream not in self.uploads:
            raise Violation("PXW-STR-008", f"{frame}: nothing is uploaded there")
        if size > self.windows[stream]:
            raise Violation("PXW-FLW-001", f"{frame}, the stream's window has {self.windows[stream]}")
        if size > self.windows[0]:
            raise Violation("PXW-FLW-002", f"{frame}, the connection's window has {self.windows[0]}")
        if not size and not frame.end:
            raise Violation("PXW-FLW-012", f"{frame} has neither bytes nor END")
        self.windows[stream] -= size
        self.windows[0] -= size
        self.uploads[stream] -= size
        left = self.uploads[stream]
        if left < 0:
            raise Violation("PXW-UPL-001", f"{frame}: {-left} bytes more than announced")
        if frame.end and left:
            raise Violation("PXW-UPL-002", f"{frame} carries END, {left} bytes are missing")


def is_fault(code: int) -> bool:
    """Whether a GOAWAY with this code ends the connection at once."""
    return code not in (ErrorCode.NO_ERROR, ErrorCode.DRAINING)
