"""GOAWAY: announcing the end, what still goes on, what is surely unprocessed, who fails why."""

from typing import Any

import pytest
from protocol_pair import END, STATUS, Pair, cut_frames, drain, raw, ready, received, submit, the_error, watch

from pixwire_protocol import messages as m
from pixwire_protocol.connection import Closed, Received, Role, State
from pixwire_protocol.errors import DrainingError, NotReadyError
from pixwire_protocol.registry import MAX_STREAM, ErrorCode, FrameType


def goaway(last_stream: int, code: int = ErrorCode.DRAINING, **more: Any) -> bytes:
    return raw(FrameType.GOAWAY, 0, {"last_stream": last_stream, "code": code} | more)


@pytest.mark.req("PXW-DRN-001", "PXW-DRN-002", "PXW-DRN-003")
def test_a_drain_in_two_steps() -> None:
    pair = Pair()
    running = pair.open(watch())
    pair.server.send(running, m.Result(STATUS))
    crossing = pair.client.open(m.Status("j"))  # under way while the server announces its end
    assert pair.server.goaway(
        ErrorCode.DRAINING, "restart", last_stream=MAX_STREAM, grace_ms=5000, reconnect_after_ms=100
    )
    assert pair.server.draining
    pair.forget()
    pair.settle()
    announcement = received(pair.at_client)[0]
    assert announcement.message == m.GoAway(MAX_STREAM, 0x0403, "DRAINING", "restart", 5000, 100)
    assert pair.client.draining
    assert [item.stream for item in received(pair.at_server)] == [crossing]  # accepted: the first step refuses nothing
    with pytest.raises(DrainingError, match=r"DRAINING.*restart.*after 100 ms") as caught:
        pair.client.open(m.Status("j"))
    assert (caught.value.code, caught.value.reconnect_after_ms) == (ErrorCode.DRAINING, 100)
    pair.server.send(crossing, m.Result(STATUS), end=True)
    assert pair.server.goaway(ErrorCode.DRAINING, "restart")
    pair.forget()
    pair.settle()
    assert received(pair.at_client)[0].message == m.GoAway(crossing, 0x0403, "DRAINING", "restart")
    assert pair.client.open_streams == 1  # the watch goes on
    pair.server.send(running, m.Event(STATUS | {"event": "state"}), end=True)
    pair.settle()
    assert pair.client.open_streams == pair.server.open_streams == 0
    assert pair.client.receive_eof() == [Closed(True)]


@pytest.mark.req("PXW-DRN-004")
def test_requests_above_the_last_stream_are_refused_unprocessed() -> None:
    connection = ready(Role.SERVER)
    connection.receive(raw(FrameType.STATUS, 1, {"job": "j"}, flags=END))
    connection.goaway(ErrorCode.DRAINING, "restart")
    assert connection.receive(raw(FrameType.STATUS, 3, {"job": "j"}, flags=END)) == []
    frames = cut_frames(drain(connection))
    assert [frame.type for frame in frames] == [FrameType.GOAWAY, FrameType.ERROR]
    assert frames[1].head is not None
    assert frames[1].head["code"] == ErrorCode.DRAINING
    assert frames[1].head["processed"] == "no"
    assert "restart" in frames[1].head["message"]
    assert connection.send(1, m.Result(STATUS), end=True)


@pytest.mark.req("PXW-CON-009", "PXW-CON-010", "PXW-AUT-012")
@pytest.mark.parametrize("role", list(Role))
def test_a_goaway_with_an_error_code_is_the_last_word(role: Role) -> None:
    """What waits to be sent is dropped, what comes is not processed."""
    connection = ready(role)
    if role is Role.SERVER:
        connection.receive(b"".join(raw(FrameType.STATUS, stream, {"job": "j"}, flags=END) for stream in (1, 3)))
        connection.send(1, m.Result(STATUS), end=True)
        connection.receive(raw(0x55, 3))  # an unknown type: ERROR waits behind the RESULT
    else:
        connection.open(m.Status("j"))
    assert connection.goaway(ErrorCode.EXCESSIVE_LOAD, "too much")
    assert connection.over
    (frame,) = cut_frames(drain(connection))
    assert frame.type == FrameType.GOAWAY
    assert frame.head is not None
    assert frame.head["code"] == ErrorCode.EXCESSIVE_LOAD
    assert connection.receive(raw(FrameType.PING, tail=b"12345678")) == []
    assert not connection.goaway(ErrorCode.DRAINING)
    assert not connection.has_output


def test_the_last_stream_never_rises() -> None:
    connection = ready(Role.SERVER)
    connection.goaway(ErrorCode.DRAINING, last_stream=5)
    connection.goaway(ErrorCode.DRAINING, last_stream=9)
    assert [frame.head["last_stream"] for frame in cut_frames(drain(connection)) if frame.head] == [5, 5]
    client = ready(Role.CLIENT)
    assert len(client.receive(goaway(9) + goaway(9) + goaway(5))) == 3
    assert the_error(client.receive(goaway(6))).code is ErrorCode.PROTOCOL_ERROR


