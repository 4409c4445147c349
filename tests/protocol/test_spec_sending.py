"""What SPEC.md demands of a sender, and what no single vector can show: two Connections, wired back to back."""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest
from sending_pair import STATUS, Pair, frames, output

from pixwire_protocol import messages as m
from pixwire_protocol.connection import Connection, Failed, Role, Settings
from pixwire_protocol.errors import (
    LocalProtocolError,
    MessageTooLargeError,
    NotReadyError,
    TooManyStreamsError,
)
from pixwire_protocol.grease import make_grease
from pixwire_protocol.header import pack_header
from pixwire_protocol.profile import pack_map
from pixwire_protocol.registry import HEAD_KEY, PREFACE, ErrorCode, FrameType

REGISTRY = tomllib.loads((Path(__file__).parents[2] / "protocol" / "registry.toml").read_text(encoding="utf-8"))
req = pytest.mark.req


# ------------------------------------------------------------------ handshake


@req("PXW-CON-001")
@req("PXW-HSK-001")
@req("PXW-HSK-002")
def test_a_client_says_preface_and_hello_and_then_waits() -> None:
    client = Connection(Role.CLIENT, Settings(agent="c"))
    data = output(client)
    assert data[:8] == PREFACE
    (hello,) = frames(data[8:])
    assert (hello.type, hello.flags, hello.stream) == (FrameType.HELLO, 0, 0)
    with pytest.raises(NotReadyError):
        client.open(m.Status("j"))
    with pytest.raises(LocalProtocolError):
        client.ping(bytes(8))
    assert not client.has_output


@req("PXW-HSK-003")
@req("PXW-HSK-004")
def test_a_server_says_nothing_before_it_is_spoken_to() -> None:
    server = Connection(Role.SERVER, Settings(agent="s"))
    assert output(server) == b""
    server.receive(PREFACE)
    assert output(server) == PREFACE
    server.receive(b"".join(m.encode(m.Hello("c"))))
    (welcome,) = frames(output(server))
    assert (welcome.type, welcome.flags) == (FrameType.HELLO, 1)


@req("PXW-HSK-009")
def test_a_server_repeats_only_features_that_were_offered_and_that_it_knows() -> None:
    for offered, active in (((), []), (("x-later",), []), (("x-later", "preview"), ["preview"])):
        pair = Pair(client={"features": offered})
        assert pair.log[Role.SERVER][0].head.get("features", []) == active


# ------------------------------------------------------------------ frames


@req("PXW-FRM-003")
def test_what_exceeds_the_peers_max_frame_is_refused_here() -> None:
    pair = Pair(client={"max_frame": 4096}, server={"max_frame": 8192})
    with pytest.raises(MessageTooLargeError):
        pair.client.open(m.Submit("j", "txt2img", bytes(8192)))
    stream = pair.client.open(m.Submit("j", "txt2img", bytes(8000)))
    pair.exchange()
    with pytest.raises(MessageTooLargeError):
        pair.server.send(stream, m.Result(STATUS | {"note": "n" * 4096}), end=True)
    pair.server.send(stream, m.Result(STATUS), end=True)
    pair.fetch(50_000)
    pair.exchange()
    assert max(frame.size for frame in pair.log[Role.SERVER]) <= 12 + 4096
    assert not any(isinstance(item, Failed) for item in pair.received[Role.CLIENT])


@req("PXW-FRM-009")
@pytest.mark.parametrize(
    ("head", "tail", "stream"),
    [(2**16, 0, 1), (0, 2**24, 1), (2**16 - 1, 2**24 - 2**16 + 1, 1), (0, 0, -1), (0, 0, 2**31), (0, 0, 2**32 + 1)],
)
def test_a_number_that_does_not_fit_its_field_is_refused(head: int, tail: int, stream: int) -> None:
    with pytest.raises(LocalProtocolError):
        pack_header(FrameType.SUBMIT, 1, stream, head, tail)


@req("PXW-FRM-009")
def test_the_largest_numbers_fit() -> None:
    header = pack_header(FrameType.SUBMIT, 1, 2**31 - 1, 2**16 - 1, 2**24 - 2**16)
    assert header == bytes.fromhex("c1ffffff 10 01 ffff 7fffffff")


@req("PXW-FRM-017")
@req("PXW-MSG-017")
def test_only_assigned_flag_bits_are_sent_and_no_key_twice() -> None:
    pair = Pair()
    stream = pair.client.open(m.Watch("j", want=("progress",), deliver=True))
    pair.client.ping(bytes(8))
    pair.exchange()
    pair.server.send(stream, m.Result(STATUS))
    pair.server.send(stream, m.Event(STATUS | {"event": "state"}))
    pair.server.send_error(stream, ErrorCode.INTERNAL, "no", details={"field": "x"})
    gone, _ = pair.fetch(10)
    pair.client.reset(gone)
    pair.server.goaway(ErrorCode.DRAINING, "bye")
    pair.exchange()
    for sender, log in pair.log.items():
        for frame in log:
            entries = [entry for entry in REGISTRY["message"] if entry["type"] == frame.type]
            allowed = any(entry["ack"] or entry["end"] != "never" for entry in entries)
            assert frame.flags in ((0, 1) if allowed else (0,)), (sender, frame.type, frame.flags)
    for message in (m.Watch("j", 3, ("a", "b"), True), m.Error(1, "n", "m", "no", "yes", 3, {"a": 1})):
        head = b"".join(m.encode(message, 1))[12:]
        pairs = msgpack.unpackb(head, object_pairs_hook=lambda items: [key for key, _ in items])
        assert len(pairs) == len(set(pairs))


