"""Requests and their answers, over a real socket."""

import asyncio
from typing import Any

import msgpack  # type: ignore[import-untyped]  # it ships none
import pytest
from memory_jobs import MemoryJobs, timesteps_of
from raw_client import Connect, OpenDoor, RawClient

from pixwire_protocol.messages import (
    Cancel,
    Error,
    Event,
    Fetch,
    Preview,
    Reset,
    Result,
    Status,
    Submit,
    Watch,
    Welcome,
)
from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.status import JobError, JobState, JobStatus
from pixwire_server.doors.address import UnixAddress
from pixwire_server.jobs import RequestError

PARAMS = msgpack.packb({"prompt": "a red circle"})
IMAGE = bytes(range(256)) * 5000


def submit(job: str = "j", **options: Any) -> Submit:
    return Submit(job=job, kind="txt2img", tail=PARAMS, **options)


async def test_the_handshake_tells_who_serves_and_its_limits(connect: Connect, open_door: OpenDoor) -> None:
    _, address = await open_door(max_streams=7)
    client = await connect(address, handshake=False)
    welcome = (await client.ready()).peer
    assert isinstance(welcome, Welcome)
    assert (welcome.agent, welcome.server_id, welcome.epoch) == ("door-under-test", "server-1", "epoch-1")
    assert welcome.durable == "disk"
    assert welcome.limits.max_streams == 7


async def test_a_unix_socket_serves_the_same(connect: Connect, open_door: OpenDoor, tmp_path: object) -> None:
    _, address = await open_door(UnixAddress(f"{tmp_path}/door.sock"))
    client = await connect(address)
    (stream,) = await client.open(Status(job="none"))
    assert (await client.error(stream)).code == ErrorCode.JOB_NOT_FOUND


@pytest.mark.req("PXW-REQ-001")
async def test_submit_is_answered_after_the_commit_and_not_before(client: RawClient, jobs: MemoryJobs) -> None:
    jobs.hold = True
    submitted, asked = await client.open(submit(), Status(job="j"))
    assert (await client.body(asked))["state"] == "queued"
    assert not client.inbox
    jobs.commit()
    reply = await client.next(submitted)
    assert reply.end
    assert isinstance(reply.message, Result)
    assert reply.message.body["state"] == "queued"
    assert reply.message.body["duplicate"] is False


@pytest.mark.req("PXW-REQ-003")
@pytest.mark.req("PXW-REQ-004")
async def test_the_same_submit_again_is_a_duplicate_and_another_one_a_conflict(client: RawClient) -> None:
    first, again, other = await client.open(
        submit(), submit(), Submit(job="j", kind="txt2img", tail=msgpack.packb({"prompt": "b"}))
    )
    assert (await client.body(first))["duplicate"] is False
    assert (await client.body(again))["duplicate"] is True
    error = await client.error(other)
    assert (error.code, error.retry) == (ErrorCode.JOB_CONFLICT, "no")


@pytest.mark.req("PXW-STR-009")
async def test_pipelined_requests_are_all_answered_on_their_streams(client: RawClient) -> None:
    streams = await client.open(*(submit(f"j{n}") for n in range(60)))
    streams += await client.open(*(Status(job=f"j{n}") for n in range(60)))
    for n, stream in enumerate(streams):
        assert (await client.last(stream))["job"] == f"j{n % 60}"


async def test_status_shows_the_parameters(client: RawClient) -> None:
    first, asked = await client.open(submit(), Status(job="j"))
    assert "params" not in (await client.body(first))
    assert (await client.body(asked))["params"] == {"prompt": "a red circle"}


async def test_cancel_answers_with_the_state_and_passes_the_reason(client: RawClient, jobs: MemoryJobs) -> None:
    _, stream = await client.open(submit(), Cancel(job="j", reason="enough"))
    assert (await client.last(stream))["state"] == "cancelled"
    assert jobs.cancelled == [("j", "enough")]


@pytest.mark.req("PXW-REQ-018")
@pytest.mark.parametrize("request_", [Status(job="x"), Cancel(job="x"), Watch(job="x"), Fetch(job="x")])
async def test_an_unknown_job_is_an_error_on_its_stream_only(client: RawClient, request_: Status) -> None:
    refused, fine = await client.open(request_, submit())
    reply = await client.next(refused)
    assert reply.end
    assert isinstance(reply.message, Error)
    assert reply.message.code == ErrorCode.JOB_NOT_FOUND
    assert isinstance((await client.next(fine)).message, Result)


