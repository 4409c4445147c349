"""Sections 4, 5 and 13: frames, right and wrong, cut anywhere."""

import random
import struct

from pixwire_protocol.registry import LIMITS, ErrorCode

from ..frames import BIT, UNKNOWN_TYPES, credit, frame, long_form, nested, pack, ping, raw_map, split_frames
from ..verdicts import Ended, Failure
from .actor import Actor
from .bench import Bench
from .register import case


class Breaking(Actor):
    """Sends offending bytes on stream 0 when the first request came; the client ends the connection with a code."""

    bad: bytes = b""
    code = ErrorCode.PROTOCOL_ERROR
    probe = True

    async def on_submit(self, got: object) -> None:
        await self.connection_dies(self.bad, self.code, probe=self.probe)
        raise Ended("done")

    on_fetch = on_watch = on_status = on_list = on_submit


async def breaks(bench: Bench, bad: bytes, code: ErrorCode, what: str, *, probe: bool = True) -> None:
    """One run against `Breaking`; what the client does afterwards, on other connections, is its business."""
    try:
        await bench.play(type("Broken", (Breaking,), {"bad": bad, "code": code, "probe": probe}), Actor)
    except Failure as failure:
        raise Failure(f"{what}: {failure}") from failure


@case("PXW-FRM-010")
async def byte_by_byte(bench: Bench) -> None:
    """Every byte in a segment of its own: the image arrives"""

    class Dribbling(Actor):
        async def write(self, *parts: bytes) -> None:
            data = b"".join(parts)
            for sent in split_frames(data):
                self.peer.judge.sent(sent)
            await self.peer.send_slowly(data, [1] * min(len(data), 600))

    (await bench.play(Dribbling)).got()


@case("PXW-FRM-010", section="4")
async def all_at_once(bench: Bench) -> None:
    """Everything from RESULT to the last DATA in one write: the image arrives"""

    class Hoarding(Actor):
        held: list[bytes]

        async def answer(self, *arguments, **more) -> None:  # type: ignore[no-untyped-def]
            self.held = []
            try:
                await super().answer(*arguments, **more)
            finally:
                data, self.held = b"".join(self.held), None  # type: ignore[assignment]
            await super().write(data)

        async def write(self, *parts: bytes) -> None:
            if getattr(self, "held", None) is None:
                await super().write(*parts)
            else:
                self.held.extend(parts)

    (await bench.play(Hoarding)).got()


@case("PXW-MSG-009")
async def long_forms(bench: Bench) -> None:
    """Heads in the longest encoding that msgpack has: the image arrives"""

    class Verbose(Actor):
        async def write(self, *parts: bytes) -> None:
            out = []
            for part in parts:
                found = split_frames(part)
                if not found:
                    out.append(part)
                for sent in found:
                    head = long_form(sent.head) if sent.head_bytes else b""
                    out.append(frame(sent.type, sent.stream, head, sent.tail, flags=sent.flags))
            await super().write(*out)

    (await bench.play(Verbose)).got()


@case("PXW-FRM-002")
async def marker(bench: Bench) -> None:
    """A frame that does not begin with 0xC1 is a PROTOCOL_ERROR"""
    await breaks(bench, frame("PING", 0, None, b"01234567", marker=0xC0), ErrorCode.PROTOCOL_ERROR, "marker 0xC0")


@case("PXW-FRM-004", "PXW-FRM-005")
async def too_large(bench: Bench) -> None:
    """A length above the client's max_frame is FRAME_TOO_LARGE as soon as four bytes are there"""

    class Large(Breaking):
        code = ErrorCode.FRAME_TOO_LARGE
        probe = False

        async def on_submit(self, got: object) -> None:
            limits = self.hello.get("limits") or {}
            limit = limits.get("max_frame", LIMITS["max_frame"].default)
            if limit == 0xFFFFFF:
                raise Ended("every length is allowed")
            await self.peer.send_raw(frame("PING", length=limit + 1)[:4])
            await self.peer.failed(self.code)
            raise Ended("done")

        on_fetch = on_watch = on_status = on_list = on_submit

    await bench.play(Large, Actor)


@case("PXW-FRM-006")
async def too_large_before_welcome(bench: Bench) -> None:
    """Until WELCOME max_frame is 4,096"""

    class Large(Actor):
        async def say_welcome(self) -> None:
            await self.peer.send_raw(frame("WELCOME", length=LIMITS["handshake_max_frame"].default + 1)[:4])
            await self.peer.failed(ErrorCode.FRAME_TOO_LARGE)
            raise Ended("done")

    await bench.play(Large, Actor)


