"""The hub: cancel, failures, memory, turns, and what observers hear. Counted in steps and passes, never in time."""

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hub_lab import FAMILIES, STEPS, Lab, distance, plain, run_all
from torch.utils import _pytree as pytree

from pixwire_server.engine.device import is_out_of_memory
from pixwire_server.engine.encode_cache import EncodeCache, memo_key

SD15 = FAMILIES["sd15"]


def watch_rows(module: Any, before: Callable[..., None]) -> None:
    """Call `before(**arguments)` ahead of every forward of `module`; it may raise."""
    forward = module.forward

    @functools.wraps(forward)
    def watched(*args: Any, **kwargs: Any) -> Any:
        before(*args, **kwargs)
        return forward(*args, **kwargs)

    module.forward = watched


@pytest.fixture
def pipeline() -> Any:
    return SD15.pipeline(torch.float64)


def job(k: int, **changes: object) -> dict[str, Any]:
    return SD15.job(k, torch.float64, **changes)


# ---------------------------------------------------------------------------------------------- cancel


def test_the_next_step_of_a_cancelled_request_is_never_computed(pipeline: Any) -> None:
    rows: list[int] = []
    watch_rows(pipeline.unet, lambda sample, *_, **__: rows.append(len(sample)))
    lab = Lab(pipeline)
    for k in (0, 1, 2):
        lab.submit(k, job(k, num_inference_steps=6))
    lab.run_until(lambda: lab.requests[1].step == 2)
    lab.hub.cancel(1)
    assert lab.hub.resident == 2
    assert lab.events[-2:] == [("left", 1), ("ended", 1)]
    lab.run()
    assert rows == [6, 6, 4, 4, 4, 4], "the rows of the cancelled request are gone from the very next pass"
    assert lab.requests[1].cancelled
    assert (lab.requests[1].step, lab.requests[1].passes) == (2, 2)
    assert [event[2] for event in lab.events if event[:2] == ("step", 1)] == [1, 2]
    for k in (0, 2):
        assert distance(lab.images(k), plain(pipeline, job(k, num_inference_steps=6))) == 0.0


def test_a_cancelled_place_is_taken_by_a_newcomer_at_the_next_pass(pipeline: Any) -> None:
    lab = Lab(pipeline)
    lab.submit(0, job(0, num_inference_steps=6))
    lab.submit(1, job(1, num_inference_steps=6))
    lab.run_until(lambda: lab.requests[0].step == 2)
    lab.hub.cancel(1)
    lab.submit(2, job(2, num_inference_steps=4))
    lab.run()
    assert lab.runner.passes == 6, "the newcomer shared all of its 4 passes with the 4 that were left"
    assert lab.requests[2].pass_share == 4 / 2


@pytest.mark.parametrize("stage", ["encode", "denoise", "decode"])
def test_cancel_works_in_every_stage(pipeline: Any, stage: str) -> None:
    lab = Lab(pipeline)
    request = lab.submit(0, job(0))
    if stage != "encode":  # there it is from the start
        lab.run_until(lambda: request.parked is not None and request.parked.stage == stage)
    assert request.parked is not None
    assert request.parked.stage == stage
    lab.hub.cancel(0)
    assert not lab.hub.tick()
    assert request.cancelled
    assert request.result is None
    assert [event[0] for event in lab.events if event[0] != "step"] == ["left", "ended"]


def test_cancelling_an_unknown_or_finished_request_does_nothing(pipeline: Any) -> None:
    lab = run_all(pipeline, [job(0)])
    lab.hub.cancel(0)
    lab.hub.cancel(77)
    assert not lab.requests[0].cancelled


def test_a_handle_in_use_is_refused(pipeline: Any) -> None:
    lab = Lab(pipeline)
    lab.submit(3, job(0))
    with pytest.raises(ValueError, match="handle 3 is in use"):
        lab.submit(3, job(1))


# ---------------------------------------------------------------------------------------------- what observers hear


def test_a_place_is_left_with_the_last_step_before_the_image_is_decoded(pipeline: Any) -> None:
    lab = Lab(pipeline)
    lab.submit(0, job(0))
    lab.run_until(lambda: not lab.requests[0].holds_place)
    assert lab.hub.resident == 1
    steps = STEPS[0]
    assert lab.events == [("step", 0, step, steps) for step in range(1, steps + 1)] + [("left", 0)]
    lab.run()
    assert lab.events[-1] == ("ended", 0)


