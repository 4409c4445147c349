"""Job status maps: round trips, tolerance, and refusals that name the field; job ids."""

import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from protocol_strategies import attachments, job_ids, keys, tags, text, traceparents

from pixwire_protocol.errors import RemoteProtocolError
from pixwire_protocol.fields import is_job_id
from pixwire_protocol.job_ids import new_job_id
from pixwire_protocol.profile import pack_map, unpack_map
from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.status import PRIORITIES, ArtifactInfo, JobError, JobState, JobStatus

naturals = st.integers(0, 2**63 - 1)
artifacts = st.builds(
    ArtifactInfo, naturals, text, naturals, st.just("image/png"), st.integers(1, 9999), st.integers(1, 9999), naturals
)
maps = st.none() | st.dictionaries(keys, st.integers(0, 10**6) | st.floats(0, 1e6), max_size=4)
statuses = st.builds(
    JobStatus,
    job=job_ids,
    kind=st.just("txt2img"),
    state=st.sampled_from(JobState),
    seq=naturals,
    attempt=st.integers(1, 9),
    step=st.integers(0, 200),
    steps=st.integers(0, 200),
    seed=st.none() | naturals,
    queue_position=st.none() | st.integers(0, 10**6),
    artifacts=st.lists(artifacts, max_size=4).map(tuple),
    error=st.none() | st.builds(JobError, st.integers(0, 65535), text, text, text),
    timings=maps,
    engine=maps,
    params=maps,
    attachments=attachments,
    traceparent=st.none() | traceparents,
    retain_ms=st.none() | naturals,
    priority=st.sampled_from(PRIORITIES),
    tags=st.lists(tags, max_size=8, unique=True).map(tuple),
    eta_ms=st.none() | naturals,
    deadline_ms=st.none() | naturals,
)
MINIMAL: dict[str, Any] = {"job": "j", "kind": "txt2img", "state": "queued", "seq": 1}
ARTIFACT: dict[str, Any] = {
    "artifact": 0, "etag": "e", "size": 9, "media_type": "image/png", "width": 1, "height": 1, "seed": 0,
}  # fmt: skip


@given(statuses)
def test_round_trip(status: JobStatus) -> None:
    assert JobStatus.from_map(unpack_map(pack_map(status.to_map()))) == status


def test_what_is_absent_has_its_default() -> None:
    status = JobStatus.from_map(MINIMAL)
    assert status == JobStatus("j", "txt2img", JobState.QUEUED, 1)
    assert status.to_map() == MINIMAL | {"attempt": 1, "step": 0, "steps": 0}
    assert not status.state.terminal
    optional = [
        "attempt",
        "step",
        "steps",
        "seed",
        "queue_position",
        "artifacts",
        "error",
        "timings",
        "engine",
        "params",
        "priority",
        "tags",
        "eta_ms",
        "deadline_ms",
    ]
    assert JobStatus.from_map(MINIMAL | dict.fromkeys(optional)) == status


def test_unknown_keys_are_ignored_at_every_depth() -> None:
    body = MINIMAL | {"event": "state", "duplicate": True, "zzz": [1]}
    body |= {"artifacts": [ARTIFACT | {"zzz": 1}], "error": {"code": 5, "name": "X", "message": "m", "zzz": 1}}
    status = JobStatus.from_map(body)
    assert status.artifacts == (ArtifactInfo(**ARTIFACT),)
    assert status.error == JobError(5, "X", "m", "no")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("job", None),
        ("job", 5),
        ("job", "no id!"),
        ("job", ""),
        ("kind", None),
        ("state", "paused"),
        ("state", 1),
        ("seq", 1.0),
        ("seq", True),
        ("seq", -1),
        ("seq", None),
        ("step", "1"),
        ("artifacts", {}),
        ("artifacts", [1]),
        ("artifacts", [{}]),
        ("artifacts", [ARTIFACT | {"size": -1}]),
        ("artifacts", [ARTIFACT | {"etag": 5}]),
        ("error", []),
        ("error", {"code": 5}),
        ("error", {"code": "5", "name": "x", "message": "m"}),
        ("timings", []),
        ("priority", 1),
        ("tags", "a"),
        ("tags", ["a", 1]),
        ("eta_ms", -1),
        ("eta_ms", 1.5),
        ("deadline_ms", "soon"),
    ],
)
def test_a_wrong_field_is_blamed(field: str, value: Any) -> None:
    with pytest.raises(RemoteProtocolError, match="must be") as caught:
        JobStatus.from_map(MINIMAL | {field: value})
    assert caught.value.code is ErrorCode.BAD_HEAD


@pytest.mark.parametrize("value", [None, [], 5, "x"])
def test_what_is_no_map(value: Any) -> None:
    with pytest.raises(RemoteProtocolError, match="a map"):
        JobStatus.from_map(value)


# ---------------------------------------------------------------------- job ids


@given(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10))
def test_job_ids_are_uuids_of_version_7(now_ms: int, noise: bytes) -> None:
    text = new_job_id(now_ms, noise)
    value = uuid.UUID(text)
    assert str(value) == text
    assert (value.version, value.variant) == (7, uuid.RFC_4122)
    assert value.int >> 80 == now_ms
    assert is_job_id(text)


def test_job_ids_sort_by_time_and_use_their_noise() -> None:
    times = [0, 1, 255, 256, 1_700_000_000_000, 2**48 - 1]
    assert sorted(new_job_id(now, b"\xff" * 10) for now in times) == [new_job_id(now, b"\xff" * 10) for now in times]
    noises = {new_job_id(5, (1 << bit).to_bytes(10)) for bit in range(80)}
    assert len(noises) == 75  # 74 bits of noise, and the id of those that are not used


@pytest.mark.parametrize(("now_ms", "noise"), [(-1, bytes(10)), (2**48, bytes(10)), (5, bytes(9))])
def test_job_ids_refuse_nonsense(now_ms: int, noise: bytes) -> None:
    with pytest.raises(ValueError, match=str(now_ms) if len(noise) == 10 else "10"):
        new_job_id(now_ms, noise)


@pytest.mark.req("PXW-REQ-009")
@given(st.text(max_size=70))
def test_job_id_syntax(value: str) -> None:
    allowed = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
    assert is_job_id(value) == (0 < len(value) <= 64 and set(value) <= allowed)


@pytest.mark.parametrize("value", ["-", "._-", "a" * 64, "A.b_c-9", "---"])
def test_unusual_job_ids(value: str) -> None:
    assert is_job_id(value)
