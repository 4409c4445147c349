"""What is wrong with an upload: bytes, credit and announcements, at the server and before they are sent."""

from typing import Any

import pytest
from protocol_pair import (
    END,
    STATUS,
    TAIL,
    cut_frames,
    drain,
    raw,
    ready,
    received,
    request,
    submit,
    the_error,
)
from upload_pair import (
    attachment,
    data,
    head_of,
    opening,
    upload,
    uploading,
)

from pixwire_protocol import messages as m
from pixwire_protocol.attachments import Attachment
from pixwire_protocol.connection import Role, State
from pixwire_protocol.errors import LocalProtocolError
from pixwire_protocol.registry import ErrorCode, FrameType

# ---------------------------------------------------------------------- what a client must not do


@pytest.mark.req("PXW-UPL-003", "PXW-UPL-004", "PXW-UPL-005", "PXW-STR-007")
@pytest.mark.parametrize(
    ("what", "sent"),
    [
        ("attachments and END", opening(1, 5, flags=END)),
        ("neither attachments nor END", opening(1)),
        ("END early", opening(1, 5, 5) + data(1, 9, end=True)),
        ("END at once", opening(1, 5) + data(1, 0, end=True)),
        ("one byte too many", opening(1, 5, 5) + data(1, 11)),
        ("one byte too many with END", opening(1, 5, 5) + data(1, 5) + data(1, 6, end=True)),
        ("another byte", opening(1, 5) + data(1, 5) + data(1, 1)),
        ("another byte behind END", opening(1, 5) + data(1, 5, end=True) + data(1, 1)),
        ("END twice", opening(1, 5) + data(1, 5, end=True) + data(1, 0, end=True)),
        ("empty DATA", opening(1, 5) + data(1, 0)),
        ("DATA where nothing is uploaded", request(1) + data(1, 5)),
        ("DATA with a head", opening(1, 5) + raw(FrameType.DATA, 1, {"a": 1}, b"x")),
        ("DATA with a wrong flag", opening(1, 5) + raw(FrameType.DATA, 1, tail=b"x", flags=2)),
    ],
)
def test_wrong_uploads_cost_the_connection(what: str, sent: bytes) -> None:
    connection = ready(Role.SERVER)
    error = the_error(connection.receive(sent))
    assert error.code is ErrorCode.PROTOCOL_ERROR
    (goaway,) = cut_frames(drain(connection))
    assert goaway.head is not None
    assert goaway.head["code"] == ErrorCode.PROTOCOL_ERROR


def test_data_before_its_request_and_on_stream_0() -> None:
    assert the_error(ready(Role.SERVER).receive(data(1, 5))).code is ErrorCode.STREAM_ID
    assert the_error(ready(Role.SERVER).receive(data(0, 5))).code is ErrorCode.PROTOCOL_ERROR


def test_data_of_a_client_on_a_stream_whose_data_wait() -> None:
    """Its END is queued but has not left: the stream has not ended."""
    connection = ready(Role.SERVER)
    connection.receive(raw(FrameType.FETCH, 1, {"job": "j"}, flags=END))
    connection.send(1, m.Result({"length": 300_000}))
    connection.send_data(1, bytes(300_000), end=True)
    drain(connection)
    assert the_error(connection.receive(data(1, 5))).code is ErrorCode.PROTOCOL_ERROR


@pytest.mark.req("PXW-FLW-003")
def test_data_beyond_the_windows_of_the_server() -> None:
    connection = uploading(10_000, stream_window=2000, connection_window=8000)
    assert len(connection.receive(data(1, 2000))) == 1
    assert the_error(connection.receive(data(1, 1))).code is ErrorCode.FLOW_CONTROL
    connection = ready(Role.SERVER, stream_window=2000, connection_window=3000)
    connection.receive(opening(1, 2000) + opening(3, 2000) + data(1, 2000) + data(3, 1000))
    assert the_error(connection.receive(data(3, 1))).code is ErrorCode.FLOW_CONTROL


@pytest.mark.req("PXW-LIM-003")
@pytest.mark.parametrize("answered", [False, True])
def test_a_flood_of_tiny_data(answered: bool) -> None:
    """Late DATA count as well: they cost the same work."""
    connection = uploading(100_000, small_data_run=20)
    if answered:
        connection.send(1, m.Result(STATUS), end=True)
    connection.receive(data(1, 10) * 20)
    assert connection.state is State.READY
    assert the_error(connection.receive(data(1, 0 if answered else 10))).code is ErrorCode.EXCESSIVE_LOAD


def test_the_order_in_which_data_are_judged() -> None:
    """Stream, credit, emptiness, small frames, announced total."""
    connection = uploading(5, stream_window=1024, connection_window=2048)
    assert the_error(connection.receive(data(1, 1025))).code is ErrorCode.FLOW_CONTROL
    connection = uploading(100, small_data_run=16)
    assert the_error(connection.receive(data(1, 5) * 16 + data(1, 200))).code is ErrorCode.EXCESSIVE_LOAD


# ---------------------------------------------------------------------- what the client's own side refuses


