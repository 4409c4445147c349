"""The same traces on the real server, and what the simulator foretold of them.

    python -m benchmarks.scheduling.replay                  # busy, bursty, overload; a few minutes
    python -m benchmarks.scheduling.replay --quick          # busy only, 16 jobs
    python -m benchmarks.scheduling.replay --json FILE      # and a record with machine and versions

A server with the built-in model (one thread) first learns what its passes cost. Then each trace is sent to it, job by
job at its time, by as many users as are in the trace; and the same trace is replayed in the simulator, on a machine
whose passes cost what they have just cost. So what is compared is the simulator's idea of the scheduler, not of the
machine.
"""

import asyncio
import contextlib
import json
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import pixwire
from benchmarks import measure
from pixwire_server.doors.tokens import entry_for, new_token
from pixwire_server.scheduling.composition import DENOISE, ENCODE
from pixwire_server.scheduling.cost import CostModel, Shape, Work

from . import traces
from .baselines import PLACES
from .curves import Machine
from .ours import Ours
from .simulator import Replay
from .simulator import replay as simulate

SIZES = (64, 128)
TRACES = ("busy", "bursty", "overload")
JOBS, QUICK_JOBS = 40, 16
SEEDS = range(5)
"""Noises of the simulator; the trace is the same."""
START_S = 300.0
PRIORITIES = ("high", "normal", "low")
FIGURES = ("latency_mean", "latency_p50", "latency_p95", "latency_p99", "hits", "rows_per_pass", "length")


@dataclass(frozen=True, slots=True)
class Told:
    """What became of a job on the server. Seconds; None: it was not finished."""

    job: traces.Job
    latency: float | None
    eta: float | None
    """Foretold when it was accepted."""
    passes: float = 0.0
    shared: float = 0.0
    """Its part of these passes."""


