"""Section 6: HELLO and WELCOME, features, limits."""

from pixwire_protocol.registry import LIMITS, MAX_CREDIT, PREFACE, ErrorCode

from ..frames import UNKNOWN_TYPES, credit, frame, goaway, hello, ping
from ..subject import Subject, check, refused
from ..verdicts import Failure
from .register import case
from .s04_framing import BODIES, right

DECLARED = [spec for spec in LIMITS.values() if spec.declared in ("both", "welcome")]
BY_BOTH = [spec for spec in DECLARED if spec.declared == "both"]


@case("PXW-HSK-003")
async def welcome_first(server: Subject) -> None:
    """WELCOME is the first frame of the server, with what identifies it"""
    peer = await server.connect()
    await server.greet(peer)
    for name in ("agent", "server_id", "epoch"):
        check(bool(peer.welcome.get(name)), f"WELCOME has {name} = {peer.welcome.get(name)!r}")
    for spec in DECLARED:
        value = (peer.welcome.get("limits") or {}).get(spec.name)
        fits = value is None or (type(value) is int and spec.minimum <= value <= spec.maximum)
        check(fits, f"WELCOME declares {spec.name} = {value!r}, allowed is {spec.minimum} to {spec.maximum}")


@case("PXW-HSK-004")
async def no_welcome_before_hello(server: Subject) -> None:
    """Without HELLO there is no WELCOME, however long the client has been heard"""
    peer = await server.connect()
    await peer.send_raw(PREFACE)
    await server.prefaced(peer)
    whole = hello()
    await peer.send_raw(whole[:-1])
    peer.half_close()
    answers = [answer for answer in await peer.ended() if answer.name == "WELCOME"]
    check(not answers, "WELCOME came before HELLO was complete")


@case("PXW-HSK-005")
async def hello_first(server: Subject) -> None:
    """A first frame other than HELLO, ERROR on stream 0 or GOAWAY is a PROTOCOL_ERROR"""
    for name in (*BODIES, "PING", "PONG"):
        if name in ("HELLO", "ERROR", "GOAWAY"):
            continue
        peer = await server.connect()
        stream = 0 if name in ("PING", "PONG", "CREDIT", "AUTH") else 1
        await peer.send_raw(PREFACE + right(name, stream))
        await server.prefaced(peer)
        await refused(peer.failed(ErrorCode.PROTOCOL_ERROR), f"{name} as the first frame")
    for kind in (*UNKNOWN_TYPES, 0x9B):
        peer = await server.connect()
        await peer.send_raw(PREFACE + frame(kind, 0))
        await server.prefaced(peer)
        await refused(peer.failed(ErrorCode.PROTOCOL_ERROR), f"0x{kind:02X} as the first frame")


@case("PXW-HSK-007")
async def second_hello(server: Subject) -> None:
    """A second HELLO is a PROTOCOL_ERROR, at once or later"""
    peer = await server.ready()
    await peer.dies(ErrorCode.PROTOCOL_ERROR, of=hello())
    peer = await server.connect()
    await peer.send_raw(PREFACE)
    await peer.send(hello(), hello())
    await server.prefaced(peer)
    allowed = (ErrorCode.PROTOCOL_ERROR, ErrorCode.AUTH_REQUIRED)
    before = await peer.failed(*allowed)
    check([answer.name for answer in before] == ["WELCOME"], f"before the GOAWAY came {before}")


@case("PXW-HSK-008", slow=True)
async def handshake_deadline(server: Subject) -> None:
    """A client that never shakes hands is closed"""
    longest = LIMITS["handshake_ms"].maximum / 1000
    silent, prefaced = await server.connect(), await server.connect()
    silent.deadline = prefaced.deadline = longest + server.deadline
    await prefaced.send_raw(PREFACE)
    await server.prefaced(prefaced)
    check(not await silent.ended(), "a client that said nothing at all was sent something")
    await prefaced.failed(ErrorCode.HANDSHAKE_TIMEOUT)


@case("PXW-HSK-009")
async def no_feature_uninvited(server: Subject) -> None:
    """WELCOME names only features that HELLO offered"""
    for offer in ([], ["preview"], ["grease-5f3a", "org.example.nothing"]):
        peer = await server.ready(features=offer)
        named = peer.welcome.get("features") or []
        check(set(named) <= set(offer), f"WELCOME names {named}, offered were {offer}")