def test_gradients_are_off_for_everybody_and_the_callers_mode_survives(pipeline: Any) -> None:
    modes: set[bool] = set()
    watch_rows(pipeline.unet, lambda *_, **__: modes.add(torch.is_grad_enabled()))
    with torch.enable_grad():
        lab = Lab(pipeline)
        for k in range(4):
            lab.submit(k, job(k))
            lab.hub.tick()
        lab.run()
        assert torch.is_grad_enabled()
    assert modes == lab.grad_modes == {False}
    assert not any(lab.images(k).requires_grad for k in range(4))


def test_the_shared_pipeline_stays_as_it_was(pipeline: Any) -> None:
    before = dict(pipeline.__dict__)
    config = dict(pipeline.config)
    run_all(pipeline, [job(k) for k in range(3)])
    assert pipeline.__dict__ == before
    assert dict(pipeline.config) == config


# ---------------------------------------------------------------------------------------------- failures


def test_only_the_culprit_of_a_failed_pass_fails(pipeline: Any) -> None:
    def refuse_nan(sample: torch.Tensor, *_: Any, **__: Any) -> None:
        if sample.isnan().any():
            raise FloatingPointError("NaN in the sample")

    watch_rows(pipeline.unet, refuse_nan)
    poison = torch.full((1, 4, 16, 16), float("nan"), dtype=torch.float64)
    lab = run_all(pipeline, [job(0), job(1, latents=poison), job(2)])
    assert isinstance(lab.requests[1].error, FloatingPointError)
    assert lab.requests[1].step == 0
    for k in (0, 2):
        assert distance(lab.images(k), plain(pipeline, job(k))) == 0.0
    assert lab.requests[0].passes == STEPS[0], "the failed pass is in nobody's account"


def test_an_error_outside_a_pass_fails_that_request_only(pipeline: Any) -> None:
    lab = run_all(pipeline, [job(0, height=33), job(1)])
    assert isinstance(lab.requests[0].error, ValueError)
    assert lab.requests[1].error is None
    assert lab.events.count(("left", 0)) == lab.events.count(("ended", 0)) == 1


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_out_of_memory_halves_the_rows_and_remembers(pipeline: Any, error: Exception) -> None:
    tried: list[int] = []

    def limit(sample: torch.Tensor, *_: Any, **__: Any) -> None:
        tried.append(len(sample))
        if len(sample) > 4:
            raise error

    watch_rows(pipeline.unet, limit)
    jobs = [job(k, num_inference_steps=2, guidance_scale=4.0) for k in range(6)]
    lab = run_all(pipeline, jobs)
    assert tried == [12, 6, 3, 3, 3, 3, 2, 2, 2, 2, 2, 2]
    for k in range(6):
        assert lab.requests[k].error is None
        assert distance(lab.images(k), plain(pipeline, job(k, num_inference_steps=2, guidance_scale=4.0))) == 0.0


def test_out_of_memory_at_one_row_fails_the_request(pipeline: Any) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 TB")

    watch_rows(pipeline.unet, fail)
    lab = run_all(pipeline, [job(0)])
    error = lab.requests[0].error
    assert error is not None
    assert is_out_of_memory(error)


def test_a_picture_too_large_to_be_decoded_at_once_is_decoded_in_tiles(pipeline: Any) -> None:
    vae, sides = pipeline.vae, []

    def small(z: torch.Tensor, *_: Any, **__: Any) -> None:
        sides.append(z.shape[-1])
        if z.shape[-1] > vae.tile_latent_min_size:
            raise torch.OutOfMemoryError

    vae.tile_latent_min_size, vae.tile_sample_min_size = 8, 16
    watch_rows(vae.decoder, small)
    lab = run_all(pipeline, [job(0), job(1)])
    assert lab.images(0).shape == lab.images(1).shape == (1, 3, 32, 32)
    assert vae.use_tiling
    assert max(sides[sides.index(16) + 2 :]) == 8, "one try together, one alone, then tiles"