class Server:
    """A server process with the built-in model."""

    def __init__(self, folder: Path, users: Sequence[str]) -> None:
        self.folder = folder
        self.tokens = {user: new_token() for user in users}
        (folder / "tokens.toml").write_text("\n".join(entry_for(user, token) for user, token in self.tokens.items()))

    @contextlib.contextmanager
    def running(self) -> Iterator[str]:
        """Serve; gives the URL."""
        options = {
            "listen": "127.0.0.1:0",
            "data-dir": str(self.folder / "data"),
            "tokens": str(self.folder / "tokens.toml"),
            "threads": "1",
            "max-resident": str(PLACES),
            "max-rows": str(traces.MOST_ROWS),
            "log-level": "warning",
        }
        flags = [part for name, value in options.items() for part in (f"--{name}", value)]
        process = subprocess.Popen([sys.executable, "-m", "pixwire_server", *flags], stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            found = re.search(r"listening on ([^\s,]+)", process.stdout.readline())
            if found is None:
                raise SystemExit("the server did not start; its message is above")
            yield found[1]
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(START_S)

    def learnt(self) -> Machine:
        """What the passes of the last run have cost, as a machine of the simulator."""
        data = json.loads((self.folder / "data" / "cost.json").read_text())
        model = CostModel.from_map(data["costs"])
        points: dict[tuple[str, str], list[tuple[int, float]]] = {}
        for stage, name, cells, seen in data["costs"]["curves"]:
            size = next((size for size in SIZES if name.endswith(f":{size}x{size}")), None)
            if size is not None:
                curve = [(int(rows), model.seconds(stage, Shape(name, cells), int(rows))) for rows in seen]
                points[stage, str(size)] = sorted(curve)
        shapes = tuple(Shape(str(size), size * size) for size in SIZES if (DENOISE, str(size)) in points)
        for shape in shapes:  # texts that mean the same to the model are encoded once, whatever the size
            points.setdefault((ENCODE, shape.name), points[ENCODE, str(SIZES[0])])
        return Machine(
            "cpu", "learnt by the server in this run", shapes, {key: tuple(curve) for key, curve in points.items()}
        )


def request(work: Work, seed: int) -> dict[str, Any]:
    """The arguments of a submit that asks for this. Without guidance, so that an image is one row."""
    size = int(work.shape.name)
    sides = {"width": size, "height": size}
    return {
        "prompt": "a red star",
        "steps": work.steps,
        "seed": seed,
        "guidance_scale": 1.0,
        "count": work.images,
        **sides,
    }


async def calibrate(url: str, token: str, advance: Any) -> None:
    """Let it run passes of 1 to `MOST_ROWS` rows of every size, some of each."""
    async with await pixwire.connect(url, token=token) as client:
        for size in SIZES:
            for rows in (1, 2, 3, 4, 6, 8, 12, 16):
                work = Work(Shape(str(size), size * size), 6, 1, 1)
                jobs = [await client.submit(**request(work, 1000 * rows + number)) for number in range(rows)]
                for job in jobs:
                    await job.wait()
                advance()


async def play(url: str, tokens: dict[str, str], trace: Sequence[traces.Job], advance: Any) -> tuple[list[Told], float]:
    """Send the trace, each job at its time; what became of them, and how long all of it took."""
    async with contextlib.AsyncExitStack() as stack:
        clients = {
            user: await stack.enter_async_context(await pixwire.connect(url, token=token))
            for user, token in tokens.items()
        }
        loop = asyncio.get_running_loop()
        begin = loop.time() + 0.5

        async def one(job: traces.Job) -> Told:
            await asyncio.sleep(begin + job.arrived - loop.time())
            deadline = None if job.deadline is None else job.deadline - job.arrived
            asked = request(job.work, job.key) | {"priority": PRIORITIES[job.priority], "deadline": deadline}
            try:
                handle = await clients[job.principal].submit(**asked)
                first = handle.last_status
                status = await handle.wait()
            except pixwire.DeadlineExceeded:
                return Told(job, None, None)
            finally:
                advance()
            latency = loop.time() - begin - job.arrived if status.state == "succeeded" else None
            eta = None if first is None or first.eta_ms is None else first.eta_ms / 1000
            engine = status.engine or {}
            return Told(job, latency, eta, engine.get("passes", 0.0), engine.get("pass_share", 0.0))

        told = await asyncio.gather(*(one(job) for job in trace))
        return list(told), loop.time() - begin


def measured(told: Sequence[Told], length: float) -> dict[str, float]:
    """The figures of a run on the server."""
    patient = [one.latency for one in told if one.latency is not None and one.job.deadline is None]
    urgent = [one for one in told if one.job.deadline is not None]
    rows = sum(one.passes * one.job.work.rows for one in told)
    hits = sum(one.latency is not None for one in urgent) / max(1, len(urgent))
    return _spread(patient) | {
        "hits": hits,
        "rows_per_pass": rows / max(1e-9, sum(one.shared for one in told)),
        "length": length,
    }


def foretold(trace: Sequence[traces.Job], machine: Machine) -> tuple[dict[str, measure.Summary], list[float | None]]:
    """The figures of the same trace in the simulator over its noises, and the median latency of each job."""
    runs = [simulate(trace, machine, _taught(machine), seed) for seed in SEEDS]
    rows = [_simulated(run) for run in runs]
    latencies: list[float | None] = []
    for outcomes in zip(*(run.outcomes for run in runs), strict=True):
        known = [one.finished - one.job.arrived for one in outcomes if one.finished is not None]
        latencies.append(measure.percentile(known, 0.5) if known else None)
    return measure.summarise({"all": rows})["all"], latencies


def _taught(machine: Machine) -> Ours:
    """The policy as the server is when the trace begins: it knows what passes cost."""
    policy = Ours()
    for (stage, name), points in machine.points.items():
        shape = next(shape for shape in machine.shapes if shape.name == name)
        for rows, seconds in points:
            for _ in range(3):
                policy.model.observe(stage, shape, rows, seconds)
    return policy


def _simulated(run: Replay) -> dict[str, float]:
    patient = [o.finished - o.job.arrived for o in run.outcomes if o.finished is not None and o.job.deadline is None]
    urgent = [o for o in run.outcomes if o.job.deadline is not None]
    hits = sum(o.in_time for o in urgent) / max(1, len(urgent))
    return _spread(patient) | {"hits": hits, "rows_per_pass": run.rows / max(1, run.passes), "length": run.length}


def _spread(values: Sequence[float]) -> dict[str, float]:
    found = {f"latency_p{share}": measure.percentile(values, share / 100) for share in (50, 95, 99)}
    return {"latency_mean": sum(values) / len(values)} | found


def quantiles(ratios: Sequence[float]) -> dict[str, float]:
    """p10, p50 and p90 of actual over foretold."""
    return {f"p{share}": measure.percentile(ratios, share / 100) for share in (10, 50, 90)} if ratios else {}


def compare(trace: Sequence[traces.Job], machine: Machine, told: Sequence[Told], length: float) -> dict[str, Any]:
    """One trace: both sides, and how far they are apart."""
    simulated, latencies = foretold(trace, machine)
    real = measured(told, length)
    pairs = [(one.latency, latency) for one, latency in zip(told, latencies, strict=True)]
    return {
        "jobs": len(trace),
        "simulated": {name: asdict(summary) for name, summary in simulated.items()},
        "measured": real,
        "measured_over_simulated": {name: real[name] / max(1e-9, simulated[name].median) for name in FIGURES},
        "job_latency_over_simulated": quantiles([a / b for a, b in pairs if a is not None and b is not None]),
        "job_latency_over_eta": quantiles([one.latency / one.eta for one in told if one.latency and one.eta]),
    }


def run(names: Sequence[str], jobs: int, seed: int) -> dict[str, Any]:
    """Everything."""
    users = [f"p{number}" for number in range(7)]
    kinds = [kind for kind in traces.KINDS if kind.name in names]
    with tempfile.TemporaryDirectory() as name, Progress(console=Console(stderr=True), transient=True) as bar:
        server = Server(Path(name), users)
        task = bar.add_task("learning what passes cost", total=8 * len(SIZES))
        with server.running() as url:
            uvloop.run(calibrate(url, server.tokens["p1"], lambda: bar.advance(task)))
        machine = server.learnt()
        results: dict[str, Any] = {}
        for kind in kinds:
            trace = traces.draw(kind, machine, jobs, seed)
            bar.reset(task, description=kind.name, total=jobs)
            with server.running() as url:
                told, length = uvloop.run(play(url, server.tokens, trace, lambda: bar.advance(task)))
            machine = server.learnt()  # what passes have cost in this very run
            results[kind.name] = compare(trace, machine, told, length) | {"curves": _plain(machine)}
    return {"seed": seed, "traces": results}


def _plain(machine: Machine) -> list[Any]:
    return [[stage, name, points] for (stage, name), points in machine.points.items()]


def show(results: dict[str, Any]) -> None:
    table = Table(title="the same traces on the server and in the simulator; seconds, jobs without a deadline")
    for column in ("trace", "figure", "simulated", "measured", "measured / simulated"):
        table.add_column(column, justify="left" if column in ("trace", "figure") else "right")
    for name, row in results["traces"].items():
        for figure in FIGURES:
            simulated = measure.Summary(**row["simulated"][figure])
            ratio = row["measured_over_simulated"][figure]
            table.add_row(name, figure, f"{simulated:.2f}", f"{row['measured'][figure]:.2f}", f"{ratio:.2f}")
    console = Console()
    console.print(table)
    for name, row in results["traces"].items():
        for key in ("job_latency_over_simulated", "job_latency_over_eta"):
            shown = ", ".join(f"{share} {value:.2f}" for share, value in row[key].items())
            console.print(f"{name}: {key.replace('_', ' ')}: {shown}")


def main(
    trace: Annotated[list[str] | None, typer.Option(help=f"one of {', '.join(k.name for k in traces.KINDS)}")] = None,
    jobs: Annotated[int, typer.Option(min=4, help="jobs of a trace")] = JOBS,
    seed: Annotated[int, typer.Option(help="of the traces")] = 100,
    quick: Annotated[bool, typer.Option(help=f"the trace busy with {QUICK_JOBS} jobs")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="where to write the record")] = None,
) -> None:
    """Replay traces on a real server and compare with the simulator.

    Example: python -m benchmarks.scheduling.replay --json benchmarks/results/replay.json
    """
    names = trace or (TRACES[:1] if quick else TRACES)
    results = run(names, QUICK_JOBS if quick else jobs, seed)
    show(results)
    if json_file is not None:
        json_file.write_text(json.dumps({"machine": measure.machine(), **results}, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
