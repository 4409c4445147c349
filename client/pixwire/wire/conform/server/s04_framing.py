"""Section 4: the header, types and flags."""

from collections.abc import Mapping
from typing import Any

from pixwire_protocol.registry import HEADER_SIZE, LIMITS, PREFACE, ErrorCode

from ..frames import BIT, REQUESTS, frame, hello, pack, ping, split_frames
from ..subject import Subject, check, declared, refused, said
from .register import case

JOB = {"job": "conform-none"}
BODIES: Mapping[str, Mapping[str, Any]] = {
    "STATUS": JOB,
    "CANCEL": JOB,
    "WATCH": JOB,
    "FETCH": JOB,
    "LIST": {"what": "models"},
    "SUBMIT": {**JOB, "kind": "txt2img"},
    "CREDIT": {"n": 1},
    "RESET": {"code": 0},
    "ERROR": {"code": 0},
    "GOAWAY": {"last_stream": 0, "code": 0},
    "HELLO": {"agent": "x"},
    "AUTH": {"mechanism": "bearer", "token": "x"},
}
"""A right head for every message a client sends."""
PARAMS = pack({"prompt": "x"})
HANDSHAKE_FRAME = LIMITS["handshake_max_frame"].default


def right(name: str, stream: int, **more: int) -> bytes:
    """A frame a client may send, on a stream of choice."""
    tail = {"PING": b"01234567", "PONG": b"01234567", "SUBMIT": PARAMS}.get(name, b"")
    return frame(name, stream, BODIES.get(name), tail, **more)


@case("PXW-FRM-002")
async def marker(server: Subject) -> None:
    """A frame that does not begin with 0xC1"""
    for byte in (0x00, 0xC0, 0xC2, 0xFF):
        peer = await server.ready()
        await peer.dies(ErrorCode.PROTOCOL_ERROR, of=frame("PING", 0, None, b"01234567", marker=byte))


@case("PXW-FRM-004")
async def too_large(server: Subject) -> None:
    """A length above the server's max_frame"""
    peer = await server.ready()
    limit = declared(peer, "max_frame")
    if limit == 0xFFFFFF:
        return
    await peer.send(frame("PING", 0, None, b"01234567", length=limit + 1))
    await peer.failed(ErrorCode.FRAME_TOO_LARGE)


@case("PXW-FRM-005")
async def too_large_early(server: Subject) -> None:
    """FRAME_TOO_LARGE is said when four bytes of the header are there; nothing of the body is waited for"""
    peer = await server.ready()
    limit = declared(peer, "max_frame")
    if limit == 0xFFFFFF:
        return
    await peer.send_raw(frame("PING", length=limit + 1)[:4])
    peer.half_close()
    await peer.failed(ErrorCode.FRAME_TOO_LARGE)


@case("PXW-FRM-004", section="4")
async def largest(server: Subject) -> None:
    """A frame of exactly max_frame bytes is taken"""
    peer = await server.ready()
    limit = min(declared(peer, "max_frame"), 1 << 20)
    await peer.send(frame(0x9B, 0, None, bytes(limit)))
    check(not await server.quiet(peer), "it was answered")


@case("PXW-FRM-006")
async def small_before_hello(server: Subject) -> None:
    """Until HELLO is received max_frame is 4,096: one byte more is too large, 4,096 are not"""
    peer = await server.connect()
    await peer.send_raw(PREFACE + frame("HELLO", length=HANDSHAKE_FRAME + 1)[:4])
    peer.half_close()
    await server.prefaced(peer)
    await peer.failed(ErrorCode.FRAME_TOO_LARGE)
    peer = await server.connect()
    empty = len(hello(x_fill="")) - HEADER_SIZE
    full = hello(x_fill="x" * (HANDSHAKE_FRAME - empty - 2))
    check(len(full) == HEADER_SIZE + HANDSHAKE_FRAME, "the tester's own arithmetic is wrong")
    await peer.send_raw(PREFACE)
    await peer.send(full)
    await server.prefaced(peer)
    await server.welcomed(peer)


@case("PXW-FRM-007")
async def head_longer_than_frame(server: Subject) -> None:
    """A head_len above length"""
    for head_size in (9, 0xFFFF):
        peer = await server.ready()
        await peer.dies(ErrorCode.PROTOCOL_ERROR, of=frame("PING", 0, None, b"01234567", head_size=head_size))


@case("PXW-FRM-008")
async def top_bit(server: Subject) -> None:
    """A stream id with the top bit set, on any type"""
    for name, stream in (("STATUS", 0x80000001), ("CREDIT", 0x80000000), ("PING", 0xFFFFFFFF)):
        peer = await server.ready()
        await peer.dies(ErrorCode.STREAM_ID, of=right(name, stream))


@case("PXW-FRM-010")
async def any_split(server: Subject) -> None:
    """The same answers whether the bytes come one by one, cut at every place, or all at once"""
    whole = PREFACE + hello() + frame("STATUS", 1, {"job": server.job_id(used=False)}) + ping(b"01234567")
    for sizes in ([1] * len(whole), *([place] for place in range(1, len(whole))), [len(whole)]):
        peer = await server.connect()
        for sent in split_frames(whole[len(PREFACE) :]):
            peer.judge.sent(sent)
        await peer.send_slowly(whole, sizes)
        await server.prefaced(peer)
        answer = await peer.receive()
        check(answer.name == "WELCOME", f"cut after {sizes[0]} bytes, {answer} came instead of WELCOME")
        if answer.head.get("auth"):
            return
        said(await peer.on(1), ErrorCode.JOB_NOT_FOUND)
        await peer.named("PONG")
        peer.cut()


