"""When jobs will be finished, and which deadlines can be kept. Pure: the cost model and `now` are arguments.

The device is taken for a fluid: a job takes its `cost` of it (its share of shared passes), and gets it when those
before it have got theirs. It is never faster than its own `latency`, what it takes with the engine for itself.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .cost import CostModel, Work
from .data import Entry


@dataclass(frozen=True, slots=True)
class Resident:
    """A job in the engine. `left` of its steps are still to be done."""

    key: int
    priority: int
    due: float
    work: Work
    left: int
    encoded: bool = True
    deadline: float | None = None


def cost_left(model: CostModel, one: Resident, most: int) -> float:
    """Device seconds it still takes."""
    return model.cost(one.work, most, None if not one.encoded else one.left)


def latency_left(model: CostModel, one: Resident) -> float:
    """Seconds it still takes with the engine for itself."""
    whole = model.latency(one.work)
    return whole - (one.work.steps - one.left) * model.step(one.work, one.work.rows)


def ahead(model: CostModel, residents: Iterable[Resident], priority: int, due: float, most: int) -> float:
    """Device seconds of the residents that a job of this class and due time would let pass."""
    return sum(cost_left(model, one, most) for one in residents if (one.priority, one.due) <= (priority, due))


def finish(now: float, before: float, cost: float, latency: float) -> float:
    """When a job is finished that starts now and lets `before` device seconds of others pass."""
    return now + max(before + cost, latency)


KEPT, MISSED = 0.99, 1.20
"""What a started job's hit, or miss, of its deadline does to the slack: it rests where one in twenty is missed."""

LEAST_SLACK, MOST_SLACK = 1.0, 4.0


def slack_after(slack: float, kept: bool) -> float:
    """How much longer than foretold others are taken to hold a job up, after one more deadline was kept or not.

    Who comes later with more urgent work is not in the forecast: how much that matters is learnt from what came true.
    """
    return min(MOST_SLACK, max(LEAST_SLACK, slack * (KEPT if kept else MISSED)))


def can_meet(
    model: CostModel,
    entry: Entry,
    now: float,
    residents: Iterable[Resident],
    most: int,
    slack: float = LEAST_SLACK,
    beside: Iterable[Entry] = (),
) -> bool:
    """Whether the deadline of this job can be met if it starts now, together with those `beside` it. `slack`: see
    `slack_after`.
    """
    if entry.deadline is None:
        return True
    before = ahead(model, residents, entry.priority, entry.due, most)
    before += sum(one.cost for one in beside if (one.priority, one.due) <= (entry.priority, entry.due))
    return finish(now, slack * before, slack * entry.cost, entry.latency) <= entry.deadline


def hopeless(model: CostModel, one: Resident, now: float) -> bool:
    """Whether a resident misses its deadline even with the engine for itself from now on."""
    return one.deadline is not None and now + latency_left(model, one) > one.deadline


def etas(
    model: CostModel, residents: Sequence[Resident], queue: Iterable[Entry], now: float, most: int
) -> dict[int, float]:
    """When each will be finished, for the residents and for the queued jobs in the order in which they will start.

    One addition a job: ask for as many of the queue as somebody wants to know.
    """
    found: dict[int, float] = {}
    before = 0.0
    for one in sorted(residents, key=lambda one: (one.priority, one.due, one.key)):
        cost = cost_left(model, one, most)
        found[one.key] = finish(now, before, cost, latency_left(model, one))
        before += cost
    for entry in queue:
        found[entry.key] = finish(now, before, entry.cost, entry.latency)
        before += entry.cost
    return found
