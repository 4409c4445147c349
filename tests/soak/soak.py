"""A long run under everything users and machines do, and then the question what is lost and what has leaked.

    python tests/soak/soak.py --minutes 20                       # what `make soak` does
    python tests/soak/soak.py --minutes 20 --engine real         # with the built-in model instead of the fast engine
    python tests/soak/soak.py --minutes 2 --json soak.json

Users submit (also with pictures), follow, fetch, cancel, vanish in the middle and come back, and give up uploads;
clients of the library generate; the engine is killed and stopped; results run out of time and of room all along. The
server itself lives through all of it: what it leaks adds up. At the end every accepted job must have had its end and
the images of an undisturbed run, and when retention has had its time nothing may be left: no job, no file, no task, no
descriptor, no thread, and no memory that grew with the work. Exit status 0 if so; the report is JSON with a verdict.
"""

import argparse
import asyncio
import contextlib
import json
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "faults"))

from crashing import MANY, CrashServer, Nursery
from gauge import Gauge, Limits, judge
from users import Crowd

RETAIN_S, DEDUPE_S, SWEEP_S = 10.0, 15.0, 1.0
SAMPLE_S = 5.0
ENGINE_KILL_S = 4.0
"""Mean time between two kills of the engine."""
STOPPED = 0.1
"""Share of the kills that are a SIGSTOP instead, which the server has to notice."""
EMPTY_S = 300.0
"""A bound for a server that never becomes empty, far above `DEDUPE_S`."""
USERS = 8


class Soak:
    """One server, its crowd, and what is measured of it."""

    def __init__(self, nursery: Nursery, folder: Path, minutes: float, seed: int, engine: str, retain_s: float) -> None:
        self.server = CrashServer(nursery, folder, engine=engine)
        self.server.config |= {"max_resident": 4, "log_level": "warning", "retain_s": retain_s}
        self.server.config |= {"dedupe_s": retain_s * 1.5, "retain_bytes": 10 << 20}
        self.server.jobs = {"max_attempts": MANY, "sweep_s": min(SWEEP_S, retain_s / 4), "recent_limit": 200}
        self.server.restart = {"max_failed_starts": MANY, "tick_s": 0.25, "silent_ticks": 20}
        self.gauge = Gauge(self.server)
        self.rng = random.Random(seed)
        self.crowd = Crowd(self.server, self.rng, USERS, real=engine == "real")
        self.seconds = minutes * 60
        self.kills: Counter[str] = Counter()

    async def run(self) -> dict[str, Any]:
        """The whole soak; the report."""
        began = time.monotonic()
        await self.server.start()
        await self.crowd.first()  # everything that is made once has been made
        baseline = await self.gauge.at_rest(empty_after=EMPTY_S)
        self.gauge.begin()
        deadline = time.monotonic() + self.seconds
        async with asyncio.TaskGroup() as group:
            people = self.crowd.start(group)
            sampler = group.create_task(self._sample())
            killer = group.create_task(self._kill())
            await asyncio.sleep(deadline - time.monotonic())
            killer.cancel()
            self.crowd.over = True
            await asyncio.wait(people)
            sampler.cancel()
        end = await self.gauge.at_rest(empty_after=EMPTY_S)
        code = await self.server.stop()
        limits = Limits()
        problems = [*self.crowd.problems, *judge(baseline, end, self.gauge.samples, limits)]
        if code:
            problems.append(f"the server ended with {code}")
        return {
            "verdict": "failed" if problems else "nothing lost, nothing leaked",
            "problems": problems,
            "minutes": round((time.monotonic() - began) / 60, 2),
            "engine": self.server.engine,
            "did": dict(self.crowd.did),
            "kills": dict(self.kills),
            "baseline": baseline.shown(),
            "end": end.shown(),
            "memory": self.gauge.memory(limits),
            "samples": [sample.shown() for sample in self.gauge.samples],
        }

    async def _sample(self) -> None:
        while True:
            await asyncio.sleep(min(SAMPLE_S, self.seconds / 10))
            self.gauge.sample(self.crowd.did["jobs"])

    async def _kill(self) -> None:
        while True:
            await asyncio.sleep(self.rng.expovariate(1 / ENGINE_KILL_S))
            if self.rng.random() < STOPPED:
                self.kills["stopped"] += self.server.stop_engine()
            else:
                self.kills["killed"] += await self.server.kill_engine()


async def soak(nursery: Nursery, minutes: float, seed: int, engine: str = "fast", retain_s: float = RETAIN_S) -> Any:
    """One soak; its report. When it breaks off, what the server said last goes to standard error."""
    with tempfile.TemporaryDirectory() as folder:
        run = Soak(nursery, Path(folder), minutes, seed, engine, retain_s)
        try:
            return await run.run()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                await run.server.kill()
            print("".join(run.server.log.read_text().splitlines(keepends=True)[-40:]), file=sys.stderr)
            raise


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0, help="how long there is work")
    parser.add_argument("--engine", choices=["fast", "real"], default="fast")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(31))
    parser.add_argument("--json", type=Path, help="where to write the report, with all samples")
    options = parser.parse_args()
    print(f"seed {options.seed}", file=sys.stderr)
    nursery = Nursery()
    try:
        report = asyncio.run(soak(nursery, options.minutes, options.seed, options.engine))
    finally:
        nursery.close()
    report = {"benchmark": "soak", "seed": options.seed, **report}
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps({name: value for name, value in report.items() if name != "samples"}, indent=2))
    return int(report["verdict"] == "failed")


if __name__ == "__main__":
    sys.exit(main())
