"""Engines that hang, and requests that kill them: the server goes on, and so do the neighbours."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from crashing import CrashServer, Nursery
from gatekeeper import Gatekeeper, end_of
from story import Lamp, Story


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    """Its engines show often that they live, so that silence is noticed soon."""
    made = Nursery(PIXWIRE_TEST_HEARTBEAT_S="0.02")
    yield made
    made.close()


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gatekeeper]:
    async with Gatekeeper(tmp_path / "gate") as keeper:
        yield keeper


@pytest.fixture
async def server(nursery: Nursery, tmp_path: Path, gate: Gatekeeper) -> AsyncIterator[CrashServer]:
    made = CrashServer(nursery, tmp_path, gate=gate.path)
    made.jobs = {"max_attempts": 3}
    yield made
    gate.open()
    if made.pid in nursery.pids:
        await made.kill()


def lit() -> Lamp:
    lamp = Lamp()
    lamp.set(True)
    return lamp


async def test_a_stopped_engine_is_treated_like_a_dead_one(server: CrashServer, gate: Gatekeeper) -> None:
    """It is there, holds its socket open and says nothing. How long that takes to be noticed is configured; a machine
    that is slower than that only makes more attempts.
    """
    server.restart = {"tick_s": 0.05, "silent_ticks": 40}
    server.jobs = {}
    gate.stops = {"step 2"}
    await server.start()
    lives = [asyncio.create_task(Story(f"job-{n}", f"prompt {n}").live(server.socket, lit().up)) for n in range(3)]
    visit = await gate.arrival()
    os.kill(visit.pid, signal.SIGSTOP)
    gate.open()
    stories = await asyncio.gather(*lives)
    await end_of(visit.pid)
    assert all(story.end is not None and story.end["state"] == "succeeded" for story in stories)
    assert max(story.attempt for story in stories) > 1
    assert "it reports nothing any more, it is killed" in server.log.read_text()
    assert visit.pid not in server.engine_pids()
    assert await server.stop() == 0


async def test_poison_kills_neither_server_nor_neighbours(server: CrashServer) -> None:
    """Two of them among six others: each fails after its own three attempts, the others have their images."""
    server.config["max_resident"] = 4
    await server.start()
    pid = server.pid
    poisons = [Story(f"bad-{n}", f"poison {n}", steps=5) for n in range(2)]
    others = [Story(f"good-{n}", f"a flower {n}", steps=3 + 2 * n) for n in range(6)]
    order = [others[0], poisons[0], *others[1:3], poisons[1], *others[3:]]
    await asyncio.gather(*(story.live(server.socket, lit().up) for story in order))
    for story in poisons:
        assert story.end is not None
        assert (story.end["state"], story.end["error"]["name"]) == ("failed", "WORKER_LOST")
        assert story.attempt == 3
    for story in others:
        assert story.end is not None
        assert story.end["state"] == "succeeded"
    late = await Story("late", "a flower").live(server.socket, lit().up)
    assert (late.end is not None and late.end["state"], late.attempt) == ("succeeded", 1)
    assert server.pid == pid
    assert all(story.connections == 1 for story in (*order, late)), "the server went away meanwhile"
    assert await server.stop() == 0


async def test_poison_stays_poison_across_restarts_of_the_server(server: CrashServer, gate: Gatekeeper) -> None:
    """Attempts that a server did not survive count, too: no request can bring a server down for ever."""
    gate.stops = {"step 1"}
    lamp, story = Lamp(), Story("bad", "poison", steps=5)
    await server.start()
    lamp.set(True)
    life = asyncio.create_task(story.live(server.socket, lamp.up))
    await gate.arrival()
    lamp.set(False)
    await server.kill()
    gate.open()
    await server.start()
    lamp.set(True)
    await life
    assert story.end is not None
    assert (story.end["state"], story.attempt) == ("failed", 3)
    assert "3 attempts" in story.end["error"]["message"]
    assert await server.stop() == 0
