"""What the engine costs: against the plain pipeline at batch 1, and against one plain call with a fixed batch.

    python -m benchmarks.engine.overhead                 # families of about 40 million parameters, built-in model
    python -m benchmarks.engine.overhead --device cuda   # the sizes of SD 1.5, SDXL, FLUX.1, with memory
    python -m benchmarks.engine.overhead --no-decode     # the denoiser's passes alone

For every model and number of images: so many requests of one image through the hub, against one call of the unmodified
pipeline that makes as many. Both compute the same rows in the same number of passes of the denoiser (the hub decodes
large images one by one, the plain pipeline all at once: --no-decode leaves that out), so what is left is the hub: the
parking, keys, joining and dividing of rows, and a scheduler for every request instead of one for all. In turn, round
after round; the ratio is taken inside a round.
"""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from benchmarks.engine import lab, models


def contestants(
    model: models.Model, images: int, steps: int, device: str, *, decode: bool = True
) -> dict[str, Callable[[], float]]:
    """Seconds of one run each."""
    hub = lab.make_hub(model.pipeline, 4 * images)
    seeds = list(range(images))
    output = {} if decode else {"output_type": "latent"}

    def plain() -> float:
        arguments = model.arguments(seeds, steps) | output
        return lab.timed(lambda: model.pipeline(**arguments), device)

    def engine() -> float:
        jobs = [model.arguments([seed], steps) | output for seed in seeds]
        return lab.timed(lambda: lab.serve(hub, jobs), device)

    return {"plain": plain, "engine": engine}


def main(
    only: Annotated[list[str] | None, typer.Option("--model", help="one of the models; repeatable")] = None,
    images: Annotated[list[int] | None, typer.Option(help="images at once; repeatable")] = None,
    steps: Annotated[int, typer.Option(min=1)] = 8,
    rounds: Annotated[int, typer.Option(min=1)] = 9,
    device: lab.Device = "cpu",
    dtype: lab.Dtype = "auto",
    decode: Annotated[bool, typer.Option(help="whether images are decoded")] = True,
    threads: lab.Threads = 0,
    quick: lab.Quick = False,
    json_file: lab.Json = None,
    plot_file: lab.Plot = None,
) -> None:
    """The engine's time over plain diffusers' for the same images."""
    lab.prepare(threads, device)
    steps, rounds = (2, 1) if quick else (steps, rounds)
    counts = images or ([1, 2] if quick else [1, 2, 4])
    names = only or list(models.names(device))
    rows: list[dict[str, object]] = []
    with lab.bar("overhead", len(names) * len(counts) * 2 * (rounds + 1)) as done:
        for name in names:
            try:
                model = models.make(name, device, dtype)
                for count in counts:
                    rows.append(_row(model, count, steps, rounds, device, decode, done))  # noqa: PERF401 - kept if one fails
            except RuntimeError as error:
                lab.out_of_memory(device, name, error)
            model = None  # type: ignore[assignment]
            lab.release(device)
    if not rows:
        raise SystemExit("nothing fits into this device's memory; choose smaller ones with --model")
    lab.show("engine against plain diffusers, median (lowest-highest)", [_shown(row) for row in rows])
    settings = {"steps": steps, "rounds": rounds, "device": device, "dtype": dtype, "decode": decode}
    lab.record(json_file, "engine/overhead", settings, rows)
    lab.plot(plot_file, "engine over plain diffusers", _lines(rows), ("images at once", "time, engine / plain"))


def _row(
    model: models.Model, count: int, steps: int, rounds: int, device: str, decode: bool, done: Callable[[], None]
) -> dict[str, object]:
    """One model and number of images."""
    peaks = lab.Peaks(device)
    runs = peaks.watched(contestants(model, count, steps, device, decode=decode))
    results = lab.in_turn(runs, rounds, done)
    return {
        "model": model.name,
        "parameters": f"{model.parameters / 1e6:.0f} M",
        "images": count,
        "plain, ms a step": lab.median(results["plain"]) / steps * 1000,
        "engine, ms a step": lab.median(results["engine"]) / steps * 1000,
        "engine / plain": lab.over(results, "engine", "plain"),
        **peaks.columns(plain="plain", engine="engine"),
    }


def _lines(rows: list[dict[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    found: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        found.setdefault(row["model"], []).append((row["images"], row["engine / plain"].median))
    return found


def _shown(row: dict[str, object]) -> dict[str, object]:
    return row | {"engine / plain": f"{row['engine / plain']:.3f}"}


if __name__ == "__main__":
    typer.run(main)
