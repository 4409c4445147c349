"""Networks and servers that are worse than broken: silent, slow, about to stop; several servers that break in turn.

The outcome is always the same: each caller gets its own images, each job is made once, nothing is left over.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from aio_support import BIG, PNG, SECONDS, spawn
from fault_proxy import Cut, FaultProxy, Side
from pictures import png
from scripted_server import ScriptedServer
from shells import Connected, Shell
from steady_server import SteadyServer, images_of

import pixwire
from pixwire import errors
from pixwire.core import plan
from pixwire_protocol.messages import Submit, Watch
from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.settings import Settings

IMAGE = png()
SIDES: tuple[Side, Side] = ("client", "server")
pytestmark = pytest.mark.usefixtures("tidy", "at_once")


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chance has it that every reconnect happens at once, and that HELLO is always equally long."""
    monkeypatch.setattr(random, "random", lambda: 0.0)
    monkeypatch.setattr(plan, "make_grease", lambda noise: None)


def steady(name: str = "steady", **more: Any) -> SteadyServer:
    """A server that wants to hear of its clients every second."""
    settings = {"idle_ms": 1000, "ping_timeout_ms": 1000, "max_upload": 1 << 24, **more}
    return SteadyServer(settings=Settings(agent="steady/1", server_id=name, epoch="e1", **settings))


async def make(client: Connected, job: str) -> None:
    """A job with a picture of its own and two images, which must be its own."""
    made = await client.generate("x", count=2, image=IMAGE, job_id=job, timeout=SECONDS)
    assert [image.bytes for image in made] == images_of(job, 2, 100)
    assert {image.job for image in made} == {job}


def jobs_of(*servers: SteadyServer) -> list[str]:
    """All jobs that were ever made, with those made twice twice."""
    return sorted(job for server in servers for job in server.jobs)


async def lengths(shell: Shell, server: SteadyServer) -> tuple[dict[Side, int], dict[Side, int]]:
    """How many bytes each side sends until the handshake is done, and until the images are there."""
    async with FaultProxy(server.url) as proxy, shell.connect(proxy.url) as client:
        begin = dict(proxy.relays[0].passed)
        await make(client, "first")
        end = dict(proxy.relays[0].passed)
    server.jobs.clear()
    return begin, end