async def test_a_refusal_carries_code_details_and_when_to_retry(client: RawClient, jobs: MemoryJobs) -> None:
    jobs.refuse = RequestError(ErrorCode.QUEUE_FULL, "the queue is full", {"allowed": 3}, retry_after_ms=1500)
    (stream,) = await client.open(submit())
    error = await client.error(stream)
    assert (error.code, error.name, error.retry, error.processed) == (ErrorCode.QUEUE_FULL, "QUEUE_FULL", "after", "no")
    assert error.retry_after_ms == 1500
    assert error.details == {"allowed": 3}


@pytest.mark.req("PXW-ERR-007")
async def test_a_defect_is_told_as_an_incident_without_its_inside(
    client: RawClient, jobs: MemoryJobs, caplog: pytest.LogCaptureFixture
) -> None:
    jobs.refuse = ZeroDivisionError("secret detail")
    broken, fine = await client.open(submit(), Status(job="x"))
    error = await client.error(broken)
    assert error.code == ErrorCode.INTERNAL
    assert "secret" not in error.message
    incident = error.message.split()[-1]
    assert f"incident {incident}" in caplog.text
    assert "ZeroDivisionError: secret detail" in caplog.text
    assert (await client.error(fine)).code == ErrorCode.JOB_NOT_FOUND


@pytest.mark.req("PXW-REQ-008")
async def test_other_parameter_types_are_unsupported(client: RawClient) -> None:
    (stream,) = await client.open(submit(ct="application/json"))
    error = await client.error(stream)
    assert error.code == ErrorCode.UNSUPPORTED
    assert error.details is not None
    assert error.details["field"] == "ct"


@pytest.mark.req("PXW-REQ-010")
@pytest.mark.req("PXW-REQ-011")
@pytest.mark.req("PXW-REQ-012")
@pytest.mark.req("PXW-JOB-006")
@pytest.mark.req("PXW-JOB-011")
async def test_watch_gives_a_snapshot_then_every_state_and_the_lossy_events_asked_for(
    client: RawClient, jobs: MemoryJobs
) -> None:
    await client.open(submit())
    (all_, states) = await client.open(Watch(job="j", want=["progress", "preview", "from-the-future"]), Watch(job="j"))
    snapshot = (await client.next(all_)).message
    assert isinstance(snapshot, Result)
    await client.next(states)
    jobs.change("j", JobState.RUNNING)
    assert (await client.body(all_))["state"] == "running"
    jobs.progress("j", 3)
    progress = (await client.next(all_)).message
    assert isinstance(progress, Event)
    assert progress.body == {"job": "j", "seq": 3, "event": "progress", "step": 3, "steps": 10, "attempt": 1}
    jobs.preview("j", 4, b"tiny picture")
    preview = (await client.next(all_)).message
    assert isinstance(preview, Preview)
    assert (preview.step, bytes(preview.tail)) == (4, b"tiny picture")
    error = JobError(code=ErrorCode.PIPELINE_ERROR, name="PIPELINE_ERROR", message="it broke")
    jobs.change("j", JobState.FAILED, error=error)
    assert JobStatus.from_map(await client.last(all_)).error == error
    assert (await client.body(states))["state"] == "running"
    assert (await client.last(states))["state"] == "failed"
    assert jobs.open_watches == 0


@pytest.mark.req("PXW-REQ-045")
@pytest.mark.req("PXW-REQ-046")
async def test_timesteps_come_with_states_and_progress_to_those_who_want_them(
    client: RawClient, jobs: MemoryJobs
) -> None:
    await client.open(submit())
    await jobs.until(lambda: bool(jobs.jobs))
    jobs.change("j", JobState.RUNNING)
    (without, plain) = await client.open(Watch(job="j", want=["progress"]), Watch(job="j", want=["timesteps"]))
    for stream in (without, plain):
        assert "timesteps" not in (await client.body(stream)), "no step was done"
    jobs.progress("j", 3)
    (late,) = await client.open(Watch(job="j", want=["progress", "timesteps"]))
    assert (await client.body(late))["timesteps"] == timesteps_of(3)
    jobs.progress("j", 4)
    assert (await client.body(late))["timesteps"] == timesteps_of(4)
    jobs.change("j", JobState.SUCCEEDED, b"image")
    assert (await client.last(late))["timesteps"] == (await client.last(plain))["timesteps"] == timesteps_of(4)
    heard = [await client.body(without) for _ in range(2)] + [await client.last(without)]
    assert [body["event"] for body in heard] == ["progress", "progress", "state"]
    assert not any("timesteps" in body for body in heard)


