"""Sections 4.3 and 14: several faults at once, and garbage."""

import random

from pixwire_protocol.registry import ErrorCode

from ..frames import frame, pack
from ..subject import Subject, declared, refused
from .register import case

GARBAGE_SEEDS = range(12)


@case("PXW-FRM-020")
async def first_error(server: Subject) -> None:
    """Of several faults in one frame the first in the order of section 4.3 is reported"""
    limit = declared(await server.ready(), "max_frame")
    for what, bad, code in (
        ("marker before length", frame("PING", 0, length=0xFFFFFF, marker=0xC2), ErrorCode.PROTOCOL_ERROR),
        ("head_len before top bit", frame("PING", 1 << 31, None, b"12345678", head_size=99), ErrorCode.PROTOCOL_ERROR),
        ("top bit before flags", frame("PING", 1 << 31, None, b"12345678", flags=0x80), ErrorCode.STREAM_ID),
        ("shape before place", frame("CREDIT", 0), ErrorCode.BAD_HEAD),
        ("place before stream id", frame("RESET", 0, {"code": 0}), ErrorCode.PROTOCOL_ERROR),
        ("stream id before profile", frame("STATUS", 2, b"\xc1"), ErrorCode.STREAM_ID),
        ("profile before crit", frame("CREDIT", 0, pack({"n": 1, "crit": ["x"]}) + b"\x00"), ErrorCode.BAD_HEAD),
        ("crit before fields", frame("CREDIT", 0, {"n": 0, "crit": ["x"]}), ErrorCode.UNKNOWN_CRITICAL),
    ):
        if what == "marker before length" and limit == 0xFFFFFF:
            continue
        peer = await server.ready()
        await refused(peer.dies(code, of=bad, probe=False), what)


@case("PXW-FRM-021")
async def before_the_body(server: Subject) -> None:
    """What 12 bytes show to be wrong is said before the body has come"""
    for what, whole, code in (
        ("a tail on STATUS", frame("STATUS", 1, {"job": "x"}, bytes(100)), ErrorCode.PROTOCOL_ERROR),
        ("an even id", frame("STATUS", 2, {"job": "x"}), ErrorCode.STREAM_ID),
        ("PING on a stream", frame("PING", 3, None, bytes(8)), ErrorCode.PROTOCOL_ERROR),
        ("an unknown type on stream 0", frame(0x3F, 0, None, bytes(100)), ErrorCode.PROTOCOL_ERROR),
    ):
        peer = await server.ready()
        await peer.send_raw(whole[:12])
        peer.half_close()
        await refused(peer.failed(code), what)


@case("PXW-SEC-005", "PXW-MSG-002")
async def garbage(server: Subject) -> None:
    """Random bytes, also behind a right handshake and inside heads, end in an error, and the server lives on"""
    for seed in GARBAGE_SEEDS:
        rng = random.Random(seed)
        peer = await server.ready()
        head = rng.randbytes(rng.randrange(1, 200))
        body = frame("STATUS", 1, head) if seed % 3 else rng.randbytes(400)
        await peer.send_raw(body)
        peer.half_close()
        await peer.ended()
    await server.alive()
