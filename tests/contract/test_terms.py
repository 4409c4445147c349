"""How a job is treated, and what a server lets its operators do: the fields of it, both ways."""

from typing import Any

import pytest
from aio_support import PNG, spawn
from pictures import png
from scripted_server import ScriptedServer
from shells import Connected, Shell

import pixwire
from pixwire import errors
from pixwire_protocol.messages import Admin, List, Status, Submit, Watch
from pixwire_protocol.params import Adapter, parse
from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.settings import Settings

pytestmark = pytest.mark.usefixtures("tidy")

TERMS: dict[str, Any] = {
    "priority": "high",
    "deadline": 20,
    "queue_ttl": 1.5,
    "run_timeout": 0.0001,
    "tags": ["web", "ünï"],
}


@pytest.mark.parametrize("name", ["generate", "submit"])
async def test_they_travel(server: ScriptedServer, client: Connected, name: str) -> None:
    task = spawn(getattr(client, name)("x", **TERMS))
    request = await server.next(Submit)
    sent = request.message
    assert (sent.priority, sent.timeout_ms, sent.queue_ttl_ms, sent.run_timeout_ms) == ("high", 20_000, 1500, 1)
    assert sent.tags == ("web", "ünï")
    if name == "generate":
        request.accept()
        request.succeed([PNG])
    else:
        request.result("queued", priority="high", tags=["web"], eta_ms=900, deadline_ms=19_000)
    made = await task
    if name == "submit":
        status = made.last_status
        assert (status.priority, status.tags, status.eta_ms, status.deadline_ms) == ("high", ("web",), 900, 19_000)


async def test_what_is_not_said_is_not_sent(server: ScriptedServer, client: Connected) -> None:
    task = spawn(client.submit("x"))
    request = await server.next(Submit)
    sent = request.message
    assert (sent.priority, sent.timeout_ms, sent.queue_ttl_ms, sent.run_timeout_ms, sent.tags) == (
        "normal",
        None,
        None,
        None,
        (),
    )
    assert parse(sent.tail).adapters == ()
    request.result("queued")
    status = (await task).last_status
    assert (status.priority, status.tags, status.eta_ms) == ("normal", (), None)


WRONG: list[tuple[str, Any]] = [
    ("priority", "urgent"),
    ("deadline", 0),
    ("deadline", -1.0),
    ("deadline", float("nan")),
    ("deadline", float("inf")),
    ("deadline", 3e6),
    ("deadline", "20"),
    ("deadline", True),
    ("queue_ttl", 0.0),
    ("run_timeout", -0.5),
    ("tags", "web"),
    ("tags", [""]),
    ("tags", ["x" * 65]),
    ("tags", ["a", "a"]),
    ("tags", ["line\nbreak"]),
    ("tags", [str(n) for n in range(9)]),
    ("tags", [7]),
    ("adapters", "one"),
    ("adapters", {"name": "one"}),
    ("adapters", [("one", 1.0, 2)]),
    ("adapters", [{"nom": "one"}]),
    ("adapters", [7]),
    ("ip_scale", 0.5),
]


@pytest.mark.parametrize(("field", "value"), WRONG, ids=repr)
async def test_wrong_ones_are_found_before_anything_is_sent(
    server: ScriptedServer, client: Connected, field: str, value: Any
) -> None:
    with pytest.raises(errors.InvalidArgument) as caught:
        await client.submit("x", **{field: value})
    assert str(caught.value.field).startswith(field)
    assert caught.value.allowed
    assert field in str(caught.value)
    assert server.requests.empty()


async def test_a_request_that_is_repeated_has_the_same_fields(server: ScriptedServer, client: Connected) -> None:
    task = spawn(client.generate("x", **TERMS))
    first = await server.next(Submit)
    first.peer.cut()
    second = await server.next(Submit)
    assert second.message == first.message
    second.accept()
    second.succeed([PNG])
    await task


async def test_adapters_and_style(tidy: None, shell: Shell) -> None:
    settings = Settings(agent="s", max_upload=1 << 20)
    async with ScriptedServer(settings) as server, shell.connect(server.url) as client:
        adapters = ["plain", ("heavy", 1.5), {"name": "map", "weight": -1}, Adapter("own")]
        task = spawn(client.submit("x", adapters=adapters, style=png(), ip_scale=0.4))
        request = await server.next(Submit)
        params = parse(request.message.tail, "txt2img", request.message.attachments)
        assert [(one.name, one.weight) for one in params.adapters] == [
            ("plain", 1.0),
            ("heavy", 1.5),
            ("map", -1.0),
            ("own", 1.0),
        ]
        assert params.ip_scale == 0.4
        assert [one.name for one in request.message.attachments] == ["style"]
        await server.uploads.get()
        request.result("queued")
        await task


