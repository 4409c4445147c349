"""Lists of jobs and models, the place of one principal in the queue, and the trace context."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pixwire_protocol.registry import ErrorCode
from pixwire_server.jobs import JobPage, RequestError, StateChanged, Trace

from .conftest import PAINTER, Bench, attachment, painted

TRACE = Trace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "vendor=value")


async def listed(bench: Bench, limit: int = 100, *states: str, principal: str = "anonymous") -> list[list[str]]:
    """All pages, by the ids on them."""
    pages: list[list[str]] = []
    after: str | None = None
    while not pages or after is not None:
        page = await bench.jobs.list_jobs(principal, limit, after, states)
        pages.append([job.job for job in page.jobs])
        after = page.next
    return pages


def wrong(bench: Bench, **arguments: Any) -> dict[str, Any]:
    with pytest.raises(RequestError) as caught:
        bench.jobs.list_jobs("anonymous", 9, **arguments)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    return caught.value.details


@pytest.mark.req("PXW-REQ-033")
@pytest.mark.req("PXW-REQ-034")
async def test_the_newest_first_page_by_page(bench: Bench) -> None:
    await bench.open(max_resident=0)
    assert await listed(bench) == [[]]
    for name in "abcde":
        await bench.submit(name)
    assert await listed(bench, 2) == [["e", "d"], ["c", "b"], ["a"]]
    assert await listed(bench, 5) == [["e", "d", "c", "b", "a"]]  # no `next` that leads to nothing
    assert await listed(bench, 4) == [["e", "d", "c", "b"], ["a"]]


@pytest.mark.req("PXW-REQ-032")
async def test_everybody_sees_what_is_theirs(bench: Bench) -> None:
    await bench.open(max_resident=0)
    await bench.submit("mine")
    await bench.jobs.submit("mallory", "other", "txt2img", bench.tail("star"))
    assert await listed(bench) == [["mine"]]
    assert await listed(bench, principal="mallory") == [["other"]]
    assert await listed(bench, principal="nobody") == [[]]


async def test_a_summary_says_how_the_job_is_now(bench: Bench) -> None:
    await bench.open(max_resident=1)
    for name in ("done", "runs", "waits"):
        await bench.submit(name, count=2)
    await bench.farm.running("done")
    follower = await bench.follow("done")
    bench.engine.finish("done")
    await follower.until("succeeded")
    await bench.farm.until(lambda: any(task.prompt == "runs" for task in bench.engine.tasks.values()))
    bench.engine.step("runs", 3)
    bench.wall += 5000
    page = await bench.jobs.list_jobs("anonymous", 9)
    assert [(job.job, str(job.state), job.step, job.steps, job.artifacts) for job in page.jobs] == [
        ("waits", "queued", 0, 20, 0),
        ("runs", "running", 3, 20, 0),
        ("done", "succeeded", 20, 20, 2),
    ]
    assert {(job.kind, job.age_ms) for job in page.jobs} == {("txt2img", 5000)}
    assert [job.seq for job in page.jobs] == [(await bench.status(job.job)).seq for job in page.jobs]


async def test_by_state_as_it_is_told(bench: Bench) -> None:
    """A list that is asked for after an event shows what the event said."""
    await bench.open(max_resident=1)
    for name in "abc":
        await bench.submit(name)
    await bench.farm.running("a")
    assert await listed(bench, 9, "running") == [["a"]]
    assert await listed(bench, 1, "queued") == [["c"], ["b"]]
    await bench.cancel("b")
    assert await listed(bench, 9, "cancelled", "running") == [["b", "a"]]
    assert await listed(bench, 9, "failed") == [[]]


async def test_an_answer_does_not_come_from_the_loop(bench: Bench) -> None:
    await bench.open(max_resident=0)
    await bench.submit("star")
    asked = bench.jobs.list_jobs("anonymous", 9)
    assert not asked.done()
    assert isinstance(await asked, JobPage)


async def test_jobs_that_left_memory_are_listed(bench: Bench) -> None:
    await bench.open(max_resident=0, recent_limit=0)
    await bench.submit("star")
    await bench.cancel("star")
    page = await bench.jobs.list_jobs("anonymous", 9)
    assert [(job.job, str(job.state)) for job in page.jobs] == [("star", "cancelled")]


@pytest.mark.parametrize("swept", [True, False])
async def test_jobs_without_results_are_left_out(bench: Bench, swept: bool) -> None:
    jobs = await bench.open(max_resident=0, retain_s=10)
    for name in "ab":
        await bench.submit(name)
    await bench.cancel("a")
    bench.wall += 10_000
    if swept:
        await jobs._sweeper.sweep()
    assert await listed(bench) == [["b"]]


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
@pytest.mark.req("PXW-REQ-035")
async def test_what_comes_and_goes_moves_nothing_between_pages(bench: Bench, data: st.DataObject) -> None:
    jobs = await bench.open(bench.data_dir / f"{len(bench._opened)}", max_resident=0, retain_s=10)
    stay = [f"stay-{n}" for n in range(6)]
    for n, name in enumerate(stay):
        await bench.submit(name)
        await bench.submit(f"go-{n}")
    seen: list[str] = []
    after, more = None, 0
    while True:
        page = await bench.jobs.list_jobs("anonymous", data.draw(st.integers(1, 4)), after)
        seen += [job.job for job in page.jobs if job.job in stay]
        if (after := page.next) is None:
            break
        for n in data.draw(st.sets(st.integers(0, 5))):
            if (await jobs._intake.find("anonymous", f"go-{n}")).job.finished_ms is None:
                await bench.cancel(f"go-{n}")
        for _ in range(data.draw(st.integers(0, 2))):
            more += 1
            await bench.submit(f"new-{more}")
    assert seen == stay[::-1]


@pytest.mark.req("PXW-REQ-036")
async def test_a_cursor_that_was_not_given_is_refused(bench: Bench) -> None:
    jobs = await bench.open(max_resident=0)
    for name in "abc":
        await bench.submit(name)
        await jobs.submit("mallory", name, "txt2img", bench.tail("star"))
    cursor = (await jobs.list_jobs("anonymous", 1)).next
    assert cursor is not None
    assert len(cursor) <= 128
    others = (await jobs.list_jobs("mallory", 1)).next
    turned = ("B" if cursor[0] == "A" else "A") + cursor[1:]
    for bad in ("x", "!", "ö", "a" * 128, cursor + "A", cursor[:-1], turned, others):
        assert wrong(bench, after=bad)["field"] == "after"
    await jobs.close()
    jobs = await bench.open(max_resident=0)
    assert [job.job for job in (await jobs.list_jobs("anonymous", 1, cursor)).jobs] == ["b"]  # also after a restart


@pytest.mark.req("PXW-REQ-036")
async def test_a_state_that_does_not_exist_is_refused(bench: Bench) -> None:
    await bench.open(max_resident=0)
    details = wrong(bench, states=["queued", "sleeping"])
    assert (details["field"], details["value"]) == ("states", "sleeping")
    assert "queued" in details["allowed"]


async def test_models_are_what_the_card_says(bench: Bench) -> None:
    bench.farm.card = PAINTER
    jobs = await bench.open()
    [model] = jobs.models()
    assert model.to_map() == {
        "name": "test/model",
        "default": True,
        "pipeline": "TestPipeline",
        "kinds": ["txt2img", "img2img", "inpaint"],
        "attachments": ["image", "mask"],
        "defaults": {"steps": 20, "guidance_scale": 5.0, "width": 64, "height": 128, "strength": 0.7},
        "limits": {"size_multiple": 8, "max_width": 512, "max_height": 256, "max_steps": 100, "max_count": 4},
        "media_types": ["image/png", "image/jpeg", "image/webp", "image/avif", "image/x-rgb8"],
        "state": "loaded",
        "adapters": [],
        "pinned": False,
        "device": "cpu",
        "dtype": "float32",
    }


# ------------------------------------------------------------------------------------------- one principal's share


async def quota(future: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        await future
    return caught.value


@pytest.mark.req("PXW-LIM-013")
async def test_one_principal_cannot_fill_the_queue(bench: Bench) -> None:
    jobs = await bench.open(max_resident=0, queue_limit=5, principal_queue_limit=2)
    first, second = bench.submit("one"), bench.submit("two")
    error = await quota(bench.submit("three"))  # counts those whose commit is under way
    assert (error.code, error.details["allowed"]) == (ErrorCode.QUOTA_EXCEEDED, 2)
    assert error.retry_after_ms == 1000
    await first
    await second
    assert (await quota(bench.submit("three"))).code is ErrorCode.QUOTA_EXCEEDED
    assert (await bench.submit("one")).duplicate  # an old job is no new one
    for n in range(2):
        await jobs.submit("bob", f"job-{n}", "txt2img", bench.tail("star"))
    assert (await quota(jobs.submit("bob", "more", "txt2img", bench.tail("star")))).code is ErrorCode.QUOTA_EXCEEDED
    await jobs.submit("carol", "job", "txt2img", bench.tail("star"))
    assert (await quota(jobs.submit("dave", "job", "txt2img", bench.tail("star")))).code is ErrorCode.QUEUE_FULL
    await bench.cancel("one")
    assert (await bench.submit("three")).status.state == "queued"


async def test_jobs_that_run_leave_room(bench: Bench) -> None:
    await bench.open(max_resident=1, queue_limit=5, principal_queue_limit=1)
    await bench.submit("one")
    await bench.farm.running("one")
    await bench.submit("two")
    assert (await quota(bench.submit("three"))).code is ErrorCode.QUOTA_EXCEEDED
    bench.engine.leave("one")
    await bench.farm.running("one", "two")
    await bench.submit("three")


async def test_uploads_are_jobs_too(bench: Bench) -> None:
    bench.farm.card = PAINTER
    await bench.open(max_resident=0, principal_queue_limit=1)
    await bench.submit("one")
    error = await quota(bench.begin("two", attachment("image", painted())))
    assert error.code is ErrorCode.QUOTA_EXCEEDED


# ------------------------------------------------------------------------------------------- trace context


@pytest.mark.req("PXW-REQ-031")
async def test_the_trace_is_kept_and_told_in_everything(bench: Bench) -> None:
    jobs = await bench.open(recent_limit=0)
    submitted = await jobs.submit("anonymous", "star", "txt2img", bench.tail("star"), trace=TRACE)
    assert submitted.status.traceparent == TRACE.traceparent
    follower = await bench.follow("star")
    await bench.farm.running("star")
    bench.engine.finish("star")
    await follower.until("succeeded")
    told = [event.status.traceparent for event in follower.events if isinstance(event, StateChanged)]
    assert set(told) == {TRACE.traceparent}
    again = await jobs.submit("anonymous", "star", "txt2img", bench.tail("star"), trace=Trace("00-other"))
    assert again.status.traceparent == TRACE.traceparent  # of the submit that made the job
    await jobs.close()
    jobs = await bench.open()
    assert (await bench.status("star")).traceparent == TRACE.traceparent
    row = await jobs._store.journal.find("anonymous", "star")
    assert row is not None
    assert row.tracestate == TRACE.tracestate


async def test_uploads_carry_a_trace(bench: Bench) -> None:
    bench.farm.card = PAINTER
    jobs = await bench.open(max_resident=0)
    data = painted()
    sent = (attachment("image", data),)
    upload: Any = await jobs.begin_upload("anonymous", "star", "img2img", bench.tail("star"), sent, trace=TRACE)
    upload.write(data)
    assert (await upload.finish()).status.traceparent == TRACE.traceparent
    assert (await bench.submit("plain")).status.traceparent is None
