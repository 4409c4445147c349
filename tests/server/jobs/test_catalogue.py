"""Several models: which one a request gets, what is said of those it cannot have, and what happens when one goes."""

from dataclasses import replace
from typing import Any

import msgpack
import pytest

from pixwire_protocol.params import Adapter
from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.status import ModelInfo as ShownModel
from pixwire_server.engine import api
from pixwire_server.jobs import RequestError, resolve
from pixwire_server.jobs.catalogue import Catalogue, shown

from .conftest import CARD, PAINTER, ready

SMALL = replace(CARD, name="small", max_width=128, max_height=128, default_width=64, default_height=64, default_steps=5)
FAILED = api.ModelInfo("broken", api.ModelState.FAILED, None, message="/m/broken: a file is cut short")


def catalogue(*infos: api.ModelInfo) -> Catalogue:
    made = Catalogue()
    made.report(ready(CARD, SMALL))
    for info in infos:
        made.report(api.ModelChanged(info))
    return made


def refusal(models: Catalogue, kind: str = "txt2img", **params: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        resolve.parse(kind, msgpack.packb({"prompt": "star", **params}), (), models)
    return caught.value


def test_the_first_model_is_the_default_and_others_are_found_by_name() -> None:
    models = catalogue()
    assert models.default.name == CARD.name
    assert models.card() is models.card(CARD.name) is CARD
    assert models.card("small") is SMALL
    asked = resolve.parse("txt2img", msgpack.packb({"prompt": "star", "model": "small"}), (), models)
    params = resolve.resolve(asked, models.card(asked.model), lambda: 1)
    assert (params.model, params.steps, params.width) == ("small", 5, 64)
    assert resolve.task(1, params).model == "small"


def test_an_unknown_model_is_refused_with_those_there_are() -> None:
    error = refusal(catalogue(), model="other/model")
    assert error.code is ErrorCode.INVALID_ARGUMENT
    assert error.details == {"field": "model", "value": "other/model", "allowed": [CARD.name, "small"]}
    assert "'test/model' or 'small' ('test/model' when left out)" in error.message


def test_a_model_that_cannot_be_loaded_says_why_and_names_the_others() -> None:
    error = refusal(catalogue(FAILED), model="broken")
    assert error.code is ErrorCode.UNSUPPORTED
    assert "a file is cut short; use test/model or small" in error.message
    assert error.details["allowed"] == [CARD.name, "small"]


def test_the_kind_is_looked_for_in_the_model_that_was_asked_for() -> None:
    models = catalogue(api.ModelInfo("painter", api.ModelState.AVAILABLE, replace(PAINTER, name="painter")))
    assert models.kinds() == ("txt2img", "img2img", "inpaint")
    error = refusal(models, "upscale")
    assert error.details["allowed"] == ["txt2img", "img2img", "inpaint"]
    params = resolve.vocabulary.from_map({"prompt": "star", "model": "small"})
    with pytest.raises(RequestError, match="small does txt2img"):
        resolve.check_model("img2img", ["image"], params, models)
    assert resolve.check_model("img2img", ["image"], replace(params, model="painter"), models).name == "painter"


@pytest.mark.req("PXW-REQ-041")
def test_adapters_are_those_of_the_model() -> None:
    models = catalogue(api.ModelInfo("small", api.ModelState.LOADED, SMALL, adapters=("ink", "wool")))
    tail = msgpack.packb({"prompt": "star", "model": "small", "adapters": [{"name": "wool", "weight": 0.5}]})
    asked = resolve.parse("txt2img", tail, (), models)
    assert asked.adapters == (Adapter("wool", 0.5),)
    task = resolve.task(1, resolve.resolve(asked, models.card("small"), lambda: 1))
    assert task.adapters == (api.Adapter("wool", 0.5),)
    error = refusal(models, model="small", adapters=[{"name": "ink"}, {"name": "../silk"}])
    assert error.details == {"field": "adapters[1].name", "value": "../silk", "allowed": ["ink", "wool"]}
    assert "has no adapter '../silk'; it has ink, wool" in error.message
    assert "it has none" in refusal(models, adapters=[{"name": "ink"}]).message


def test_callbacks_hear_of_models_that_change_come_and_go() -> None:
    models = catalogue()
    heard: list[tuple[str, bool]] = []

    def hear(name: str) -> None:
        heard.append((name, models.get(name) is not None))

    models.on_changed(hear)
    models.report(api.ModelChanged(FAILED))
    models.report(api.ModelRemoved("small"))
    models.report(api.Heartbeat(0, 0))
    models.report(ready(CARD))
    models.off_changed(hear)
    models.report(api.ModelRemoved(CARD.name))
    assert heard == [("broken", True), ("small", False), ("broken", False), (CARD.name, True)]
    with pytest.raises(RequestError, match="no model at all now"):
        models.find(None)


def test_lists_show_states_and_models_nothing_is_known_of() -> None:
    info = api.ModelInfo("small", api.ModelState.LOADED, SMALL, 12_345, True, ("wool",))
    first, second, third = catalogue(info, FAILED).listed()
    assert [model.default for model in (first, second, third)] == [True, False, False]
    assert (second.state, second.bytes, second.pinned, second.adapters) == ("loaded", 12_345, True, ("wool",))
    assert (second.device, second.dtype, second.defaults["strength"]) == ("cpu", "float32", 0.8)
    assert (third.state, third.message, third.kinds) == ("failed", FAILED.message, ())
    for model in (first, second, third):
        assert ShownModel.from_map(model.to_map()) == model
    assert shown(info).default is False


# ---------------------------------------------------------------------------------------------- with jobs


async def test_queued_jobs_of_a_model_that_is_removed_fail_and_say_so(bench: Any) -> None:
    bench.farm.on_start = lambda engine: engine.report(ready(CARD, SMALL))
    await bench.open(max_resident=1)
    await bench.submit("first")
    await bench.farm.running("first")
    await bench.submit("lost", model="small")
    await bench.submit("kept")
    bench.engine.report(api.ModelRemoved("small"))
    follower = await bench.follow("lost")
    status = await follower.until("failed") if follower.watch.snapshot.state != "failed" else follower.watch.snapshot
    assert status.error.name == "INVALID_ARGUMENT"
    assert "'small' is not served here" in status.error.message
    assert (await bench.status("kept")).state == "queued"
    bench.engine.finish("first")
    await bench.farm.running("first", "kept")


async def test_a_model_added_by_command_is_there_after_the_engine_died(bench: Any) -> None:
    jobs = await bench.open()
    settings = api.ModelSettings("/models/small", "small")
    jobs._supervisor.send(api.AddModel(settings))
    jobs._supervisor.send(api.RemoveModel("nobody"))
    started: list[api.EngineConfig] = []
    bench.farm.on_config = started.append
    bench.engine.exit(-9)
    await bench.farm.until(lambda: started)
    assert [model.name for model in started[0].models] == ["", "small"]


def test_commands_change_the_configuration_of_later_engines() -> None:
    one, two = api.ModelSettings("/a", "one"), api.ModelSettings("/b", "two")
    config = api.EngineConfig((one,))
    config = api.changed(config, api.AddModel(two))
    assert config.models == (one, two)
    config = api.changed(config, api.AddModel(replace(one, path="/c")))
    assert [model.path for model in config.models] == ["/c", "/b"]
    config = api.changed(config, api.RemoveModel("one"))
    assert config.models == (two,)
    assert api.changed(config, api.UnloadModel("two")) == config
