"""What SPEC.md demands of a sender, and what no single vector can show: two Connections, wired back to back."""

import itertools
import re
import struct
import tomllib
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest

from pixwire_protocol import messages as m
from pixwire_protocol.connection import Connection, Failed, Received, Role, Settings
from pixwire_protocol.errors import (
    DrainingError,
    LocalProtocolError,
    MessageTooLargeError,
    NotReadyError,
    TooManyStreamsError,
    error_class,
)
from pixwire_protocol.grease import make_grease
from pixwire_protocol.header import pack_header
from pixwire_protocol.keepalive import Keepalive
from pixwire_protocol.limits import Limits
from pixwire_protocol.profile import pack_map
from pixwire_protocol.registry import HEAD_KEY, PREFACE, ErrorCode, FrameType
from pixwire_protocol.status import JOB_TRANSITIONS, JobState

REGISTRY = tomllib.loads((Path(__file__).parents[2] / "protocol" / "registry.toml").read_text(encoding="utf-8"))
STATUS: dict[str, Any] = {"job": "j", "kind": "txt2img", "state": "queued", "seq": 1}
req = pytest.mark.req


class Sent:
    """One frame as it went over the wire."""

    def __init__(self, data: bytes) -> None:
        word, self.type, self.flags, head_len, self.stream = struct.unpack_from("!IBBHI", data)
        self.size = 12 + (word & 0xFFFFFF)
        head = data[12 : 12 + head_len]
        self.head: dict[str, Any] = msgpack.unpackb(head) if head else {}
        self.tail = data[12 + head_len : self.size]


def frames(data: bytes) -> list[Sent]:
    found = []
    while data:
        found.append(Sent(data))
        data = data[found[-1].size :]
    return found


def output(connection: Connection) -> bytes:
    data = b""
    while connection.has_output:
        data += b"".join(connection.data_to_send())
    return data


class Pair:
    """A client and a server that are READY; `log` keeps what each side sent."""

    def __init__(self, client: dict[str, Any] | None = None, server: dict[str, Any] | None = None) -> None:
        self.client = Connection(Role.CLIENT, Settings(agent="c", **(client or {})))
        self.server = Connection(Role.SERVER, Settings(agent="s", **(server or {})))
        self.received: dict[Role, list[Any]] = {Role.CLIENT: [], Role.SERVER: []}
        self.log: dict[Role, list[Sent]] = {Role.CLIENT: [], Role.SERVER: []}
        self.exchange()

    def exchange(self) -> None:
        """Carry bytes both ways until nothing moves."""
        moved = True
        while moved:
            moved = self.carry(Role.CLIENT) | self.carry(Role.SERVER)

    def carry(self, source: Role) -> bool:
        here, there = (self.client, self.server) if source is Role.CLIENT else (self.server, self.client)
        data = output(here)
        other = Role.SERVER if source is Role.CLIENT else Role.CLIENT
        self.received[other] += there.receive(data)
        self.log[source] += frames(data.removeprefix(PREFACE) if data.startswith(PREFACE) else data)
        return bool(data)

    def fetch(self, size: int) -> tuple[int, bytes]:
        """A FETCH whose artifact the server begins to send; returns stream and content."""
        stream = self.client.open(m.Fetch("j"))
        self.exchange()
        body = {"job": "j", "artifact": 0, "etag": "e", "size": size, "offset": 0, "length": size}
        self.server.send(stream, m.Result(body))
        content = bytes(i % 251 for i in range(size))
        self.server.send_data(stream, content, end=True)
        return stream, content

    def data_of(self, stream: int) -> bytes:
        items = [x for x in self.received[Role.CLIENT] if isinstance(x, Received) and x.stream == stream]
        return b"".join(bytes(x.message.tail) for x in items if isinstance(x.message, m.Data))


def failure(incoming: list[Any]) -> ErrorCode:
    assert isinstance(incoming[-1], Failed), incoming
    return incoming[-1].error.code


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


# ------------------------------------------------------------------ flow control


@req("PXW-FLW-001")
@req("PXW-FLW-002")
@req("PXW-FLW-007")
@pytest.mark.parametrize(("stream_window", "connection_window"), [(1024, 65536), (65536, 1500), (1024, 1024)])
def test_data_stay_within_both_windows_and_go_on_with_credit(stream_window: int, connection_window: int) -> None:
    pair = Pair(client={"stream_window": stream_window, "connection_window": connection_window})
    stream, content = pair.fetch(5000)
    pair.exchange()
    window, consumed = min(stream_window, connection_window), 0
    assert len(pair.data_of(stream)) == window
    while consumed < len(content):
        held = len(pair.data_of(stream)) - consumed
        assert 0 < held <= window
        pair.client.consumed(stream, held)
        consumed += held
        pair.exchange()
    assert pair.data_of(stream) == content
    assert not any(isinstance(item, Failed) for item in pair.received[Role.CLIENT])