async def test_watching_a_job_that_is_over_ends_at_once(client: RawClient, jobs: MemoryJobs) -> None:
    await client.open(submit())
    await jobs.until(lambda: bool(jobs.jobs))
    jobs.change("j", JobState.CANCELLED)
    (stream,) = await client.open(Watch(job="j"))
    assert (await client.last(stream))["state"] == "cancelled"


@pytest.mark.req("PXW-REQ-013")
@pytest.mark.req("PXW-REQ-025")
@pytest.mark.req("PXW-STR-012")
async def test_submit_watch_deliver_costs_one_round_trip(client: RawClient, jobs: MemoryJobs) -> None:
    """The client sends one frame (and credit); status, progress, end and the image come on the same stream."""
    (stream,) = await client.open(submit(watch=True, want=["progress"], deliver=True))
    first = (await client.next(stream)).message
    assert isinstance(first, Result)
    assert first.body["duplicate"] is False
    jobs.change("j", JobState.RUNNING)
    jobs.change("j", JobState.SUCCEEDED, IMAGE)
    states = [(await client.body(stream))["state"] for _ in range(2)]
    assert states == ["running", "succeeded"]
    announced, image = await client.image(stream)
    assert image == IMAGE
    assert announced == {
        "job": "j",
        "artifact": 0,
        "etag": "j:0",
        "size": len(IMAGE),
        "offset": 0,
        "length": len(IMAGE),
        "media_type": "image/png",
        "width": 8,
        "height": 8,
        "seed": 0,
    }
    await jobs.until(lambda: jobs.open_images == 0)


@pytest.mark.req("PXW-REQ-013")
@pytest.mark.req("PXW-REQ-026")
async def test_deliver_without_watch_tells_only_the_end(client: RawClient, jobs: MemoryJobs) -> None:
    (stream,) = await client.open(submit(deliver=True, want=["progress"]))
    await client.next(stream)
    jobs.change("j", JobState.RUNNING)
    jobs.progress("j", 1)
    jobs.change("j", JobState.SUCCEEDED, b"one", b"two", b"three")
    assert (await client.body(stream))["state"] == "succeeded"
    images = [(await client.image(stream))[1] for _ in range(3)]
    assert images == [b"one", b"two", b"three"]
    await jobs.until(lambda: jobs.open_images == 0)
    assert not client.connection.open_streams


async def test_a_late_watch_with_deliver_gets_the_images_after_the_snapshot(
    client: RawClient, jobs: MemoryJobs
) -> None:
    await client.open(submit())
    await jobs.until(lambda: bool(jobs.jobs))
    jobs.change("j", JobState.SUCCEEDED, b"picture")
    (stream,) = await client.open(Watch(job="j", deliver=True))
    snapshot = await client.next(stream)
    assert not snapshot.end
    assert (await client.image(stream))[1] == b"picture"


async def test_a_failed_job_delivers_nothing_and_ends(client: RawClient, jobs: MemoryJobs) -> None:
    (stream,) = await client.open(submit(watch=True, deliver=True))
    await client.next(stream)
    jobs.change("j", JobState.CANCELLED)
    assert (await client.next(stream)).end


@pytest.mark.req("PXW-REQ-021")
@pytest.mark.req("PXW-REQ-025")
@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({}, IMAGE),
        ({"offset": 1000}, IMAGE[1000:]),
        ({"offset": 1000, "length": 7}, IMAGE[1000:1007]),
        ({"offset": len(IMAGE) - 3, "length": 100}, IMAGE[-3:]),
        ({"length": 300_000}, IMAGE[:300_000]),
        ({"etag": "j:0"}, IMAGE),
        ({"offset": len(IMAGE)}, b""),
        ({"length": 0}, b""),
    ],
)
async def test_fetch_gives_exactly_the_asked_bytes(
    client: RawClient, jobs: MemoryJobs, part: dict[str, Any], expected: bytes
) -> None:
    await client.open(submit())
    await jobs.until(lambda: bool(jobs.jobs))
    jobs.change("j", JobState.SUCCEEDED, IMAGE)
    (stream,) = await client.open(Fetch(job="j", **part))
    announced, image = await client.image(stream)
    assert image == expected
    assert announced["length"] == len(expected)
    assert announced["offset"] == part.get("offset", 0)
    await jobs.until(lambda: jobs.open_images == 0)


