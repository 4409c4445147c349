"""Many images a few at a time, and images that go straight into a file."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from aio_support import BIG, PNG, SECONDS, spawn
from fault_proxy import Cut, FaultProxy
from scripted_server import ScriptedServer
from shells import Connected, Shell
from steady_server import SteadyServer, images_of

import pixwire
from pixwire import errors
from pixwire_protocol.messages import Fetch, Submit, Watch
from pixwire_protocol.params import parse
from pixwire_protocol.registry import ErrorCode

pytestmark = pytest.mark.usefixtures("tidy")


async def collect(outcomes: AsyncIterator[pixwire.Outcome]) -> list[pixwire.Outcome]:
    return [outcome async for outcome in outcomes]


async def test_as_completed_and_no_more_at_a_time(server: ScriptedServer, client: Connected) -> None:
    prompts = (f"prompt {number}" for number in range(5))
    task = spawn(collect(client.generate_many(prompts, concurrency=2, steps=4, priority="low")))
    first, second = [await server.next(Submit) for _ in range(2)]
    assert server.requests.empty()
    assert parse(first.message.tail).steps == 4
    assert first.message.priority == "low"
    for request in (second, first):
        request.accept()
        request.succeed([parse(request.message.tail).prompt.encode()])
        third = await server.next(Submit)
        assert server.requests.empty()
        third.accept()
        third.succeed([parse(third.message.tail).prompt.encode()])
        if request is second:
            fourth = await server.next(Submit)
            fourth.accept()
            fourth.succeed([parse(fourth.message.tail).prompt.encode()])
    outcomes = await task
    assert sorted(outcome.index for outcome in outcomes) == list(range(5))
    assert all(outcome.image.bytes == f"prompt {outcome.index}".encode() for outcome in outcomes)
    assert all(outcome.request["prompt"] == f"prompt {outcome.index}" for outcome in outcomes)


async def test_what_fails_does_not_stop_the_others(server: ScriptedServer, client: Connected) -> None:
    prompts: list[Any] = ["good", {"prompt": "bad"}, {"prompt": "wrong", "steps": 0}, {"prompt": "two", "count": 2}]
    task = spawn(collect(client.generate_many(prompts)))
    for _ in range(3):
        request = await server.next(Submit)
        params = parse(request.message.tail)
        if params.prompt == "bad":
            request.error(ErrorCode.QUOTA_EXCEEDED, "too much", retry="no")
        else:
            request.accept()
            request.succeed([PNG] * (params.count or 1))
    by_index = {outcome.index: outcome for outcome in await task}
    assert by_index[0].image.bytes == PNG
    assert isinstance(by_index[1].error, errors.QuotaExceeded)
    with pytest.raises(errors.QuotaExceeded):
        _ = by_index[1].image
    assert isinstance(by_index[2].error, errors.InvalidArgument)
    assert len(by_index[3].images) == 2


async def test_a_full_server_is_asked_again(server: ScriptedServer, client: Connected) -> None:
    task = spawn(collect(client.generate_many(["x"], job_id="j")))
    for _ in range(2):
        (await server.next(Submit)).error(ErrorCode.QUEUE_FULL, "full", retry_after_ms=1)
    request = await server.next(Submit)
    assert request.job == "j"
    request.accept()
    request.succeed([PNG])
    assert [outcome.image.bytes for outcome in await task] == [PNG]


async def test_waiting_for_a_full_server_has_an_end(server: ScriptedServer, client: Connected) -> None:
    task = spawn(collect(client.generate_many(["x"], timeout=5.0)))
    (await server.next(Submit)).error(ErrorCode.QUEUE_FULL, "full", retry_after_ms=60_000)
    (outcome,) = await task
    assert isinstance(outcome.error, errors.QueueFull)


async def test_leaving_early(server: ScriptedServer, client: Connected) -> None:
    async def leave() -> None:
        async with aclosing(client.generate_many("abc", concurrency=3)) as outcomes:
            async for _ in outcomes:
                return

    task = spawn(leave())
    requests = [await server.next(Submit) for _ in range(3)]
    requests[1].accept()
    requests[1].succeed([PNG])
    await task
    gone = {await requests[0].peer.resets.get() for _ in range(2)}
    assert gone == {requests[0].stream, requests[2].stream}


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "3"])
async def test_a_wrong_concurrency(client: Connected, value: Any) -> None:
    with pytest.raises(errors.InvalidArgument, match="concurrency"):
        await collect(client.generate_many(["x"], concurrency=value))


async def test_arguments_that_do_not_exist(client: Connected) -> None:
    with pytest.raises(TypeError, match="stepps"):
        await collect(client.generate_many(["x", "y"], stepps=4))


async def test_a_hundred(tidy: None, shell: Shell) -> None:
    async with SteadyServer(count=1, size=3000) as server, shell.connect(server.url) as client:
        items = [{"prompt": "x", "job_id": f"j{number}"} for number in range(100)]
        outcomes = await collect(client.generate_many(items))
        assert {outcome.index: outcome.image.bytes for outcome in outcomes} == {
            number: images_of(f"j{number}", 1, 3000)[0] for number in range(100)
        }


# --- into a file


async def test_fetch_to_a_path_and_to_a_file(server: ScriptedServer, client: Connected, tmp_path: Path) -> None:
    file = io.BytesIO()
    told: list[tuple[int, int]] = []
    for target in (tmp_path / "a.png", file):
        task = spawn(client.job("j").fetch_to(target, 1, on_bytes=lambda *args: told.append(args)))
        watch = await server.next(Watch)
        watch.accept("running")
        watch.succeed([PNG, BIG], deliver=False)
        fetch = await server.next(Fetch)
        fetch.image(1, BIG)
        image = await task
        assert image.bytes == BIG
        assert told[-1] == (len(BIG), len(BIG))
        assert told == sorted(told)
        told.clear()
    assert (tmp_path / "a.png").read_bytes() == file.getvalue() == BIG


async def test_fetch_to_a_folder_that_is_not_there(server: ScriptedServer, client: Connected, tmp_path: Path) -> None:
    task = spawn(client.job("j").fetch_to(tmp_path / "none" / "a.png"))
    watch = await server.next(Watch)
    watch.accept("succeeded", artifacts=[watch.info(0, PNG)])
    (await server.next(Fetch)).image(0, PNG)
    with pytest.raises(FileNotFoundError):
        await task


async def test_a_cut_goes_on_at_its_offset(tidy: None, shell: Shell) -> None:
    told: list[int] = []
    async with (
        SteadyServer(count=1, size=400_000) as server,
        FaultProxy(server.url, Cut("server", 150_000)) as proxy,
        shell.connect(proxy.url) as client,
    ):
        job = await client.submit("x", job_id="j")
        await asyncio.wait_for(job.fetch_to(io.BytesIO(), on_bytes=lambda got, _: told.append(got)), SECONDS)
        assert len(proxy.relays) == 2
    assert told == sorted(told)
    assert told[-1] == 400_000