REFUSED: list[tuple[ErrorCode, type[errors.RequestFailed], dict[str, Any]]] = [
    (ErrorCode.DEADLINE_EXCEEDED, errors.DeadlineExceeded, {"details": {"eta_ms": 30_000, "timeout_ms": 20_000}}),
    (ErrorCode.PAUSED, errors.Paused, {"retry_after_ms": 5000}),
    (ErrorCode.FORBIDDEN, errors.Forbidden, {}),
]


@pytest.mark.parametrize(("code", "kind", "more"), REFUSED, ids=lambda value: getattr(value, "__name__", None))
async def test_refusals(server: ScriptedServer, client: Connected, code: ErrorCode, kind: Any, more: Any) -> None:
    task = spawn(client.generate("x", deadline=20.0))
    (await server.next(Submit)).error(code, "no", **more)
    with pytest.raises(kind) as caught:
        await task
    if kind is errors.DeadlineExceeded:
        assert caught.value.eta == 30.0
    if kind is errors.Paused:
        assert isinstance(caught.value, errors.CapacityError)
        assert caught.value.retry_after_ms == 5000


async def test_a_job_that_missed_its_deadline(server: ScriptedServer, client: Connected) -> None:
    task = spawn(client.generate("x", deadline=1.0))
    request = await server.next(Submit)
    request.accept("running")
    code = ErrorCode.DEADLINE_EXCEEDED
    error = {"code": int(code), "name": code.name, "message": "running for 1 s", "retry": "no"}
    request.change("expired", end=True, error=error)
    with pytest.raises(errors.JobExpired, match="running for 1 s") as caught:
        await task
    assert caught.value.status.error.name == "DEADLINE_EXCEEDED"


async def test_events_tell_how_long_it_takes(server: ScriptedServer, client: Connected) -> None:
    events = client.job("j").events()
    waiting = spawn(anext(events))
    request = await server.next(Watch)
    request.accept("queued", queue_position=3, eta_ms=1200, priority="low", tags=["a"])
    event = await waiting
    assert (event.status.eta_ms, event.status.priority, event.status.tags) == (1200, "low", ("a",))
    await events.aclose()


async def test_jobs_by_tag(server: ScriptedServer, client: Connected) -> None:
    async def collect() -> list[pixwire.JobSummary]:
        return [job async for job in client.jobs(tag="web", states=["failed"])]

    task = spawn(collect())
    request = await server.next(List)
    assert (request.message.tag, request.message.states) == ("web", ("failed",))
    known = {"kind": "txt2img", "state": "failed", "seq": 3, "step": 1, "steps": 4, "artifacts": 0, "age_ms": 10}
    request.listed({"what": "jobs", "jobs": [{"job": "j", **known, "tags": ["web"], "model": "m", "priority": "low"}]})
    (found,) = await task
    assert (found.tags, found.model, found.priority) == (("web",), "m", "low")
    with pytest.raises(errors.InvalidArgument, match="tag"):
        async for _ in client.jobs(tag=""):
            pass


async def test_admin(server: ScriptedServer, client: Connected) -> None:
    task = spawn(client.admin("cancel", job="j-1", principal="bob", reason=None))
    request = await server.next(Admin)
    assert request.message == Admin("cancel", job="j-1", principal="bob")
    request.listed({"cancelled": 1})
    assert await task == {"cancelled": 1}


async def test_admin_survives_a_lost_connection(server: ScriptedServer, client: Connected) -> None:
    task = spawn(client.admin("overview", limit=5))
    (await server.next(Admin)).peer.cut()
    again = await server.next(Admin)
    assert again.message == Admin("overview", limit=5)
    again.listed({"paused": False})
    assert await task == {"paused": False}


async def test_admin_without_the_role(server: ScriptedServer, client: Connected) -> None:
    assert client.roles == ()
    task = spawn(client.admin("pause", reason="update"))
    (await server.next(Admin)).error(ErrorCode.FORBIDDEN, "needs the role admin")
    with pytest.raises(errors.Forbidden, match="role admin"):
        await task


@pytest.mark.parametrize(
    ("fields", "named"), [({"limit": 0}, "limit"), ({"jobb": "j"}, "jobb"), ({"reason": "x" * 300}, "reason")]
)
async def test_admin_fields_that_cannot_be(
    server: ScriptedServer, client: Connected, fields: dict[str, Any], named: str
) -> None:
    with pytest.raises(errors.InvalidArgument) as caught:
        await client.admin("cancel", **fields)
    assert caught.value.field == named
    assert server.requests.empty()


async def test_roles_are_told(tidy: None, shell: Shell) -> None:
    async with ScriptedServer(Settings(agent="s", roles=("admin",))) as server, shell.connect(server.url) as client:
        assert client.roles == ("admin",)
        task = spawn(client.job("j").status())
        (await server.next(Status)).result("running")
        await task
