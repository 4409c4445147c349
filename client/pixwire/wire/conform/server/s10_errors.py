"""Section 10: what a server says in ERROR, and what it takes."""

from pixwire_protocol.registry import ErrorCode

from ..frames import frame, reset
from ..subject import Subject, check, said
from .register import case


@case("PXW-ERR-001", level=1)
async def processed(server: Subject) -> None:
    """An ERROR on a stream whose request was answered does not say processed: "no\""""
    peer = await server.ready()
    stream = await server.submit(peer, watch=True)
    status = await server.accepted(peer, stream)
    await peer.send(frame(0x3F, stream))
    answer = await peer.on(stream)
    while answer.name == "EVENT" and not answer.end:
        answer = await peer.on(stream)
    if answer.name == "ERROR":
        check(answer.head.get("processed") != "no", f"job {status['job']} exists, but processed is 'no'")


@case("PXW-ERR-009", "PXW-ERR-010")
async def unknown_codes(server: Subject) -> None:
    """RESET and GOAWAY of a code nobody knows are taken: the stream, or the connection, ends and that is all"""
    peer = await server.ready()
    await peer.send(frame("WATCH", 1, {"job": server.job_id(used=False)}), reset(1, 0xE123))
    await peer.fence()
    await peer.send(frame("GOAWAY", 0, {"last_stream": 0, "code": 0x0999, "name": "NEVER_HEARD"}))
    check(not await peer.ended(), "GOAWAY was answered")


@case("PXW-ERR-008")
async def short_messages(server: Subject) -> None:
    """Messages of errors stay within 1,024 bytes, also when they quote what was sent"""
    peer = await server.ready()
    for head in ({"job": "x" * 16000}, {"job": "x", "want": ["\x00" * 32] * 20}, {"job": "x", "crit": ["y" * 900] * 9}):
        stream = peer.stream()
        await peer.send(frame("WATCH", stream, head))
        said(await peer.on(stream), ErrorCode.INVALID_ARGUMENT, ErrorCode.UNKNOWN_CRITICAL)