@case("PXW-FRM-011")
async def in_order(server: Subject) -> None:
    """Frames that come in one read are processed in their order"""
    peer = await server.ready()
    await peer.send(*(ping(bytes([i]) * 8) for i in range(8)))
    for i in range(8):
        pong = await peer.named("PONG")
        check(pong.tail == bytes([i]) * 8, f"PONG {i} carries {pong.tail.hex(' ')}")


@case("PXW-FRM-012")
async def wrong_place(server: Subject) -> None:
    """Frames of stream 0 on a stream, and frames of streams on stream 0"""
    for name in ("STATUS", "CANCEL", "WATCH", "FETCH", "SUBMIT", "RESET"):
        peer = await server.ready()
        await refused(peer.dies(ErrorCode.PROTOCOL_ERROR, of=right(name, 0)), f"{name} on stream 0")
    for name in ("PING", "PONG", "GOAWAY", "HELLO"):
        peer = await server.ready()
        await peer.send(frame("STATUS", 1, JOB))
        await refused(peer.dies(ErrorCode.PROTOCOL_ERROR, of=right(name, 1)), f"{name} on stream 1")


@case("PXW-FRM-013")
async def head_where_none_is(server: Subject) -> None:
    """A head on PING"""
    peer = await server.ready()
    await peer.dies(ErrorCode.PROTOCOL_ERROR, of=frame("PING", 0, {"n": 1}, b"01234567"))


@case("PXW-FRM-014")
async def tail_where_none_is(server: Subject) -> None:
    """A tail on messages that have none"""
    for name in ("STATUS", "CANCEL", "WATCH", "FETCH", "CREDIT", "GOAWAY", "RESET"):
        peer = await server.ready()
        stream = 0 if name in ("CREDIT", "GOAWAY") else 1
        opened = frame("WATCH", 1, JOB) if name == "RESET" else b""
        bad = frame(name, stream, BODIES[name], b"tail")
        await refused(peer.dies(ErrorCode.PROTOCOL_ERROR, of=opened + bad), f"{name} with a tail")


@case("PXW-FRM-015")
async def ping_size(server: Subject) -> None:
    """A PING or PONG whose tail is not exactly 8 bytes long"""
    for name in ("PING", "PONG"):
        for size in (0, 7, 9):
            peer = await server.ready()
            bad = frame(name, 0, None, bytes(size))
            await refused(peer.dies(ErrorCode.PROTOCOL_ERROR, of=bad), f"{name} of {size} bytes")


@case("PXW-FRM-016")
async def only_a_server_sends(server: Subject) -> None:
    """Messages that only a server may send"""
    heads = {"RESULT": {"job": "x"}, "EVENT": {"event": "state"}, "PREVIEW": {"job": "x"}}
    for name, head in heads.items():
        peer = await server.ready()
        bad = frame("WATCH", 1, JOB) + frame(name, 1, head)
        await refused(peer.dies(ErrorCode.PROTOCOL_ERROR, of=bad), f"{name} from a client")


@case("PXW-FRM-018")
async def meaningless_flags(server: Subject) -> None:
    """Flag bits that have no meaning on the frame's type"""
    for name in ("PING", "CREDIT", "STATUS", "GOAWAY"):
        stream = 1 if name in REQUESTS else 0
        usual = BIT if name in REQUESTS else 0
        odd = [0x02, 0x80] + ([BIT] if name in ("CREDIT", "GOAWAY") else [])
        for bits in odd:
            peer = await server.ready()
            bad = right(name, stream, flags=usual | bits)
            await refused(peer.dies(ErrorCode.PROTOCOL_ERROR, of=bad), f"{name} with flags 0x{usual | bits:02X}")


@case("PXW-FRM-019")
async def wrong_bit(server: Subject) -> None:
    """Bit 0 with another value than the type asks for: ERROR with END on stream 0 or without elsewhere, ACK on HELLO"""
    for what, bad in (
        ("ERROR with END on stream 0", frame("ERROR", 0, {"code": 0}, flags=BIT)),
        ("ERROR without END on a stream", frame("WATCH", 1, JOB) + frame("ERROR", 1, {"code": 0}, flags=0)),
    ):
        peer = await server.ready()
        await refused(peer.dies(ErrorCode.PROTOCOL_ERROR, of=bad), what)
    peer = await server.connect()
    await peer.send_raw(PREFACE + frame("HELLO", 0, {"agent": "x"}, flags=BIT))
    await server.prefaced(peer)
    await peer.failed(ErrorCode.PROTOCOL_ERROR)


@case("PXW-FRM-003", section="4")
async def small_frames_back(server: Subject) -> None:
    """A client that takes frames of 4,096 bytes only gets none that is longer, whatever it asks for"""
    peer = await server.ready(limits={"max_frame": 4096})
    stream = await server.submit(peer, tail=await server.tail(prompt="\U0001f7e0" * 1500))
    head = await server.accepted(peer, stream)
    answer = await server.ask(peer, "STATUS", head["job"])
    check(answer.name in ("RESULT", "ERROR"), f"{answer} came")
