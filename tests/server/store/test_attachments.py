"""What clients send along: whole, the right bytes and inspected, or not there at all."""

import asyncio
import hashlib
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pixwire_server.store import ATTACHMENTS, FileRef, MismatchError, Store, StoreError


def ref(data: bytes) -> FileRef:
    return FileRef(ATTACHMENTS, hashlib.sha256(data).hexdigest(), len(data))


def look(index: int, path: Path) -> tuple[int, bytes]:
    return index, path.read_bytes()


class Held(bytearray):
    """Bytes of which one can tell whether somebody still has them."""


def files(store: Store) -> list[bytes]:
    """Everything in the folder, whole or half."""
    folder = store.attachments.path("0" * 64).parent.parent
    return sorted(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def test_bytes_come_in_and_are_found_by_their_hash(store: Store) -> None:
    image, mask = b"image" * 100_000, b"mask"
    arrival = store.attachments.receive([ref(image), ref(mask)], look)
    whole = memoryview(bytearray(image + mask))
    done = [arrival.write(whole[start : start + 65_536]) for start in range(0, len(whole), 65_536)]
    assert await arrival.seal() == [(0, image), (1, mask)]
    assert all(future.done() for future in done)
    assert store.attachments.path(ref(image).name).read_bytes() == image
    await arrival.discard()
    assert files(store) == sorted([image, mask])  # sealed: what has no job is the keeper's business
    assert await store.keeper.collect([ref(image), ref(mask)]) == 2
    assert files(store) == []


async def test_a_buffer_may_be_used_again_when_its_write_is_done(store: Store) -> None:
    pieces, buffer = [b"first", b"other"], bytearray(5)
    arrival = store.attachments.receive([ref(b"".join(pieces))], look)
    for piece in pieces:
        buffer[:] = piece
        await arrival.write(memoryview(buffer))
    assert await arrival.seal() == [(0, b"firstother")]
    await arrival.discard()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=5), st.data())
