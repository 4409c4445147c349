"""What the benchmarks of the engine share: rounds in turn, runs through the hub, tables, records and plots."""

import datetime
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from benchmarks import measure
from benchmarks.record import command
from pixwire_server.engine.device import is_out_of_memory
from pixwire_server.engine.hub import Hub
from pixwire_server.engine.passes import PassRunner
from pixwire_server.engine.request import Request, StepMoment

Quick = Annotated[bool, typer.Option("--quick", help="few and short rounds: shows that it works, measures nothing")]
Device = Annotated[str, typer.Option(help="cpu or cuda")]
Dtype = Annotated[str, typer.Option(help="of the weights: auto (cuda: bfloat16, cpu: float32), float16, ...")]
Threads = Annotated[int, typer.Option(min=0, help="threads of torch; 0: as torch decides")]
Json = Annotated[Path | None, typer.Option("--json", help="where to write the record")]
Plot = Annotated[Path | None, typer.Option("--plot", help="where to draw it (.png or .svg; needs matplotlib)")]


class Silent:
    """Hears of the hub's requests and does nothing; keeps the errors."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []

    def stepped(self, request: Request, moment: StepMoment) -> None:
        """A step is done."""

    def left(self, request: Request) -> None:
        """The place is free."""

    def ended(self, request: Request) -> None:
        """The request is over."""
        if request.error is not None:
            self.errors.append(request.error)


def prepare(threads: int, device: str = "cpu") -> None:
    """Quiet libraries, no gradients, as many threads as asked for. Raises SystemExit where the device is not there."""
    check_device(device)
    from pixwire_server.engine.loader import quiet_libraries

    quiet_libraries()
    torch.set_grad_enabled(False)
    if threads:
        torch.set_num_threads(threads)


def check_device(device: str) -> None:
    """Raises SystemExit with a text that says what is wrong and what to do."""
    if device not in ("cpu", "cuda"):
        raise SystemExit(f"--device {device} must be cpu or cuda (choose one of several with CUDA_VISIBLE_DEVICES)")
    if device == "cuda" and not torch.cuda.is_available():
        built = torch.version.cuda
        why = f"no GPU that CUDA {built} can use" if built else f"torch {torch.__version__} is built without CUDA"
        raise SystemExit(f"--device cuda: {why}; install a CUDA build of torch on a GPU machine, or use --device cpu")


def release(device: str) -> None:
    """Give the memory of what nobody uses any more back: models hold on to themselves in cycles."""
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()


class Peaks:
    """The most memory that each contestant's runs had allocated on the GPU, weights included. Nothing on a CPU."""

    def __init__(self, device: str) -> None:
        self._gpu = device == "cuda"
        self._bytes: dict[str, int] = {}

    def watched(self, contestants: Mapping[str, Callable[[], float]]) -> dict[str, Callable[[], float]]:
        """The same contestants, watched."""
        return {name: self._watch(name, run) for name, run in contestants.items()} if self._gpu else dict(contestants)

    def _watch(self, name: str, run: Callable[[], float]) -> Callable[[], float]:
        def watched() -> float:
            torch.cuda.reset_peak_memory_stats()
            seconds = run()
            self._bytes[name] = max(self._bytes.get(name, 0), torch.cuda.max_memory_allocated())
            return seconds

        return watched

    def columns(self, **names: str) -> dict[str, object]:
        """For a row of a table: GiB of the contestants, by title of column; nothing on a CPU."""
        return {f"{title}, GiB": self._bytes[name] / 2**30 for title, name in names.items()} if self._gpu else {}


def out_of_memory(device: str, what: str, error: RuntimeError) -> None:
    """Say what did not fit, so that the others can go on. Raises the error when it is another one."""
    if not is_out_of_memory(error):
        raise error
    error.__traceback__ = None  # it holds the tensors that did fit
    release(device)
    print(f"{what}: out of memory, left out", flush=True)


def finish(device: str) -> None:
    """Wait for everything that was launched."""
    if device == "cuda":
        torch.cuda.synchronize()


