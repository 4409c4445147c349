"""Uploads, in memory: the bytes, the credit, early answers, and what is left when it breaks off."""

from pathlib import Path
from typing import Any

import pytest
from pictures import png
from session_pair import Pair, failure

from pixwire import arguments
from pixwire.core import requests
from pixwire.core.calls import Call
from pixwire.core.uploads import Upload
from pixwire.errors import ConnectionLost, InvalidArgument, JobConflict, QuotaExceeded, RequestTimeout
from pixwire.events import UploadProgress
from pixwire.sources import IN_MEMORY, ImageSource, prepare
from pixwire_protocol import messages
from pixwire_protocol.registry import ErrorCode

IMAGE, MASK = png(filler=700_000), png((4, 4), filler=2_000)
MIB = 1 << 20


def inpaint(image: ImageSource = IMAGE, mask: ImageSource = MASK) -> Call[Any]:
    packed = arguments.pack_params("inpaint", ("image", "mask"), "a red hat", None, strength=0.9)
    upload = Upload(prepare({"image": image, "mask": mask}))
    return requests.generate(requests.JobOrder("j", "inpaint", packed, upload), ())


def uploading(**more: Any) -> Pair:
    return Pair(**{"idle_ms": 3_600_000, "max_upload": MIB, "stream_window": 1 << 16, **more})


def data(pair: Pair) -> bytes:
    return b"".join(bytes(message.tail) for message in pair.sent(messages.Data))


def give_credit(pair: Pair, stream: int = 1, most: int = 1 << 40) -> None:
    """The server takes in what came, and what comes then, up to `most` bytes."""
    taken = 0
    while taken < len(data(pair)) and taken < most:
        count = len(data(pair)) - taken
        pair.server.consumed(stream, count)
        taken += count
        pair.pump()


def test_the_bytes_follow_the_request_as_the_server_takes_them() -> None:
    pair = uploading()
    call = pair.begin(inpaint())
    pair.pump()
    (submit,) = pair.sent(messages.Submit)
    assert [(a.name, a.size, a.media_type) for a in submit.attachments] == [
        ("image", len(IMAGE), "image/png"),
        ("mask", len(MASK), "image/png"),
    ]
    assert len(data(pair)) == 1 << 16, "the stream's window and no more"
    assert not call.done
    give_credit(pair)
    assert data(pair) == IMAGE + MASK
    pair.answer(1, "queued")
    pair.succeed(1, [b"done"])
    pair.pump()
    assert call.outcome[0].bytes == b"done"
    assert not pair.faults


def test_progress_tells_what_has_left() -> None:
    pair = uploading()
    call = pair.begin(inpaint())
    pair.pump()
    give_credit(pair)
    told = [event for event in pair.emitted(call) if isinstance(event, UploadProgress)]
    total = len(IMAGE) + len(MASK)
    assert [event.sent for event in told] == sorted({event.sent for event in told})
    assert (told[0].sent <= 1 << 16, told[-1].sent, told[-1].total) == (True, total, total)


def test_two_uploads_share_the_connection() -> None:
    pair = uploading()
    other = arguments.pack_params("img2img", ("image",), "a hat", None)
    first = pair.begin(inpaint())
    second = pair.begin(requests.submit(requests.JobOrder("k", "img2img", other, Upload(prepare({"image": MASK})))))
    pair.pump()
    pair.answer(3, "queued", end=True)
    pair.pump()
    assert second.outcome.state == "queued"
    assert not first.done


def test_an_early_result_stops_the_upload() -> None:
    pair = uploading()
    call = pair.begin(inpaint())
    pair.pump()
    before = len(data(pair))
    pair.answer(1, "running", duplicate=True)
    pair.succeed(1, [b"done"])
    pair.pump()
    assert call.outcome[0].bytes == b"done"
    assert call.duplicate
    assert len(data(pair)) == before
    assert not pair.faults


