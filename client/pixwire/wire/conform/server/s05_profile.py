"""Section 5: what a head may contain, asked with CREDIT (a fault is BAD_HEAD) and with requests (INVALID_ARGUMENT)."""

from pixwire_protocol.registry import LIMITS, ErrorCode

from ..frames import frame, long_form, nested, pack, raw_map
from ..subject import ServerPeer, Subject, check, declared, refused, said
from ..verdicts import Failure, Skip
from .register import case

DEPTH = LIMITS["msgpack_depth"].default
ENTRIES = LIMITS["msgpack_entries"].default
VALUES = LIMITS["msgpack_values"].default
STR = LIMITS["msgpack_str"].default
BIN = LIMITS["msgpack_bin"].default
N = pack("n")
ONE = pack(1)


async def bad_head(server: Subject, what: str, head: bytes) -> None:
    """This head of a CREDIT is BAD_HEAD."""
    peer = await server.ready()
    fits(peer, head)
    await refused(peer.dies(ErrorCode.BAD_HEAD, of=frame("CREDIT", 0, head)), what)


async def good_head(server: Subject, what: str, head: bytes) -> None:
    """This head of a CREDIT is taken."""
    peer = await server.ready()
    fits(peer, head)
    await peer.send(frame("CREDIT", 0, head))
    try:
        await peer.fence()
    except Failure as error:
        raise Failure(f"{what}: {error}") from error


def fits(peer: ServerPeer, head: bytes) -> None:
    """Skip when the server takes no frames that long."""
    if len(head) > declared(peer, "max_frame"):
        raise Skip(f"max_frame is {declared(peer, 'max_frame')}, {len(head)} bytes were needed")


async def is_good(server: Subject, what: str, **extra: object) -> None:
    """A CREDIT with these unknown fields is taken."""
    await good_head(server, what, pack({"n": 1, **extra}))


async def is_bad(server: Subject, what: str, **extra: object) -> None:
    """A CREDIT with these unknown fields is BAD_HEAD."""
    await bad_head(server, what, pack({"n": 1, **extra}))


@case("PXW-MSG-001")
async def one_map(server: Subject) -> None:
    """A head that is something else than one map"""
    for what, value in (("an array", [1]), ("nil", None), ("an integer", 1), ("a string", "n")):
        await bad_head(server, what, pack(value))
    await bad_head(server, "0xC1", b"\xc1")
    await bad_head(server, "no head at all", b"")


@case("PXW-MSG-002")
async def whole_map(server: Subject) -> None:
    """Bytes after the map, or a map that does not end"""
    whole = pack({"n": 1})
    for what, data in (
        ("a byte behind", whole + b"\xc0"),
        ("a second map", whole + whole),
        ("a byte missing", whole[:-1]),
        ("an array of four billion", b"\x81\xa1n\xdd\xff\xff\xff\xff"),
        ("a string longer than the head", b"\x81\xa1n\xdb\x00\xff\xff\xff"),
    ):
        await bad_head(server, what, data)


@case("PXW-MSG-003")
async def string_keys(server: Subject) -> None:
    """Map keys that are no strings, at any depth"""
    for what, key in (("an integer", ONE), ("nil", b"\xc0"), ("a bin", pack(b"k"))):
        await bad_head(server, f"{what} as a key", raw_map((N, ONE), (key, ONE)))
        await bad_head(
            server, f"{what} as a key inside", raw_map((N, ONE), (pack("x_a"), b"\x91" + raw_map((key, ONE))))
        )


@case("PXW-MSG-006")
async def ext_types(server: Subject) -> None:
    """Ext types, timestamps included"""
    for what, value in (
        ("fixext 1", b"\xd4\x05\x00"),
        ("a timestamp", b"\xd6\xff\x00\x00\x00\x00"),
        ("ext 8 without bytes", b"\xc7\x00\x05"),
        ("ext 32", b"\xc9\x00\x00\x00\x01\x05\x00"),
    ):
        await bad_head(server, what, raw_map((N, ONE), (pack("x_a"), value)))


