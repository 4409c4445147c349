"""Connections that break at every byte there is: the outcome is the same, and nothing happens twice."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence

import pytest
from aio_support import SECONDS
from fault_proxy import Cut, FaultProxy, Side
from pictures import png
from shells import Connected, Shell
from steady_server import SteadyServer, images_of

import pixwire
from pixwire import errors
from pixwire.core import plan

IMAGE = png()
AT_ONCE = 40  # how many proxies live side by side
PIECE = 200  # cuts of one test

pytestmark = [pytest.mark.usefixtures("tidy", "no_waiting"), pytest.mark.asyncio(loop_factories=["asyncio", "threads"])]


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chance has it that every reconnect happens at once, and that HELLO is always equally long."""
    monkeypatch.setattr(random, "random", lambda: 0.0)
    monkeypatch.setattr(plan, "make_grease", lambda noise: None)


@pytest.fixture
async def steady(tidy: None) -> AsyncIterator[SteadyServer]:
    async with SteadyServer() as server:
        yield server


async def make_images(client: Connected, job: str) -> None:
    """One job with an upload, events and two images; everything about it must be right."""
    heard: list[pixwire.Event] = []
    images = await client.generate(
        "a red hat", count=2, image=IMAGE, job_id=job, on_state=heard.append, on_progress=heard.append, timeout=SECONDS
    )
    assert [image.bytes for image in images] == images_of(job, 2, 100)
    sequence = [event.seq for event in heard]
    assert sequence == sorted(set(sequence)), "an event was heard twice"
    assert isinstance(heard[-1], pixwire.StateChange)
    assert heard[-1].state == "succeeded"


async def through_a_proxy(shell: Shell, server: SteadyServer, job: str, *cuts: Cut | None) -> int:
    """Makes the images and returns how many connections that took."""
    async with FaultProxy(server.url, *cuts) as proxy:
        async with shell.connect(proxy.url, timeout=SECONDS) as client:
            await make_images(client, job)
        return len(proxy.relays)


async def each(shell: Shell, server: SteadyServer, plans: Sequence[tuple[Cut | None, ...]], *, least: int) -> None:
    """Every plan by itself, some at the same time; each takes `least` connections or more."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(number: int, cuts: tuple[Cut | None, ...]) -> None:
        async with slots:
            try:
                assert await through_a_proxy(shell, server, f"job-{number}", *cuts) >= least
            except BaseException as error:
                error.add_note(f"cuts: {cuts}")
                raise

    async with asyncio.TaskGroup() as group:
        for number, cuts in enumerate(plans):
            group.create_task(one(number, cuts))
    assert len(server.jobs) == len(plans), "one job each, however often it was submitted"
    assert all(job.uploaded == [IMAGE] for job in server.jobs.values())


async def lengths(shell: Shell, server: SteadyServer) -> tuple[dict[Side, int], dict[Side, int]]:
    """How many bytes each side sends until the handshake is done, and until the images are there."""
    async with FaultProxy(server.url) as proxy, shell.connect(proxy.url) as client:
        begin = dict(proxy.relays[0].passed)
        await make_images(client, "job-0")
        end = dict(proxy.relays[0].passed)
    server.jobs.clear()
    return begin, end


# Chunks of the byte positions, so that no test takes long; the last one takes what is left.
PIECES = [(first, first + PIECE) for first in range(0, 2000, PIECE)]


@pytest.mark.parametrize(("first", "last"), PIECES, ids=lambda value: str(value))
@pytest.mark.parametrize("side", ["client", "server"])
async def test_cut_at_every_byte(shell: Shell, steady: SteadyServer, side: Side, first: int, last: int) -> None:
    begin, end = await lengths(shell, steady)
    positions = range(max(first, begin[side] + 1), min(last, end[side]))
    await each(shell, steady, [(Cut(side, position),) for position in positions], least=2)
    assert begin[side] < end[side] < PIECES[-1][1], "the list of pieces is too short"


@pytest.mark.asyncio(loop_factories=["uvloop"])
@pytest.mark.parametrize("side", ["client", "server"])
async def test_cut_at_every_seventh_byte(shell: Shell, steady: SteadyServer, side: Side) -> None:
    """The session is the same on every loop; what uvloop adds are its transports."""
    begin, end = await lengths(shell, steady)
    await each(shell, steady, [(Cut(side, position),) for position in range(begin[side] + 1, end[side], 7)], least=2)


@pytest.mark.parametrize("side", ["client", "server"])
async def test_cut_at_every_byte_of_a_later_handshake(shell: Shell, steady: SteadyServer, side: Side) -> None:
    begin, _ = await lengths(shell, steady)
    first = Cut("server", begin["server"] + 20)  # in the first answer
    await each(shell, steady, [(first, Cut(side, position)) for position in range(begin[side])], least=3)


@pytest.mark.parametrize("side", ["client", "server"])
async def test_cut_again_and_again(shell: Shell, steady: SteadyServer, side: Side) -> None:
    """Each connection gets a little further than the one before: in the end everything is there."""
    begin, _ = await lengths(shell, steady)
    plans = [tuple(Cut(side, begin[side] + step * turn) for turn in range(1, 9)) for step in range(20, 60)]
    await each(shell, steady, plans, least=3)


@pytest.mark.parametrize("side", ["client", "server"])
async def test_cut_at_every_byte_of_the_first_handshake(shell: Shell, steady: SteadyServer, side: Side) -> None:
    begin, _ = await lengths(shell, steady)
    for position in range(begin[side]):
        async with FaultProxy(steady.url, Cut(side, position)) as proxy:
            with pytest.raises(errors.ConnectError, match=r"closed|reset"):
                await shell.connect(proxy.url)
        assert len(proxy.relays) == 1
