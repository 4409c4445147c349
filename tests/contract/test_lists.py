"""The list of models and the list of jobs."""

from typing import Any

import pytest
from aio_support import spawn
from scripted_server import ScriptedServer
from shells import Connected

import pixwire
from pixwire import errors
from pixwire_protocol.messages import List, Status

MODEL = {
    "name": "shapes",
    "default": True,
    "pipeline": "StableDiffusionPipeline",
    "kinds": ["txt2img", "img2img"],
    "attachments": ["image"],
    "defaults": {"steps": 20, "guidance_scale": 5.0, "width": 64, "height": 64},
    "limits": {"size_multiple": 8, "max_width": 512, "max_height": 512, "max_steps": 200, "max_count": 16},
    "media_types": ["image/png"],
}

pytestmark = pytest.mark.usefixtures("tidy")


def summary(number: int, **more: Any) -> dict[str, Any]:
    known = {"kind": "txt2img", "state": "running", "seq": 3, "step": 1, "steps": 4, "artifacts": 0, "age_ms": 10}
    return {"job": f"j-{number}", **known, **more}


async def test_models(server: ScriptedServer, client: Connected) -> None:
    task = spawn(client.models())
    request = await server.next(List)
    assert request.message.what == "models"
    request.listed({"what": "models", "models": [MODEL, {**MODEL, "name": "other", "default": False, "new": 1}]})
    first, second = await task
    assert isinstance(first, pixwire.ModelInfo)
    assert (first.name, first.default, first.kinds, first.defaults["steps"]) == (
        "shapes",
        True,
        ("txt2img", "img2img"),
        20,
    )
    assert second.name == "other"


async def collect(client: Connected, **arguments: Any) -> list[str]:
    return [job.job async for job in client.jobs(**arguments)]


async def test_jobs_come_in_pages(server: ScriptedServer, client: Connected) -> None:
    task = spawn(collect(client, states=["running", "queued"]))
    request = await server.next(List)
    assert request.message == List("jobs", 100, None, ("running", "queued"))
    request.listed({"what": "jobs", "jobs": [summary(i) for i in range(3)], "next": "cursor-1"})
    request = await server.next(List)
    assert request.message.after == "cursor-1"
    request.listed({"what": "jobs", "jobs": [], "next": "cursor-2"})
    request = await server.next(List)
    assert request.message.after == "cursor-2"
    request.listed({"what": "jobs", "jobs": [summary(3)]})
    assert await task == ["j-0", "j-1", "j-2", "j-3"]


async def test_no_more_than_wanted(server: ScriptedServer, client: Connected) -> None:
    task = spawn(collect(client, limit=4))
    request = await server.next(List)
    assert request.message.limit == 4
    request.listed({"what": "jobs", "jobs": [summary(i) for i in range(3)], "next": "c"})
    request = await server.next(List)
    assert request.message.limit == 1
    request.listed({"what": "jobs", "jobs": [summary(3), summary(4)], "next": "d"})
    assert await task == ["j-0", "j-1", "j-2", "j-3"]
    assert await collect(client, limit=0) == []
    assert server.requests.empty()


async def test_wrong_states_are_found_before_anything_is_sent(server: ScriptedServer, client: Connected) -> None:
    with pytest.raises(errors.InvalidArgument) as caught:
        await collect(client, states=["dreaming"])
    assert caught.value.field == "states"
    assert "succeeded" in caught.value.allowed
    assert server.requests.empty()


@pytest.mark.parametrize(
    "body",
    [
        {"what": "jobs"},
        {"what": "jobs", "jobs": "many"},
        {"what": "jobs", "jobs": [{"job": "j"}]},
        {"what": "jobs", "jobs": [summary(1, state="dreaming")]},
        {"what": "jobs", "jobs": [], "next": 7},
    ],
)
async def test_nonsense_is_a_violation(server: ScriptedServer, client: Connected, body: dict[str, Any]) -> None:
    task = spawn(collect(client))
    (await server.next(List)).listed(body)
    with pytest.raises(errors.ProtocolViolation):
        await task
    other = spawn(client.job("j").status())
    (await server.next(Status)).result("running")
    await other
