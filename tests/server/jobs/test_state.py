"""The transition table, and jobs as data: what may follow what, and that the journal gives back what it was given."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixwire_protocol.attachments import Attachment
from pixwire_protocol.params import GenerateParams
from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.status import JOB_TRANSITIONS, ArtifactInfo, JobState
from pixwire_server.jobs import model
from pixwire_server.jobs.errors import IllegalTransition
from pixwire_server.jobs.model import RECOVERY_GAP, Job
from pixwire_server.jobs.request import Terms, Trace
from pixwire_server.jobs.state import TRANSITIONS, Cause, next_state

states = st.sampled_from(list(JobState))
causes = st.sampled_from(list(Cause))


def a_job(**fields: Any) -> Job:
    params = GenerateParams("star", "", "test/model", 64, 64, 20, 5.0, 7, 1, "image/png")
    return replace(Job(3, "anonymous", "id", "txt2img", "f", params, 1_000), **fields)


@pytest.mark.req("PXW-JOB-001")
def test_the_table_is_the_protocols() -> None:
    mine = {state: {after for (before, _), after in TRANSITIONS.items() if before is state} for state in JobState}
    assert mine == JOB_TRANSITIONS


@given(states, causes)
@pytest.mark.req("PXW-JOB-001")
def test_what_has_no_row_is_refused(state: JobState, cause: Cause) -> None:
    if (state, cause) in TRANSITIONS:
        assert next_state(state, cause) is TRANSITIONS[state, cause]
    else:
        with pytest.raises(IllegalTransition, match=f"{state} cannot be {cause}"):
            next_state(state, cause)


@given(st.lists(causes, max_size=40))
@pytest.mark.req("PXW-JOB-002")
def test_a_terminal_state_never_changes(walk: list[Cause]) -> None:
    job, ended = a_job(), None
    for cause in walk:
        before = job
        try:
            job = model.change(job, cause)
        except IllegalTransition:
            assert job is before
        else:
            assert job.seq == before.seq + 1
            assert ended is None, f"{ended} became {job.state}"
        if job.state.terminal:
            ended = job.state
    assert ended in (None, job.state)


@given(st.integers(1, 6), st.integers(1, 6), st.none() | st.text(max_size=5))
def test_a_job_whose_engine_died_waits_again_or_ends(attempt: int, limit: int, cancel_reason: str | None) -> None:
    job = a_job(state=JobState.RUNNING, attempt=attempt, step=9, cancel_reason=cancel_reason)
    cause, fields = model.lost(job, limit)
    after = model.change(job, cause, **fields)
    if cancel_reason is not None:
        assert after.state is JobState.CANCELLED
        assert after.error is not None
        assert after.error.code == ErrorCode.CANCELLED
    elif attempt >= limit:
        assert after.state is JobState.FAILED
        assert after.error is not None
        assert (after.error.code, after.error.retry) == (ErrorCode.WORKER_LOST, "same_id")
        assert after.attempt == attempt
    else:
        assert (after.state, after.attempt, after.step) == (JobState.QUEUED, attempt + 1, 0)


@given(st.integers(0, 5), st.integers(1, 4))
def test_no_job_is_tried_for_ever(restarts: int, limit: int) -> None:
    job = a_job()
    for _ in range(restarts):
        if job.state is JobState.QUEUED:
            job = model.change(job, Cause.ADMITTED)
        if not job.state.terminal:
            job = model.recovered(job, limit, now_ms=5)
    assert job.attempt <= limit
    assert (job.state is JobState.FAILED) == (restarts >= limit)
    assert (job.finished_ms is None) == (job.state is JobState.QUEUED)


@pytest.mark.req("PXW-JOB-004")
def test_numbers_of_events_rise_across_restarts() -> None:
    job = model.change(a_job(), Cause.ADMITTED)
    told = job
    for step in range(1, 500):
        told = model.progressed(told, step, 500)
    back = model.recovered(job, 3, now_ms=0)
    assert back.seq > told.seq
    assert back.seq == job.seq + RECOVERY_GAP + 1
    waiting = a_job(seq=5)
    assert model.recovered(waiting, 3, now_ms=0) == replace(waiting, seq=5 + RECOVERY_GAP)


jobs = st.builds(
    a_job,
    state=states,
    seq=st.integers(1, 2**40),
    attempt=st.integers(1, 5),
    step=st.integers(0, 200),
    steps=st.integers(0, 200),
    finished_ms=st.none() | st.integers(0, 2**45),
    cancel_reason=st.none() | st.text(max_size=20),
    artifacts=st.lists(
        st.builds(ArtifactInfo, st.integers(0, 63), st.text(max_size=8), size=st.integers(0, 2**40),
                  media_type=st.just("image/png"), width=st.integers(1, 99), height=st.integers(1, 99),
                  seed=st.integers(0, 2**63 - 1)),
        max_size=3,
    ).map(tuple),
    error=st.none() | st.builds(model.error, st.sampled_from([ErrorCode.CANCELLED, ErrorCode.INTERNAL]), st.text()),
    timings=st.dictionaries(st.text(max_size=5), st.floats(0, 1e9), max_size=3),
    engine=st.just({}) | st.just({"passes": 3, "pass_share": 0.5}),
    attachments=st.lists(
        st.builds(Attachment, st.sampled_from(["image", "mask"]), st.integers(1, 2**53 - 1), st.just("a" * 64),
                  media_type=st.just("image/png")),
        max_size=2, unique_by=lambda one: one.name,
    ).map(tuple),
    started=st.booleans(),
    terms=st.just(Terms()) | st.builds(Terms, st.sampled_from(["low", "high"]), st.none() | st.integers(1, 2**31 - 1),
                                       tags=st.just(()) | st.just(("a", "b"))),
    trace=st.just(Trace()) | st.builds(Trace, st.just("00-trace"), st.none() | st.text(max_size=9)),
)  # fmt: skip


@given(jobs)
def test_the_journal_gives_back_the_job(job: Job) -> None:
    assert model.from_row(model.to_row(job)) == job


@given(jobs, st.none() | st.integers(1, 9), st.booleans())
def test_the_status_shows_the_job(job: Job, position: int | None, with_params: bool) -> None:
    outlook = model.Outlook(position, 1500, None if position is None else 900)
    status = model.status(job, outlook, with_params=with_params)
    assert (status.queue_position, status.eta_ms, status.deadline_ms) == (position, 1500, outlook.deadline_ms)
    assert (status.priority, status.tags) == (job.terms.priority, job.terms.tags)
    assert type(status).from_map(status.to_map()).to_map() == status.to_map()
    assert (status.job, status.state, status.seq, status.seed) == (job.id, job.state, job.seq, 7)
    assert (status.params is not None) == with_params
    assert status.attachments == (job.attachments if with_params else ())
    assert status.traceparent == job.trace.traceparent
