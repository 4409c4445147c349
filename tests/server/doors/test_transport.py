"""What happens on the socket: flow control, slow and hostile peers, peers that vanish."""

import random

import pytest
from door_scenes import BIG, PARAMS, answers, finished_job, greeting_of_the_server, receive_at_least
from memory_jobs import MemoryJobs
from raw_client import Connect, OpenDoor

from pixwire_protocol.connection import Connection, Received, Role, Settings
from pixwire_protocol.messages import Data, Error, Fetch, Pong, Status, Submit, Watch
from pixwire_protocol.registry import MARKER, ErrorCode

# ---------------------------------------------------------------------- flow control


@pytest.mark.req("PXW-FLW-001")
@pytest.mark.req("PXW-FLW-002")
@pytest.mark.req("PXW-FLW-004")
async def test_a_reader_that_gives_no_credit_is_sent_its_window_and_no_more(connect: Connect, jobs: MemoryJobs) -> None:
    window = 100_000
    client = await connect(stream_window=window, connection_window=250_000)
    await finished_job(client, jobs)
    before = client.received_bytes
    first, second, third = await client.open(*(Fetch(job="j") for _ in range(3)))
    for stream in (first, second):
        await receive_at_least(client, stream, window)
    await receive_at_least(client, third, 250_000 - 2 * window)
    for _ in range(3):  # the loop turns of three round trips: whoever wanted to send more could have
        await answers(client)
    assert client.received_bytes - before < 250_000 + 4096
    client.connection.consumed(first, window)
    client.connection.consumed(second, window)
    client.connection.consumed(third, 50_000)
    await client.flush()
    assert await client.data(first)


@pytest.mark.req("PXW-FLW-011")
async def test_a_stalled_reader_does_not_hold_up_anybody_else(
    connect: Connect, open_door: OpenDoor, jobs: MemoryJobs
) -> None:
    """It gives all the credit there is and then reads nothing: TCP itself is full."""
    _, address = await open_door(min_ping_s=0)
    stalled = await connect(address, stream_window=16_000_000, connection_window=64_000_000)
    other = await connect(address)
    await finished_job(other, jobs, image=BIG * 4)
    await stalled.open(Fetch(job="j"))
    await jobs.until(lambda: jobs.open_images == 1)
    for _ in range(20):
        other.connection.ping(b"12345678")
        await other.flush()
        await other.wait(lambda item: getattr(item, "message", None) == Pong(b"12345678") or None)
        await answers(other)
    (stream,) = await other.open(Fetch(job="j", length=3_000_000))
    assert (await other.image(stream))[1] == (BIG * 4)[:3_000_000]
    assert jobs.open_images == 1


@pytest.mark.req("PXW-KAL-002")
async def test_small_requests_pass_an_image_on_the_same_connection(connect: Connect, jobs: MemoryJobs) -> None:
    client = await connect(stream_window=1 << 20, connection_window=4 << 20)
    await finished_job(client, jobs, image=BIG * 2)
    (fetch,) = await client.open(Fetch(job="j"))
    await client.body(fetch)
    left = len(BIG) * 2
    (asked,) = await client.open(Status(job="nothing"))
    order = []
    while left:
        got = await client.wait(lambda item: item if isinstance(item, Received) and item.stream else None)
        order.append(type(got.message))
        if isinstance(got.message, Data):
            left -= len(got.message.tail)
            client.connection.consumed(fetch, len(got.message.tail))
            await client.flush()
        else:
            (asked,) = await client.open(Status(job="nothing"))
    assert order.count(Error) >= 4
    assert (await client.error(asked)).code == ErrorCode.JOB_NOT_FOUND


async def test_two_images_share_the_connection(connect: Connect, jobs: MemoryJobs) -> None:
    client = await connect(stream_window=1 << 20, connection_window=4 << 20)
    await finished_job(client, jobs, "a", BIG)
    await finished_job(client, jobs, "b", BIG[::-1])
    first, second = await client.open(Fetch(job="a"), Fetch(job="b"))
    assert (await client.image(first))[1] == BIG
    assert (await client.image(second))[1] == BIG[::-1]
    await jobs.until(lambda: jobs.open_images == 0)
    await answers(client)
    assert jobs.read_from == 0


@pytest.mark.req("PXW-FRM-010")
async def test_reading_byte_by_byte_gives_the_same(connect: Connect, jobs: MemoryJobs) -> None:
    client = await connect()
    frames = client.connection.open(Submit(job="j", kind="txt2img", tail=PARAMS))
    for byte in b"".join(client.connection.data_to_send()):
        await client.send_bytes(bytes([byte]))
    assert (await client.body(frames))["state"] == "queued"


# ---------------------------------------------------------------------- hostile bytes


@pytest.mark.req("PXW-CON-004")
@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00" * 8,
        b"\xff" * 4096,
    ],
    ids=["http", "tls", "zeros", "ones"],
)
async def test_a_stranger_is_closed_and_the_server_goes_on(connect: Connect, garbage: bytes) -> None:
    good = await connect()
    stranger = await connect(handshake=False)
    await stranger.send_bytes(garbage)
    await stranger.closed()
    assert stranger.received_bytes == 0
    await answers(good)


@pytest.mark.req("PXW-FRM-004")
@pytest.mark.req("PXW-FRM-005")
@pytest.mark.req("PXW-CON-010")
@pytest.mark.req("PXW-CON-011")
async def test_a_frame_over_the_limit_is_refused_before_its_body(connect: Connect) -> None:
    client, other = await connect(), await connect()
    await client.send_bytes(bytes([MARKER]) + (16_000_000).to_bytes(3, "big"))
    assert (await client.failure()).code == ErrorCode.FRAME_TOO_LARGE
    await client.closed()
    await answers(other)


