"""Journals of released versions are taken along: every job, and the files its results lie in."""

import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path

from pixwire_server.store import ATTACHMENTS, FileRef, JobRow, open_store
from pixwire_server.store.journal import JOURNAL_NAME

from .old_journal import make_version_1, make_version_2

IMAGES = [b"the first image", b"the second image"]
ETAGS = [hashlib.sha256(image).hexdigest() for image in IMAGES]


def detail(*etags: str) -> str:
    artifacts = [
        {"artifact": i, "etag": etag, "size": 16 - (etag == ETAGS[0]), "media_type": "image/png", "width": 8}
        for i, etag in enumerate(etags)
    ]
    return json.dumps({"step": 3, "steps": 9, "artifacts": artifacts, "error": None, "timings": {}, "engine": {}})


def old_row(position: int, state: str, finished_ms: int | None, *etags: str) -> tuple[object, ...]:
    return (
        *(position, "anonymous", f"job-{position}", "txt2img", "f" * 64, '{"prompt": "star"}', 1000 + position),
        *(state, 4, 2, finished_ms, "enough" if state == "cancelled" else None, detail(*etags)),
    )


OLD = [
    old_row(1, "succeeded", 5000, ETAGS[0], ETAGS[1]),
    old_row(2, "succeeded", 6000, ETAGS[0], ETAGS[0]),
    old_row(3, "cancelled", 6500),
    old_row(7, "running", None),
    old_row(8, "queued", None),
]


def an_old_data_dir(data_dir: Path) -> Path:
    make_version_1(data_dir, OLD)
    for etag, image in zip(ETAGS, IMAGES, strict=True):
        path = data_dir / "artifacts" / etag[:2] / etag
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image)
    return data_dir


async def test_a_journal_of_version_1_is_taken_along(tmp_path: Path) -> None:
    store = await open_store(an_old_data_dir(tmp_path / "data"))
    assert (store.journal.server_id, store.last_position) == ("0123456789abcdef", 8)
    assert [row.job for row in store.unfinished] == ["job-7", "job-8"]
    for values in OLD:
        assert await store.journal.find("anonymous", str(values[2])) == JobRow(*values)  # type: ignore[arg-type]
    for etag, image in zip(ETAGS, IMAGES, strict=True):
        blob = await store.artifacts.open(etag)
        assert blob is not None
        assert blob.read(0, blob.size) == image
    await store.close()
    with closing(sqlite3.connect(tmp_path / "data" / JOURNAL_NAME)) as other:
        assert other.execute("PRAGMA user_version").fetchone() == (4,)


async def test_old_jobs_are_listed_and_their_images_counted(tmp_path: Path) -> None:
    store = await open_store(an_old_data_dir(tmp_path / "data"))
    page = await store.journal.page("anonymous", 8, ["succeeded", "running", "cancelled"], 9)
    assert [row.position for row in page] == [7, 3, 2, 1]
    assert await store.keeper.bytes_kept(0) == len(IMAGES[0]) + len(IMAGES[1])
    first, second, third = await store.keeper.ended((0, 0), 10)
    assert {(file.name, uses) for file, uses in first.files} == {(ETAGS[0], 2), (ETAGS[1], 1)}
    assert [(row.job, len(row.files)) for row in (second, third)] == [("job-2", 1), ("job-3", 0)]
    assert {file.name for file in await store.journal.expire([1], 9000)} == {ETAGS[1]}
    await store.journal.create(JobRow(9, "p", "new", "img2img", "f", "{}", 1, "queued", 1, 1), [NEW])
    assert await store.journal.owns("p", [NEW])
    await store.close()


async def test_a_journal_of_version_2_is_taken_along(tmp_path: Path) -> None:
    make_version_2(tmp_path / "data", OLD)
    store = await open_store(tmp_path / "data")
    assert store.journal.secret == b"fedcba9876543210"
    first, second = await store.journal.find("anonymous", "job-1"), await store.journal.find("anonymous", "job-2")
    assert first is not None
    assert second is not None
    assert (first.attachments, first.traceparent, first.terms) == ('["a picture"]', "trace", "{}")
    assert (second.gone_ms, second.terms) == (9000, "{}")
    assert await store.journal.owns("anonymous", [FileRef(ATTACHMENTS, "abcd", 7)])
    assert [row.terms for row in store.unfinished] == ["{}", "{}"]
    assert await store.journal.page("anonymous", 9, ["succeeded"], 9, tag="old") == []
    await store.close()
    with closing(sqlite3.connect(tmp_path / "data" / JOURNAL_NAME)) as other:
        assert other.execute("PRAGMA user_version").fetchone() == (4,)


NEW = FileRef(ATTACHMENTS, "0" * 64, 1)
