"""Section 3: preface, connection errors, the end of a connection."""

from dataclasses import replace

from pixwire_protocol.registry import MAGIC, PREFACE, ErrorCode

from ...errors import WireError
from ...transport import open_wire
from ..frames import credit, frame, goaway, hello, ping
from ..peer import PREFACE_SIZE
from ..subject import ServerPeer, Subject, check
from ..verdicts import Ended, Failure, Skip
from .register import case

PING = ping(b"01234567")
STRANGERS = {
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32),
    "the wrong first byte": b"\x88PXW\x01\x01\x00\x00",
    "the wrong last byte": b"\x89PXV\x01\x01\x00\x00",
    "PXW in lower case": b"\x89pxw\x01\x01\x00\x00",
    "a frame without preface": hello(),
}


async def rest(peer: ServerPeer) -> bytes:
    """All bytes up to the end of the byte stream."""
    data = b""
    try:
        while True:
            data += await peer.exactly(1)
    except Ended:
        return data


@case("PXW-CON-019")
async def another_protocol(server: Subject) -> None:
    """A TLS connection without the ALPN name pxw/1 is closed before a byte of PXW"""
    if not server.target.tls:
        raise Skip("the server's URL is not pixwires://")
    for names in ((), ("http/1.1",)):
        nobody = replace(server.tls, alpn=names, ca=None, insecure=True)  # nothing is told that would need trust
        try:
            wire = await open_wire(server.target, nobody, timeout=server.deadline)
        except WireError:
            continue  # refused in the TLS handshake
        await wire.write(PREFACE + hello())
        answer = await wire.read()
        wire.abort()
        check(not answer, f"with the ALPN names {names} the server sent {answer[:20].hex(' ')}")


@case("PXW-CON-002", "PXW-CON-007")
async def chosen_version(server: Subject) -> None:
    """A range that holds version 1 is answered with a preface of 1 to 1 that ends in zeros"""
    for low, high in ((1, 1), (1, 2), (1, 255), (0, 1), (0, 255)):
        peer = await server.connect()
        await peer.send_raw(MAGIC + bytes([low, high, 0, 0]))
        preface = await peer.exactly(PREFACE_SIZE)
        if preface != PREFACE:
            raise Failure(f"for {low} to {high} the preface {preface.hex(' ')} came, not {PREFACE.hex(' ')}")
        await peer.send(hello())
        await server.welcomed(peer)


@case("PXW-CON-003")
async def no_common_version(server: Subject) -> None:
    """A range without version 1 is answered with the server's own range and the end of the connection"""
    for low, high in ((2, 3), (0, 0), (255, 255), (2, 1)):
        peer = await server.connect()
        await peer.send_raw(MAGIC + bytes([low, high, 0, 0]))
        answer = await rest(peer)
        check(answer[:4] == MAGIC, f"for {low} to {high} {answer.hex(' ')!r} came instead of a preface")
        check(len(answer) == PREFACE_SIZE, f"for {low} to {high} more than a preface came: {answer.hex(' ')}")
        check(answer[4] <= 1 <= answer[5], f"the range {answer[4]} to {answer[5]} does not hold version 1")


@case("PXW-CON-004")
async def stranger(server: Subject) -> None:
    """Whoever does not speak PXW is told nothing: the connection is closed without a byte"""
    for name, data in STRANGERS.items():
        peer = await server.connect()
        await peer.send_raw(data)
        answer = await rest(peer)
        check(not answer, f"{name} was answered with {answer[:20].hex(' ')}")


@case("PXW-CON-008")
async def reserved_bytes(server: Subject) -> None:
    """The last two bytes of the client's preface have no meaning"""
    for data in (b"\x00\x01", b"\xff\xff"):
        peer = await server.connect()
        await peer.send_raw(PREFACE[:6] + data)
        await peer.send(hello())
        await server.prefaced(peer)
        await server.welcomed(peer)


@case("PXW-CON-017", "PXW-CON-010")
async def preface_before_goaway(server: Subject) -> None:
    """A fault in the same flight as the preface is answered with preface, then GOAWAY"""
    peer = await server.connect()
    await peer.send_raw(PREFACE + frame("HELLO", 0, {"agent": 5}))
    await server.prefaced(peer)
    await peer.failed(ErrorCode.BAD_HEAD)


