"""The packed answers to STATUS say what the status says, and are made anew as soon as something has changed."""

from typing import Any

from pixwire_protocol.profile import unpack_map
from pixwire_server.jobs import Terms


async def packed(bench: Any, job: str) -> bytes:
    body = bench.jobs.status_body("anonymous", job)
    return body if isinstance(body, bytes) else await body


async def body(bench: Any, job: str) -> dict[str, Any]:
    return unpack_map(await packed(bench, job))


async def whole(bench: Any, job: str) -> dict[str, Any]:
    status = await bench.jobs.status("anonymous", job)
    return dict(status.to_map())


async def test_it_is_the_status_with_the_parameters_in_every_state(bench: Any) -> None:
    await bench.open(max_resident=1)
    await bench.submit("a")
    await bench.submit("b")
    await bench.farm.running("a")
    for job in ("a", "b"):
        assert await body(bench, job) == await whole(bench, job)
    bench.engine.step("a", 3)
    assert (await body(bench, "a"))["step"] == 3
    follower = await bench.follow("a")
    bench.engine.finish("a")
    await follower.until("succeeded")
    assert (await body(bench, "a"))["state"] == "succeeded"
    assert await body(bench, "a") == await whole(bench, "a")


async def test_a_place_in_the_queue_is_never_an_old_one(bench: Any) -> None:
    await bench.open(max_resident=0)
    for name in ("a", "b"):
        await bench.submit(name)
    assert (await body(bench, "b"))["queue_position"] == 2
    await bench.cancel("a")
    assert (await body(bench, "b"))["queue_position"] == 1


async def test_an_answer_is_used_again_for_a_tenth_of_a_second(bench: Any) -> None:
    await bench.open(max_resident=1)
    await bench.submit("a")
    await bench.farm.running("a")
    first = await packed(bench, "a")
    bench.pass_time(0.05)
    assert await packed(bench, "a") is first
    bench.pass_time(0.06)
    again = await packed(bench, "a")
    assert again is not first
    assert unpack_map(again) == await whole(bench, "a")


async def test_what_is_left_of_a_deadline_is_told_exactly(bench: Any) -> None:
    await bench.open(max_resident=0)
    await bench.submit("a", terms=Terms(timeout_ms=60_000))
    assert (await body(bench, "a"))["deadline_ms"] == 60_000
    bench.pass_time(0.05)
    assert (await body(bench, "a"))["deadline_ms"] == 59_950


async def test_what_comes_into_the_queue_makes_no_other_answer_old(bench: Any) -> None:
    await bench.open(max_resident=1)
    await bench.submit("a")
    await bench.farm.running("a")
    first = await packed(bench, "a")
    await bench.submit("b")
    assert await packed(bench, "a") is first


async def test_a_job_that_was_given_up_is_not_answered_from_memory(bench: Any) -> None:
    await bench.open(max_resident=1)
    await bench.submit("a")
    await bench.farm.running("a")
    first = await packed(bench, "a")
    record = bench.jobs._table.live.pop(("anonymous", "a"))
    assert bench.jobs._ledger.shown.fresh(("anonymous", "a")) is None
    bench.jobs._table.live[record.key] = record
    assert await packed(bench, "a") is first
