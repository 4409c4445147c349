"""What the engine costs: against the plain pipeline at batch 1, and against one plain call with a fixed batch.

    python -m benchmarks.engine.overhead                 # families of about 40 million parameters, built-in model
    python -m benchmarks.engine.overhead --device cuda   # the sizes of SD 1.5, SDXL, FLUX.1

For every model and number of images: so many requests of one image through the hub, against one call of the unmodified
pipeline that makes as many. Both compute the same rows in the same number of passes, so what is left is the hub: the
parking, keys, joining and dividing of rows, and a scheduler for every request instead of one for all. In turn, round
after round; the ratio is taken inside a round.
"""

from collections.abc import Callable
from typing import Annotated

import typer

from benchmarks.engine import lab, models


def contestants(model: models.Model, images: int, steps: int, device: str) -> dict[str, Callable[[], float]]:
    """Seconds of one run each."""
    hub = lab.make_hub(model.pipeline, 4 * images)
    seeds = list(range(images))

    def plain() -> float:
        arguments = model.arguments(seeds, steps)
        return lab.timed(lambda: model.pipeline(**arguments), device)

    def engine() -> float:
        jobs = [model.arguments([seed], steps) for seed in seeds]
        return lab.timed(lambda: lab.serve(hub, jobs), device)

    return {"plain": plain, "engine": engine}


def main(
    only: Annotated[list[str] | None, typer.Option("--model", help="one of the models; repeatable")] = None,
    images: Annotated[list[int] | None, typer.Option(help="images at once; repeatable")] = None,
    steps: Annotated[int, typer.Option(min=1)] = 8,
    rounds: Annotated[int, typer.Option(min=1)] = 9,
    device: lab.Device = "cpu",
    threads: lab.Threads = 0,
    quick: lab.Quick = False,
    json_file: lab.Json = None,
    plot_file: lab.Plot = None,
) -> None:
    """The engine's time over plain diffusers' for the same images."""
    lab.prepare(threads)
    steps, rounds = (2, 1) if quick else (steps, rounds)
    counts = images or ([1, 2] if quick else [1, 2, 4])
    names = only or list(models.names(device))
    rows: list[dict[str, object]] = []
    lines: dict[str, list[tuple[float, float]]] = {}
    with lab.bar("overhead", len(names) * len(counts) * 2 * (rounds + 1)) as done:
        for name in names:
            model = models.make(name, device)
            for count in counts:
                results = lab.in_turn(contestants(model, count, steps, device), rounds, done)
                ratio = lab.over(results, "engine", "plain")
                lines.setdefault(name, []).append((count, ratio.median))
                rows.append(
                    {
                        "model": name,
                        "parameters": f"{model.parameters / 1e6:.0f} M",
                        "images": count,
                        "plain, ms a step": lab.median(results["plain"]) / steps * 1000,
                        "engine, ms a step": lab.median(results["engine"]) / steps * 1000,
                        "engine / plain": ratio,
                    }
                )
            del model
    lab.show("engine against plain diffusers, median (lowest-highest)", [_shown(row) for row in rows])
    lab.record(json_file, "engine/overhead", {"steps": steps, "rounds": rounds, "device": device}, rows)
    lab.plot(plot_file, "engine over plain diffusers", lines, ("images at once", "time, engine / plain"))


def _shown(row: dict[str, object]) -> dict[str, object]:
    return row | {"engine / plain": f"{row['engine / plain']:.3f}"}


if __name__ == "__main__":
    typer.run(main)