def test_streams_above_the_last_are_told_to_the_application() -> None:
    connection = ready(Role.CLIENT)
    streams = [connection.open(request) for request in (watch(), m.Fetch("j"), submit())]
    drain(connection)
    incoming = received(connection.receive(goaway(streams[0], message="bye", reconnect_after_ms=7)))
    assert isinstance(incoming[0].message, m.GoAway)
    assert [item.stream for item in incoming] == [0, *streams[1:]]
    for item in incoming[1:]:
        assert item.end
        assert item.message == m.Error(0x0403, "DRAINING", "bye", "after", "no", 7)
    assert connection.open_streams == 1
    assert connection.receive(raw(FrameType.RESULT, streams[2], STATUS, flags=END)) == []
    assert len(connection.receive(raw(FrameType.RESULT, streams[0], STATUS))) == 1


def test_a_reset_stream_is_not_told_twice() -> None:
    connection = ready(Role.CLIENT)
    stream = connection.open(watch())
    connection.reset(stream)
    assert [item.stream for item in received(connection.receive(goaway(0)))] == [0]


@pytest.mark.req("PXW-CON-012")
def test_an_error_goaway_is_the_end_of_new_streams() -> None:
    connection = ready(Role.CLIENT)
    connection.receive(goaway(0, ErrorCode.INTERNAL, message="bug"))
    with pytest.raises(DrainingError, match="bug"):
        connection.open(m.Status("j"))


@pytest.mark.req("PXW-CON-012")
def test_error_on_stream_0_is_the_end() -> None:
    connection = ready(Role.CLIENT)
    stream = connection.open(watch())
    drain(connection)
    (item,) = connection.receive(raw(FrameType.ERROR, 0, {"code": 0x0109, "message": "too much"}))
    assert item == Received(0, m.Error(0x0109, message="too much"), True)
    assert connection.state is State.DRAINING
    with pytest.raises(DrainingError, match="too much"):
        connection.open(m.Status("j"))
    assert len(connection.receive(raw(FrameType.RESULT, stream, STATUS))) == 1
    connection.receive(raw(FrameType.ERROR, 0, {"code": 0x010B, "message": "and another"}))
    with pytest.raises(DrainingError, match="too much"):
        connection.open(m.Status("j"))


def test_a_client_says_goodbye() -> None:
    pair = Pair()
    stream = pair.open(m.Status("j"))
    assert pair.client.goaway(ErrorCode.NO_ERROR, "done")
    with pytest.raises(DrainingError):
        pair.client.open(m.Status("j"))
    pair.forget()
    pair.settle()
    assert received(pair.at_server) == [Received(0, m.GoAway(0, 0, "NO_ERROR", "done"), False)]
    assert pair.server.send(stream, m.Result(STATUS), end=True)
    pair.settle()
    assert pair.client.open_streams == 0


def test_a_server_answers_after_the_clients_end_of_file() -> None:
    pair = Pair()
    stream = pair.open(m.Status("j"))
    assert pair.server.receive_eof() == [Closed(False)]
    assert pair.server.draining
    assert pair.server.send(stream, m.Result(STATUS), end=True)
    pair.to_client()
    assert isinstance(received(pair.at_client)[-1].message, m.Result)
    assert pair.server.receive(b"ignored") == []


def test_a_client_is_over_at_the_servers_end_of_file() -> None:
    pair = Pair()
    stream = pair.open(m.Status("j"))
    assert pair.client.receive_eof() == [Closed(False)]
    assert pair.client.state is State.CLOSED
    assert not pair.client.reset(stream)
    assert not pair.client.ping(b"12345678")
    assert not pair.client.goaway()
    with pytest.raises(NotReadyError, match="closed"):
        pair.client.open(m.Status("j"))


def test_a_failed_connection_says_why_it_opens_nothing() -> None:
    connection = ready(Role.CLIENT)
    connection.receive(b"\x00" * 12)
    with pytest.raises(NotReadyError, match="PROTOCOL_ERROR"):
        connection.open(m.Status("j"))
    assert connection.receive_eof() == []
    assert connection.state is State.CLOSED


@pytest.mark.req("PXW-CON-010", "PXW-CON-011")
def test_a_failing_server_says_how_far_it_came() -> None:
    connection = ready(Role.SERVER)
    connection.receive(raw(FrameType.STATUS, 7, {"job": "j"}, flags=END))
    connection.send(7, m.Result(STATUS), end=True)
    connection.receive(b"\xff" * 12)
    (frame,) = cut_frames(drain(connection))
    assert frame.head is not None
    assert frame.head["last_stream"] == 7
    assert frame.head["code"] == ErrorCode.PROTOCOL_ERROR
