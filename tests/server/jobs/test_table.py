"""The jobs in memory: order, places and the bound on those that have ended."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from pixwire_protocol.params import GenerateParams
from pixwire_protocol.status import JobState
from pixwire_server.jobs.model import Job
from pixwire_server.jobs.pace import FIRST_GUESS_MS, MAX_MS, MIN_MS, Pace
from pixwire_server.jobs.record import Record
from pixwire_server.jobs.table import JobQueue, JobTable
from pixwire_server.scheduling.data import Capacity, Entry, Limits
from pixwire_server.scheduling.ranking import Priority


def a_record(position: int, state: JobState = JobState.QUEUED) -> Record:
    params = GenerateParams("star")
    return Record(Job(position, "anonymous", f"job-{position}", "txt2img", "f", params, 0, state), 0.0)


def an_entry(record: Record, priority: int = Priority.NORMAL) -> Entry:
    position = record.job.position
    return Entry(position, record.job.principal, priority, float(position), float(position), 1.0, 1.0, ticket=record)


@given(st.lists(st.integers(1, 50), unique=True), st.data())
def test_the_queue_gives_back_the_records_in_their_order(positions: list[int], data: st.DataObject) -> None:
    queue, records = JobQueue(), {position: a_record(position) for position in positions}
    for record in records.values():
        queue.add(an_entry(record))
    gone = data.draw(st.lists(st.sampled_from(positions), unique=True)) if positions else []
    back = data.draw(st.lists(st.sampled_from(gone), unique=True)) if gone else []
    for position in gone:
        queue.remove(records[position])
    for position in back:
        queue.add(an_entry(records[position]))
    left = sorted(set(positions) - set(gone) | set(back))
    assert [record.job.position for record in queue] == left
    assert [record.job.position for record in queue.first(3)] == left[:3]
    assert (len(queue), queue.of("anonymous"), queue.of("somebody")) == (len(left), len(left), 0)
    assert [queue.rank(records[position]) for position in left] == list(range(1, len(left) + 1))
    assert all(queue.rank(records[position]) is None for position in set(gone) - set(back))
    assert queue.counts() == {"high": 0, "normal": len(left), "low": 0}
    assert (queue.oldest_s(100.0) is None) == (not left)
    started, expired = queue.take(0.0, Capacity(places=100), {}, lambda entry, now, beside: True)
    assert ([record.job.position for record in started], expired) == (left, [])
    assert not queue.principals(), "who has nothing waiting is not remembered"


def test_the_queue_tells_those_who_look_on() -> None:
    queue = JobQueue(Limits(queued=2))
    for position, priority in ((3, Priority.HIGH), (4, Priority.LOW)):
        queue.add(an_entry(a_record(position), priority))
    assert queue.counts() == {"high": 1, "normal": 0, "low": 1}
    assert queue.oldest_s(10.0) == 7.0
    assert queue.principals() == {"anonymous": 2}
    refusal = queue.refusal("somebody", 0, 0)
    assert refusal is not None
    assert (refusal.allowed, refusal.own) == (2, False)


@given(st.lists(st.integers(0, 9), max_size=40), st.integers(0, 5))
def test_ended_jobs_are_kept_up_to_the_bound_the_last_used_longest(used: list[int], limit: int) -> None:
    table, known = JobTable(limit), list[int]()
    for position in used:
        if table.get(("anonymous", f"job-{position}")) is None:
            assert position not in known
            table.add(a_record(position, JobState.SUCCEEDED))
        known = [p for p in known if p != position] + [position]
        known = known[-limit:] if limit else []
        assert table.recent == len(known)
    assert all(table.get(("anonymous", f"job-{position}")) for position in known)


def test_a_live_job_is_never_dropped_and_moves_over_when_it_ends() -> None:
    table = JobTable(1)
    records = [a_record(n) for n in range(10)]
    for record in records:
        table.add(record)
    assert (len(table.live), table.recent) == (10, 0)
    for record in records:
        record.job = replace(record.job, state=JobState.CANCELLED)
        table.add(record)
    assert (len(table.live), table.recent) == (0, 1)


@given(st.lists(st.floats(0, 1e6), max_size=30))
def test_when_to_come_back_stays_within_reason(ends: list[float]) -> None:
    pace = Pace()
    assert pace.retry_after_ms() == FIRST_GUESS_MS
    for now in sorted(ends):
        pace.ended(now)
        assert MIN_MS <= pace.retry_after_ms() <= MAX_MS


def test_when_to_come_back_follows_the_pace() -> None:
    pace = Pace()
    for n in range(10):
        pace.ended(n * 3.0)
    assert pace.retry_after_ms() == 3000


def test_an_ended_job_is_dropped_by_its_place() -> None:
    """Its id may belong to another job by now."""
    table = JobTable(9)
    table.add(a_record(3, JobState.SUCCEEDED))
    table.drop(("anonymous", "job-3"), 2)
    table.drop(("anonymous", "never"), 3)
    assert table.recent == 1
    table.drop(("anonymous", "job-3"), 3)
    assert table.recent == 0
