"""The engine as a real child process: its life, its messages, its death and that of its parent."""

import asyncio
import logging
import os
import re
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
import uvloop
from PIL import Image

from pixwire_server.engine.api import (
    EXIT_REFUSED,
    Cancel,
    Cancelled,
    EngineConfig,
    Failed,
    FailureKind,
    Finished,
    GenerateTask,
    Heartbeat,
    Left,
    ModelChanged,
    ModelRemoved,
    ModelSettings,
    Progress,
    Ready,
    Refused,
    RemoveModel,
    Report,
    Started,
    Submit,
    TaskInput,
)
from pixwire_server.engine.child import LineFormatter
from pixwire_server.engine.process import EngineProcess

HANG_SECONDS = 120.0  # only to fail instead of hanging; nothing is measured by it

Kind = TypeVar("Kind")


class Watched:
    """An engine process whose reports can be awaited."""

    def __init__(self) -> None:
        self.engine = EngineProcess()
        self.seen: list[Report] = []
        self.exits: list[int] = []
        self._news = asyncio.Event()
        self.engine.on_report(lambda report: (self.seen.append(report), self._news.set()))
        self.engine.on_exit(lambda code: (self.exits.append(code), self._news.set()))

    async def until(self, done: Callable[[], Any]) -> None:
        async with asyncio.timeout(HANG_SECONDS):
            while not done():
                self._news.clear()
                await self._news.wait()

    async def first(self, kind: type[Kind], handle: int | None = None) -> Kind:
        def found() -> list[Kind]:
            return [r for r in self.seen if isinstance(r, kind) and handle in {None, getattr(r, "handle", None)}]

        await self.until(lambda: found() or self.exits)
        assert found(), f"the engine exited with {self.exits} before {kind.__name__}"
        return found()[0]


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    made = Watched()
    yield made
    made.engine.kill()
    await made.until(lambda: made.exits or made.engine.pid is None)


def config(model: Path, **changes: Any) -> EngineConfig:
    return EngineConfig((ModelSettings(str(model), device="cpu"),), threads=1, **changes)


def task(handle: int, steps: int = 3) -> GenerateTask:
    return GenerateTask(handle, "cat dog", "", 32, 32, steps, 4.0, handle)


def assert_reaped(pid: int | None) -> None:
    assert pid is not None
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


async def test_a_child_serves_cancels_and_stops(watched: Watched, saved_model: Path, tmp_path: Path) -> None:
    engine = watched.engine
    await engine.start(config(saved_model))
    engine.send(Submit(task(1)))  # before Ready: it waits in the socket
    (model,) = (await watched.first(Ready)).models
    assert model.card is not None
    assert model.card.pipeline_class == "StableDiffusionPipeline"
    assert isinstance(watched.seen[0], Ready)
    finished = await watched.first(Finished, 1)
    assert finished.images[0].data.startswith(b"\x89PNG")
    assert finished.stats.passes == 3
    of_first = [type(r) for r in watched.seen if getattr(r, "handle", None) == 1]
    assert of_first == [Started, Progress, Progress, Progress, Left, Finished]

    engine.send(Submit(task(2, steps=200)))
    await watched.first(Progress, 2)
    engine.send(Cancel(2))
    cancelled = await watched.first(Cancelled, 2)
    progress = [r.step for r in watched.seen if isinstance(r, Progress) and r.handle == 2]
    assert progress == list(range(1, cancelled.step + 1))
    assert cancelled.step < 200

    engine.send(Submit(GenerateTask(3, "cat", "", 33, 32, 3, 4.0, 0)))
    assert (await watched.first(Failed, 3)).kind == "invalid_argument"

    Image.linear_gradient("L").save(tmp_path / "image", "PNG")
    image = TaskInput("image", str(tmp_path / "image"), "image/png")
    engine.send(Submit(replace(task(5, steps=6), kind="img2img", strength=0.5, inputs=(image,))))
    assert (await watched.first(Finished, 5)).stats.passes == 3
    await watched.first(Heartbeat)
    assert engine.alive
    engine.send(Submit(task(4, steps=200)))
    await watched.first(Progress, 4)
    assert await engine.stop(grace=HANG_SECONDS) == 0
    assert watched.exits == [0]
    assert not engine.alive
    engine.send(Cancel(1))  # nobody is there: dropped
    engine.kill()
    assert_reaped(engine.pid)


