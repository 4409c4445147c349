"""ADMIN and roles: who may, what an action needs, and the maps that come back."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from protocol_pair import END, Pair, cut_frames, drain, raw, ready, received
from protocol_strategies import job_ids, tags, text
from test_lists import MODEL

from pixwire_protocol import messages as m
from pixwire_protocol import overview as o
from pixwire_protocol.admin import ACTIONS, ROLE, AdminResult, admin_problem
from pixwire_protocol.connection import Role
from pixwire_protocol.errors import LocalProtocolError, RemoteProtocolError
from pixwire_protocol.heads import BODIES, MESSAGES
from pixwire_protocol.registry import ErrorCode, FrameType
from pixwire_protocol.status import PRIORITIES

ANYTHING = {"job": "j", "principal": "alice", "model": "m", "path": "/srv/m", "reason": "r", "limit": 5}


# ---------------------------------------------------------------------- the request


def test_the_table_of_actions_has_the_fields_of_the_frame() -> None:
    (action, *others) = MESSAGES["ADMIN"].fields
    assert tuple(ACTIONS) == action.choices
    used = {name for spec in ACTIONS.values() for name in (*spec.required, *spec.optional)}
    assert used == {item.name for item in others} == set(ANYTHING)
    for spec in ACTIONS.values():
        assert not set(spec.required) & set(spec.optional)


@pytest.mark.req("PXW-ADM-003")
@pytest.mark.parametrize("name", ACTIONS)
def test_what_an_action_needs_is_asked_for_by_name(name: str) -> None:
    assert admin_problem(m.Admin(name, **ANYTHING)) is None  # type: ignore[arg-type]
    for field in ACTIONS[name].required:
        problem = admin_problem(m.Admin(name, **ANYTHING | {field: None}))  # type: ignore[arg-type]
        assert problem is not None
        assert problem[:2] == (field, None)
        assert name in problem[2]
    if not ACTIONS[name].required and name != "cancel":
        assert admin_problem(m.Admin(name)) is None


@pytest.mark.req("PXW-ADM-003")
def test_cancel_needs_a_job_or_a_principal() -> None:
    assert admin_problem(m.Admin("cancel", job="j")) is None
    assert admin_problem(m.Admin("cancel", principal="alice")) is None
    problem = admin_problem(m.Admin("cancel"))
    assert problem is not None
    assert problem[0] == "job"


@pytest.mark.parametrize("name", ACTIONS)
def test_an_action_is_one_question_with_one_answer(name: str) -> None:
    pair = Pair()
    stream = pair.open(m.Admin(name, **ANYTHING))  # type: ignore[arg-type]
    (request,) = pair.messages_at_server(stream)
    assert request == m.Admin(name, **ANYTHING)  # type: ignore[arg-type]
    pair.server.send(stream, m.Result({"paused": True}), end=True)
    pair.settle()
    assert pair.messages_at_client(stream) == [m.Result({"paused": True})]
    assert pair.client.open_streams == pair.server.open_streams == 0


@pytest.mark.parametrize(
    ("head", "field"),
    [
        ({"action": "shutdown"}, "action"),
        ({}, "action"),
        ({"action": "overview", "limit": 0}, "limit"),
        ({"action": "overview", "limit": 1001}, "limit"),
        ({"action": "cancel", "job": "a b"}, "job"),
        ({"action": "cancel", "principal": ""}, "principal"),
        ({"action": "load", "model": "x" * 257}, "model"),
        ({"action": "add_model", "path": 5}, "path"),
        ({"action": "pause", "reason": "x" * 257}, "reason"),
    ],
)
def test_a_wrong_question_costs_its_stream(head: dict[str, Any], field: str) -> None:
    connection = ready(Role.SERVER)
    assert connection.receive(raw(FrameType.ADMIN, 1, head, flags=END)) == []
    (error,) = cut_frames(drain(connection))
    assert error.head is not None
    assert error.head["code"] == ErrorCode.INVALID_ARGUMENT
    assert error.head["details"]["field"] == field
    if field == "action":
        assert "overview, pause" in error.head["details"]["allowed"]
    assert len(received(connection.receive(raw(FrameType.ADMIN, 3, {"action": "resume"}, flags=END)))) == 1


def test_a_server_does_not_answer_with_events() -> None:
    pair = Pair()
    stream = pair.open(m.Admin("overview"))
    pair.settle()
    with pytest.raises(LocalProtocolError):
        pair.server.send(stream, m.Event({"event": "state"}))
    with pytest.raises(LocalProtocolError):
        pair.server.send(stream, m.Result({"paused": True}))  # without END


# ---------------------------------------------------------------------- roles


@pytest.mark.req("PXW-AUT-022")
def test_roles_come_with_welcome_where_nobody_is_asked() -> None:
    pair = Pair(server={"principal": "anonymous", "roles": (ROLE,)})
    assert pair.client.roles == pair.server.roles == (ROLE,)
    assert Pair().client.roles == ()


@pytest.mark.req("PXW-AUT-022")
def test_roles_come_with_auth_ok_and_the_last_one_counts() -> None:
    pair = Pair(server={"auth": ("bearer",)}, greet=False)
    pair.settle()
    for roles in ((ROLE, "auditor"), (), (ROLE,)):
        pair.client.authenticate("bearer", "t")
        pair.settle()
        before = pair.server.roles
        assert pair.client.roles == before
        pair.server.accept_auth("alice", roles=roles)
        pair.settle()
        assert pair.client.roles == pair.server.roles == roles


def test_roles_that_cannot_travel_are_refused() -> None:
    pair = Pair(server={"auth": ("bearer",)}, greet=False)
    pair.settle()
    pair.client.authenticate("bearer", "t")
    pair.settle()
    for roles in (("x" * 33,), tuple("abcdefghi")):
        with pytest.raises(LocalProtocolError, match="roles"):
            pair.server.accept_auth("alice", roles=roles)
    assert pair.server.roles == ()


# ---------------------------------------------------------------------- the answers

whole = st.integers(0, 2**63 - 1)
number = st.floats(0, 1e9)
jobs = st.builds(
    o.JobOverview,
    job=job_ids,
    principal=text,
    kind=text,
    model=text,
    state=text,
    step=whole,
    steps=whole,
    age_ms=whole,
    priority=st.sampled_from(PRIORITIES),
    eta_ms=st.none() | whole,
    pass_id=st.none() | whole,
    tags=st.lists(tags, max_size=3).map(tuple),
)
failures = st.builds(
    o.FailedOverview,
    *[job_ids, text, text, text, text, text, text, whole],
    tags=st.lists(tags, max_size=3).map(tuple),
)
overviews = st.builds(
    o.Overview,
    paused=st.booleans(),
    draining=st.booleans(),
    uptime_ms=whole,
    connections=whole,
    queue=st.builds(o.QueueOverview, *[whole] * 5),
    running=st.lists(jobs, max_size=2).map(tuple),
    waiting=st.lists(jobs, max_size=2).map(tuple),
    engine=st.builds(o.EngineOverview, text, *[whole] * 4, number, st.none() | number, st.none() | number),
    models=st.lists(st.builds(o.ModelOverview, text, text, st.none() | whole), max_size=2).map(tuple),
    principals=st.lists(st.builds(o.PrincipalOverview, text, whole, whole), max_size=2).map(tuple),
    cost=st.builds(o.CostOverview, number, st.none() | number, st.none() | number),
    failed=st.lists(failures, max_size=2).map(tuple),
    reason=st.none() | text,
)
FULL_JOB = o.JobOverview("j", "alice", "txt2img", "m", "running", 1, 20, 5, "high", 7, 4711, ("a",))
FULL = o.Overview(
    paused=True,
    draining=False,
    uptime_ms=5,
    connections=1,
    queue=o.QueueOverview(1, 2, 3, 4, 1000),
    running=(FULL_JOB,),
    waiting=(FULL_JOB,),
    engine=o.EngineOverview("ready", 0, 1, 0, 9, 12.5, 1.5, 80.0),
    models=(o.ModelOverview("m", "loaded", 5),),
    principals=(o.PrincipalOverview("alice", 1, 1),),
    cost=o.CostOverview(1.5, 1.0, 1.2),
    failed=(o.FailedOverview("k", "bob", "txt2img", "m", "failed", "PIPELINE_ERROR", "boom", 9, ("a",)),),
    reason="new disks",
)
SECRETS = {"params", "prompt", "negative_prompt", "attachments", "traceparent"}


@given(overviews)
def test_an_overview_comes_back(view: o.Overview) -> None:
    body = view.to_map()
    frame = m.encode(m.Result(body), 1, END)
    assert b"".join(frame)
    assert o.Overview.from_map(body | {"new": 1}) == view


@pytest.mark.req("PXW-ADM-012")
def test_an_overview_has_the_fields_of_the_document_and_no_parameters() -> None:
    body = FULL.to_map()
    parts = {"queue": body["queue"], "engine": body["engine"], "cost": body["cost"], "job": body["running"][0]}
    parts |= {"model": body["models"][0], "principal": body["principals"][0], "failed": body["failed"][0]}
    assert set(body) == set(BODIES["overview"])
    for name, part in parts.items():
        assert set(part) == set(BODIES[f"overview_{name}"]), name
    named = set(body).union(*parts.values())
    assert not named & SECRETS


def wrongs(body: dict[str, Any], where: str = "") -> list[tuple[str, dict[str, Any]]]:
    """Every field of a map, and of the maps in it, with a value of a wrong type: (path, changed map)."""
    made = []
    for name, value in body.items():
        made.append((f"{where}{name}", body | {name: b"x"}))
        inner = value[0] if isinstance(value, list) and value and isinstance(value[0], dict) else value
        if isinstance(inner, dict):
            for path, changed in wrongs(inner, f"{where}{name}."):
                made.append((path, body | {name: [changed] if isinstance(value, list) else changed}))
        elif isinstance(value, list):
            made.append((f"{where}{name}", body | {name: [5]}))
        if isinstance(value, int | float) and not isinstance(value, bool):
            made.append((f"{where}{name}", body | {name: -1}))
    return made


def test_every_wrong_field_of_an_overview_is_blamed_by_name() -> None:
    cases = wrongs(FULL.to_map())
    assert len(cases) > 100
    for path, body in cases:
        with pytest.raises(RemoteProtocolError, match=path.rpartition(".")[2]) as caught:
            o.Overview.from_map(body)
        assert caught.value.code is ErrorCode.BAD_HEAD, path


@pytest.mark.parametrize(
    "result",
    [
        AdminResult(paused=False),
        AdminResult(draining=True),
        AdminResult(cancelled=0),
        AdminResult(job="j-08"),
        AdminResult(model=MODEL),
    ],
)
def test_a_result_comes_back(result: AdminResult) -> None:
    body = result.to_map()
    assert len(body) == 1
    assert set(body) <= set(BODIES["admin"])
    assert AdminResult.from_map(body | {"new": 1}) == result


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("paused", 1),
        ("draining", "yes"),
        ("cancelled", -1),
        ("cancelled", 1.0),
        ("job", "a b"),
        ("model", {}),
        ("model", []),
    ],
)
def test_a_wrong_result_is_blamed_by_name(field: str, value: Any) -> None:
    with pytest.raises(RemoteProtocolError, match="name" if value == {} else field):
        AdminResult.from_map({field: value})