@case("PXW-CON-009")
async def nothing_after_a_fault(server: Subject) -> None:
    """Frames behind a connection error are not processed, not even when they came in the same read"""
    job = server.job_id()
    tail = await server.tail()
    peer = await server.ready()
    bad = frame("PING", 0, None, b"short")
    await peer.send(bad, await server.submit_frame(1, job, tail))
    before = await peer.failed(ErrorCode.PROTOCOL_ERROR)
    check(not [answer for answer in before if answer.stream], f"a request behind the fault was answered: {before}")
    await server.unknown_to_server(job)


@case("PXW-CON-010", "PXW-CON-011")
async def goaway_and_close(server: Subject) -> None:
    """A connection error is said with GOAWAY, and then the connection is closed"""
    peer = await server.ready()
    await peer.dies(ErrorCode.STREAM_ID, of=frame("STATUS", 2, {"job": "x"}))


@case(section="3.4", strict=True)
async def readable_to_the_end(server: Subject) -> None:
    """The GOAWAY arrives although the client goes on sending: the server reads on for a while before it closes"""
    peer = await server.ready()
    await peer.send(frame("STATUS", 2, {"job": "x"}), frame(0x9B, 0, None, bytes(60_000)) * 10)
    await peer.failed(ErrorCode.STREAM_ID)


@case("PXW-CON-016", "PXW-CON-012", "PXW-STR-016")
async def end_by_the_client(server: Subject) -> None:
    """ERROR on stream 0, and GOAWAY with an error code, end the connection: nothing behind them is answered"""
    for name, last in (
        ("GOAWAY", goaway(ErrorCode.PROTOCOL_ERROR)),
        ("GOAWAY of an unknown code", goaway(0xE123)),
        ("ERROR on stream 0", frame("ERROR", 0, {"code": int(ErrorCode.INTERNAL)})),
    ):
        job = server.job_id()
        tail = await server.tail()
        peer = await server.ready()
        await peer.send(last, PING, await server.submit_frame(1, job, tail))
        answers = await peer.ended()
        check(not answers, f"after {name} these came: {', '.join(map(str, answers))}")
        await server.unknown_to_server(job)


@case("PXW-CON-016", section="3.4")
async def end_before_hello(server: Subject) -> None:
    """A GOAWAY of any code before HELLO ends the connection"""
    for code in (ErrorCode.NO_ERROR, ErrorCode.PROTOCOL_ERROR):
        peer = await server.connect()
        await peer.send_raw(PREFACE + goaway(code) + hello())
        await server.prefaced(peer)
        answers = await peer.ended()
        check(not answers, f"after it these came: {', '.join(map(str, answers))}")


@case(section="3.5")
async def half_closed(server: Subject) -> None:
    """A client that sends no more still gets the answer to its request, then the end of the byte stream"""
    if server.target.tls:
        return  # TLS has no half
    peer = await server.ready()
    await peer.send(frame("STATUS", 1, {"job": server.job_id(used=False)}))
    peer.half_close()
    answer = await peer.on(1)
    check(answer.name == "ERROR", f"{answer} came")
    await peer.ended()


@case("PXW-CON-014", level=1)
async def lost_connection(server: Subject) -> None:
    """A job goes on when the connection that submitted it ends, in order or not"""
    for end in ("closed", "cut"):
        peer = await server.ready()
        job = server.job_id()
        stream = await server.submit(peer, job, await server.long_tail(), watch=True)
        await server.accepted(peer, stream)
        if end == "cut" or server.target.tls:
            peer.cut()
        else:
            peer.half_close()
            await peer.ended()
        await not_cancelled(server, job)


async def not_cancelled(server: Subject, job: str) -> None:
    """Nobody cancelled the job."""
    status = (await server.ask(await server.ready(), "STATUS", job)).head
    check(status["state"] != "cancelled", f"the job was cancelled: {status.get('error')}")


@case("PXW-CON-015")
async def broken_off(server: Subject) -> None:
    """A SUBMIT that breaks off before its last byte is never acted upon"""
    job = server.job_id()
    whole = await server.submit_frame(1, job, await server.tail())
    peer = await server.ready()
    await peer.send_raw(whole[:-1])
    if server.target.tls:
        peer.cut()
    else:
        peer.half_close()
        answers = await peer.ended()
        check(not [answer for answer in answers if answer.stream], f"it was answered: {answers}")
    await server.unknown_to_server(job)


@case(section="3.3")
async def credit_and_pong_in_ready(server: Subject) -> None:
    """What either side may send at any time in READY changes nothing: CREDIT on stream 0, a PONG nobody asked for"""
    peer = await server.ready()
    await peer.send(credit(1), frame("PONG", 0, None, b"whatever"))
    answers = await server.quiet(peer)
    check(not answers, f"these came: {', '.join(map(str, answers))}")