async def test_borders_of_writes_and_of_files_need_not_meet(
    store: Store, sent: list[bytes], data: st.DataObject
) -> None:
    whole = b"".join(sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    arrival = store.attachments.receive([ref(one) for one in sent], look)
    for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        arrival.write(whole[start:end])
    assert await arrival.seal() == list(enumerate(sent))
    await arrival.discard()


@pytest.mark.req("PXW-UPL-014")
async def test_other_bytes_than_announced_are_refused_as_soon_as_they_are_whole(store: Store) -> None:
    arrival = store.attachments.receive([ref(b"good"), ref(b"meant"), ref(b"later")], look)
    with pytest.raises(MismatchError) as caught:
        await arrival.write(b"goodother")
    assert (caught.value.index, caught.value.actual) == (1, ref(b"other").name)
    for future in (arrival.write(b"later"), arrival.seal()):
        with pytest.raises(MismatchError):
            await future
    await arrival.discard()
    assert files(store) == []


async def test_what_inspection_refuses_is_refused(store: Store) -> None:
    def never(index: int, path: Path) -> None:
        raise LookupError(path.read_bytes())

    arrival = store.attachments.receive([ref(b"data")], never)
    with pytest.raises(LookupError, match="data"):
        await arrival.write(b"data")
    await arrival.discard()
    assert files(store) == []


async def test_nothing_incomplete_is_sealed(store: Store) -> None:
    arrival = store.attachments.receive([ref(b"one"), ref(b"two")], look)
    arrival.write(b"onetw")
    with pytest.raises(ValueError, match="file 1 is not complete"):
        await arrival.seal()
    await arrival.discard()
    assert files(store) == []


@pytest.mark.parametrize("written", [b"", b"on", b"one", b"onetw", b"onetwo"])
async def test_discarding_leaves_nothing(store: Store, written: bytes) -> None:
    arrival = store.attachments.receive([ref(b"one"), ref(b"two")], look)
    arrival.write(written)
    discarded = arrival.discard()
    with pytest.raises(StoreError, match="given up"):
        await arrival.write(b"x")
    await discarded
    await arrival.discard()  # harmless
    assert files(store) == []


async def test_discarding_forgets_what_a_slow_disk_has_not_taken(store: Store) -> None:
    """Its credit goes back to the client at once: who could make the server keep the bytes could fill its memory."""
    first, rest = b"x", [Held(1000) for _ in range(5)]
    alive = [weakref.ref(data) for data in rest]
    reached, released = threading.Event(), threading.Event()

    def slow(index: int, path: Path) -> tuple[int, bytes]:
        reached.set()
        assert released.wait(60)
        return look(index, path)

    arrival = store.attachments.receive([ref(first), ref(bytes(5000))], slow)
    writes = [arrival.write(first)]
    await asyncio.to_thread(reached.wait, 60)
    writes += [arrival.write(data) for data in rest]
    del rest
    assert all(data() for data in alive)
    discarded = arrival.discard()
    assert not any(data() for data in alive)
    released.set()
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    await discarded
    assert all(isinstance(outcome, StoreError) for outcome in outcomes[1:])
    assert files(store) == []


async def test_two_that_send_the_same_bytes_do_not_hurt_each_other(store: Store) -> None:
    first, second = (store.attachments.receive([ref(b"same")], look) for _ in range(2))
    first.write(b"same")
    second.write(b"sa")
    await first.seal()
    await second.discard()
    assert store.attachments.path(ref(b"same").name).read_bytes() == b"same"
    await first.discard()


async def test_held_until_the_discard_then_free(store: Store, row: Any) -> None:
    arrival = store.attachments.receive([ref(b"data")], look)
    arrival.write(b"data")
    await arrival.seal()
    assert await store.keeper.collect([ref(b"data")]) == 0
    await store.journal.create(row(1), [ref(b"data")])
    await arrival.discard()
    assert await store.keeper.collect([ref(b"data")]) == 0  # now it has a job
    assert files(store) == [b"data"]


async def test_adopting_holds_all_or_nothing(store: Store, row: Any) -> None:
    assert await store.attachments.adopt([ref(b"data")], look) is None
    arrival = store.attachments.receive([ref(b"data")], look)
    arrival.write(b"data")
    await arrival.seal()
    await arrival.discard()
    assert await store.attachments.adopt([ref(b"data"), ref(b"more")], look) is None
    assert await store.attachments.adopt([ref(b"data"), ref(b"data")], look) == [(0, b"data"), (1, b"data")]
    assert await store.keeper.collect([ref(b"data")]) == 0
    store.attachments.release([ref(b"data"), ref(b"data")])
    assert await store.keeper.collect([ref(b"data")]) == 1


async def test_many_slow_uploads_hold_no_thread(store: Store) -> None:
    arrivals = [store.attachments.receive([ref(b"slow")], look) for _ in range(64)]
    await asyncio.gather(*(arrival.write(b"sl") for arrival in arrivals))
    quick = store.attachments.receive([ref(b"quick")], look)
    quick.write(b"quick")
    assert await quick.seal() == [(0, b"quick")]
    await asyncio.gather(*(arrival.discard() for arrival in [*arrivals, quick]))


LIMITED = """
import asyncio, hashlib, resource, sys
from pathlib import Path
from pixwire_server.store import FileRef, StoreFullError, open_store

async def send(store, data):
    file = FileRef("attachments", hashlib.sha256(data).hexdigest(), len(data))
    arrival = store.attachments.receive([file], lambda *found: found)
    try:
        await arrival.write(data)
        print("kept", len(await arrival.seal()))
    except StoreFullError as error:
        print(error)
    await arrival.discard()

async def main():
    store = await open_store(Path(sys.argv[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
    await send(store, bytes(1_000_000))
    await send(store, b"fits")
    await store.close()

asyncio.run(main())
"""


async def test_no_room_is_said_leaves_nothing_and_service_goes_on(tmp_path: Path) -> None:
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "an attachment cannot be stored: File too large\nkept 1\n"
    left = [path.read_bytes() for path in (tmp_path / "attachments").rglob("*") if path.is_file()]
    assert left == [b"fits"]