def test_a_killed_child_is_noticed_after_its_last_report(saved_model: Path) -> None:
    """On uvloop, the loop the server runs on."""

    async def kill_it() -> None:
        watched = Watched()
        await watched.engine.start(config(saved_model))
        watched.engine.send(Submit(task(1, steps=200)))
        await watched.first(Progress, 1)
        assert watched.engine.pid is not None
        os.kill(watched.engine.pid, signal.SIGKILL)
        await watched.until(lambda: watched.exits)
        assert watched.exits == [-signal.SIGKILL]
        count = len(watched.seen)
        assert await watched.engine.stop(grace=0) == -signal.SIGKILL
        assert len(watched.seen) == count
        assert_reaped(watched.engine.pid)

    uvloop.run(kill_it())


async def test_a_child_that_does_not_leave_is_killed(watched: Watched, saved_model: Path) -> None:
    await watched.engine.start(config(saved_model))
    assert watched.engine.pid is not None
    os.kill(watched.engine.pid, signal.SIGSTOP)
    assert await watched.engine.stop(grace=0.01) == -signal.SIGKILL
    assert watched.exits == [-signal.SIGKILL]


async def test_a_model_that_cannot_be_served_is_refused(watched: Watched, tmp_path: Path) -> None:
    await watched.engine.start(config(tmp_path))
    assert "model_index.json" in (await watched.first(Refused)).message
    await watched.until(lambda: watched.exits)
    assert watched.exits == [EXIT_REFUSED]


async def test_a_child_serves_several_models_and_goes_on_without_a_bad_one(
    watched: Watched, saved_model: Path, tmp_path: Path
) -> None:
    second = shutil.copytree(saved_model, tmp_path / "second")
    settings = tuple(
        ModelSettings(str(path), name) for name, path in (("bad", tmp_path), ("a", saved_model), ("b", second))
    )
    await watched.engine.start(EngineConfig(settings, threads=1, niceness=1, cache_dir=str(tmp_path / "cards")))
    states = {info.name: info.state for info in (await watched.first(Ready)).models}
    assert states == {"bad": "failed", "a": "available", "b": "available"}
    assert watched.engine.pid is not None
    assert os.getpriority(os.PRIO_PROCESS, watched.engine.pid) > os.getpriority(os.PRIO_PROCESS, 0)
    for handle, name in enumerate(("", "b", "nobody"), 1):
        watched.engine.send(Submit(replace(task(handle), model=name)))
    assert (await watched.first(Failed, 1)).kind == FailureKind.MODEL_UNAVAILABLE
    assert "served are bad, a, b" in (await watched.first(Failed, 3)).message
    await watched.first(Finished, 2)
    changes = [(r.model.name, r.model.state) for r in watched.seen if isinstance(r, ModelChanged)]
    assert changes == [("b", "loading"), ("b", "loaded")]
    watched.engine.send(RemoveModel("b"))
    assert (await watched.first(ModelRemoved)).name == "b"
    assert len(list((tmp_path / "cards").iterdir())) == 2


async def test_an_engine_process_is_used_once(watched: Watched, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="never started"):
        await watched.engine.stop(grace=0)
    await watched.engine.start(config(tmp_path))
    with pytest.raises(RuntimeError, match="make a new one"):
        await watched.engine.start(config(tmp_path))


PARENT = """
import asyncio, sys
from pixwire_server.engine.api import EngineConfig, GenerateTask, ModelSettings, Progress, Submit
from pixwire_server.engine.process import EngineProcess

async def main():
    engine, stepped = EngineProcess(), asyncio.Event()
    engine.on_report(lambda report: isinstance(report, Progress) and stepped.set())
    await engine.start(EngineConfig((ModelSettings(sys.argv[1]),), threads=1))
    engine.send(Submit(GenerateTask(1, "cat", "", 64, 64, 200, 4.0, 0, count=16)))
    await stepped.wait()
    print(engine.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("stopped", [False, True])
def test_a_child_whose_parent_was_killed_leaves_in_the_middle_of_its_work(saved_model: Path, stopped: bool) -> None:
    """Also one that cannot notice: stopped, or hanging in a driver."""
    with subprocess.Popen([sys.executable, "-c", PARENT, str(saved_model)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        child = os.pidfd_open(pid)
        try:
            if stopped:
                os.kill(pid, signal.SIGSTOP)
            parent.kill()
            assert select.select([child], [], [], HANG_SECONDS)[0], "the child outlived its parent"
        finally:
            os.close(child)


def test_the_parents_side_imports_no_torch() -> None:
    heavy = {"torch", "diffusers", "numpy", "PIL"}
    code = f"import sys, pixwire_server.engine.process; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_log_lines_cannot_be_forged() -> None:
    record = logging.LogRecord("pixwire_server.engine.service", logging.ERROR, "", 0, "bad %s", ("a\nb\x1b[2J",), None)
    line = LineFormatter().format(record)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}Z error engine\.service: bad a\\nb\\x1b\[2J", line)