@case("PXW-FRM-007", "PXW-FRM-008", "PXW-FRM-012", "PXW-FRM-013", "PXW-FRM-014", "PXW-FRM-015", "PXW-FRM-016")
async def headers(bench: Bench) -> None:
    """Headers that contradict themselves or the table of types end the connection with their code"""
    for what, bad, code in (
        ("head_len above length", frame("PING", 0, None, bytes(8), head_size=9), ErrorCode.PROTOCOL_ERROR),
        ("the top bit of the stream id", frame("PING", 1 << 31, None, bytes(8)), ErrorCode.STREAM_ID),
        ("PING on a stream", frame("PING", 1, None, bytes(8)), ErrorCode.PROTOCOL_ERROR),
        ("RESULT on stream 0", frame("RESULT", 0, {"job": "x"}), ErrorCode.PROTOCOL_ERROR),
        ("a head on PING", frame("PING", 0, {"a": 1}, bytes(8)), ErrorCode.PROTOCOL_ERROR),
        ("a tail on CREDIT", frame("CREDIT", 0, {"n": 1}, b"x"), ErrorCode.PROTOCOL_ERROR),
        ("a PING of 7 bytes", frame("PING", 0, None, bytes(7)), ErrorCode.PROTOCOL_ERROR),
        ("a STATUS from the server", frame("STATUS", 1, {"job": "x"}), ErrorCode.PROTOCOL_ERROR),
    ):
        await breaks(bench, bad, code, what)


@case("PXW-FRM-018", "PXW-FRM-019")
async def flags(bench: Bench) -> None:
    """Flag bits without meaning, and bit 0 with the wrong value, are a PROTOCOL_ERROR"""
    for what, bad in (
        ("bit 1 on PING", frame("PING", 0, None, bytes(8), flags=2)),
        ("END on CREDIT", frame("CREDIT", 0, {"n": 1}, flags=BIT)),
        ("ERROR with END on stream 0", frame("ERROR", 0, {"code": 0}, flags=BIT)),
    ):
        await breaks(bench, bad, ErrorCode.PROTOCOL_ERROR, what)


@case("PXW-MSG-001", "PXW-MSG-002", "PXW-MSG-003", "PXW-MSG-006", "PXW-MSG-007", "PXW-MSG-008", "PXW-MSG-012")
async def heads(bench: Bench) -> None:
    """Heads outside the msgpack profile are BAD_HEAD"""
    for what, head in (
        ("an array", pack([1])),
        ("no head", b""),
        ("a byte behind the map", pack({"n": 1}) + b"\xc0"),
        ("a map that does not end", pack({"n": 1})[:-1]),
        ("an integer as a key", raw_map((pack("n"), pack(1)), (pack(1), pack(1)))),
        ("an ext type", raw_map((pack("n"), pack(1)), (pack("x"), b"\xd4\x05\x00"))),
        ("bad UTF-8", raw_map((pack("n"), pack(1)), (pack("x"), b"\xa1\xff"))),
        ("NaN", raw_map((pack("n"), pack(1)), (pack("x"), b"\xcb" + struct.pack("!d", float("nan"))))),
        ("nine levels", pack({"n": 1, "x": nested(8)})),
    ):
        await breaks(bench, frame("CREDIT", 0, head), ErrorCode.BAD_HEAD, what)


@case("PXW-MSG-010", "PXW-MSG-011", "PXW-MSG-013", "PXW-MSG-014", "PXW-MSG-015", "PXW-MSG-016")
async def values(bench: Bench) -> None:
    """Floats and bools for ints, and what is longer than the profile allows, are BAD_HEAD"""
    for what, fields in (
        ("1.0", {"n": 1.0}),
        ("true", {"n": True}),
        ("1,025 entries", {"n": 1, "x": [0] * 1025}),
        ("4,097 values", {"n": 1, "x": [[0] * 1000] * 5}),
        ("a string of 16,385 bytes", {"n": 1, "x": "x" * 16385}),
        ("a bin of 1,025 bytes", {"n": 1, "x": bytes(1025)}),
    ):
        await breaks(bench, frame("CREDIT", 0, fields), ErrorCode.BAD_HEAD, what)


@case("PXW-EXT-004", "PXW-EXT-009")
async def grease(bench: Bench) -> None:
    """Unknown types from 0x80 to 0xBF on any stream, and unknown keys in every head, change nothing"""

    class Greasy(Actor):
        async def write(self, *parts: bytes) -> None:
            out = []
            for part in parts:
                for sent in split_frames(part):
                    head = {**sent.head, "grease_x": [1, {"y": None}]} if sent.head_bytes else None
                    out.append(frame(sent.type, sent.stream, head, sent.tail, flags=sent.flags))
                    if self.peer.judge.welcomed and sent.name != "WELCOME":
                        out += [frame(0x9B, sent.stream, b"\xc1", b"?", flags=0xFF), frame(0x80, 0), frame(0xBF, 998)]
                if not split_frames(part):
                    out.append(part)
            await super().write(*out)

    (await bench.play(Greasy)).got()


@case("PXW-EXT-007", "PXW-EXT-003")
async def unknown_on_zero(bench: Bench) -> None:
    """On stream 0 another unknown type is a PROTOCOL_ERROR, and crit with an unknown key UNKNOWN_CRITICAL"""
    await breaks(bench, frame(UNKNOWN_TYPES[1], 0), ErrorCode.PROTOCOL_ERROR, "type 0x3F")
    await breaks(bench, frame(UNKNOWN_TYPES[3], 0), ErrorCode.PROTOCOL_ERROR, "type 0xC0")
    await breaks(bench, frame("CREDIT", 0, {"n": 1, "crit": ["x_y"]}), ErrorCode.UNKNOWN_CRITICAL, "crit")


