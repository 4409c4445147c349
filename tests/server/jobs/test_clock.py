"""A wall clock that jumps while the server runs."""

import time

from pixwire_server.jobs import Clock
from pixwire_server.jobs.clock import steady

DAY_NS = 86_400 * 10**9


def test_jumps_of_the_wall_clock_are_not_followed() -> None:
    wall, boot = [1_700_000_000 * 10**9], [5 * 10**9]
    now_ms = steady(lambda: wall[0], lambda: boot[0])
    assert now_ms() == 1_700_000_000_000
    for jump in (DAY_NS, -3 * DAY_NS):
        wall[0] += jump
        assert now_ms() == 1_700_000_000_000
    boot[0] += 1_500_000_000
    assert now_ms() == 1_700_000_001_500


def test_the_clock_begins_with_the_time_of_day() -> None:
    before = time.time_ns() // 1_000_000
    now_ms = Clock().wall_ms
    assert before - 1 <= now_ms() <= time.time_ns() // 1_000_000 + 1
    first = now_ms()
    assert now_ms() >= first