@req("PXW-FLW-008")
def test_the_connections_credit_comes_back_for_streams_that_ended_or_were_reset() -> None:
    pair = Pair(client={"stream_window": 1024, "connection_window": 1024})
    for round_ in range(20):
        stream, content = pair.fetch(1000)
        pair.exchange()
        assert pair.data_of(stream) == content, round_
        stream, _ = pair.fetch(5000)
        pair.exchange()
        assert len(pair.data_of(stream)) >= 512, round_
        pair.client.reset(stream)
        pair.exchange()


@req("PXW-FLW-011")
def test_a_slow_stream_holds_up_nothing_else() -> None:
    pair = Pair(client={"stream_window": 2048, "connection_window": 8192})
    slow, _ = pair.fetch(100_000)
    pair.exchange()
    fast, content = pair.fetch(2000)
    status = pair.client.open(m.Status("j"))
    pair.exchange()
    pair.server.send(status, m.Result(STATUS), end=True)
    pair.client.ping(bytes(8))
    pair.exchange()
    assert len(pair.data_of(slow)) == 2048
    assert pair.data_of(fast) == content
    kinds = [type(item.message) for item in pair.received[Role.CLIENT] if isinstance(item, Received)]
    assert m.Pong in kinds
    assert kinds.count(m.Result) == 3


@req("PXW-FLW-012")
def test_data_without_bytes_are_not_sent_unless_they_end_the_stream() -> None:
    pair = Pair()
    stream = pair.client.open(m.Fetch("j"))
    pair.exchange()
    pair.server.send(stream, m.Result({"job": "j", "length": 1}))
    pair.server.send_data(stream, b"")
    pair.exchange()
    assert FrameType.DATA not in {frame.type for frame in pair.log[Role.SERVER]}


@req("PXW-KAL-002")
def test_pong_overtakes_data() -> None:
    pair = Pair(client={"stream_window": 1 << 20})
    stream, content = pair.fetch(900_000)
    pair.client.ping(b"12345678")
    pair.server.receive(output(pair.client))
    sent = frames(output(pair.server))
    pong = next(place for place, frame in enumerate(sent) if frame.type == FrameType.PING)
    data = [place for place, frame in enumerate(sent) if frame.type == FrameType.DATA]
    assert pong < data[0]
    assert sum(len(sent[place].tail) for place in data) == len(content)
    assert stream == 1


# ------------------------------------------------------------------ events


def progress(seq: int) -> m.Event:
    return m.Event({"job": "j", "seq": seq, "event": "progress", "step": seq, "steps": 9, "attempt": 1})


@req("PXW-JOB-007")
@req("PXW-JOB-008")
@req("PXW-JOB-009")
def test_lossy_events_give_way_and_states_do_not() -> None:
    pair = Pair()
    stream = pair.client.open(m.Watch("j", want=("progress", "preview")))
    pair.exchange()
    pair.server.send(stream, m.Result(STATUS))
    pair.exchange()
    before = len(pair.log[Role.SERVER])
    for seq in (2, 3):
        pair.server.send(stream, progress(seq))
    pair.server.send(stream, m.Event(STATUS | {"event": "state", "seq": 4}))
    pair.server.send(stream, m.Event(STATUS | {"event": "state", "seq": 5}))
    for seq in (6, 7):
        pair.server.send(stream, progress(seq))
        pair.server.send(stream, m.Preview("j", seq, seq, 9, "image/png", 1, 1, b"x"))
    pair.exchange()
    sent = [(frame.type, frame.head["seq"]) for frame in pair.log[Role.SERVER][before:]]
    assert sent[:2] == [(FrameType.EVENT, 4), (FrameType.EVENT, 5)]
    assert sorted(sent[2:]) == [(FrameType.EVENT, 7), (FrameType.PREVIEW, 7)]


@req("PXW-JOB-014")
def test_the_states_are_those_of_the_table() -> None:
    assert set(JOB_TRANSITIONS) == set(JobState)
    assert {state.value for state in JobState} == {"queued", "running", "succeeded", "failed", "cancelled", "expired"}


# ------------------------------------------------------------------ errors


@req("PXW-ERR-008")
@pytest.mark.parametrize("text", ["m" * 5000, "\N{ARTIST PALETTE}" * 700])
def test_a_long_message_is_cut_at_a_character(text: str) -> None:
    pair = Pair()
    stream = pair.client.open(m.Status("j"))
    pair.exchange()
    pair.server.send_error(stream, ErrorCode.INTERNAL, text)
    pair.exchange()
    message = pair.log[Role.SERVER][-1].head["message"]
    assert 1000 < len(message.encode()) <= 1024
    assert text.startswith(message)


@req("PXW-ERR-010")
def test_unknown_codes_have_the_class_of_their_range() -> None:
    codes = {0x01F0: "connection", 0x02F0: "auth", 0x03F0: "request", 0x04F0: "capacity", 0x05F0: "execution"}
    assert {code: error_class(code) for code in codes} == codes
    assert error_class(0xE001) == "private"
    assert error_class(0x7777) == "unknown"


# ------------------------------------------------------------------ limits


