"""Several models in one engine: which are loaded, what is said of those that cannot be, and how they share it."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_control
import tiny_more
import tiny_pipelines as tiny
import tiny_rare
from hub_lab import QUIET
from models_lab import TASK, Scales, loaded, settings

from pixwire_server.engine import api
from pixwire_server.engine import models as models_module
from pixwire_server.engine.api import Cancel, ModelSettings, ModelState, Submit
from pixwire_server.engine.folder import ModelRefusedError
from pixwire_server.engine.loader import expected_bytes, load

pytestmark = QUIET


# ---------------------------------------------------------------------------------------------- the start


def test_the_first_model_is_loaded_at_the_start_and_of_the_others_only_the_card_is_known(
    bench: Any, scales: Scales, folders: dict[str, str]
) -> None:
    made = bench(*settings(folders, "one", "xl"))
    first, second = made.infos
    assert (first.name, first.state, second.name, second.state) == (
        "one",
        ModelState.LOADED,
        "xl",
        ModelState.AVAILABLE,
    )
    assert scales.loads == ["one"]
    assert first.bytes > second.bytes == 0
    assert second.card == loaded(made.models.find("xl").settings).card, "the card of the unloaded model is another one"


@pytest.mark.parametrize(
    "build", [tiny.sd15, tiny.sdxl, tiny_more.lcm, tiny_more.sd2, tiny_control.controlnet, tiny_rare.sdxl_refiner]
)
def test_a_card_without_weights_is_that_of_the_loaded_model(build: Callable[[], Any], tmp_path: Path) -> None:
    build().save_pretrained(tmp_path / "model")
    asked = ModelSettings(str(tmp_path / "model"), "model")
    found = models_module.probe(asked, models_module.CardCache(""))
    assert found is not None
    loaded = load(asked)
    assert found == loaded.card
    # Constant tables (positions, betas) are in no file: a few percent of these tiny models, nothing of real ones.
    assert expected_bytes(asked) == pytest.approx(loaded.bytes, rel=0.1)


def test_cards_are_remembered_until_the_folder_changes(
    folders: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(folders["one"], tmp_path / "model"))
    asked, cache = ModelSettings(str(folder), "model"), models_module.CardCache(str(tmp_path / "cards"))
    card = models_module.probe(asked, cache)
    built = []
    monkeypatch.setattr("pixwire_server.engine.probe._hollow", lambda folder, index: built.append(folder))
    assert models_module.probe(asked, cache) == card
    assert models_module.probe(replace(asked, name="other"), cache) == replace(card, name="other")
    assert not built
    (folder / "pixwire_defaults.json").write_text(json.dumps({"steps": 9}))
    assert models_module.probe(asked, cache) is None
    assert built == [folder]
    for file in (tmp_path / "cards").iterdir():
        file.write_text("no card")
    (folder / "pixwire_defaults.json").unlink()
    assert models_module.probe(asked, cache) is None, "a damaged file was believed"


def test_models_that_cannot_be_served_are_listed_with_the_reason_and_the_others_work(
    bench: Any, folders: dict[str, str], tmp_path: Path
) -> None:
    cut = Path(shutil.copytree(folders["xl"], tmp_path / "cut"))
    weights = next((cut / "unet").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-100])
    pickled = Path(shutil.copytree(folders["one"], tmp_path / "pickled"))
    for file in (pickled / "vae").glob("*.safetensors"):
        file.rename(file.with_suffix(".ckpt"))
    future = Path(shutil.copytree(folders["one"], tmp_path / "future"))
    index = json.loads((future / "model_index.json").read_text())
    (future / "model_index.json").write_text(json.dumps(index | {"_class_name": "FuturePipeline"}))
    names = {
        "cut": "100 bytes are missing",
        "pickled": "safe_serialization=True",
        "future": "has no pipeline FuturePipeline",
    }
    made = bench(*settings(folders, "one"), *(ModelSettings(str(tmp_path / name), name) for name in names))
    for name, words in names.items():
        assert made.info(name).state == ModelState.FAILED
        assert words in made.info(name).message
    made.send(*(Submit(replace(TASK, handle=n, model=name)) for n, name in enumerate(("one", *names))))
    finished, *failed = made.finished(0, 1, 2, 3)
    assert isinstance(finished, api.Finished)
    for report, words in zip(failed, names.values(), strict=True):
        assert report.kind == api.FailureKind.MODEL_UNAVAILABLE
        assert words in report.message


def test_an_engine_without_any_model_to_serve_does_not_start(bench: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelRefusedError, match=r"empty holds no model_index\.json.*nowhere holds no"):
        bench(ModelSettings(str(tmp_path / "empty")), ModelSettings(str(tmp_path / "nowhere")))


def test_an_engine_whose_last_model_was_removed_starts_again_and_takes_a_new_one(
    bench: Any, folders: dict[str, str]
) -> None:
    made = bench()
    assert made.infos == ()
    made.send(Submit(TASK))
    assert made.finished(1)[0].message == "model '' is not served any more; served are none at all"
    made.send(api.AddModel(settings(folders, "one")[0]), Submit(replace(TASK, handle=2)))
    assert isinstance(made.finished(2)[0], api.Finished)


def test_weights_that_are_missing_in_a_whole_file_are_noticed(folders: dict[str, str], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(folders["one"], tmp_path / "model"))
    file = next((folder / "text_encoder").glob("*.safetensors"))
    tensors = load_file(file)
    tensors.pop(next(name for name in tensors if name.endswith("mlp.fc1.weight")))
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(ModelRefusedError, match=r"the files lack 1 weights \(.*mlp\.fc1\.weight\)"):
        load(ModelSettings(str(folder)))


# ---------------------------------------------------------------------------------------------- side by side


def test_two_families_step_side_by_side_and_make_the_images_they_make_alone(
    bench: Any, folders: dict[str, str]
) -> None:
    tasks = [replace(TASK, handle=n, model=name, seed=n) for n, name in enumerate(("one", "xl", "two", "one"))]
    alone = []
    for task in tasks:
        single = bench(*settings(folders, task.model))
        single.send(Submit(task))
        alone.append(single.finished(task.handle)[0].images[0].data)
    made = bench(*settings(folders, "one", "two", "xl"))
    for name in ("two", "xl"):
        made.send(api.LoadModel(name))
        made.until(lambda name=name: made.info(name).state == ModelState.LOADED)
    made.send(*map(Submit, tasks))
    together = made.finished(0, 1, 2, 3)
    assert [report.images[0].data for report in together] == alone
    order = [report.handle for report in made.reports if isinstance(report, api.Progress)]
    assert order[:4] != sorted(order)[:4], "one model ran to its end before the other began"
    shares = [report.stats.pass_share for report in together]
    assert shares[1] == shares[2] == 4.0, "requests of different models shared a pass"
    assert shares[0] < 4.0, "requests of one model shared none"


def test_a_task_waits_for_its_model_while_the_others_go_on_stepping(
    bench: Any, scales: Scales, folders: dict[str, str]
) -> None:
    made = bench(*settings(folders, "one", "xl"))
    go = scales.hold("xl")
    made.send(Submit(replace(TASK, handle=1, model="xl")), Submit(replace(TASK, handle=2, steps=8)))
    made.finished(2)
    assert made.service.heartbeat().resident == 1
    assert not made.of(api.Started, 1)
    assert made.states("xl") == [ModelState.LOADING]
    go.set()
    assert isinstance(made.finished(1)[0], api.Finished)
    assert made.states("xl") == [ModelState.LOADING, ModelState.LOADED]
    assert made.info("xl").bytes > 0


def test_a_task_that_waits_can_be_cancelled_and_watched(bench: Any, scales: Scales, folders: dict[str, str]) -> None:
    made = bench(*settings(folders, "one", "xl"))
    go = scales.hold("xl")
    for handle in (1, 2):
        made.send(Submit(replace(TASK, handle=handle, model="xl")))
    made.send(api.SetPreviews(2, True), Cancel(1), Submit(replace(TASK, handle=2)))  # the last: a handle in use
    go.set()
    cancelled, finished = made.finished(1, 2)
    assert (type(cancelled), cancelled.step, type(finished)) == (api.Cancelled, 0, api.Finished)
    assert len(made.of(api.Left, 1)) == len(made.of(api.Left, 2)) == 1
    made.until(lambda: made.of(api.PreviewReady, 2))


def test_a_load_that_fails_fails_its_tasks_and_nothing_else(
    bench: Any, scales: Scales, folders: dict[str, str]
) -> None:
    made = bench(*settings(folders, "one", "xl"))
    go = scales.hold("xl")
    scales.broken["xl"] = MemoryError("no room")
    made.send(Submit(replace(TASK, handle=1, steps=20)), Submit(replace(TASK, handle=2, model="xl")))
    made.until(lambda: made.of(api.Progress, 1))
    go.set()
    failed, finished = made.finished(2, 1)
    assert failed.kind == api.FailureKind.MODEL_UNAVAILABLE
    assert "'xl' cannot be loaded: " in failed.message
    assert "MemoryError: no room" in failed.message
    assert isinstance(finished, api.Finished)
    made.send(Submit(replace(TASK, handle=3, model="xl")))
    assert "no room" in made.finished(3)[0].message
    assert scales.loads == ["one", "xl"], "tasks alone do not try again"
    del scales.broken["xl"]
    made.send(api.LoadModel("xl"))
    made.until(lambda: made.info("xl").state == ModelState.LOADED)
    assert made.info("xl").message == ""


def test_an_unknown_model_is_refused_with_those_there_are(bench: Any, folders: dict[str, str]) -> None:
    made = bench(*settings(folders, "one", "two"))
    made.send(Submit(replace(TASK, model="three")))
    failed = made.finished(1)[0]
    assert (failed.kind, failed.message) == (
        api.FailureKind.MODEL_UNAVAILABLE,
        "model 'three' is not served any more; served are one, two",
    )
