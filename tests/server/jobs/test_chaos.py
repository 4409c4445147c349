"""Anything in any order: submits on all kinds of terms, uploads, cancels, progress, ends, dying engines, crashes of the
server, passing time.

No job is ever lost, run beside a suspect, changed after its end, told out of order, kept waiting beyond its deadline,
or robbed of its files before its time.
"""

import asyncio
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pixwire_protocol.registry import ErrorCode
from pixwire_server.engine import api
from pixwire_server.jobs import RequestError, StateChanged, Submitted, Terms

from .conftest import PAINTER, Bench, attachment, painted, picture

PLACES = 2
RETAIN_MS, AGE_MS = 1000, 400
IMAGES = [painted(16, 16, seed) for seed in range(3)]
OFTEN = ["submit", "submit", "step", "finish", "die", "crash"]
TERMS = [None, None, Terms("high"), Terms("low", tags=("late",)), Terms(timeout_ms=900), Terms("low", queue_ttl_ms=500)]
TERMS += [Terms("high", run_timeout_ms=700, timeout_ms=5000)]
ACTIONS = [*OFTEN, "upload", "upload", "age", "leave", "fail", "cancel", "confirm", "restart"]


class Chaos:
    """Does one action after the other to a job layer and checks it after each."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bench = Bench(root / "data")
        self.accepted: list[str] = []
        self.sent: dict[str, bytes] = {}
        self.ended: dict[str, Any] = {}
        self.until: dict[str, int] = {}
        """When the results of an ended job go."""
        self.last_seq: dict[str, int] = {}

    async def open(self, data_dir: Path | None = None) -> None:
        self.bench.farm.card = PAINTER
        await self.bench.open(
            data_dir, max_resident=PLACES, recent_limit=3, retain_s=RETAIN_MS / 1000, dedupe_s=1e6, sweep_s=1e6
        )
        for job in self.kept:
            await self.listen(job)

    @property
    def kept(self) -> list[str]:
        """The accepted jobs whose results have not had their time."""
        return [job for job in self.accepted if self.until.get(job, self.bench.wall + 1) > self.bench.wall]

    async def listen(self, job: str) -> None:
        watch = await self.bench.jobs.watch("anonymous", job, self.heard, frozenset({"progress"}))
        assert watch.snapshot.seq >= self.last_seq.get(job, 1)
        self.last_seq[job] = watch.snapshot.seq

    def heard(self, event: Any) -> None:
        """Every event is newer than the one before, across all restarts."""
        told = event.status if isinstance(event, StateChanged) else event
        assert told.seq > self.last_seq[told.job]
        self.last_seq[told.job] = told.seq

    async def act(self, action: str, pick: Any) -> None:
        running = list(self.bench.jobs._dispatcher._runs.values())
        if action == "submit":
            name = f"job-{len(self.accepted)}"
            await self.bench.submit(name, terms=pick(TERMS))
            self.accepted.append(name)
            await self.listen(name)
        elif action == "upload":
            await self.upload(pick(IMAGES))
        elif action == "age":
            self.bench.pass_time(AGE_MS / 1000)
            await self.quiet()
            await self.bench.jobs._sweeper.sweep()
            assert set(self.bench.files) == {self.sent[job] for job in self.kept if job in self.sent}
        elif action == "cancel" and self.kept:
            await self.bench.cancel(pick(self.kept))
        elif action == "die":
            number = len(self.bench.farm.engines)
            self.bench.engine.exit(-9)
            await self.bench.farm.until(lambda: len(self.bench.farm.engines) > number)
            await self.bench.farm.until(lambda: self.bench.jobs._supervisor.ready)
        elif action == "restart":
            await self.bench.jobs.close()
            await self.open()
        elif action == "crash":
            copy = self.root / f"copy-{len(list(self.root.iterdir()))}"
            shutil.copytree(self.bench.data_dir, copy, ignore=shutil.ignore_patterns("lock", "*-shm"))
            self.silence()
            self.bench.data_dir = copy
            await self.open()
        elif running:
            self.tell(action, pick(running))
        await self.quiet()

    async def upload(self, image: bytes) -> None:
        name = f"job-{len(self.accepted)}"
        upload = await self.bench.begin(name, attachment("image", image))
        known = any(self.sent.get(job) == image for job in self.kept)
        assert isinstance(upload, Submitted) == known
        if not known:
            upload.write(image)
            await upload.finish()
        self.accepted.append(name)
        self.sent[name] = image
        await self.listen(name)
        await self.bench.idle()

    def tell(self, action: str, run: Any) -> None:
        engine, job = self.bench.engine, run.record.job
        if action == "step":
            for step in range(job.step + 1, job.step + 4):
                engine.report(api.Progress(run.handle, min(step, 20), 20))
        elif action == "leave":
            engine.report(api.Left(run.handle))
        elif action == "finish":
            engine.finish(job.id, left=run.holds_place)
        elif action == "fail":
            engine.fail(job.id, api.FailureKind.PIPELINE_ERROR)
        elif action == "confirm" and (job.cancel_reason is not None or run.expiring is not None):
            engine.cancel(job.id, job.step)

    def silence(self) -> None:
        """The server that was copied goes on for itself; nobody listens to it any more."""
        for record in self.bench.jobs._table.live.values():
            record._watches = ()

    async def quiet(self) -> None:
        """Until everything that was begun is on disk and told."""
        jobs = self.bench.jobs
        await jobs._until(lambda: not jobs._ledger.unsettled)
        await jobs._ledger.flush()
        jobs._dispatcher._pump()  # now rather than in the next turn
        await jobs._ledger.flush()

    async def check(self) -> None:
        jobs = self.bench.jobs
        runs = list(jobs._dispatcher._runs.values())
        assert sum(run.holds_place for run in runs) <= PLACES
        assert len(runs) == 1 or not any(run.record.job.attempt == 3 for run in runs)
        queue = [record.job for record in jobs._table.queue if record.job.terms == Terms()]
        for kind in {job.kind for job in queue}:
            alike = [job.position for job in queue if job.kind == kind]
            assert alike == sorted(alike), "equal jobs start in the order of their arrival, whatever happened to them"
        assert set(self.bench.files) >= {self.sent[job] for job in self.kept if job in self.sent}
        for job in set(self.accepted) - set(self.kept):
            with pytest.raises(RequestError) as caught:
                await self.bench.status(job)
            assert caught.value.code is ErrorCode.JOB_EXPIRED
        for job in self.kept:
            status = await self.bench.status(job)
            assert status.seq >= self.last_seq[job]
            assert status.attempt <= 3
            if job in self.ended:
                assert replace(status, retain_ms=None) == self.ended[job]
            elif status.state.terminal:
                self.ended[job] = replace(status, retain_ms=None)
                self.until[job] = self.bench.wall + status.retain_ms
            else:
                record = jobs._table.live["anonymous", job]
                assert (record.run is not None) == (status.state == "running")
                assert (status.queue_position is not None) == (status.state == "queued")
            if status.state == "queued":
                assert status.deadline_ms is None or status.deadline_ms > 0
                assert status.eta_ms >= 0
            if status.state == "expired":
                assert status.error.name == "DEADLINE_EXCEEDED"
            if status.state == "succeeded":
                assert await self.bench.image(job) == picture(status.seed)

    async def finish(self) -> None:
        """Whatever happened, every job comes to an end."""
        while len(self.ended) < len(self.accepted):
            for run in list(self.bench.jobs._dispatcher._runs.values()):
                self.tell("finish", run)
            await self.quiet()
            await self.check()


async def play(actions: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as root:
        chaos = Chaos(Path(root))
        try:
            await chaos.open()
            for action, number in actions:
                await chaos.act(action, lambda choices, number=number: choices[number % len(choices)])
                await chaos.check()
            await chaos.finish()
        finally:
            await chaos.bench.close()


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 50)), min_size=10, max_size=40))
def test_anything_in_any_order(actions: list[tuple[str, int]]) -> None:
    asyncio.run(asyncio.wait_for(play(actions), 120))