@case("PXW-MSG-007")
async def utf8(server: Subject) -> None:
    """Strings that are not valid UTF-8"""
    for what, value in (
        ("a lone 0xFF", b"\xa1\xff"),
        ("an overlong form", b"\xa2\xc0\x80"),
        ("a surrogate", b"\xa3\xed\xa0\x80"),
        ("a cut character", b"\xa2\xe2\x82"),
    ):
        await bad_head(server, what, raw_map((N, ONE), (pack("x_a"), value)))
    await bad_head(server, "a key", raw_map((N, ONE), (b"\xa1\xff", ONE)))


@case("PXW-MSG-008")
async def finite(server: Subject) -> None:
    """NaN and the infinities"""
    for value in (float("nan"), float("inf"), float("-inf")):
        await is_bad(server, str(value), x_a=value)
    await bad_head(server, "a NaN of 32 bits", raw_map((N, ONE), (pack("x_a"), b"\xca\x7f\xc0\x00\x00")))


@case("PXW-MSG-009")
async def long_forms(server: Subject) -> None:
    """Integers and lengths in another than the shortest form are accepted"""
    await good_head(server, "a CREDIT in the longest form", long_form({"n": 1, "x_a": ["y", True, None, {"k": -1}]}))
    peer = await server.ready()
    await peer.send(frame("STATUS", 1, long_form({"job": server.job_id(used=False)})))
    said(await peer.on(1), ErrorCode.JOB_NOT_FOUND)


@case("PXW-MSG-010", "PXW-MSG-011")
async def int_is_int(server: Subject) -> None:
    """Where a field is an int, a float (also an integral one), a bool, a str and a bin are wrong"""
    for what, value in (("1.0", 1.0), ("true", True), ("false", False), ("a string", "1"), ("a bin", b"1")):
        await bad_head(server, what, pack({"n": value}))


@case("PXW-MSG-012")
async def depth(server: Subject) -> None:
    """Nesting of 8 levels is taken, of 9 not; the outermost map is level 1"""
    await is_good(server, f"{DEPTH} levels", x_a=nested(DEPTH - 1))
    await is_bad(server, f"{DEPTH + 1} levels", x_a=nested(DEPTH))
    await bad_head(server, "30,000 levels", b"\x82" + N + ONE + pack("x_a") + b"\x91" * 30_000 + b"\xc0")


@case("PXW-MSG-013")
async def entries(server: Subject) -> None:
    """Arrays and maps of 1,024 entries are taken, of 1,025 not"""
    await is_good(server, "an array of 1,024", x_a=[0] * ENTRIES)
    await is_bad(server, "an array of 1,025", x_a=[0] * (ENTRIES + 1))
    await is_good(server, "a map of 1,024", x_a={str(i): 0 for i in range(ENTRIES)})
    await is_bad(server, "a map of 1,025", x_a={str(i): 0 for i in range(ENTRIES + 1)})


