"""Section 6.4: AUTH. What needs a token is skipped without --token, what needs a server that asks for it at others."""

from pixwire_protocol.registry import LIMITS, PREFACE, ErrorCode

from ..frames import UNKNOWN_TYPES, frame, hello, ping
from ..subject import ServerPeer, Subject, check, refused
from ..verdicts import Skip
from .register import case
from .s04_framing import right


async def authenticating(server: Subject) -> ServerPeer:
    """A connection whose WELCOME is here and whose AUTH is not. Skip at a server that asks for none."""
    peer = await server.connect()
    await peer.send_raw(PREFACE)
    await peer.send(hello())
    await server.prefaced(peer)
    answer = await peer.named("WELCOME")
    server.welcome = peer.welcome = answer.head
    if not peer.welcome.get("auth"):
        raise Skip("the server asks for no authentication")
    return peer


def auth(token: str, mechanism: str = "bearer") -> bytes:
    """AUTH."""
    return frame("AUTH", 0, {"mechanism": mechanism, "token": token})


@case("PXW-AUT-001")
async def nothing_before_auth(server: Subject) -> None:
    """Before AUTH_OK everything but AUTH, GOAWAY and ERROR is AUTH_REQUIRED"""
    await authenticating(server)
    job = server.job_id(used=False)
    for name, stream in (("STATUS", 1), ("SUBMIT", 1), ("LIST", 1), ("PING", 0), ("PONG", 0), ("CREDIT", 0)):
        peer = await authenticating(server)
        await refused(peer.dies(ErrorCode.AUTH_REQUIRED, of=right(name, stream), probe=False), name)
    for kind in (*UNKNOWN_TYPES, 0x9B):
        peer = await authenticating(server)
        await refused(peer.dies(ErrorCode.AUTH_REQUIRED, of=frame(kind, 1), probe=False), f"type 0x{kind:02X}")
    peer = await authenticating(server)
    await refused(peer.dies(ErrorCode.AUTH_REQUIRED, of=hello(), probe=False), "a second HELLO")
    peer = await authenticating(server)
    await peer.send(frame("SUBMIT", 1, {"job": job, "kind": "txt2img"}, b"\x80"), auth(server.token or "x"))
    before = await peer.failed(ErrorCode.AUTH_REQUIRED)
    check(not before, f"before the GOAWAY came {before}")


@case("PXW-AUT-005")
async def auth_uninvited(server: Subject) -> None:
    """AUTH at a server that asked for none is a PROTOCOL_ERROR"""
    peer = await server.ready()
    if peer.welcome.get("auth"):
        raise Skip("the server asks for authentication")
    await peer.dies(ErrorCode.PROTOCOL_ERROR, of=auth("x"))


@case("PXW-AUT-006")
async def accepted(server: Subject) -> None:
    """The right token is answered with AUTH_OK, which names the principal"""
    peer = await authenticating(server)
    answer = await server.authenticate(peer)
    check(bool(answer.head.get("principal")), f"AUTH_OK names {answer.head.get('principal')!r}")
    check(not await peer.fence(), "something came behind AUTH_OK")


@case("PXW-AUT-007")
async def refused_credentials(server: Subject) -> None:
    """Wrong credentials and a mechanism that was not named are AUTH_FAILED"""
    peer = await authenticating(server)
    right_token = server.token or "x" * 20
    for what, token, mechanism in (
        ("a wrong token", "conform-wrong-token", "bearer"),
        ("a prefix of the token", right_token[:-1] or "x", "bearer"),
        ("another case", right_token.swapcase() + "x", "bearer"),
        ("an unknown mechanism", right_token, "conform-nothing"),
    ):
        peer = await authenticating(server)
        await refused(peer.dies(ErrorCode.AUTH_FAILED, of=auth(token, mechanism), probe=False), what)


@case("PXW-AUT-007", section="6.4")
async def malformed(server: Subject) -> None:
    """AUTH whose fields are wrong is BAD_HEAD"""
    for what, head in (
        ("no token", {"mechanism": "bearer"}),
        ("an empty token", {"mechanism": "bearer", "token": ""}),
        ("a token of 3,073 bytes", {"mechanism": "bearer", "token": "x" * 3073}),
        ("a token of bytes", {"mechanism": "bearer", "token": b"x"}),
        ("no mechanism", {"token": "x"}),
    ):
        peer = await authenticating(server)
        await refused(peer.dies(ErrorCode.BAD_HEAD, of=frame("AUTH", 0, head), probe=False), what)


@case("PXW-AUT-008")
async def small_frames(server: Subject) -> None:
    """Until AUTH_OK is sent max_frame is 4,096"""
    peer = await authenticating(server)
    await peer.send_raw(frame("AUTH", length=LIMITS["handshake_max_frame"].default + 1)[:4])
    peer.half_close()
    await peer.failed(ErrorCode.FRAME_TOO_LARGE)


@case("PXW-AUT-011")
async def renewal(server: Subject) -> None:
    """AUTH with the same good token in READY is answered with AUTH_OK, and requests go on"""
    peer = await authenticating(server)
    first = await server.authenticate(peer)
    again = await server.authenticate(peer)
    check(first.head["principal"] == again.head["principal"], "the principal changed")
    await peer.fence()


@case("PXW-AUT-012")
async def bad_renewal(server: Subject) -> None:
    """AUTH with a wrong token in READY is AUTH_FAILED and the end of the connection"""
    peer = await authenticating(server)
    await server.authenticate(peer)
    await peer.dies(ErrorCode.AUTH_FAILED, of=auth("conform-wrong-token"), probe=False)


@case(section="6.4")
async def leaving(server: Subject) -> None:
    """GOAWAY and ERROR before AUTH are no fault: the connection ends without a GOAWAY of the server"""
    peer = await authenticating(server)
    await peer.send(frame("ERROR", 0, {"code": 0}), ping(b"01234567"))
    answers = await peer.ended()
    check(not answers, f"these came: {', '.join(map(str, answers))}")
