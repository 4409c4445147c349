"""What a server must not do to a session: the call fails, or the connection, and nothing else."""

from collections.abc import Callable
from typing import Any

import pytest
from session_pair import Pair, artifact, failure, generate, status

from pixwire.core import requests
from pixwire.core.calls import HANDLERS, Phase
from pixwire.errors import (
    ConnectionLost,
    ProtocolViolation,
)
from pixwire_protocol import messages
from pixwire_protocol.registry import ErrorCode

PNG = bytes(range(256)) * 16
BIG = bytes(range(251)) * 4000  # a million bytes: several windows


def result(pair: Pair, body: dict[str, Any]) -> None:
    pair.server.send(1, messages.Result(body))


def image_of(pair: Pair, length: int, data: bytes) -> None:
    """A promised image that is announced with `length` bytes and has `data`."""
    pair.answer(1, "succeeded", artifacts=[artifact(0, data)])
    result(pair, {"job": "j", "offset": 0, "length": length, **artifact(0, data), "size": length})
    if data:
        pair.server.send_data(1, memoryview(data), True)


def progress_without_step(pair: Pair) -> None:
    pair.answer(1, "running")
    pair.server.send(1, messages.Event({"event": "progress", "job": "j", "seq": 1}))


def progress_with_words(pair: Pair) -> None:
    pair.answer(1, "running")
    pair.server.send(1, messages.Event({"event": "progress", "job": "j", "seq": "one", "step": 1, "steps": 2}))


def success_without_images(pair: Pair) -> None:
    pair.answer(1, "running")
    pair.change(1, "succeeded", end=True)


def announced(pair: Pair, **more: Any) -> None:
    """A promised image whose announcement has something else in it."""
    pair.answer(1, "succeeded", artifacts=[artifact(0, PNG), artifact(1, PNG)])
    result(pair, {"job": "j", "offset": 0, "length": len(PNG), **artifact(0, PNG), **more})


NONSENSE: dict[str, Callable[[Pair], None]] = {
    "status without job": lambda pair: result(pair, {"state": "queued"}),
    "unknown state": lambda pair: result(pair, status("j", "dreaming")),
    "text for a number": lambda pair: result(pair, status("j", "queued", attempt="1")),
    "progress without step": progress_without_step,
    "progress with words for numbers": progress_with_words,
    "success without images": success_without_images,
    "END before the promised images": lambda pair: pair.answer(1, "succeeded", artifacts=[artifact(0, PNG)], end=True),
    "END in the middle": lambda pair: pair.answer(1, "queued", end=True),
    "another image": lambda pair: announced(pair, artifact=1),
    "from the middle": lambda pair: announced(pair, offset=1, length=len(PNG) - 1),
    "not to the end": lambda pair: announced(pair, length=len(PNG) - 1),
    "beyond the end": lambda pair: announced(pair, length=len(PNG) + 1),
    "without an etag": lambda pair: announced(pair, etag=None),
    "a length that is no int": lambda pair: announced(pair, length=float(len(PNG))),
    "negative length": lambda pair: image_of(pair, -1, b""),
    "length beyond all bounds": lambda pair: image_of(pair, 1 << 60, b""),
    "more bytes than announced": lambda pair: image_of(pair, 2, b"xyz"),
    "fewer bytes than announced": lambda pair: image_of(pair, 2, b"x"),
}


@pytest.mark.req("PXW-STR-013")
@pytest.mark.req("PXW-REQ-027")
@pytest.mark.req("PXW-REQ-037")
@pytest.mark.req("PXW-REQ-038")
@pytest.mark.parametrize("misbehave", NONSENSE.values(), ids=NONSENSE.keys())
def test_what_makes_no_sense_fails_the_call_and_nothing_else(misbehave: Callable[[Pair], None]) -> None:
    pair = Pair()
    call, other = pair.begin(generate("j")), pair.begin(requests.status("other"))
    pair.pump()
    misbehave(pair)
    pair.pump()
    assert isinstance(failure(call), ProtocolViolation)
    resets = [(stream, m.code) for stream, m in pair.messages if isinstance(m, messages.Reset)]
    assert resets in ([], [(1, ErrorCode.PROTOCOL_ERROR)])  # none when the server has ended the stream itself
    pair.answer(3, "running", end=True)
    pair.pump()
    assert other.outcome.state == "running"
    assert pair.finished() == [call, other]


@pytest.mark.req("PXW-REQ-029")
def test_events_of_a_later_version_change_nothing() -> None:
    pair = Pair()
    call = pair.begin(generate("j"))
    pair.pump()
    pair.answer(1, "running", colour="blue")
    pair.server.send(1, messages.Event({"event": "applause", "job": "j", "seq": 2}))
    pair.succeed(1, [PNG])
    pair.pump()
    assert call.outcome[0].bytes == PNG


@pytest.mark.req("PXW-JOB-005")
def test_a_jump_in_the_numbers_is_no_error() -> None:
    pair = Pair()
    call = pair.begin(generate("j"))
    pair.pump()
    pair.answer(1, "running", seq=5)
    pair.change(1, "queued", seq=1_000_007, attempt=2)
    pair.succeed(1, [PNG])
    pair.pump()
    assert [event.seq for event in pair.emitted(call)] == [5, 1_000_007, 9]
    assert call.outcome[0].bytes == PNG


@pytest.mark.req("PXW-SEC-003")
def test_an_image_larger_than_the_limit_is_not_allocated() -> None:
    pair = Pair(max_image_bytes=1000)
    call = pair.begin(requests.fetch("j", 0))
    pair.pump()
    pair.image(1, 0, bytes(1001))
    pair.pump()
    assert isinstance(failure(call), ProtocolViolation)
    assert "1,001 bytes" in str(failure(call))


@pytest.mark.req("PXW-CON-012")
@pytest.mark.parametrize(
    "frame", [messages.Error(0x010B, "INTERNAL", "defect"), messages.GoAway(1, 0x0109, "EXCESSIVE_LOAD", "defect")]
)
def test_a_connection_error_of_the_server_ends_everything(frame: messages.Message) -> None:
    pair = Pair()
    call, later = pair.begin(generate("j")), pair.begin(generate("k"))
    pair.pump()
    pair.feed(b"".join(bytes(buffer) for buffer in messages.encode(frame)))
    error, other = failure(call), failure(later)
    assert isinstance(error, ConnectionLost)
    assert isinstance(other, ConnectionLost)
    assert "defect" in str(error)
    assert error.processed == "maybe"
    assert other.processed == ("no" if isinstance(frame, messages.GoAway) else "maybe")
    assert pair.channel is None


def test_the_table_has_no_way_out_of_done() -> None:
    assert {phase for phase, _ in HANDLERS} == set(Phase)
    call = generate()
    call.phase = Phase.DONE
    assert call.receive(messages.Result({}), True) is None
    assert call.error is None


def test_an_image_for_which_there_is_no_memory() -> None:
    """It fails its call, and not the connection (nor, in the blocking client, the thread of all connections)."""
    pair = Pair(max_image_bytes=1 << 60)
    call, other = pair.begin(requests.fetch("j", 0)), pair.begin(requests.status("j"))
    pair.pump()
    head = {"job": "j", "offset": 0, "length": 1 << 50, **artifact(0, PNG), "size": 1 << 50}
    pair.server.send(1, messages.Result(head))
    pair.answer(3, "running", end=True)
    pair.pump()
    assert "no memory for an image of 1,125,899,906,842,624 bytes" in str(failure(call))
    assert other.outcome.state == "running"
    assert pair.sent(messages.Reset)
