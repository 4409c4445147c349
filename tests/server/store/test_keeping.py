"""Lists, tombstones and what belongs to whom, in the journal."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pixwire_server.store import ARTIFACTS, ATTACHMENTS, FileRef, Store, StoreUnavailableError, journal, open_store

STATES = ["queued", "running", "succeeded", "failed"]


def file(n: int, folder: str = ARTIFACTS) -> FileRef:
    return FileRef(folder, f"{n:064x}", n)


async def ended(store: Store, row: Any, position: int, *files: FileRef, finished_ms: int | None = None) -> None:
    finished_ms = position * 10 if finished_ms is None else finished_ms
    await store.journal.create(row(position, state="succeeded", finished_ms=finished_ms), files)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(STATES)), max_size=25),
    st.sets(st.sampled_from(STATES), min_size=1),
    st.integers(1, 7),
)
async def test_pages_are_the_list_cut_in_pieces(
    store: Store, row: Any, jobs: list[tuple[str, str]], states: set[str], limit: int
) -> None:
    base = await asyncio.to_thread(store.journal.last_position) + 1
    mine = f"me-{base}"  # of this example
    for n, (principal, state) in enumerate(jobs):
        await store.journal.create(row(base + n, principal=mine if principal == "a" else "b", state=state))
    expected = [base + n for n, (who, state) in enumerate(jobs) if who == "a" and state in states][::-1]
    found: list[int] = []
    before = 2**63 - 1
    while len(found) < len(expected):
        page = await store.journal.page(mine, before, states, limit)
        assert 0 < len(page) <= limit
        found += [r.position for r in page]
        before = page[-1].position
    assert found == expected
    assert await store.journal.page(mine, before if found else base, states, limit) == []


async def test_a_page_sees_what_was_asked_to_be_written_before(store: Store, row: Any) -> None:
    store.journal.create(row(1))
    store.journal.update(row(1, state="running", seq=2))
    assert [r.state for r in await store.journal.page("anonymous", 9, STATES, 9)] == ["running"]


async def test_a_page_is_read_from_an_index_alone(store: Store) -> None:
    """However many jobs others have, or are in other states, or have lost their results."""
    for query, index in zip(journal._PAGES, ("job_waiting", "job_listed"), strict=True):
        plan = store.journal._reader.execute(f"EXPLAIN QUERY PLAN {query}", ("a", "b", 1, 1)).fetchall()
        assert [step[3] for step in plan] == [
            f"SEARCH job USING INDEX {index} (principal=? AND state=? AND position<?)"
        ]


async def test_a_start_looks_at_the_jobs_that_have_not_ended_alone(store: Store) -> None:
    for query in (journal._UNFINISHED, journal._RAISE_SEQ.replace("?", "1")):
        plan = store.journal._reader.execute(f"EXPLAIN QUERY PLAN {query}").fetchall()
        assert "USING INDEX job_waiting" in plan[0][3]


async def test_a_list_has_jobs_that_wait_and_jobs_that_ended(store: Store, row: Any) -> None:
    await store.journal.create(row(1))
    await store.journal.create(row(2))
    await store.journal.create(row(3))
    await store.journal.update(row(2, state="succeeded", seq=2, finished_ms=5))
    await store.journal.update(row(3, state="failed", seq=2, finished_ms=5))
    await store.journal.expire([3], 6)
    assert [r.position for r in await store.journal.page("anonymous", 9, STATES, 9)] == [2, 1]
    assert [r.position for r in store.journal.unfinished()] == [1]


async def test_the_keeper_reads_from_indexes(store: Store) -> None:
    from pixwire_server.store import keeper

    for query, arguments, index in (
        (keeper._ENDED, (0, 0, 1), "job_ended"),
        (keeper._TOMBSTONES, (0, 1), "job_gone"),
        (keeper._NEEDED, ("", ""), "file_name"),
        (keeper._NAMES, ("", "", ""), "file_name"),
    ):
        plan = [step[3] for step in store.journal._reader.execute(f"EXPLAIN QUERY PLAN {query}", arguments)]
        assert len(plan) == 1
        assert f"INDEX {index}" in plan[0]


async def test_pages_by_tag_are_the_pages_of_those_that_have_it(store: Store, row: Any) -> None:
    for n, tags in enumerate((["a", "b"], ["a"], [], ["a"], ["a", "a"]), start=1):
        await store.journal.create(row(n, state="succeeded" if n == 4 else "queued", finished_ms=9), tags=tags)
    await store.journal.create(row(9, principal="mallory"), tags=["a"])

    async def found(tag: str, before: int = 99, limit: int = 9, states: list[str] = STATES) -> list[int]:
        return [r.position for r in await store.journal.page("anonymous", before, states, limit, tag)]

    assert await found("a") == [5, 4, 2, 1]
    assert await found("b") == [1]
    assert await found("c") == []
    assert await found("a", before=4, limit=1) == [2]
    assert await found("a", states=["succeeded"]) == [4]
    await store.journal.expire([2, 4], 10)
    assert await found("a") == [5, 1]
    await store.journal.forget([5])
    assert await found("a") == [1]
    assert store.journal._reader.execute("SELECT position FROM tag ORDER BY position").fetchall() == [(1,), (1,), (9,)]


async def test_a_page_by_tag_is_read_from_the_index_of_tags(store: Store) -> None:
    """However many jobs have other tags; and it comes in its order, without sorting."""
    plan = store.journal._reader.execute(f"EXPLAIN QUERY PLAN {journal._TAGGED}", ("a", "b", 1, "[]", 1)).fetchall()
    steps = [step[3] for step in plan]
    assert steps[:2] == [
        "SEARCH tag USING PRIMARY KEY (principal=? AND tag=? AND position<?)",
        "SEARCH job USING INTEGER PRIMARY KEY (rowid=?)",
    ]
    assert not any("TEMP B-TREE" in step for step in steps)


async def test_a_closed_journal_lists_nothing(tmp_path: Path) -> None:
    store = await open_store(tmp_path)
    await store.close()
    with pytest.raises(StoreUnavailableError, match="closed"):
        await store.journal.page("anonymous", 9, STATES, 9)


async def test_files_belong_to_the_principals_whose_jobs_refer_to_them(store: Store, row: Any) -> None:
    await store.journal.create(row(1, principal="alice"), [file(1, ATTACHMENTS), file(2, ATTACHMENTS)])
    owns = store.journal.owns
    assert await owns("alice", [file(1, ATTACHMENTS), file(2, ATTACHMENTS)])
    assert not await owns("alice", [file(1, ATTACHMENTS), file(3, ATTACHMENTS)])
    assert not await owns("alice", [file(1, ARTIFACTS)])
    assert not await owns("alice", [FileRef(ATTACHMENTS, file(1).name, 99)])
    assert not await owns("mallory", [file(1, ATTACHMENTS)])


async def test_a_tombstone_holds_nothing_of_request_and_result(store: Store, row: Any) -> None:
    full = row(
        1,
        state="succeeded",
        finished_ms=10,
        detail='{"x": 1}',
        attachments='["secret"]',
        traceparent="t",
        tracestate="s",
        cancel_reason="r",
        terms='{"tags": ["secret"]}',
    )
    await store.journal.create(full, [file(1)], tags=["secret"])
    assert await store.journal.expire([1, 77], 500) == [file(1)]
    tombstone = await store.journal.find("anonymous", "job-1")
    assert tombstone is not None
    assert (tombstone.gone_ms, tombstone.finished_ms, tombstone.state) == (500, 10, "succeeded")
    assert (tombstone.params, tombstone.detail, tombstone.attachments, tombstone.terms) == ("{}", "{}", "[]", "{}")
    assert store.journal._reader.execute("SELECT count(*) FROM tag").fetchone() == (0,)
    assert (tombstone.traceparent, tombstone.tracestate, tombstone.cancel_reason) == (None, None, None)
    assert await store.journal.expire([1], 600) == []
    assert await store.journal.page("anonymous", 9, STATES, 9) == []


async def test_only_jobs_that_have_ended_go(store: Store, row: Any) -> None:
    await store.journal.create(row(1), [file(1)])
    assert await store.journal.expire([1], 5) == []
    assert await store.journal.forget([1]) == []
    assert await store.journal.find("anonymous", "job-1") == row(1)
    assert await store.journal.owns("anonymous", [file(1)])


async def test_a_file_is_free_when_the_last_job_that_refers_to_it_is_gone(store: Store, row: Any) -> None:
    await ended(store, row, 1, file(1), file(2))
    await ended(store, row, 2, file(2), file(3))
    await store.journal.create(row(3), [file(3)])
    assert await store.journal.expire([1], 0) == [file(1)]
    assert await store.journal.expire([2], 0) == [file(2)]


async def test_a_write_that_comes_too_late_refers_to_nothing(store: Store, row: Any) -> None:
    """Its run was given up: the files it made belong to no job."""
    await store.journal.create(row(1, seq=5))
    assert not await store.journal.update(row(1, state="succeeded", seq=5, finished_ms=1), [file(1)])
    assert not await store.journal.owns("anonymous", [file(1)])
    assert await store.journal.update(row(1, state="succeeded", seq=6, finished_ms=1), [file(2)])
    assert await store.journal.owns("anonymous", [file(2)])


async def test_what_ended_comes_in_the_order_of_the_ends(store: Store, row: Any) -> None:
    await ended(store, row, 1, file(1), file(2), finished_ms=30)
    await ended(store, row, 2, finished_ms=10)
    await ended(store, row, 3, file(2), finished_ms=30)
    await store.journal.create(row(4), [file(1)])
    rows = await store.keeper.ended((0, 0), 10)
    assert [(r.position, r.finished_ms) for r in rows] == [(2, 10), (1, 30), (3, 30)]
    assert [dict(r.files) for r in rows] == [{}, {file(1): 2, file(2): 2}, {file(2): 2}]
    assert [r.position for r in await store.keeper.ended((30, 1), 10)] == [3]
    assert [r.position for r in await store.keeper.ended((0, 0), 2)] == [2, 1]


async def test_bytes_are_counted_once_and_without_those_of_unfinished_jobs(store: Store, row: Any) -> None:
    await ended(store, row, 1, file(100))
    await ended(store, row, 2, file(100), file(10))
    await store.journal.create(row(3), [file(1000)])
    assert await store.keeper.bytes_kept(0) == 110
    assert await store.keeper.bytes_kept(10_000) <= 10_000


async def test_forgotten_jobs_leave_nothing_but_their_place(store: Store, row: Any) -> None:
    for position in (1, 2, 3):
        await ended(store, row, position, file(position))
    await store.journal.expire([1, 3], 100)
    assert await store.keeper.tombstones(29, 9) == [1]
    assert await store.keeper.tombstones(30, 1) == [1]
    assert await store.journal.forget([1, 2, 3]) == [file(2)]
    assert await store.journal.find("anonymous", "job-1") is None
    assert await asyncio.to_thread(store.journal.last_position) == 3
    assert await store.journal.create(row(4, job="job-1")) is None


async def test_a_new_job_takes_the_place_of_one_that_is_long_over(store: Store, row: Any) -> None:
    await ended(store, row, 1, file(1), finished_ms=10)
    again = row(2, job="job-1")
    old = await store.journal.create(again, [file(2)], 9)
    assert old is not None
    assert old.position == 1
    assert await store.journal.create(again, [file(2)], 10) is None
    assert await store.journal.find("anonymous", "job-1") == again
    assert not await store.journal.owns("anonymous", [file(1)])
    assert await store.journal.owns("anonymous", [file(2)])
    third = row(3, job="job-1")
    assert await store.journal.create(third, (), 2**62) == again  # it has not ended


@pytest.mark.req("PXW-JOB-019")
async def test_collecting_spares_what_a_job_needs(store: Store, row: Any) -> None:
    names = await store.artifacts.put([b"one", b"two"])
    one, two = (FileRef(ARTIFACTS, name, 3) for name in names)
    assert await store.keeper.collect([one, two]) == 0  # held: their job is not in the journal yet
    await store.journal.create(row(1), [one])
    store.artifacts.release(names)
    assert await store.keeper.collect([one, two]) == 1
    assert (store.artifacts.folder.has(one.name, 3), store.artifacts.folder.has(two.name, 3)) == (True, False)
