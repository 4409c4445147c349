"""SIGKILL at every stage of a job's life, to the server and to the engine: nothing accepted is lost, nothing is there
twice, and every image is the one of an undisturbed run.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from crashing import CrashServer, Nursery
from gatekeeper import Gatekeeper, end_of
from story import Lamp, Story
from wire_user import WireUser

BEFORE = ("submitting", "accepted")
IN_ENGINE = ("encoding", "step 1", "step 3", "decoding", "image encoding")
AFTER = ("image written", "artifact written", "recording", "result recorded")
STAGES = (*BEFORE, "queued", *IN_ENGINE, *AFTER)


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gatekeeper]:
    async with Gatekeeper(tmp_path / "gate") as keeper:
        yield keeper


@pytest.fixture
async def server(nursery: Nursery, tmp_path: Path, gate: Gatekeeper) -> AsyncIterator[CrashServer]:
    made = CrashServer(nursery, tmp_path, gate=gate.path)
    made.config["max_resident"] = 2
    yield made
    gate.open()
    if made.pid in nursery.pids:
        await made.kill()


def attempts(stage: str, victim: str) -> set[int]:
    """Which run may make the image of the job that was at this stage when the victim was killed."""
    if stage in IN_ENGINE:
        return {2}
    if victim == "server":
        return {2} if stage in ("image written", "artifact written", "recording") else {1}
    return {1, 2} if stage in BEFORE else {1}  # it may be given to the dead engine before its death is noticed


def kept(data_dir: Path) -> tuple[dict[str, str], set[str]]:
    """Of a server that is not running: its jobs with their states, and the files they refer to."""
    with closing(sqlite3.connect(f"{(data_dir / 'journal.sqlite3').as_uri()}?mode=ro", uri=True)) as journal:
        jobs = dict(journal.execute("SELECT job, state FROM job"))
        return jobs, {name for (name,) in journal.execute("SELECT name FROM file")}


async def states(server: CrashServer) -> dict[str, str]:
    """What the list says; all of it is on disk then."""
    user = await WireUser.connect(server.socket)
    listed = await user.listed()
    await user.close()
    found = {job["job"]: job["state"] for job in listed}
    assert len(found) == len(listed)
    return found


async def crash(server: CrashServer, gate: Gatekeeper, lamp: Lamp, victim: str) -> None:
    """Kill it while somebody stands at the gate; there is a server with an engine to come afterwards."""
    if victim == "engine":
        assert await server.kill_engine() == 1
        gate.open()
        return
    lamp.set(False)
    engines = server.engine_pids()
    await server.kill()
    for pid in engines:  # none is left behind, also not one that stands still
        await end_of(pid)
    gate.open()
    await server.start()
    lamp.set(True)


@pytest.mark.req("PXW-JOB-003")
@pytest.mark.req("PXW-JOB-004")
@pytest.mark.parametrize("victim", ["server", "engine"])
@pytest.mark.parametrize("stage", STAGES)
async def test_a_kill_harms_no_job(server: CrashServer, gate: Gatekeeper, stage: str, victim: str) -> None:
    lamp = Lamp()
    stories = [Story(f"job-{n}", f"prompt {n}", seed=(5 * n or None), count=1 + n % 2) for n in range(4)]
    gate.stops = {"step 1" if stage == "queued" else stage}
    await server.start()
    lamp.set(True)
    lives = [asyncio.create_task(story.live(server.socket, lamp.up)) for story in stories]
    visit = await gate.arrival()
    gate.stops = ()
    if stage in IN_ENGINE:
        assert "running" in (await states(server)).values()
    while stage == "queued" and len(await states(server)) < len(stories):
        pass  # the last ones are still being submitted; two run, so that they have to wait
    await crash(server, gate, lamp, victim)
    await asyncio.gather(*lives)
    if stage == "queued":
        runs = sorted(story.attempt for story in stories)
        assert runs == [1, 1, 2, 2] if victim == "server" else runs[0] == 1 and runs[2:] == [2, 2]
    elif visit.subject:
        hit = next(story for story in stories if visit.subject in (story.job, story.prompt))
        assert hit.attempt in attempts(stage, victim)
    assert await states(server) == {story.job: "succeeded" for story in stories}
    assert await server.stop() == 0, server.log.read_text()
    jobs, files = kept(server.data_dir)
    assert jobs == {story.job: "succeeded" for story in stories}
    on_disk = {path.name for path in (server.data_dir / "artifacts").rglob("*") if path.is_file()}
    assert files <= on_disk
    assert len(files) == sum(story.params["count"] for story in stories)
