"""Attachments on their way in: order, credit, early answers, ends of every kind, and how little is held."""

import asyncio
from typing import Any

import pytest
from door_scenes import PARAMS, answers
from memory_jobs import MemoryJobs
from raw_client import Connect, OpenDoor, RawClient
from upload_scenes import IMAGE, MASK, WINDOW, begin, send_all, submit

from pixwire_protocol.connection import Received
from pixwire_protocol.messages import Message, Result, Status, Submit, Welcome
from pixwire_protocol.registry import ErrorCode, FrameType
from pixwire_protocol.status import JobState
from pixwire_server.jobs import RequestError, Trace


async def test_the_welcome_says_how_much_may_come(connect: Connect, open_door: OpenDoor) -> None:
    _, address = await open_door(max_upload=1234, stream_rate=77, retain_s=10.5, dedupe_s=20)
    peer = (await connect(address)).connection.peer
    assert isinstance(peer, Welcome)
    limits = peer.limits
    assert (limits.max_upload, limits.stream_rate, limits.retain_ms, limits.dedupe_ms) == (1234, 77, 10_500, 20_000)
    assert (limits.stream_window, limits.connection_window) == (WINDOW, 4 * WINDOW)


async def test_an_upload_with_watch_and_deliver_on_one_stream(client: RawClient, jobs: MemoryJobs) -> None:
    (stream,) = await client.open(submit(watch=True, deliver=True))
    await send_all(client, stream)
    body = await client.body(stream)
    assert (body["state"], body["duplicate"]) == ("queued", False)
    assert jobs.jobs["anonymous", "j"].attached == IMAGE + MASK
    jobs.change("j", JobState.SUCCEEDED, b"picture")
    assert (await client.body(stream))["state"] == "succeeded"
    assert (await client.image(stream))[1] == b"picture"
    await jobs.until(lambda: jobs.open_images == 0)
    assert not client.connection.open_streams


@pytest.mark.req("PXW-UPL-010")
async def test_the_result_comes_after_the_commit(client: RawClient, jobs: MemoryJobs) -> None:
    jobs.hold = True
    (stream,) = await client.open(submit())
    await send_all(client, stream)
    await jobs.until(lambda: bool(jobs.held))
    await answers(client)
    assert not [item for item in client.inbox if isinstance(item, Received) and isinstance(item.message, Result)]
    jobs.commit()
    assert (await client.last(stream))["state"] == "queued"


async def test_bytes_that_come_before_jobs_is_ready_are_kept_in_order(client: RawClient, jobs: MemoryJobs) -> None:
    jobs.hold_begin = True
    (stream,) = await client.open(submit("j", MASK, b"z" * 50_000))
    await send_all(client, stream, MASK + b"z" * 50_000)
    await answers(client)
    jobs.ready()
    assert (await client.last(stream))["state"] == "queued"
    assert jobs.jobs["anonymous", "j"].attached == MASK + b"z" * 50_000


# ---------------------------------------------------------------------- credit


@pytest.mark.req("PXW-SEC-004")
@pytest.mark.req("PXW-FLW-007")
async def test_no_more_than_the_window_is_held_while_the_disk_is_slow(connect: Connect, jobs: MemoryJobs) -> None:
    client, other = await connect(), await connect()
    jobs.slow_disk = True
    stream = await begin(client, jobs, submit())
    (upload,) = jobs.uploads
    sending = asyncio.create_task(send_all(client, stream))
    sizes = []
    while rest := len(IMAGE + MASK) - sum(sizes):
        await jobs.until(lambda rest=rest: upload.held >= min(WINDOW, rest))  # type: ignore[misc]
        await answers(other)  # whatever wanted to come could have
        sizes.append(upload.held)
        upload.settle()
    await sending
    assert sizes == [WINDOW] * 8 + [len(MASK)]
    assert (await client.last(stream))["state"] == "queued"


