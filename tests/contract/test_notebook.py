"""A job in a notebook: the bar moves, the images are shown."""

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aio_support import PNG, spawn
from IPython.core.interactiveshell import InteractiveShell
from scripted_server import ScriptedServer
from shells import Connected, Shell
from traitlets.config import Config

from pixwire import errors
from pixwire.notebook import bar, follow, watch
from pixwire_protocol.messages import Submit, Watch

pytestmark = pytest.mark.usefixtures("tidy")


class Cell:
    """What a cell of a notebook was given: its bars, one in place of the other, and what was shown below."""

    def __init__(self) -> None:
        self.bars: list[str] = []
        self.shown: list[dict[str, Any]] = []
        self.bar_id: str | None = None

    def publish(self, data: dict[str, Any], *, transient: Any = None, update: bool = False, **_: Any) -> None:
        display_id = (transient or {}).get("display_id")
        if display_id is None:
            self.shown.append(data)
            return
        assert update == (self.bar_id is not None), "one bar, which is then updated"
        assert self.bar_id in (None, display_id)
        self.bar_id = display_id
        self.bars.append(data["text/html"])


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Cell]:
    """IPython itself, whose publisher tells what it would send to the browser."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    config = Config()
    config.HistoryManager.enabled = False
    running: Any = InteractiveShell.instance(config=config)
    made = Cell()
    monkeypatch.setattr(running.display_pub, "publish", made.publish)
    running.display_formatter.active_types = (
        running.display_formatter.format_types
    )  # as a notebook; a terminal has text
    yield made
    InteractiveShell.clear_instance()


def following(shell: Shell, job: Any) -> Any:
    return follow(job) if shell.name == "asyncio" else asyncio.to_thread(watch, job.target)


async def submitted(server: ScriptedServer, client: Connected) -> Any:
    task = spawn(client.submit("x", job_id="j"))
    (await server.next(Submit)).result("queued")
    return await task


async def test_a_bar_and_then_the_images(server: ScriptedServer, client: Connected, shell: Shell, cell: Cell) -> None:
    task = spawn(following(shell, await submitted(server, client)))
    request = await server.next(Watch)
    request.accept("running")
    request.progress(2)
    request.succeed([PNG], deliver=False)
    second = await server.next(Watch)
    second.result("succeeded", end=False, artifacts=[second.info(0, PNG)])
    second.succeed([PNG], announce=False)
    images = await task
    (image,) = images
    assert image.bytes == PNG
    (shown,) = cell.shown
    assert base64.b64decode(shown["image/png"]) == PNG
    assert shown["text/plain"] == repr(image)
    assert cell.bars[0] == bar("j", "queued", 0, 0)
    assert cell.bars[-1].count("width:100%") == 1
    assert "succeeded" in cell.bars[-1]


async def test_a_job_that_fails(server: ScriptedServer, client: Connected, shell: Shell, cell: Cell) -> None:
    task = spawn(following(shell, await submitted(server, client)))
    request = await server.next(Watch)
    request.accept("running")
    error = {"code": 1285, "name": "PIPELINE_ERROR", "message": "out of paint", "retry": "no"}
    request.change("failed", end=True, error=error)
    second = await server.next(Watch)
    second.result("failed", error=error)
    with pytest.raises(errors.JobFailed):
        await task
    assert "failed" in cell.bars[-1]
    assert cell.shown == []


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_a_job_can_be_awaited(server: ScriptedServer, client: Connected) -> None:
    job = await submitted(server, client)

    async def wait() -> Any:
        return await job

    task = spawn(wait())
    (await server.next(Watch)).result("cancelled")
    assert (await task).state == "cancelled"


def test_the_bar() -> None:
    assert "width:25%" in bar("j", "running", 1, 4)
    assert "step 1 of 4" in bar("j", "running", 1, 4)
    assert "width:0%" in bar("j", "queued", 0, 0)
    assert "<script>" not in bar("<script>", "queued", 0, 0)
