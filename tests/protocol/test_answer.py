"""answer(): a RESULT whose map is packed already goes the way of send(), with the same checks of everything else."""

from typing import Any

import pytest
from protocol_pair import END, STATUS, cut_frames, drain, raw, ready, received, request, submit

from pixwire_protocol import messages as m
from pixwire_protocol.connection import Connection, Role
from pixwire_protocol.errors import LocalProtocolError, MessageTooLargeError
from pixwire_protocol.profile import pack_map
from pixwire_protocol.registry import FrameType

BODY = pack_map(STATUS)


def asked(**settings: Any) -> Connection:
    connection = ready(Role.SERVER, **settings)
    connection.receive(request(1))
    return connection


def test_the_frame_is_that_of_send() -> None:
    packed, plain = asked(), asked()
    assert packed.answer(1, BODY)
    assert plain.send(1, m.Result(STATUS), end=True)
    assert drain(packed) == drain(plain)
    assert packed.open_streams == 0


def test_a_stream_is_answered_once_and_only_when_it_was_opened() -> None:
    connection = asked()
    connection.answer(1, BODY)
    assert not connection.answer(1, BODY)
    drain(connection)
    assert not connection.answer(1, BODY)
    with pytest.raises(LocalProtocolError, match="stream 3 was never opened"):
        connection.answer(3, BODY)
    connection.receive(request(3) + raw(FrameType.RESET, 3, {"code": 0}))
    assert not connection.answer(3, BODY)


def test_the_state_of_the_stream_decides() -> None:
    connection = asked()
    connection.receive(raw(FrameType.FETCH, 3, {"job": "j"}, flags=END))
    connection.send(3, m.Result(STATUS))
    with pytest.raises(LocalProtocolError, match="RESULT_END is not possible on stream 3"):
        connection.answer(3, BODY)


def test_an_answer_beyond_what_the_peer_takes_is_refused_and_the_stream_goes_on() -> None:
    connection = asked()
    large = bytes(connection._machine.max_frame + 1)
    with pytest.raises(MessageTooLargeError, match=f"RESULT of {len(large)} bytes exceeds the limit"):
        connection.answer(1, large)
    with pytest.raises(MessageTooLargeError, match="head of 65536 bytes exceeds 65535"):
        connection.answer(1, bytes(65_536))
    assert connection.answer(1, BODY)


def test_an_early_answer_ends_an_upload() -> None:
    connection = ready(Role.SERVER, stream_window=65_536, connection_window=65_536)
    image = m.Attachment("image", 50_000, "0" * 64, "image/png")
    head = m.CODECS["SUBMIT"].encode(submit(attachments=(image,)))[0]
    (asked_for,) = received(connection.receive(raw(FrameType.SUBMIT, 1, head, submit().tail)))
    assert not asked_for.end
    received(connection.receive(raw(FrameType.DATA, 1, tail=bytes(40_000))))
    assert connection.answer(1, BODY)
    credit, answer = cut_frames(drain(connection))
    assert (credit.type, credit.stream, credit.head) == (FrameType.CREDIT, 0, {"n": 40_000})  # they are done with
    assert (answer.type, answer.stream, answer.head) == (FrameType.RESULT, 1, STATUS)
    assert connection.receive(raw(FrameType.DATA, 1, tail=bytes(10_000))) == []  # was under way: thrown away


def test_a_client_answers_nothing() -> None:
    connection = ready(Role.CLIENT)
    stream = connection.open(m.Status("j"))
    with pytest.raises(LocalProtocolError):
        connection.answer(stream, BODY)
