"""All benchmarks by one command: in order, on after a failure, a status that says so."""

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks import __main__ as everything
from benchmarks.catalog import Benchmark

SCRIPT = """
import json, sys, pathlib
arguments = sys.argv[1:]
pathlib.Path(arguments[arguments.index("--json") + 1]).write_text(json.dumps({"benchmark": "x", "results": {}}))
with open(pathlib.Path(__file__).parent / "order", "a") as out:
    print(*arguments, file=out)
for end in ("read", "write"):
    if f"--{end}" in arguments:
        (pathlib.Path(__file__).parent / "pipe").open(end[0]).close()
if "--fail" in arguments:
    raise SystemExit("went wrong")
if "--hang" in arguments:
    import subprocess, time
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print(child.pid, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def benchmarks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Benchmark]:
    (tmp_path / "bench_of_test.py").write_text(SCRIPT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    found = [
        Benchmark("one", "One", "", ("bench_of_test", "--fail"), ("--quick",), 100, 1),
        Benchmark("two", "Two", "", ("bench_of_test",), ("--quick",), 100, 1, plots=True),
        Benchmark("three", "Three", "", ("bench_of_test",), None, 100),
        Benchmark("four", "Four", "", ("bench_of_test",), ("--quick",), 100, 1, bundled=False),
    ]
    monkeypatch.setattr(everything, "BENCHMARKS", found)
    return found


def test_one_that_fails_does_not_stop_the_others_and_is_named(
    benchmarks: list[Benchmark], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "results"
    assert everything.main(["--quick", "--folder", str(folder)]) == 1
    out = capsys.readouterr().out
    assert "FAILED one: status 1; see" in out
    assert "1 of 2 benchmarks in" in out
    assert "went wrong" in (folder / "one.log").read_text()
    assert not (folder / "two.log").exists()
    assert (folder / "report.html").exists()
    ran = (tmp_path / "order").read_text().splitlines()
    assert sorted(ran) == [
        f"--fail --quick --json {folder}/one.json",
        f"--quick --json {folder}/two.json --plots {folder}",
    ]


def test_a_quick_run_has_two_at_a_time_and_any_other_one(
    benchmarks: list[Benchmark], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two that wait for each other: a pipe opens when it has both its ends."""
    os.mkfifo(tmp_path / "pipe")
    ends = [Benchmark(end, "", "", ("bench_of_test", f"--{end}"), ("--quick",), 0, 0) for end in ("read", "write")]
    monkeypatch.setattr(everything, "BENCHMARKS", ends)
    assert everything.main(["--quick", "--folder", str(tmp_path / "r")]) == 0
    monkeypatch.setattr(everything, "LEAST_S", 1)
    assert everything.main(["--folder", str(tmp_path / "r")]) == 1


def test_an_interrupted_run_ends_what_runs(benchmarks: list[Benchmark], tmp_path: Path) -> None:
    """It comes back when nothing runs any more; the one that hangs would take minutes."""
    os.mkfifo(tmp_path / "pipe")
    hangs = Benchmark("hangs", "", "", ("bench_of_test", "--write", "--hang"), ("--quick",), 0, 0)
    ends = Benchmark("ends", "", "", ("bench_of_test", "--read"), ("--quick",), 0, 0)
    never = Benchmark("never", "", "", ("bench_of_test",), ("--quick",), 0, 0)

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        everything.run_all([hangs, ends, never], tmp_path, lambda _: None, interrupt, quick=True)
    assert "hang" in (tmp_path / "order").read_text()


def test_what_is_named_runs_whether_or_not_it_belongs_to_the_whole(benchmarks: list[Benchmark], tmp_path: Path) -> None:
    assert everything.main(["--folder", str(tmp_path / "r"), "--only", "four", "three"]) == 0
    ran = (tmp_path / "order").read_text().splitlines()
    assert ran == [f"--json {tmp_path}/r/three.json", f"--json {tmp_path}/r/four.json"]
    with pytest.raises(SystemExit, match="there is no benchmark 'five'; there are one, two, three, four"):
        everything.main(["--only", "five"])


def test_one_that_hangs_is_ended(benchmarks: list[Benchmark], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs = Benchmark("hangs", "", "", ("bench_of_test", "--hang"), ("--quick",), 0, 0)
    monkeypatch.setattr(everything, "LEAST_S", 0.2)
    assert everything.run(hangs, tmp_path, {}, quick=True).startswith("ended after 0.2 s; see ")


def test_what_is_ended_takes_along_all_it_started(benchmarks: list[Benchmark], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench_of_test", "--hang", "--json", str(tmp_path / "x.json")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        below = os.pidfd_open(int(process.stdout.readline()))
        everything._end(process)
        try:
            assert select.select([below], [], [], 30)[0]  # readable when that process has ended
        finally:
            os.close(below)


def test_the_list_names_commands_and_durations(
    benchmarks: list[Benchmark], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert everything.main(["--list", "--folder", "f"]) == 0
    out = capsys.readouterr().out
    assert "two: Two; 100 s, quick 1 s" in out
    assert "python -m bench_of_test --json f/two.json --plots f" in out
    assert "three: Three; 100 s, no quick form" in out
    assert "four: Four; 100 s, quick 1 s; by --only alone" in out
