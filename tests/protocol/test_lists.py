"""LIST and what its RESULT carries: models and jobs, as maps and as dataclasses."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from protocol_pair import END, Pair, cut_frames, drain, raw, ready, received
from protocol_strategies import tags

from pixwire_protocol import messages as m
from pixwire_protocol.connection import Role
from pixwire_protocol.errors import LocalProtocolError, RemoteProtocolError
from pixwire_protocol.heads import BODIES, MESSAGES
from pixwire_protocol.registry import ErrorCode, FrameType
from pixwire_protocol.status import NORMAL, PRIORITIES, JobState, JobSummary, ModelInfo

MODEL = ModelInfo(
    name="tiny",
    default=True,
    pipeline="StableDiffusionPipeline",
    kinds=("txt2img", "img2img"),
    attachments=("image",),
    defaults={"steps": 20, "guidance_scale": 7.5, "width": 512, "height": 512, "strength": 0.8},
    limits={"size_multiple": 8, "max_width": 1024, "max_height": 1024, "max_steps": 200, "max_count": 16},
    media_types=("image/png", "image/webp"),
    state="failed",
    bytes=2**31,
    adapters=("sketch", "film grain"),
    pinned=True,
    device="cuda:0",
    dtype="float16",
    message="unet: no safetensors",
)
SINCE_0_3 = ("state", "bytes", "adapters", "pinned", "device", "dtype", "message")
whole = st.integers(0, 2**63 - 1)
summaries = st.builds(
    JobSummary,
    st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True),
    st.text(min_size=1, max_size=10),
    st.sampled_from(JobState),
    *[whole] * 5,
    priority=st.sampled_from(PRIORITIES),
    tags=st.lists(tags, max_size=8, unique=True).map(tuple),
    model=st.none() | st.text(min_size=1, max_size=10),
)


def test_a_list_is_asked_for_and_answered() -> None:
    pair = Pair()
    stream = pair.open(m.List("jobs", limit=2, after="c1", states=(JobState.QUEUED, "running")))
    (request,) = pair.messages_at_server(stream)
    assert request == m.List("jobs", 2, "c1", ("queued", "running"))
    job = JobSummary("j", "txt2img", JobState.RUNNING, 5, 1, 20, 0, 1234)
    pair.server.send(stream, m.Result({"what": "jobs", "jobs": [job.to_map()], "next": "c2"}), end=True)
    pair.settle()
    (answer,) = pair.messages_at_client(stream)
    assert isinstance(answer, m.Result)
    assert [JobSummary.from_map(item) for item in answer.body["jobs"]] == [job]
    assert pair.client.open_streams == pair.server.open_streams == 0


@pytest.mark.parametrize(
    ("head", "field"),
    [
        ({"what": "artifacts"}, "what"),
        ({"what": ""}, "what"),
        ({}, "what"),
        ({"what": "jobs", "limit": 0}, "limit"),
        ({"what": "jobs", "limit": 101}, "limit"),
        ({"what": "jobs", "after": "x" * 129}, "after"),
        ({"what": "jobs", "states": ["queued", "gone"]}, "states"),
        ({"what": "jobs", "states": "queued"}, "states"),
        ({"what": "jobs", "tag": ""}, "tag"),
        ({"what": "jobs", "tag": "a\tb"}, "tag"),
    ],
)
def test_wrong_questions_cost_their_stream(head: dict[str, Any], field: str) -> None:
    connection = ready(Role.SERVER)
    assert connection.receive(raw(FrameType.LIST, 1, head, flags=END)) == []
    (error,) = cut_frames(drain(connection))
    assert error.head is not None
    assert error.head["code"] == ErrorCode.INVALID_ARGUMENT
    assert error.head["details"]["field"] == field
    assert len(received(connection.receive(raw(FrameType.LIST, 3, {"what": "models"}, flags=END)))) == 1


def test_wrong_questions_are_not_sent() -> None:
    client = ready(Role.CLIENT)
    for question in (m.List("artifacts"), m.List("jobs", states=("gone",)), m.List("jobs", states=["gone"])):
        with pytest.raises(LocalProtocolError, match="queued" if question.what == "jobs" else "models, jobs"):
            client.open(question)
    assert {item.name: item.choices for item in MESSAGES["LIST"].fields}["states"] == tuple(JobState)


@given(summaries)
def test_a_summary_comes_back(summary: JobSummary) -> None:
    assert JobSummary.from_map(summary.to_map() | {"new": 1}) == summary
    said = {name for name in ("priority", "tags", "model") if name in summary.to_map()}
    assert set(summary.to_map()) | {"priority", "tags", "model"} == set(BODIES["summary"])
    assert ("priority" in said, "tags" in said) == (summary.priority != NORMAL, bool(summary.tags))


def test_a_model_comes_back() -> None:
    values = MODEL.to_map()
    assert ModelInfo.from_map(values | {"new": 1}) == MODEL
    assert set(values) == set(BODIES["model"])
    assert set(values["defaults"]) == set(BODIES["model_defaults"])
    assert set(values["limits"]) == set(BODIES["model_limits"])
    assert b"".join(m.encode(m.Result({"what": "models", "models": [values]}), 1, END))


def test_what_an_older_server_does_not_say_of_a_model_has_a_default() -> None:
    values = {name: value for name, value in MODEL.to_map().items() if name not in SINCE_0_3}
    values["defaults"] = {name: value for name, value in values["defaults"].items() if name != "strength"}
    model = ModelInfo.from_map(values)
    assert (model.state, model.adapters, model.pinned, model.bytes, model.message) == ("loaded", (), False, None, None)
    assert set(BODIES["model"]) - set(values) == set(SINCE_0_3)
    assert "bytes" not in model.to_map()


@pytest.mark.parametrize("name", BODIES["model"])
def test_a_wrong_model_is_blamed_by_name(name: str) -> None:
    absent = [] if name in SINCE_0_3 else [None]
    number = -1 if name == "bytes" else 5
    for wrong in (*absent, number, [1], b"x", {} if name in ("defaults", "limits") else {"a": 1}):
        with pytest.raises(RemoteProtocolError, match=name) as caught:
            ModelInfo.from_map(MODEL.to_map() | {name: wrong})
        assert caught.value.code is ErrorCode.BAD_HEAD


@pytest.mark.parametrize("name", BODIES["summary"])
def test_a_wrong_summary_is_blamed_by_name(name: str) -> None:
    summary = JobSummary("j", "txt2img", JobState.QUEUED, 1, 0, 0, 0, 0).to_map()
    absent = [] if name in ("priority", "tags", "model") else [None]
    for wrong in (*absent, -1, [1], "" if name == "job" else b"x"):
        with pytest.raises(RemoteProtocolError, match=name):
            JobSummary.from_map(summary | {name: wrong})
