"""Every byte of an answer, one after the other: the connection ends there, or the time is over there. In memory."""

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from session_mending import mending
from session_pair import Pair, artifact, failure, generate

from pixwire.core import requests
from pixwire.core.calls import Call
from pixwire.errors import RequestTimeout
from pixwire_protocol import messages

IMAGES = [hashlib.shake_256(bytes([index])).digest(40) for index in range(2)]
PIECE = 10  # bytes of a DATA frame: an image comes in several
INFOS = [artifact(index, data) for index, data in enumerate(IMAGES)]


def whole_answer(pair: Pair, stream: int) -> bytes:
    """What a server says to a generate, from the first byte to the last."""
    pair.answer(stream, "queued", seq=1, queue_position=2)
    sent = [taken(pair)]
    pair.change(stream, "running", seq=2)
    sent.append(taken(pair))
    body = {"event": "progress", "job": "j", "seq": 3, "step": 2, "steps": 4, "attempt": 1}
    pair.server.send(stream, messages.Event(body))
    sent.append(taken(pair))
    pair.change(stream, "succeeded", seq=9, artifacts=INFOS)
    sent.append(taken(pair))
    for index, data in enumerate(IMAGES):
        pair.server.send(stream, messages.Result({"job": "j", "offset": 0, "length": len(data), **INFOS[index]}))
        sent.append(taken(pair))
        for start in range(0, len(data), PIECE):
            last = start + PIECE >= len(data)
            pair.server.send_data(stream, memoryview(data)[start : start + PIECE], last and index == len(IMAGES) - 1)
            sent.append(taken(pair))
    return b"".join(sent)


def taken(pair: Pair) -> bytes:
    found = b""
    while pair.server.has_output:
        found += b"".join(bytes(buffer) for buffer in pair.server.data_to_send())
    return found


def begun() -> tuple[Pair, Call[Any], int, bytes]:
    pair = mending()
    call = pair.begin(generate("j"), timeout=50.0)
    pair.to_server()
    ((stream, _),) = pair.requests.items()
    return pair, call, stream, whole_answer(pair, stream)


def places() -> Iterator[int]:
    yield from range(len(begun()[3]) + 1)


def serve(pair: Pair) -> tuple[int, int]:
    """Answers what the client asks after a cut, as a server with the finished job does. Returns what it asked for: how
    many bytes of images were sent anew, and how many jobs were submitted.
    """
    sent = submitted = 0
    answered: set[int] = set()
    while open_streams := sorted(set(pair.requests) - answered):
        for stream in open_streams:
            answered.add(stream)
            request = pair.requests[stream]
            submitted += isinstance(request, messages.Submit)
            if isinstance(request, messages.Fetch):
                data, first = IMAGES[request.artifact], request.offset
                assert first == 0 or request.etag == INFOS[request.artifact]["etag"]
                head = {"job": "j", "offset": first, "length": len(data) - first, **INFOS[request.artifact]}
                pair.server.send(stream, messages.Result(head))
                pair.server.send_data(stream, memoryview(data)[first:], True)
                sent += len(data) - first
            else:
                pair.answer(stream, "succeeded", seq=9, artifacts=INFOS)
                for index, data in enumerate(IMAGES):
                    pair.image(stream, index, data, end=index == len(IMAGES) - 1)
                    sent += len(data)
        pair.pump()
    return sent, submitted


@pytest.mark.req("PXW-JOB-015")
def test_a_cut_at_every_byte_costs_nothing_that_was_there_already() -> None:
    total = sum(map(len, IMAGES))
    before, announced, offsets = total, False, set()
    for place in places():
        pair, call, _, data = begun()
        pair.feed(data[:place])
        have = sum(len(image.data) for image in call.images) + (call.filling.filled if call.filling else 0)
        announced = announced or call.filling is not None
        was_done = call.done
        offsets.add(call.filling.filled if call.filling else 0)
        pair.lose()
        pair.advance(20.0)
        sent, submitted = serve(pair)
        assert [image.bytes for image in call.outcome] == IMAGES, place
        assert {image.job for image in call.outcome} == {"j"}
        assert pair.finished() == [call]
        assert not pair.faults
        assert sent == (0 if was_done else total - have), f"at byte {place}"
        assert total - have <= before, "what was received is kept"
        before = total - have
        assert submitted <= 1
        seqs = [event.seq for event in pair.emitted(call)]
        assert seqs == sorted(set(seqs))
    assert announced
    assert before == 0
    assert offsets == {0, *range(PIECE, len(IMAGES[0]), PIECE)}, "images were cut between all their frames"


def test_a_deadline_anywhere_ends_the_call_and_nothing_else() -> None:
    ended = 0
    chosen = [*places()][::-4]
    for place in chosen:
        pair, call, stream, data = begun()
        pair.feed(data[:place])
        was_done = call.done
        pair.now = 51.0  # what is fed below finds the time over already
        pair.heard(pair.session.handle_timeout(pair.now))
        assert call.done
        if not was_done:
            ended += 1
            assert isinstance(failure(call), RequestTimeout)
            assert failure(call).job == "j"
        pair.feed(data[place:])  # it was on its way
        pair.pump()
        assert pair.channel is not None
        assert not pair.channel.busy
        other = pair.begin(requests.status("k"))
        pair.pump()
        pair.answer(stream + 2, "running", end=True)
        pair.pump()
        assert other.outcome.state == "running"
        assert pair.finished() == [call, other]
        assert not pair.faults
        assert len(pair.dials) == 1, "the connection is none the worse for it"
    assert ended == len(chosen) - 1, "all but the last, when everything was there"