async def test_four_uploads_fill_the_connections_window_and_other_requests_pass(
    client: RawClient, jobs: MemoryJobs
) -> None:
    jobs.slow_disk = True
    streams = [await begin(client, jobs, submit(f"j{n}", IMAGE)) for n in range(6)]
    for stream in streams:
        client.connection.send_data(stream, IMAGE, end=True)
    await client.flush()
    await jobs.until(lambda: sum(upload.held for upload in jobs.uploads) == 4 * WINDOW)
    await answers(client)
    assert sum(upload.held for upload in jobs.uploads) == 4 * WINDOW
    jobs.slow_disk = False
    for upload in jobs.uploads:
        upload.settle()
    async with asyncio.timeout(20):
        while any(client.connection.unsent(stream) for stream in streams):
            await client.read()
    for stream in streams:
        assert (await client.last(stream))["state"] == "queued"


# ---------------------------------------------------------------------- early answers


@pytest.mark.req("PXW-UPL-008")
async def test_a_duplicate_is_answered_early_and_the_bytes_under_way_cost_nothing(
    client: RawClient, jobs: MemoryJobs
) -> None:
    (first,) = await client.open(submit())
    await send_all(client, first)
    await client.last(first)
    for _ in range(8):  # eight times the stream's window is twice the connection's
        stream = client.connection.open(submit())
        client.connection.send_data(stream, IMAGE + MASK, end=True)
        await client.flush()
        assert (await client.last(stream))["duplicate"] is True
        assert client.connection.unsent(stream) == 0
    assert len(jobs.uploads) == 1
    (third,) = await client.open(submit("k"))
    await send_all(client, third)
    assert (await client.last(third))["duplicate"] is False


@pytest.mark.req("PXW-UPL-008")
@pytest.mark.parametrize("data", [IMAGE + MASK, IMAGE[:WINDOW]], ids=["more to come", "all there"])
async def test_an_answer_without_a_look_at_the_bytes_gives_their_credit_back(
    client: RawClient, jobs: MemoryJobs, data: bytes
) -> None:
    """Four streams that go on hold four windows, all the connection has; a fifth needs them."""
    (first,) = await client.open(submit("j", data))
    await send_all(client, first, data)
    await client.last(first)
    jobs.hold_begin = True
    streams = await client.open(*(submit("j", data, watch=True) for _ in range(4)))
    for stream in streams:
        client.connection.send_data(stream, data, end=True)
    await client.flush()
    await answers(client)
    jobs.ready()
    for stream in streams:
        assert (await client.body(stream))["duplicate"] is True
    jobs.hold_begin = False
    (other,) = await client.open(submit("k"))
    await send_all(client, other)
    assert (await client.last(other))["duplicate"] is False


async def test_a_refusal_comes_at_once_and_the_connection_goes_on(client: RawClient, jobs: MemoryJobs) -> None:
    wrong = {"field": "attachments[1].size", "value": 4000, "allowed": "3 bytes"}
    jobs.refuse = RequestError(ErrorCode.INVALID_ARGUMENT, "too large", wrong)
    for _ in range(8):
        stream = client.connection.open(submit())
        client.connection.send_data(stream, IMAGE + MASK, end=True)
        await client.flush()
        error = await client.error(stream)
        assert (error.code, error.processed, error.details) == (ErrorCode.INVALID_ARGUMENT, "no", wrong)
    jobs.refuse = None
    (stream,) = await client.open(submit())
    await send_all(client, stream)
    assert (await client.last(stream))["state"] == "queued"


@pytest.mark.req("PXW-UPL-012")
async def test_too_many_bytes_under_way_in_all_is_said_with_a_time(client: RawClient, jobs: MemoryJobs) -> None:
    jobs.refuse = RequestError(ErrorCode.QUOTA_EXCEEDED, "uploads are full", retry_after_ms=5000)
    (stream,) = await client.open(submit())
    error = await client.error(stream)
    assert (error.code, error.retry, error.retry_after_ms) == (ErrorCode.QUOTA_EXCEEDED, "after", 5000)


