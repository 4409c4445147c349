"""The guard counts the same each time, and a path that got heavier fails."""

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
from benchmarks.guard import __main__ as guard
from benchmarks.guard import compare, protocol, scenario, server
from benchmarks.guard.compare import Judgement
from benchmarks.guard.counting import Counter, peak_memory

from pixwire_protocol.connection import Connection

LOOP = """
def work(times):
    for number in range(times):
        str(number)
"""


def ours(source: str, name: str = "work", **names: Any) -> Any:
    """A function as if it were part of one of our packages."""
    space: dict[str, Any] = dict(names)
    exec(compile(source, "/somewhere/pixwire_protocol/made_up.py", "exec"), space)
    return space[name]


def count(function: Any, *arguments: Any) -> tuple[int, int]:
    counter = Counter()
    with counter.on() as counts:
        function(*arguments)
    return counts.instructions, counts.calls


# --- counting


def test_instructions_grow_with_the_work_and_are_the_same_each_time() -> None:
    work = ours(LOOP)
    none, ten, twenty = (count(work, times)[0] for times in (0, 10, 20))
    assert count(work, 10)[0] == ten
    assert none > 0
    assert twenty - ten == ten - none
    assert (ten - none) / 10 in range(5, 20)  # a loop around one call


def test_of_foreign_code_only_calls_count() -> None:
    space: dict[str, Any] = {}
    exec(compile(LOOP, "/elsewhere/library.py", "exec"), space)
    instructions, calls = count(space["work"], 10)
    assert instructions == 0
    assert calls >= 1
    assert count(ours("def work(f):\n    f(1); f(1); f(1)"), space["work"])[1] == calls + 3


def test_what_the_other_side_does_is_left_out() -> None:
    work, counter = ours(LOOP), Counter()
    with counter.on() as counts:
        work(5)
        before = counts.instructions
        with counter.off():
            work(1000)
        assert counts.instructions == before
        work(5)
    assert counts.instructions == 2 * before


def test_threads_that_are_started_meanwhile_count() -> None:
    work, counter = ours(LOOP), Counter()
    go, done = threading.Event(), threading.Event()

    def body() -> None:
        go.wait()
        work(100)
        done.set()

    with counter.with_threads():
        thread = threading.Thread(target=body)
        thread.start()
        with counter.on() as counts:
            go.set()
            done.wait()
        thread.join()
    assert counts.instructions >= count(work, 100)[0]
    assert threading.gettrace() is None


def test_whoever_traced_before_goes_on_afterwards() -> None:
    def tracer(*_: object) -> None:
        return None

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        count(ours(LOOP), 1)
        assert sys.gettrace() is tracer
    finally:
        sys.settrace(before)


def test_peak_memory_is_that_of_the_work() -> None:
    assert 1_000_000 <= peak_memory(lambda: len(bytearray(1_000_000))) < 1_100_000
    assert peak_memory(lambda: None) < 10_000


# --- comparing


@pytest.mark.parametrize(
    ("expected", "found", "judgement"),
    [
        (1000, 1000, Judgement.SAME),
        (1000, 1200, Judgement.SAME),
        (1000, 1201, Judgement.WORSE),
        (1000, 800, Judgement.SAME),
        (1000, 799, Judgement.BETTER),
        (10, 29, Judgement.SAME),  # a few instructions
        (None, 5, Judgement.NEW),
        (5, None, Judgement.GONE),
    ],
)
def test_a_fifth_more_is_worse(expected: float | None, found: float | None, judgement: Judgement) -> None:
    before = {} if expected is None else {"instructions": expected}
    now = {} if found is None else {"instructions": found}
    (line,) = compare.compare({"path": before}, {"path": now})
    assert line.judgement is judgement
    assert (line in compare.bad([line])) is (judgement in (Judgement.WORSE, Judgement.GONE))


def test_a_path_that_is_gone_and_one_that_is_new_are_named() -> None:
    lines = compare.compare({"old": {"writes": 1}}, {"new": {"writes": 1}})
    assert [(line.scenario, line.judgement) for line in lines] == [("old", Judgement.GONE), ("new", Judgement.NEW)]
    assert compare.rows(lines)[0]["found"] == "-"