def test_a_client_counts_before_it_sends() -> None:
    client = ready(Role.CLIENT)
    stream = client.open(upload(10, 5))
    drain(client)
    for sent, end, match in ((b"x" * 16, False, "15 are missing"), (b"x" * 14, True, "1 bytes"), (b"", True, "15")):
        with pytest.raises(LocalProtocolError, match=match):
            client.send_data(stream, sent, end=end)
    assert not client.has_output
    assert client.send_data(stream, b"")  # nothing happens
    assert client.send_data(stream, b"x" * 15, end=True)
    for sent, end in ((b"x", False), (b"", True)):
        with pytest.raises(LocalProtocolError, match="END was sent"):
            client.send_data(stream, sent, end=end)
    other = client.open(m.Status("j"))
    with pytest.raises(LocalProtocolError, match="no attachments"):
        client.send_data(other, b"x")
    with pytest.raises(LocalProtocolError, match="never opened"):
        client.send_data(99, b"x")


@pytest.mark.parametrize(
    ("attachments", "field"),
    [
        ((attachment("image", 0),), r"attachments\[0\]\.size"),
        ((attachment("image", 5), attachment("Mask", 5)), r"attachments\[1\]\.name"),
        ((attachment("image", 5), attachment("image", 5)), r"attachments\[1\]\.name"),
        (tuple(attachment(f"a{i}", 5) for i in range(9)), "at most 8"),
        ((Attachment("image", 5, "0" * 63, "image/png"),), r"attachments\[0\]\.sha256"),
        ((Attachment("image", 5, "0" * 64, ""),), r"attachments\[0\]\.media_type"),
        (("image",), r"attachments\[0\] must be a map"),
    ],
)
def test_wrong_announcements_are_not_sent(attachments: Any, field: str) -> None:
    client = ready(Role.CLIENT)
    with pytest.raises(LocalProtocolError, match=field):
        client.open(submit(attachments=attachments))
    assert client.open_streams == 0
    assert not client.has_output
    assert client.open(submit(attachments=[attachment("image", 5)])) == 1


# ---------------------------------------------------------------------- wrong announcements at the server


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"attachments": [{"name": "image", "size": 5, "sha256": "0" * 64}]}, "attachments[0].media_type"),
        ({"attachments": [*head_of(5)["attachments"], {"name": "b", "size": 2**53}]}, "attachments[1].size"),
        ({"attachments": [*head_of(5)["attachments"]] * 2}, "attachments[1].name"),
        ({"attachments": [5]}, "attachments[0]"),
        ({"attachments": "x"}, "attachments"),
        ({"attachments": head_of(*[1] * 9)["attachments"]}, "attachments"),
        ({"attachments": [head_of(5)["attachments"][0] | {"sha256": "A" * 64}]}, "attachments[0].sha256"),
        ({"attachments": [head_of(5)["attachments"][0] | {"name": "9a"}]}, "attachments[0].name"),
        ({"traceparent": f"00-{'0' * 32}-{'1' * 16}-01"}, "traceparent"),
        ({"traceparent": f"00-{'1' * 32}-{'0' * 16}-01"}, "traceparent"),
        ({"traceparent": f"01-{'1' * 32}-{'1' * 16}-01"}, "traceparent"),
        ({"traceparent": f"00-{'A' * 32}-{'1' * 16}-01"}, "traceparent"),
        ({"traceparent": f"00-{'1' * 32}-{'1' * 16}-01-"}, "traceparent"),
        ({"tracestate": "x" * 513}, "tracestate"),
    ],
)
@pytest.mark.parametrize("flags", [0, END])
def test_wrong_fields_cost_the_stream(change: dict[str, Any], field: str, flags: int) -> None:
    """END is not judged then, and the bytes that follow are those of a stream that is over."""
    connection = ready(Role.SERVER)
    assert connection.receive(raw(FrameType.SUBMIT, 1, head_of(5) | change, TAIL, flags)) == []
    (error,) = cut_frames(drain(connection))
    assert error.head is not None
    assert error.head["code"] == ErrorCode.INVALID_ARGUMENT
    assert error.head["details"]["field"] == field
    assert field in error.head["message"]
    assert connection.receive(data(1, 5, end=True)) == []
    assert connection.open_streams == 0
    assert connection.counts.aborts == 1


def test_what_an_announcement_may_have() -> None:
    connection = ready(Role.SERVER)
    trace = f"00-{'1a' * 16}-{'b2' * 8}-01"
    extra = {"attachments": [head_of(5)["attachments"][0] | {"note": "ignored"}], "traceparent": trace}
    (item,) = received(connection.receive(raw(FrameType.SUBMIT, 1, head_of() | extra | {"tracestate": "a=b"}, TAIL)))
    assert item.message == m.Submit(
        "j", "img2img", TAIL, attachments=(attachment("a0", 5),), traceparent=trace, tracestate="a=b"
    )
    nil = {"attachments": None, "traceparent": None}
    (item,) = received(connection.receive(raw(FrameType.SUBMIT, 3, head_of() | nil, TAIL, END)))
    assert item.end