def timed(work: Callable[[], object], device: str = "cpu") -> float:
    """Seconds that `work` takes, launched work included."""
    finish(device)
    start = time.perf_counter()
    work()
    finish(device)
    return time.perf_counter() - start


def make_hub(pipeline: Any, max_rows: int, *, exact: bool = False) -> Hub:
    """A hub with an observer that does nothing; no text is remembered."""
    return Hub(pipeline, PassRunner(max_rows, exact), Silent(), encode_cache_bytes=0)


def serve(hub: Hub, jobs: Sequence[Mapping[str, Any]]) -> None:
    """All jobs at once, to the end. Raises what the first of them failed with."""
    requests = [Request(handle, arguments) for handle, arguments in enumerate(jobs)]
    for request in requests:
        hub.submit(request)
    while hub.tick():
        pass
    for request in requests:
        if request.error is not None:
            raise request.error


@contextmanager
def bar(title: str, total: int) -> Iterator[Callable[[], None]]:
    """A progress bar on standard error; call what it gives for each thing done."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=total)
        yield lambda: progress.advance(task)


def in_turn(
    contestants: Mapping[str, Callable[[], float]], rounds: int, done: Callable[[], None]
) -> dict[str, list[float]]:
    """Every contestant once a round, A B C, A B C: whatever else the machine does falls on all alike.

    One round ahead is thrown away.
    """
    results: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, run in contestants.items():
            value = run()
            if number:
                results[name].append(value)
            done()
    return results


def over(results: Mapping[str, Sequence[float]], name: str, floor: str) -> measure.Summary:
    """A contestant's figure over the floor's, taken inside each round before the median."""
    return measure.Summary.of([a / b for a, b in zip(results[name], results[floor], strict=True)])


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def show(title: str, rows: Sequence[Mapping[str, object]]) -> None:
    """A table of rows with the same columns; numbers to the right."""
    table = Table(title=title)
    for name, value in rows[0].items():
        table.add_column(name, justify="left" if isinstance(value, str) else "right")
    for row in rows:
        table.add_row(*(f"{value:,.3g}" if isinstance(value, float) else str(value) for value in row.values()))
    Console().print(table)


def gpu() -> dict[str, object]:
    """What a reader must know of the GPU; nothing where there is none."""
    if not torch.cuda.is_available():
        return {}
    properties = torch.cuda.get_device_properties(0)
    return {
        "gpu": properties.name,
        "gpu_gib": round(properties.total_memory / 2**30, 1),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
    }


def about(name: str) -> dict[str, object]:
    """The head of a record."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return {"benchmark": name, "recorded": today, "command": command(), "quick": "--quick" in sys.argv}


def record(file: Path | None, name: str, settings: Mapping[str, object], rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows, settings and the machine they were measured on."""
    if file is None:
        return
    machine = measure.machine() | {"torch_threads": torch.get_num_threads()} | gpu()
    plain = [{key: asdict(v) if isinstance(v, measure.Summary) else v for key, v in row.items()} for row in rows]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        json.dumps({**about(name), "machine": machine, "settings": settings, "rows": plain}, indent=2) + "\n"
    )
    print(f"wrote {file}")


def plot(
    file: Path | None,
    title: str,
    lines: Mapping[str, Sequence[tuple[float, float]]],
    axes: tuple[str, str],
    *,
    logarithmic: bool = False,
) -> None:
    """Lines of points by name."""
    if file is None:
        return
    try:
        import matplotlib

        matplotlib.use("agg")
        from matplotlib import pyplot
    except ImportError as error:
        raise SystemExit("--plot needs matplotlib; install the extra `bench`, or leave it out") from error
    figure, chart = pyplot.subplots(figsize=(8, 5))
    for name, points in lines.items():
        chart.plot(*zip(*points, strict=True), marker="o", label=name)
    if logarithmic:
        chart.set_xscale("log", base=2)
    chart.set(title=title, xlabel=axes[0], ylabel=axes[1], ylim=(0, None))
    chart.legend()
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)
    print(f"wrote {file}")