@case("PXW-HSK-011", "PXW-EXT-009")
async def unknown_features(server: Subject) -> None:
    """Feature names that nobody knows are ignored, up to 64 of 64 bytes"""
    peer = await server.ready(features=[f"grease-{i:x}".ljust(64, "x") for i in range(40)])
    check(not peer.welcome.get("features"), f"WELCOME names {peer.welcome.get('features')}")
    peer = await server.ready(features=[f"g{i}" for i in range(64)])
    peer = await server.connect()
    await peer.send_raw(PREFACE + hello(features=[f"g{i}" for i in range(65)]))
    await server.prefaced(peer)
    await peer.failed(ErrorCode.BAD_HEAD)


@case("PXW-HSK-013")
async def default_window(server: Subject) -> None:
    """A limit that HELLO leaves out has its default: a window can be raised up to 2^31-1 from there, and no further"""
    room = MAX_CREDIT - LIMITS["connection_window"].default
    peer = await server.ready()
    await peer.send(credit(room))
    check(not await server.quiet(peer), "the CREDIT was answered")
    await peer.dies(ErrorCode.FLOW_CONTROL, of=credit(1))
    own = LIMITS["connection_window"].minimum
    peer = await server.ready(limits={"connection_window": own})
    await peer.send(credit(MAX_CREDIT - own))
    await peer.fence()
    await peer.dies(ErrorCode.FLOW_CONTROL, of=credit(1))


@case("PXW-HSK-014")
async def wrong_limits(server: Subject) -> None:
    """A declared limit that is no int within its range is BAD_HEAD; the ends of the range are taken"""
    for spec in DECLARED:
        for value in (spec.minimum - 1, spec.maximum + 1, str(spec.minimum), float(spec.minimum), True):
            peer = await server.connect()
            await peer.send_raw(PREFACE + hello(limits={spec.name: value}))
            await server.prefaced(peer)
            await refused(peer.failed(ErrorCode.BAD_HEAD), f"{spec.name} = {value!r}")
    for what, limits in (("an array", []), ("a string", "max_frame")):
        peer = await server.connect()
        await peer.send_raw(PREFACE + hello(limits=limits))
        await server.prefaced(peer)
        await refused(peer.failed(ErrorCode.BAD_HEAD), f"limits = {what}")
    for which in ("minimum", "maximum"):
        await server.ready(limits={spec.name: getattr(spec, which) for spec in BY_BOTH})


@case("PXW-HSK-015")
async def unknown_limits(server: Subject) -> None:
    """Keys of limits that nobody knows are ignored, whatever they hold"""
    await server.ready(limits={"grease_limit": "x", "x_y": -1, "handshake_max_frame": 1})


@case(section="6")
async def hello_fields(server: Subject) -> None:
    """HELLO without agent, with one of 129 bytes or of a wrong type is BAD_HEAD; one of 128 bytes is taken"""
    for what, bad in (
        ("no agent", frame("HELLO", 0, {"features": []})),
        ("an agent of 129 bytes", hello(agent="x" * 129)),
        ("129 bytes in 65 characters", hello(agent="é" * 64 + "x")),
        ("an integer", hello(agent=1)),
    ):
        peer = await server.connect()
        await peer.send_raw(PREFACE + bad)
        await server.prefaced(peer)
        await refused(peer.failed(ErrorCode.BAD_HEAD), what)
    await server.ready(agent="é" * 64)


@case("PXW-EXT-009", section="13.4")
async def grease(server: Subject) -> None:
    """GREASE of every kind at once: a range up to version 2, a feature, a key, an ignorable frame"""
    peer = await server.connect()
    await peer.send_raw(PREFACE[:5] + b"\x02\x00\x00")
    await peer.send(hello(features=["grease-77"], grease_77={"x": [1, 2]}))
    await server.prefaced(peer)
    await server.welcomed(peer)
    await peer.send(frame(0x9B, 0, b"\xc1\xc1", b"\x00" * 7, flags=0xA7), frame(0x83, 77), ping(b"greasy!!"))
    pong = await peer.receive()
    if pong.name != "PONG":
        raise Failure(f"{pong} came instead of PONG")
    await peer.send(goaway())
