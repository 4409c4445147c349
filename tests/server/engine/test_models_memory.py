"""Several models in one engine: which leave when room is short, and how they come and go by command."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_lab import QUIET
from models_lab import SECONDS, TASK, Scales, loaded, settings

from pixwire_server.engine import api
from pixwire_server.engine import models as models_module
from pixwire_server.engine.api import Cancel, ModelSettings, ModelState, Submit
from pixwire_server.engine.gate import Gate
from pixwire_server.engine.loader import load

pytestmark = QUIET


# ---------------------------------------------------------------------------------------------- memory


def budget(folders: dict[str, str], *names: str) -> int:
    return sum(loaded(ModelSettings(folders[name])).bytes for name in names) + 1000


def test_the_model_used_longest_ago_leaves_when_room_is_short(
    bench: Any, scales: Scales, folders: dict[str, str]
) -> None:
    made = bench(*settings(folders, "one", "two", "xl"), budget=budget(folders, "one", "xl"))
    for handle, name in enumerate(("two", "one", "xl", "two")):
        made.send(Submit(replace(TASK, handle=handle, model=name)))
        assert isinstance(made.finished(handle)[0], api.Finished)
    assert scales.loads == ["one", "two", "xl", "two"]
    assert [made.info(name).state for name in ("one", "two", "xl")] == [
        ModelState.AVAILABLE,
        ModelState.LOADED,
        ModelState.LOADED,
    ]
    assert made.states("two") == ["loading", "loaded", "available", "loading", "loaded"]
    assert sum(info.bytes for info in made.models.infos()) <= budget(folders, "one", "xl")


def test_a_model_that_left_gives_its_memory_back(bench: Any, scales: Scales, folders: dict[str, str]) -> None:
    import weakref

    scales.read = load
    made = bench(*settings(folders, "one", "two"))
    made.send(Submit(replace(TASK, handle=1)))
    made.finished(1)
    unet = weakref.ref(made.models.find("one").loaded.pipeline.unet)
    made.send(api.UnloadModel("one"))
    made.until(lambda: made.info("one").state == ModelState.AVAILABLE)
    made.models.worker.wait()
    assert unet() is None


def test_a_pinned_model_stays_and_is_loaded_at_the_start(bench: Any, scales: Scales, folders: dict[str, str]) -> None:
    pinned = replace(settings(folders, "xl")[0], pinned=True)
    made = bench(*settings(folders, "one", "two"), pinned, budget=budget(folders, "one", "xl"))
    made.until(lambda: made.info("xl").state == ModelState.LOADED)
    assert made.info("xl").pinned
    for handle, name in enumerate(("one", "two", "one")):
        made.send(Submit(replace(TASK, handle=handle, model=name)))
        made.finished(handle)
    assert made.states("xl") == ["loaded"]
    assert scales.loads == ["one", "xl", "two", "one"]


def test_a_model_too_large_for_the_budget_is_never_loaded(bench: Any, scales: Scales, folders: dict[str, str]) -> None:
    made = bench(*settings(folders, "one", "xl"), budget=budget(folders, "one"))
    assert made.info("xl").state == ModelState.FAILED
    assert "raise it, or use a smaller dtype" in made.info("xl").message
    made.send(Submit(replace(TASK, model="xl")))
    assert "memory_budget is" in made.finished(1)[0].message
    assert scales.loads == ["one"]


def test_a_busy_model_makes_room_too(bench: Any, scales: Scales, folders: dict[str, str]) -> None:
    """As long as the other one waits it takes no new tasks: it could be busy for ever."""
    made = bench(*settings(folders, "one", "two"), budget=budget(folders, "one"))
    made.send(Submit(replace(TASK, handle=1, steps=10)))
    made.until(lambda: made.of(api.Progress, 1))
    made.send(Submit(replace(TASK, handle=2, model="two")))
    made.until(lambda: made.of(api.Progress, 1)[2:])
    made.send(Submit(replace(TASK, handle=3)))
    reports = made.finished(1, 2, 3)
    assert all(isinstance(report, api.Finished) for report in reports)
    order = [report.handle for report in made.of(api.Finished)]
    assert order == [1, 2, 3]
    assert scales.loads == ["one", "two", "one"]


# ---------------------------------------------------------------------------------------------- commands


def test_models_come_and_go_while_others_work(bench: Any, folders: dict[str, str], tmp_path: Path) -> None:
    made = bench(*settings(folders, "one"))
    made.send(Submit(replace(TASK, handle=1, steps=100)))
    made.until(lambda: made.of(api.Progress, 1))
    made.send(api.AddModel(settings(folders, "xl")[0]))
    made.until(lambda: made.info("xl").state == ModelState.AVAILABLE)
    assert made.info("xl").card.pipeline_class == "StableDiffusionXLPipeline"
    made.send(Submit(replace(TASK, handle=2, model="xl", steps=50)))
    made.until(lambda: made.of(api.Progress, 2))
    made.send(api.RemoveModel("xl"), Submit(replace(TASK, handle=3, model="xl")))
    assert isinstance(made.finished(2)[0], api.Finished), "what ran on it was not let finish"
    assert "not served any more; served are one" in made.finished(3)[0].message
    assert [r.name for r in made.of(api.ModelRemoved)] == ["xl"]
    assert not made.of(api.Finished, 1), "the other task was to run all the time"
    made.send(api.AddModel(ModelSettings(str(tmp_path), "empty")))
    made.until(lambda: made.info("empty").state == ModelState.FAILED)
    assert "model_index.json" in made.info("empty").message
    made.send(api.AddModel(replace(settings(folders, "two")[0], name="empty")))
    made.until(lambda: made.info("empty").state == ModelState.AVAILABLE)
    made.send(Cancel(1), api.RemoveModel("nobody"), api.LoadModel("nobody"), api.UnloadModel("nobody"))


def test_a_task_that_waits_for_a_model_that_is_removed_fails(
    bench: Any, scales: Scales, folders: dict[str, str]
) -> None:
    made = bench(*settings(folders, "one", "xl"))
    go = scales.hold("xl")
    made.send(Submit(replace(TASK, handle=1, model="xl")))
    made.until(lambda: made.states("xl"))
    assert scales.begun.wait(SECONDS)
    made.send(api.RemoveModel("xl"))
    assert "not served any more" in made.finished(1)[0].message
    go.set()
    made.send(Submit(replace(TASK, handle=2)))
    made.finished(2)
    assert [info.name for info in made.models.infos()] == ["one"]


def test_unload_waits_for_the_last_task_and_the_next_one_loads_it_again(
    bench: Any, scales: Scales, folders: dict[str, str]
) -> None:
    made = bench(*settings(folders, "one", "two"))
    made.send(Submit(replace(TASK, handle=1, steps=10)))
    made.until(lambda: made.of(api.Progress, 1))
    made.send(api.UnloadModel("one"), Submit(replace(TASK, handle=2)))
    first, second = made.finished(1, 2)
    assert (type(first), type(second)) == (api.Finished, api.Finished)
    assert made.states("one")[-3:] == ["loading", "loading", "loaded"] or made.states("one")[-2:] == [
        "loading",
        "loaded",
    ]
    assert scales.loads == ["one", "one"]
    made.send(api.LoadModel("one"))
    assert made.until(lambda: made.states("one"))[-1] == "loaded"


def test_adapters_put_into_the_folder_later_are_found(
    bench: Any, folders: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models_module, "RESCAN_S", 0.0)
    made = bench(*settings(folders, "one", adapters_dir=str(tmp_path)))
    (tmp_path / "ink.safetensors").write_bytes(b"no")
    (tmp_path / "old.bin").write_bytes(b"no")
    made.until(lambda: made.info("one").adapters == ("ink",))
    assert made.of(api.ModelChanged)[-1].model.adapters == ("ink",)
    for handle, name in ((1, "wool"), (2, "ink"), (3, str(tmp_path / "ink.safetensors"))):
        made.send(Submit(replace(TASK, handle=handle, adapters=(api.Adapter(name),))))
    unknown, broken, path = made.finished(1, 2, 3)
    assert unknown.message == "adapters: one has no adapter 'wool'; it has ink"
    assert "ink.safetensors does not fit" in broken.message
    assert "has no adapter" in path.message
    made.send(Submit(replace(TASK, handle=4)))
    assert isinstance(made.finished(4)[0], api.Finished)


# ---------------------------------------------------------------------------------------------- the gate


def test_what_a_load_changes_in_the_whole_process_is_hidden_from_the_engine_loop(
    folders: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 16-bit load sets torch's default number type: seen by a loop that does not wait at the gate."""
    gate, seen, entered = Gate(), [], threading.Event()
    original = torch.nn.Conv2d.__init__

    def slow(self: Any, *args: Any, **kwargs: Any) -> None:
        entered.set()
        original(self, *args, **kwargs)

    monkeypatch.setattr(torch.nn.Conv2d, "__init__", slow)
    thread = threading.Thread(target=load, args=(ModelSettings(folders["xl"], dtype="bfloat16"), gate))
    thread.start()
    assert entered.wait(SECONDS)
    while thread.is_alive():
        with gate:
            seen.append((torch.zeros(1).dtype, torch.nn.Linear(1, 1).weight.device.type))
    thread.join()
    assert set(seen) == {(torch.float32, "cpu")}


def test_the_gate_is_open_while_weights_are_read(folders: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    from diffusers.models.modeling_utils import ModelMixin

    gate, passed, waited = Gate(), [], []
    original = ModelMixin.__dict__["_load_pretrained_model"].__func__

    def reading(cls: Any, *args: Any, **kwargs: Any) -> Any:
        thread = threading.Thread(target=lambda: (gate.__enter__(), passed.append(cls.__name__), gate.__exit__()))
        thread.start()
        thread.join(SECONDS)
        waited.append(thread.is_alive())
        return original(cls, *args, **kwargs)

    monkeypatch.setattr(ModelMixin, "_load_pretrained_model", classmethod(reading))
    load(ModelSettings(folders["one"]), gate)
    assert {"UNet2DConditionModel", "AutoencoderKL"} <= set(passed)
    assert not any(waited), "the gate was shut"
