"""LIST, and requests for jobs whose results are gone."""

from typing import Any

import pytest
from door_scenes import PARAMS, answers
from memory_jobs import MODEL, MemoryJobs
from raw_client import RawClient

from pixwire_protocol.messages import Cancel, Fetch, List, Status, Submit, Watch
from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.status import JobState, ModelInfo


async def submit_some(client: RawClient, count: int) -> None:
    for stream in await client.open(*(Submit(f"j{n}", "txt2img", PARAMS) for n in range(count))):
        await client.last(stream)


async def listed(client: RawClient, **options: Any) -> dict[str, Any]:
    (stream,) = await client.open(List(what="jobs", **options))
    return await client.last(stream)


async def test_the_models_are_listed_with_what_they_can_do(client: RawClient) -> None:
    (stream,) = await client.open(List(what="models"))
    body = await client.last(stream)
    assert set(body) == {"what", "models"}
    assert [ModelInfo.from_map(model) for model in body["models"]] == [MODEL]


async def test_jobs_come_in_pages_the_newest_first(client: RawClient) -> None:
    await submit_some(client, 5)
    pages, after = [], None
    while True:
        body = await listed(client, limit=2, after=after)
        assert body["what"] == "jobs"
        pages.append([job["job"] for job in body["jobs"]])
        after = body.get("next")
        if after is None:
            break
    assert pages == [["j4", "j3"], ["j2", "j1"], ["j0"]]


async def test_only_jobs_in_the_states_asked_for(client: RawClient, jobs: MemoryJobs) -> None:
    await submit_some(client, 3)
    jobs.change("j1", JobState.SUCCEEDED, b"one", b"two")
    body = await listed(client, states=["succeeded"])
    assert [(job["job"], job["state"], job["artifacts"]) for job in body["jobs"]] == [("j1", "succeeded", 2)]
    assert "next" not in body


async def test_a_cursor_of_somebody_else_is_a_wrong_field(client: RawClient) -> None:
    (stream,) = await client.open(List(what="jobs", after="nonsense"))
    error = await client.error(stream)
    assert error.code == ErrorCode.INVALID_ARGUMENT
    assert error.details is not None
    assert error.details["field"] == "after"
    await answers(client)


@pytest.mark.parametrize("request_", [Status(job="j0"), Watch(job="j0"), Cancel(job="j0"), Fetch(job="j0")])
async def test_a_job_whose_results_are_gone_says_so(client: RawClient, jobs: MemoryJobs, request_: Status) -> None:
    await submit_some(client, 1)
    jobs.gone.add("j0")
    (stream,) = await client.open(request_)
    error = await client.error(stream)
    assert (error.code, error.name, error.processed) == (ErrorCode.JOB_EXPIRED, "JOB_EXPIRED", "yes")