@case("PXW-FLW-005", "PXW-FLW-006")
async def credit_range(bench: Bench) -> None:
    """CREDIT of 0, and one that raises a window above 2^31-1, are FLOW_CONTROL"""
    await breaks(bench, credit(0), ErrorCode.FLOW_CONTROL, "n = 0")
    await breaks(bench, credit(2**31 - 1), ErrorCode.FLOW_CONTROL, "n = 2^31-1")


@case("PXW-STR-005", "PXW-STR-004")
async def stream_never_opened(bench: Bench) -> None:
    """A frame on a stream that the client never opened is STREAM_ID"""
    await breaks(bench, frame("RESULT", 999, {"job": "x"}, flags=BIT), ErrorCode.STREAM_ID, "RESULT on stream 999")
    await breaks(bench, frame("RESULT", 2, {"job": "x"}, flags=BIT), ErrorCode.STREAM_ID, "RESULT on stream 2")


@case("PXW-DRN-010")
async def last_stream_rises(bench: Bench) -> None:
    """A GOAWAY that raises last_stream is a PROTOCOL_ERROR"""
    first = frame("GOAWAY", 0, {"last_stream": 1, "code": int(ErrorCode.DRAINING)})
    second = frame("GOAWAY", 0, {"last_stream": 5, "code": int(ErrorCode.DRAINING)})
    await breaks(bench, first + second, ErrorCode.PROTOCOL_ERROR, "1, then 5")


@case("PXW-AUT-009")
async def auth_ok_uninvited(bench: Bench) -> None:
    """An AUTH_OK that answers no AUTH is a PROTOCOL_ERROR"""
    await breaks(bench, frame("AUTH_OK", 0, {"principal": "x"}), ErrorCode.PROTOCOL_ERROR, "AUTH_OK")


@case("PXW-FRM-020", "PXW-CON-009", "PXW-CON-011")
async def first_error(bench: Bench) -> None:
    """Of several faults the first in the order of section 4.3 is reported, and nothing behind it is processed"""
    for what, bad, code in (
        ("top bit before flags", frame("PING", 1 << 31, None, bytes(8), flags=0x80), ErrorCode.STREAM_ID),
        ("profile before crit", frame("CREDIT", 0, pack({"n": 1, "crit": ["x"]}) + b"\0"), ErrorCode.BAD_HEAD),
        ("crit before fields", frame("CREDIT", 0, {"n": 0, "crit": ["x"]}), ErrorCode.UNKNOWN_CRITICAL),
    ):
        await breaks(bench, bad, code, what)


@case("PXW-FRM-021")
async def before_the_body(bench: Bench) -> None:
    """What 12 bytes show to be wrong is said before the body has come"""

    class Partly(Breaking):
        async def on_submit(self, got: object) -> None:
            await self.peer.send_raw(frame("PING", 0, None, bytes(100))[:12])
            await self.peer.failed(ErrorCode.PROTOCOL_ERROR)
            raise Ended("done")

        on_fetch = on_watch = on_status = on_list = on_submit

    await bench.play(Partly, Actor)


@case("PXW-SEC-005")
async def garbage(bench: Bench) -> None:
    """Random bytes behind a right handshake: the client ends the connection and does not crash or hang"""
    for seed in range(3):

        class Random(Breaking):
            noise = b"\xc1" + random.Random(seed).randbytes(300)

            async def on_submit(self, got: object) -> None:
                await self.peer.send_raw(self.noise)
                self.peer.half_close()
                await self.peer.ended()
                raise Ended("done")

            on_fetch = on_watch = on_status = on_list = on_submit

        (await bench.play(Random, Actor)).got_or_failed()


@case("PXW-MSG-018")
async def duplicate_keys(bench: Bench) -> None:
    """Of two equal keys the last one counts, unless the head is rejected"""

    class Double(Actor):
        async def write(self, *parts: bytes) -> None:
            out = []
            for part in parts:
                found = split_frames(part)
                event = bool(found) and found[0].name == "EVENT" and found[0].head.get("state") == "running"
                if event:
                    head = found[0].head
                    twice = raw_map((pack("event"), pack("nothing")), *((pack(k), pack(v)) for k, v in head.items()))
                    part = frame("EVENT", found[0].stream, twice)
                out.append(part)
            await super().write(*out)

    (await bench.play(Double, Actor)).got_or_failed()


@case("PXW-FRM-011")
async def in_order(bench: Bench) -> None:
    """PINGs that come in one read are answered in their order"""

    class Many(Actor):
        async def say_welcome(self) -> None:
            await super().say_welcome()
            await self.write(*(ping(bytes([i]) * 8) for i in range(6)))
            for i in range(6):
                pong = await self.peer.find(lambda got: got.name in ("PONG", "GOAWAY"))
                if pong.tail != bytes([i]) * 8:
                    raise Failure(f"{pong} came, with {pong.tail.hex(' ')}, as answer {i}")
            while self.peer.inbox:
                await self.take(self.peer.inbox.popleft())

    (await bench.play(Many)).got()
