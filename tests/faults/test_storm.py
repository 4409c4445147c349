"""Kills at random moments: a short storm here, the long one is `make crash`."""

import random
from pathlib import Path

import pytest
import storm
from crashing import MANY, Nursery

KILLS = 10


@pytest.mark.req("PXW-JOB-003")
@pytest.mark.req("PXW-JOB-004")
@pytest.mark.parametrize("max_attempts", [MANY, 3])
async def test_no_job_is_lost_in_a_storm(nursery: Nursery, tmp_path: Path, max_attempts: int) -> None:
    seed = random.SystemRandom().getrandbits(31)
    print(f"python tests/faults/storm.py --seed {seed}")  # shown when it fails
    found = await storm.run(nursery, tmp_path, KILLS, seed, max_attempts=max_attempts)
    assert sum(found["kills"].values()) >= KILLS
    assert found["ends"]["succeeded"] > 0
    assert max(found["jobs by number of runs"]) > 1, "no kill met a running job"
