"""Disks that are full, fail or are read-only, under a whole server: clients are told to come back, nothing accepted is
lost, and the service goes on when the disk does, without a restart.
"""

import asyncio
import contextlib
import errno
import os
import resource
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from crashing import CrashServer, NotStartedError, Nursery
from gatekeeper import Gatekeeper
from story import Lamp, Story
from wire_user import RefusedError, WireUser

from pixwire_protocol.registry import ErrorCode

IN_NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")
MANY_JOBS = 5000
"""More than the free pages of any log can take."""


def can_mount() -> bool:
    """Whether this user may mount a file system of its own (user namespaces)."""
    with contextlib.suppress(OSError):
        command = [*IN_NAMESPACE, "mount", "-t", "tmpfs", "-o", "size=1m", "pixwire", "/mnt"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    return False


needs_mount = pytest.mark.skipif(not can_mount(), reason="no user namespaces here: no file system of one's own")


class SmallDisk:
    """A file system of 3 MiB, seen by the servers of its nursery under `inside` and from here under `path`."""

    def __init__(self, inside: Path) -> None:
        inside.mkdir()
        script = 'mount -t tmpfs -o size=3m,mode=700 pixwire "$0" && exec "$@"'
        self.nursery = Nursery(*IN_NAMESPACE, "sh", "-c", script, str(inside))
        self._inside = inside
        self.inside = inside

    @property
    def path(self) -> Path:
        return Path(f"/proc/{self.nursery.pid}/root{self._inside}")

    def fill(self) -> None:
        """To the last byte."""
        with contextlib.suppress(OSError), (self.path / "ballast").open("ab", buffering=0) as ballast:
            while True:
                ballast.write(bytes(4096))
        with pytest.raises(OSError, match="No space left"), (self.path / "more").open("wb", buffering=0) as more:
            more.write(bytes(4096))

    def free(self) -> None:
        (self.path / "ballast").unlink()

    def read_only(self, on: bool) -> None:
        """Only while nothing is open for writing."""
        enter = ["nsenter", "--preserve-credentials", "--user", "--mount", "--target", str(self.nursery.pid)]
        subprocess.run([*enter, "mount", "-o", f"remount,{'ro' if on else 'rw'}", str(self.inside)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    made = SmallDisk(tmp_path / "disk")
    yield made
    made.nursery.close()


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gatekeeper]:
    async with Gatekeeper(tmp_path / "gate") as keeper:
        yield keeper


def server_on(nursery: Nursery, folder: Path, data_dir: Path, gate: Gatekeeper) -> CrashServer:
    server = CrashServer(nursery, folder, gate=gate.path)
    server.data_dir = data_dir
    server.config |= {"max_resident": 1, "queue_limit": 100_000}
    return server


async def refused(user: WireUser) -> tuple[str, RefusedError, list[str]]:
    """Submit jobs until the server takes no more: the id of the refused one, the refusal, and the ids it took."""
    taken: list[str] = []
    for n in range(MANY_JOBS):
        try:
            await user.submit(f"filler-{n}", "a prompt that takes its room " * 40, steps=1, seed=1)
        except RefusedError as error:
            return f"filler-{n}", error, taken
        taken.append(f"filler-{n}")
    raise AssertionError(f"{MANY_JOBS} jobs were taken")


async def taken_again(user: WireUser, job: str) -> None:
    """Submit it until it is accepted: the disk is as it was, but somebody else may have found out later."""
    async with asyncio.timeout(60):
        while True:
            try:
                await user.submit(job, "a prompt that takes its room " * 40, steps=1, seed=1)
                return
            except RefusedError as refusal:
                if not refusal.error.retry_after_ms:
                    raise


@needs_mount
async def test_a_full_disk_refuses_and_comes_back(disk: SmallDisk, gate: Gatekeeper, tmp_path: Path) -> None:
    server = await server_on(disk.nursery, tmp_path, disk.inside / "data", gate).start()
    pid, lamp = server.pid, Lamp()
    lamp.set(True)
    first = await Story("first", "made before").live(server.socket, lamp.up)
    gate.stops = {"image encoding"}
    held = Story("held", "made while the disk is full")
    life = asyncio.create_task(held.live(server.socket, lamp.up))
    await gate.arrival()
    disk.fill()
    gate.open()  # its image cannot be stored now
    user = await WireUser.connect(server.socket)
    job, refusal, taken = await refused(user)
    assert refusal.error.code == ErrorCode.QUEUE_FULL
    assert "no room on its disk" in refusal.error.message
    assert refusal.error.retry_after_ms
    assert (await user.status("held"))["state"] == "running"  # told as it is, not as it could not be written
    await first.check_images(user)
    assert {one["job"] for one in await user.listed()} == {"first", "held", *taken}
    disk.free()
    await asyncio.wait_for(life, 60)
    assert held.attempt == 1, "its image was made once"
    await taken_again(user, job)
    for name in (*taken, job):
        watching = await user.watch(name)
        state = watching.snapshot["state"]
        while not watching.over:
            state = (await watching.next()).get("state", state)
        assert state == "succeeded"
    await user.close()
    assert server.pid == pid
    assert await server.stop() == 0


@needs_mount
async def test_a_start_on_a_full_or_read_only_disk_is_refused_and_changes_nothing(
    disk: SmallDisk, gate: Gatekeeper, tmp_path: Path
) -> None:
    server = await server_on(disk.nursery, tmp_path, disk.inside / "data", gate).start()
    lamp = Lamp()
    lamp.set(True)
    gate.stops = {"step 1"}
    story = Story("job", "begun before")
    life = asyncio.create_task(story.live(server.socket, lamp.up))
    await gate.arrival()
    user = await WireUser.connect(server.socket)
    await user.listed()  # that it runs is on disk
    await user.close()
    lamp.set(False)
    await server.kill()
    gate.open()
    disk.fill()
    with pytest.raises(NotStartedError, match=r"full|No space left"):
        await server.start()
    disk.free()
    disk.read_only(True)
    with pytest.raises(NotStartedError, match=r"Read-only file system.*--data-dir"):
        await server.start()
    disk.read_only(False)
    await server.start()
    lamp.set(True)
    await asyncio.wait_for(life, 60)
    assert story.attempt == 2, "the starts that failed are no attempts"
    assert await server.stop() == 0


async def test_a_disk_that_fails_and_comes_back(nursery: Nursery, gate: Gatekeeper, tmp_path: Path) -> None:
    """Every write of the process fails (a limit on the size of files, set from outside), later none does."""
    server = await server_on(nursery, tmp_path, tmp_path / "data", gate).start()
    pid, lamp = server.pid, Lamp()
    lamp.set(True)
    gate.stops = {"image encoding"}
    held = Story("held", "made while the disk fails", count=2)
    life = asyncio.create_task(held.live(server.socket, lamp.up))
    await gate.arrival()
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, hard))
    gate.open()
    user = await WireUser.connect(server.socket)
    job, refusal, taken = await refused(user)
    assert refusal.error.code in (ErrorCode.INTERNAL, ErrorCode.QUEUE_FULL)
    assert refusal.error.retry_after_ms
    assert "incident" not in refusal.error.message, "a failing disk is no defect of the server"
    assert (await user.status("held"))["state"] == "running"
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
    await asyncio.wait_for(life, 60)
    assert held.attempt == 1
    await taken_again(user, job)
    assert {one["job"] for one in await user.listed()} == {"held", job, *taken}
    await user.close()
    assert server.pid == pid
    assert await server.stop() == 0