def test_answers_that_cannot_be_divided_are_computed_alone_from_then_on(pipeline: Any) -> None:
    rows: list[int] = []
    watch_rows(pipeline.unet, lambda sample, *_, **__: rows.append(len(sample)))
    forward = pipeline.unet.forward

    @functools.wraps(forward)
    def with_extra(*args: Any, **kwargs: Any) -> Any:
        return (*forward(*args, **kwargs), "not rows")

    pipeline.unet.forward = with_extra
    jobs = [job(k, num_inference_steps=2, guidance_scale=4.0) for k in range(2)]
    lab = run_all(pipeline, jobs)
    assert rows == [4, 2, 2, 2, 2], "one shared pass was tried, then none"
    assert all(request.error is None for request in lab.requests.values())


# ---------------------------------------------------------------------------------------------- turns


def test_passes_never_exceed_the_row_cap_and_everybody_gets_on(pipeline: Any) -> None:
    rows: list[int] = []
    watch_rows(pipeline.unet, lambda sample, *_, **__: rows.append(len(sample)))
    lab = Lab(pipeline, max_rows=4)
    for k in range(6):
        lab.submit(k, job(k, num_inference_steps=8))
    lab.run_until(lambda: sum(request.step for request in lab.requests.values()) >= 24)
    assert max(rows) <= 4
    assert {request.step for request in lab.requests.values()} <= {3, 4, 5}, "turns are first-in first-out"


def test_a_decode_waits_for_one_pass_of_the_others_at_most(pipeline: Any) -> None:
    lab = Lab(pipeline)
    for k in range(3):
        lab.submit(k, job(k, num_inference_steps=20))
    lab.submit(3, job(3, num_inference_steps=2))
    lab.run_until(lambda: not lab.requests[3].holds_place)
    steps = lab.requests[0].step
    lab.run_until(lambda: ("ended", 3) in lab.events)
    assert lab.requests[0].step <= steps + 1


def test_two_sizes_take_turns_and_never_share(pipeline: Any) -> None:
    shapes: set[tuple[int, ...]] = set()
    watch_rows(pipeline.unet, lambda sample, *_, **__: shapes.add(tuple(sample.shape[2:])))
    lab = Lab(pipeline)
    lab.submit(0, job(0, num_inference_steps=10))
    lab.submit(1, job(1, num_inference_steps=10, height=48))
    lab.run_until(lambda: lab.requests[0].step == 5)
    assert lab.requests[1].step in {4, 5}
    lab.run()
    assert shapes == {(16, 16), (24, 16)}
    assert lab.requests[0].pass_share == lab.requests[1].pass_share == 10


# ---------------------------------------------------------------------------------------------- text


def test_equal_prompts_are_encoded_once(pipeline: Any) -> None:
    encoded: list[int] = []
    watch_rows(pipeline.text_encoder, lambda input_ids, *_, **__: encoded.append(len(input_ids)))
    lab = run_all(pipeline, [job(0), job(0), job(0, num_inference_steps=3), job(1)])
    assert encoded == [2, 2], "prompts and negative prompts of two texts, shared passes"
    assert distance(lab.images(0), lab.images(1)) == 0.0
    assert lab.hub.encode_cache.hits == 2


def test_what_the_cache_gives_out_can_be_written_to() -> None:
    cache = EncodeCache(1000)
    answer = (torch.ones(4), None)
    cache.put("key", answer)
    answer[0].zero_()
    for _ in range(2):
        found = cache.get("key")
        assert found is not None
        assert pytree.tree_all(lambda leaf: leaf is None or bool((leaf == 1).all()), found[0])
        found[0][0].zero_()


def test_the_cache_is_bounded_by_bytes_and_drops_the_least_recently_used() -> None:
    cache = EncodeCache(100)
    for name in "abc":
        cache.put(name, torch.zeros(10))  # 40 bytes
        cache.get("a")
    assert [cache.get(name) is not None for name in "abc"] == [True, False, True]
    assert cache.bytes == 80
    cache.put("large", torch.zeros(1000))
    assert cache.get("large") is None


def test_only_plain_arguments_make_a_memo_key() -> None:
    plain_arguments = {"prompt": ["a", "b"], "device": torch.device("cpu"), "extra": {"n": 1}, "scale": None}
    assert memo_key(plain_arguments) == memo_key(dict(reversed(plain_arguments.items())))
    assert memo_key(plain_arguments) != memo_key(plain_arguments | {"prompt": ("a", "b c")})
    assert memo_key({"prompt_embeds": torch.zeros(1)}) is None
