"""Calls that outlive their connections, in memory: what is asked again, and what a server that forgot means."""

from collections.abc import Callable
from typing import Any

import pytest
from session_mending import BIG, PNG, announce, half_an_image, mending, only, reconnect
from session_pair import artifact, failure, generate, order

from pixwire.core import requests
from pixwire.core.calls import Call
from pixwire.errors import (
    ArtifactChanged,
    JobLost,
    JobNotFound,
    ProtocolViolation,
)
from pixwire.events import StateChange
from pixwire_protocol import messages
from pixwire_protocol.registry import ErrorCode

# --- what is asked again


@pytest.mark.req("PXW-REQ-006")
def test_a_submit_without_answer_is_sent_again_byte_for_byte() -> None:
    pair = mending()
    call = pair.begin(requests.submit(order("j-1", "a green star")))
    for _ in range(3):
        pair.to_server()
        reconnect(pair)
    stream, _ = only(pair)
    pair.answer(stream, "queued", end=True, duplicate=True)
    pair.pump()
    assert call.outcome.job == "j-1"
    assert call.duplicate
    submits = pair.sent(messages.Submit)
    assert len(submits) == 4
    assert len({(submit.job, submit.kind, bytes(submit.tail)) for submit in submits}) == 1
    assert pair.finished() == [call]


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda: requests.status("j"), messages.Status),
        (lambda: requests.cancel("j", "late"), messages.Cancel),
        (lambda: requests.watch("j", ()), messages.Watch),
        (lambda: requests.models(), messages.List),
        (lambda: requests.jobs(7, "cursor", ("running",)), messages.List),
    ],
)
def test_everything_without_an_answer_is_asked_again(call: Callable[[], Call[Any]], kind: type) -> None:
    pair = mending()
    pair.begin(call())
    pair.to_server()
    first = only(pair)[1]
    reconnect(pair)
    assert only(pair)[1] == first
    assert isinstance(first, kind)


@pytest.mark.req("PXW-DRN-013")
def test_a_job_that_is_followed_is_followed_on() -> None:
    pair = mending()
    call = pair.begin(generate("j"))
    pair.pump()
    pair.answer(1, "queued", seq=1)
    pair.change(1, "running", seq=2)
    pair.server.send(1, messages.Event({"event": "progress", "job": "j", "seq": 5, "step": 2, "steps": 4}))
    pair.pump()
    reconnect(pair)
    stream, watch = only(pair)
    assert watch == messages.Watch("j", after_seq=5, want=("progress", "preview"), deliver=True)
    pair.answer(stream, "running", seq=5, step=2)
    pair.pump()
    pair.server.send(stream, messages.Event({"event": "progress", "job": "j", "seq": 6, "step": 3, "steps": 4}))
    pair.pump()
    pair.succeed(stream, [PNG])
    pair.pump()
    assert [event.seq for event in pair.emitted(call)] == [1, 2, 5, 6, 9]
    assert call.outcome[0].bytes == PNG


def test_what_happened_meanwhile_is_heard() -> None:
    pair = mending()
    call = pair.begin(requests.watch("j", ()))
    pair.pump()
    pair.answer(1, "running", seq=2)
    pair.pump()
    reconnect(pair)
    stream, _ = only(pair)
    pair.answer(stream, "queued", seq=1_000_003, attempt=2)
    pair.pump()
    queued = pair.emitted(call)[-1]
    assert isinstance(queued, StateChange)
    assert (queued.state, queued.status.attempt) == ("queued", 2)
    reconnect(pair)
    stream, watch = only(pair)
    assert watch.after_seq == 1_000_003
    pair.answer(stream, "cancelled", seq=1_000_009, end=True)
    pair.pump()
    assert call.outcome.state == "cancelled"


