"""Images on open files: what is kept open, for how long, and what a file that changes under a reader comes to."""

import asyncio
import contextlib
import os
import socket
import threading
import weakref
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pixwire_server.store import ArtifactFiles, StoreUnavailableError
from pixwire_server.store.kept_files import KeptFiles
from pixwire_server.store.stored_file import StoredFile

DATA = bytes(range(256)) * 40


@pytest.fixture
async def artifacts(tmp_path: Path) -> AsyncIterator[ArtifactFiles]:
    opened = ArtifactFiles(tmp_path, asyncio.get_running_loop())
    yield opened
    await asyncio.to_thread(opened.close)


def stored(folder: Path, name: str = "image", data: bytes = DATA) -> StoredFile:
    (folder / name).write_bytes(data)
    return StoredFile(folder / name)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


# ---------------------------------------------------------------------- what is kept


async def test_what_was_just_written_is_at_hand(artifacts: ArtifactFiles) -> None:
    [etag] = await artifacts.put([DATA])
    file = artifacts.kept(etag)
    assert file is not None
    assert file.read(0, file.size) == DATA


async def test_what_was_read_is_at_hand_afterwards(artifacts: ArtifactFiles, tmp_path: Path) -> None:
    [etag] = await artifacts.put([DATA])
    await asyncio.to_thread(artifacts.close)
    again = ArtifactFiles(tmp_path, asyncio.get_running_loop())
    assert again.kept(etag) is None
    opened = await again.open(etag)
    assert again.kept(etag) is opened
    await asyncio.to_thread(again.close)


async def test_what_is_removed_is_let_go_and_read_to_its_end_by_who_reads_it(artifacts: ArtifactFiles) -> None:
    [etag] = await artifacts.put([DATA])
    artifacts.release([etag])
    file = artifacts.kept(etag)
    assert file is not None
    part, alive = file.part(100, len(DATA)), weakref.ref(file)
    del file
    assert artifacts.folder.remove(etag, lambda: False)
    assert part.tobytes() == DATA[100:]
    del part
    assert alive() is None, "the room on the disk is free as soon as nobody reads"
    assert artifacts.kept(etag) is None


async def test_what_is_removed_while_it_is_opened_is_not_kept(
    artifacts: ArtifactFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its room on the disk would stay taken until 64 others have been asked for."""
    [etag] = await artifacts.put([DATA])
    artifacts.release([etag])
    keep = KeptFiles.keep
    caches: list[KeptFiles] = []

    def keep_what_is_removed(kept: KeptFiles, name: str, file: StoredFile) -> None:
        assert artifacts.folder.remove(name, lambda: False)
        keep(kept, name, file)
        caches.append(kept)

    monkeypatch.setattr(KeptFiles, "keep", keep_what_is_removed)
    file = await artifacts.open(etag)
    assert isinstance(file, StoredFile)
    assert file.read(0, file.size) == DATA
    assert [len(kept) for kept in caches] == [0]


@pytest.mark.parametrize("change", ["removed", "replaced", "cut"])
async def test_a_file_that_someone_else_changed_is_looked_for_anew(
    change: str, artifacts: ArtifactFiles, tmp_path: Path
) -> None:
    [etag] = await artifacts.put([DATA])
    path = tmp_path / "artifacts" / etag[:2] / etag
    if change == "cut":
        os.truncate(path, 10)
    elif change == "removed":
        path.unlink()
    else:
        (tmp_path / "other").write_bytes(DATA)
        (tmp_path / "other").rename(path)
    assert artifacts.kept(etag) is None
    found = await artifacts.open(etag)
    assert (None if found is None else found.size) == {"removed": None, "replaced": len(DATA), "cut": 10}[change]


def test_of_too_many_the_one_unused_for_longest_goes_and_its_reader_notices_nothing(tmp_path: Path) -> None:
    kept, before = KeptFiles(2), descriptors()
    for name in "ab":
        kept.keep(name, stored(tmp_path, name, name.encode() * 1000))
    reading = kept.find("b")
    assert reading is not None
    part = reading.part(0, 1000)
    del reading
    assert kept.find("a")
    kept.keep("c", stored(tmp_path, "c"))
    assert (len(kept), kept.find("b")) == (2, None)
    stored(tmp_path, "d")  # would get the number of a descriptor that was closed too early
    assert part.tobytes() == b"b" * 1000
    assert descriptors() == before + 3
    del part
    kept.clear()
    assert descriptors() == before


def test_threads_that_keep_find_and_drop_the_same_names(tmp_path: Path) -> None:
    kept, before, failures = KeptFiles(3), descriptors(), []
    for name in "abcdef":
        (tmp_path / name).write_bytes(name.encode() * 100)
    start = threading.Barrier(4)

    def work(turn: int) -> None:
        start.wait()
        try:
            for step in range(300):
                name = "abcdef"[(step * (turn + 1)) % 6]
                if (found := kept.find(name)) is None:
                    kept.keep(name, StoredFile(tmp_path / name))
                else:
                    assert found.read(0, 100) == name.encode() * 100
                if step % 7 == 0:
                    kept.drop(name)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(turn,)) for turn in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(kept) <= 3
    kept.clear()
    assert descriptors() == before


# ---------------------------------------------------------------------- parts


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(st.binary(max_size=60), st.lists(st.slices(70), max_size=3), st.integers(0, 80), st.integers(0, 80))
def test_parts_are_cut_like_bytes(tmp_path: Path, data: bytes, cuts: list[slice], start: int, stop: int) -> None:
    part, expected = stored(tmp_path, data=data).part(start, stop), data[start:stop]
    for cut in (slice(cut.start, cut.stop) for cut in cuts):
        part, expected = part[cut], expected[cut]
    assert (part.nbytes, len(part), part.tobytes()) == (len(expected), len(expected), expected)


def test_a_missing_file_is_no_file(tmp_path: Path) -> None:
    before = descriptors()
    with pytest.raises(FileNotFoundError):
        StoredFile(tmp_path / "nothing")
    assert descriptors() == before


@pytest.mark.parametrize("left", [0, 100])
def test_a_file_that_was_cut_short_is_an_error_and_not_the_end_of_the_process(tmp_path: Path, left: int) -> None:
    part = stored(tmp_path).part(0, len(DATA))
    os.truncate(tmp_path / "image", left)
    with pytest.raises(StoreUnavailableError, match=f"had {len(DATA)} bytes and ends after {left} now"):
        part.tobytes()
    ours, theirs = socket.socketpair()
    with contextlib.closing(ours), contextlib.closing(theirs):
        if left:
            assert part.send_to(ours.fileno()) == left
            assert theirs.recv(1000) == DATA[:left]
            part = part[left:]
        with pytest.raises(StoreUnavailableError, match="ends after"):
            part.send_to(ours.fileno())


def test_a_socket_that_takes_nothing_says_so(tmp_path: Path) -> None:
    part = stored(tmp_path, data=bytes(1 << 22)).part(0, 1 << 22)
    ours, theirs = socket.socketpair()
    with contextlib.closing(ours), contextlib.closing(theirs):
        ours.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while part.nbytes:
                part = part[part.send_to(ours.fileno()) :]
        assert 0 < part.nbytes < 1 << 22, "it took all, or nothing"