@pytest.mark.parametrize(
    ("code", "error"), [(ErrorCode.JOB_CONFLICT, JobConflict), (ErrorCode.QUOTA_EXCEEDED, QuotaExceeded)]
)
def test_an_early_error_stops_the_upload(code: ErrorCode, error: type[Exception]) -> None:
    pair = uploading()
    call = pair.begin(inpaint())
    pair.pump()
    pair.server.send_error(1, code, "no")
    pair.pump()
    assert isinstance(failure(call), error)
    give_credit(pair)
    assert len(data(pair)) == 1 << 16
    assert not pair.sent(messages.Reset)


@pytest.mark.parametrize("how", ["abandon", "timeout"])
def test_giving_up_resets_the_stream(how: str) -> None:
    pair = uploading()
    call = pair.begin(inpaint(), 1.0)
    pair.pump()
    if how == "abandon":
        pair.abandon(call)
    else:
        pair.advance(1.0)
        assert isinstance(failure(call), RequestTimeout)
    pair.pump()
    assert len(pair.sent(messages.Reset)) == 1
    give_credit(pair)
    assert len(data(pair)) == 1 << 16
    assert not pair.faults
    again = pair.begin(inpaint())
    pair.pump()
    assert not again.done
    assert len(data(pair)) == 2 << 16, "the credit of the first is back"


@pytest.mark.req("PXW-UPL-016")
@pytest.mark.parametrize(("most", "says"), [(1000, "at most 1,000 bytes"), (0, "no images at all")])
def test_what_the_server_does_not_take_is_not_announced(most: int, says: str) -> None:
    pair = uploading(max_upload=most)
    call = pair.begin(inpaint())
    pair.pump()
    error = failure(call)
    assert isinstance(error, InvalidArgument)
    assert (error.field, error.value) == ("attachments[0].size", len(IMAGE))
    assert says in str(error)
    assert not pair.sent(messages.Submit)
    assert pair.finished() == [call]


@pytest.mark.parametrize(("stage", "processed"), [("half", "no"), ("whole", "maybe"), ("answered", "yes")])
def test_what_is_known_when_the_connection_breaks(stage: str, processed: str) -> None:
    pair = uploading()
    call = pair.begin(inpaint())
    pair.pump()
    if stage != "half":
        give_credit(pair)
    if stage == "answered":
        pair.answer(1, "queued")
        pair.pump()
    pair.lose()
    error = failure(call)
    assert isinstance(error, ConnectionLost)
    assert error.processed == processed


def test_an_upload_begins_again_with_its_first_byte() -> None:
    pair = uploading(mend=True)
    call = pair.begin(inpaint())
    pair.pump()
    give_credit(pair, most=1 << 16)
    first = len(data(pair))
    assert 0 < first < len(IMAGE) + len(MASK)
    pair.lose()
    pair.messages.clear()
    pair.advance(10.0)
    give_credit(pair)
    assert data(pair) == IMAGE + MASK
    pair.answer(1, "queued")
    pair.lose()
    pair.messages.clear()
    pair.advance(10.0)
    assert len(pair.sent(messages.Submit)) == 1, "its answer did not arrive"
    pair.answer(1, "queued", duplicate=True)
    pair.pump()
    pair.lose()
    pair.messages.clear()
    pair.advance(10.0)
    assert pair.sent(messages.Submit) == []
    assert len(pair.sent(messages.Watch)) == 1
    assert not call.done


def test_a_source_that_breaks_breaks_the_call_alone(tmp_path: Path) -> None:
    pair = uploading(max_upload=16 * MIB)
    path = tmp_path / "large.png"
    path.write_bytes(png(filler=IN_MEMORY))
    call, other = pair.begin(inpaint(path)), pair.begin(requests.status("k"))
    pair.pump()
    path.unlink()
    give_credit(pair)
    error = failure(call)
    assert isinstance(error, InvalidArgument)
    assert "cannot be read any more" in str(error)
    assert [reset.code for reset in pair.sent(messages.Reset)] == [ErrorCode.NO_ERROR]
    pair.answer(3, "running", end=True)
    pair.pump()
    assert other.outcome.state == "running"
    assert pair.finished() == [call, other]
