"""Replays the traces under every policy: `python -m benchmarks.scheduling [--quick] [--json FILE] [--plots FOLDER]`.

Every policy sees the same traces and the same noise, seed by seed; what is compared is compared inside a seed before
the median over the seeds is taken. `--quick` is for a look: two seeds, short traces.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.measure import Summary, machine, summarise

from . import curves, metrics, traces
from .baselines import Continuous, OneAtATime, StaticBatches
from .ours import Ours
from .simulator import Policy, replay

POLICIES: Mapping[str, Callable[[], Policy]] = {
    "fcfs": OneAtATime,
    "static": StaticBatches,
    "continuous": Continuous,
    "pixwire": Ours,
}
OTHERS = ("fcfs", "static", "continuous")
MACHINES: Mapping[str, Callable[[], curves.Machine]] = {"h200": curves.h200, "cpu": curves.recorded}
OVERLOADED = ("overload", "surge")
FULL, QUICK = (10, 400), (2, 150)
"""Seeds, jobs a trace."""

LOWER, HIGHER = ("latency_mean", "latency_p99"), ("hits",)
SHOWN = (
    "latency_mean",
    "latency_p50",
    "latency_p95",
    "latency_p99",
    "preview_p50",
    "hits",
    "goodput",
    "wasted",
    "fairness",
)

Rounds = dict[str, list[dict[str, float]]]


def one(case: tuple[str, str, int, int]) -> dict[str, dict[str, float]]:
    """All policies on one trace."""
    name, kind_name, jobs, seed = case
    host = MACHINES[name]()
    kind = next(kind for kind in traces.KINDS if kind.name == kind_name)
    trace = traces.draw(kind, host, jobs, seed)
    return {policy: metrics.measure(replay(trace, host, make(), seed), host) for policy, make in POLICIES.items()}


def run(seeds: range, jobs: int, workers: int, progress: Callable[[], None]) -> dict[tuple[str, str], Rounds]:
    """The figures by machine and trace: for each policy those of each seed."""
    cases = [(name, kind.name, jobs, seed) for name, kind in product(MACHINES, traces.KINDS) for seed in seeds]
    found: dict[tuple[str, str], Rounds] = {}
    with ProcessPoolExecutor(workers) as pool:
        for (name, kind, _, _), figures in zip(cases, pool.map(one, cases), strict=True):
            rounds = found.setdefault((name, kind), {policy: [] for policy in POLICIES})
            for policy, row in figures.items():
                rounds[policy].append(row)
            progress()
    return found


def against_the_best(rounds: Rounds, key: str) -> Summary:
    """Ours over the other policy that is best in this trace (by its mean over the seeds), seed by seed."""
    means = {other: sum(row[key] for row in rounds[other]) for other in OTHERS}
    best = max(means, key=means.__getitem__) if key in HIGHER else min(means, key=means.__getitem__)
    return Summary.of(
        [own[key] / max(row[key], 1e-9) for own, row in zip(rounds["pixwire"], rounds[best], strict=True)]
    )


def report(found: Mapping[tuple[str, str], Rounds]) -> list[str]:
    """Two tables in Markdown: the figures, and ours against the best of the others."""
    lines = [f"| machine | trace | policy | {' | '.join(SHOWN)} |", "|---" * (3 + len(SHOWN)) + "|"]
    for (name, kind), rounds in found.items():
        for policy, row in summarise(rounds).items():
            cells = (f"{row[key].median:.2f}" for key in SHOWN)
            lines.append(f"| {name} | {kind} | {policy} | {' | '.join(cells)} |")
    keys = (*LOWER, *HIGHER)
    lines += [
        "",
        f"| machine | trace | {' | '.join(f'{key} / best other' for key in keys)} |",
        "|---" * (2 + len(keys)) + "|",
    ]
    for (name, kind), rounds in found.items():
        cells = (f"{against_the_best(rounds, key):.2f}" for key in keys)
        lines.append(f"| {name} | {kind} | {' | '.join(cells)} |")
    return lines


def plain(found: Mapping[tuple[str, str], Rounds]) -> list[dict[str, Any]]:
    """For JSON: medians and ranges over the seeds."""
    return [
        {
            "machine": name,
            "trace": kind,
            "overloaded": kind in OVERLOADED,
            "policies": {p: {k: asdict(v) for k, v in row.items()} for p, row in summarise(rounds).items()},
            "ratio_to_best": {key: asdict(against_the_best(rounds, key)) for key in (*LOWER, *HIGHER)},
        }
        for (name, kind), rounds in found.items()
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--first-seed", type=int, default=100, help="the policy was tuned on 0 to 7")
    parser.add_argument("--jobs", type=int, help="a trace")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plots", type=Path, help="folder; needs matplotlib")
    options = parser.parse_args(arguments)
    seeds, jobs = QUICK if options.quick else FULL
    seeds, jobs = options.seeds or seeds, options.jobs or jobs
    total, done = seeds * len(MACHINES) * len(traces.KINDS), [0]

    def progress() -> None:
        done[0] += 1
        print(f"\r{done[0]}/{total} traces", end="" if done[0] < total else "\n", flush=True)

    found = run(range(options.first_seed, options.first_seed + seeds), jobs, options.workers, progress)
    print("\n".join(report(found)))
    if options.json:
        sources = {name: make().source for name, make in MACHINES.items()}
        data = {
            "machine": machine(),
            "curves": sources,
            "first_seed": options.first_seed,
            "seeds": seeds,
            "jobs": jobs,
            "results": plain(found),
        }
        options.json.write_text(json.dumps(data, indent=1) + "\n")
    if options.plots:
        from .plots import draw

        draw(found, options.plots)


if __name__ == "__main__":
    main()
