"""The clock of a connection, with the time as an argument."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixwire_protocol.keepalive import Keepalive
from pixwire_protocol.limits import Limits

LIMITS = Limits(idle_ms=60_000, ping_timeout_ms=20_000, min_ping_ms=5_000)


def run(keepalive: Keepalive, start: float, until: float) -> list[tuple[float, str]]:
    """What poll() says when it is called at every deadline."""
    said: list[tuple[float, str]] = []
    now = start
    while now < until:
        now = max(now, keepalive.next_deadline(now))
        verdict = keepalive.poll(now)
        if verdict is not None:
            said.append((now - start, verdict))
        if verdict == "dead":
            break
    return said


@pytest.mark.req("PXW-KAL-005")
def test_silence() -> None:
    assert run(Keepalive(LIMITS, 100.0), 100.0, 1000.0) == [
        (20.0, "ping"),
        (40.0, "ping"),
        (60.0, "ping"),
        (80.0, "dead"),
    ]


@pytest.mark.req("PXW-KAL-004")
@pytest.mark.parametrize("heard", [0.0, 19.9, 20.5, 59.0, 61.0, 79.99])
def test_any_byte_starts_over(heard: float) -> None:
    keepalive = Keepalive(LIMITS, 0.0)
    run(keepalive, 0.0, heard)
    keepalive.on_receive(heard)
    assert keepalive.poll(heard) is None
    assert keepalive.next_deadline(heard) == heard + 20.0
    assert run(keepalive, heard, 1000.0)[-1] == (pytest.approx(80.0), "dead")


def test_early_and_late_polls() -> None:
    keepalive = Keepalive(LIMITS, 0.0)
    assert keepalive.poll(19.999) is None
    assert keepalive.poll(20.0) == "ping"
    assert keepalive.poll(20.0) is None
    assert keepalive.poll(39.9) is None


@pytest.mark.req("PXW-KAL-005")
def test_nobody_is_dead_who_was_not_asked() -> None:
    """A machine that slept for an hour asks first."""
    keepalive = Keepalive(LIMITS, 0.0)
    assert keepalive.poll(3600.0) == "ping"
    assert keepalive.poll(3619.0) is None
    assert keepalive.next_deadline(3619.0) == 3620.0
    keepalive.on_receive(3619.5)
    assert keepalive.poll(3620.0) is None


@pytest.mark.req("PXW-KAL-006")
@given(st.integers(1_000, 100_000), st.integers(0, 100_000), st.integers(1_000, 50_000))
def test_pings_keep_their_distance_and_the_end_comes(idle: int, least: int, timeout: int) -> None:
    said = run(Keepalive(Limits(idle_ms=idle, ping_timeout_ms=timeout, min_ping_ms=least), 0.0), 0.0, 1e9)
    pings = [when for when, verdict in said if verdict == "ping"]
    assert said[-1][1] == "dead"
    assert said[-1][0] == pytest.approx((idle + timeout) / 1000)
    assert len(pings) <= 4
    for before, after in itertools.pairwise(pings[:-1]):
        assert after - before >= least / 1000 - 1e-9
    assert pings[-1] == pytest.approx(idle / 1000)


@pytest.mark.req("PXW-HSK-008")
def test_the_handshake_has_its_own_deadline() -> None:
    keepalive = Keepalive(LIMITS, 5.0, handshake_ms=10_000)
    assert keepalive.next_deadline(5.0) == 15.0
    keepalive.on_receive(14.0)  # dribbling gives no more time
    assert keepalive.poll(14.9) is None
    assert keepalive.poll(15.0) == "dead"
    keepalive.on_ready(14.0)
    assert keepalive.poll(15.0) is None
    assert keepalive.next_deadline(15.0) == 34.0


def test_limits_may_change_with_the_handshake() -> None:
    keepalive = Keepalive(LIMITS, 0.0)
    keepalive.on_limits(Limits(idle_ms=3000, ping_timeout_ms=1000, min_ping_ms=0), 10.0)
    assert run(keepalive, 10.0, 100.0) == [(1.0, "ping"), (2.0, "ping"), (3.0, "ping"), (4.0, "dead")]
