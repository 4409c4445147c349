"""Faults that cost one stream: wrong requests, crit, unknown frames, and frames that were coming in at its end."""

from typing import Any

import pytest
from protocol_pair import END, STATUS, cut_frames, drain, fetching, raw, ready, request, the_error

from pixwire_protocol import messages as m
from pixwire_protocol.connection import Received, Role, State
from pixwire_protocol.registry import ErrorCode, FrameType


def test_a_wrong_request_costs_its_stream_only() -> None:
    connection = ready(Role.SERVER)
    assert connection.receive(request(1, "not a job!")) == []
    (frame,) = cut_frames(drain(connection))
    assert (frame.type, frame.stream, frame.flags) == (FrameType.ERROR, 1, END)
    assert frame.head is not None
    assert frame.head["code"] == ErrorCode.INVALID_ARGUMENT
    assert frame.head["processed"] == "no"
    assert frame.head["details"]["field"] == "job"
    assert "not a job!" in frame.head["details"]["value"]
    assert connection.open_streams == 0
    assert len(connection.receive(request(3))) == 1


def test_crit_in_a_request_costs_its_stream_only() -> None:
    connection = ready(Role.SERVER)
    data = raw(FrameType.STATUS, 1, {"job": "j", "deadline": 5, "crit": ["deadline"]}, flags=END)
    assert connection.receive(data) == []
    (frame,) = cut_frames(drain(connection))
    assert frame.head is not None
    assert frame.head["code"] == ErrorCode.UNKNOWN_CRITICAL
    assert "deadline" in frame.head["message"]


def test_crit_in_a_reply_resets_the_stream() -> None:
    connection = fetching()
    (item,) = connection.receive(raw(FrameType.RESULT, 1, STATUS | {"new": 1, "crit": ["new"]}))
    assert isinstance(item, Received)
    assert isinstance(item.message, m.Error)
    assert (item.stream, item.end, item.message.code) == (1, True, ErrorCode.UNKNOWN_CRITICAL)
    (frame,) = cut_frames(drain(connection))
    assert (frame.type, frame.stream) == (FrameType.RESET, 1)
    assert connection.open_streams == 0


@pytest.mark.req("PXW-STR-016")
@pytest.mark.parametrize("frame_type", [FrameType.RESET, FrameType.ERROR])
def test_crit_in_an_ending_is_not_answered(frame_type: FrameType) -> None:
    flags = END if frame_type is FrameType.ERROR else 0
    connection = fetching()
    (item,) = connection.receive(raw(frame_type, 1, {"code": 5, "new": 1, "crit": ["new"]}, flags=flags))
    assert isinstance(item, Received)
    assert isinstance(item.message, m.Error)
    assert not connection.has_output
    assert connection.open_streams == 0


def test_crit_in_a_reset_from_the_client() -> None:
    connection = ready(Role.SERVER)
    connection.receive(request(1))
    (item,) = connection.receive(raw(FrameType.RESET, 1, {"code": 5, "new": 1, "crit": ["new"]}))
    assert item == Received(1, m.Reset(ErrorCode.UNKNOWN_CRITICAL, "UNKNOWN_CRITICAL"), True)
    assert not connection.has_output


@pytest.mark.parametrize("frame_type", [0x00, 0x14, 0x7F, 0xC0, 0xFF])
def test_unknown_frames_end_their_stream(frame_type: int) -> None:
    connection = ready(Role.SERVER)
    assert connection.receive(raw(frame_type, 1, b"anything", b"tail", 0xFF)) == []  # a new stream: refused
    (frame,) = cut_frames(drain(connection))
    assert (frame.type, frame.stream) == (FrameType.ERROR, 1)
    assert frame.head is not None
    assert frame.head["code"] == ErrorCode.UNKNOWN_FRAME
    connection.receive(request(3))
    (item,) = connection.receive(raw(frame_type, 3))  # an open stream: over
    assert item == Received(3, m.Reset(ErrorCode.UNKNOWN_FRAME, "UNKNOWN_FRAME"), True)
    assert [frame.type for frame in cut_frames(drain(connection))] == [FrameType.ERROR]
    assert connection.open_streams == 0
    client = fetching()
    (item,) = client.receive(raw(frame_type, 1))
    assert isinstance(item, Received)
    assert isinstance(item.message, m.Error)
    assert [frame.type for frame in cut_frames(drain(client))] == [FrameType.RESET]
    assert the_error(client.receive(raw(frame_type, 9))).code is ErrorCode.STREAM_ID


@pytest.mark.parametrize("frame_type", [0x80, 0x9F, 0xBF])
@pytest.mark.parametrize("role", Role)
def test_ignorable_frames_are_skipped_whole(role: Role, frame_type: int) -> None:
    connection = ready(role)
    data = raw(frame_type, 77, b"\xc1" * 20, bytes(9000), 0xFF)
    assert connection.receive(data + raw(frame_type, 0)) == []
    assert not connection.has_output
    assert connection.state is State.READY


# ---------------------------------------------------------------------- reset while a frame is coming in

CRIT = STATUS | {"new": 1, "crit": ["new"]}


@pytest.mark.req("PXW-STR-015", "PXW-STR-017")
@pytest.mark.parametrize("flush", [False, True])
@pytest.mark.parametrize(
    "frame",
    [
        raw(FrameType.RESULT, 1, STATUS),
        raw(FrameType.RESULT, 1, STATUS, flags=END),
        raw(FrameType.RESULT, 1, CRIT),
        raw(FrameType.RESET, 1, {"code": 5}),
        raw(FrameType.ERROR, 1, {"code": 5}, flags=END),
        raw(FrameType.CREDIT, 1, {"n": 5}),
    ],
)
def test_a_frame_that_was_coming_in_when_the_client_reset_its_stream(frame: bytes, flush: bool) -> None:
    connection = ready(Role.CLIENT)
    connection.open(m.Fetch("j"))
    drain(connection)
    connection.receive(frame[:-1])
    connection.reset(1)
    if flush:
        drain(connection)
    assert connection.receive(frame[-1:]) == []
    drain(connection)
    assert connection.open_streams == 0
    assert connection.state is State.READY
    assert not connection.has_output


@pytest.mark.parametrize("flush", [False, True])
@pytest.mark.parametrize("head", [{"n": 5}, {"n": 5, "new": 1, "crit": ["new"]}])
def test_a_frame_that_was_coming_in_when_the_server_ended_its_stream(head: dict[str, Any], flush: bool) -> None:
    connection = ready(Role.SERVER)
    connection.receive(raw(FrameType.WATCH, 1, {"job": "j"}, flags=END))
    frame = raw(FrameType.CREDIT, 1, head)
    connection.receive(frame[:-1])
    connection.send_error(1, ErrorCode.INTERNAL, "x")
    if flush:
        drain(connection)
    before = connection.has_output
    assert connection.receive(frame[-1:]) == []
    assert connection.has_output is before
    drain(connection)
    assert connection.open_streams == 0
    assert connection.state is State.READY
