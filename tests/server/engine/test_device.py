"""What a GPU does to its process: full memory in several words, memory that must not be kept, and a lost device, from
which only another process recovers. With a device that is told how to behave.
"""

import functools
import gc
import threading
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hub_lab import FAMILIES, QUIET, Lab, distance, plain
from models_lab import TASK, Scales, settings

from pixwire_server.engine import api, child, collate, delivery, device, library, loader, passes
from pixwire_server.engine.api import EngineConfig, ModelSettings, ModelState, Submit
from pixwire_server.engine.batch_key import Fingerprints, sign
from pixwire_server.engine.folder import LoadFailedError, ModelRefusedError
from pixwire_server.engine.loader import choose_dtype, load
from pixwire_server.engine.models import Models
from pixwire_server.engine.proxy import ModuleProxy
from pixwire_server.engine.request import Request
from pixwire_server.engine.service import Service
from pixwire_server.engine.tuning import bucket
from pixwire_server.engine.worker import Worker

pytestmark = QUIET

SD15 = FAMILIES["sd15"]
ILLEGAL = torch.AcceleratorError("CUDA error: an illegal memory access was encountered")


class ToldCuda:
    """In place of torch.cuda: lost when a test says so."""

    def __init__(self) -> None:
        self.lost = False

    def is_initialized(self) -> bool:
        return True

    def synchronize(self) -> None:
        if self.lost:
            raise ILLEGAL

    def empty_cache(self) -> None: ...


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> ToldCuda:
    told = ToldCuda()
    monkeypatch.setattr(device, "_cuda", told)
    return told


@pytest.fixture
def no_collector() -> Iterator[None]:
    """What is freed now nobody refers to."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


# ---------------------------------------------------------------------------------------------- full memory


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (MemoryError(), True),
        (torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be reported later"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 TB"), True),
        (ILLEGAL, False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"), False),
        (ValueError("CUDA error: out of memory"), False),
    ],
)
def test_full_memory_is_known_by_its_words(error: Exception, full: bool) -> None:
    assert device.is_out_of_memory(error) is full


def test_a_request_that_has_ended_keeps_no_tensor_until_the_collector_comes(no_collector: None) -> None:
    lab = Lab(SD15.pipeline())
    request = lab.submit(0, SD15.job(0))
    lab.run()
    known = weakref.ref(request), weakref.ref(request.result[0])
    lab.requests.clear()
    del request
    assert [one() is None for one in known] == [True, True]


def test_a_failed_request_keeps_no_tensor_either(no_collector: None) -> None:
    pipeline, seen = SD15.pipeline(), []

    def fail(sample: torch.Tensor, *_: Any, **__: Any) -> None:
        activations = sample * 2
        seen.append(weakref.ref(activations))
        raise ValueError("of no use")

    pipeline.unet.forward = fail
    lab = Lab(pipeline)
    lab.submit(0, SD15.job(0))
    lab.run()
    assert str(lab.requests[0].error) == "of no use"
    assert seen[0]() is None, "the traceback holds what the pass had computed"


def test_a_chain_of_errors_loses_its_variables() -> None:
    seen = []

    def first() -> None:
        tensor = torch.zeros(1)
        seen.append(weakref.ref(tensor))
        raise ValueError("first")

    def second() -> None:
        try:
            first()
        except ValueError as error:
            raise RuntimeError("second") from error

    try:
        second()
    except RuntimeError as error:
        kept = device.without_locals(error)
    assert str(kept.__cause__) == "first"
    assert seen[0]() is None


def test_a_compiled_model_may_write_its_next_answer_where_the_last_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """As CUDA graphs do. Sixteen rows of one request take several passes, whose answers are joined."""
    pipeline = SD15.pipeline()
    job = {"num_images_per_prompt": 4, "guidance_scale": 4.0, "num_inference_steps": 2}
    expected = plain(pipeline, SD15.job(0, **job))
    forward = pipeline.unet.forward
    places: dict[torch.Size, torch.Tensor] = {}

    @functools.wraps(forward)
    def as_a_graph(*args: Any, **kwargs: Any) -> Any:
        (answer,) = forward(*args, **kwargs)
        return (places.setdefault(answer.shape, torch.empty_like(answer)).copy_(answer),)

    monkeypatch.setattr(pipeline.unet, "forward", as_a_graph)
    lab = Lab(pipeline, max_rows=4)
    lab.submit(0, SD15.job(0, **job), fill=bucket)
    lab.run()
    assert distance(lab.images(0), expected) < 1e-4


# ---------------------------------------------------------------------------------------------- a lost device


def test_a_device_is_lost_when_it_answers_nothing_any_more(cuda: ToldCuda) -> None:
    assert not device.is_lost()
    cuda.lost = True
    assert device.is_lost()


def test_without_a_gpu_nothing_is_lost() -> None:
    assert not device.is_lost()


def test_tasks_that_meet_a_lost_device_do_not_fail_but_the_engine_ends(
    bench: Any, folders: dict[str, str], cuda: ToldCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = bench(*settings(folders, "one"))

    def lose(*_: Any, **__: Any) -> None:
        cuda.lost = True
        raise ILLEGAL

    for handle in (1, 2):
        made.send(Submit(replace(TASK, handle=handle, seed=handle)))
    made.until(lambda: made.of(api.Progress, 2))
    with monkeypatch.context() as patch:
        patch.setattr(made.models.find("one").loaded.pipeline.unet, "forward", lose)
        with pytest.raises(torch.AcceleratorError, match="illegal memory access"):
            made.until(lambda: False)
    assert not made.of(api.Failed)


def test_a_device_that_is_lost_under_a_picture_ends_the_engine_too(
    bench: Any, folders: dict[str, str], cuda: ToldCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = bench(*settings(folders, "one"))

    def lose(*_: Any) -> None:
        cuda.lost = True
        raise ILLEGAL

    monkeypatch.setattr(delivery, "files", lose)
    made.send(Submit(TASK))
    with pytest.raises(torch.AcceleratorError, match="illegal memory access"):
        made.until(lambda: False)
    assert not made.of(api.Failed)


def test_an_error_that_the_device_survives_fails_its_task_alone(
    bench: Any, folders: dict[str, str], cuda: ToldCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = bench(*settings(folders, "one"))

    def fail(*_: Any) -> None:
        raise torch.AcceleratorError("CUDA error: no kernel image is available for execution on the device")

    with monkeypatch.context() as patch:
        patch.setattr(delivery, "files", fail)
        made.send(Submit(TASK))
        assert "no kernel image" in made.finished(1)[0].message
    made.send(Submit(replace(TASK, handle=2)))
    assert isinstance(made.finished(2)[0], api.Finished)


def test_a_load_that_meets_a_lost_device_ends_the_engine(
    bench: Any, scales: Scales, folders: dict[str, str], cuda: ToldCuda
) -> None:
    made = bench(*settings(folders, "one", "two"))
    scales.broken["two"], cuda.lost = ILLEGAL, True
    made.send(Submit(replace(TASK, model="two")))
    with pytest.raises(torch.AcceleratorError):
        made.until(lambda: False)
    assert made.info("two").state == ModelState.LOADING


class Ears:
    """In place of the child's link."""

    def __init__(self) -> None:
        self.heard: list[api.Report] = []
        self.emit = self.heard.append

    def next_command(self, timeout: float) -> None: ...

    def wake(self) -> None: ...


