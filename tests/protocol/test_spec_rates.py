"""SPEC.md 11.1: how fast is too fast, from the bytes of a client to the verdict. Time is a number here."""

from collections.abc import Callable

import pytest
from protocol_pair import END, raw, ready, request

from pixwire_protocol.connection import Connection, Role
from pixwire_protocol.limits import Limits, default
from pixwire_protocol.rates import Rates
from pixwire_protocol.registry import ErrorCode, FrameType

req = pytest.mark.req
Frames = Callable[[int], bytes]


def opened_and_reset(place: int) -> bytes:
    """Rapid reset: a request and its end in one segment."""
    stream = 2 * place + 1
    return request(stream) + raw(FrameType.RESET, stream, {"code": 0})


def made_you_reset(place: int) -> bytes:
    """A request that the server has to refuse."""
    return request(2 * place + 1, job="")


def ping(_: int) -> bytes:
    return raw(FrameType.PING, 0, tail=bytes(8))


def small_credit(_: int) -> bytes:
    return raw(FrameType.CREDIT, 0, {"n": 1023})


def large_credit(_: int) -> bytes:
    return raw(FrameType.CREDIT, 0, {"n": 1024})


def ignorable(_: int) -> bytes:
    return raw(0x80, 0)


def unknown(place: int) -> bytes:
    return raw(0x3F, 2 * place + 1, flags=END)


def send(connection: Connection, rates: Rates, frames: Frames, first: int, count: int, now: float) -> ErrorCode | None:
    """The verdict on `count` frames that come together, and on none."""
    connection.receive(b"".join(frames(place) for place in range(first, first + count)))
    while connection.has_output:
        connection.data_to_send()
    verdict = rates.check(connection.counts, now)
    return None if verdict is None else verdict[0]


@pytest.mark.parametrize(
    ("frames", "burst", "rate"),
    [
        pytest.param(opened_and_reset, "abort_burst", "abort_rate", marks=req("PXW-LIM-007"), id="rapid-reset"),
        pytest.param(made_you_reset, "abort_burst", "abort_rate", marks=req("PXW-LIM-007"), id="made-you-reset"),
        pytest.param(small_credit, "credit_burst", "credit_rate", marks=req("PXW-LIM-009"), id="credit"),
        pytest.param(ignorable, "ignorable_burst", "ignorable_rate", marks=req("PXW-LIM-010"), id="ignorable"),
        pytest.param(unknown, "ignorable_burst", "ignorable_rate", marks=req("PXW-LIM-010"), id="unknown"),
    ],
)
def test_a_burst_is_allowed_then_the_rate_and_no_more(frames: Frames, burst: str, rate: str) -> None:
    many, per_second = default(burst), default(rate)
    connection = ready(Role.SERVER, control_frames=100_000, control_bytes=16_777_216)
    rates = Rates(Limits(), 0.0)
    assert send(connection, rates, frames, 0, many, 0.0) is None
    assert send(connection, rates, frames, many, per_second, 1.0) is None
    assert send(connection, rates, frames, many + per_second, 1, 1.0) is ErrorCode.EXCESSIVE_LOAD


@req("PXW-LIM-008")
def test_pings_come_no_faster_than_declared() -> None:
    connection, burst = ready(Role.SERVER), default("ping_burst")
    rates = Rates(Limits(min_ping_ms=5_000), 0.0)
    assert send(connection, rates, ping, 0, burst, 0.0) is None
    assert send(connection, rates, ping, 0, 1, 5.0) is None
    assert send(connection, rates, ping, 0, 1, 9.9) is ErrorCode.EXCESSIVE_LOAD


@req("PXW-LIM-008")
def test_without_a_declared_pause_pings_are_not_counted() -> None:
    connection = ready(Role.SERVER)
    rates = Rates(Limits(min_ping_ms=0), 0.0)
    for now in range(20):
        assert send(connection, rates, ping, 0, 500, float(now)) is None


@req("PXW-LIM-009")
def test_credit_that_is_worth_its_frame_is_never_too_much() -> None:
    connection = ready(Role.SERVER)
    rates = Rates(Limits(), 0.0)
    for _ in range(20):
        assert send(connection, rates, large_credit, 0, default("credit_burst"), 0.0) is None


@req("PXW-LIM-006")
def test_streams_open_as_fast_as_declared() -> None:
    rates = Rates(Limits(stream_rate=50), 0.0)
    assert [rates.open(0.0) for _ in range(50)] == [None] * 50
    wait = rates.open(0.0)
    assert wait is not None
    assert 0 < wait <= 20
    assert rates.open(wait / 1000) is None
