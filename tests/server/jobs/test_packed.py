"""Jobs that wait in few bytes: what comes out is what went in."""

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixwire_protocol.attachments import Attachment
from pixwire_protocol.params import Adapter, GenerateParams
from pixwire_protocol.status import JobState
from pixwire_server.jobs import intake
from pixwire_server.jobs.model import Job
from pixwire_server.jobs.packed import pack, unpack
from pixwire_server.jobs.record import Record
from pixwire_server.jobs.request import Terms, Trace

PARAMS = GenerateParams("a star", negative_prompt="fog", model="m", width=64, height=32, steps=9, seed=7, count=2)
JOB = Job(3, "alice", "job-3", "txt2img", "0f" * 32, PARAMS, 1_700_000_000_000, steps=9)


def test_a_job_comes_back_as_it_was() -> None:
    packed = pack(JOB)
    assert isinstance(packed, bytes)
    assert len(packed) < 120
    assert unpack(packed, "alice", "job-3") == JOB


@given(
    st.builds(
        Job,
        position=st.integers(0, 2**62),
        principal=st.text(),
        id=st.text(min_size=1),
        kind=st.sampled_from(["txt2img", "img2img"]),
        fingerprint=st.sampled_from(["ab" * 32, "AB" * 32, "", "xyz", "a"]),
        params=st.builds(
            GenerateParams,
            prompt=st.text(),
            seed=st.none() | st.integers(0, 2**64 - 1),
            guidance_scale=st.none() | st.floats(allow_nan=False),
            adapters=st.sampled_from([(), (Adapter("ink", 0.5), Adapter("oil"))]),
        ),
        submitted_ms=st.integers(0, 2**62),
        seq=st.integers(1, 2**62),
        attempt=st.integers(1, 5),
        started=st.booleans(),
        step=st.integers(0, 9),
        steps=st.integers(0, 9),
        cancel_reason=st.none() | st.text(),
        attachments=st.sampled_from([(), (Attachment("image", 5, "0" * 64, "image/png"),)]),
        trace=st.sampled_from([Trace(), Trace("a", "b")]),
        terms=st.sampled_from([Terms(), Terms("high", 5, None, 7, ("x", "y"))]),
    )
)
def test_every_waiting_job_comes_back_as_it_was(job: Job) -> None:
    packed = pack(job)
    assert packed is not None
    assert unpack(packed, *job.key) == job


def test_no_field_is_forgotten() -> None:
    """A field that is added to Job or GenerateParams is packed without being named."""
    packed = pack(JOB)
    assert packed is not None
    again = unpack(packed, *JOB.key)
    assert [getattr(again, field.name) for field in fields(Job)] == [getattr(JOB, field.name) for field in fields(Job)]
    assert [getattr(again.params, f.name) for f in fields(GenerateParams)] == [
        getattr(JOB.params, f.name) for f in fields(GenerateParams)
    ]


@pytest.mark.parametrize("state", [state for state in JobState if state is not JobState.QUEUED])
def test_only_waiting_jobs_are_packed(state: JobState) -> None:
    assert pack(replace(JOB, state=state)) is None


def test_a_record_shows_the_same_job_packed_or_not() -> None:
    record = Record(JOB, 0.0)
    record.pack()
    record.pack()
    assert record.job == JOB
    record.job = replace(JOB, seq=2)
    assert record.job.seq == 2
    assert record.job is record.job
    record.job = replace(JOB, state=JobState.RUNNING)
    record.pack()
    assert record.job is record.job


async def test_a_deep_queue_works_as_a_shallow_one(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "PACKED_ABOVE", 0)
    await bench.open(max_resident=1)
    for name in ("a", "b", "c", "d"):
        await bench.submit(name)
    await bench.farm.running("a")
    follower = await bench.follow("b")
    assert (await bench.status("c")).state == "queued"
    assert (await bench.submit("d")).duplicate
    assert (await bench.cancel("c", "enough")).error.message == "enough"
    bench.engine.finish("a")
    await bench.farm.running("a", "b")
    bench.engine.finish("b")
    await follower.until("succeeded")
    assert follower.states == ["running", "succeeded"]
    await bench.farm.running("a", "b", "d")
