"""What a side keeps to when it sends, as SPEC.md asks: credit, order, bounds, time and the end of a connection."""

import itertools
import tracemalloc

import pytest
from sending_pair import STATUS, Pair, failure, frames, output

from pixwire_protocol import messages as m
from pixwire_protocol.connection import Failed, Received, Role
from pixwire_protocol.errors import (
    DrainingError,
    LocalProtocolError,
    error_class,
)
from pixwire_protocol.header import pack_header
from pixwire_protocol.keepalive import Keepalive
from pixwire_protocol.limits import Limits
from pixwire_protocol.registry import ErrorCode, FrameType
from pixwire_protocol.status import JOB_TRANSITIONS, JobState

req = pytest.mark.req


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