@pytest.mark.parametrize(
    ("error", "status"),
    [(LoadFailedError("full"), api.EXIT_FAILED), (ModelRefusedError("full"), api.EXIT_REFUSED)],
)
def test_the_exit_status_tells_whether_another_start_may_do(
    error: Exception, status: int, saved_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(Models, "begin", fail)
    ears: Any = Ears()
    assert child._serve(ears, EngineConfig((ModelSettings(str(saved_model)),), threads=1)) == status
    assert ears.heard == [api.Refused("full")]


def test_an_engine_that_cannot_go_on_leaves(saved_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ILLEGAL

    monkeypatch.setattr(Service, "tick", fail)
    monkeypatch.setattr(child, "Pulse", lambda emit: SimpleNamespace())
    ears: Any = Ears()
    assert child._serve(ears, EngineConfig((ModelSettings(str(saved_model)),), threads=1)) == api.EXIT_FAILED
    assert isinstance(ears.heard[-1], api.Ready)


# ---------------------------------------------------------------------------------------------- models and memory


@pytest.mark.parametrize(
    ("error", "raised"),
    [(torch.OutOfMemoryError("CUDA out of memory"), LoadFailedError), (ModelRefusedError("no"), ModelRefusedError)],
)
def test_a_start_is_hopeless_only_where_the_models_are(
    bench: Any, scales: Scales, folders: dict[str, str], error: Exception, raised: type[Exception]
) -> None:
    scales.broken["one"] = error
    with pytest.raises(raised, match=str(error)):
        bench(*settings(folders, "one"))


def test_a_load_that_fails_half_way_gives_its_memory_back(
    bench: Any, scales: Scales, folders: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = bench(*settings(folders, "one", "two"))
    scales.read, seen = load, []

    def full(pipeline: Any, *_: Any) -> None:
        seen.append(weakref.ref(pipeline.unet))
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(loader, "_prepare", full)
    gc.disable()
    try:
        made.send(Submit(replace(TASK, model="two")))
        assert "CUDA out of memory" in made.finished(1)[0].message
        made.models.worker.wait()
        assert seen[0]() is None
    finally:
        gc.enable()


def test_the_workers_errors_hold_nothing() -> None:
    seen: list[Any] = []

    def work() -> None:
        weights = torch.zeros(1)
        seen.append(weakref.ref(weights))
        raise ValueError("no")

    outcomes: list[Any] = []
    worker = Worker()
    worker.run(work, outcomes.append)
    worker.wait()
    worker.deliver()
    assert str(outcomes[0]) == "no"
    assert seen[0]() is None


def test_a_model_stays_until_its_last_images_are_read(
    bench: Any, folders: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, its memory is not free: another model loaded into it would find the device full."""
    made, read, go = bench(*settings(folders, "one")), threading.Event(), threading.Event()
    files = delivery.files

    def wait(*given: Any) -> Any:
        read.set()
        assert go.wait(20.0)
        return files(*given)

    monkeypatch.setattr(delivery, "files", wait)
    made.send(Submit(TASK))
    while made.service.tick():
        pass
    assert read.wait(20.0)
    made.send(api.UnloadModel("one"))
    made.service.tick()
    assert made.info("one").state == ModelState.LOADED
    go.set()
    made.until(lambda: made.info("one").state == ModelState.AVAILABLE)
    assert made.of(api.Finished, 1)


def test_models_for_the_processor_do_not_touch_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    def tell() -> tuple[int, int]:
        asked.append("memory")
        return 50, 100

    monkeypatch.setattr(torch.cuda, "mem_get_info", tell)
    assert library.memory([ModelSettings("a", device="cpu")]) > 100
    assert not asked
    assert library.memory([ModelSettings("a", device="cpu"), ModelSettings("b")]) == 80


def test_a_gpu_that_only_imitates_bfloat16_computes_in_float16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert choose_dtype("auto", torch.device("cuda")) is torch.float16
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    assert choose_dtype("auto", torch.device("cuda")) is torch.bfloat16


def test_weights_are_narrowed_before_they_go_to_the_device(saved_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[set[torch.dtype]] = []
    prepare = loader._prepare

    def note(pipeline: Any, *given: Any) -> None:
        moved.append({parameter.dtype for parameter in pipeline.unet.parameters()})
        prepare(pipeline, *given)

    monkeypatch.setattr(loader, "_prepare", note)
    load(ModelSettings(str(saved_model), quantization="float8"))
    assert torch.float8_e4m3fn in moved[0]


def test_a_lower_cap_frees_what_only_circles_hold(cuda: ToldCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    freed: list[bool] = []
    monkeypatch.setattr(passes, "free_memory", lambda: freed.append(True))
    pipeline = SD15.pipeline()
    forward = pipeline.unet.forward

    @functools.wraps(forward)
    def limit(sample: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if len(sample) > 1:
            raise torch.AcceleratorError("CUDA error: out of memory")
        return forward(sample, *args, **kwargs)

    pipeline.unet.forward = limit
    lab = Lab(pipeline)
    lab.submit(0, SD15.job(0))
    lab.run()
    assert lab.images(0).shape == (1, 3, 32, 32)
    assert freed == [True]


# ---------------------------------------------------------------------------------------------- two devices

META = torch.device("meta")  # a device that is not the processor, everywhere


def test_timesteps_go_where_the_latents_are_that_come_in_a_list() -> None:
    """Z-Image takes one tensor an image; its timesteps stayed on the processor, and no GPU computes with these."""
    arguments = {
        "x": [torch.zeros(4, 1, 8, 8, device=META)],
        "t": torch.tensor([0.5]),
        "cap_feats": [torch.zeros(5, 16, device=META)],
    }
    signature = sign("transformer", "ZImageTransformer2DModel", arguments, Fingerprints())
    assert not signature.alone
    call: Any = SimpleNamespace(arguments=arguments, signature=signature)
    assert collate.gather([call, call])["t"].device == META


def test_a_module_that_is_carried_to_the_device_gets_its_arguments_as_they_are() -> None:
    """Offloaded one by one its weights are nowhere, and what is brought to nowhere has no values any more."""

    class Away(torch.nn.Linear):
        device = META

    module = Away(2, 2, device=META)
    got: list[Any] = []
    proxy = ModuleProxy(module, "unet", {"": "denoise"}, Request(1, {}), got.append)
    for hook in (True, False):
        if hook:
            module._hf_hook = object()  # type: ignore[assignment]
        else:
            del module._hf_hook
        proxy(input=torch.ones(1, 2))
    assert [call.signature.alone for call in got] == [True, True]
    assert [call.arguments["input"].device.type for call in got] == ["cpu", "meta"]
