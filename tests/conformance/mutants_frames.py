"""Defects of a server in frames, heads, the handshake, extensions and floods."""

from typing import Any

from mutation import mutant
from patching import around, decode_floats_as_ints

from pixwire_protocol import judging, profile, receiving, sending
from pixwire_protocol.codec import Codec
from pixwire_protocol.errors import RemoteProtocolError
from pixwire_protocol.greeting import make_welcome
from pixwire_protocol.machine import Machine
from pixwire_protocol.messages import encode_packed, encode_within
from pixwire_protocol.parser import SKIP, FrameParser
from pixwire_protocol.rates import Rates
from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.states import State
from pixwire_server.doors.auth import Guard, Identity
from pixwire_server.doors.session import Session

# ---------------------------------------------------------------------- preface, framing


@mutant("PXW-CON-004")
def skips_the_magic() -> None:
    def any_preface(old: Any, self: Any, data: bytes, position: int) -> int:
        held = self._held
        if not held and position == 0 and len(data) >= 4:
            data = b"\x89PXW" + data[4:]
        return old(self, data, position)

    around(FrameParser, "_take_preface", any_preface)


@mutant("PXW-CON-010")
def wrong_goaway_code() -> None:
    around(Machine, "fail", lambda old, self, error, *words: old(self, relabel(error), *words))


def relabel(error: RemoteProtocolError) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.INTERNAL, error.message)


@mutant("PXW-FRM-005")
def length_checked_with_the_whole_header() -> None:
    def late(old: Any, self: Any, word: int) -> None:
        if 4 <= len(self._held) < 12:
            return
        old(self, word)

    around(FrameParser, "_check_word", late)


@mutant("PXW-FRM-018")
def ignores_flags() -> None:
    around(judging.Judging, "on_header", lambda old, self, kind, flags, *rest: old(self, kind, flags & 1, *rest))


@mutant("PXW-FRM-003")
def ignores_the_clients_max_frame() -> None:
    sending.encode_within = lambda *words: encode_within(*words[:3], 1 << 24)
    sending.encode_packed = lambda *words: encode_packed(*words[:4], 1 << 24)


@mutant("PXW-FRM-008")
def ignores_the_top_bit() -> None:
    def masked(old: Any, self: Any, kind: int, flags: int, head: int, stream: int, length: int) -> Any:
        return old(self, kind, flags, head, stream & 0x7FFFFFFF, length)

    around(judging.Judging, "on_header", masked)


# ---------------------------------------------------------------------- heads


@mutant("PXW-MSG-019")
def refuses_unknown_keys() -> None:
    def strict(old: Any, self: Codec, head: bytes, tail: Any, stream: int) -> Any:
        if self.has_head and set(profile.unpack_map(head)) - set(self.fields) - {"crit"}:
            raise RemoteProtocolError(ErrorCode.BAD_HEAD, "unknown keys")
        return old(self, head, tail, stream)

    around(Codec, "decode", strict)


@mutant("PXW-MSG-010")
def takes_floats_for_ints() -> None:
    decode_floats_as_ints()


@mutant("PXW-MSG-012")
def nests_one_deeper() -> None:
    profile.DEPTH += 1  # type: ignore[misc]


@mutant("PXW-EXT-001", "PXW-EXT-003")
def ignores_crit() -> None:
    Codec._check_critical = lambda self, names, stream: None  # type: ignore[method-assign]


# ---------------------------------------------------------------------- handshake


@mutant("PXW-HSK-007")
def second_hello_accepted() -> None:
    def deaf(old: Any, self: Any, kind: int, *rest: Any) -> Any:
        if kind == 0x01 and self._machine.state is State.READY:
            return SKIP
        return old(self, kind, *rest)

    around(judging.Judging, "on_header", deaf)


@mutant("PXW-HSK-009")
def names_features_uninvited() -> None:
    receiving.make_welcome = lambda settings, features: make_welcome(settings, ("preview", *features))


@mutant("PXW-AUT-007", token=True)
def any_token_will_do() -> None:
    def nod(self: Guard, request: Any, wall: float) -> Identity:
        self.identity = Identity("alice")
        return self.identity

    Guard.check = nod  # type: ignore[method-assign]


@mutant("PXW-AUT-001", token=True)
def serves_before_auth() -> None:
    around(Machine, "need_auth", lambda old, self: None)
    around(Session, "handle", lambda old, self, *rest: (setattr(self, "_principal", "alice"), old(self, *rest)))


# ---------------------------------------------------------------------- extension, floods


@mutant("PXW-EXT-004")
def answers_ignorable_frames() -> None:
    judging.EXTENSIONS = range(0)  # type: ignore[misc]


@mutant("PXW-EXT-005")
def unknown_frames_kill() -> None:
    def kill(old: Any, self: Any, stream: int, problem: str) -> None:
        raise RemoteProtocolError(ErrorCode.PROTOCOL_ERROR, problem)

    around(judging.Judging, "_refuse_unknown", kill)


@mutant("PXW-LIM-008", "PXW-LIM-009", "PXW-LIM-010")
def no_bound_on_floods() -> None:
    Rates.check = lambda self, counts, now: None  # type: ignore[method-assign]


@mutant("PXW-LIM-006", stream_rate=50)
def no_rate_of_streams() -> None:
    Rates.open = lambda self, now: None  # type: ignore[method-assign]
