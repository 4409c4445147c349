"""Known figures in, the right medians, ratios and verdicts out."""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import pytest
from benchmarks import measure, processes, record
from benchmarks.measure import Summary, Target


async def test_contestants_run_in_turn_and_ratios_are_taken_inside_a_round() -> None:
    order: list[str] = []
    figures = {"floor": iter([1.0, 10.0, 2.0]), "ours": iter([2.0, 30.0, 2.0])}

    async def run(name: str) -> dict[str, float]:
        order.append(name)
        return {"us": next(figures[name])}

    steps: list[None] = []
    results = await measure.in_turn(
        3, {"floor": lambda: run("floor"), "ours": lambda: run("ours")}, lambda: steps.append(None)
    )
    assert order == ["floor", "ours"] * 3
    assert len(steps) == 6
    assert measure.summarise(results)["ours"]["us"] == Summary(2.0, 2.0, 30.0)
    assert measure.ratios(results, "us", "floor")["ours"] == Summary(2.0, 1.0, 3.0)


@pytest.mark.parametrize(
    ("op", "limit", "median", "met"),
    [("<=", 1.4, 1.4, True), ("<=", 1.4, 1.41, False), (">=", 10, 10, True), (">=", 10, 9.99, False)],
)
def test_a_target_is_met_by_the_median(op: str, limit: float, median: float, met: bool) -> None:
    target = Target("round trip over echo", op, limit, "the study")  # type: ignore[arg-type]
    measured = Summary(median, 0.0, 99.0)
    assert target.met(measured) is met
    found = target.record(measured)
    assert found["met"] is met
    assert found["measured"] == {"median": median, "low": 0.0, "high": 99.0}
    assert (found["op"], found["limit"], found["unit"], found["source"]) == (op, limit, "x", "the study")


def test_a_target_that_was_not_measured_is_neither_met_nor_missed() -> None:
    found = Target("x", "<=", 1, "s").record(None)
    assert found["met"] is None
    assert found["measured"] is None


# --- processes


def test_a_child_runs_on_its_core_and_its_costs_are_its_own() -> None:
    core = processes.TWO_CORES.server
    before = os.sched_getaffinity(0)
    with processes.child("benchmarks.floor", "--core", str(core), core=core) as echo:
        assert os.sched_getaffinity(echo.pid) == {core}
        assert os.sched_getaffinity(0) == before
        assert 0 < int(echo.line) < 65536
        assert 0 < processes.cpu_seconds(echo.pid) <= echo.cpu_seconds() < 60
        assert 5e6 < echo.resident_bytes() < 1e9
        assert processes.family(os.getpid()).count(echo.pid) == 1
    with pytest.raises(ProcessLookupError):
        processes.resident_bytes(echo.pid)


def test_cpu_seconds_are_those_of_the_process() -> None:
    before, own = processes.cpu_seconds(os.getpid()), time.process_time()
    while time.process_time() - own < 0.05:
        pass
    between = processes.cpu_seconds(os.getpid()) - before
    assert 0.05 <= between < 0.5


def test_a_child_that_ends_before_it_is_ready_is_said_to() -> None:
    with (
        pytest.raises(RuntimeError, match=r"this was not ready .*status 0"),
        processes.child("this", ready="-" * 99, timeout=30),
    ):
        raise AssertionError("it was ready")


def test_a_child_that_never_gets_ready_is_ended() -> None:
    command = processes.child("http.server", "0", ready="no such line", timeout=0.5)
    with pytest.raises(RuntimeError, match=r"within 0\.5 s"), command:
        raise AssertionError("it was ready")


def test_congestion_control_is_set_recorded_and_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = tmp_path / "tcp_congestion_control"
    setting.write_text("bbr\n")
    monkeypatch.setattr(measure, "CONGESTION", setting)
    monkeypatch.setattr(measure, "MEASURED_UNDER", {})
    with processes.congestion("cubic") as used:
        assert used == setting.read_text() == "cubic"
    assert setting.read_text() == "bbr"
    assert measure.machine()["congestion_control"] == "cubic"


def test_where_congestion_control_may_not_be_set_it_is_recorded_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "MEASURED_UNDER", {})
    monkeypatch.setattr(measure, "CONGESTION", tmp_path / "absent")
    with processes.congestion("cubic") as used:
        assert used is None
    assert not (tmp_path / "absent").exists()


# --- the record


def options(*arguments: str) -> argparse.Namespace:
    return record.parse(record.parser("d", rounds=7), arguments)


def test_rounds_are_as_asked_for_else_few_when_quick() -> None:
    assert options().rounds == 7
    assert options("--quick").rounds == record.QUICK_ROUNDS
    assert options("--quick", "--rounds", "5").rounds == 5
    with pytest.raises(SystemExit):
        options("--rounds", "0")


def test_a_record_says_all_that_is_needed_to_judge_it(tmp_path: Path) -> None:
    file = tmp_path / "new" / "x.json"
    figures = {"ours": {"p50_us": Summary(2.0, 1.0, 3.0)}}
    target = Target("t", "<=", 2.5, "s")
    record.write(
        options("--json", str(file)), "x", results=figures, ratios={"over echo": {"ours": Summary(1.5, 1.0, 2.0)}},
        targets=[(target, Summary(2.0, 1.0, 3.0))], notes=["n"], extra={"s": Summary(1.0, 1.0, 1.0)},
    )  # fmt: skip
    data = json.loads(file.read_text())
    assert data["results"]["ours"]["p50_us"] == {"median": 2.0, "low": 1.0, "high": 3.0}
    assert data["ratios"]["over echo"]["ours"]["median"] == 1.5
    assert data["targets"][0]["met"] is True
    assert data["extra"] == {"s": {"median": 1.0, "low": 1.0, "high": 1.0}}
    assert (data["rounds"], data["quick"], data["notes"]) == (7, False, ["n"])
    assert data["machine"]["cores"] == os.cpu_count()
    assert data["machine"]["python"] == sys.version.split()[0]


def test_the_command_can_be_repeated_and_names_no_path_of_this_machine() -> None:
    words = ["-m", "benchmarks.x", "--json", "/home/me/x y.json", "--rounds", "3"]
    assert record.command(words) == "python -m benchmarks.x --json 'x y.json' --rounds 3"


def test_figures_are_readable() -> None:
    assert record.cell(Summary(1234.5, 0.01234, 99.96)) == "1,234 (0.0123-100)"
    assert record.cell(3) == "3"
    assert record.duration(59) == "59 s"
    assert record.duration(125) == "2:05 minutes"
