"""What exact mode costs, and why it is needed: time against fast mode, and which numbers of rows give which bits.

    python -m benchmarks.engine.exactness

For every model and number of requests: the same requests in fast and in exact mode, in turn. The first run, in which
exact mode checks every number of rows, is not counted; it is shown apart ("first"). Classes: numbers of rows for which
the plain model gives the same bits for the first row, separated by bars; with steady layers there should be one class.
"""

import time
from typing import Annotated, Any

import torch
import typer

from benchmarks.engine import lab, models
from pixwire_server.engine.exactness import SteadyLayers, same_bits


def first_pass(model: models.Model) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments of a denoiser call for one image."""
    found: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    forward = model.denoiser.forward

    def watched(*args: Any, **kwargs: Any) -> Any:
        found.append((args, kwargs))
        return forward(*args, **kwargs)

    model.denoiser.forward = watched
    model.pipeline(**model.arguments([0], 1) | {"output_type": "latent"})
    model.denoiser.forward = forward
    return found[0]


def classes(model: models.Model, most: int, steady: bool) -> str:
    """Numbers of rows up to `most`, those with equal bits together."""
    args, kwargs = first_pass(model)
    rows = next(v.shape[0] for v in [*args, *kwargs.values()] if isinstance(v, torch.Tensor) and v.ndim > 1)

    def repeated(value: Any, count: int) -> Any:
        if isinstance(value, dict):
            return {key: repeated(item, count) for key, item in value.items()}
        if isinstance(value, torch.Tensor) and value.ndim == 0:
            return value.expand(count)
        if isinstance(value, torch.Tensor) and value.shape[0] == rows:
            return value[:1].expand(count, *value.shape[1:]).contiguous()
        return value

    found: list[tuple[torch.Tensor, list[int]]] = []
    for count in range(1, most + 1):
        given = [repeated(value, count) for value in args]
        named = {key: repeated(value, count) for key, value in kwargs.items()}
        if steady:
            with SteadyLayers():
                answer = model.denoiser(*given, **named)[0][:1]
        else:
            answer = model.denoiser(*given, **named)[0][:1]
        for bits, counts in found:
            if same_bits(bits, answer):
                counts.append(count)
                break
        else:
            found.append((answer, [count]))
    return " | ".join(_span(counts) for _, counts in found)


def _span(counts: list[int]) -> str:
    together = len(counts) > 1 and counts == list(range(counts[0], counts[-1] + 1))
    return f"{counts[0]}-{counts[-1]}" if together else ",".join(map(str, counts))


def main(
    only: Annotated[list[str] | None, typer.Option("--model", help="one of the models; repeatable")] = None,
    images: Annotated[list[int] | None, typer.Option(help="requests at once; repeatable")] = None,
    steps: Annotated[int, typer.Option(min=1)] = 8,
    rounds: Annotated[int, typer.Option(min=1)] = 7,
    most: Annotated[int, typer.Option(min=2, help="rows up to which classes are shown")] = 16,
    device: lab.Device = "cpu",
    dtype: lab.Dtype = "auto",
    threads: lab.Threads = 0,
    quick: lab.Quick = False,
    json_file: lab.Json = None,
    plot_file: lab.Plot = None,
) -> None:
    """Exact mode's time over fast mode's."""
    lab.prepare(threads, device)
    steps, rounds, most = (2, 1, 4) if quick else (steps, rounds, most)
    names, counts = only or list(models.names(device)), images or ([1] if quick else [1, 2, 4, 8])
    rows: list[dict[str, object]] = []
    kinds: list[dict[str, object]] = []
    lines: dict[str, list[tuple[float, float]]] = {}
    with lab.bar("exact", len(names) * (2 + len(counts) * 2 * (rounds + 1))) as done:
        for name in names:
            model = models.make(name, device, dtype)
            kind: dict[str, object] = {"model": name, "threads": torch.get_num_threads()}
            for label, steady in (("plain", False), ("steady layers", True)):
                kind[label] = classes(model, most, steady)
                done()
            kinds.append(kind)
            for count in counts:
                runs, first = _contestants(model, count, steps, device)
                results = lab.in_turn(runs, rounds, done)
                ratio = lab.over(results, "exact", "fast")
                lines.setdefault(name, []).append((count, ratio.median))
                rows.append(
                    {
                        "model": name,
                        "requests": count,
                        "fast, ms a step": lab.median(results["fast"]) / steps * 1000,
                        "exact, ms a step": lab.median(results["exact"]) / steps * 1000,
                        "exact / fast": f"{ratio:.3f}",
                        "first / fast": first[0] / lab.median(results["fast"]),
                    }
                )
            del model, runs
            lab.release(device)
    lab.show("rows with equal bits", kinds)
    lab.show("exact mode over fast mode, median (lowest-highest)", rows)
    lab.record(
        json_file,
        "engine/exactness",
        {"steps": steps, "rounds": rounds, "device": device, "dtype": dtype, "classes": kinds},
        rows,
    )
    lab.plot(plot_file, "what exact mode costs", lines, ("requests at once", "time, exact / fast"))


def _contestants(model: models.Model, count: int, steps: int, device: str) -> tuple[dict[str, Any], list[float]]:
    """Seconds of a run in each mode, and, once they have run, those of the first one in exact mode."""
    hubs = {mode: lab.make_hub(model.pipeline, 16, exact=mode == "exact") for mode in ("fast", "exact")}
    first: list[float] = []

    def run(mode: str) -> float:
        jobs = [model.arguments([seed], steps) for seed in range(count)]
        start = time.perf_counter()
        lab.serve(hubs[mode], jobs)
        lab.finish(device)
        seconds = time.perf_counter() - start
        if mode == "exact" and not first:
            first.append(seconds)
        return seconds

    return {mode: lambda mode=mode: run(mode) for mode in hubs}, first


if __name__ == "__main__":
    typer.run(main)
