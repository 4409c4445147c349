"""Bytes -> annotated frames: every byte is accounted for, and what is wrong is named at its place."""

import json

import pytest
from hypothesis import strategies as st
from wire_bytes import HELLO, PARAMS, STATUS, SUBMIT, TOKEN, cut, frame, frames, given, streams_of_bytes, vectors

from pixwire.wire.annotate import Annotator, Broken, Incomplete, Item, Preface, SeenFrame, Unread, annotate
from pixwire.wire.media import guess
from pixwire.wire.shown import lines, to_map
from pixwire_protocol.header import HEADER, MARKER_WORD, pack_header
from pixwire_protocol.messages import Auth, Ping
from pixwire_protocol.registry import PREFACE


def in_pieces(data: bytes, places: list[int]) -> list[Item]:
    annotator = Annotator()
    items = [item for piece in cut(data, places) for item in annotator.feed(piece)]
    return items + annotator.end()


@given(st.one_of(st.binary(), streams_of_bytes), st.lists(st.integers(0, 500), max_size=5))
def test_any_bytes_are_tiled_by_items(data: bytes, places: list[int]) -> None:
    items = in_pieces(data, places)
    position = 0
    for item in items:
        assert item.offset == position
        position += len(item.data)
        for problem in getattr(item, "problems", ()):
            assert item.offset <= problem.offset <= position
        if isinstance(item, Broken):
            assert item.offset <= item.at <= position
        json.dumps(to_map(item, "C"))
        assert all(line.isprintable() for line in lines(item, "C"))
    assert b"".join(item.data for item in items) == data


@given(streams_of_bytes, st.lists(st.integers(0, 500), max_size=5))
def test_what_they_are_does_not_depend_on_the_cut(data: bytes, places: list[int]) -> None:
    def meaning(items: list[Item]) -> list[object]:
        kept = [item for item in items if not isinstance(item, Unread)]
        return [(item.offset, item.at, item.reason) if isinstance(item, Broken) else item for item in kept]

    def without_guess(found: list[object]) -> list[object]:
        # who speaks there is guessed from the bytes that have come, so only the place is compared
        return [item[:2] if isinstance(item, tuple) else item for item in found]

    assert without_guess(meaning(in_pieces(data, places))) == without_guess(meaning(annotate(data)))


@given(st.lists(frames, min_size=1, max_size=5))
def test_whole_frames_are_counted_and_none_is_broken(parts: list[bytes]) -> None:
    items = annotate(b"".join(parts))
    assert [item.data for item in items] == parts
    assert [item.number for item in items if isinstance(item, SeenFrame)] == list(range(1, len(parts) + 1))


def test_a_session_in_names() -> None:
    preface, hello, submit = annotate(HELLO + SUBMIT)
    assert isinstance(preface, Preface)
    assert preface.versions == (1, 1)
    assert isinstance(hello, SeenFrame)
    assert (hello.offset, hello.name) == (8, "HELLO")
    assert hello.head is not None
    assert hello.head["agent"] == "c/1"
    assert isinstance(submit, SeenFrame)
    assert (submit.name, submit.stream, submit.flag_names, submit.end) == ("SUBMIT", 1, ("END",), True)
    assert submit.tail_map == {"prompt": "a red circle"}
    assert submit.problems == ()


@pytest.mark.parametrize(
    ("data", "at", "reason"),
    [
        (HELLO + b"\xc0\0\0\0", len(HELLO), "a frame begins with 0xC1, here is 0xC0"),
        (b"\x89PNG", 2, "a preface begins with 89 50 58 57, here is 0x4E"),
        (STATUS + HEADER.pack(MARKER_WORD | 1, 4, 0, 2, 0) + b"x", len(STATUS) + 6, "head_len 2 is more than"),
        (b"HTTP/1.1 400 Bad Request\r\n", 0, "this is an HTTP server: it answered 'HTTP/1.1 400 Bad Request'"),
        (b"\x15\x03\x03\x00\x02\x02\x46", 0, "this is TLS (protocol version): use a pixwires:// URL"),
    ],
)
def test_it_says_where_and_why_sense_is_lost(data: bytes, at: int, reason: str) -> None:
    broken = annotate(data)[-1]
    assert isinstance(broken, Broken)
    assert broken.at == at
    assert reason in broken.reason


def test_behind_a_break_it_finds_the_next_header() -> None:
    broken = annotate(STATUS + b"junk" + frame(Ping(b"12345678")))[-1]
    assert isinstance(broken, Broken)
    assert broken.resume == len(STATUS) + 4


@pytest.mark.parametrize(("data", "missing"), [(PREFACE[:3], 5), (STATUS[:2], 10), (STATUS[:-1], 1)])
def test_it_says_how_much_is_missing(data: bytes, missing: int) -> None:
    (item,) = annotate(data)
    assert isinstance(item, Incomplete)
    assert item.missing == missing


