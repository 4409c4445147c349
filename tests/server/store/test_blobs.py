"""Files by their hash: what is held stays, what is being removed cannot be held, and is stored anew."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pixwire_server.store import blobs
from pixwire_server.store.blobs import BlobFolder, digest, write_whole
from pixwire_server.store.stored_file import StoredFile

DATA = b"an image"
NAME = digest(DATA)


@pytest.fixture
def folder(tmp_path: Path) -> BlobFolder:
    return BlobFolder(tmp_path / "blobs")


def store(folder: BlobFolder, data: bytes = DATA) -> str:
    temporary = folder.temporary()
    write_whole(temporary, data)
    folder.place(temporary, digest(data))
    folder.sync([digest(data)])
    return digest(data)


def test_a_file_is_found_by_name_and_size(folder: BlobFolder) -> None:
    assert not folder.has(NAME, len(DATA))
    store(folder)
    assert folder.has(NAME, len(DATA))
    assert not folder.has(NAME, len(DATA) + 1)
    assert folder.path(NAME).read_bytes() == DATA
    assert folder.path(NAME).is_absolute()


def test_an_unneeded_file_is_removed_and_a_needed_one_is_not(folder: BlobFolder) -> None:
    store(folder)
    assert not folder.remove(NAME, lambda: True)
    assert folder.has(NAME, len(DATA))
    assert folder.remove(NAME, lambda: False)
    assert not folder.has(NAME, len(DATA))
    assert folder.remove(NAME, lambda: False)  # nothing there: nothing to do


def test_a_held_file_is_not_removed_before_the_last_release(folder: BlobFolder) -> None:
    store(folder)
    folder.hold([NAME])
    folder.hold([NAME, "0" * 64])
    folder.release([NAME])
    assert not folder.remove(NAME, lambda: False)
    folder.release([NAME])
    assert folder.remove(NAME, lambda: False)


def test_a_removal_under_way_is_waited_for_and_the_file_is_stored_again(folder: BlobFolder) -> None:
    """Whoever holds a name afterwards sees that the file is gone, never one that is about to go."""
    store(folder)
    asked, go_on = threading.Event(), threading.Event()

    def needed() -> bool:
        asked.set()
        assert go_on.wait(30)
        return False

    def put() -> bool:
        folder.hold([NAME])
        was_there = folder.has(NAME, len(DATA))
        if not was_there:
            store(folder)
        return was_there

    with ThreadPoolExecutor(2) as threads:
        removing = threads.submit(folder.remove, NAME, needed)
        assert asked.wait(30)
        putting = threads.submit(put)
        folder.hold(["1" * 64])  # other names wait for nothing
        with pytest.raises(TimeoutError):  # it waits; if it did not it would have finished by now
            putting.result(0.3)
        go_on.set()
        assert removing.result(30)
        assert not putting.result(30)
    assert folder.has(NAME, len(DATA))
    assert not folder.remove(NAME, lambda: False)


def test_a_file_is_removed_by_one_at_a_time(folder: BlobFolder) -> None:
    """The second would give the name free while the first is still about to remove what is stored under it anew."""
    store(folder)
    answers: list[bool] = []

    def needed() -> bool:
        answers.append(folder.remove(NAME, lambda: False))
        return False

    assert folder.remove(NAME, needed)
    assert answers == [False]


def test_files_and_names_are_flushed_before_anybody_relies_on_them(
    folder: BlobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes before they have their name, the name before whoever stored it is answered."""
    done: list[tuple[str, str]] = []
    fsync, rename = os.fsync, Path.rename

    def flushed(handle: int) -> None:
        done.append(("flushed", Path(os.readlink(f"/proc/self/fd/{handle}")).name))
        fsync(handle)

    def renamed(path: Path, target: Path) -> Path:
        done.append(("named", target.name))
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "rename", renamed)
    temporary = folder.temporary()
    write_whole(temporary, DATA)
    folder.place(temporary, NAME)
    folder.sync([NAME])
    folders = [("flushed", "blobs"), ("named", NAME), ("flushed", NAME[:2])]
    assert done == [("flushed", temporary.name), *folders]


def test_a_folder_that_another_thread_makes_is_on_disk_before_anybody_relies_on_it(
    folder: BlobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, go_on = threading.Event(), threading.Event()
    others = [data for data in (b"%d" % number for number in range(5000)) if digest(data)[:2] == NAME[:2]]

    def slowly(directory: Path) -> None:
        if directory.name == "blobs":
            asked.set()
            assert go_on.wait(30)

    monkeypatch.setattr(blobs, "sync_directory", slowly)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(store, folder)
        assert asked.wait(30)
        second = threads.submit(store, folder, others[0])
        with pytest.raises(TimeoutError):  # it waits; if it did not it would have finished by now
            second.result(0.3)
        go_on.set()
        assert {first.result(30), second.result(30)} == {NAME, digest(others[0])}


def test_an_open_file_outlives_its_removal(folder: BlobFolder) -> None:
    store(folder)
    opened = StoredFile(folder.path(NAME))
    assert folder.remove(NAME, lambda: False)
    assert opened.read(0, opened.size) == DATA


def test_storing_again_what_is_open_harms_no_reader(folder: BlobFolder) -> None:
    store(folder)
    opened = StoredFile(folder.path(NAME))
    store(folder)
    assert opened.read(0, opened.size) == DATA


def test_a_start_removes_what_is_half_or_unneeded(folder: BlobFolder, tmp_path: Path) -> None:
    kept, lost = store(folder), store(folder, b"lost")
    half = folder.temporary()
    half.write_bytes(b"ha")
    again = BlobFolder(tmp_path / "blobs")
    assert not half.exists()
    foreign = tmp_path / "blobs" / "backup" / lost
    foreign.parent.mkdir()
    foreign.write_bytes(b"an operator's")
    assert again.sweep(lambda prefix: {kept}) == 1
    assert foreign.exists()
    assert (again.has(kept, len(DATA)), again.has(lost, 4)) == (True, False)
