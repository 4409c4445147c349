"""Delays and silence, as pure functions."""

from hypothesis import given
from hypothesis import strategies as st

from pixwire_server.jobs.supervision import Liveness, RestartPolicy


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_delays_grow_within_bounds(deaths: int, jitter: float) -> None:
    policy = RestartPolicy()
    delay = policy.delay(deaths, jitter)
    assert policy.base_delay_s / 2 <= delay <= policy.max_delay_s
    assert policy.delay(deaths + 1, jitter) >= delay
    assert policy.delay(deaths, 0.0) <= delay


def test_delays_double() -> None:
    policy = RestartPolicy(base_delay_s=1.0, max_delay_s=10.0)
    assert [policy.delay(n, 1.0) for n in range(1, 6)] == [1.0, 2.0, 4.0, 8.0, 10.0]


@given(st.lists(st.booleans(), max_size=60), st.booleans(), st.integers(1, 5), st.integers(1, 9))
def test_silence_is_counted_from_the_last_word(says: list[bool], ready: bool, short: int, long: int) -> None:
    """Each element is a tick, and whether the engine says something after it."""
    liveness = Liveness(RestartPolicy(silent_ticks=short, start_ticks=long))
    silent = 0
    for word in says:
        silent += 1
        assert liveness.tick(ready) == (silent > (short if ready else long))
        if word:
            liveness.seen()
            silent = 0
