"""What a submit says of priority, time and tags: passed on as it is, refused by its name when it cannot be."""

import msgpack  # type: ignore[import-untyped]  # it ships none
import pytest
from door_scenes import PARAMS, answers
from memory_jobs import MemoryJobs
from raw_client import RawClient
from upload_scenes import IMAGE, attachment

from pixwire_protocol.header import pack_header
from pixwire_protocol.messages import List, Submit
from pixwire_protocol.registry import ErrorCode, Flag, FrameType
from pixwire_server.jobs import RequestError, Terms


@pytest.mark.req("PXW-REQ-039")
async def test_priority_times_and_tags_of_a_submit_are_passed_on(client: RawClient, jobs: MemoryJobs) -> None:
    terms = {"priority": "high", "timeout_ms": 9, "queue_ttl_ms": 8, "run_timeout_ms": 7}
    plain, full = await client.open(
        Submit("a", "txt2img", PARAMS), Submit("b", "txt2img", PARAMS, tags=("web", "night"), **terms)
    )
    for stream in (plain, full):
        await client.last(stream)
    image = attachment("image", IMAGE)
    (upload,) = await client.open(Submit("c", "img2img", PARAMS, attachments=(image,), tags=("up",), **terms))
    await jobs.until(lambda: len(jobs.terms) == 3)
    assert jobs.terms == [
        None,  # none but the defaults
        Terms(**terms, tags=("web", "night")),  # type: ignore[arg-type]
        Terms(**terms, tags=("up",)),  # type: ignore[arg-type]
    ]
    client.connection.reset(upload)
    await client.flush()
    await answers(client)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("priority", {"priority": "urgent"}),
        ("timeout_ms", {"timeout_ms": 0}),
        ("timeout_ms", {"timeout_ms": -5}),
        ("timeout_ms", {"timeout_ms": 2**31}),
        ("queue_ttl_ms", {"queue_ttl_ms": 0}),
        ("run_timeout_ms", {"run_timeout_ms": 2**63 - 1}),
        ("tags", {"tags": ["t"] * 2}),
        ("tags", {"tags": [str(number) for number in range(9)]}),
        ("tags", {"tags": [f"tag {number}" for number in range(1000)]}),
        ("tags", {"tags": [""]}),
        ("tags", {"tags": ["x" * 65]}),
        ("tags", {"tags": ["a\nb"]}),
    ],
)
async def test_absurd_terms_are_refused_by_their_name_and_nothing_is_submitted(
    client: RawClient, jobs: MemoryJobs, field: str, values: dict[str, object]
) -> None:
    """Sent by a client that checks nothing."""
    stream = client.connection.open(List("models"))
    client.connection.data_to_send()  # not sent: other bytes take its stream
    head = msgpack.packb({"job": "j", "kind": "txt2img", **values})
    await client.send_bytes(pack_header(FrameType.SUBMIT, Flag.END, stream, len(head), len(PARAMS)) + head + PARAMS)
    error = await client.error(stream)
    assert error.code == ErrorCode.INVALID_ARGUMENT
    assert error.details is not None
    assert str(error.details["field"]).startswith(field)
    assert jobs.submits == 0
    await answers(client)


@pytest.mark.req("PXW-REQ-044")
async def test_a_deadline_that_cannot_be_kept_is_refused_as_not_processed(client: RawClient, jobs: MemoryJobs) -> None:
    details = {"eta_ms": 900, "timeout_ms": 5}
    jobs.refuse = RequestError(ErrorCode.DEADLINE_EXCEEDED, "it takes longer", details)
    (stream,) = await client.open(Submit("j", "txt2img", PARAMS, timeout_ms=5))
    error = await client.error(stream)
    assert (error.code, error.retry, error.processed) == (ErrorCode.DEADLINE_EXCEEDED, "no", "no")
    assert error.details == details


@pytest.mark.req("PXW-REQ-043")
async def test_a_list_is_asked_for_by_tag(client: RawClient, jobs: MemoryJobs) -> None:
    for stream in await client.open(List("jobs", tag="web"), List("jobs"), List("models", tag="web")):
        await client.last(stream)
    assert jobs.tags == ["web", None]