@req("PXW-MSG-004")
def test_every_key_of_a_head_has_the_form_of_a_key() -> None:
    names = [field["name"] for kind in ("message", "body") for entry in REGISTRY[kind] for field in entry["fields"]]
    assert names
    assert [name for name in names if not re.fullmatch(HEAD_KEY, name)] == []


@req("PXW-MSG-005")
@pytest.mark.parametrize("value", [msgpack.ExtType(1, b"x"), msgpack.Timestamp(1), float("nan"), {1: 2}, "s" * 16385])
def test_what_the_profile_forbids_is_not_sent(value: Any) -> None:
    with pytest.raises(LocalProtocolError):
        pack_map({"x": value})


@req("PXW-EXT-008")
@req("PXW-EXT-009")
def test_grease_uses_what_is_reserved_for_it() -> None:
    for byte in range(256):
        grease = make_grease(bytes([byte]) * 8)
        assert 0x80 <= frames(grease.frame)[0].type <= 0xBF
        assert grease.feature.startswith("grease-")
        assert grease.key.startswith("grease_")
        pair = Pair(client={"grease": grease})
        pair.client.open(m.Status("j"))
        pair.exchange()
        assert pair.server.open_streams == 1


# ------------------------------------------------------------------ streams


@req("PXW-STR-001")
@req("PXW-STR-002")
@req("PXW-STR-004")
@req("PXW-STR-006")
def test_requests_open_odd_rising_streams_with_end_and_only_clients_do() -> None:
    pair = Pair()
    opened = [pair.client.open(m.Status(f"j{i}")) for i in range(5)]
    pair.exchange()
    assert all(stream % 2 == 1 for stream in opened)
    assert opened == sorted(set(opened))
    assert [(frame.stream, frame.flags) for frame in pair.log[Role.CLIENT][1:]] == [(stream, 1) for stream in opened]
    with pytest.raises(LocalProtocolError):
        pair.server.open(m.Status("j"))


@req("PXW-STR-008")
def test_a_client_sends_nothing_more_on_a_stream_than_credit_and_reset() -> None:
    pair = Pair()
    stream = pair.client.open(m.Watch("j"))
    pair.exchange()
    sends: list[Callable[[], object]] = [
        lambda: pair.client.send(stream, m.Result(STATUS)),
        lambda: pair.client.send_data(stream, b"x"),
        lambda: pair.client.send_error(stream, ErrorCode.INTERNAL, "no"),
    ]
    for send in sends:
        with pytest.raises(LocalProtocolError):
            send()
    assert not pair.client.has_output


@req("PXW-STR-012")
def test_a_server_keeps_to_the_grammar_of_a_stream() -> None:
    pair = Pair()
    plain, watched, fetched = (pair.client.open(x) for x in (m.Status("j"), m.Watch("j"), m.Fetch("j")))
    pair.exchange()
    sends: list[Callable[[], object]] = [
        lambda: pair.server.send(plain, m.Result(STATUS)),
        lambda: pair.server.send(plain, m.Event(STATUS | {"event": "state"}), end=True),
        lambda: pair.server.send(watched, m.Event(STATUS | {"event": "state"})),
        lambda: pair.server.send_data(watched, b"x"),
        lambda: pair.server.send_data(fetched, b"x"),
        lambda: pair.server.send(fetched, m.Preview("j", 1, 1, 1, "image/png", 1, 1, b"x")),
    ]
    for send in sends:
        with pytest.raises(LocalProtocolError):
            send()
    pair.exchange()
    assert len(pair.log[Role.SERVER]) == 1  # WELCOME


@req("PXW-STR-010")
@req("PXW-STR-011")
@req("PXW-STR-014")
@pytest.mark.parametrize("how", ["end", "error", "reset", "peer"])
def test_nothing_follows_the_end_of_a_stream(how: str) -> None:
    pair = Pair()
    stream = pair.client.open(m.Watch("j"))
    pair.exchange()
    pair.server.send(stream, m.Result(STATUS))
    match how:
        case "end":
            pair.server.send(stream, m.Event(STATUS | {"event": "state", "state": "failed"}), end=True)
        case "error":
            pair.server.send_error(stream, ErrorCode.INTERNAL, "no")
        case "reset":
            pair.server.reset(stream, ErrorCode.INTERNAL)
        case "peer":
            pair.client.reset(stream)
            pair.exchange()
    assert pair.server.send(stream, m.Event(STATUS | {"event": "state"})) is False
    assert pair.server.send_error(stream, ErrorCode.INTERNAL, "no") is False
    assert pair.server.reset(stream) is False
    pair.exchange()
    on_stream = [frame for frame in pair.log[Role.SERVER] if frame.stream == stream]
    ended = [frame for frame in on_stream if frame.flags & 1 or frame.type == FrameType.RESET]
    assert ended == ([] if how == "peer" else on_stream[-1:])
    if how == "error":
        assert (on_stream[-1].type, on_stream[-1].flags) == (FrameType.ERROR, 1)


@req("PXW-STR-019")
def test_a_client_opens_no_more_streams_than_allowed() -> None:
    pair = Pair(server={"max_streams": 2})
    first = pair.client.open(m.Status("a"))
    pair.client.open(m.Status("b"))
    with pytest.raises(TooManyStreamsError):
        pair.client.open(m.Status("c"))
    pair.exchange()
    pair.server.send(first, m.Result(STATUS), end=True)
    pair.exchange()
    pair.client.open(m.Status("c"))