@pytest.mark.req("PXW-DRN-012")
@pytest.mark.req("PXW-JOB-015")
@pytest.mark.parametrize("make", [generate, lambda: requests.fetch("j", 0)], ids=["generate", "fetch"])
def test_an_image_goes_on_at_the_missing_byte_under_its_etag(make: Callable[[], Call[Any]]) -> None:
    pair = mending()
    call = pair.begin(make())
    pair.pump()
    half_an_image(pair, call)
    buffer = call.filling.buffer if call.filling is not None else None
    reconnect(pair)
    stream, fetch = only(pair)
    etag = artifact(0, BIG)["etag"]
    assert fetch == messages.Fetch("j", 0, 5000, etag=etag)
    announce(pair, stream, 0, BIG, 5000)
    pair.server.send_data(stream, memoryview(BIG)[5000:], True)
    pair.pump()
    image = call.outcome if call.operation == "image" else call.outcome[0]
    assert image.bytes == BIG
    assert image.data.obj is buffer
    assert pair.finished() == [call]


def test_the_rest_of_an_image_is_read_straight_into_its_place() -> None:
    pair = mending()
    call = pair.begin(requests.fetch("j", 0))
    pair.pump()
    half_an_image(pair, call)
    reconnect(pair)
    announce(pair, only(pair)[0], 0, BIG, 5000)
    pair.server.send_data(only(pair)[0], memoryview(BIG)[5000:], True)
    sent = b""
    while pair.server.has_output:
        sent += b"".join(pair.server.data_to_send())
    pair.feed(sent[:2000])
    assert call.filling is not None
    assert pair.channel is not None
    assert pair.session.get_buffer(pair.channel, 1).obj is call.filling.buffer


@pytest.mark.req("PXW-JOB-015")
@pytest.mark.parametrize("how", ["error", "announcement"])
def test_bytes_of_another_etag_are_not_joined(how: str) -> None:
    pair = mending()
    call = pair.begin(requests.fetch("j", 0))
    pair.pump()
    half_an_image(pair, call)
    reconnect(pair)
    stream, _ = only(pair)
    other = bytes(len(BIG))
    if how == "error":
        pair.server.send_error(stream, ErrorCode.ARTIFACT_CHANGED, "another one now")
    else:  # a server that does not look at the etag
        announce(pair, stream, 0, other, 5000)
        pair.server.send_data(stream, memoryview(other)[5000:], True)
    pair.pump()
    again, fetch = max(pair.requests.items())
    assert again != stream
    assert fetch == messages.Fetch("j", 0)
    announce(pair, again, 0, other)
    pair.server.send_data(again, memoryview(other), True)
    pair.pump()
    assert call.outcome.bytes == other


def test_an_image_that_changes_for_ever_is_given_up() -> None:
    pair = mending()
    call = pair.begin(requests.fetch("j", 0))
    pair.pump()
    for turn in range(10):
        if call.done:
            break
        stream, fetch = max(pair.requests.items())
        announce(pair, stream, 0, BIG, fetch.offset, etag=f"etag-{turn}")
        if fetch.offset == 0:
            pair.server.send_data(stream, memoryview(BIG)[:100], False)
            pair.pump()
            reconnect(pair)
        else:
            pair.pump()
    assert isinstance(failure(call), ProtocolViolation | ArtifactChanged)


def test_the_images_after_the_one_that_was_cut_are_fetched() -> None:
    pair = mending()
    call = pair.begin(generate("j"))
    pair.pump()
    infos = [artifact(index, data) for index, data in enumerate((PNG, BIG, PNG))]
    pair.answer(1, "succeeded", artifacts=infos)
    pair.image(1, 0, PNG, end=False)
    announce(pair, 1, 1, BIG)
    pair.pump()
    reconnect(pair)
    stream, fetch = only(pair)
    assert (fetch.artifact, fetch.offset, fetch.etag) == (1, 0, infos[1]["etag"])
    announce(pair, stream, 1, BIG)
    pair.server.send_data(stream, memoryview(BIG), True)
    pair.pump()
    stream, fetch = max(pair.requests.items())
    assert (fetch.artifact, fetch.offset, fetch.etag) == (2, 0, infos[2]["etag"])
    reconnect(pair)
    stream, again = only(pair)
    assert again == fetch
    announce(pair, stream, 2, PNG)
    pair.server.send_data(stream, memoryview(PNG), True)
    pair.pump()
    assert [image.bytes for image in call.outcome] == [PNG, BIG, PNG]
    assert [image.index for image in call.outcome] == [0, 1, 2]


