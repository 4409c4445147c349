"""Overviews of a server for the tests of `top`."""

from dataclasses import replace

from pixwire_protocol.overview import (
    CostOverview,
    EngineOverview,
    FailedOverview,
    JobOverview,
    ModelOverview,
    Overview,
    PrincipalOverview,
    QueueOverview,
)


def running(number: int, pass_id: int | None, **values: object) -> JobOverview:
    """The job r<number>, in the pass `pass_id`."""
    job = JobOverview(
        job=f"r{number}",
        principal="alice",
        kind="txt2img",
        model="toy",
        state="running",
        step=number,
        steps=10,
        age_ms=1000 * number,
        eta_ms=2500,
        pass_id=pass_id,
    )
    return replace(job, **values)  # type: ignore[arg-type]


def waiting(number: int, principal: str = "bob") -> JobOverview:
    return JobOverview(f"w{number}", principal, "txt2img", "toy", "queued", 0, 10, 1000 * number, "low")


def failed(number: int) -> FailedOverview:
    return FailedOverview(f"f{number}", "carol", "txt2img", "toy", "failed", "WORKER_LOST", "the engine died", 90_000)


def overview(**values: object) -> Overview:
    """An ordinary one: two passes, three waiting jobs, a failed one."""
    ordinary = Overview(
        paused=False,
        draining=False,
        uptime_ms=3 * 3_600_000,
        connections=4,
        queue=QueueOverview(0, 2, 1, 12_000, 1000),
        running=(running(1, 7), running(2, 9), running(3, 7), running(4, None)),
        waiting=(waiting(1), waiting(2), waiting(3)),
        engine=EngineOverview("ready", 0, 4, 1, 1234, 118.0, 2.5, 41.2),
        models=(ModelOverview("toy", "loaded", 12_300_000), ModelOverview("large", "available")),
        principals=(PrincipalOverview("alice", 0, 4), PrincipalOverview("bob", 3, 0)),
        cost=CostOverview(1.0, 0.97, 1.32),
        failed=(failed(1),),
    )
    return replace(ordinary, **values)  # type: ignore[arg-type]