@pytest.mark.parametrize(
    ("data", "part", "at", "text"),
    [
        (STATUS[:5] + b"\x41" + STATUS[6:], "flags", 5, "the bits 0x40 have no meaning"),
        (STATUS[:5] + b"\x00" + STATUS[6:], "flags", 5, "STATUS always carries END"),
        (SUBMIT[:5] + b"\x00" + SUBMIT[6:], "flags", 5, "SUBMIT without attachments carries END"),
        (STATUS[:8] + b"\x80" + STATUS[9:], "stream", 8, "top bit"),
        (STATUS[:11] + b"\x02" + STATUS[12:], "stream", 8, "odd"),
        (frame(Ping(b"12345678"))[:11] + b"\x01" + b"12345678", "stream", 8, "PING belongs on stream 0"),
        (pack_header(0x11, 1, 1, 0, 0), "head", 12, "STATUS has a head, here is none"),
        (pack_header(0x11, 1, 1, 1, 0) + b"\x80", "head", 12, "job is missing"),
        (pack_header(0x11, 1, 1, 6, 2) + b"\x81\xa3joba" + b"xx", "tail", 18, "STATUS has no tail, here are 2"),
        (pack_header(4, 0, 0, 0, 3) + b"abc", "tail", 12, "a tail of 8 bytes, here are 3"),
        (pack_header(0x7F, 0, 0, 0, 0), "type", 4, "an unknown type; ends the connection, on stream 0"),
        (pack_header(0xC1, 0, 3, 0, 0), "type", 4, "a private type, only for those who agreed on it"),
        (pack_header(0x11, 1, 1, 13, 0) + b"\x82\xa3job\xa1a\xa3job\xa1b", "head", 12, "comes twice"),
        (pack_header(0x11, 1, 1, 10, 0) + b"\x82\xa3job\xa1a\xa1A\xc0", "head", 12, "not of the form"),
    ],
)
def test_problems_inside_a_frame_are_named_at_their_byte(data: bytes, part: str, at: int, text: str) -> None:
    (item,) = annotate(data)
    assert isinstance(item, SeenFrame)
    found = [problem for problem in item.problems if problem.part == part and text in problem.text]
    assert [problem.offset for problem in found] == [at]


def test_a_map_as_the_key_of_a_map_as_the_key_of_a_map_makes_no_long_name() -> None:
    head = b"\x01"
    for _ in range(16):  # with names made of names, each level would double what is shown
        head = b"\x81" + head + b"\xc0"
    (item,) = annotate(pack_header(0x11, 1, 1, len(head), 0) + head)
    assert isinstance(item, SeenFrame)
    assert item.head == {"(a map)": None}
    head = b"\x82\x91\x01\xc0\x91\x02\xc0"
    (item,) = annotate(pack_header(0x11, 1, 1, len(head), 0) + head)
    assert isinstance(item, SeenFrame)
    assert item.head == {"(an array)": None}
    assert not any("comes twice" in problem.text for problem in item.problems)


@pytest.mark.parametrize(("levels", "readable"), [(63, True), (64, False), (900, False)])
def test_a_deep_head_is_shown_as_bytes(levels: int, readable: bool) -> None:
    head = b"\x81\xa1a" + b"\x91" * (levels - 1) + b"\x90"
    (item,) = annotate(pack_header(0x11, 1, 1, len(head), 0) + head)
    assert isinstance(item, SeenFrame)
    assert (item.head is not None) is readable
    assert any("nested more than 8 levels" in problem.text for problem in item.problems)
    assert json.dumps(to_map(item, "C"))
    assert ("head 81 a1 61 91" in "".join(lines(item, "C"))) is not readable


def test_a_type_that_is_to_be_skipped_is_no_problem() -> None:
    (item,) = annotate(pack_header(0x91, 0xFF, 0, 0, 0))
    assert isinstance(item, SeenFrame)
    assert item.problems == ()
    assert "0x91 stream=0 0xff (skipped by receivers)" in lines(item)[0]


def test_every_frame_of_the_vectors_that_is_right_has_no_problem() -> None:
    checked = 0
    for case in vectors():
        if not case.get("encode"):
            continue
        for item in annotate(bytes.fromhex(case["hex"])):
            assert isinstance(item, SeenFrame | Preface), case["id"]
            assert [problem for problem in item.problems if problem.part != "tail"] == [], case["id"]
            checked += 1
    assert checked > 50


@pytest.mark.req("PXW-AUT-020")
def test_tokens_are_hidden_unless_asked_for() -> None:
    (item,) = annotate(frame(Auth("bearer", TOKEN)))
    for shown in (json.dumps(to_map(item)), "\n".join(lines(item))):
        assert TOKEN not in shown
        assert "hidden" in shown
    assert TOKEN in json.dumps(to_map(item, show_secrets=True))


@pytest.mark.req("PXW-SEC-006")
def test_control_characters_of_a_peer_are_escaped() -> None:
    nasty = "j\x1b[31m\u202e\x07"
    packed = b"\x81\xa3job" + bytes([0xA0 + len(nasty.encode())]) + nasty.encode()
    (item,) = annotate(pack_header(0x11, 1, 1, len(packed), 0) + packed)
    text = "\n".join(lines(item))
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "[31m" in text


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n....", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (PARAMS, "msgpack map"),
        (b"hello, w\xc3\xb6rld", "text"),
        (b"\x00\x01\x02", None),
        (b"", None),
    ],
)
def test_guesses(data: bytes, kind: str | None) -> None:
    assert guess(data) == kind