def test_between_the_end_of_the_job_and_its_first_image() -> None:
    pair = mending()
    call = pair.begin(generate("j"))
    pair.pump()
    pair.answer(1, "succeeded", artifacts=[artifact(0, PNG)])
    pair.pump()
    reconnect(pair)
    stream, fetch = only(pair)
    assert fetch == messages.Fetch("j", 0, etag=artifact(0, PNG)["etag"])
    announce(pair, stream, 0, PNG)
    pair.server.send_data(stream, memoryview(PNG), True)
    pair.pump()
    assert call.outcome[0].bytes == PNG


# --- a server that forgot


@pytest.mark.req("PXW-DRN-011")
@pytest.mark.parametrize(
    ("identity", "error", "says"),
    [
        ({"epoch": "e-2"}, JobLost, "started anew"),
        ({"server_id": "other"}, JobLost, "now 'other' answers"),
        ({}, JobNotFound, "no such job"),
    ],
)
def test_a_job_the_server_lost_is_told_and_not_submitted_anew(
    identity: dict[str, str], error: type[JobNotFound], says: str
) -> None:
    pair = mending()
    call = pair.begin(generate("j"))
    pair.pump()
    pair.answer(1, "running")
    pair.pump()
    pair.server_settings |= identity
    reconnect(pair)
    stream, _ = only(pair)
    pair.server.send_error(stream, ErrorCode.JOB_NOT_FOUND, "no such job")
    pair.pump()
    assert type(failure(call)) is error
    assert says in str(failure(call))
    assert len(pair.sent(messages.Submit)) == 1
    if isinstance(call.error, JobLost):
        assert call.error.job == "j"
        assert call.error.status is not None


def test_an_unanswered_submit_may_go_to_another_server() -> None:
    pair = mending()
    call = pair.begin(requests.submit(order("j")))
    pair.to_server()
    pair.server_settings |= {"server_id": "other"}
    reconnect(pair)
    pair.answer(only(pair)[0], "queued", end=True)
    pair.pump()
    assert call.outcome.state == "queued"
    later = pair.begin(requests.status("j", call.known_at))
    pair.pump()
    pair.server_settings |= {"server_id": "third"}
    reconnect(pair)
    pair.server.send_error(only(pair)[0], ErrorCode.JOB_NOT_FOUND, "no such job")
    pair.pump()
    assert isinstance(failure(later), JobLost)


def test_every_image_of_a_job_may_be_another_one() -> None:
    """What is bounded is how often one image changes."""
    pair = mending()
    call = pair.begin(generate("j"))
    pair.pump()
    old = [artifact(index, b"old %d" % index) for index in range(5)]
    pair.answer(1, "succeeded", artifacts=old)
    pair.pump()
    reconnect(pair)
    for index in range(5):
        stream, fetch = max(pair.requests.items())
        assert fetch == messages.Fetch("j", index, etag=old[index]["etag"])
        pair.server.send_error(stream, ErrorCode.ARTIFACT_CHANGED, "another one")
        pair.pump()
        stream, fetch = max(pair.requests.items())
        assert fetch == messages.Fetch("j", index)
        announce(pair, stream, index, PNG)
        pair.server.send_data(stream, memoryview(PNG), True)
        pair.pump()
    assert [image.bytes for image in call.outcome] == [PNG] * 5
