"""Section 7.4: credit. The windows of HELLO are small, and everything is judged by what comes before a PONG."""

from pixwire_protocol.registry import LIMITS, MAX_CREDIT, ErrorCode

from ..frames import Frame, credit, frame, ping
from ..subject import Finished, ServerPeer, Subject, check, refused
from ..verdicts import Skip
from .register import case

SMALL = LIMITS["stream_window"].minimum
LARGE = 1 << 20


async def large_enough(server: Subject, size: int) -> Finished:
    """A finished job whose first artifact is longer than `size`."""
    done = await server.finished()
    if done.first["size"] <= size:
        raise Skip(f"the smallest image has {done.first['size']} bytes, more than {size} were needed")
    return done


async def arrived(peer: ServerPeer, stream: int, size: int) -> bytes:
    """DATA of a stream until `size` bytes are there; the judge sees to it that there are not more than allowed."""
    data = b""
    while len(data) < size:
        answer = await peer.on(stream)
        check(answer.name in ("RESULT", "DATA"), f"{answer} came")
        data += answer.tail
    return data


def data_in(answers: list[Frame], stream: int) -> int:
    """Bytes of DATA of a stream."""
    return sum(len(answer.tail) for answer in answers if answer.stream == stream and answer.name == "DATA")


@case("PXW-FLW-001", level=2)
async def stream_window(server: Subject) -> None:
    """DATA stop where the stream's window is used up, and go on by exactly what CREDIT adds"""
    done = await large_enough(server, SMALL + 11)
    peer = await server.ready(limits={"stream_window": SMALL, "connection_window": LARGE})
    await peer.send(frame("FETCH", 1, {"job": done.job}))
    await arrived(peer, 1, SMALL)
    check(not await server.quiet(peer), "more came than the stream's window allows")
    await peer.send(credit(1, 1))
    await arrived(peer, 1, 1)
    await peer.send(credit(10, 1))
    await arrived(peer, 1, 10)
    check(not await server.quiet(peer), "more came than CREDIT allowed")


@case("PXW-FLW-002", level=2)
async def connection_window(server: Subject) -> None:
    """DATA of all streams stop where the connection's window is used up, and go on by exactly what CREDIT adds"""
    done = await large_enough(server, SMALL + 1)
    peer = await server.ready(limits={"stream_window": LARGE, "connection_window": SMALL})
    await peer.send(frame("FETCH", 1, {"job": done.job}), frame("FETCH", 3, {"job": done.job}))
    got = 0
    while got < SMALL:
        got += len((await peer.receive()).tail)
    await peer.fence()
    check(peer.judge.window == 0, "more came than the connection's window allows")
    await peer.send(credit(1))
    while not (answer := await peer.receive()).tail:
        pass
    check(len(answer.tail) == 1, f"{len(answer.tail)} bytes came for a CREDIT of 1")


@case("PXW-FLW-004", level=2)
async def only_data_counts(server: Subject) -> None:
    """With both windows used up everything but DATA still comes: an announcement, answers, PONG"""
    done = await large_enough(server, SMALL)
    peer = await server.ready(limits={"stream_window": SMALL, "connection_window": SMALL})
    await peer.send(frame("FETCH", 1, {"job": done.job}))
    await arrived(peer, 1, SMALL)
    await peer.send(frame("FETCH", 3, {"job": done.job}), frame("STATUS", 5, {"job": done.job}))
    check((await peer.on(3)).name == "RESULT", "no announcement came")
    check((await peer.on(5)).name == "RESULT", "STATUS was not answered")
    check(not data_in(await server.quiet(peer), 3), "DATA came without credit")


@case("PXW-FLW-005")
async def credit_range(server: Subject) -> None:
    """CREDIT with n below 1 or above 2^31-1 is FLOW_CONTROL"""
    for n in (0, -1, MAX_CREDIT + 1, 2**63):
        peer = await server.ready()
        await refused(peer.dies(ErrorCode.FLOW_CONTROL, of=credit(n)), f"n = {n} on stream 0")


@case("PXW-FLW-005", level=2, section="7.4")
async def credit_range_on_a_stream(server: Subject) -> None:
    """The same on an open stream"""
    done = await large_enough(server, SMALL)
    for n in (0, -1, MAX_CREDIT + 1):
        peer = await server.ready(limits={"stream_window": SMALL})
        await peer.send(frame("FETCH", 1, {"job": done.job}))
        await arrived(peer, 1, SMALL)
        await refused(peer.dies(ErrorCode.FLOW_CONTROL, of=credit(n, 1)), f"n = {n}")


@case("PXW-FLW-006")
async def window_overflow(server: Subject) -> None:
    """CREDIT that raises the connection's window above 2^31-1 is FLOW_CONTROL"""
    peer = await server.ready(limits={"connection_window": SMALL})
    await peer.dies(ErrorCode.FLOW_CONTROL, of=credit(MAX_CREDIT))


@case("PXW-FLW-006", level=2, section="7.4")
async def stream_window_overflow(server: Subject) -> None:
    """The same for the window of a stream: 2^31-1 is taken, one more is not"""
    done = await large_enough(server, SMALL)
    peer = await server.ready(limits={"stream_window": SMALL, "connection_window": SMALL})
    await peer.send(frame("FETCH", 1, {"job": done.job}))
    await arrived(peer, 1, SMALL)
    await peer.send(credit(MAX_CREDIT, 1))
    await peer.fence()
    await peer.dies(ErrorCode.FLOW_CONTROL, of=credit(1, 1))


@case("PXW-FLW-011", "PXW-STR-017", level=2)
async def one_slow_stream(server: Subject) -> None:
    """While one stream gets no credit, another one on the same connection gets all of its artifact"""
    done = await large_enough(server, SMALL)
    peer = await server.ready(limits={"stream_window": SMALL, "connection_window": LARGE})
    await peer.send(frame("FETCH", 1, {"job": done.job}), frame("FETCH", 3, {"job": done.job}))
    await peer.send(credit(LARGE, 3), credit(LARGE))
    await arrived(peer, 3, done.first["size"])
    check(3 in peer.judge.ended, "the last DATA carries no END")
    check(1 not in peer.judge.ended, "the stream without credit ended")


@case("PXW-KAL-002", level=2)
async def pong_before_data(server: Subject) -> None:
    """PONG goes ahead of DATA that was queued before the PING came"""
    done = await large_enough(server, SMALL)
    peer = await server.ready(limits={"stream_window": SMALL, "connection_window": LARGE})
    await peer.send(frame("FETCH", 1, {"job": done.job}))
    await arrived(peer, 1, SMALL)
    await peer.fence()
    await peer.send(ping(b"overtake"), credit(LARGE, 1))
    answer = await peer.receive()
    check(answer.name == "PONG", f"{answer} came before the PONG")
