"""Run all benchmarks, then write the report: `python -m benchmarks [--quick]`.

    python -m benchmarks                        # everything, into benchmarks/results
    python -m benchmarks --quick                # under three minutes, into benchmarks/results/quick
    python -m benchmarks --only transport peers # some of them
    python -m benchmarks --list                 # their commands and how long they take

Each is a process of its own, and nothing else runs beside it. A quick run shows that all work and is no result, so
there two run at a time. One that fails does not stop the others; it is named at the end, and the status is 1.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import record
from benchmarks.catalog import BENCHMARKS, Benchmark
from benchmarks.report.__main__ import write as write_report

FOLDER, QUICK_FOLDER = Path("benchmarks/results"), Path("benchmarks/results/quick")
SLACK = 5
"""A benchmark that takes so many times as long as it should (and four minutes) hangs, and is ended."""
LEAST_S, STOP_S = 240, 20
QUICK_AT_ONCE = 2

Running = dict[str, "subprocess.Popen[bytes]"]
"""What runs now, by name."""


def chosen(only: Sequence[str] | None, *, quick: bool) -> list[Benchmark]:
    """Those that were named; without names those that belong to the whole. Raises SystemExit for an unknown name."""
    known = {one.record: one for one in BENCHMARKS}
    for name in only or ():
        if name not in known:
            raise SystemExit(f"there is no benchmark {name!r}; there are {', '.join(known)}")
    picked = [one for one in BENCHMARKS if (one.record in only if only else one.bundled)]
    return [one for one in picked if one.quick is not None or not quick]


def estimate(benchmarks: Sequence[Benchmark], *, quick: bool) -> int:
    """Seconds that they take together on two cores."""
    return sum(one.quick_seconds if quick else one.seconds for one in benchmarks)


def run(one: Benchmark, folder: Path, running: Running, *, quick: bool) -> str:
    """Run it; what went wrong, or nothing. Its log stays in the folder when it fails."""
    log = folder / f"{one.record}.log"
    limit = SLACK * estimate([one], quick=quick) + LEAST_S
    with log.open("w") as out:
        command = [sys.executable, "-m", *one.command(str(folder), quick=quick)]
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
        running[one.record] = process
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            _end(process)
            return f"ended after {limit} s; see {log}"
        finally:
            del running[one.record]
    if status:
        return f"status {status}; see {log}"
    log.unlink()
    return ""


def _end(process: "subprocess.Popen[bytes]") -> None:
    """As Ctrl-C would, so that it ends its servers; then it and all it has started."""
    with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
        process.send_signal(signal.SIGINT)
        process.wait(STOP_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run_all(
    benchmarks: Sequence[Benchmark],
    folder: Path,
    say: Callable[[str], None],
    done: Callable[[int], None],
    *,
    quick: bool,
) -> dict[str, str]:
    """Run them in order. What went wrong, by name. `say` hears what runs, `done` the estimated seconds of each that has
    ended. Interrupted, it ends those that run.
    """
    failed: dict[str, str] = {}
    running: Running = {}

    def begin(one: Benchmark) -> tuple[str, float]:
        at = time.perf_counter()
        say(", ".join([*running, one.record]))
        return run(one, folder, running, quick=quick), time.perf_counter() - at

    with ThreadPoolExecutor(QUICK_AT_ONCE if quick else 1) as pool:
        begun = {pool.submit(begin, one): one for one in benchmarks}
        try:
            for future in as_completed(begun):
                one, (wrong, seconds) = begun[future], future.result()
                if wrong:
                    failed[one.record] = wrong
                print(f"{one.record}: {wrong or 'done'} ({seconds:.0f} s)", flush=True)
                done(estimate([one], quick=quick))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            while any(future.running() for future in begun):  # one may be about to start its process
                for process in tuple(running.values()):
                    _end(process)
                time.sleep(0.05)
            raise
    return failed


def show_list(benchmarks: Sequence[Benchmark], folder: Path) -> None:
    """Commands and durations."""
    for one in benchmarks:
        quick = "no quick form" if one.quick is None else f"quick {one.quick_seconds} s"
        print(f"{one.record}: {one.title}; {one.seconds} s, {quick}{'' if one.bundled else '; by --only alone'}")
        print(f"    python -m {' '.join(one.command(str(folder)))}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few and short rounds: shows that all work")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these, whether or not they belong to the whole")
    parser.add_argument(
        "--folder", type=Path, help=f"for records, plots, report (default: {FOLDER}, quick: {QUICK_FOLDER})"
    )
    parser.add_argument("--list", action="store_true", help="show what there is, run nothing")
    options = parser.parse_args(arguments)
    folder = options.folder or (QUICK_FOLDER if options.quick else FOLDER)
    if options.list:
        with contextlib.suppress(BrokenPipeError):  # `| head` has seen enough
            show_list(BENCHMARKS, folder)
            sys.stdout.flush()
        return 0
    benchmarks = chosen(options.only, quick=options.quick)
    folder.mkdir(parents=True, exist_ok=True)
    total, begin = estimate(benchmarks, quick=options.quick), time.perf_counter()
    print(f"{len(benchmarks)} benchmarks, about {record.duration(total)} on two cores", flush=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=max(1, total))
        failed = run_all(
            benchmarks, folder, lambda name: bar.update(task, description=name),
            lambda seconds: bar.advance(task, seconds), quick=options.quick,
        )  # fmt: skip
    for path in write_report(folder):
        print(f"wrote {path}")
    took = record.duration(time.perf_counter() - begin)
    print(f"{len(benchmarks) - len(failed)} of {len(benchmarks)} benchmarks in {took}")
    for name, wrong in failed.items():
        print(f"FAILED {name}: {wrong}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
