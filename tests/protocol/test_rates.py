"""Buckets and what a Connection counts for them. Time is an argument: nothing here waits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from protocol_pair import END, STATUS, drain, raw, ready, request
from upload_pair import data, opening

from pixwire_protocol import messages as m
from pixwire_protocol.connection import Connection, Role
from pixwire_protocol.limits import Limits, default
from pixwire_protocol.rates import Bucket, Counts, Rates
from pixwire_protocol.registry import MAX_CREDIT, ErrorCode, FrameType


@given(
    st.floats(0.1, 1000),
    st.integers(1, 100),
    st.lists(st.tuples(st.floats(0, 2), st.integers(0, 5)), max_size=60),
)
def test_a_bucket_gives_no_more_than_its_rate(rate: float, burst: int, steps: list[tuple[float, int]]) -> None:
    bucket = Bucket(rate, burst, 10.0)
    now, taken = 10.0, 0
    for pause, n in steps:
        now += pause
        before = bucket.tokens
        if bucket.take(n, now):
            taken += n
        else:
            assert bucket.tokens >= before
            assert bucket.tokens < n
        assert -1e-6 <= bucket.tokens <= burst
        assert taken <= burst + (now - 10.0) * rate + 1e-6
    wait = bucket.wait(now)
    assert wait == 0 or not bucket.take(1, now)
    assert bucket.take(1, now + wait + 1e-6)


def test_a_clock_that_jumps_back_costs_nothing() -> None:
    bucket = Bucket(1, 2, 100.0)
    assert bucket.take(2, 100.0)
    assert not bucket.take(1, 50.0)
    assert not bucket.take(1, 100.5)
    assert bucket.take(1, 101.0)


@pytest.mark.req("PXW-LIM-006")
def test_requests_wait_when_too_many_come() -> None:
    rates = Rates(Limits(stream_rate=10), 0.0)
    assert [rates.open(0.0) for _ in range(10)] == [None] * 10
    assert rates.open(0.0) == 100
    assert rates.open(0.05) == 50
    assert rates.open(0.1) is None
    assert rates.open(0.1) == 100
    assert rates.check(Counts(opens=1000), 0.1) is None  # it is no reason to end the connection


SOURCES = {
    "aborts": ("abort_burst", "abort_rate"),
    "credits": ("credit_burst", "credit_rate"),
    "ignorable": ("ignorable_burst", "ignorable_rate"),
    "unknown": ("ignorable_burst", "ignorable_rate"),
}


@pytest.mark.req("PXW-LIM-007", "PXW-LIM-009", "PXW-LIM-010")
@pytest.mark.parametrize("name", SOURCES)
def test_a_burst_and_then_a_rate(name: str) -> None:
    burst, rate = (default(limit) for limit in SOURCES[name])
    for step in (1, 7):
        rates, counts, now = Rates(Limits(), 0.0), Counts(), 0.0
        done = 0
        while done + step <= burst:
            done += step
            setattr(counts, name, done)
            assert rates.check(counts, now) is None
            assert rates.check(counts, now) is None  # nothing new
        for _ in range(50):  # exactly the rate, for a while
            now += step / rate + 1e-9
            done += step
            setattr(counts, name, done)
            assert rates.check(counts, now) is None
        setattr(counts, name, done + burst % step + step)
        verdict = rates.check(counts, now)
        assert verdict is not None
        assert verdict[0] is ErrorCode.EXCESSIVE_LOAD
        assert str(burst) in verdict[1]


@pytest.mark.req("PXW-LIM-008", "PXW-KAL-006")
def test_pings() -> None:
    burst = default("ping_burst")
    rates, counts = Rates(Limits(min_ping_ms=1000), 0.0), Counts()
    counts.pings = burst
    assert rates.check(counts, 0.0) is None
    counts.pings += 1
    assert rates.check(counts, 0.999) is not None
    rates, counts = Rates(Limits(min_ping_ms=1000), 0.0), Counts()
    for second in range(3 * burst):
        counts.pings += 1
        assert rates.check(counts, float(second)) is None


def test_any_number_of_pings_when_they_are_free() -> None:
    rates, counts = Rates(Limits(min_ping_ms=0), 0.0), Counts()
    for _ in range(5000):
        counts.pings += 1
        assert rates.check(counts, 0.0) is None


@pytest.mark.req("PXW-LIM-009")
def test_credit_that_is_worth_its_frames() -> None:
    mean, burst = default("credit_mean"), default("credit_burst")
    rates, counts = Rates(Limits(), 0.0), Counts()
    for _ in range(10 * burst):
        counts.credits += 1
        counts.credit_bytes += mean
        assert rates.check(counts, 0.0) is None
    # One large grant does not pay for small ones for ever.
    counts.credits += 1
    counts.credit_bytes += MAX_CREDIT
    verdicts = 0
    for _ in range(3 * burst):
        counts.credits += 1
        counts.credit_bytes += 1
        verdicts += rates.check(counts, 0.0) is not None
    assert verdicts


# ---------------------------------------------------------------------- what is counted


def counted(connection: Connection, *received: bytes) -> Counts:
    for part in received:
        connection.receive(part)
    return connection.counts


def test_each_thing_is_counted_as_what_it_is() -> None:
    assert counted(ready(Role.SERVER)) == Counts()
    assert counted(ready(Role.SERVER), request(1), request(3)) == Counts(opens=2)
    assert counted(ready(Role.SERVER), raw(FrameType.PING, 0, tail=b"12345678") * 3) == Counts(pings=3)
    assert counted(ready(Role.SERVER), raw(0x99, 7) * 2, raw(0x80, 0)) == Counts(ignorable=3)
    assert counted(ready(Role.SERVER), raw(0x42, 1)) == Counts(opens=1, unknown=1, aborts=1)
    credit = raw(FrameType.CREDIT, 0, {"n": 700})
    assert counted(ready(Role.SERVER), credit, credit) == Counts(credits=2, credit_bytes=1400)
    assert counted(ready(Role.CLIENT), credit).credit_bytes == 700


@pytest.mark.parametrize(
    "fault",
    [
        raw(FrameType.STATUS, 1, {"job": "a b"}, flags=END),
        raw(FrameType.STATUS, 1, {"job": "j", "crit": ["x"]}, flags=END),
        opening(1, 0),
    ],
)
def test_refusals_of_faulty_requests_are_aborts(fault: bytes) -> None:
    assert counted(ready(Role.SERVER), fault) == Counts(opens=1, aborts=1)


def test_resets_are_aborts_until_the_answer_has_left() -> None:
    reset = raw(FrameType.RESET, 1, {"code": 0})
    assert counted(ready(Role.SERVER), request(1) + reset).aborts == 1
    assert counted(ready(Role.SERVER), opening(1, 5) + data(1, 2) + reset).aborts == 1
    error = raw(FrameType.ERROR, 1, {"code": 5}, flags=END)
    assert counted(ready(Role.SERVER), request(1) + error).aborts == 1
    connection = ready(Role.SERVER)
    connection.receive(request(1))
    connection.send(1, m.Result(STATUS), end=True)
    assert counted(connection, reset).aborts == 1  # answered at once, but the answer is still here
    connection = ready(Role.SERVER)
    connection.receive(request(1))
    connection.send(1, m.Result(STATUS), end=True)
    drain(connection)
    assert counted(connection, reset).aborts == 0


def test_a_rapid_reset_is_seen_however_the_server_answers() -> None:
    """Streams that are opened and reset in one read never reach max_streams."""
    connection = ready(Role.SERVER, max_streams=2)
    rates = Rates(Limits(stream_rate=1_000_000), 0.0)
    for number in range(default("abort_burst") + 1):
        stream = 2 * number + 1
        assert rates.check(connection.counts, 0.0) is None
        connection.receive(request(stream) + raw(FrameType.RESET, stream, {"code": 0}))
        drain(connection)
    verdict = rates.check(connection.counts, 0.0)
    assert verdict is not None
    assert connection.goaway(*verdict)


def test_streams_beyond_the_limit_and_late_credit() -> None:
    connection = ready(Role.SERVER, max_streams=1)
    connection.receive(request(1) + request(3))
    assert connection.counts == Counts(opens=2, aborts=1)
    connection.receive(raw(FrameType.CREDIT, 3, {"n": 1_000_000}))
    assert connection.counts == Counts(opens=2, aborts=1, credits=1)  # granted to nobody
