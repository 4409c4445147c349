"""Images on real files: whole or not there, found by the hash of their bytes."""

import asyncio
import hashlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pixwire_server.store import ArtifactFiles, StoreUnavailableError


@pytest.fixture
async def artifacts(tmp_path: Path) -> AsyncIterator[ArtifactFiles]:
    opened = ArtifactFiles(tmp_path, asyncio.get_running_loop())
    yield opened
    await asyncio.to_thread(opened.close)


def files(data_dir: Path) -> list[Path]:
    return sorted(path for path in (data_dir / "artifacts").rglob("*") if path.is_file())


@pytest.mark.req("PXW-JOB-012")
async def test_images_come_back_by_their_hash(artifacts: ArtifactFiles, tmp_path: Path) -> None:
    images = [os.urandom(100_000), b"", b"small"]
    etags = await artifacts.put(images)
    assert etags == [hashlib.sha256(image).hexdigest() for image in images]
    for etag, image in zip(etags, images, strict=True):
        assert (tmp_path / "artifacts" / etag[:2] / etag).read_bytes() == image
        blob = await artifacts.open(etag)
        assert blob is not None
        assert blob.read(0, blob.size) == image


async def test_the_same_image_is_kept_once(artifacts: ArtifactFiles, tmp_path: Path) -> None:
    assert await artifacts.put([b"same", b"same"]) == (await artifacts.put([b"same"])) * 2
    assert len(files(tmp_path)) == 1


async def test_a_file_of_the_wrong_size_is_written_again(artifacts: ArtifactFiles, tmp_path: Path) -> None:
    [etag] = await artifacts.put([b"whole"])
    files(tmp_path)[0].write_bytes(b"who")
    assert await artifacts.put([b"whole"]) == [etag]
    assert files(tmp_path)[0].read_bytes() == b"whole"


async def test_an_unknown_name_is_none(artifacts: ArtifactFiles) -> None:
    assert await artifacts.open("0" * 64) is None


async def test_all_names_are_durable_when_images_are_acknowledged(
    artifacts: ArtifactFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[str] = []
    fsync = os.fsync

    def recorded(handle: int) -> None:
        flushed.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)
        fsync(handle)

    monkeypatch.setattr(os, "fsync", recorded)
    etags = await artifacts.put([b"one", b"two"])
    assert {etag[:2] for etag in etags} <= set(flushed)
    flushed.clear()
    await artifacts.put([b"one"])  # another job's: its name may not be durable yet
    assert flushed == [etags[0][:2]]


async def test_what_cannot_be_placed_leaves_nothing_and_holds_nothing(artifacts: ArtifactFiles, tmp_path: Path) -> None:
    [there] = await artifacts.put([b"there"])
    artifacts.release([there])
    name = hashlib.sha256(b"lost").hexdigest()
    (tmp_path / "artifacts" / name[:2] / name).mkdir(parents=True)  # something is in the way
    with pytest.raises(StoreUnavailableError, match="the image cannot be stored: Is a directory"):
        await artifacts.put([b"there", b"lost"])
    assert list((tmp_path / "artifacts" / "tmp").iterdir()) == []
    assert artifacts.folder.remove(there, lambda: False), "the failed put must not hold it"


LIMITED = """
import asyncio, resource, sys
from pathlib import Path
from pixwire_server.store import ArtifactFiles, StoreFullError

async def main():
    artifacts = ArtifactFiles(Path(sys.argv[1]), asyncio.get_running_loop())
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    try:
        await artifacts.put([b"fits", bytes(100_000)])
    except StoreFullError as error:
        print(error)
    await artifacts.put([b"fits too"])
    artifacts.close()

asyncio.run(main())
"""


async def test_no_room_leaves_no_half_image(tmp_path: Path) -> None:
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "the image cannot be stored: File too large\n"
    assert [path.read_bytes() for path in files(tmp_path)] != []
    assert all(path.name == hashlib.sha256(path.read_bytes()).hexdigest() for path in files(tmp_path))


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.binary(max_size=3000), max_size=6))
@pytest.mark.req("PXW-JOB-012")
async def test_any_images(artifacts: ArtifactFiles, images: list[bytes]) -> None:
    for etag, image in zip(await artifacts.put(images), images, strict=True):
        blob = await artifacts.open(etag)
        assert blob is not None
        assert blob.read(0, blob.size) == image