@req("PXW-LIM-001")
def test_pings_of_a_peer_that_reads_nothing_end_the_connection() -> None:
    pair = Pair(server={"control_frames": 16})
    ping = b"".join(m.encode(m.Ping(bytes(8))))
    assert not any(isinstance(item, Failed) for item in pair.server.receive(ping * 16))
    assert failure(pair.server.receive(ping)) is ErrorCode.EXCESSIVE_LOAD
    assert frames(output(pair.server))[-1].head["code"] == ErrorCode.EXCESSIVE_LOAD


@req("PXW-LIM-002")
def test_replies_for_a_peer_that_reads_nothing_end_the_connection() -> None:
    pair = Pair(server={"reply_bytes": 65536})
    stream = pair.client.open(m.Watch("j"))
    pair.exchange()
    pair.server.send(stream, m.Result(STATUS))
    event = m.Event(STATUS | {"event": "state", "note": "n" * 1000})
    sent = 0
    while pair.server.send(stream, event):
        sent += 1
        assert sent < 100
    assert frames(output(pair.server))[-1].head["code"] == ErrorCode.SLOW_CONSUMER


@req("PXW-LIM-003")
def test_a_run_of_tiny_data_ends_the_connection() -> None:
    pair = Pair(client={"small_data_run": 16})
    stream = pair.client.open(m.Fetch("j"))
    data = b"".join(m.encode(m.Data(b"x"), stream))
    large = b"".join(m.encode(m.Data(bytes(1024)), stream))
    pair.client.receive(b"".join(m.encode(m.Result({"job": "j", "length": 10**6}), stream)))
    for _ in range(3):  # a large one ends the run
        assert not any(isinstance(item, Failed) for item in pair.client.receive(data * 16 + large))
    assert failure(pair.client.receive(data * 17)) is ErrorCode.EXCESSIVE_LOAD


@req("PXW-SEC-004")
def test_an_announced_frame_costs_no_more_than_max_frame_and_an_unwanted_one_nothing() -> None:
    wanted = pack_header(FrameType.SUBMIT, 1, 1, 10, 262_000) + bytes(10)
    unwanted = pack_header(0x90, 0, 0, 0, 262_144) + bytes(10)
    for data, most in ((wanted, 300_000), (unwanted, 20_000)):
        pair = Pair()
        tracemalloc.start()
        pair.server.receive(data)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert used < most


# ------------------------------------------------------------------ keepalive, drain


@req("PXW-KAL-004")
@req("PXW-KAL-005")
@req("PXW-KAL-006")
def test_a_peer_is_given_up_only_after_silence_and_an_unanswered_ping() -> None:
    limits = Limits(idle_ms=60_000, ping_timeout_ms=20_000, min_ping_ms=5_000)
    alive = Keepalive(limits, 0.0)
    pings, now = [], 0.0
    while alive.poll(now) != "dead":
        now = max(now + 0.001, alive.next_deadline(now))
        if alive.poll(now) == "ping":
            pings.append(now)
        assert now < 200
    assert now >= 80.0
    assert any(ping >= 60.0 for ping in pings)
    assert all(later - earlier >= 5.0 for earlier, later in itertools.pairwise(pings))
    alive.on_receive(now)  # a single byte, not a PONG
    assert alive.poll(now + 59.0) != "dead"
    assert alive.poll(now + 79.0) != "dead"


@req("PXW-DRN-001")
@req("PXW-DRN-004")
@req("PXW-DRN-007")
def test_a_drain_in_two_steps() -> None:
    pair = Pair()
    stream = pair.client.open(m.Watch("j"))
    pair.exchange()
    pair.server.goaway(ErrorCode.DRAINING, "stopping", last_stream=2**31 - 1, grace_ms=1000)
    crossing = pair.client.open(m.Status("j"))  # sent before the client heard of it
    pair.exchange()
    with pytest.raises(DrainingError):
        pair.client.open(m.Status("j"))
    pair.server.goaway(ErrorCode.DRAINING, "stopping")
    pair.server.goaway(ErrorCode.DRAINING, "stopping", last_stream=2**31 - 1)
    pair.server.send(stream, m.Result(STATUS))
    pair.server.send(crossing, m.Result(STATUS), end=True)
    pair.server.send(stream, m.Event(STATUS | {"event": "state", "state": "failed"}), end=True)
    pair.exchange()
    goodbyes = [frame.head["last_stream"] for frame in pair.log[Role.SERVER] if frame.type == FrameType.GOAWAY]
    assert goodbyes == [2**31 - 1, crossing, crossing]
    ended = [item.stream for item in pair.received[Role.CLIENT] if isinstance(item, Received) and item.end]
    assert sorted(ended) == [stream, crossing]


@req("PXW-CON-012")
@pytest.mark.parametrize(
    "last_word", [m.Error(ErrorCode.INTERNAL, "INTERNAL"), m.GoAway(0, ErrorCode.PROTOCOL_ERROR, "PROTOCOL_ERROR")]
)
def test_after_the_peers_last_word_nothing_is_opened(last_word: m.Message) -> None:
    pair = Pair()
    pair.client.receive(b"".join(m.encode(last_word)))
    with pytest.raises(LocalProtocolError):
        pair.client.open(m.Status("j"))
