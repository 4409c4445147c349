"""Section 13: crit and unknown frame types."""

from pixwire_protocol.registry import PREFACE, ErrorCode

from ..frames import IGNORABLE_TYPES, UNKNOWN_TYPES, frame, hello
from ..subject import Subject, check, refused, said
from .register import case
from .s07_flow import SMALL, arrived, large_enough


@case("PXW-EXT-001")
async def critical(server: Subject) -> None:
    """A request whose crit names a key nobody knows is UNKNOWN_CRITICAL, whether or not the key is there"""
    job = server.job_id(used=False)
    for head in ({"x_y": 1, "crit": ["x_y"]}, {"crit": ["nothing"]}, {"crit": ["job", "x_y"]}, {"crit": ["crit"]}):
        for name in ("STATUS", "CANCEL", "WATCH", "FETCH", "SUBMIT"):
            peer = await server.ready()
            fields = {"job": job, **({"kind": "txt2img"} if name == "SUBMIT" else {}), **head}
            await peer.send(frame(name, 1, fields, await server.tail() if name == "SUBMIT" else b""))
            answer = said(await peer.on(1), ErrorCode.UNKNOWN_CRITICAL)
            check(answer.get("processed", "no") == "no", f"{name}: processed is {answer.get('processed')!r}")
            await peer.fence()
    await server.unknown_to_server(job)
    peer = await server.ready()
    await peer.send(frame("STATUS", 1, {"job": job, "crit": ["job"]}), frame("STATUS", 3, {"job": job, "crit": []}))
    said(await peer.on(1), ErrorCode.JOB_NOT_FOUND)
    said(await peer.on(3), ErrorCode.JOB_NOT_FOUND)


@case("PXW-EXT-001", level=2, section="13.1")
async def critical_credit(server: Subject) -> None:
    """The same for a CREDIT on an open stream: the stream ends with UNKNOWN_CRITICAL"""
    done = await large_enough(server, SMALL)
    peer = await server.ready(limits={"stream_window": SMALL})
    await peer.send(frame("FETCH", 1, {"job": done.job}))
    await arrived(peer, 1, SMALL)
    await peer.send(frame("CREDIT", 1, {"n": 1, "crit": ["x_y"]}))
    head = said(await peer.on(1), ErrorCode.UNKNOWN_CRITICAL)
    check(head.get("processed") == "yes", f"the request was answered, but processed is {head.get('processed')!r}")
    await peer.fence()


@case("PXW-EXT-003")
async def critical_on_zero(server: Subject) -> None:
    """crit with an unknown key on stream 0 is the connection error UNKNOWN_CRITICAL"""
    for what, bad in (
        ("CREDIT", frame("CREDIT", 0, {"n": 1, "crit": ["x_y"]})),
        ("GOAWAY", frame("GOAWAY", 0, {"last_stream": 0, "code": 0, "crit": ["x_y"]})),
    ):
        peer = await server.ready()
        await refused(peer.dies(ErrorCode.UNKNOWN_CRITICAL, of=bad), what)
    peer = await server.connect()
    await peer.send_raw(PREFACE + hello(crit=["x_y"]))
    await server.prefaced(peer)
    await refused(peer.failed(ErrorCode.UNKNOWN_CRITICAL), "HELLO")


@case("PXW-EXT-004")
async def skipped(server: Subject) -> None:
    """Unknown types from 0x80 to 0xBF are skipped on any stream, whatever is in them, and use up no id"""
    peer = await server.ready()
    for kind in IGNORABLE_TYPES:
        for stream in (0, 2, 9, 0x7FFFFFFF):
            await peer.send(frame(kind, stream, b"\xc1" * 5, b"tail", flags=0xFF), frame(kind, stream))
    check(peer.next_stream == 1, "the tester itself used up an id")
    check(not await server.quiet(peer), "they were answered")


@case("PXW-EXT-005")
async def unknown_types(server: Subject) -> None:
    """Other unknown types on a new odd id are UNKNOWN_FRAME on that stream, and use up the id"""
    peer = await server.ready()
    for kind in UNKNOWN_TYPES:
        stream = peer.stream()
        await peer.send(frame(kind, stream, b"\xc1" * 3, b"tail", flags=0x7E))
        said(await peer.on(stream), ErrorCode.UNKNOWN_FRAME)
    await peer.dies(ErrorCode.STREAM_ID, of=frame("STATUS", 1, {"job": "x"}))


@case("PXW-EXT-005", level=2, section="13.2")
async def unknown_on_open(server: Subject) -> None:
    """On an open stream they end it with UNKNOWN_FRAME"""
    done = await large_enough(server, SMALL)
    peer = await server.ready(limits={"stream_window": SMALL})
    await peer.send(frame("FETCH", 1, {"job": done.job}))
    await arrived(peer, 1, SMALL)
    await peer.send(frame(0x3F, 1))
    said(await peer.on(1), ErrorCode.UNKNOWN_FRAME)
    await peer.fence()


@case("PXW-EXT-007")
async def unknown_on_zero(server: Subject) -> None:
    """Other unknown types on stream 0 are a PROTOCOL_ERROR"""
    for kind in UNKNOWN_TYPES:
        peer = await server.ready()
        await refused(peer.dies(ErrorCode.PROTOCOL_ERROR, of=frame(kind, 0)), f"0x{kind:02X}")
