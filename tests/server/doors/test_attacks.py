"""The catalogue of attacks: what each one meets, and that other connections are served all the while.

Each row of ATTACKS names the requirement and the limit that answer it. The attack runs against a door on which a
witness has a connection of its own: the witness asks after every blow and must be answered every time. No row looks at
a clock: the buckets' time stands still, so that a burst is all there is, and what must not grow is counted in bytes.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import msgpack  # type: ignore[import-untyped]  # it ships none
import pytest
from attack_scene import READ, Scene, StillRates, frame, goaways, members, raw
from door_scenes import PARAMS, answers
from memory_jobs import MemoryJobs
from raw_client import Connect, OpenDoor, RawClient
from upload_scenes import begin, submit

from pixwire_protocol.messages import Ping, Pong, Status, Submit
from pixwire_protocol.registry import LIMITS, MARKER, PREFACE, ErrorCode, Flag, FrameType
from pixwire_server.jobs import RequestError

FRAME = LIMITS["data_chunk"].default


# ---------------------------------------------------------------------- lengths and bombs


async def length_bomb(scene: Scene) -> None:
    await scene.send(bytes([MARKER]) + (2**24 - 1).to_bytes(3, "big"))
    await scene.ended_with(ErrorCode.FRAME_TOO_LARGE)


async def length_bomb_before_the_handshake(scene: Scene) -> None:
    scene.attacker = await scene.connect(handshake=False)
    await scene.send(PREFACE + bytes([MARKER]) + (4097).to_bytes(3, "big"))
    await scene.ended_with(ErrorCode.FRAME_TOO_LARGE)


async def lengths_that_contradict_each_other(scene: Scene) -> None:
    await scene.send(bytes([MARKER, 0, 0, 4, FrameType.STATUS, Flag.END, 0, 5, 0, 0, 0, 1]) + b"\x80" * 4)
    await scene.ended_with(ErrorCode.PROTOCOL_ERROR)


async def nesting_bomb(scene: Scene) -> None:
    await scene.send(raw(FrameType.STATUS, 1, b"\x81\xa3job" + b"\x91" * 60_000, flags=Flag.END))
    await scene.ended_with(ErrorCode.BAD_HEAD)


async def count_bomb(scene: Scene) -> None:
    await scene.send(raw(FrameType.STATUS, 1, b"\x81\xa3job\xdd\xff\xff\xff\xff", flags=Flag.END))
    await scene.ended_with(ErrorCode.BAD_HEAD)


async def an_answer_larger_than_its_frame(scene: Scene) -> None:
    scene.attacker = await scene.connect(max_frame=4096)
    tail = msgpack.packb({"prompt": "x" * 3000, "negative_prompt": "y" * 3000})
    first, asked = await scene.attacker.open(Submit("long", "txt2img", tail), Status("long"))
    await scene.attacker.last(first)
    await scene.witnessed()
    error = await scene.attacker.error(asked)
    assert error.code == ErrorCode.UNSUPPORTED
    await answers(scene.attacker)  # no frame was cut: the two still understand each other


# ---------------------------------------------------------------------- dribbling


async def dribbled_handshake(scene: Scene) -> None:
    scene.attacker = await scene.connect(handshake=False)
    hello = b"".join(scene.attacker.connection.data_to_send())
    for byte in hello[:-1]:
        await scene.send(bytes([byte]))
    await scene.ended_with(ErrorCode.HANDSHAKE_TIMEOUT)


async def dribbled_frame(scene: Scene) -> None:
    scene.attacker.connection.open(Status(job="j" * 64))
    whole = b"".join(bytes(part) for part in scene.attacker.connection.data_to_send())
    for byte in whole[:-1]:
        await scene.send(bytes([byte]))
    await scene.ended_with(ErrorCode.EXCESSIVE_LOAD)


# ---------------------------------------------------------------------- floods


async def rapid_reset(scene: Scene) -> None:
    burst = LIMITS["abort_burst"].default
    pairs = []
    for number in range(3 * burst):
        stream = 2 * number + 1
        pairs.append(frame(Submit(f"j{number}", "txt2img", PARAMS), stream, Flag.END))
        pairs.append(raw(FrameType.RESET, stream, msgpack.packb({"code": 0})))
    await scene.flood(pairs)
    await scene.ended_with(ErrorCode.EXCESSIVE_LOAD, "streams ended early")
    assert 0 < scene.jobs.submits <= burst


async def made_you_reset(scene: Scene) -> None:
    """Requests without their fields: each costs the server an ERROR, none of them work."""
    burst, at_once = LIMITS["abort_burst"].default, 50
    wrong = [raw(FrameType.STATUS, 2 * n + 1, b"\x80", flags=Flag.END) for n in range(3 * burst)]
    await scene.flood(wrong, size=at_once * len(wrong[0]))
    await scene.ended_with(ErrorCode.EXCESSIVE_LOAD, "streams ended early or by faulty frames")
    assert burst < scene.shells[0]._connection.counts.aborts <= burst + at_once


async def going_on_after_the_end(scene: Scene) -> None:
    """The GOAWAY cannot reach who does not read; what it sends meanwhile is read and forgotten."""
    await scene.attacker_that_is_full()
    burst, at_once = LIMITS["ignorable_burst"].default, 50
    skipped = [raw(0x80, 0)] * (3 * burst)
    await scene.flood(skipped, size=at_once * len(skipped[0]))
    assert burst < scene.shells[0]._connection.counts.ignorable <= burst + at_once


async def opens_without_end(scene: Scene) -> None:
    rate = 100  # of this door
    streams = await scene.attacker.open(*(Submit(f"j{n}", "txt2img", PARAMS) for n in range(rate)))
    for stream in streams:
        await scene.attacker.next(stream)
    more = await scene.attacker.open(*(Submit(f"k{n}", "txt2img", PARAMS) for n in range(50)))
    for stream in more:
        error = await scene.attacker.error(stream)
        assert (error.code, error.retry, error.processed) == (ErrorCode.RATE_LIMITED, "after", "no")
        assert error.retry_after_ms
        await scene.witnessed()
    assert scene.jobs.submits == rate


async def too_many_open_streams(scene: Scene) -> None:
    most = LIMITS["max_streams"].default
    scene.jobs.hold = True
    machine = scene.attacker.connection._machine
    machine.limits = replace(machine.limits, max_streams=1024)  # it has not understood what the server said
    streams = await scene.attacker.open(*(Submit(f"j{n}", "txt2img", PARAMS) for n in range(most + 20)))
    for stream in streams[most:]:
        assert (await scene.attacker.error(stream)).code == ErrorCode.TOO_MANY_STREAMS
        await scene.witnessed()
    assert scene.jobs.submits == most
    scene.jobs.commit()
    for stream in streams[:most]:
        assert (await scene.attacker.last(stream))["state"] == "queued"


async def ping_flood(scene: Scene) -> None:
    burst = LIMITS["ping_burst"].default
    await scene.flood([frame(Ping(n.to_bytes(8, "big"))) for n in range(3 * burst)], size=READ)
    await scene.ended_with(ErrorCode.EXCESSIVE_LOAD, "PINGs")
    assert scene.received(Pong) <= 3 * burst


async def credit_flood(scene: Scene) -> None:
    burst = LIMITS["credit_burst"].default
    await scene.flood(raw(FrameType.CREDIT, 0, msgpack.packb({"n": 1})) for _ in range(3 * burst))
    await scene.ended_with(ErrorCode.EXCESSIVE_LOAD, "CREDIT")


async def ignorable_flood(scene: Scene) -> None:
    burst = LIMITS["ignorable_burst"].default
    await scene.flood(raw(0x80 + n % 64, n) for n in range(3 * burst))
    await scene.ended_with(ErrorCode.EXCESSIVE_LOAD, "unknown types")


async def unknown_flood(scene: Scene) -> None:
    burst = LIMITS["ignorable_burst"].default
    await scene.flood((raw(0x3F, 2 * n + 1) for n in range(3 * burst)), size=1200)
    await scene.ended_with(ErrorCode.EXCESSIVE_LOAD, "too many")


async def small_data_flood(scene: Scene) -> None:
    run = LIMITS["small_data_run"].default
    stream = await begin(scene.attacker, scene.jobs, submit())
    await scene.flood(raw(FrameType.DATA, stream, tail=b"x") for _ in range(run + 1))
    await scene.ended_with(ErrorCode.EXCESSIVE_LOAD, "in a row")
    await scene.jobs.until(lambda: scene.jobs.uploads[0].aborted == 1)


async def data_beyond_the_credit(scene: Scene) -> None:
    scene.jobs.slow_disk = True
    window = LIMITS["stream_window"].default
    stream = await begin(scene.attacker, scene.jobs, submit())
    await scene.flood((raw(FrameType.DATA, stream, tail=bytes(window // 2)) for _ in range(3)), size=1 << 20)
    await scene.ended_with(ErrorCode.FLOW_CONTROL)
    assert len(scene.jobs.uploads[0].data) <= window


# ---------------------------------------------------------------------- who does not read


async def pongs_that_nobody_reads(scene: Scene) -> None:
    """With min_ping_ms 0 PINGs may come as they like; what bounds them is the queue of their answers."""
    limit = LIMITS["control_bytes"].default
    pings = [frame(Ping(bytes(8))) for _ in range(1000)]
    largest = 0
    for _ in range(2000):
        if not await scene.send(b"".join(pings)):
            break
        largest = max(largest, scene.held)
        if scene.shells[0]._connection.state.name == "FAILED":
            break
    else:
        pytest.fail("the server answers for ever")
    assert largest <= limit + FRAME + READ
    failure = scene.shells[0]._connection.failure
    assert failure is not None
    assert (failure.code, "control frames" in failure.message) == (ErrorCode.EXCESSIVE_LOAD, True)


async def answers_that_nobody_reads(scene: Scene) -> None:
    """Answers of 8 KiB, asked for and not read: streams whose answer waits count as open, and are bounded."""
    tail = msgpack.packb({"prompt": "x" * 4000, "negative_prompt": "y" * 4000})
    (stream,) = await scene.attacker.open(Submit("long", "txt2img", tail))
    await scene.attacker.last(stream)
    largest = 0
    for number in range(20_000):
        if not await scene.send(frame(Status("long"), 2 * number + 3, Flag.END) * 1):
            break
        largest = max(largest, scene.held)
        if scene.shells[0]._connection.state.name == "FAILED":
            break
    else:
        pytest.fail("the server answers for ever")
    most = LIMITS["max_streams"].default * 9000 + LIMITS["control_bytes"].default
    assert largest <= min(most, LIMITS["reply_bytes"].default) + FRAME


async def huge_credit_and_a_closed_window(scene: Scene) -> None:
    """All the credit there is, and no reading: one frame waits in the transport, and the images are not copied."""
    await scene.attacker_that_is_full()
    largest = 0
    for _ in range(200):
        await scene.witnessed()
        largest = max(largest, scene.held)
    assert scene.shells[0]._clocks.paused
    assert largest <= 2 * FRAME + 100 * 1024
    scene.attacker.reset()
    await scene.jobs.until(lambda: scene.jobs.open_images == 0)


# ---------------------------------------------------------------------- connections, jobs, words


async def too_many_connections(scene: Scene) -> None:
    """Of twenty there is room for ten; the refused ones hear why and keep nobody out."""
    refused = 0
    clients = [await scene.connect(handshake=False) for _ in range(20)]
    for client in clients:
        await client.flush()
    for client in clients:
        await client.read()
        while client.connection.peer is None and not client.eof and not goaways(client):
            await client.read()
        refused += any(message.code == ErrorCode.EXCESSIVE_LOAD for message in goaways(client))
        await scene.witnessed()
    assert refused == 20 - 8  # two of the ten are attacker and witness


async def too_many_connections_of_one_address(scene: Scene) -> None:
    """Four may come from one address. From another one, everybody still gets in."""
    clients = [await scene.connect(handshake=False, source="127.0.0.9") for _ in range(10)]
    told = 0
    for client in clients:
        await client.flush()
        while client.connection.peer is None and not client.eof and not goaways(client):
            await client.read()
        told += any("max_connections_per_address" in message.message for message in goaways(client))
        await scene.witnessed()
    assert told == 6
    await answers(await scene.connect(source="127.0.0.10"))


async def queue_flood(scene: Scene) -> None:
    full = RequestError(ErrorCode.QUOTA_EXCEEDED, "your share of the queue is used up", retry_after_ms=1000)
    scene.jobs.refuse = full
    streams = await scene.attacker.open(*(Submit(f"j{n}", "txt2img", PARAMS) for n in range(100)))
    for stream in streams:
        error = await scene.attacker.error(stream)
        assert (error.code, error.retry_after_ms) == (ErrorCode.QUOTA_EXCEEDED, 1000)
    await scene.witnessed()
    assert scene.jobs.jobs == {}


async def guessing_job_ids(scene: Scene) -> None:
    """What exists and is another's sounds like what does not exist (test_auth has it over all requests)."""
    (stream,) = await scene.attacker.open(Status("none"))
    assert (await scene.attacker.error(stream)).code == ErrorCode.JOB_NOT_FOUND
    await scene.witnessed()


