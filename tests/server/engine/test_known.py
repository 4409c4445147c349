"""What is known of a pipeline is what the pipeline would say, also after it was moved, hooked or configured anew."""

import inspect
from typing import Any

import diffusers
import numpy
import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, SchedulerMixin
from diffusers.hooks import group_offloading
from hub_lab import FAMILIES, QUIET

from pixwire_server.engine import known

pytestmark = [*QUIET, pytest.mark.filterwarnings("ignore:__array_wrap__ must accept context:DeprecationWarning")]


def schedulers() -> list[type[Any]]:
    """All of diffusers that are made without arguments."""
    found = [getattr(diffusers, name) for name in dir(diffusers) if name.endswith("Scheduler")]
    kinds = [kind for kind in found if isinstance(kind, type) and issubclass(kind, SchedulerMixin)]
    return [kind for kind in kinds if made(kind) is not None]


def made(kind: type[Any]) -> Any:
    try:
        return kind()
    except (TypeError, ValueError, ImportError):
        return None


def same(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one.nan_to_num(-1.0), other.nan_to_num(-1.0))
    if isinstance(one, numpy.ndarray):
        return numpy.array_equal(one, other)  # type: ignore[arg-type]
    if inspect.isfunction(one) and inspect.isfunction(other):
        return one.__code__ == other.__code__
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    return type(one) is type(other) and one == other


def differing(one: Any, other: Any) -> list[str]:
    """Names of attributes in which two schedulers differ."""
    names = vars(one).keys() | vars(other).keys()
    return [name for name in names if not same(vars(one).get(name), vars(other).get(name))]


def test_a_fresh_scheduler_is_as_one_from_its_configuration_and_shares_nothing_with_the_next() -> None:
    kinds = schedulers()
    assert len(kinds) > 30
    for kind in kinds:
        pattern = kind()
        expected = kind.from_config(pattern.config)
        first = known.fresh_scheduler(pattern)
        assert type(first) is kind
        assert differing(first, expected) == []
        for value in vars(first).values():  # whatever a run may write into
            if isinstance(value, torch.Tensor | numpy.ndarray):
                value[...] = 7
            elif isinstance(value, list):
                value.append("used")
        assert differing(known.fresh_scheduler(pattern), expected) == []


def test_the_pattern_itself_may_be_used_and_configured_anew() -> None:
    pattern = DDIMScheduler(prediction_type="sample")
    pattern.set_timesteps(5)
    assert len(known.fresh_scheduler(pattern).timesteps) == 1000
    pattern.register_to_config(prediction_type="v_prediction")
    assert known.fresh_scheduler(pattern).config.prediction_type == "v_prediction"


def test_what_cannot_be_copied_is_made_from_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    built = EulerDiscreteScheduler.__init__

    def with_more(self: Any, *args: Any, **kwargs: Any) -> None:
        built(self, *args, **kwargs)
        self.own = {"a": object()}

    monkeypatch.setattr(EulerDiscreteScheduler, "__init__", with_more)
    pattern = EulerDiscreteScheduler()
    assert known.fresh_scheduler(pattern).own is not known.fresh_scheduler(pattern).own


def test_a_view_is_of_the_pipelines_kind_and_answers_as_it_does() -> None:
    pipeline = FAMILIES["sd15"].pipeline()
    view = known.view_of(pipeline)
    kind, seen = type(pipeline), type(view)
    assert isinstance(view, kind)
    assert (seen.__name__, seen.__qualname__, seen.__module__) == (kind.__name__, kind.__qualname__, kind.__module__)
    assert view.components == pipeline.components
    assert (view.device, view._execution_device, view.dtype) == (pipeline.device, pipeline.device, pipeline.dtype)
    assert kind is type(pipeline), "the pipeline's own class stays"
    other = FAMILIES["flux"].pipeline()
    assert seen._get_signature_keys(other) == type(other)._get_signature_keys(other), "asked for another kind"


def test_modules_are_walked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = FAMILIES["sd15"].pipeline()
    assert known.view_of(pipeline)._execution_device == torch.device("cpu")
    monkeypatch.setattr(group_offloading, "_get_group_onload_device", lambda module: 1 / 0)
    view = known.view_of(pipeline)
    assert (view._execution_device, view.device) == (torch.device("cpu"), torch.device("cpu"))


def test_a_pipeline_that_was_moved_or_hooked_is_looked_at_anew() -> None:
    pipeline = FAMILIES["sd15"].pipeline()
    assert known.device_of(pipeline).type == "cpu"

    class Hook:
        execution_device = "meta"

    pipeline.unet._hf_hook = pipeline.vae._hf_hook = pipeline.text_encoder._hf_hook = Hook()
    view = known.view_of(pipeline)
    assert view._execution_device == pipeline._execution_device == torch.device("meta")
    pipeline.unet.to("meta")
    assert view.device == torch.device("cpu"), "asked now, as its parts may move"
    pipeline.text_encoder.to("meta")
    assert view.device == torch.device("meta")
    for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        del part._hf_hook
        part.to("meta")
    assert known.device_of(pipeline) == known.view_of(pipeline).device == torch.device("meta")


def test_a_module_of_another_type_is_looked_at_anew() -> None:
    unet = FAMILIES["sd15"].pipeline().unet
    assert (known.of_module(unet, "dtype"), known.of_module(unet, "device").type) == (torch.float32, "cpu")
    unet.to(torch.float64)
    assert known.of_module(unet, "dtype") == torch.float64
    assert known.of_module(unet.to("meta"), "device").type == "meta"


def test_a_module_without_parameters_is_asked_itself() -> None:
    class Empty(torch.nn.Module):
        dtype = torch.int8

    assert known.of_module(Empty(), "dtype") == torch.int8
    with pytest.raises(AttributeError):
        known.of_module(Empty(), "device")


def test_how_a_method_is_called_is_told_without_self() -> None:
    assert list(known.signature_of(DDIMScheduler(), "step").parameters)[:3] == ["model_output", "timestep", "sample"]