def spread(first: int, last: int, count: int) -> list[int]:
    """About so many places from `first` to before `last`."""
    return list(range(first, last, max(1, (last - first) // count)))


@pytest.mark.asyncio(loop_factories=["asyncio", "threads"])  # it takes its time
async def test_a_connection_that_is_dead_and_looks_alive(shell: Shell) -> None:
    """Half open at many places of the submit, the upload, the events and the images: the client finds out by itself."""
    async with steady() as server:
        begin, end = await lengths(shell, server)
        cuts = [Cut(side, at, silent=True) for side in SIDES for at in spread(begin[side] + 1, end[side], 20)]

        async def one(number: int, cut: Cut) -> None:
            async with FaultProxy(server.url, cut) as proxy, shell.connect(proxy.url) as client:
                await make(client, f"job-{number}")
                assert len(proxy.relays) >= 2, cut

        async with asyncio.TaskGroup() as group:
            for number, cut in enumerate(cuts):
                group.create_task(one(number, cut))
        assert jobs_of(server) == sorted(f"job-{number}" for number in range(len(cuts)))


@pytest.mark.asyncio(loop_factories=["asyncio", "threads"])
async def test_a_handshake_that_comes_to_a_halt(shell: Shell) -> None:
    """At the first connection it is an error; at a later one the client tries again."""
    async with steady() as server:
        begin, end = await lengths(shell, server)

        async def first(cut: Cut) -> None:
            async with FaultProxy(server.url, cut) as proxy:
                with pytest.raises(errors.ConnectError, match=r"within 0\.5 s"):
                    await shell.connect(proxy.url, timeout=0.5)

        async def later(number: int, cut: Cut) -> None:
            broken = Cut("server", begin["server"] + 20)
            async with FaultProxy(server.url, broken, cut) as proxy, shell.connect(proxy.url, timeout=0.5) as client:
                await make(client, f"job-{number}")
                assert len(proxy.relays) >= 3, cut

        halts = [Cut(side, at, silent=True) for side in SIDES for at in spread(1, begin[side], 8)]
        async with asyncio.TaskGroup() as group:
            for number, cut in enumerate(halts):
                group.create_task(first(cut))
                group.create_task(later(number, cut))
        assert len(jobs_of(server)) == len(halts)
        assert begin["client"] < end["client"]


async def test_every_byte_alone(shell: Shell) -> None:
    """A server and a client that are as slow as can be: one byte at a time, both ways."""
    async with steady() as server, FaultProxy(server.url, dribbles=True) as proxy:
        async with shell.connect(proxy.url) as client:
            await make(client, "job-1")
        assert len(proxy.relays) == 1


async def test_many_callers_on_a_connection_that_breaks_anywhere(shell: Shell) -> None:
    """Nobody gets another one's image, whatever was under way when the connection broke."""
    chance = random.Random(7)
    async with steady() as server:
        begin, _ = await lengths(shell, server)

        async def crowd(number: int) -> None:
            reach = [begin["server"] + chance.randrange(1, 1500) for _ in range(6)]
            cuts = [Cut(chance.choice(SIDES), at) for at in reach]
            async with FaultProxy(server.url, *cuts) as proxy, shell.connect(proxy.url) as client:
                await asyncio.gather(*(make(client, f"job-{number}-{turn}") for turn in range(8)))
                assert len(proxy.relays) > 1

        for number in range(6):
            await crowd(number)
        assert jobs_of(server) == sorted(f"job-{number}-{turn}" for number in range(6) for turn in range(8))


async def test_a_consumer_that_does_not_read_harms_nobody(server: ScriptedServer, client: Connected) -> None:
    """It is told everything that counts later on, and holds no more than the latest meanwhile."""
    events = client.job("slow").events(previews=True)
    first = spawn(anext(events))
    watch = await server.next(Watch)
    watch.accept("running")
    await first
    for step in range(1, 2001):
        watch.progress(step, 2000)
        watch.preview(step, b"rough")
    other = spawn(client.generate("x"))
    request = await server.next(Submit)
    request.accept("running")
    request.succeed([BIG])
    assert (await other).bytes == BIG
    watch.change("succeeded", end=True, artifacts=[watch.info(0, PNG)])
    await client.ping()
    heard = [event async for event in events]
    assert [type(event) for event in heard] == [pixwire.Progress, pixwire.Preview, pixwire.StateChange]
    assert heard[0].step == 2000


async def test_a_server_that_is_about_to_stop_finishes_and_is_asked_no_more(
    server: ScriptedServer, client: Connected
) -> None:
    old = spawn(client.generate("x", job_id="old"))
    first = await server.next(Submit)
    first.accept("running")
    first.peer.goaway(ErrorCode.DRAINING, "restart", last_stream=first.stream, reconnect_after_ms=1)
    new = spawn(client.generate("y", job_id="new"))
    second = await server.next(Submit)
    assert second.peer is not first.peer
    assert second.job == "new"
    second.accept("running")
    second.succeed([PNG])
    assert (await new).bytes == PNG
    first.succeed([BIG])
    assert (await old).bytes == BIG
    await first.peer.gone
    assert server.requests.empty(), "nothing was asked twice"


# --- several servers


@pytest.fixture
async def pair() -> AsyncIterator[tuple[SteadyServer, SteadyServer]]:
    """Two servers with a store each."""
    async with steady("a") as first, steady("b") as second:
        yield first, second


async def each(
    shell: Shell, servers: Sequence[SteadyServer], cuts: Sequence[tuple[Cut | None, Cut | None]], *, at_once: int = 20
) -> None:
    """Every pair of cuts by itself, one for each server; each job is made once, on whichever."""
    slots = asyncio.Semaphore(at_once)

    async def one(number: int, mine: tuple[Cut | None, Cut | None]) -> None:
        async with (
            slots,
            FaultProxy(servers[0].url, mine[0]) as first,
            FaultProxy(servers[1].url, mine[1]) as second,
            shell.connect([first.url, second.url]) as client,
        ):
            try:
                await asyncio.gather(*(make(client, f"job-{number}-{turn}") for turn in range(3)))
            except BaseException as error:
                error.add_note(f"cuts: {mine}")
                raise

    async with asyncio.TaskGroup() as group:
        for number, mine in enumerate(cuts):
            group.create_task(one(number, mine))
    made = jobs_of(*dict.fromkeys(servers))
    assert made == sorted(f"job-{number}-{turn}" for number in range(len(cuts)) for turn in range(3))


@pytest.mark.parametrize("side", SIDES)
async def test_one_of_two_servers_breaks_anywhere(
    shell: Shell, pair: tuple[SteadyServer, SteadyServer], side: Side
) -> None:
    begin, end = await lengths(shell, pair[0])
    cuts = [Cut(side, at) for at in spread(begin[side] + 1, 2 * end[side] - begin[side], 30)]
    await each(shell, pair, [(cut, None) for cut in cuts])


async def test_both_servers_break_anywhere(shell: Shell, pair: tuple[SteadyServer, SteadyServer]) -> None:
    begin, end = await lengths(shell, pair[0])
    chance = random.Random(11)

    def cut() -> Cut:
        side = chance.choice(SIDES)
        return Cut(side, chance.randrange(begin[side] + 1, 2 * end[side] - begin[side]))

    await each(shell, pair, [(cut(), cut()) for _ in range(20)])


@pytest.mark.asyncio(loop_factories=["asyncio", "threads"])
async def test_one_of_two_servers_falls_silent(shell: Shell, pair: tuple[SteadyServer, SteadyServer]) -> None:
    begin, end = await lengths(shell, pair[0])
    cuts = [Cut(side, at, silent=True) for side in SIDES for at in spread(begin[side] + 1, end[side], 6)]
    await each(shell, pair, [(cut, None) for cut in cuts])


async def test_two_ways_to_one_server(shell: Shell) -> None:
    """Its jobs are found whichever way is open, and made once."""
    async with steady() as server:
        begin, end = await lengths(shell, server)
        cuts = [Cut(side, at) for side in SIDES for at in spread(begin[side] + 1, 2 * end[side] - begin[side], 15)]
        await each(shell, (server, server), [(cut, None) for cut in cuts])
