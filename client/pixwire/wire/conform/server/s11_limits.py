"""Sections 11 and 12: floods, rates, keepalive, drain."""

import asyncio

from pixwire_protocol.registry import LIMITS, MAX_STREAM, ErrorCode

from ..frames import credit, frame, ping, reset
from ..subject import Subject, check, declared, said
from ..verdicts import Skip
from .register import case


async def flooded(server: Subject, part: bytes, times: int) -> None:
    """A flood ends with EXCESSIVE_LOAD."""
    peer = await server.ready()
    for _ in range(500, times, 500):
        await peer.send(part * 500)
    await peer.dies(ErrorCode.EXCESSIVE_LOAD, of=part * 500)


@case("PXW-LIM-008")
async def ping_flood(server: Subject) -> None:
    """PINGs beyond one per min_ping_ms, with a burst, are EXCESSIVE_LOAD"""
    peer = await server.ready()
    if declared(peer, "min_ping_ms") < 1000:
        raise Skip(f"min_ping_ms is {declared(peer, 'min_ping_ms')}: a flood cannot be told from use here")
    count = LIMITS["ping_burst"].default + 100
    await peer.send(ping(b"floodfld") * count)
    for _ in range(count):
        answer = await peer.receive()
        if answer.name != "PONG":
            peer.inbox.appendleft(answer)
            break
    await peer.dies(ErrorCode.EXCESSIVE_LOAD, of=b"")  # rates may be judged only when what was read is answered


@case("PXW-LIM-010")
async def ignorable_flood(server: Subject) -> None:
    """A flood of skipped frames is EXCESSIVE_LOAD"""
    await flooded(server, frame(0x9B, 0), 20_000)


@case("PXW-LIM-009")
async def credit_flood(server: Subject) -> None:
    """A flood of tiny CREDIT is EXCESSIVE_LOAD"""
    await flooded(server, credit(1), 20_000)


@case("PXW-LIM-007")
async def abort_flood(server: Subject) -> None:
    """A client that opens and resets in a loop is ended with EXCESSIVE_LOAD"""
    job = server.job_id(used=False)
    peer = await server.ready()
    for start in range(1, 16_001, 400):
        streams = range(start, start + 400, 2)
        # A request whose field is wrong makes the server send an ERROR: an abort, too.
        await peer.send(*(frame("STATUS", stream, {"job": 5}) + reset(stream) for stream in streams))
    before = await peer.failed(ErrorCode.EXCESSIVE_LOAD)
    check(len(before) < 16_000, f"all of it was answered, for job {job}")


@case("PXW-LIM-006")
async def rate_of_streams(server: Subject) -> None:
    """Requests beyond stream_rate are RATE_LIMITED, with retry_after_ms, and the connection goes on"""
    peer = await server.ready()
    rate = declared(peer, "stream_rate")
    if rate > 2000:
        raise Skip(f"stream_rate is {rate}: too many to try")
    job = server.job_id(used=False)
    limited = 0
    batch = min(rate, declared(peer, "max_streams"))
    for _ in range(0, 10 * rate, batch):
        streams = [peer.stream() for _ in range(batch)]
        await peer.send(*(frame("STATUS", stream, {"job": job}) for stream in streams))
        for stream in streams:
            head = said(await peer.on(stream), ErrorCode.JOB_NOT_FOUND, ErrorCode.RATE_LIMITED)
            if head["code"] == ErrorCode.RATE_LIMITED:
                limited += 1
                check(type(head.get("retry_after_ms")) is int, "RATE_LIMITED says no retry_after_ms")
    check(limited > 0, f"{10 * rate} requests at once were all served")


@case("PXW-JOB-018")
async def dedupe(server: Subject) -> None:
    """dedupe_ms is not below retain_ms"""
    peer = await server.ready()
    check(declared(peer, "dedupe_ms") >= declared(peer, "retain_ms"), f"{peer.welcome.get('limits')}")


@case("PXW-KAL-007", "PXW-KAL-005", slow=True)
async def idle(server: Subject) -> None:
    """A client that falls silent is asked with PING, and only then given up, with IDLE_TIMEOUT"""
    peer = await server.ready()
    whole = (declared(peer, "idle_ms") + declared(peer, "ping_timeout_ms")) / 1000
    peer.deadline = whole + server.deadline
    before = await peer.failed(ErrorCode.IDLE_TIMEOUT)
    check("PING" in [answer.name for answer in before], "it was given up without a PING")


@case("PXW-KAL-004", slow=True)
async def any_byte_is_life(server: Subject) -> None:
    """A client that answers no PING but sends other frames is not given up"""
    peer = await server.ready()
    whole = (declared(peer, "idle_ms") + declared(peer, "ping_timeout_ms")) / 1000
    peer.deadline = whole + server.deadline
    clock = asyncio.get_running_loop()
    start = clock.time()
    while clock.time() < start + whole:
        while (answer := await peer.read()).name != "PING":
            check(answer.name != "GOAWAY", f"{answer} came")
        await peer.send(frame(0x9B, 0))
    await peer.fence()


@case("PXW-LIM-004", slow=True)
async def frame_deadline(server: Subject) -> None:
    """A frame that is begun and never completed is EXCESSIVE_LOAD"""
    peer = await server.ready()
    peer.deadline = LIMITS["frame_ms"].default / 1000 + server.deadline
    await peer.send_raw(ping(b"01234567")[:-1])
    await peer.failed(ErrorCode.EXCESSIVE_LOAD)


@case("PXW-DRN-003", "PXW-DRN-002", "PXW-DRN-004", "PXW-DRN-007", level=1, last=True)
async def drain(server: Subject) -> None:
    """A server that stops says so, serves what is open, and answers requests above its last_stream with DRAINING"""
    peer = await server.ready()
    stream = await server.submit(peer, tail=await server.long_tail(), watch=True)
    await server.accepted(peer, stream)
    await server.begin_drain()
    last = MAX_STREAM
    while last == MAX_STREAM:
        answer = await peer.receive()
        if answer.name == "GOAWAY":
            check(answer.head["code"] == ErrorCode.DRAINING, f"{answer} came")
            last = answer.head["last_stream"]
        elif answer.name == "PING":
            await peer.send(frame("PONG", 0, None, answer.tail))
    check(last >= stream, f"last_stream is {last}, although stream {stream} was answered")
    late = max(last | 1, peer.next_stream) + 2
    await peer.send(frame("STATUS", late, {"job": "x"}), await server.submit_frame(late + 2, tail=await server.tail()))
    for above in (late, late + 2):
        head = said(await peer.on(above), ErrorCode.DRAINING)
        check(head.get("processed", "no") == "no", f"processed is {head.get('processed')!r}")
    await peer.fence()
    check(stream not in peer.judge.ended, "the stream that was open ended")
