"""JSON and phrases -> frames: what a person writes, legal or not, and plain words for what cannot be meant."""

import json
from pathlib import Path

import pytest
from wire_bytes import PARAMS, frame, frames, given

from pixwire.wire.annotate import see
from pixwire.wire.build import Streams, frame_from, frame_of, hex_bytes
from pixwire.wire.errors import InputError
from pixwire.wire.phrase import candidates, parse_line
from pixwire.wire.shown import to_map
from pixwire_protocol.messages import Cancel, Data, Ping, Status, Submit


def test_what_is_left_out_is_what_it_usually_is() -> None:
    streams = Streams()
    assert frame_of('{"type": "status", "head": {"job": "a"}}', streams) == frame(Status("a"), 1, end=True)
    assert frame_of('{"type": "CANCEL", "head": {"job": "a"}}', streams) == frame(Cancel("a"), 3, end=True)
    submit = '{"type": "SUBMIT", "head": {"job": "a", "kind": "txt2img"}, "tail": {"prompt": "a red circle"}}'
    assert frame_of(submit, streams) == frame(Submit("a", "txt2img", PARAMS), 5, end=True)
    assert frame_of('{"type": "PING", "tail": "hex: 31 32 33 34 35 36 37 38"}', streams) == frame(Ping(b"12345678"))


def test_a_stream_id_of_one_s_own_is_not_given_again() -> None:
    streams = Streams()
    frame_of('{"type": "STATUS", "stream": 41, "head": {"job": "a"}}', streams)
    assert see(frame_of('{"type": "STATUS", "head": {"job": "a"}}', streams)).stream == 43


@pytest.mark.parametrize("last", [2**31 - 1, 2**32 - 1])
def test_when_the_stream_ids_are_used_up(last: int) -> None:
    streams = Streams()
    frame_of(f'{{"type": "STATUS", "stream": {last}, "head": {{"job": "a"}}}}', streams)
    with pytest.raises(InputError, match=f"no stream id above {last} is left"):
        frame_of('{"type": "STATUS", "head": {"job": "a"}}', streams)


@pytest.mark.parametrize("name", ["a\\u0000b", "a\\ud800b"])
def test_names_that_no_file_has(name: str) -> None:
    with pytest.raises(InputError, match="no file can have this name"):
        frame_of(f'{{"type": "DATA", "tail": "@{name}"}}', Streams())


def test_a_submit_with_attachments_has_no_end() -> None:
    head = {"job": "a", "kind": "img2img", "attachments": [{"name": "image"}]}
    assert not see(frame_from({"type": "SUBMIT", "head": head, "tail": {}}, Streams())).end


def test_anything_can_be_broken() -> None:
    order = {"type": 0x91, "flags": 0xFF, "stream": 2**32 - 1, "head": "hex:00", "tail": {"$hex": "ff"}, "length": 7}
    data = frame_from({**order, "head_len": 9}, Streams())
    assert data.hex() == "c1000007" + "91ff0009" + "ffffffff" + "00ff"
    assert frame_of('{"hex": "0xc1, 00:01"}', Streams()) == b"\xc1\0\1"


def test_files(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(b"abc")
    order = {"type": "DATA", "stream": 1, "end": True, "tail": "@image"}
    assert frame_from(order, Streams(), folder=tmp_path) == frame(Data(b"abc"), 1, end=True)


@given(frames)
def test_what_was_shown_can_be_sent_again(data: bytes) -> None:
    """The JSON of `decode --tails` is enough to make the same frame."""
    seen = see(data)
    shown = to_map(seen, "C", show_secrets=True)
    order = {key: shown[key] for key in ("type", "flags", "stream")}
    if shown["head"] is not None:
        order["head"] = shown["head"]
    again = see(frame_of(json.dumps({**order, "tail": f"hex:{seen.tail.hex()}"}), Streams()))
    assert (again.head, again.tail, again.flags, again.stream) == (seen.head, seen.tail, seen.flags, seen.stream)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", r"a frame is a JSON object, not \[\]"),
        ("[" * 100_000, "nested too deep"),
        ('{"type": "STATUS", "head": {"a": ' + "[" * 600 + "]" * 600 + "}}", "cannot be sent as msgpack"),
        ('{"type": "NONSENSE"}', "type must be a number from 0 to 255 or one of HELLO"),
        ('{"type": true}', "type must be"),
        ('{"typ": "PING"}', "unknown key 'typ'"),
        ('{"type": "PING", "stream": -1}', "stream must be an integer"),
        ('{"type": "PING", "end": 1}', "end must be true or false"),
        ('{"type": "PING", "flags": 256}', "flags must be an integer from 0 to 255"),
        ('{"type": "PING", "tail": 5}', "a head or tail is a map"),
        ('{"type": "PING", "tail": "hex:0"}', "1 digits make no whole number of bytes"),
        ('{"type": "PING", "tail": "hex:0g"}', "not hex: 'g' at digit 2"),
        ('{"type": "PING", "tail": "@/does/not/exist"}', "cannot read '/does/not/exist'"),
        ('{"type": "STATUS", "head": {"job": 99999999999999999999999}}', "cannot be sent as msgpack"),
        ('{"hex": 5}', "hex must be a string"),
    ],
)
def test_what_cannot_be_meant_is_said(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        frame_of(text, Streams())


def test_hex_of_any_spelling() -> None:
    assert hex_bytes("C1 00\n0x01,02") == bytes.fromhex("c1000102")


# ---------------------------------------------------------------------- the repl's language


def test_phrases() -> None:
    streams = Streams()
    assert parse_line("status job=a", streams) == frame(Status("a"), 1, end=True)
    line = 'submit job=a kind=txt2img watch=true want=progress,preview tail.prompt="a red circle"'
    assert parse_line(line, streams) == frame(
        Submit("a", "txt2img", PARAMS, watch=True, want=("progress", "preview")), 3, end=True
    )
    assert parse_line("status job=7 stream=9 end=false", streams) == frame(Status("7"), 9)
    assert parse_line("ping", streams) == frame(Ping(bytes(8)))
    assert parse_line("hex c1 00", streams) == b"\xc1\0"
    assert parse_line('json {"type": "PING", "tail": "12345678"}', streams) == frame(Ping(b"12345678"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("frobnicate job=a", "'frobnicate' is neither a message nor a command"),
        ("status j", "'j' is no field=value"),
        ("status job=!", "job must be a string of 1 to 64"),
        ("watch job=a after_seq=soon", "after_seq must be an integer"),
        ("submit job=a kind=txt2img watch=perhaps", "watch must be true or false"),
        ('status job="a', "quote"),
        ("ping job=a", "PING has no head"),
    ],
)
def test_types_are_checked(line: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_line(line, Streams())


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("sta", ["status"]),
        ("he", ["hello", "help", "hex"]),
        ("help SUB", ["SUBMIT"]),
        ("fetch o", ["offset="]),
        ("fetch job=a ar", ["artifact="]),
        ("submit job=a jo", []),
        ("submit watch=", ["watch=true", "watch=false"]),
        ("submit tail.neg", ["tail.negative_prompt="]),
        ("list what=m", ["what=models"]),
        ("data t", ["tail="]),
        ("nonsense x", []),
    ],
)
def test_completion_comes_from_the_registry(line: str, expected: list[str]) -> None:
    assert candidates(line) == expected
