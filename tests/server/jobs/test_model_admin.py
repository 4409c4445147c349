"""Models loaded, unloaded, added and removed by operators: what the engine is told, and when the answer comes."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from pixwire_protocol.registry import ErrorCode
from pixwire_server.engine import api
from pixwire_server.jobs import AdminCommand, RequestError

from .conftest import CARD

State = api.ModelState


def ask(bench: Any, action: str, model: str, **fields: Any) -> Any:
    return bench.jobs.admin.perform(AdminCommand(action, model=model, **fields), "boss")


def told(bench: Any, name: str, state: api.ModelState, **values: Any) -> None:
    """The engine reports this of the model."""
    bench.engine.report(api.ModelChanged(api.ModelInfo(name, state, CARD, **values)))


async def sent(bench: Any, kind: type) -> Any:
    """The command of this kind that the engine was sent."""
    await bench.farm.until(lambda: any(isinstance(one, kind) for one in bench.engine.commands))
    return next(one for one in reversed(bench.engine.commands) if isinstance(one, kind))


async def refused(future: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        await future
    return caught.value


@pytest.fixture
async def two(bench: Any) -> Any:
    """A server with a second model, which is not loaded."""
    await bench.open()
    told(bench, "second", State.AVAILABLE)
    return bench


async def test_a_load_is_answered_when_the_model_is_there(two: Any) -> None:
    future = ask(two, "load", "second")
    assert await sent(two, api.LoadModel) == api.LoadModel("second")
    told(two, "second", State.LOADING)
    told(two, "test/model", State.LOADED, bytes=5)  # another one
    await asyncio.sleep(0)
    assert not future.done()
    told(two, "second", State.LOADED, bytes=7)
    body = (await future)["model"]
    assert (body["name"], body["state"], body["bytes"], body["default"]) == ("second", "loaded", 7, False)
    assert (await ask(two, "load", "second"))["model"]["state"] == "loaded"
    assert len([one for one in two.engine.commands if isinstance(one, api.LoadModel)]) == 1


async def test_a_model_that_cannot_be_loaded_is_answered_as_failed_and_may_be_tried_again(two: Any) -> None:
    told(two, "second", State.FAILED, message="of before")
    future = ask(two, "load", "second")
    await sent(two, api.LoadModel)
    told(two, "second", State.LOADING)
    told(two, "second", State.FAILED, message="no room")
    body = (await future)["model"]
    assert (body["state"], body["message"]) == ("failed", "no room")


async def test_an_unload_is_answered_when_the_memory_is_free(two: Any) -> None:
    assert (await ask(two, "unload", "second"))["model"]["state"] == "available"  # it was not loaded
    future = ask(two, "unload", "test/model")
    assert await sent(two, api.UnloadModel) == api.UnloadModel("test/model")
    told(two, "test/model", State.AVAILABLE)
    body = (await future)["model"]
    assert (body["state"], body["default"], "bytes" in body) == ("available", True, False)


async def test_an_unload_waits_for_a_load_and_ends_when_somebody_wants_the_model_again(two: Any) -> None:
    told(two, "second", State.LOADING)
    future = ask(two, "unload", "second")
    await asyncio.sleep(0)
    assert not any(isinstance(one, api.UnloadModel) for one in two.engine.commands)
    told(two, "second", State.LOADED)
    assert await sent(two, api.UnloadModel) == api.UnloadModel("second")
    told(two, "second", State.LOADED)  # it still has a task
    await asyncio.sleep(0)
    assert not future.done()
    told(two, "second", State.LOADING)  # unloaded, and wanted by a job that came meanwhile
    assert (await future)["model"]["state"] == "loading"


@pytest.mark.parametrize("name", [" x", "x ", "a\nb", "\x1b[2J"])
async def test_a_name_that_nobody_could_type_is_refused(two: Any, tmp_path: Path, name: str) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    error = await refused(ask(two, "add_model", name, path=str(tmp_path)))
    assert (error.code, error.details["field"]) == (ErrorCode.INVALID_ARGUMENT, "model")


async def test_a_folder_becomes_a_model(two: Any, tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    future = ask(two, "add_model", "third", path=str(tmp_path))
    command = await sent(two, api.AddModel)
    assert (command.settings.path, command.settings.name, command.settings.device) == (str(tmp_path), "third", "auto")
    told(two, "third", State.AVAILABLE)
    assert (await future)["model"]["name"] == "third"
    assert [model.name for model in two.jobs.models()] == ["test/model", "second", "third"]
    two.engine.exit(-9)  # the next engine knows it, too
    await two.farm.until(lambda: len(two.farm.engines) == 2)


@pytest.mark.parametrize("path", ["relative", "/nowhere", "", "/dev/null", "/etc", "/" + "a" * 300])
async def test_a_path_that_is_no_model_is_refused(two: Any, path: str) -> None:
    error = await refused(ask(two, "add_model", "third", path=path))
    assert (error.code, error.details["field"], error.details["value"]) == (ErrorCode.INVALID_ARGUMENT, "path", path)
    assert not any(isinstance(one, api.AddModel) for one in two.engine.commands)


async def test_a_removed_model_is_not_listed_any_more(two: Any) -> None:
    future = ask(two, "remove_model", "second")
    assert await sent(two, api.RemoveModel) == api.RemoveModel("second")
    two.engine.report(api.ModelRemoved("second"))
    assert (await future)["model"]["name"] == "second"
    assert [model.name for model in two.jobs.models()] == ["test/model"]


async def test_the_default_model_stays(two: Any) -> None:
    error = await refused(ask(two, "remove_model", "test/model"))
    assert (error.code, error.details["field"], error.details["allowed"]) == (
        ErrorCode.INVALID_ARGUMENT,
        "model",
        ["second"],
    )


@pytest.mark.req("PXW-ADM-011")
@pytest.mark.parametrize("action", ["load", "unload", "remove_model"])
async def test_a_model_that_is_not_there_is_named_with_those_that_are(two: Any, action: str) -> None:
    error = await refused(ask(two, action, "nothing"))
    assert (error.code, error.details) == (
        ErrorCode.INVALID_ARGUMENT,
        {"field": "model", "value": "nothing", "allowed": ["test/model", "second"]},
    )


async def test_an_engine_that_dies_meanwhile_or_is_away_is_said(two: Any) -> None:
    future = ask(two, "load", "second")
    await sent(two, api.LoadModel)
    two.farm.on_start = lambda engine: None
    two.engine.exit(-9)
    error = await refused(future)
    assert (error.code, error.retry_after_ms) == (ErrorCode.WORKER_LOST, 5000)
    error = await refused(ask(two, "load", "second"))
    assert "the engine is not ready" in error.message


async def test_a_model_that_is_removed_while_it_loads_is_not_waited_for(two: Any) -> None:
    future = ask(two, "load", "second")
    await sent(two, api.LoadModel)
    two.engine.report(api.ModelRemoved("second"))
    assert (await refused(future)).code == ErrorCode.INVALID_ARGUMENT


async def test_who_waits_when_the_server_stops_is_let_go(two: Any) -> None:
    future = ask(two, "load", "second")
    await sent(two, api.LoadModel)
    await two.jobs.close()
    with pytest.raises(asyncio.CancelledError):
        await future
