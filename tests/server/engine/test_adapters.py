"""LoRA adapters: one model, a set of adapters for every request."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_lab import FAMILIES, QUIET, Lab, distance, plain

from pixwire_server.engine.adapters import AdapterError, Adapters
from pixwire_server.engine.api import (
    Adapter,
    EngineConfig,
    Failed,
    FailureKind,
    Finished,
    GenerateTask,
    Left,
    ModelSettings,
    Submit,
)
from pixwire_server.engine.models import Models
from pixwire_server.engine.service import Service

peft = pytest.importorskip("peft")

pytestmark = QUIET

NAMES = ("sd15", "flux")
DENOISERS = {"sd15": "unet", "flux": "transformer"}


@pytest.fixture
def lora(tmp_path: Path) -> Callable[..., str]:
    """Makes adapter files for a family: `lora("sd15", seed)` -> path."""

    def make(name: str, seed: int) -> str:
        pipeline = FAMILIES[name].pipeline()
        part = DENOISERS[name]
        model = getattr(pipeline, part)
        torch.manual_seed(seed)
        model.add_adapter(peft.LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False))
        folder = tmp_path / f"{name}-{seed}"
        layers = {f"{part}_lora_layers": peft.get_peft_model_state_dict(model)}
        pipeline.save_lora_weights(folder, **layers, weight_name="lora.safetensors")
        return str(folder / "lora.safetensors")

    return make


@pytest.mark.parametrize("name", NAMES)
def test_requests_with_different_adapters_equal_single_runs_exactly_in_float64(
    name: str, lora: Callable[..., str]
) -> None:
    family = FAMILIES[name]
    one, two = lora(name, 1), lora(name, 2)
    sets = ((), (Adapter(one, 1.0),), (Adapter(one, 1.0),), (Adapter(one, 0.5), Adapter(two, 2.0)), ())
    base = family.pipeline(torch.float64)
    before = [plain(base, family.job(k, torch.float64)) for k in (0, 4)]
    pipeline = family.pipeline(torch.float64)
    adapters = Adapters(pipeline)
    lab = Lab(pipeline)
    for handle, wanted in enumerate(sets):
        adapters.acquire(wanted)
        lab.submit(handle, family.job(handle, torch.float64), adapters=wanted, switch=adapters.switch)
    lab.run()
    for handle, k in enumerate((0, 4)):
        assert distance(lab.images(k), before[handle]) == 0.0, "a request without adapters met one"
    base.load_lora_weights(one, adapter_name="one")
    base.load_lora_weights(two, adapter_name="two")
    for handle, (names, weights) in {1: ("one", 1.0), 2: ("one", 1.0), 3: (["one", "two"], [0.5, 2.0])}.items():
        base.set_adapters(names, weights)
        alone = plain(base, family.job(handle, torch.float64))
        assert distance(lab.images(handle), alone) == 0.0
    assert lab.requests[1].pass_share < lab.requests[1].passes, "equal sets did not share passes"
    base.disable_lora()
    assert distance(lab.images(1), plain(base, family.job(1, torch.float64))) > 0.001, "the adapter changed nothing"


def test_adapters_stay_in_memory_while_they_fit_or_are_used(lora: Callable[..., str]) -> None:
    pipeline = FAMILIES["sd15"].pipeline()
    adapters = Adapters(pipeline, capacity=2)
    sets = [(Adapter(lora("sd15", seed), 1.0),) for seed in range(4)]
    paths = [wanted[0].path for wanted in sets]
    for wanted in sets[:3]:
        adapters.acquire(wanted)
    assert adapters.loaded == tuple(paths[:3]), "all are in use"
    adapters.release(sets[1])
    assert adapters.loaded == (paths[0], paths[2])
    adapters.release(sets[0])
    adapters.release(sets[2])
    adapters.acquire(sets[0])
    adapters.release(sets[0])
    adapters.acquire(sets[3])
    assert adapters.loaded == (paths[0], paths[3]), "the least recently used one left"
    assert len(pipeline.get_list_adapters()["unet"]) == 2


def test_what_is_no_adapter_of_this_model_is_refused(lora: Callable[..., str], tmp_path: Path) -> None:
    pipeline = FAMILIES["sd15"].pipeline()
    before = plain(pipeline, FAMILIES["sd15"].job(0))
    adapters = Adapters(pipeline)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"no")
    pickle = tmp_path / "old.bin"
    pickle.write_bytes(b"no")
    for path, words in ((broken, "broken.safetensors does not fit"), (pickle, "only .safetensors files")):
        with pytest.raises(AdapterError, match=words):
            adapters.acquire((Adapter(lora("sd15", 1), 1.0), Adapter(str(path), 1.0)))
    adapters.switch(())
    assert torch.equal(plain(pipeline, FAMILIES["sd15"].job(0)), before)
    with pytest.raises(AdapterError, match="PixArtSigmaPipeline takes no LoRA"):
        Adapters(FAMILIES["pixart"].pipeline()).acquire((Adapter(str(broken), 1.0),))


def test_a_task_brings_its_adapters_along(saved_model: Path, lora: Callable[..., str], tmp_path: Path) -> None:
    reports: list[Any] = []
    settings = ModelSettings(str(saved_model), adapters_dir=str(tmp_path / "adapters"))
    Path(settings.adapters_dir).mkdir()
    shutil.copy(lora("sd15", 1), Path(settings.adapters_dir) / "wool.safetensors")
    models = Models()
    models.begin(EngineConfig((settings,)))
    service = Service(models, reports.append, max_rows=16, exact=False)
    task = GenerateTask(1, "cat dog", "", 32, 32, 3, 4.0, 7)
    service.handle(Submit(task))
    service.handle(Submit(replace(task, handle=2, adapters=(Adapter("wool", 1.0),))))
    service.handle(Submit(replace(task, handle=3, adapters=(Adapter("../wool", 1.0),))))
    while service.tick():
        pass
    service.close()
    made = {report.handle: report.images[0].data for report in reports if isinstance(report, Finished)}
    assert made[1] != made[2]
    left, failed = [report for report in reports if getattr(report, "handle", None) == 3]
    assert left == Left(3)
    assert isinstance(failed, Failed)
    assert failed.kind == FailureKind.INVALID_ARGUMENT