@pytest.mark.req("PXW-REQ-022")
@pytest.mark.req("PXW-REQ-023")
@pytest.mark.req("PXW-REQ-024")
@pytest.mark.parametrize(
    ("part", "code", "details"),
    [
        ({"etag": "old"}, ErrorCode.ARTIFACT_CHANGED, {"field": "etag", "value": "old"}),
        ({"artifact": 1}, ErrorCode.ARTIFACT_NOT_FOUND, None),
        (
            {"offset": len(IMAGE) + 1},
            ErrorCode.OFFSET_OUT_OF_RANGE,
            {"field": "offset", "value": len(IMAGE) + 1, "allowed": f"0..{len(IMAGE)}", "size": len(IMAGE)},
        ),
    ],
)
async def test_fetch_refuses_what_is_not_there_and_names_the_limits(
    client: RawClient, jobs: MemoryJobs, part: dict[str, Any], code: ErrorCode, details: dict[str, object] | None
) -> None:
    await client.open(submit())
    await jobs.until(lambda: bool(jobs.jobs))
    jobs.change("j", JobState.SUCCEEDED, IMAGE)
    (stream,) = await client.open(Fetch(job="j", **part))
    error = await client.error(stream)
    assert (error.code, error.details) == (code, details)
    assert jobs.open_images == 0


@pytest.mark.req("PXW-HSK-012")
async def test_a_client_that_did_not_offer_previews_gets_none(connect: Connect, jobs: MemoryJobs) -> None:
    client = await connect(features=())
    (stream,) = await client.open(submit(watch=True, want=["progress", "preview"]))
    await client.body(stream)
    jobs.preview("j", 1, b"picture")
    jobs.progress("j", 2)
    assert (await client.body(stream))["event"] == "progress"


async def test_a_preview_too_large_for_the_client_is_left_out(connect: Connect, jobs: MemoryJobs) -> None:
    client = await connect(max_frame=4096)
    (stream,) = await client.open(submit(watch=True, want=["preview"]))
    await client.body(stream)
    jobs.preview("j", 1, bytes(5000))
    jobs.change("j", JobState.CANCELLED)
    assert (await client.last(stream))["state"] == "cancelled"


async def test_an_answer_too_large_for_the_client_is_an_error_that_says_so(connect: Connect) -> None:
    client = await connect(max_frame=4096)
    long = Submit(job="long", kind="txt2img", tail=msgpack.packb({"prompt": "x" * 3000, "negative_prompt": "y" * 3000}))
    first, asked = await client.open(long, Status(job="long"))
    assert (await client.last(first))["state"] == "queued"
    error = await client.error(asked)
    assert (error.code, error.processed) == (ErrorCode.UNSUPPORTED, "yes")
    assert "max_frame" in error.message


@pytest.mark.req("PXW-ERR-001")
async def test_an_error_after_the_first_answer_does_not_say_unprocessed(client: RawClient, jobs: MemoryJobs) -> None:
    (stream,) = await client.open(submit(watch=True, deliver=True))
    await client.body(stream)
    jobs.change("j", JobState.SUCCEEDED, b"one", b"two")
    jobs.jobs["anonymous", "j"].images.pop()  # the second one is lost
    await client.body(stream)
    assert (await client.image(stream))[1] == b"one"
    error = await client.error(stream)
    assert (error.code, error.processed) == (ErrorCode.ARTIFACT_NOT_FOUND, "yes")


@pytest.mark.req("PXW-STR-015")
@pytest.mark.req("PXW-STR-018")
async def test_reset_ends_the_watch_and_leaves_the_job(client: RawClient, jobs: MemoryJobs) -> None:
    (stream,) = await client.open(submit(watch=True, deliver=True))
    await client.next(stream)
    client.connection.reset(stream, ErrorCode.NO_ERROR)
    await client.flush()
    await jobs.until(lambda: jobs.open_watches == 0)
    assert jobs.cancelled == []
    (asked,) = await client.open(Status(job="j"))
    assert (await client.body(asked))["state"] == "queued"


@pytest.mark.req("PXW-STR-018")
async def test_a_submit_that_is_reset_before_its_commit_still_becomes_a_job(
    client: RawClient, jobs: MemoryJobs
) -> None:
    jobs.hold = True
    (stream,) = await client.open(submit(watch=True))
    client.connection.reset(stream, ErrorCode.NO_ERROR)
    await client.flush()
    (asked,) = await client.open(Status(job="j"))
    await client.next(asked)
    jobs.commit()
    (asked,) = await client.open(Status(job="j"))
    assert (await client.body(asked))["state"] == "queued"
    assert jobs.open_watches == 0


async def test_a_connection_never_answers_for_another(connect: Connect, jobs: MemoryJobs) -> None:
    first, second = await connect(), await connect()
    await asyncio.gather(first.open(submit("a")), second.open(submit("b")))
    (stream,) = await first.open(Watch(job="b"))
    await first.next(stream)
    jobs.change("b", JobState.CANCELLED)
    assert (await first.next(stream)).end
    assert all(not isinstance(item, Reset) for item in second.inbox)
