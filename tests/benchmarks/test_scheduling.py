"""The simulator does what it says, and every policy finishes what it must."""

import pytest
from benchmarks.scheduling import curves, metrics, traces
from benchmarks.scheduling.__main__ import POLICIES, against_the_best, one, report
from benchmarks.scheduling.simulator import replay

from pixwire_server.scheduling.cost import Shape, Work

MACHINES = [curves.h200(), curves.recorded()]


@pytest.mark.parametrize("host", MACHINES, ids=lambda host: host.name)
@pytest.mark.parametrize("kind", traces.KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("policy", POLICIES)
def test_every_job_without_a_deadline_is_finished_whole(policy: str, kind: traces.Kind, host: curves.Machine) -> None:
    trace = traces.draw(kind, host, 40, seed=1)
    result = replay(trace, host, POLICIES[policy](), seed=1)
    for outcome in result.outcomes:
        if outcome.job.deadline is None:
            assert outcome.finished is not None
        if outcome.finished is not None:
            assert outcome.steps == outcome.job.work.steps
            least = traces.shortest(host, outcome.job.work)
            assert outcome.finished - outcome.job.arrived > 0.7 * least
    assert result.busy <= result.length * (1 + 1e-9)


def test_the_same_seed_gives_the_same_figures() -> None:
    assert one(("h200", "surge", 40, 3)) == one(("h200", "surge", 40, 3))


def test_a_trace_has_the_load_it_names() -> None:
    host = curves.h200()
    for kind in traces.KINDS:
        trace = traces.draw(kind, host, 400, seed=0)
        work = sum(traces.best_cost(host, job.work) for job in trace)
        assert work / trace[-1].arrived == pytest.approx(kind.load, rel=0.15)


def test_the_published_curve_is_read_right() -> None:
    host, shape = curves.h200(), Shape("512", 512 * 512)
    gains = [rows * host.seconds("denoise", shape, 1) / host.seconds("denoise", shape, rows) for rows in (2, 4, 8, 16)]
    assert gains == pytest.approx([1.82, 2.77, 3.14, 3.21])
    assert traces.shortest(host, Work(shape, 50)) == pytest.approx(0.03 + 50 * 0.167 + 0.06)


def test_fairness_is_one_when_all_get_what_is_theirs() -> None:
    assert metrics.jain([1.0, 1.0, 1.0]) == 1.0
    assert metrics.jain([1.0, 0.0]) == 0.5
    assert metrics.fill({"small": 1.0, "large": 9.0, "larger": 20.0}, 13.0) == {
        "small": 1.0,
        "large": 6.0,
        "larger": 6.0,
    }


def test_the_report_names_every_policy() -> None:
    rounds = {policy: [row] for policy, row in one(("cpu", "busy", 40, 0)).items()}
    text = "\n".join(report({("cpu", "busy"): rounds}))
    assert all(policy in text for policy in POLICIES)
    assert against_the_best(rounds, "latency_mean").median > 0