@case("PXW-MSG-014")
async def values(server: Subject) -> None:
    """4,096 values in all are taken, 4,097 not: keys, values and containers count"""
    # The map, n and its value, x_a and its array, and the arrays in it: 8 containers hold the rest.
    fixed = 5 + 8
    rest = VALUES - fixed
    arrays = [[0] * (rest // 8) for _ in range(8)]
    arrays[0] += [0] * (rest % 8)
    await is_good(server, f"{VALUES:,} values", x_a=arrays)
    arrays[0].append(0)
    await is_bad(server, f"{VALUES + 1:,} values", x_a=arrays)


@case("PXW-MSG-015")
async def strings(server: Subject) -> None:
    """A string of 16,384 bytes is taken, of 16,385 not"""
    await is_good(server, "16,384 bytes", x_a="x" * STR)
    await is_bad(server, "16,385 bytes", x_a="x" * (STR + 1))


@case("PXW-MSG-016")
async def bins(server: Subject) -> None:
    """A bin of 1,024 bytes is taken, of 1,025 not"""
    await is_good(server, "1,024 bytes", x_a=bytes(BIN))
    await is_bad(server, "1,025 bytes", x_a=bytes(BIN + 1))


@case("PXW-MSG-018")
async def duplicate_keys(server: Subject) -> None:
    """Of two equal keys the last one counts, unless the head is rejected"""
    first, last = server.job_id(used=False), server.job_id()
    peer = await server.ready()
    stream = await server.submit(peer, last)
    await server.accepted(peer, stream)
    head = raw_map((pack("job"), pack(first)), (pack("job"), pack(last)))
    await peer.send(frame("STATUS", 3, head))
    view = peer.judge.streams[3]
    if view is not None:
        view.job = last
    answer = await peer.receive()
    rejected = answer.name == "GOAWAY" and answer.head["code"] == ErrorCode.BAD_HEAD
    check(answer.name == "RESULT" or rejected, f"{answer} came, for the job named last")


@case("PXW-MSG-019", "PXW-EXT-009")
async def unknown_keys(server: Subject) -> None:
    """Keys of a head that nobody knows are ignored, whatever they hold and however they are spelled"""
    extra = {"grease_9b": [1, {"a": None}], "x_y": b"\x00", "UPPER": 1.5, "9": True, "": {}}
    await is_good(server, "in CREDIT", **extra)
    peer = await server.ready(grease_hello={"a": [1]})
    await peer.send(frame("STATUS", 1, {"job": server.job_id(used=False), **extra}))
    said(await peer.on(1), ErrorCode.JOB_NOT_FOUND)


@case("PXW-MSG-020")
async def nil_is_absent(server: Subject) -> None:
    """Nil for an optional field is as if the field were not there"""
    peer = await server.ready(features=None, limits=None)
    job = server.job_id(used=False)
    await peer.send(frame("FETCH", 1, {"job": job, "artifact": None, "offset": None, "length": None, "etag": None}))
    said(await peer.on(1), ErrorCode.JOB_NOT_FOUND)
    await peer.send(frame("CANCEL", 3, {"job": job, "reason": None, "crit": None}))
    said(await peer.on(3), ErrorCode.JOB_NOT_FOUND)


@case("PXW-MSG-021")
async def wrong_fields(server: Subject) -> None:
    """A missing field, a wrong type or a value out of range: INVALID_ARGUMENT with the field's name, for requests"""
    job = server.job_id(used=False)
    for name, head, field in (
        ("STATUS", {}, "job"),
        ("STATUS", {"job": 5}, "job"),
        ("STATUS", {"job": b"x"}, "job"),
        ("STATUS", {"job": None}, "job"),
        ("CANCEL", {"job": job, "reason": "x" * 257}, "reason"),
        ("WATCH", {"job": job, "after_seq": -1}, "after_seq"),
        ("WATCH", {"job": job, "want": "progress"}, "want"),
        ("WATCH", {"job": job, "want": ["x"] * 17}, "want"),
        ("WATCH", {"job": job, "deliver": 1}, "deliver"),
        ("FETCH", {"job": job, "artifact": 64}, "artifact"),
        ("FETCH", {"job": job, "offset": 2**63}, "offset"),
        ("FETCH", {"job": job, "offset": 0.0}, "offset"),
        ("FETCH", {"job": job, "length": -1}, "length"),
        ("FETCH", {"job": job, "etag": ""}, "etag"),
        ("STATUS", {"job": job, "crit": "job"}, "crit"),
    ):
        peer = await server.ready()
        await peer.send(frame(name, 1, head))
        try:
            details = said(await peer.on(1), ErrorCode.INVALID_ARGUMENT).get("details") or {}
            check(details.get("field") == field, f"details name {details.get('field')!r}, not {field!r}")
            await peer.fence()
        except Failure as error:
            raise Failure(f"{name} {head}: {error}") from error


@case("PXW-MSG-021", section="5")
async def wrong_fields_of_the_connection(server: Subject) -> None:
    """The same in messages of the connection: BAD_HEAD"""
    for what, bad in (
        ("CREDIT without n", frame("CREDIT", 0, {})),
        ("GOAWAY without code", frame("GOAWAY", 0, {"last_stream": 0})),
        ("GOAWAY with last_stream -1", frame("GOAWAY", 0, {"last_stream": -1, "code": 0})),
        ("GOAWAY with code 65536", frame("GOAWAY", 0, {"last_stream": 0, "code": 65536})),
        ("ERROR without code", frame("ERROR", 0, {"message": "x"})),
        ("a message of 1,025 bytes", frame("GOAWAY", 0, {"last_stream": 0, "code": 0, "message": "x" * 1025})),
    ):
        peer = await server.ready()
        await refused(peer.dies(ErrorCode.BAD_HEAD, of=bad), what)
