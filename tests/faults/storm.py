"""SIGKILL at random moments, by the hundred, while users submit, follow, cancel and fetch.

    python tests/faults/storm.py --kills 200            # what `make crash` does
    python tests/faults/storm.py --kills 20 --seed 7    # the same choices again (the timing is the machine's)
    python tests/faults/storm.py --kills 8 --engine real

At the end every job that was ever accepted must be there once, have one end that never changed, and have the images of
an undisturbed run. Exit status 0 if so; what it counted goes to standard output as JSON.
"""

import argparse
import asyncio
import contextlib
import json
import random
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from crashing import MANY, CrashServer, Nursery
from gatekeeper import end_of, ended
from story import Lamp, Story, pictures
from wire_user import GoneError, RefusedError, WireUser

from pixwire_protocol.registry import ErrorCode

USERS = 6
PLACES = 3
PICTURES = pictures(2)
LONGEST_CALM_S = 0.25
"""The longest time between two kills: about as long as the fast engine takes to start and make some images."""


class Storm:
    """One server, its users, and whoever kills it."""

    def __init__(self, nursery: Nursery, folder: Path, kills: int, rng: random.Random, *, max_attempts: int) -> None:
        self.server = CrashServer(nursery, folder)
        self.server.config |= {"max_resident": PLACES, "log_level": "warning"}
        self.server.jobs = {"max_attempts": max_attempts}
        self.server.restart = {"max_failed_starts": MANY}  # engines are killed while they start, too
        self.kills = kills
        self.rng = rng
        self.max_attempts = max_attempts
        self.lamp = Lamp()
        self.stories: list[Story] = []
        self.done: Counter[str] = Counter()
        self._over = False

    async def blow(self) -> dict[str, Any]:
        """All kills, then calm until every job has ended; what was counted. Raises AssertionError."""
        began = time.monotonic()
        await self.server.start()
        self.lamp.set(True)
        async with asyncio.TaskGroup() as group:
            for number in range(USERS):
                group.create_task(self._user(random.Random(self.rng.random()), number))
            await self._kill_all()
            self._over = True
        await self._check_end()
        ends = Counter(story.end["state"] for story in self.stories if story.end is not None)
        runs = Counter(story.attempt for story in self.stories)
        return {
            "kills": dict(self.done),
            "jobs": len(self.stories),
            "ends": dict(ends),
            "jobs by number of runs": dict(sorted(runs.items())),
            "lives of the server": self.server.lives,
            "seconds": round(time.monotonic() - began, 1),
        }

    async def _kill_all(self) -> None:
        while sum(self.done.values()) < self.kills:
            await asyncio.sleep(self.rng.uniform(0, LONGEST_CALM_S))
            if self.rng.random() < 0.5:
                self.done["engine"] += await self.server.kill_engine()  # none while it is being started again
            else:
                self.lamp.set(False)
                await self.server.kill()
                self.done["server"] += 1
                await self.server.start()
                self.lamp.set(True)

    async def _user(self, rng: random.Random, number: int) -> None:
        """One job after the other until the storm is over, each to its end."""
        turn = 0
        while not self._over:
            turn += 1
            name = f"job-{number}-{turn}"
            seed = rng.choice([None, rng.getrandbits(32)])
            picture = rng.choice([None, None, *PICTURES])
            chosen = {"steps": rng.randint(2, 30), "seed": seed, "count": rng.randint(1, 2), "picture": picture}
            story = Story(name, f"prompt of {name}", **chosen)
            self.stories.append(story)
            nuisance = asyncio.create_task(self._cancel(story, rng)) if rng.random() < 0.2 else None
            await story.live(self.server.socket, self.lamp.up)
            if nuisance is not None:
                await nuisance

    async def _cancel(self, story: Story, rng: random.Random) -> None:
        """Ask once for its cancellation, on a connection of its own, at some moment."""
        await asyncio.sleep(rng.uniform(0, LONGEST_CALM_S))
        await self.lamp.up()
        try:
            user = await WireUser.connect(self.server.socket)
        except GoneError:
            return
        try:
            story.cancelling = True  # it may arrive even if the answer does not
            await user.cancel(story.job)
        except RefusedError as refused:
            if refused.error.code != ErrorCode.JOB_NOT_FOUND:  # which is too early
                raise
        except GoneError:
            pass
        finally:
            await user.close()

    async def _check_end(self) -> None:
        for story in self.stories:
            assert story.end is not None
            state = story.end["state"]
            if state == "failed":
                lost = story.end["error"]["name"], story.attempt
                assert lost == ("WORKER_LOST", self.max_attempts), story.end
            else:
                assert state == "succeeded" or (state == "cancelled" and story.cancelling), story.end
        user = await WireUser.connect(self.server.socket)
        listed = await user.listed()
        names = Counter(job["job"] for job in listed)
        assert names == Counter(story.job for story in self.stories), "not every job is there exactly once"
        for story in self.stories:  # once more, after everything
            story.see(await user.status(story.job))
            await story.check_images(user)
        await user.close()
        assert await self.server.stop() == 0, self.server.log.read_text()
        for pid in self.server.engines:
            await end_of(pid)
        assert all(ended(pid) for pid in self.server.engines)
        await self._check_disk()

    async def _check_disk(self) -> None:
        """One more start sweeps what the kills have left; then disk and journal hold the same."""
        await self.server.start()
        assert await self.server.stop() == 0
        data_dir = self.server.data_dir
        with closing(sqlite3.connect(f"{(data_dir / 'journal.sqlite3').as_uri()}?mode=ro", uri=True)) as journal:
            assert journal.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            rows = dict(journal.execute("SELECT job, state FROM job"))
            files = set(journal.execute("SELECT folder, name FROM file"))
        assert rows == {story.job: story.end["state"] for story in self.stories if story.end}
        on_disk = {
            (folder, path.name)
            for folder in ("artifacts", "attachments")
            for path in (data_dir / folder).rglob("*")
            if path.is_file()
        }
        assert on_disk == files, "files without a job, or jobs without a file"


async def run(nursery: Nursery, folder: Path, kills: int, seed: int, *, max_attempts: int = MANY) -> dict[str, Any]:
    """One storm; see `Storm.blow`. When it fails, what the server said last goes to standard error."""
    storm = Storm(nursery, folder, kills, random.Random(seed), max_attempts=max_attempts)
    try:
        return await storm.blow()
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            await storm.server.kill()
        print("".join(storm.server.log.read_text().splitlines(keepends=True)[-60:]), file=sys.stderr)
        raise


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="how many; half of them with three attempts a job")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(31))
    options = parser.parse_args()
    print(f"seed {options.seed}", file=sys.stderr)
    nursery = Nursery()
    try:
        for kills, max_attempts in ((options.kills - options.kills // 2, MANY), (options.kills // 2, 3)):
            with tempfile.TemporaryDirectory() as folder:
                found = asyncio.run(run(nursery, Path(folder), kills, options.seed, max_attempts=max_attempts))
                print(json.dumps({"seed": options.seed, "max_attempts": max_attempts, **found}), flush=True)
    finally:
        nursery.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