async def test_a_failing_disk_ends_the_upload_with_its_error(client: RawClient, jobs: MemoryJobs) -> None:
    stream = await begin(client, jobs, submit())
    jobs.uploads[0].fail = RequestError(ErrorCode.QUEUE_FULL, "no room on the disk", retry_after_ms=5000)
    client.connection.send_data(stream, IMAGE)
    await client.flush()
    error = await client.error(stream)
    assert (error.code, error.processed) == (ErrorCode.QUEUE_FULL, "no")
    await answers(client)


async def test_wrong_bytes_are_told_when_all_are_there(client: RawClient, jobs: MemoryJobs) -> None:
    jobs.refuse = None
    stream = await begin(client, jobs, submit())
    wrong = RequestError(ErrorCode.INVALID_ARGUMENT, "other bytes", {"field": "attachments[0].sha256"})
    failed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    failed.set_exception(wrong)
    jobs.uploads[0]._accept = lambda data: failed
    await send_all(client, stream)
    error = await client.error(stream)
    assert (error.code, error.details) == (ErrorCode.INVALID_ARGUMENT, {"field": "attachments[0].sha256"})


# ---------------------------------------------------------------------- ends before the end


@pytest.mark.req("PXW-UPL-009")
@pytest.mark.parametrize("how", ["reset the stream", "close", "reset", "half_close", "goaway"])
async def test_an_upload_that_is_not_finished_was_nothing(connect: Connect, jobs: MemoryJobs, how: str) -> None:
    client, other = await connect(), await connect()
    stream = await begin(client, jobs, submit())
    (upload,) = jobs.uploads
    client.connection.send_data(stream, IMAGE[:100_000])
    await client.flush()
    await jobs.until(lambda: len(upload.data) == 100_000)
    if how == "reset the stream":
        client.connection.reset(stream)
        await client.flush()
    elif how == "goaway":
        client.connection.goaway(ErrorCode.INTERNAL, "a defect")
        await client.flush()
    else:
        getattr(client, how)()
    await jobs.until(lambda: upload.aborted == 1)
    assert jobs.jobs == {}
    await answers(other)
    assert upload.aborted == 1


async def test_an_upload_that_ends_before_jobs_was_ready_is_taken_back(client: RawClient, jobs: MemoryJobs) -> None:
    jobs.hold_begin = True
    (stream,) = await client.open(submit())
    client.connection.send_data(stream, MASK)
    client.connection.reset(stream)
    await client.flush()
    await answers(client)
    jobs.ready()
    await jobs.until(lambda: jobs.uploads[0].aborted == 1)
    assert jobs.uploads[0].data == b""


@pytest.mark.req("PXW-STR-018")
async def test_a_client_that_leaves_after_the_last_byte_has_submitted(connect: Connect, jobs: MemoryJobs) -> None:
    jobs.hold = True
    client, other = await connect(), await connect()
    (stream,) = await client.open(submit())
    await send_all(client, stream)
    await jobs.until(lambda: bool(jobs.held))
    client.reset()
    await answers(other)
    jobs.commit()
    (asked,) = await other.open(Status(job="j"))
    assert (await other.last(asked))["state"] == "queued"
    assert jobs.uploads[0].aborted == 0


