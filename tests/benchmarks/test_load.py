"""Open-loop load: the schedule is Poisson's, and a request that leaves late has waited."""

import asyncio
import itertools
import statistics
import time

import pytest
from benchmarks import load


def test_a_schedule_is_that_of_its_seed() -> None:
    assert load.poisson(100, 2, 1) == load.poisson(100, 2, 1)
    assert load.poisson(100, 2, 1) != load.poisson(100, 2, 2)


def test_a_schedule_has_the_rate_and_the_spread_of_a_poisson_process() -> None:
    times = load.poisson(1000, 20, 7)
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] < 20
    assert len(times) == pytest.approx(20_000, rel=0.03)
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert statistics.mean(gaps) == pytest.approx(0.001, rel=0.03)
    assert statistics.stdev(gaps) == pytest.approx(statistics.mean(gaps), rel=0.05)  # exponential: as wide as its mean
    seconds = [sum(int(at) == second for at in times) for second in range(20)]
    assert statistics.variance(seconds) == pytest.approx(
        statistics.mean(seconds), rel=0.9
    )  # neither even nor in bursts


@pytest.mark.parametrize(("rate", "seconds"), [(0, 1), (1, 0), (-1, 1)])
def test_a_schedule_wants_a_rate_and_a_length(rate: float, seconds: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        load.poisson(rate, seconds, 1)


async def test_requests_leave_when_due_whether_or_not_others_are_answered() -> None:
    everyone = asyncio.Event()
    running: set[int] = set()

    async def call(number: int) -> None:
        running.add(number)
        if len(running) == 5:
            everyone.set()
        await everyone.wait()  # a closed loop would wait here for ever

    found = await load.offer(call, [0.0, 0.001, 0.002, 0.003, 0.004])
    assert found.counts() == {"ok": 5}
    assert found.held == 0


async def test_latency_counts_the_waiting_of_a_late_send() -> None:
    """All five are due at once and only one may run: the fifth has waited for four."""
    wait = 0.02

    async def call(number: int) -> None:
        await asyncio.sleep(wait)

    found = await load.offer(call, [0.0] * 5, at_most=1)
    assert found.held >= 4
    assert found.of("ok").percentile(100) >= 5 * wait * 0.99
    assert found.of("ok").percentile(0) < 4 * wait * 10
    assert found.late.percentile(100) >= 4 * wait * 0.99


async def test_latency_counts_a_stall_of_the_generator() -> None:
    async def call(number: int) -> None:
        if number == 0:
            time.sleep(0.05)  # the loop stands still, and the other requests are due meanwhile

    found = await load.offer(call, [0.0, 0.001, 0.002])
    assert found.of("ok").percentile(100) >= 0.049
    assert found.of("ok").percentile(1) >= 0.047  # that of the last, which took no time itself


async def test_outcomes_are_told_apart() -> None:
    async def call(number: int) -> str | None:
        if number == 1:
            raise ConnectionResetError
        if number == 2:
            await asyncio.Event().wait()
        return "shed" if number == 3 else None

    found = await load.offer(call, [0.0] * 5, grace=0.05)
    assert found.counts() == {"ConnectionResetError": 1, "ok": 2, "shed": 1, "unfinished": 1}
    assert found.of("unfinished").percentile(100) >= 0.05
    assert found.goodput() == pytest.approx(2 / found.seconds)
    assert found.of("never").figures()["p99_ms"] == 0


async def test_cancelling_a_load_cancels_its_requests() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def call(number: int) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    running = asyncio.create_task(load.offer(call, [0.0, 1000.0]))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended.is_set()


async def test_no_requests_no_latencies() -> None:
    found = await load.offer(lambda number: asyncio.sleep(0), [])
    assert found.counts() == {}
    assert found.goodput() == 0


def test_percentiles_are_right_to_three_digits() -> None:
    latencies = load.Latencies()
    for ms in range(1, 1001):
        latencies.add(ms / 1000)
    assert latencies.count == 1000
    assert latencies.percentile(50) == pytest.approx(0.500, rel=0.002)
    assert latencies.percentile(99) == pytest.approx(0.990, rel=0.002)
    assert latencies.figures()["max_ms"] == pytest.approx(1000, rel=0.002)
    assert latencies.mean == pytest.approx(0.5005, rel=0.002)


def test_what_is_too_small_or_too_large_is_kept_at_the_end_of_the_scale() -> None:
    latencies = load.Latencies()
    latencies.add(0.0)
    latencies.add(1e9)
    assert latencies.count == 2
    assert latencies.percentile(0) == pytest.approx(1e-6)
    assert latencies.percentile(100) == pytest.approx(3600, rel=0.002)


def test_a_curve_ends_where_the_requests_do() -> None:
    latencies = load.Latencies()
    for ms in range(1, 201):
        latencies.add(ms / 1000)
    curve = latencies.curve()
    assert [at for at, _ in curve] == sorted(at for at, _ in curve)
    assert [value for _, value in curve] == sorted(value for _, value in curve)
    assert 99 <= curve[-1][0] < 99.9  # 200 requests say nothing about one in a thousand


def test_rounds_are_merged_by_outcome() -> None:
    rounds = []
    for seconds in (0.001, 0.003):
        latencies = load.Latencies()
        latencies.add(seconds)
        rounds.append(load.Offered({"ok": latencies}))
    merged = load.merged(rounds)
    assert merged["ok"].count == 2
    assert merged["ok"].percentile(100) == pytest.approx(0.003, rel=0.002)


async def test_latency_begins_when_a_request_is_due_not_when_the_load_does() -> None:
    found = await load.offer(lambda number: asyncio.sleep(0), [0.05])
    assert found.of("ok").percentile(100) <= (found.seconds - 0.05) * 1.001
