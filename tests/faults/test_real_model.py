"""SIGKILL at every stage of the real engine with the built-in model, to it and to the server. Takes a minute or two,
mostly to load the model after each kill: `make crash` runs it.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from crashing import CrashServer, Nursery
from gatekeeper import Gatekeeper, end_of
from story import Lamp, Story
from wire_user import WireUser

STAGES = ("encoding", "pass 3", "decoding", "image encoding")
ASKED = "PIXWIRE_CRASH_REAL"
CASES = [(stage, victim) for victim in ("engine", "server") for stage in STAGES]
JOBS = 3

pytestmark = pytest.mark.skipif(ASKED not in os.environ, reason=f"takes minutes; {ASKED}=1, or `make crash`, runs it")


class KnownStory(Story):
    """Its image was made before, by a server that nothing disturbed."""

    known: bytes | None = None

    async def check_images(self, user: WireUser) -> None:
        assert self.end is not None
        assert self.end["state"] == "succeeded", self.end
        image = await user.fetch(self.job)
        if self.known is None:
            self.known = image
        assert image == self.known, f"{self.job}: another image"


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    made = Nursery(OMP_NUM_THREADS="1")
    yield made
    made.close()


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gatekeeper]:
    async with Gatekeeper(tmp_path / "gate") as keeper:
        yield keeper


def stories(number: int) -> list[KnownStory]:
    """Prompts of their own for each case: the engine remembers texts that it has encoded."""
    return [
        KnownStory(f"job-{number}-{n}", f"a red circle on a white background {number} {n}", steps=6 + n, seed=7 + n)
        for n in range(JOBS)
    ]


async def test_every_image_is_that_of_an_undisturbed_run(nursery: Nursery, gate: Gatekeeper, tmp_path: Path) -> None:
    lamp = Lamp()
    undisturbed = CrashServer(nursery, tmp_path, engine="real")
    undisturbed.config |= {"exact": True, "max_rows": 4, "max_resident": 2}
    undisturbed.data_dir = tmp_path / "undisturbed"
    await undisturbed.start()
    lamp.set(True)
    known = [
        [await story.live(undisturbed.socket, lamp.up) for story in stories(number)] for number in range(len(CASES))
    ]
    assert await undisturbed.stop() == 0
    server = CrashServer(nursery, tmp_path, gate=gate.path, engine="real")
    server.config |= undisturbed.config
    await server.start()
    for number, (stage, victim) in enumerate(CASES):
        told = stories(number)
        for story, before in zip(told, known[number], strict=True):
            story.known = before.known  # type: ignore[attr-defined]
        gate.stops = {stage}
        lives = [asyncio.create_task(story.live(server.socket, lamp.up)) for story in told]
        visit = await gate.arrival()
        gate.stops = ()
        user = await WireUser.connect(server.socket)
        await user.listed()  # that they run is on disk
        await user.close()
        if victim == "engine":
            os.kill(visit.pid, signal.SIGKILL)
        else:
            lamp.set(False)
            os.kill(visit.pid, signal.SIGSTOP)  # also an engine that can do nothing any more ends with its server
            await server.kill()
        await end_of(visit.pid)
        gate.open()
        if victim == "server":
            await server.start()
            lamp.set(True)
        await asyncio.gather(*lives)
        assert max(story.attempt for story in told) == 2, (stage, victim)
    user = await WireUser.connect(server.socket)
    assert len(await user.listed()) == len({one["job"] for one in await user.listed()}) == len(CASES) * JOBS
    await user.close()
    assert await server.stop() == 0