def can_loop() -> bool:
    """Whether this user may mount images of disks."""
    return os.geteuid() == 0 and Path("/dev/loop-control").exists() and shutil.which("mkfs.ext4") is not None


@pytest.mark.skipif(not can_loop(), reason="mounting an image of a disk takes root and loop devices")
async def test_a_disk_that_turns_read_only(gate: Gatekeeper, tmp_path: Path) -> None:
    """As the kernel does it when a disk breaks: what is open stays open, and no write works any more."""
    image, inside = tmp_path / "image", tmp_path / "disk"
    inside.mkdir()
    with image.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    script = 'mount -o loop "$0" "$1" && shift && exec "$@"'
    nursery = Nursery("unshare", "--mount", "sh", "-c", script, str(image), str(inside))
    try:
        server = await server_on(nursery, tmp_path, inside / "data", gate).start()
        lamp = Lamp()
        lamp.set(True)
        made = await Story("made", "made before").live(server.socket, lamp.up)
        enter = ["nsenter", "--mount", "--target", str(nursery.pid)]
        subprocess.run([*enter, "mount", "-o", "remount,abort", str(inside)], check=True)
        with pytest.raises(OSError, match=os.strerror(errno.EROFS)):
            Path(f"/proc/{nursery.pid}/root{inside}/probe").touch()
        user = await WireUser.connect(server.socket)
        _, refusal, taken = await refused(user)
        assert taken == []
        assert refusal.error.code == ErrorCode.INTERNAL
        assert refusal.error.retry_after_ms
        await made.check_images(user)  # what is there can be had
        assert (await user.status("made"))["state"] == "succeeded"
        await user.close()
        await server.kill()
        with pytest.raises(NotStartedError, match="Read-only file system"):
            await server.start()
    finally:
        nursery.close()
