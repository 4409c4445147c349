"""When `send` has seen enough."""

import pytest
from wire_bytes import STATUS, frame, state

from pixwire.wire.annotate import Item, annotate
from pixwire.wire.waits import Waits
from pixwire_protocol.messages import Credit, Data, Error, Ping, Pong, Reset, Result


def item(data: bytes) -> Item:
    (found,) = annotate(data)
    return found


def sent(mode: str, *parts: bytes) -> Waits:
    waits = Waits(mode)  # type: ignore[arg-type]
    for part in parts:
        waits.sent(part)
    waits.complete = True
    return waits


@pytest.mark.parametrize(
    "answer",
    [
        frame(Result(state()), 1, end=True),
        frame(Error(770), 1, end=True),
        frame(Reset(0), 1),
        frame(Data(b""), 1, end=True),
    ],
)
def test_end_waits_for_every_stream(answer: bytes) -> None:
    waits = sent("end", STATUS)
    assert not waits.done
    waits.received(item(frame(Result(state()), 1)))
    assert not waits.done
    waits.received(item(answer))
    assert waits.done


def test_end_waits_for_every_ping_and_a_reset_of_one_s_own_is_an_end() -> None:
    waits = sent("end", STATUS, frame(Ping(b"12345678")), frame(Reset(0), 1))
    assert not waits.done
    waits.received(item(frame(Pong(b"87654321"))))
    assert not waits.done
    waits.received(item(frame(Pong(b"12345678"))))
    assert waits.done


def test_frames_that_open_nothing_are_followed_by_a_question() -> None:
    waits = sent("end", frame(Credit(1)))
    assert not waits.done
    question = waits.question()
    assert question is not None
    assert waits.question() is None
    tail = item(question).data[12:]
    assert not waits.received(item(frame(Pong(tail))))
    assert waits.done


def test_quiet_asks_until_nothing_comes_between() -> None:
    waits = sent("quiet", frame(Credit(1)))
    for noise in (True, True, False):
        question = waits.question()
        assert question is not None
        if noise:
            waits.received(item(frame(Ping(b"12345678"))))
        assert not waits.done
        waits.received(item(frame(Pong(item(question).data[12:]))))
    assert waits.done


@pytest.mark.parametrize("data", [b"\xc0", STATUS[:-1]])
def test_bytes_without_sense_are_answered_by_the_end_alone(data: bytes) -> None:
    waits = sent("end", data)
    assert waits.question() is None
    assert not waits.done
    waits.over = True
    assert waits.done


def test_none_waits_for_nothing_and_eof_for_the_end() -> None:
    assert sent("none", STATUS).done
    waits = sent("eof", STATUS)
    waits.received(item(frame(Result(state()), 1, end=True)))
    assert not waits.done
    assert waits.question() is None
