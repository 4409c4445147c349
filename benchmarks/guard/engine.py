"""The engine's own Python for one step of one request: the built-in model's pipeline, its denoiser answers for nothing.

Instructions are those of our code, calls those of all of it, the pipeline's and torch's included.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from benchmarks.guard.counting import Counter
from benchmarks.guard.scenario import Scenario, Stage

STEPS = 8


@contextmanager
def _stage(counter: Counter, requests: int) -> Iterator[Stage]:
    from benchmarks.engine import host, lab, models

    lab.prepare(1)
    model = models.make("built-in", "cpu")
    model.denoiser.forward = host.NoWork(model)
    hub = lab.make_hub(model.pipeline, 4 * requests)
    jobs = [model.arguments([seed], STEPS) | {"output_type": "latent"} for seed in range(requests)]
    yield Stage(lambda: lab.serve(hub, jobs), requests * STEPS)


def scenarios() -> Iterator[Scenario]:
    """One request alone, and eight that share their passes."""
    for requests in (1, 8):
        name = f"engine: a step of a request, {requests} at once"
        yield Scenario(name, partial(_stage, requests=requests), memory=False)
