"""What `kill -9` leaves of an upload at each of its stages: a job that was acknowledged is there with all its bytes, of
one that was not there is nothing, and no file without a job outlives the next start.

A copy of the data directory, taken while the server works, is what a kill at that moment leaves behind; at the end a
process is really killed.
"""

import asyncio
import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pixwire_protocol.registry import ErrorCode
from pixwire_server.jobs import RequestError
from pixwire_server.store import open_store
from pixwire_server.store.blobs import BlobFolder
from pixwire_server.store.journal import Journal

from .conftest import PAINTER, Bench, attachment, painted

IMAGE, MASK = painted(80, 80), painted(80, 80, seed=1)
SENT = attachment("image", IMAGE), attachment("mask", MASK)


def files(data_dir: Path) -> list[Path]:
    return [path for path in (data_dir / "attachments").rglob("*") if path.is_file()]


class Kills:
    """Takes copies of the data directory at named moments."""

    def __init__(self, bench: Bench, tmp_path: Path) -> None:
        self.bench = bench
        self.root = tmp_path
        self.copies: dict[str, Path] = {}

    def at(self, moment: str) -> None:
        copy = self.copies[moment] = self.root / moment
        shutil.copytree(self.bench.data_dir, copy, ignore=shutil.ignore_patterns("lock"))


def before(kills: Kills, moment: str, real: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(*arguments: Any) -> Any:
        kills.at(moment)
        return real(*arguments)

    return wrapped


@pytest.fixture
async def kills(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kills:
    """One upload from begin to answer, with a copy at each stage."""
    bench.farm.card = PAINTER
    await bench.open(max_resident=0)
    await bench.submit("before")
    kills = Kills(bench, tmp_path / "kills")
    upload = await bench.begin("star", *SENT, kind="inpaint")
    kills.at("begun")
    await upload.write(IMAGE[:100])
    kills.at("in the first")
    await upload.write(IMAGE[100:] + MASK[:1])
    kills.at("in the second")
    await upload.write(MASK[1:])
    kills.at("all written")
    with monkeypatch.context() as patch:
        patch.setattr(BlobFolder, "sync", before(kills, "renamed", BlobFolder.sync))
        patch.setattr(Journal, "enter", before(kills, "on disk, no job", Journal.enter))
        submitted = asyncio.ensure_future(upload.finish())
        submitted.add_done_callback(lambda done: kills.at("acknowledged"))
        await submitted
        await asyncio.sleep(0)
    await bench.idle()
    return kills


UNACKNOWLEDGED = ["begun", "in the first", "in the second", "all written", "renamed", "on disk, no job"]


@pytest.mark.req("PXW-UPL-009")
@pytest.mark.req("PXW-UPL-010")
async def test_of_what_was_not_acknowledged_nothing_is_left(bench: Bench, kills: Kills) -> None:
    assert list(kills.copies) == [*UNACKNOWLEDGED, "acknowledged"]
    left = {moment: len(files(copy)) for moment, copy in kills.copies.items()}
    assert left == {**dict.fromkeys(UNACKNOWLEDGED, 2), "begun": 0, "in the first": 1, "acknowledged": 2}
    for moment in UNACKNOWLEDGED:
        await bench.open(kills.copies[moment], max_resident=0)
        assert files(kills.copies[moment]) == [], moment
        with pytest.raises(RequestError) as caught:
            await bench.status("star")
        assert caught.value.code is ErrorCode.JOB_NOT_FOUND
        assert (await bench.status("before")).state == "queued"
        assert not (await bench.send("star", IMAGE, MASK)).duplicate  # the client comes again, and is served


@pytest.mark.req("PXW-UPL-010")
@pytest.mark.req("PXW-JOB-003")
async def test_what_was_acknowledged_is_there_with_every_byte(bench: Bench, kills: Kills) -> None:
    copy = kills.copies["acknowledged"]
    await bench.open(copy)
    await bench.farm.until(lambda: {task.prompt for task in bench.engine.tasks.values()} == {"before", "star"})
    task = next(task for task in bench.engine.tasks.values() if task.prompt == "star")
    assert [Path(one.path).read_bytes() for one in task.inputs] == [IMAGE, MASK]
    assert all(Path(one.path).is_relative_to(copy.resolve()) for one in task.inputs)
    assert (await bench.begin("star", *SENT, kind="inpaint")).duplicate
    assert (await bench.status("star")).attachments == SENT


UPLOADER = """
import asyncio, hashlib, sys
from pathlib import Path
from pixwire_server.store import ATTACHMENTS, FileRef, JobRow, open_store

STAGE, DATA = sys.argv[2], b"an attachment" * 5000
FILE = FileRef(ATTACHMENTS, hashlib.sha256(DATA).hexdigest(), len(DATA))

def reached(stage):
    if stage == STAGE:
        print(stage, flush=True)
        sys.stdin.read()

async def main():
    store = await open_store(Path(sys.argv[1]))
    arrival = store.attachments.receive([FILE], lambda *found: found)
    reached("begun")
    await arrival.write(DATA[:30_000])
    reached("written in part")
    await arrival.write(DATA[30_000:])
    reached("written")
    await arrival.seal()
    reached("sealed")
    row = JobRow(1, "anonymous", "star", "img2img", "f", "{}", 0, "queued", 1, 1)
    await store.journal.create(row, [FILE])
    reached("committed")

asyncio.run(main())
"""


@pytest.mark.parametrize("stage", ["begun", "written in part", "written", "sealed", "committed"])
async def test_kill_9_of_the_process(tmp_path: Path, stage: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", UPLOADER, str(tmp_path), stage],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == f"{stage}\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdin.close()
    process.stdout.close()
    store = await open_store(tmp_path)
    accepted = stage == "committed"
    assert [row.job for row in store.unfinished] == (["star"] if accepted else [])
    data = b"an attachment" * 5000
    assert [path.read_bytes() for path in files(tmp_path)] == ([data] if accepted else [])
    if accepted:
        assert store.attachments.path(hashlib.sha256(data).hexdigest()).exists()
    await store.close()
