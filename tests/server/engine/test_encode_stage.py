"""Text encoding: texts of several requests share passes, equal ones are encoded once, the cache is bounded in bytes."""

import functools
from typing import Any

import pytest
import torch
from hub_lab import FAMILIES, QUIET, Lab, distance, plain, run_all

from pixwire_server.engine.api import Adapter
from pixwire_server.engine.encode_cache import EncodeCache

pytestmark = QUIET


def counted(module: torch.nn.Module) -> list[int]:
    """The rows of every forward of a text encoder from now on."""
    rows: list[int] = []
    forward = module.forward

    @functools.wraps(forward)
    def watched(input_ids: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        rows.append(len(input_ids))
        return forward(input_ids, *args, **kwargs)

    module.forward = watched  # type: ignore[method-assign]
    return rows


@pytest.mark.parametrize("name", ["sd15", "sdxl", "sd3"])
def test_texts_of_several_requests_share_passes(name: str) -> None:
    family = FAMILIES[name]
    pipeline = family.pipeline(torch.float64)
    rows = counted(pipeline.text_encoder)
    jobs = [family.job(k, torch.float64, num_inference_steps=1) for k in (1, 2, 4)]
    lab = run_all(pipeline, jobs)
    assert rows == [3, 3], "prompts, then negative prompts"
    for handle, k in enumerate((1, 2, 4)):
        alone = plain(pipeline, family.job(k, torch.float64, num_inference_steps=1))
        assert distance(lab.images(handle), alone) == 0.0


def test_in_exact_mode_every_text_is_encoded_alone() -> None:
    family = FAMILIES["sd15"]
    pipeline = family.pipeline()
    rows = counted(pipeline.text_encoder)
    run_all(pipeline, [family.job(k, num_inference_steps=1) for k in (1, 2)], exact=True)
    assert set(rows) == {1}


def test_an_encoder_that_fails_lets_the_next_request_try(monkeypatch: pytest.MonkeyPatch) -> None:
    family = FAMILIES["sd15"]
    pipeline = family.pipeline()
    lab = Lab(pipeline)
    forward, calls = pipeline.text_encoder.forward, []

    @functools.wraps(forward)
    def failing(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("no encoder")
        return forward(*args, **kwargs)

    pipeline.text_encoder.forward = failing
    for handle in range(3):
        lab.submit(handle, family.job(1, num_inference_steps=1))
    lab.run()
    assert [lab.requests[handle].error is None for handle in range(3)] == [False, True, True]
    assert not lab.hub.encode_cache.pending


def test_a_cancelled_encoder_does_not_hold_up_others_with_the_same_text() -> None:
    family = FAMILIES["sd15"]
    pipeline = family.pipeline()
    rows = counted(pipeline.text_encoder)
    lab = Lab(pipeline)
    lab.submit(0, family.job(1, num_inference_steps=1))
    lab.submit(1, family.job(1, num_inference_steps=1))
    lab.run_until(lambda: bool(lab.hub.encode_cache.pending))
    lab.hub.cancel(0)
    assert not lab.hub.encode_cache.pending
    lab.run()
    assert lab.images(1).isfinite().all()
    assert rows == [1, 1]


def test_another_set_of_adapters_another_weight_or_another_model_is_another_text() -> None:
    family = FAMILIES["sd15"]
    pipeline = family.pipeline()
    rows = counted(pipeline.text_encoder)
    ink, oil = Adapter("/ink.safetensors", 1.0), Adapter("/oil.safetensors", 1.0)
    kinds: list[dict[str, Any]] = [
        {}, {"adapters": (ink,)}, {"adapters": (oil,)}, {"adapters": (ink, oil)},
        {"adapters": (Adapter(ink.path, 0.5),)}, {"model": "other"},
    ]  # fmt: skip
    lab = Lab(pipeline)
    for handle, kind in enumerate([*kinds, *kinds]):
        lab.submit(handle, family.job(1, num_inference_steps=1), **kind)
        lab.run()
    assert len(rows) == 2 * len(kinds), "prompt and negative prompt of each kind, once"
    assert lab.hub.encode_cache.hits == len(kinds)


def test_what_was_used_least_lately_is_encoded_again_when_bytes_run_out() -> None:
    family = FAMILIES["sd15"]
    pipeline = family.pipeline()
    rows = counted(pipeline.text_encoder)

    def run(lab: Lab, *ks: int) -> int:
        before = len(rows)
        for k in ks:
            lab.submit(len(lab.requests), family.job(k, num_inference_steps=1))
            lab.run()
        return (len(rows) - before) // 2

    roomy = Lab(pipeline)
    assert run(roomy, 1, 2, 4, 1, 2, 4) == 3
    one = roomy.hub.encode_cache.bytes // 3
    tight = Lab(pipeline, encode_cache_bytes=2 * one)
    assert run(tight, 1, 2, 1, 4) == 3
    assert tight.hub.encode_cache.bytes == 2 * one
    assert run(tight, 1) == 0, "used after the other one"
    assert run(tight, 2) == 1
    assert run(Lab(pipeline, encode_cache_bytes=one - 1), 1, 1) == 2, "too large for the cache"


def test_an_answer_that_replaces_another_takes_its_room() -> None:
    cache = EncodeCache(100)
    cache.put("a", torch.zeros(20))
    cache.put("a", torch.zeros(5))
    assert cache.bytes == 20
    cache.put("b", torch.zeros(20))
    assert cache.bytes == 100
    assert cache.get("a") is not None
