"""What a header may look like, per role (SPEC 4, 8): one lookup by type and flags instead of a chain of questions.

Built from the registry. A pair of type and flags that is missing here is an unknown type, wrong flags, or a frame that
the peer's role never sends.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pixwire_protocol.codec import Codec
from pixwire_protocol.messages import CODECS
from pixwire_protocol.registry import Flag
from pixwire_protocol.states import Input, Role, StreamInput


@dataclass(frozen=True, slots=True)
class Rule:
    """What to expect of a frame with this type and these flags.

    on_zero, on_stream   what its arrival on stream 0 / on a stream means; None: not allowed there
    stream_input         what it does to the server's side of a stream; None: nothing
    is_data              whether it is DATA
    has_head             whether there is a head
    tail_size            the only size its tail may have, or None for any
    """

    codec: Codec
    end: bool
    on_zero: Input | None
    on_stream: Input | None
    stream_input: StreamInput | None
    is_data: bool
    has_head: bool
    tail_size: int | None

    @property
    def ends_stream(self) -> bool:
        """Whether the frame ends its stream by its type: it is an ERROR or a RESET."""
        return self.stream_input in (StreamInput.ERROR, StreamInput.RESET)


_ZERO: Final = {
    "HELLO": Input.RECV_HELLO,
    "WELCOME": Input.RECV_WELCOME,
    "AUTH": Input.RECV_AUTH,
    "AUTH_OK": Input.RECV_AUTH_OK,
    "PING": Input.RECV_PING,
    "PONG": Input.RECV_PONG,
    "ERROR": Input.RECV_ERROR,
    "GOAWAY": Input.RECV_GOAWAY,
    "CREDIT": Input.RECV_CREDIT,
}
_STREAM: Final = {
    ("RESULT", False): StreamInput.RESULT,
    ("RESULT", True): StreamInput.RESULT_END,
    ("EVENT", False): StreamInput.EVENT,
    ("EVENT", True): StreamInput.EVENT_END,
    ("PREVIEW", False): StreamInput.PREVIEW,
    ("DATA", False): StreamInput.DATA,
    ("DATA", True): StreamInput.DATA_END,
    ("ERROR", True): StreamInput.ERROR,
    ("RESET", False): StreamInput.RESET,
}
_EITHER: Final = (False, True)
_ENDS: Final = {"never": (False,), "required": (True,), "optional": _EITHER, "stream": _EITHER, "request": _EITHER}
_TAIL_SIZES: Final = {"none": 0, "eight": 8}


def _rule(codec: Codec, end: bool) -> Rule:
    spec = codec.spec
    zero = spec.stream in ("zero", "any") and not (spec.end == "stream" and end)
    stream = spec.stream != "zero" and not (spec.end == "stream" and not end)
    return Rule(
        codec=codec,
        end=end,
        on_zero=_ZERO[spec.name] if zero else None,
        on_stream=(Input.RECV_REQUEST if spec.stream == "new" else Input.RECV_STREAM) if stream else None,
        stream_input=_STREAM.get((spec.name, end)),
        is_data=spec.tail == "data",
        has_head=codec.has_head,
        tail_size=_TAIL_SIZES.get(spec.tail),
    )


def rule_key(frame_type: int, flags: int) -> int:
    """The key of RULES for a type byte and a flags byte."""
    return frame_type << 8 | flags


def _rules(receiver: Role) -> dict[int, Rule]:
    sender = Role.SERVER if receiver is Role.CLIENT else Role.CLIENT
    rules: dict[int, Rule] = {}
    for codec in CODECS.values():
        if codec.spec.sender in (sender.value, "both"):
            for end in _ENDS[codec.spec.end]:
                flags = codec.ack | (Flag.END if end else 0)
                rules[rule_key(codec.type, flags)] = _rule(codec, end)
    return rules


RULES: Final[Mapping[Role, Mapping[int, Rule]]] = {role: _rules(role) for role in Role}
KNOWN_TYPES: Final[Mapping[int, str]] = {codec.type: codec.spec.name for codec in CODECS.values() if not codec.ack}
EXTENSIONS: Final = range(0x80, 0xC0)
"""Types that are skipped when unknown."""