async def text_for_the_terminal(scene: Scene) -> None:
    from pixwire_server.logs import LineFormatter

    record = logging.LogRecord("x", logging.INFO, "", 0, "%s", ("agent \x1b[2J\n2026 forged line \u202e",), None)
    line = LineFormatter().format(record)
    assert not set(line) & {"\x1b", "\n", "\u202e"}
    await scene.witnessed()


@dataclass(frozen=True)
class Attack:
    run: Callable[[Scene], Awaitable[None]]
    rules: tuple[str, ...]
    limit: str
    settings: dict[str, Any] = field(default_factory=dict)


ATTACKS = (
    Attack(length_bomb, ("PXW-FRM-004", "PXW-FRM-005"), "max_frame"),
    Attack(length_bomb_before_the_handshake, ("PXW-FRM-006",), "handshake_max_frame"),
    Attack(lengths_that_contradict_each_other, ("PXW-FRM-007",), "head_bytes"),
    Attack(nesting_bomb, ("PXW-MSG-012",), "msgpack_depth"),
    Attack(count_bomb, ("PXW-MSG-013",), "msgpack_entries"),
    Attack(an_answer_larger_than_its_frame, ("PXW-FRM-003", "PXW-FRM-009"), "max_frame"),
    Attack(dribbled_handshake, ("PXW-HSK-008",), "handshake_ms", {"handshake_timeout_s": 0.3}),
    Attack(dribbled_frame, ("PXW-LIM-004",), "frame_ms", {"frame_timeout_s": 0.3}),
    Attack(rapid_reset, ("PXW-LIM-007",), "abort_burst"),
    Attack(made_you_reset, ("PXW-LIM-007",), "abort_burst"),
    Attack(going_on_after_the_end, ("PXW-LIM-010",), "ignorable_burst"),
    Attack(opens_without_end, ("PXW-LIM-006",), "stream_rate", {"stream_rate": 100}),
    Attack(too_many_open_streams, ("PXW-STR-020",), "max_streams"),
    Attack(ping_flood, ("PXW-LIM-008", "PXW-KAL-006"), "ping_burst"),
    Attack(credit_flood, ("PXW-LIM-009",), "credit_burst"),
    Attack(ignorable_flood, ("PXW-LIM-010",), "ignorable_burst"),
    Attack(unknown_flood, ("PXW-LIM-010",), "ignorable_burst"),
    Attack(small_data_flood, ("PXW-LIM-003",), "small_data_run"),
    Attack(data_beyond_the_credit, ("PXW-FLW-003", "PXW-SEC-004"), "stream_window"),
    Attack(pongs_that_nobody_reads, ("PXW-LIM-001",), "control_bytes", {"min_ping_s": 0}),
    Attack(answers_that_nobody_reads, ("PXW-LIM-001", "PXW-LIM-002"), "reply_bytes"),
    Attack(huge_credit_and_a_closed_window, ("PXW-FLW-001", "PXW-FLW-011"), "data_chunk"),
    Attack(too_many_connections, ("PXW-LIM-011",), "max_connections", {"max_connections": 10, "linger_s": 0.1}),
    Attack(
        too_many_connections_of_one_address,
        ("PXW-LIM-012",),
        "max_connections_per_address",
        {"max_connections_per_address": 4, "spare_loopback": False, "linger_s": 0.1},
    ),
    Attack(queue_flood, ("PXW-LIM-013",), "principal_queue_limit"),
    Attack(guessing_job_ids, ("PXW-REQ-018",), "max_streams"),
    Attack(text_for_the_terminal, ("PXW-SEC-006",), "head_bytes"),
)
"""Attack -> requirement, the limit of SPEC 11 that holds (a row of the registry), settings of the door.

Uploads that stop or fill memory: test_uploads. Guessed tokens: one attempt for each connection, test_auth. TLS
handshakes that never end: test_tls. There is no continuation frame and no compression, so nothing of theirs to flood.
"""


@pytest.mark.parametrize(
    "attack",
    [
        pytest.param(attack, id=attack.run.__name__, marks=[pytest.mark.req(rule) for rule in attack.rules])
        for attack in ATTACKS
    ],
)
async def test_an_attack_meets_its_limit_and_others_are_served(
    attack: Attack,
    open_door: OpenDoor,
    connect: Connect,
    jobs: MemoryJobs,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert attack.limit in LIMITS
    monkeypatch.setattr("pixwire_server.doors.tcp.Rates", StillRates)
    door, address = await open_door(**attack.settings)

    async def arrive(**options: object) -> RawClient:
        return await connect(address, **options)

    attacker = await arrive()
    shells = members(door)
    scene = Scene(door, arrive, attacker, await arrive(), jobs, shells=shells)
    await attack.run(scene)
    assert scene.served > 0
    await scene.witnessed()
    assert "incident" not in caplog.text
    assert "Traceback" not in caplog.text
