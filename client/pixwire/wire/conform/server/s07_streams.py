"""Sections 7.1 to 7.3: stream ids, the life of a stream, how many there may be."""

from pixwire_protocol.registry import MAX_STREAM, ErrorCode

from ..frames import credit, frame, reset
from ..subject import ServerPeer, Subject, check, declared, refused, said
from ..verdicts import Skip
from .register import case
from .s04_framing import right


@case("PXW-STR-003")
async def bad_ids(server: Subject) -> None:
    """A request with an even id, or one not above all used before, is STREAM_ID; the highest id and gaps are fine"""
    job = server.job_id(used=False)
    first = frame("STATUS", 5, {"job": job})
    for what, bad in (
        ("an even id", frame("STATUS", 2, {"job": job})),
        ("the same id again", first + frame("STATUS", 5, {"job": job})),
        ("a lower id", first + frame("STATUS", 3, {"job": job})),
        ("a lower id of another request", first + frame("WATCH", 1, {"job": job})),
    ):
        peer = await server.ready()
        await refused(peer.dies(ErrorCode.STREAM_ID, of=bad), what)
    peer = await server.ready()
    await peer.send(frame("STATUS", 77, {"job": job}), frame("STATUS", MAX_STREAM, {"job": job}))
    said(await peer.on(77), ErrorCode.JOB_NOT_FOUND)
    said(await peer.on(MAX_STREAM), ErrorCode.JOB_NOT_FOUND)


@case("PXW-STR-005")
async def never_opened(server: Subject) -> None:
    """A frame on a stream that was never opened, and that does not open it, is STREAM_ID"""
    for what, bad in (
        ("CREDIT", credit(1, 7)),
        ("RESET", reset(7)),
        ("ERROR", frame("ERROR", 7, {"code": 0})),
        ("CREDIT on an even stream", credit(1, 2)),
        ("DATA", frame("DATA", 7, None, b"x")),
    ):
        peer = await server.ready()
        await refused(peer.dies(ErrorCode.STREAM_ID, of=bad), what)


@case("PXW-STR-007", "PXW-STR-006")
async def request_without_end(server: Subject) -> None:
    """A request without END is a PROTOCOL_ERROR"""
    for name in ("STATUS", "CANCEL", "WATCH", "FETCH", "LIST", "SUBMIT"):
        peer = await server.ready()
        await refused(peer.dies(ErrorCode.PROTOCOL_ERROR, of=right(name, 1, flags=0)), f"{name} without END")


@case("PXW-STR-009", "PXW-STR-012", "PXW-STR-010", "PXW-STR-014")
async def plain_streams_end(server: Subject) -> None:
    """SUBMIT, STATUS and CANCEL are answered with one RESULT that carries END; errors carry END too"""
    peer = await server.ready()
    job = server.job_id()
    stream = await server.submit(peer, job)
    await server.accepted(peer, stream)
    for name in ("STATUS", "CANCEL"):
        answer = await server.ask(peer, name, job)
        check(answer.name == "RESULT" and answer.end, f"{name} was answered with {answer}")
    said(await server.ask(peer, "STATUS", server.job_id(used=False)), ErrorCode.JOB_NOT_FOUND)
    check(not await server.quiet(peer), "more came on streams that had ended")


@case("PXW-STR-009", "PXW-STR-012", level=1, section="7.2")
async def watched_streams_end(server: Subject) -> None:
    """A watched stream is RESULT, events, and the terminal EVENT with END, or a terminal RESULT with END"""
    peer = await server.ready(features=["preview"])
    job = server.job_id()
    stream = await server.submit(peer, job, watch=True, want=["progress", "preview"])
    if (await server.accepted(peer, stream))["state"] in ("queued", "running"):
        await server.follow(peer, stream)
    answer = await server.ask(peer, "WATCH", job)
    check(answer.end, f"WATCH of a job that is over was answered with {answer}")


@case("PXW-STR-009", "PXW-STR-012", level=2, section="7.2")
async def awaited_streams_end(server: Subject) -> None:
    """With deliver and without watch: RESULT, the terminal EVENT, then each artifact; END on the last DATA"""
    peer = await server.ready()
    stream = await server.submit(peer, deliver=True, want=["progress"])
    await server.accepted(peer, stream)
    while not (answer := await peer.on(stream)).end:
        if answer.name == "DATA":
            await peer.send(credit(len(answer.tail), stream), credit(len(answer.tail)))
    check(answer.name in ("DATA", "EVENT", "RESULT"), f"the stream ended with {answer}")