@pytest.mark.req("PXW-FRM-002")
@pytest.mark.req("PXW-CON-009")
@pytest.mark.req("PXW-CON-014")
async def test_garbage_after_the_handshake_ends_the_connection_and_frees_what_it_held(
    connect: Connect, jobs: MemoryJobs
) -> None:
    client, other = await connect(stream_window=1024, connection_window=1024), await connect()
    await finished_job(client, jobs)
    await client.open(Fetch(job="j"), Submit(job="k", kind="txt2img", tail=PARAMS, watch=True))
    await jobs.until(lambda: (jobs.open_images, jobs.open_watches) == (1, 1))
    await client.send_bytes(b"not a frame at all")
    assert (await client.failure()).code == ErrorCode.PROTOCOL_ERROR
    await client.closed()
    await jobs.until(lambda: (jobs.open_images, jobs.open_watches) == (0, 0))
    await answers(other)


@pytest.mark.req("PXW-CON-010")
async def test_the_last_word_arrives_although_the_peer_goes_on_sending(connect: Connect) -> None:
    client = await connect()
    await client.send_bytes(b"\x00" * 12 + b"x" * 300_000)
    assert (await client.failure()).code == ErrorCode.PROTOCOL_ERROR


@pytest.mark.req("PXW-SEC-005")
async def test_damaged_conversations_never_hurt_the_server(
    connect: Connect, jobs: MemoryJobs, caplog: pytest.LogCaptureFixture
) -> None:
    """A hundred recorded sessions, each with some bytes changed, cut out or repeated."""
    good = await connect()
    await finished_job(good, jobs, image=b"x" * 5000)
    script = Connection(Role.CLIENT, Settings(agent="damaged"))
    greeting = b"".join(script.data_to_send())
    script.receive(greeting_of_the_server())
    script.open(Status(job="j"))
    script.open(Fetch(job="j"))
    script.open(Submit(job="k", kind="txt2img", tail=PARAMS, watch=True))
    script.open(Watch(job="j"))
    session = greeting + b"".join(script.data_to_send())
    chance = random.Random(7499)
    for _ in range(100):
        damaged = bytearray(session)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(8, len(damaged))
            what = chance.choice(["change", "cut", "repeat"])
            if what == "change":
                damaged[at] = chance.randrange(256)
            elif what == "cut":
                del damaged[at : at + chance.randint(1, 40)]
            else:
                damaged[at:at] = damaged[at : at + chance.randint(1, 40)]
        bad = await connect(handshake=False)
        await bad.send_bytes(bytes(damaged))
        bad.half_close()
        await bad.closed()
        bad.close()
    await answers(good)
    assert jobs.open_watches == 0
    assert "incident" not in caplog.text
    assert "Fatal error" not in caplog.text


# ---------------------------------------------------------------------- peers that go


@pytest.mark.req("PXW-CON-014")
@pytest.mark.parametrize("how", ["reset", "close", "half_close"])
async def test_a_client_that_vanishes_in_the_middle_of_an_image_leaves_nothing_behind(
    how: str, connect: Connect, jobs: MemoryJobs
) -> None:
    client, other = await connect(stream_window=65536), await connect()
    await finished_job(other, jobs)
    fetch, _ = await client.open(Fetch(job="j"), Submit(job="k", kind="txt2img", tail=PARAMS, watch=True, deliver=True))
    await receive_at_least(client, fetch, 1000)
    await jobs.until(lambda: (jobs.open_images, jobs.open_watches) == (1, 1))
    getattr(client, how)()
    await jobs.until(lambda: (jobs.open_images, jobs.open_watches) == (0, 0))
    assert jobs.cancelled == []
    (asked,) = await other.open(Status(job="k"))
    assert (await other.body(asked))["state"] == "queued"


@pytest.mark.req("PXW-STR-015")
async def test_an_image_that_is_reset_in_the_middle_stops_and_is_closed(connect: Connect, jobs: MemoryJobs) -> None:
    client = await connect(stream_window=1 << 20)
    await finished_job(client, jobs, image=BIG)
    (fetch,) = await client.open(Fetch(job="j"))
    await receive_at_least(client, fetch, 1)
    client.connection.reset(fetch)
    await client.flush()
    await jobs.until(lambda: jobs.open_images == 0)
    await answers(client)
    assert jobs.read_from == 0
    (again,) = await client.open(Fetch(job="j", offset=len(BIG) - 10))
    assert (await client.image(again))[1] == BIG[-10:]


async def test_half_closed_requests_are_answered_before_the_server_closes(connect: Connect, jobs: MemoryJobs) -> None:
    client = await connect(stream_window=1 << 20)
    await finished_job(client, jobs, image=b"x" * 500_000)
    jobs.hold = True
    submitted, fetched = await client.open(Submit(job="k", kind="txt2img", tail=PARAMS), Fetch(job="j"))
    client.half_close()
    assert len((await client.image(fetched, consume=False))[1]) == 500_000
    jobs.commit()
    assert (await client.body(submitted))["state"] == "queued"
    await client.closed()


async def test_a_commit_for_a_client_that_left_is_no_error(
    connect: Connect, jobs: MemoryJobs, caplog: pytest.LogCaptureFixture
) -> None:
    jobs.hold = True
    client, other = await connect(), await connect()
    await client.open(Submit(job="j", kind="txt2img", tail=PARAMS, watch=True))
    await jobs.until(lambda: bool(jobs.held))
    client.reset()
    await answers(other)
    jobs.commit()
    await answers(other)
    assert jobs.open_watches == 0
    assert "incident" not in caplog.text
