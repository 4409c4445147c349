"""The soak itself: a few seconds of it, and whether it sees what leaks. The long run is `make soak`."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the helpers beside this file; tests are no package
sys.path.insert(0, str(Path(__file__).parent.parent / "faults"))

from crashing import Nursery
from gauge import MIB, Limits, Rest, Sample, judge
from soak import soak

REST = Rest(rss=50 * MIB, descriptors=20, threads=8, tasks=["sweep", "serve"], engines=1)
LEVEL = [Sample(second, 10 * second, 60 * MIB + second % 2 * MIB, 30, 5) for second in range(40)]
RISING = [Sample(second, 10 * second, 60 * MIB + second * MIB, 30, 5) for second in range(40)]


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    made = Nursery()
    yield made
    made.close()


async def test_some_seconds_of_everything(nursery: Nursery) -> None:
    report = await soak(nursery, minutes=0.1, seed=5, retain_s=2.0)
    assert report["problems"] == []
    assert report["did"]["ended succeeded"] > 0
    assert report["end"]["rows"] == 0


@pytest.mark.parametrize(
    ("leak", "word"),
    [
        ({"rows": 1}, "rows are left"),
        ({"files": ["artifacts/ab/abcd"]}, "files are left"),
        ({"tasks": ["sweep", "serve", "serve"]}, "1 tasks more"),
        ({"descriptors": 21}, "21 descriptors, 20 at first"),
        ({"threads": 30}, "30 threads"),
        ({"engines": 2}, "2 engine processes"),
        ({"journal_bytes": 100 * MIB}, "empty journal"),
    ],
)
def test_what_is_left_is_found(leak: dict[str, object], word: str) -> None:
    assert judge(REST, REST, LEVEL, Limits()) == []
    (problem,) = judge(REST, replace(REST, **leak), LEVEL, Limits())  # type: ignore[arg-type]
    assert word in problem


def test_memory_that_grows_with_the_work_is_found() -> None:
    (problem,) = judge(REST, REST, RISING, Limits())
    assert "memory has grown by 21.0 MiB" in problem
    assert judge(REST, REST, [], Limits()) == ["nothing was measured"]
