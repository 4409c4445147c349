"""Images a second against requests at once, and the knee: from where on more rows gain less than a tenth.

    python -m benchmarks.engine.throughput                  # CPU
    python -m benchmarks.engine.throughput --device cuda    # with the host's gap between passes

So many equal requests of one image run through the hub from start to end, decoding included. Gap: the share of a step
during which no pass runs, from the end of one to the start of the next (CUDA: on the device, by events).
"""

import functools
import itertools
import time
from collections.abc import Callable
from typing import Annotated, Any

import torch
import typer

from benchmarks.engine import lab, models

GAIN = 1.1
"""The knee is the first number of requests after which doubling them gains less than this."""


class Gaps:
    """Time between the passes of a denoiser, by marks before and after each."""

    def __init__(self, module: torch.nn.Module, device: str) -> None:
        self._device = device
        self._marks: list[tuple[Any, Any]] = []
        forward = module.forward

        @functools.wraps(forward)  # the engine reads the names of its arguments: calls without them are not joined
        def marked(*args: Any, **kwargs: Any) -> Any:
            start = self._mark()
            answer = forward(*args, **kwargs)
            self._marks.append((start, self._mark()))
            return answer

        module.forward = marked

    def share(self) -> float:
        """Of the time from the first pass to the last, how much was between passes. Forgets what it has seen."""
        lab.finish(self._device)
        marks, self._marks = self._marks, []
        between = sum(self._between(a[1], b[0]) for a, b in itertools.pairwise(marks))
        return between / self._between(marks[0][0], marks[-1][1])

    def _mark(self) -> Any:
        if self._device != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def _between(self, start: Any, end: Any) -> float:
        return float(start.elapsed_time(end) if self._device == "cuda" else end - start)


def knee(points: list[tuple[int, float]]) -> int:
    """The first number of requests after which the next one measured gains less than a tenth."""
    for (count, rate), (_, next_rate) in itertools.pairwise(points):
        if next_rate < GAIN * rate:
            return count
    return points[-1][0]


def main(
    only: Annotated[list[str] | None, typer.Option("--model", help="one of the models; repeatable")] = None,
    images: Annotated[list[int] | None, typer.Option(help="requests at once; repeatable")] = None,
    steps: Annotated[int, typer.Option(min=2)] = 10,
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    device: lab.Device = "cpu",
    dtype: lab.Dtype = "auto",
    threads: lab.Threads = 0,
    exact: Annotated[bool, typer.Option(help="in exact mode")] = False,
    quick: lab.Quick = False,
    json_file: lab.Json = None,
    plot_file: lab.Plot = None,
) -> None:
    """Images a second against requests at once."""
    lab.prepare(threads, device)
    steps, rounds = (2, 1) if quick else (steps, rounds)
    names = only or list(models.names(device))
    counts = images or ([1, 2] if quick else [1, 2, 4, 8, 16])
    rows: list[dict[str, object]] = []
    lines: dict[str, list[tuple[float, float]]] = {}
    with lab.bar("throughput", len(names) * len(counts) * (rounds + 1)) as done:
        for name in names:
            try:
                model = models.make(name, device, dtype)
                found = _measured(model, counts, steps, rounds, device, exact, done)
                rows += found
                lines[name] = [(float(row["requests"]), row["images a second"]) for row in found]
            except RuntimeError as error:
                lab.out_of_memory(device, name, error)
            model = None  # type: ignore[assignment]
            lab.release(device)
    if not rows:
        raise SystemExit("nothing fits into this device's memory; choose smaller ones with --model")
    lab.show("images a second against requests at once", rows)
    settings = {"steps": steps, "rounds": rounds, "device": device, "dtype": dtype, "exact": exact}
    lab.record(json_file, "engine/throughput", settings, rows)
    lab.plot(plot_file, "throughput", lines, ("requests at once", "images a second"), logarithmic=True)


def _measured(
    model: models.Model, counts: list[int], steps: int, rounds: int, device: str, exact: bool, done: Callable[[], None]
) -> list[dict[str, Any]]:
    """The rows of one model."""
    gaps, peaks = Gaps(model.denoiser, device), lab.Peaks(device)
    shares: dict[str, list[float]] = {str(count): [] for count in counts}
    runs = {str(count): _run(model, count, steps, device, exact, gaps, shares) for count in counts}
    results = lab.in_turn(peaks.watched(runs), rounds, done)
    points = [(count, count / lab.median(results[str(count)])) for count in counts]
    return [
        {
            "model": model.name,
            "requests": count,
            "images a second": rate,
            "seconds for all": lab.median(results[str(count)]),
            "gap, %": 100 * lab.median(shares[str(count)][1:]),
            **peaks.columns(peak=str(count)),
            "knee": "<-" if count == knee(points) else "",
        }
        for count, rate in points
    ]


def _run(
    model: models.Model, count: int, steps: int, device: str, exact: bool, gaps: Gaps, shares: dict[str, list[float]]
) -> Callable[[], float]:
    hub = lab.make_hub(model.pipeline, 4 * count, exact=exact)

    def run() -> float:
        seconds = lab.timed(lambda: lab.serve(hub, [model.arguments([s], steps) for s in range(count)]), device)
        shares[str(count)].append(gaps.share())
        return seconds

    return run


if __name__ == "__main__":
    typer.run(main)
