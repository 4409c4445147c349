"""Jobs with attachments: accepted when everything is on disk, answered early when nothing is needed, and otherwise as
if nothing had been sent.
"""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pixwire_protocol.params import fingerprint
from pixwire_protocol.registry import ErrorCode
from pixwire_server.jobs import RequestError, Submitted, Upload
from pixwire_server.store import StoreFullError

from .conftest import CARD, PAINTER, Bench, attachment, painted

IMAGE, MASK = painted(100, 60), painted(100, 60, seed=1)


@pytest.fixture
async def painter(bench: Bench) -> Bench:
    bench.farm.card = PAINTER
    return bench


async def refused(future: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        await future
    return caught.value


def refused_at_once(begin: Any, *arguments: Any, **options: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        begin(*arguments, **options)
    return caught.value


async def unknown(bench: Bench, job: str) -> bool:
    return (await refused(bench.status(job))).code is ErrorCode.JOB_NOT_FOUND


@pytest.mark.req("PXW-UPL-010")
async def test_a_job_begins_with_the_image_that_was_sent(painter: Bench) -> None:
    await painter.open()
    submitted = await painter.send("star", IMAGE, MASK)
    assert (submitted.duplicate, submitted.status.state) == (False, "queued")
    assert painter.files == sorted([IMAGE, MASK])
    await painter.farm.running("star")
    [task] = painter.engine.tasks.values()
    assert (task.kind, task.width, task.height, task.strength) == ("inpaint", 96, 56, 1.0)
    assert [(one.name, one.media_type) for one in task.inputs] == [("image", "image/png"), ("mask", "image/png")]
    assert [Path(one.path).read_bytes() for one in task.inputs] == [IMAGE, MASK]
    assert all(Path(one.path).is_absolute() for one in task.inputs)


@pytest.mark.req("PXW-DRN-007")
async def test_an_upload_that_was_begun_goes_on_while_the_server_drains(painter: Bench) -> None:
    jobs = await painter.open(max_resident=0)
    upload = await painter.begin("star", attachment("image", IMAGE))
    assert isinstance(upload, Upload)
    await jobs.drain(0)
    assert (await refused(painter.begin("late", attachment("image", MASK)))).code is ErrorCode.DRAINING
    upload.write(IMAGE)
    assert (await upload.finish()).status.state == "queued"
    await jobs.close()
    await painter.open(max_resident=0)
    assert (await painter.status("star")).attachments == (attachment("image", IMAGE),)


async def test_status_shows_what_was_sent_and_events_do_not(painter: Bench) -> None:
    await painter.open(max_resident=0)
    submitted = await painter.send("star", IMAGE)
    assert submitted.status.attachments == ()
    assert (await painter.status("star")).attachments == (attachment("image", IMAGE),)
    assert (await painter.status("star", with_params=False)).attachments == ()


@pytest.mark.req("PXW-UPL-009")
async def test_nothing_is_visible_before_the_end(painter: Bench) -> None:
    await painter.open(max_resident=0)
    upload = await painter.begin("star", attachment("image", IMAGE))
    assert isinstance(upload, Upload)
    assert upload.size == len(IMAGE)
    await upload.write(IMAGE)
    assert await unknown(painter, "star")
    assert painter.jobs.queued == 0
    assert not (await upload.finish()).duplicate
    assert painter.jobs.queued == 1


async def test_the_finish_may_overtake_the_writes(painter: Bench) -> None:
    await painter.open(max_resident=0)
    upload = await painter.begin("star", attachment("image", IMAGE), attachment("mask", MASK), kind="inpaint")
    whole = memoryview(IMAGE + MASK)
    writes = [upload.write(whole[start : start + 1000]) for start in range(0, len(whole), 1000)]
    assert (await upload.finish()).status.state == "queued"
    assert all(write.done() for write in writes)


@pytest.mark.req("PXW-UPL-009")
@pytest.mark.parametrize("sent", [0, 1, len(IMAGE) - 1, len(IMAGE)])
async def test_an_upload_that_is_given_up_leaves_nothing(painter: Bench, sent: int) -> None:
    await painter.open(max_resident=0)
    upload = await painter.begin("star", attachment("image", IMAGE))
    upload.write(IMAGE[:sent])
    upload.abort()
    upload.abort()  # harmless
    with pytest.raises(RuntimeError, match="over"):
        upload.write(b"x")
    await painter.idle()
    assert painter.files == []
    assert await unknown(painter, "star")
    assert painter.jobs._uploads.reserved == 0
    assert not (await painter.send("star", IMAGE)).duplicate


async def test_what_the_caller_does_wrong_is_said_at_once(painter: Bench) -> None:
    await painter.open(max_resident=0)
    upload = await painter.begin("star", attachment("image", IMAGE))
    with pytest.raises(ValueError, match="1 bytes more than were announced"):
        upload.write(IMAGE + b"x")
    upload.write(IMAGE[:-1])
    with pytest.raises(ValueError, match="1 bytes are missing"):
        upload.finish()
    upload.write(IMAGE[-1:])
    await upload.finish()
    with pytest.raises(RuntimeError, match="over"):
        upload.finish()


async def test_giving_up_the_answer_keeps_the_job(painter: Bench) -> None:
    await painter.open(max_resident=0)
    upload = await painter.begin("star", attachment("image", IMAGE))
    upload.write(IMAGE)
    upload.finish().cancel()
    await painter.idle()
    assert (await painter.status("star")).state == "queued"


async def test_an_upload_that_nobody_waits_for_is_given_up(painter: Bench) -> None:
    await painter.open(max_resident=0)
    beginning = painter.begin("star", attachment("image", IMAGE))
    beginning.cancel()
    await painter.idle()
    assert painter.jobs._uploads.reserved == 0


# ------------------------------------------------------------------------------------------- early answers


async def test_a_known_job_needs_no_bytes(painter: Bench) -> None:
    await painter.open(max_resident=0, recent_limit=0)
    first = await painter.send("star", IMAGE)
    again = painter.begin("star", attachment("image", IMAGE))
    assert again.result() == Submitted(first.status, True)
    await painter.cancel("star")  # now it is in the journal only
    assert (await painter.begin("star", attachment("image", IMAGE))).status.state == "cancelled"


@pytest.mark.req("PXW-UPL-017")
async def test_other_bytes_are_another_request(painter: Bench) -> None:
    await painter.open(max_resident=0)
    await painter.send("star", IMAGE)
    assert (await refused(painter.begin("star", attachment("image", MASK)))).code is ErrorCode.JOB_CONFLICT
    [row] = await painter.jobs._store.journal.page("anonymous", 99, ["queued"], 9)
    assert row.fingerprint == fingerprint("img2img", painter.tail("star"), [attachment("image", IMAGE)])
    assert row.fingerprint != fingerprint("img2img", painter.tail("star"), [attachment("image", MASK)])


async def test_what_this_principal_has_sent_before_is_not_sent_again(painter: Bench) -> None:
    await painter.open(max_resident=0)
    await painter.send("star", IMAGE, MASK)
    early = await painter.begin("moon", attachment("image", MASK))
    assert isinstance(early, Submitted)
    assert not early.duplicate
    assert (await painter.status("moon")).params["width"] == 96
    partly = attachment("image", IMAGE), attachment("mask", painted(seed=9))
    assert isinstance(await painter.begin("sun", *partly, kind="inpaint"), Upload)  # all of them, or all bytes


async def test_what_another_principal_has_sent_is_not_known(painter: Bench) -> None:
    """Whoever guesses or learns a hash gets neither the image nor the news that it is here."""
    await painter.open(max_resident=0)
    await painter.send("star", IMAGE)
    upload = await painter.begin("star", attachment("image", IMAGE), principal="mallory")
    assert isinstance(upload, Upload)
    upload.abort()
    await painter.idle()
    assert painter.files == [IMAGE]
    assert not (await painter.send("star", IMAGE, principal="bob")).duplicate
    assert painter.files == [IMAGE]  # bob has shown that he has it; it is kept once


async def test_a_stored_attachment_is_looked_at_again(painter: Bench) -> None:
    await painter.open(max_resident=0)
    await painter.send("star", IMAGE)
    error = await refused(painter.begin("moon", attachment("image", IMAGE, "image/webp")))
    assert (error.code, error.details["field"]) == (ErrorCode.INVALID_ARGUMENT, "attachments[0].media_type")
    assert await unknown(painter, "moon")


async def test_a_stored_attachment_whose_file_is_lost_is_sent_again(painter: Bench) -> None:
    jobs = await painter.open(max_resident=0)
    await painter.send("star", IMAGE)
    jobs._store.attachments.path(attachment("image", IMAGE).sha256).unlink()
    assert (await painter.send("moon", IMAGE)).status.state == "queued"
    assert painter.files == [IMAGE]


@pytest.mark.req("PXW-REQ-003")
async def test_two_uploads_of_one_job_make_one_job(painter: Bench) -> None:
    """A client whose connection died sends everything again while the server waits for the old one."""
    await painter.open(max_resident=0)
    first, second = [await painter.begin("star", attachment("image", IMAGE)) for _ in range(2)]
    first.write(IMAGE)
    second.write(IMAGE)
    answers = await asyncio.gather(first.finish(), second.finish())
    assert sorted(answer.duplicate for answer in answers) == [False, True]
    assert painter.jobs.queued == 1
    await painter.idle()
    assert painter.files == [IMAGE]


async def test_an_upload_overtaken_by_another_request_of_its_id_is_a_conflict(painter: Bench) -> None:
    await painter.open(max_resident=0)
    upload = await painter.begin("star", attachment("image", IMAGE))
    await painter.submit("moon", "star")
    upload.write(IMAGE)
    assert (await refused(upload.finish())).code is ErrorCode.JOB_CONFLICT
    await painter.idle()
    assert painter.files == []


@pytest.mark.req("PXW-JOB-019")
@pytest.mark.parametrize("known", [False, True], ids=["sent", "known"])
async def test_nobody_removes_what_is_about_to_belong_to_a_job(painter: Bench, known: bool) -> None:
    """The only other job with this image goes between the moment it was found and the entry in the journal."""
    jobs = await painter.open(max_resident=0, retain_s=10)
    await painter.send("star", IMAGE)
    await painter.cancel("star")
    real, sweeps, entering = jobs._store.journal.enter, [], []

    async def later(*arguments: Any) -> None:
        painter.wall += 10_000
        await jobs._sweeper.sweep()
        sweeps.append(painter.files)
        real(*arguments)

    jobs._store.journal.enter = lambda *arguments: entering.append(asyncio.ensure_future(later(*arguments)))
    if known:
        assert isinstance(await painter.begin("moon", attachment("image", IMAGE)), Submitted)
    else:
        await painter.send("moon", IMAGE, principal="bob")
    assert sweeps == [[IMAGE]]
    await painter.idle()
    assert painter.files == [IMAGE]


# ------------------------------------------------------------------------------------------- refusals


@pytest.mark.req("PXW-UPL-014")
async def test_other_bytes_than_announced(painter: Bench) -> None:
    await painter.open(max_resident=0)
    other = bytes(len(MASK))
    upload = await painter.begin("star", attachment("image", IMAGE), attachment("mask", MASK), kind="inpaint")
    writing, finishing = upload.write(IMAGE + other), upload.finish()
    for error in (await refused(writing), await refused(finishing)):
        assert error.code is ErrorCode.INVALID_ARGUMENT
        assert error.details["field"] == "attachments[1].sha256"
        assert error.details["value"] == attachment("mask", MASK).sha256
        assert error.details["allowed"] == attachment("mask", other).sha256
    await painter.idle()
    assert painter.files == []
    assert await unknown(painter, "star")


@pytest.mark.req("PXW-UPL-015")
@pytest.mark.parametrize(
    ("data", "announced"),
    [
        (painted(kind="JPEG"), "image/png"),
        (painted(kind="GIF"), "image/png"),
        (b"no image at all", "image/png"),
        (IMAGE[:20], "image/png"),
        (painted(kind="PNG"), "image/jpeg"),
    ],
)
async def test_bytes_that_are_no_image_of_their_type(painter: Bench, data: bytes, announced: str) -> None:
    await painter.open(max_resident=0)
    upload = await painter.begin("star", attachment("image", data, announced))
    error = await refused(upload.write(data))
    assert (error.code, error.details["field"]) == (ErrorCode.INVALID_ARGUMENT, "attachments[0].media_type")
    with pytest.raises(RuntimeError):
        upload.finish()  # it is over by itself
    await painter.idle()
    assert painter.files == []
    assert painter.jobs._uploads.reserved == 0


@pytest.mark.req("PXW-UPL-013")
async def test_what_is_wrong_before_the_first_byte(painter: Bench) -> None:
    await painter.open(max_resident=0, max_upload_bytes=1000)
    image, mask = attachment("image", b"x"), attachment("mask", b"y")
    for sent, options, field in (
        ([replace(image, size=1001)], {}, "attachments[0].size"),
        ([image, replace(mask, media_type="image/gif")], {"kind": "inpaint"}, "attachments[1].media_type"),
        ([image], {"kind": "inpaint"}, "attachments"),
        ([image, mask], {}, "attachments"),
        ([image], {"kind": "txt2img"}, "attachments"),
        ([image, replace(mask, name="control")], {}, "attachments"),
        ([image], {"strength": 0}, "strength"),
        ([image], {"control_scale": 1.0}, "control_scale"),
        ([image], {"prompt_": "x"}, "prompt_"),
    ):
        error = refused_at_once(painter.begin, "star", *sent, **options)
        assert (error.code, error.details["field"]) == (ErrorCode.INVALID_ARGUMENT, field)
        assert error.details.keys() >= {"value", "allowed"}
    assert (
        refused_at_once(painter.jobs.submit, "p", "j", "img2img", painter.tail("star")).details["field"]
        == "attachments"
    )
    assert painter.jobs._uploads.reserved == 0


async def test_a_kind_that_the_model_cannot_do(bench: Bench) -> None:
    bench.farm.card = CARD
    await bench.open(max_resident=0)
    error = refused_at_once(bench.begin, "star", attachment("image", b"x"))
    assert (error.code, error.details["allowed"]) == (ErrorCode.UNSUPPORTED, ["txt2img"])


async def test_too_few_steps_for_the_strength(painter: Bench) -> None:
    await painter.open(max_resident=0)
    error = await refused(painter.send("star", IMAGE, steps=5, strength=0.1))
    assert error.details["field"] == "strength"
    await painter.idle()
    assert painter.files == []
    assert (await painter.send("moon", IMAGE, steps=20, strength=0.5)).status.steps == 10


@pytest.mark.req("PXW-UPL-012")
async def test_all_uploads_together_are_bounded(painter: Bench) -> None:
    await painter.open(max_resident=0, upload_bytes=len(IMAGE) + 10)
    first = await painter.begin("one", attachment("image", IMAGE))
    error = await refused(painter.begin("two", attachment("image", MASK)))
    assert (error.code, error.details["field"]) == (ErrorCode.QUOTA_EXCEEDED, "attachments")
    assert error.retry_after_ms is not None
    first.write(IMAGE)
    await first.finish()
    await painter.idle()
    assert (await painter.send("two", painted(40, 40))).status.state == "queued"
    assert painter.jobs.queued == 2


async def test_a_queue_that_filled_up_meanwhile(painter: Bench) -> None:
    await painter.open(max_resident=0, queue_limit=1)
    upload = await painter.begin("star", attachment("image", IMAGE))
    await painter.submit("moon")
    upload.write(IMAGE)
    assert (await refused(upload.finish())).code is ErrorCode.QUEUE_FULL
    await painter.idle()
    assert painter.files == []
    assert (await refused(painter.begin("star", attachment("image", IMAGE)))).code is ErrorCode.QUEUE_FULL


async def test_a_full_disk_is_said_and_service_goes_on(painter: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = await painter.open(max_resident=0)

    def full(self: Any, data: memoryview) -> memoryview:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pixwire_server.store.attachments._Part.take", full)
        upload = await painter.begin("star", attachment("image", IMAGE))
        error = await refused(upload.write(IMAGE))
    assert (error.code, error.retry_after_ms) == (ErrorCode.QUEUE_FULL, 5000)
    assert "disk" in error.message
    await painter.idle()
    assert painter.files == []

    def no_room(told: Any, *arguments: Any) -> None:
        told(None, StoreFullError("database or disk is full"))

    with monkeypatch.context() as patch:
        patch.setattr(jobs._store.journal, "enter", no_room, raising=False)
        assert (await refused(painter.send("star", IMAGE))).code is ErrorCode.QUEUE_FULL
    await painter.idle()
    assert painter.files == []
    assert not (await painter.send("star", IMAGE)).duplicate


# ------------------------------------------------------------------------------------------- life


async def test_a_server_that_ends_gives_up_what_is_under_way(painter: Bench) -> None:
    jobs = await painter.open(max_resident=0)
    upload = await painter.begin("star", attachment("image", IMAGE))
    await upload.write(IMAGE[:100])
    await jobs.close()
    assert painter.files == []


@pytest.mark.req("PXW-JOB-003")
async def test_after_a_restart_the_job_runs_with_its_image(painter: Bench) -> None:
    jobs = await painter.open(max_resident=0)
    await painter.send("star", IMAGE, seed=5)
    before = await painter.status("star")
    await jobs.close()
    await painter.open()
    await painter.farm.running("star")
    [task] = painter.engine.tasks.values()
    assert [Path(one.path).read_bytes() for one in task.inputs] == [IMAGE]
    assert (task.kind, task.strength, task.seed) == ("img2img", 0.7, 5)
    after = await painter.status("star")
    assert (after.params, after.attachments) == (before.params, before.attachments)


async def test_a_job_for_a_model_that_cannot_do_it_any_more_fails(painter: Bench) -> None:
    jobs = await painter.open(max_resident=0)
    await painter.send("star", IMAGE)
    await jobs.close()
    painter.farm.card = CARD
    await painter.open()
    follower = await painter.follow("star")
    if not follower.watch.snapshot.state.terminal:
        await follower.until("failed")
    assert (await painter.status("star")).error.name == "UNSUPPORTED"
