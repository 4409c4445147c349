"""What a side says when it refuses: after its own greeting, the same for every split, and no less than it knows."""

from collections.abc import Iterator

import pytest
from protocol_pair import END, HELLO, STATUS, WELCOME, cut_frames, drain, raw, ready, submit, the_error

from pixwire_protocol import messages as m
from pixwire_protocol.connection import Connection, Role, Settings, State
from pixwire_protocol.fields import show
from pixwire_protocol.params import MAX_SEED, GenerateParams, ParamError, parse
from pixwire_protocol.profile import pack_map
from pixwire_protocol.registry import PREFACE, ErrorCode, FrameType

PING = raw(FrameType.PING, 0, tail=b"12345678")
UNKNOWN = raw(0x7F, 1)
CRITICAL_CREDIT = raw(FrameType.CREDIT, 1, {"n": 5, "new": 1, "crit": ["new"]})


def outputs(data: bytes) -> Iterator[bytes]:
    """All that is sent, for every cut in two; what is there after the first piece leaves before the second comes."""
    for place in range(len(data) + 1):
        connection = Connection(Role.SERVER, Settings(agent="x"))
        connection.receive(data[:place])
        out = drain(connection)
        connection.receive(data[place:])
        yield out + drain(connection)


@pytest.mark.req("PXW-CON-017", "PXW-FRM-010")
@pytest.mark.parametrize(
    "frames",
    [
        PING,
        raw(FrameType.HELLO, 0, {}),
        raw(FrameType.HELLO, 0, {"agent": "x", "pad": "x" * 4096}),
        HELLO + HELLO,
        HELLO + b"\x00" * 12,
        raw(FrameType.GOAWAY, 0, {"last_stream": 0, "code": 0}),
    ],
    ids=["ping", "bad", "long", "twice", "noise", "goaway"],
)
def test_the_servers_preface_comes_first_however_the_bytes_are_cut(frames: bytes) -> None:
    first, *others = outputs(PREFACE + frames)
    assert first.startswith(PREFACE)
    assert set(others) == {first}


@pytest.mark.req("PXW-CON-001", "PXW-CON-010")
def test_a_clients_preface_comes_before_its_goaway() -> None:
    connection = Connection(Role.CLIENT, Settings(agent="x"))
    connection.receive(PREFACE + WELCOME + WELCOME)
    out = drain(connection)
    assert out.startswith(PREFACE)
    assert [frame.type for frame in cut_frames(out)] == [FrameType.HELLO, FrameType.GOAWAY]
    stranger = Connection(Role.CLIENT, Settings(agent="x"))
    stranger.receive(b"HTTP/1.1")
    assert not stranger.has_output


@pytest.mark.req("PXW-CON-016")
@pytest.mark.parametrize(
    ("frame", "over"),
    [
        (raw(FrameType.ERROR, 0, {"code": 0x010B}), True),
        (raw(FrameType.GOAWAY, 0, {"last_stream": 0, "code": 0x0100}), True),
        (raw(FrameType.GOAWAY, 0, {"last_stream": 0, "code": 0xE001}), True),
        (raw(FrameType.GOAWAY, 0, {"last_stream": 0, "code": 0x0000}), False),
        (raw(FrameType.GOAWAY, 0, {"last_stream": 0, "code": 0x0403}), False),
    ],
)
def test_a_client_that_fails_is_served_no_more(frame: bytes, over: bool) -> None:
    connection = ready(Role.SERVER)
    connection.receive(raw(FrameType.STATUS, 1, {"job": "j"}, flags=END))
    (item, *_) = connection.receive(frame + PING)
    assert isinstance(getattr(item, "message", None), m.Error | m.GoAway)
    assert connection.state is (State.FAILED if over else State.DRAINING)
    assert connection.failure is None
    assert connection.send(1, m.Result(STATUS), end=True) is not over
    assert bool(drain(connection)) is not over


@pytest.mark.req("PXW-ERR-001", "PXW-EXT-001", "PXW-EXT-005")
@pytest.mark.parametrize("data", [UNKNOWN, CRITICAL_CREDIT], ids=["unknown", "crit"])
@pytest.mark.parametrize("answered", [False, True])
def test_a_fault_on_an_open_stream_does_not_deny_its_request(data: bytes, answered: bool) -> None:
    connection = ready(Role.SERVER)
    opening = b"".join(m.encode(submit(watch=True), 1, END))
    connection.receive(opening)
    if answered:
        assert connection.send(1, m.Result(STATUS))
    connection.receive(data)
    head = cut_frames(drain(connection))[-1].head or {}
    assert head["code"] in (ErrorCode.UNKNOWN_FRAME, ErrorCode.UNKNOWN_CRITICAL)
    assert head.get("processed", "maybe") == ("yes" if answered else "maybe")


@pytest.mark.req("PXW-FRM-019")
@pytest.mark.parametrize(("stream", "flags", "word"), [(1, 0, "without"), (0, END, "with")])
def test_a_wrong_end_on_error_is_named(stream: int, flags: int, word: str) -> None:
    connection = ready(Role.SERVER)
    connection.receive(raw(FrameType.STATUS, 1, {"job": "j"}, flags=END))
    error = the_error(connection.receive(raw(FrameType.ERROR, stream, {"code": 1}, flags=flags)))
    assert error.code is ErrorCode.PROTOCOL_ERROR
    assert f"ERROR {word} END is not allowed on stream {stream}" in error.message


@pytest.mark.req("PXW-MSG-021")
def test_details_of_a_wrong_crit_show_what_was_given() -> None:
    connection = ready(Role.SERVER)
    connection.receive(raw(FrameType.STATUS, 1, {"job": "j", "crit": "job"}, flags=END))
    (frame,) = cut_frames(drain(connection))
    assert frame.head is not None
    assert frame.head["details"] == {"field": "crit", "value": "'job' (string)", "allowed": "an array of strings"}


@pytest.mark.req("PXW-REQ-015")
def test_details_of_parameters_show_what_was_given_and_what_is_allowed() -> None:
    with pytest.raises(ParamError) as caught:
        parse(b"\xc0")
    assert caught.value.details == {"field": "params", "value": "a byte string", "allowed": "one msgpack map"}
    with pytest.raises(ParamError) as caught:
        parse(pack_map({"prompt": "x", "seed": MAX_SEED, "count": 2}))
    assert (caught.value.field, caught.value.allowed) == ("seed", f"seed + count - 1 at most {MAX_SEED}")
    GenerateParams("x", seed=MAX_SEED, count=1).validate()


def test_values_are_shown_in_english() -> None:
    assert [show(value) for value in (b"x", [1], {}, 5)] == ["a byte string", "an array", "a map", "5 (integer)"]
