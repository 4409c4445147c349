"""How long a request waits that comes while others are computed: step batching, static batching, one at a time.

    python -m benchmarks.engine.latecomer
    python -m benchmarks.engine.latecomer --device cuda

Requests arrive at random (Poisson) at several loads; load 1 is what one request after the other can just serve. Three
ways to serve the same arrivals with the same model: *one at a time* in the plain pipeline; *static* batches, where all
that wait are started together in one plain call and nobody joins; *steps*, the engine, where everybody joins at the
next step. Latency is from arrival to the decoded image.
"""

import random
import time
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from benchmarks import measure
from benchmarks.engine import lab, models
from pixwire_server.engine.hub import Hub
from pixwire_server.engine.passes import PassRunner
from pixwire_server.engine.request import Request

Serve = Callable[[models.Model, Sequence[float], int, int], list[float]]


def arrivals(count: int, rate: float, seed: int) -> list[float]:
    """Times in seconds at which requests arrive, `rate` a second on average."""
    draw, now = random.Random(seed), 0.0
    times = []
    for _ in range(count):
        now += draw.expovariate(rate)
        times.append(now)
    return times


def one_at_a_time(model: models.Model, times: Sequence[float], steps: int, limit: int) -> list[float]:
    """In the plain pipeline, first come, first served."""
    return static(model, times, steps, 1)


def static(model: models.Model, times: Sequence[float], steps: int, limit: int) -> list[float]:
    """All that wait, at most `limit`, in one plain call."""
    start, latencies, at = time.perf_counter(), [], 0
    while at < len(times):
        now = time.perf_counter() - start
        if times[at] > now:
            time.sleep(times[at] - now)
            continue
        batch = [i for i in range(at, len(times)) if times[i] <= now][:limit]
        model.pipeline(**model.arguments(batch, steps))
        lab.finish(model.denoiser_device)
        end = time.perf_counter() - start
        latencies += [end - times[i] for i in batch]
        at += len(batch)
    return latencies


class _Ends(lab.Silent):
    """When requests ended, by handle."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.times: dict[int, float] = {}
        self._device = device

    def ended(self, request: Request) -> None:
        super().ended(request)
        lab.finish(self._device)
        self.times[request.handle] = time.perf_counter()


def by_steps(model: models.Model, times: Sequence[float], steps: int, limit: int) -> list[float]:
    """In the engine, at most `limit` requests at once."""
    ends = _Ends(model.denoiser_device)
    hub = Hub(model.pipeline, PassRunner(2 * limit, False), ends, encode_cache_bytes=0)
    start, at = time.perf_counter(), 0
    while len(ends.times) < len(times):
        now = time.perf_counter() - start
        while at < len(times) and times[at] <= now and hub.resident < limit:
            hub.submit(Request(at, model.arguments([at], steps)))
            at += 1
        if not hub.tick() and at < len(times):
            time.sleep(max(0.0, times[at] - (time.perf_counter() - start)))
    if ends.errors:
        raise ends.errors[0]
    return [ends.times[i] - start - times[i] for i in range(len(times))]


def warm_up(model: models.Model, limit: int) -> None:
    """Every number of rows once, each way: a GPU loads its kernels when they are first needed."""
    for count in range(1, limit + 1):
        static(model, [0.0] * count, 1, limit)
        by_steps(model, [0.0] * count, 1, limit)


WAYS: dict[str, Serve] = {"one at a time": one_at_a_time, "static": static, "steps": by_steps}


def main(
    name: Annotated[str, typer.Option("--model", help="one of the models; empty: the first")] = "",
    load: Annotated[list[float] | None, typer.Option(help="of what one at a time can serve; repeatable")] = None,
    requests: Annotated[int, typer.Option(min=2, help="of one round")] = 40,
    limit: Annotated[int, typer.Option(min=1, help="requests at once, static and steps")] = 8,
    steps: Annotated[int, typer.Option(min=1)] = 20,
    rounds: Annotated[int, typer.Option(min=1, help="each with arrivals of its own, the same for all ways")] = 3,
    device: lab.Device = "cpu",
    dtype: lab.Dtype = "auto",
    threads: lab.Threads = 0,
    quick: lab.Quick = False,
    json_file: lab.Json = None,
    plot_file: lab.Plot = None,
) -> None:
    """Latency under random arrivals."""
    lab.prepare(threads, device)
    if quick:
        requests, steps, rounds = 3, 2, 1
    loads = load or ([0.5] if quick else [0.3, 0.6, 0.9, 1.2])
    model = models.make(name or models.names(device)[0], device, dtype)
    if device == "cuda":
        warm_up(model, limit)
    single = min(lab.timed(lambda: model.pipeline(**model.arguments([0], steps)), device) for _ in range(3))
    rows: list[dict[str, object]] = []
    lines: dict[str, list[tuple[float, float]]] = {}
    with lab.bar("late joiner", len(loads) * rounds * len(WAYS)) as done:
        for share in loads:
            latencies: dict[str, list[float]] = {way: [] for way in WAYS}
            for seed in range(rounds):
                times = arrivals(requests, share / single, seed)
                for way, serve in WAYS.items():
                    latencies[way] += serve(model, times, steps, limit)
                    done()
            for way, values in latencies.items():
                p50, p95 = measure.percentile(values, 0.5), measure.percentile(values, 0.95)
                lines.setdefault(way, []).append((share, p95 / single))
                rows.append(
                    {"load": share, "way": way, "p50, s": p50, "p95, s": p95, "p50 / alone": p50 / single,
                     "p95 / alone": p95 / single}
                )  # fmt: skip
    lab.show(f"latency of {model.name} under random arrivals; alone it takes {single:.3g} s", rows)
    settings = {
        "model": model.name,
        "device": device,
        "dtype": dtype,
        "requests": requests,
        "limit": limit,
        "steps": steps,
        "rounds": rounds,
    }
    lab.record(json_file, "engine/latecomer", settings | {"alone_s": single}, rows)
    lab.plot(plot_file, "latency under random arrivals", lines, ("load", "p95 / time alone"))


if __name__ == "__main__":
    typer.run(main)
