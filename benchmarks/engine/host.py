"""What the engine's own Python costs: microseconds of the host for one step of one request.

    python -m benchmarks.engine.host

The denoiser is replaced by a function that returns a tensor made before, so only the host's work is left: for the
engine parking, keys, joining, dividing, the greenlets and every request's own scheduler; for the hand-written loop what
cannot be left out, one joined call a step and a scheduler for every request, as in a loop written for one model.
"""

import functools
import time
from collections.abc import Callable
from typing import Annotated, Any

import torch
import typer

from benchmarks.engine import lab, models

MODELS = ("sd15", "sd3", "flux", "pixart")


class NoWork:
    """In place of the denoiser's forward: an answer of the right shape that costs nothing."""

    def __init__(self, model: models.Model) -> None:
        self._forward = model.denoiser.forward
        self._known: dict[torch.Size, Any] = {}
        functools.update_wrapper(self, self._forward)  # the engine reads its arguments' names: else nothing is joined

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        given = [*args, kwargs.get("sample"), kwargs.get("hidden_states")]
        sample = next(value for value in given if isinstance(value, torch.Tensor))
        if sample.shape not in self._known:
            self._known[sample.shape] = self._forward(*args, **kwargs)
        return self._known[sample.shape]


def by_hand(model: models.Model, images: int, steps: int) -> Callable[[], None]:
    """A loop over all images: rows joined, one call, guidance, every image's own scheduler."""
    scheduler = model.pipeline.scheduler
    answer: dict[torch.Size, torch.Tensor] = {}
    guided = "negative_prompt_embeds" in model.text(1)
    captured = capture(model)

    def run() -> None:
        own = [type(scheduler).from_config(scheduler.config) for _ in range(images)]
        options = {"mu": 0.7} if scheduler.config.get("use_dynamic_shifting") else {}
        for one in own:
            one.set_timesteps(steps, **options)
        latents = [captured.clone() for _ in range(images)]
        for index in range(steps):
            times = [one.timesteps[index] for one in own]
            rows = [
                one.scale_model_input(value, time) if hasattr(one, "scale_model_input") else value
                for one, value, time in zip(own, latents, times, strict=True)
            ]
            joined = torch.cat([row for row in rows for _ in range(1 + guided)])
            torch.stack([time for time in times for _ in range(1 + guided)])
            if joined.shape not in answer:
                answer[joined.shape] = torch.zeros_like(joined)
            predicted = answer[joined.shape].chunk(images)
            for i, one in enumerate(own):
                noise = predicted[i]
                if guided:
                    without, with_text = noise.chunk(2)
                    noise = without + 5.0 * (with_text - without)
                latents[i] = one.step(noise, times[i], latents[i], return_dict=False)[0]

    return run


def capture(model: models.Model) -> torch.Tensor:
    """The latents of one image as the loop of this model keeps them."""
    found: list[torch.Tensor] = []
    scheduler = model.pipeline.scheduler
    step = scheduler.step

    def watched(output: torch.Tensor, time: torch.Tensor, sample: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        found.append(sample)
        return step(output, time, sample, *args, **kwargs)

    scheduler.step = watched
    model.pipeline(**model.arguments([0], 1) | {"output_type": "latent"})
    del scheduler.step
    return found[0]


def main(
    only: Annotated[list[str] | None, typer.Option("--model", help="one of the models; repeatable")] = None,
    images: Annotated[list[int] | None, typer.Option(help="requests at once; repeatable")] = None,
    steps: Annotated[int, typer.Option(min=2)] = 50,
    rounds: Annotated[int, typer.Option(min=1)] = 15,
    quick: lab.Quick = False,
    json_file: lab.Json = None,
    plot_file: lab.Plot = None,
) -> None:
    """Microseconds of host work for a step of a request, engine against a hand-written loop."""
    lab.prepare(1)
    steps, rounds = (4, 2) if quick else (steps, rounds)
    names, counts = only or list(MODELS[:2] if quick else MODELS), images or ([1, 4] if quick else [1, 4, 8, 16])
    rows: list[dict[str, object]] = []
    with lab.bar("host", len(names) * len(counts) * 2 * (rounds + 1)) as done:
        for name in names:
            model = models.make(name, "cpu")
            model.denoiser.forward = NoWork(model)
            for count in counts:
                results = lab.in_turn(_contestants(model, count, steps), rounds, done)
                per = {key: lab.median(values) for key, values in results.items()}
                rows.append(
                    {
                        "model": name,
                        "requests": count,
                        "by hand, µs": per["by hand"],
                        "engine, µs": per["engine"],
                        "engine / by hand": f"{lab.over(results, 'engine', 'by hand'):.2f}",
                    }
                )
    lab.show("host work for a step of a request, medians", rows)
    lab.record(json_file, "engine/host", {"steps": steps, "rounds": rounds}, rows)
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        for contestant in ("by hand", "engine"):
            point = row["requests"], row[f"{contestant}, µs"]
            lines.setdefault(f"{row['model']}, {contestant}", []).append(point)  # type: ignore[arg-type]
    lab.plot(plot_file, "host work for a step of a request", lines, ("requests at once", "µs"))


def _contestants(model: models.Model, count: int, steps: int) -> dict[str, Callable[[], float]]:
    """Microseconds for a step of a request; what does not belong to the steps is taken off by a run of half of them."""
    hub = lab.make_hub(model.pipeline, 4 * count)

    def served(number: int) -> float:
        jobs = [model.arguments([seed], number) | {"output_type": "latent"} for seed in range(count)]
        return _processor_time(lambda: lab.serve(hub, jobs))

    def looped(number: int) -> float:
        return _processor_time(by_hand(model, count, number))

    def per_step(run: Callable[[int], float]) -> Callable[[], float]:
        return lambda: (run(steps) - run(steps // 2)) / (steps - steps // 2) / count * 1e6

    return {"by hand": per_step(looped), "engine": per_step(served)}


def _processor_time(work: Callable[[], None]) -> float:
    """Seconds of this process on a core: everything runs on one thread, and nobody else's work counts."""
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    typer.run(main)