@case("PXW-STR-015", "PXW-STR-016", level=1)
async def reset_ends(server: Subject) -> None:
    """Behind a RESET nothing comes on the stream any more, and no answer to the RESET"""
    peer = await server.ready()
    stream = await server.submit(peer, watch=True, want=["progress"])
    await server.accepted(peer, stream)
    await peer.send(reset(stream))
    await server.quiet(peer)  # what was on its way
    later = [answer for answer in await server.quiet(peer) if answer.stream == stream]
    check(not later, f"behind RESET came {', '.join(map(str, later))}")


@case("PXW-STR-021", level=2)
async def error_ends(server: Subject) -> None:
    """An ERROR from a client on an open stream ends it, as RESET does"""
    done = await server.finished()
    window = {"stream_window": 1024, "connection_window": 1024}
    peer = await server.ready(limits=window)
    await peer.send(frame("FETCH", 1, {"job": done.job}))
    await peer.on(1)
    await peer.send(frame("ERROR", 1, {"code": int(ErrorCode.INTERNAL)}), frame("STATUS", 3, {"job": done.job}))
    check((await peer.on(3)).name == "RESULT", "STATUS was not answered")
    await server.quiet(peer)
    await peer.send(credit(1 << 20, 1), credit(1 << 20))
    later = [answer for answer in await server.quiet(peer) if answer.stream == 1]
    check(not later, f"behind ERROR came {', '.join(map(str, later))}")


@case("PXW-STR-017", "PXW-STR-022", "PXW-FLW-010")
async def late_frames(server: Subject) -> None:
    """Frames on a stream that has ended are ignored, and their heads are not examined"""
    job = server.job_id(used=False)
    for what, late in (
        ("CREDIT", credit(1, 1)),
        ("CREDIT of 0", credit(0, 1)),
        ("CREDIT beyond the window", credit(0x7FFFFFFF, 1) * 2),
        ("RESET", reset(1)),
        ("ERROR", frame("ERROR", 1, {"code": 5})),
        ("an unknown type", frame(0x3F, 1)),
        ("an ignorable type", frame(0x9B, 1)),
        ("a head that is no map", frame("RESET", 1, b"\xc1")),
        ("crit", frame("CREDIT", 1, {"n": 1, "crit": ["x_y"]})),
        ("a stream that was passed over", credit(1, 3)),
    ):
        peer = await server.ready()
        await peer.send(frame("STATUS", 1, {"job": job}))
        said(await peer.on(1), ErrorCode.JOB_NOT_FOUND)
        await peer.send(frame("STATUS", 5, {"job": job}))
        await peer.on(5)
        await peer.send(late)
        answers = await server.quiet(peer)
        check(not answers, f"{what} was answered with {', '.join(map(str, answers))}")


@case("PXW-STR-018", level=1)
async def reset_leaves_the_job(server: Subject) -> None:
    """A job goes on when the stream that submitted it is reset"""
    peer = await server.ready()
    job = server.job_id()
    stream = await server.submit(peer, job, await server.long_tail(), watch=True)
    await server.accepted(peer, stream)
    await peer.send(reset(stream))
    await server.quiet(peer)
    status = (await server.ask(peer, "STATUS", job)).head
    check(status["state"] != "cancelled", f"the job was cancelled: {status.get('error')}")


@case("PXW-STR-020", level=2)
async def too_many_streams(server: Subject) -> None:
    """One stream more than max_streams is answered with TOO_MANY_STREAMS; it is not processed, and the others go on"""
    done = await server.finished()
    small = {"stream_window": 1024, "connection_window": 1024}
    job = server.job_id()
    extra = await server.submit_frame(0, job)
    peer = await server.ready(limits=small)
    most = declared(peer, "max_streams")
    if declared(peer, "stream_rate") <= most:
        raise Skip("stream_rate does not allow max_streams at once")
    blocked = await exhaust(peer, done.job)
    others = [peer.stream() for _ in range(most - 1)]
    await peer.send(*(frame("FETCH", stream, {"job": done.job}) for stream in others))
    for stream in others:
        check((await peer.on(stream)).name == "RESULT", f"stream {stream}, within max_streams, was refused")
    stream = peer.stream()
    await peer.send(extra[:8] + stream.to_bytes(4, "big") + extra[12:])
    said(await peer.on(stream), ErrorCode.TOO_MANY_STREAMS)
    await server.unknown_to_server(job)
    await peer.send(reset(blocked))
    stream = peer.stream()
    await peer.send(frame("STATUS", stream, {"job": done.job}))
    check((await peer.on(stream)).name == "RESULT", "after a RESET there was still no room")


async def exhaust(peer: ServerPeer, job: str) -> int:
    """FETCH until the connection's window is empty and a stream stays open without credit; returns that stream."""
    while True:
        stream = peer.stream()
        await peer.send(frame("FETCH", stream, {"job": job}))
        while stream not in peer.judge.ended:
            await peer.on(stream)
            if not peer.judge.window and stream not in peer.judge.ended:
                return stream
