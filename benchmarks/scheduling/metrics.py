"""What is reported of a replay."""

from collections.abc import Sequence
from statistics import fmean

from benchmarks.measure import percentile

from .curves import Machine
from .simulator import Outcome, Replay
from .traces import best_cost


def measure(result: Replay, machine: Machine) -> dict[str, float]:
    """The figures of one replay. Seconds, jobs a second, or shares from 0 to 1.

    `latency_*` is of the jobs without a deadline: the same jobs under every policy, for all of them are finished.
    `finished_*` is of all that were finished: who gives up late jobs looks better there than it is.
    """
    outcomes = result.outcomes
    patient = [o.finished - o.job.arrived for o in outcomes if o.finished is not None and o.job.deadline is None]
    finished = [o.finished - o.job.arrived for o in outcomes if o.finished is not None]
    previews = [o.first_preview - o.job.arrived for o in outcomes if o.first_preview is not None]
    urgent = [o for o in outcomes if o.job.deadline is not None]
    steps = sum(o.steps * o.job.work.rows for o in outcomes)
    wasted = sum(o.steps * o.job.work.rows for o in outcomes if not o.in_time)
    figures = {f"latency_{name}": value for name, value in _spread(patient).items()}
    figures |= {f"finished_{name}": value for name, value in _spread(finished).items()}
    for level, name in ((0, "high"), (1, "normal"), (2, "low")):
        of = [
            o.finished - o.job.arrived
            for o in outcomes
            if o.finished and o.job.deadline is None and o.job.priority == level
        ]
        figures[f"latency_mean_{name}"] = fmean(of) if of else 0.0
    return figures | {
        "preview_p50": percentile(previews, 0.5),
        "preview_p95": percentile(previews, 0.95),
        "hits": sum(o.in_time for o in urgent) / max(1, len(urgent)),
        "goodput": sum(o.in_time for o in outcomes) / result.length,
        "wasted": wasted / max(1, steps),
        "fairness": jain(_shares(outcomes, machine)),
        "rows_per_pass": result.rows / max(1, result.passes),
        "unfinished": sum(o.finished is None and o.job.deadline is None for o in outcomes),
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    found = {f"p{share}": percentile(values, share / 100) for share in (50, 95, 99)}
    return {"mean": fmean(values)} | found


def jain(values: Sequence[float]) -> float:
    """(sum x)^2 / (n sum x^2): 1 when all are equal, 1/n when one has all."""
    square = sum(v * v for v in values)
    return sum(values) ** 2 / (len(values) * square) if square else 1.0


def _shares(outcomes: Sequence[Outcome], machine: Machine) -> list[float]:
    """What each principal got of what a fair division would have given it, up to the last arrival; at most 1 each.

    A fair division gives nobody more than it asked for, and divides what the policy delivered equally otherwise.
    """
    end = max(o.job.arrived for o in outcomes)
    asked: dict[str, float] = {}
    got: dict[str, float] = {}
    for o in outcomes:
        cost = best_cost(machine, o.job.work)
        asked[o.job.principal] = asked.get(o.job.principal, 0.0) + cost
        in_time = o.in_time and o.finished is not None and o.finished <= end
        got[o.job.principal] = got.get(o.job.principal, 0.0) + (cost if in_time else 0.0)
    fair = fill(asked, sum(got.values()))
    return [min(1.0, got[p] / fair[p]) if fair[p] else 1.0 for p in asked]


def fill(asked: dict[str, float], capacity: float) -> dict[str, float]:
    """Max-min fair division: the least demands are met in full, the others share what is left equally."""
    fair: dict[str, float] = {}
    for rank, (principal, demand) in enumerate(sorted(asked.items(), key=lambda item: item[1])):
        fair[principal] = min(demand, capacity / (len(asked) - rank))
        capacity -= fair[principal]
    return fair