# --- the whole


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two quick groups, so that the command does not take its 15 seconds."""
    monkeypatch.setattr(guard, "GROUPS", (protocol.scenarios,))


@pytest.fixture
def recorded(few: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    path = tmp_path / "expected.json"
    assert guard.main(["--update", "--expected", str(path)]) == 0
    capsys.readouterr()
    return path


def test_nothing_changed_nothing_fails(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert guard.main(["--expected", str(recorded)]) == 0
    assert "none is more than 20% above what is expected" in capsys.readouterr().out


def test_a_slowed_path_fails_and_is_named(
    recorded: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    receive = Connection.receive
    slow = ours(
        "def receive(self, data):\n    for byte in data[:200]:\n        byte + 1\n    return fast(self, data)",
        "receive", fast=receive,
    )  # fmt: skip
    assert isinstance(slow, FunctionType)
    monkeypatch.setattr(Connection, "receive", slow)
    assert guard.main(["--expected", str(recorded)]) == 1
    out = capsys.readouterr().out
    assert "WORSE" in out
    assert "protocol: STATUS, both sides" in out
    assert "protocol: encode" not in out
    assert "are heavier by more than 20%" in out


def test_a_second_copy_of_an_image_fails(
    recorded: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    send_data = Connection.send_data
    monkeypatch.setattr(Connection, "send_data", lambda self, s, data, end: send_data(self, s, bytes(data) + b"", end))
    monkeypatch.setattr(protocol, "PIXELS", memoryview(protocol.PIXELS))
    assert guard.main(["--expected", str(recorded), "--only", "FETCH of"]) == 1
    assert "peak memory, KiB" in capsys.readouterr().out


def test_more_writes_for_the_same_frames_fail(tmp_path: Path) -> None:
    @contextmanager
    def prepare(counter: Counter) -> Iterator[scenario.Stage]:
        moved = scenario.Moved()

        def work() -> None:
            moved.writes += 4
            moved.bytes += 100

        yield scenario.Stage(work, 2, moved)

    figures = scenario.measure(scenario.Scenario("s", prepare, memory=False))
    assert (figures["writes"], figures["bytes sent"]) == (2, 50)
    (line,) = compare.bad(compare.compare({"s": {"writes": 1.0}}, {"s": {"writes": figures["writes"]}}))
    assert line.change == 1.0


def test_under_another_python_instructions_are_not_compared(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = json.loads(recorded.read_text())
    for row in data["figures"].values():
        row["instructions"] /= 10
    recorded.write_text(json.dumps(data | {"python": "3.0"}))
    assert guard.main(["--expected", str(recorded)]) == 0
    assert "expected figures are of Python 3.0" in capsys.readouterr().out
    for row in data["figures"].values():
        row["bytes sent"] /= 10
    recorded.write_text(json.dumps(data | {"python": "3.0"}))
    assert guard.main(["--expected", str(recorded)]) == 1


def test_an_update_of_some_leaves_the_others(recorded: Path) -> None:
    data = json.loads(recorded.read_text())
    data["figures"]["other"] = {"writes": 1}
    data["figures"]["protocol: encode STATUS"]["instructions"] = 1
    recorded.write_text(json.dumps(data))
    assert guard.main(["--update", "--only", "encode STATUS", "--expected", str(recorded)]) == 0
    after = json.loads(recorded.read_text())["figures"]
    assert after["other"] == {"writes": 1}
    assert after["protocol: encode STATUS"]["instructions"] > 100


def test_no_expected_figures_no_verdict(few: None, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="make it with --update"):
        guard.main(["--expected", str(tmp_path / "none.json")])
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(SystemExit, match="make it anew with --update"):
        guard.main(["--expected", str(tmp_path / "bad.json")])
    with pytest.raises(SystemExit, match="no scenario's name contains 'nothing'"):
        guard.main(["--only", "nothing"])


def test_a_servers_path_counts_the_same_each_time() -> None:
    chosen = next(one for one in server.scenarios() if one.name == "server: STATUS")
    first, second = scenario.measure(chosen), scenario.measure(chosen)
    assert first["instructions"] == pytest.approx(second["instructions"], rel=0.05)
    assert first["writes"] == second["writes"] == 1


def test_what_is_committed_names_the_scenarios_there_are() -> None:
    _, figures = guard.expected(guard.EXPECTED)
    assert list(figures) == [one.name for one in scenario.every(*guard.GROUPS)]