@pytest.mark.req("PXW-UPL-011")
async def test_an_upload_that_stops_is_given_up_and_one_that_waits_for_the_disk_is_not(
    connect: Connect, open_door: OpenDoor, jobs: MemoryJobs
) -> None:
    _, address = await open_door(upload_stall_s=0.2)
    jobs.slow_disk = True
    stalls, waits = await connect(address), await connect(address)
    slow = await begin(waits, jobs, submit("waits"))
    waits.connection.send_data(slow, IMAGE + MASK, end=True)
    await waits.flush()
    await jobs.until(lambda: jobs.uploads[0].held == WINDOW)
    stream = await begin(stalls, jobs, submit("stalls"))
    error = await stalls.error(stream)
    assert (error.code, error.retry, error.processed) == (ErrorCode.UPLOAD_STALLED, "same_id", "no")
    assert jobs.uploads[1].aborted == 1
    again = await begin(stalls, jobs, submit("again"))  # another stall time passes
    assert (await stalls.error(again)).code == ErrorCode.UPLOAD_STALLED
    assert jobs.uploads[0].aborted == 0
    jobs.slow_disk = False
    jobs.uploads[0].settle()
    await send_rest(waits, slow)
    assert (await waits.last(slow))["state"] == "queued"
    await answers(stalls)


async def send_rest(client: RawClient, stream: int) -> None:
    async with asyncio.timeout(10):
        while client.connection.unsent(stream):
            await client.read()


@pytest.mark.req("PXW-DRN-007")
async def test_at_the_end_of_a_drain_an_upload_that_is_not_complete_is_told_so(
    connect: Connect, open_door: OpenDoor, jobs: MemoryJobs
) -> None:
    door, address = await open_door()
    client, finishes = await connect(address), await connect(address)
    half = await begin(client, jobs, submit("half"))
    whole = await begin(finishes, jobs, submit("whole"))
    jobs.hold = True
    await send_all(finishes, whole)
    await jobs.until(lambda: bool(jobs.held))
    door.begin_drain(5.0)
    finishing = asyncio.create_task(door.finish(10.0))
    error = await client.error(half)
    assert (error.code, error.retry, error.processed) == (ErrorCode.DRAINING, "after", "no")
    assert "nothing was submitted" in error.message
    jobs.commit()
    assert (await finishes.last(whole))["state"] == "queued"
    for one in (client, finishes):
        await one.closed()
        one.close()
    await finishing
    assert jobs.uploads[0].aborted == 1


@pytest.mark.req("PXW-UPL-003")
@pytest.mark.req("PXW-UPL-004")
@pytest.mark.parametrize("wrong", ["short", "long", "more"])
async def test_bytes_that_are_not_those_announced_end_the_connection(
    connect: Connect, jobs: MemoryJobs, wrong: str
) -> None:
    client, other = await connect(), await connect()
    stream = await begin(client, jobs, submit("j", MASK))
    size = {"short": len(MASK) - 1, "long": len(MASK) + 1, "more": len(MASK)}[wrong]
    header = bytes([0xC1]) + size.to_bytes(3, "big") + bytes([FrameType.DATA, wrong == "short", 0, 0])
    await client.send_bytes(header + stream.to_bytes(4, "big") + bytes(size))
    if wrong == "more":
        header = bytes([0xC1, 0, 0, 1, FrameType.DATA, 0, 0, 0])
        await client.send_bytes(header + stream.to_bytes(4, "big") + b"x")
    assert (await client.failure()).code == ErrorCode.PROTOCOL_ERROR
    await client.closed()
    await jobs.until(lambda: jobs.uploads[0].aborted == 1)
    await answers(other)


# ---------------------------------------------------------------------- what goes along


@pytest.mark.parametrize("files", [(), (MASK,)], ids=["plain", "upload"])
async def test_the_trace_context_reaches_jobs(client: RawClient, jobs: MemoryJobs, files: tuple[bytes, ...]) -> None:
    parent = f"00-{'a' * 32}-{'b' * 16}-01"
    traced = {"traceparent": parent, "tracestate": "vendor=1"}
    message: Message = submit("j", *files, **traced) if files else Submit("j", "txt2img", PARAMS, **traced)
    (stream,) = await client.open(message)  # type: ignore[arg-type]
    if files:
        await send_all(client, stream, b"".join(files))
    await client.last(stream)
    (plain,) = await client.open(Submit("k", "txt2img", PARAMS))
    await client.last(plain)
    assert jobs.traces == [Trace(parent, "vendor=1"), None]
