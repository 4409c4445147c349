"""Who starts when: classes, shares, limits; what is told of it, and what is learnt for it; tags."""

from dataclasses import replace

import pytest

from pixwire_protocol.registry import ErrorCode
from pixwire_server.engine import api
from pixwire_server.jobs import Terms

from .conftest import STATS, Bench
from .teaching import STEP_S, learn, refused, taught


async def test_higher_classes_go_first(bench: Bench) -> None:
    await bench.open(max_resident=1)
    await bench.submit("first")
    await bench.farm.running("first")
    for name, priority in (("low", "low"), ("normal", "normal"), ("high", "high")):
        await bench.submit(name, terms=Terms(priority))
    positions = {name: (await bench.status(name)).queue_position for name in ("low", "normal", "high")}
    assert positions == {"high": 1, "normal": 2, "low": 3}
    for name in ("first", "high", "normal"):
        known = len(bench.engine.tasks)
        bench.engine.finish(name)
        await bench.farm.until(lambda known=known: len(bench.engine.tasks) > known)
    await bench.farm.running("first", "high", "normal", "low")
    levels = [command.level for command in bench.engine.commands if isinstance(command, api.Submit)]
    assert levels == [1, 0, 1, 2], "the engine is told, for the order of its passes"


async def test_principals_share_the_engine_whoever_floods_it(bench: Bench) -> None:
    await bench.open(max_resident=1)
    for number in range(6):
        await bench.submit(f"flood {number}", principal="many")
    for number in range(2):
        await bench.submit(f"few {number}", principal="few")
    order: list[str] = []
    for number in range(8):
        await bench.farm.until(lambda count=number: len(bench.engine.tasks) > count)
        order.append(list(bench.engine.tasks.values())[-1].prompt)
        bench.engine.finish(order[-1])
    assert {"few 0", "few 1"} <= set(order[:4])


async def test_a_principal_has_no_more_running_than_it_may(bench: Bench) -> None:
    await bench.open(max_resident=4, principal_running_limit=1)
    for name in ("a", "b"):
        await bench.submit(name, principal="one")
    await bench.submit("c", principal="other")
    await bench.farm.running("a", "c")
    bench.engine.leave("a")
    await bench.farm.running("a", "c", "b")


async def test_jobs_in_the_engine_are_bounded_by_their_memory(bench: Bench) -> None:
    """Three images of this size would not fit; one that is too large for all of it runs alone."""
    await bench.open(max_resident=4, resident_bytes=2 * 64 * 128 * 16)
    for name in "abc":
        await bench.submit(name)
    await bench.farm.running("a", "b")
    bench.engine.finish("a")
    await bench.farm.running("a", "b", "c")
    await bench.submit("huge", count=4)
    bench.engine.finish("b")
    bench.engine.finish("c")
    await bench.farm.running("a", "b", "c", "huge")


async def test_status_says_about_when(bench: Bench) -> None:
    await taught(bench, max_resident=1)
    etas = [(await bench.submit(name)).status.eta_ms for name in "abc"]
    await bench.farm.running("teacher", "a")
    assert etas[0] == pytest.approx(10_000, rel=0.1)
    assert etas == sorted(etas)
    bench.engine.step("a", 10)
    bench.pass_time(0.2)
    assert (await bench.status("a")).eta_ms == pytest.approx(5000, rel=0.1)
    assert (await bench.status("c")).eta_ms < etas[2]
    follower = await bench.follow("a")
    bench.engine.finish("a")
    assert (await follower.until("succeeded")).eta_ms is None


async def test_the_error_of_forecasts_is_known(bench: Bench) -> None:
    await taught(bench)
    assert bench.jobs.cost_errors()[2] == 1.0
    await bench.submit("star")
    follower = await bench.follow("star")
    await bench.farm.running("teacher", "star")
    bench.pass_time(20.0)
    bench.engine.finish("star")
    await follower.until("succeeded")
    _, p90, _ = bench.jobs.cost_errors()
    assert p90 == pytest.approx(2.0, rel=0.1), "it took twice as long as foretold"


async def test_what_was_learnt_is_there_after_a_restart(bench: Bench) -> None:
    await taught(bench)
    await bench.jobs.close()
    await bench.open()
    error = await refused(bench.submit("star", terms=Terms(timeout_ms=8000)))
    assert error.code is ErrorCode.DEADLINE_EXCEEDED
    (bench.data_dir / "cost.json").write_text("{")
    await bench.jobs.close()
    await bench.open()
    assert not (await bench.submit("star", terms=Terms(timeout_ms=8000))).duplicate, "a damaged file is no truth"


async def test_what_a_pipeline_makes_of_a_request_is_learnt(bench: Bench) -> None:
    """One row an image although guidance was asked for, two calls a step, and a ControlNet before each."""
    await bench.open()
    await bench.submit("star", steps=10)
    await bench.farm.running("star")
    follower = await bench.follow("star")
    learn(bench, rows=1)
    shape = next(command.shape for command in bench.engine.commands if isinstance(command, api.Submit))
    control = [api.Pass(100 + n, "denoise", f"{shape}+controlnet", 1, 64 * 128, 100.0, (1,)) for n in range(5)]
    bench.engine.report(api.Passed(tuple(control)))
    bench.engine.report(api.Left(1))
    stats = replace(STATS, passes=30)
    bench.engine.report(api.Finished(1, (api.EncodedImage(b"image", "image/png", 64, 128, 100),), stats))
    await follower.until("succeeded")
    status = (await bench.submit("moon", steps=10)).status
    assert status.eta_ms == pytest.approx(10 * 2 * (STEP_S + 0.1) * 1000, rel=0.1)


# ---------------------------------------------------------------------------------------------- tags


async def test_jobs_are_found_by_tag(bench: Bench) -> None:
    jobs = await bench.open(max_resident=0)
    await bench.submit("a", terms=Terms(tags=("x", "y")))
    await bench.submit("b", terms=Terms(tags=("y",)))
    await bench.submit("c")
    await bench.submit("d", terms=Terms(tags=("y",)), principal="somebody")
    found = {tag: await jobs.list_jobs("anonymous", 10, tag=tag) for tag in ("x", "y", "z", None)}
    names = {tag: [one.job for one in page.jobs] for tag, page in found.items()}
    assert names == {"x": ["a"], "y": ["b", "a"], "z": [], None: ["c", "b", "a"]}
    [one] = found["x"].jobs
    assert (one.tags, one.priority, one.model) == (("x", "y"), "normal", "test/model")
