"""Messages between parent and child survive the socket, however it cuts them."""

import os
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixwire_server.engine import api, codec
from pixwire_server.engine.link import Decoder, LinkError, encode

texts = st.text(max_size=20)
numbers = st.integers(0, 2**63 - 1)
PLAIN: dict[type[Any], st.SearchStrategy[Any]] = {
    str: texts,
    int: numbers,
    float: st.floats(allow_nan=False),
    bool: st.booleans(),
    bytes: st.binary(max_size=300),
}
for known, strategy in PLAIN.items():
    st.register_type_strategy(known, strategy)
messages = st.one_of([st.from_type(kind) for kind in get_args(api.Message)])


@given(st.lists(messages, max_size=4), st.integers(1, 50))
def test_messages_come_back_whatever_the_pieces(sent: list[api.Message], piece: int) -> None:
    data = b"".join(buffer for message in sent for buffer in encode(message))
    decoder = Decoder()
    received = [
        message for start in range(0, len(data), piece) for message in decoder.feed(data[start : start + piece])
    ]
    assert received == sent


@given(st.lists(messages, max_size=3), st.integers(5_000, 300_000), st.integers(0, 200_000))
def test_messages_come_back_whatever_a_read_brings(sent: list[api.Message], most: int, size: int) -> None:
    image = api.EncodedImage(bytes(range(251)) * (size // 251), "image/png", 8, 8, 1)
    sent = [*sent, api.Finished(1, (image, image), api.JobStats(2, 1.5, 1.0, 2.0, 3.0, 4.0)), *sent]
    data = b"".join(buffer for message in sent for buffer in encode(message))
    decoder = Decoder()
    received: list[api.Message] = []
    while data:
        place = decoder.get_buffer()
        count = min(len(place), len(data), most)
        place[:count], data = data[:count], data[count:]
        received += decoder.buffer_updated(count)
    assert received == sent


def test_a_large_image_stays_where_it_was_received_and_cannot_be_changed() -> None:
    image = api.EncodedImage(bytes(codec.COPIED + 1), "image/png", 8, 8, 1)
    sent = api.Finished(1, (image,), api.JobStats(2, 1.5, 1.0, 2.0, 3.0, 4.0))
    (received,) = Decoder().feed(b"".join(encode(sent)))
    assert received == sent
    assert isinstance(received, api.Finished)
    data = received.images[0].data
    assert isinstance(data, memoryview)
    assert data.readonly


def test_images_travel_as_raw_bytes_behind_the_head() -> None:
    images = tuple(api.EncodedImage(bytes([i]) * 1000, "image/png", 8, 8, i) for i in range(3))
    message = api.Finished(1, images, api.JobStats(2, 1.5, 1.0, 2.0, 3.0, 4.0))
    head, blobs = codec.to_wire(message)
    assert len(head) < 200
    assert blobs == [image.data for image in images]
    assert codec.from_wire(head, b"".join(blobs)) == message


def test_names_of_files_that_are_no_utf8_arrive() -> None:
    name = os.fsdecode(b"/models/\xff")
    (command,) = Decoder().feed(b"".join(encode(api.AddModel(api.ModelSettings(path=name, name="m")))))
    assert isinstance(command, api.AddModel)
    assert os.fsencode(command.settings.path) == b"/models/\xff"
    (report,) = Decoder().feed(b"".join(encode(api.Refused(f"{name} is no folder"))))
    assert report == api.Refused("/models/\\udcff is no folder")


@pytest.mark.parametrize("head", [b"", b"\xc1", b"\x92\xa6Nobody\x90", b"\x92\xa6Cancel\x90", b"\x01"])
def test_other_bytes_are_no_message(head: bytes) -> None:
    with pytest.raises(ValueError):
        codec.from_wire(head)


def test_a_short_tail_is_an_error() -> None:
    head, _ = codec.to_wire(api.PreviewReady(1, 1, 2, "image/jpeg", 8, 8, b"12345"))
    with pytest.raises(ValueError, match="2 bytes short"):
        codec.from_wire(head, b"123")


def test_a_frame_that_is_no_message_breaks_the_link() -> None:
    with pytest.raises(LinkError):
        Decoder().feed(b"\xff" * 12)
    with pytest.raises(LinkError):
        Decoder().feed(b"\x00\x00\x00\x01" + bytes(8) + b"\xc1")
