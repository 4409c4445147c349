"""Batch keys and collation: what may share a pass, and that rows come back to whom they belong."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from hypothesis import given
from hypothesis import strategies as st

from pixwire_server.engine import collate
from pixwire_server.engine.batch_key import Fingerprints, Rule, Signature, sign
from pixwire_server.engine.proxy import ModuleProxy, bind
from pixwire_server.engine.request import Call, Request
from pixwire_server.scheduling.composition import DECODE, DENOISE

UNET = "UNet2DConditionModel"


def unet_arguments(rows: int = 2, **changes: Any) -> dict[str, Any]:
    arguments = {
        "sample": torch.randn(rows, 4, 8, 8),
        "timestep": torch.tensor(7),
        "encoder_hidden_states": torch.randn(rows, 77, 32),
        "cross_attention_kwargs": None,
        "return_dict": False,
    }
    return arguments | changes


def signature(arguments: Mapping[str, Any], model: str = UNET, ragged: bool = True) -> Signature:
    return sign("unet", model, arguments, Fingerprints(), ragged=ragged)


def share(first: Mapping[str, Any], second: Mapping[str, Any], model: str = UNET, ragged: bool = True) -> bool:
    return signature(first, model, ragged).key == signature(second, model, ragged).key


def test_values_rows_and_steps_are_not_in_the_key() -> None:
    assert share(unet_arguments(2), unet_arguments(1, timestep=torch.tensor(999)))


def test_whole_and_fractional_timesteps_share() -> None:
    assert share(unet_arguments(), unet_arguments(timestep=torch.tensor(3.25)))
    assert not share(unet_arguments(), unet_arguments(timestep=torch.tensor(3.25, dtype=torch.bfloat16)))


@pytest.mark.parametrize(
    "change",
    [
        {"sample": torch.randn(2, 4, 16, 4)},
        {"sample": torch.randn(2, 4, 8, 8, dtype=torch.float64)},
        {"encoder_hidden_states": torch.randn(2, 78, 32)},
        {"encoder_attention_mask": torch.ones(2, 77)},
        {"cross_attention_kwargs": {"scale": 0.5}},
        {"return_dict": True},
        {"added_cond_kwargs": {"text_embeds": torch.randn(2, 32)}},
    ],
)
def test_what_the_pass_depends_on_is_in_the_key(change: dict[str, Any]) -> None:
    changed = unet_arguments(**change)
    assert not share(unet_arguments(), changed)
    assert not signature(changed).alone


@pytest.mark.parametrize(
    "change",
    [
        {"a_new_argument": torch.zeros(2, 3)},
        {"a_new_argument": [1, 2]},
        {"cross_attention_kwargs": {"mask": torch.zeros(2, 3)}},
        {"encoder_hidden_states": torch.randn(1, 77, 32)},
        {"timestep": torch.zeros(3)},
        {"added_cond_kwargs": {"cache": object()}},
        {"sample": None},
    ],
)
def test_what_is_not_understood_runs_alone(change: dict[str, Any]) -> None:
    changed = unet_arguments(**change)
    assert signature(changed).alone
    assert not share(changed, changed)


def test_a_call_that_runs_alone_says_why() -> None:
    assert signature(unet_arguments(a_new_argument=[1, 2])).why == "no rule for a_new_argument (list)"
    assert signature(unet_arguments(sample=None)).why.startswith("none of sample, hidden_states, z, x, ")
    assert signature(unet_arguments(timestep=torch.zeros(3))).why == "timestep is not what its rule TIME expects"


def test_an_unknown_scalar_is_a_constant() -> None:
    assert share(unet_arguments(frames=3), unet_arguments(frames=3))
    assert not share(unet_arguments(frames=3), unet_arguments(frames=4))


def test_positions_are_compared_by_contents() -> None:
    def flux(height: int, width: int) -> dict[str, Any]:
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        return {
            "hidden_states": torch.randn(1, height * width, 16),
            "img_ids": torch.stack([rows, columns], -1).reshape(-1, 2),
        }

    assert share(flux(4, 8), flux(4, 8))
    assert not share(flux(4, 8), flux(8, 4))


def test_positions_repeated_for_every_row_share_whatever_the_number_of_rows() -> None:
    def arguments(rows: int) -> dict[str, Any]:
        return {
            "hidden_states": torch.zeros(rows, 6, 4),
            "img_ids": torch.arange(18).reshape(1, 6, 3).repeat(rows, 1, 1),
        }

    assert share(arguments(1), arguments(3))
    different = arguments(2)
    different["img_ids"][1, 0, 0] = 99
    assert signature(different).alone


def test_a_fingerprint_follows_writes_and_keeps_its_tensor() -> None:
    prints = Fingerprints()
    ids = torch.arange(6)
    first = prints.of(ids)
    assert prints.of(ids) == first == prints.of(torch.arange(6))
    ids[0] = 9
    assert prints.of(ids) != first
    assert prints.of(torch.zeros(4, dtype=torch.bfloat16)) != prints.of(torch.zeros(4, dtype=torch.float16))


def test_text_of_any_length_shares_with_a_mask_but_not_in_exact_mode() -> None:
    def arguments(length: int) -> dict[str, Any]:
        mask = torch.ones(1, length)
        text = torch.randn(1, length, 8)
        return {"hidden_states": torch.randn(1, 4, 8, 8), "encoder_hidden_states": text, "encoder_attention_mask": mask}

    assert share(arguments(5), arguments(9), "SanaTransformer2DModel")
    assert not share(arguments(5), arguments(9), "SanaTransformer2DModel", ragged=False)
    assert not share(arguments(5), arguments(9), "SomeOtherTransformer")


def test_image_shapes_are_compared_by_contents() -> None:
    def arguments(shape: tuple[int, int, int], rows: int) -> dict[str, Any]:
        return {"hidden_states": torch.zeros(rows, 8, 4), "img_shapes": [[shape]] * rows}

    qwen = "QwenImageTransformer2DModel"
    assert share(arguments((1, 2, 4), 1), arguments((1, 2, 4), 2), qwen)
    assert not share(arguments((1, 2, 4), 1), arguments((1, 4, 2), 1), qwen)


# ---------------------------------------------------------------------------------------------- collate


def call(arguments: dict[str, Any], model: str = UNET) -> Call:
    return Call(Request(0, {}), "unet", DENOISE, lambda **_: None, arguments, signature(arguments, model))


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5))
def test_rows_come_back_to_their_calls(sizes: list[int]) -> None:
    calls = [call(unet_arguments(rows, timestep=torch.tensor(float(i)))) for i, rows in enumerate(sizes)]
    joined = collate.gather(calls)
    assert joined["timestep"].tolist() == [float(i) for i, rows in enumerate(sizes) for _ in range(rows)]
    answers = collate.scatter((joined["sample"] * 2, None), sizes, in_lists=False)
    for one, answer in zip(calls, answers, strict=True):
        assert torch.equal(answer[0], one.arguments["sample"] * 2)
        assert answer[1] is None


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(1, 5))
def test_slices_of_rows_join_to_the_whole(sizes: list[int], cap: int) -> None:
    calls = [call(unet_arguments(rows)) for rows in sizes]
    joined, rules = collate.gather(calls), calls[0].signature.rules
    parts = []
    for start in range(0, sum(sizes), cap):
        picked = collate.pick(joined, rules, range(start, min(start + cap, sum(sizes))))
        parts.append((picked["sample"], [picked["encoder_hidden_states"]]))
    whole = collate.concatenate(parts, in_lists=False)
    assert torch.equal(whole[0], joined["sample"])
    assert torch.equal(whole[1][0], joined["encoder_hidden_states"])


def test_padding_repeats_a_row_and_leaves_constants() -> None:
    one = call(unet_arguments(2, added_cond_kwargs={"ids": torch.arange(2).reshape(2, 1), "size": None}))
    picked = collate.pick(collate.gather([one]), one.signature.rules, [0, 1, 1, 1])
    assert picked["sample"].shape[0] == picked["timestep"].shape[0] == 4
    assert picked["added_cond_kwargs"]["ids"].tolist() == [[0], [1], [1], [1]]
    assert picked["return_dict"] is False


def test_a_list_of_residuals_is_not_a_list_of_rows() -> None:
    residuals = [
        torch.randn(4, 3),
        torch.randn(4, 2),
        torch.randn(4, 1),
        torch.randn(4, 5),
    ]  # four, by chance as many as rows
    first, second = collate.scatter((residuals, torch.randn(4, 1)), [1, 3], in_lists=False)
    assert [tuple(r.shape) for r in first[0]] == [(1, 3), (1, 2), (1, 1), (1, 5)]
    assert [len(r) for r in second[0]] == [3, 3, 3, 3]


def test_lists_of_rows_are_divided_by_entries() -> None:
    def arguments(rows: int) -> dict[str, Any]:
        text = [torch.zeros(i + 1, 8) for i in range(rows)]
        return {"x": [torch.zeros(16, 1, 4, 4)] * rows, "t": torch.zeros(rows), "cap_feats": text}

    calls = [call(arguments(rows), "ZImageTransformer2DModel") for rows in (1, 2)]
    assert calls[0].signature.key == calls[1].signature.key
    joined = collate.gather(calls)
    assert [len(feats) for feats in joined["cap_feats"]] == [1, 1, 2]
    in_lists = collate.answers_in_lists(calls[0].signature.rules)
    answers = collate.scatter(([torch.full((2,), i) for i in range(3)],), [1, 2], in_lists)
    assert [[int(row[0]) for row in answer[0]] for answer in answers] == [[0], [1, 2]]


@pytest.mark.parametrize("output", [torch.zeros(()), torch.zeros(2, 5), (torch.zeros(3), "text")])
def test_answers_without_rows_are_not_divided(output: Any) -> None:
    with pytest.raises(collate.NotRowsError):
        collate.scatter(output, [1, 2], in_lists=False)


def test_weights_of_a_controlnet_become_one_a_row_where_they_differ() -> None:
    def arguments(rows: int, scale: float) -> dict[str, Any]:
        return {"sample": torch.zeros(rows, 4, 2, 2), "conditioning_scale": scale}

    model = "ControlNetModel"
    calls = [call(arguments(2, 0.5), model), call(arguments(1, 1.5), model)]
    assert calls[0].signature.key == calls[1].signature.key
    joined = collate.gather(calls)["conditioning_scale"]
    assert (joined.flatten().tolist(), tuple(joined.shape)) == ([0.5, 0.5, 1.5], (3, 1, 1, 1))
    assert collate.gather(calls[:1] * 2)["conditioning_scale"] == 0.5
    assert not share(arguments(2, 0.5), arguments(2, 1.5), model, ragged=False)
    assert signature(arguments(1, [0.5]), model).alone  # type: ignore[arg-type]


def test_distributions_of_latents_are_divided_and_joined() -> None:
    parameters = torch.randn(3, 8, 2, 2)
    parts = collate.scatter((DiagonalGaussianDistribution(parameters),), [1, 2], in_lists=False)
    assert torch.equal(parts[1][0].mean, DiagonalGaussianDistribution(parameters[1:]).mean)
    whole = collate.concatenate(parts, in_lists=False)[0]
    assert torch.equal(whole.parameters, parameters)


def test_masks_are_made_where_text_was_padded() -> None:
    def arguments(length: int, mask: torch.Tensor | None) -> dict[str, Any]:
        text = torch.ones(1, length, 4)
        return {
            "hidden_states": torch.zeros(1, 3, 4),
            "encoder_hidden_states": text,
            "encoder_hidden_states_mask": mask,
        }

    qwen = "QwenImageTransformer2DModel"
    short, long = call(arguments(2, None), qwen), call(arguments(4, torch.tensor([[1, 1, 1, 0]])), qwen)
    assert short.signature.key == long.signature.key
    joined = collate.gather([short, long])
    assert joined["encoder_hidden_states_mask"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 0]]
    assert joined["encoder_hidden_states"][0, :, 0].tolist() == [1, 1, 0, 0]
    assert collate.gather([short, short])["encoder_hidden_states_mask"] is None


# ---------------------------------------------------------------------------------------------- proxies


class Doubler(torch.nn.Module):
    dtype = torch.float64

    def forward(self, sample: torch.Tensor, timestep: int = 0) -> torch.Tensor:
        return sample * 2

    def decode(self, z: torch.Tensor, generator: object = None) -> torch.Tensor:
        return z


def proxy(parked: list[Call]) -> tuple[Doubler, Any]:
    module = Doubler()
    stages = {"": DENOISE, "decode": DECODE}
    return module, ModuleProxy(module, "unet", stages, Request(0, {}), lambda c: parked.append(c))


def test_a_proxy_looks_like_its_module() -> None:
    module, stand_in = proxy([])
    assert isinstance(stand_in, Doubler)
    assert isinstance(stand_in, torch.nn.Module)
    assert stand_in.dtype is module.dtype
    assert list(stand_in.parameters()) == []
    with pytest.raises(AttributeError):
        _ = stand_in.missing


def test_a_proxy_parks_calls_with_named_arguments() -> None:
    parked: list[Call] = []
    _, stand_in = proxy(parked)
    stand_in(torch.zeros(2, 3), timestep=5)
    assert set(parked[0].arguments) == {"sample", "timestep"}
    assert parked[0].signature.rules == {"sample": Rule.ROWS, "timestep": Rule.TIME}


def test_a_decode_gets_its_latents_in_the_type_of_the_decoder() -> None:
    parked: list[Call] = []
    _, stand_in = proxy(parked)
    stand_in.decode(torch.zeros(1, 4, 2, 2, dtype=torch.float16))
    assert parked[0].name == "unet.decode"
    assert parked[0].arguments["z"].dtype == torch.float64


def test_what_would_change_the_shared_module_does_nothing() -> None:
    module, stand_in = proxy([])
    assert stand_in.to(torch.float16) is stand_in
    stand_in._reset_stateful_cache()
    with stand_in.cache_context("cond"):
        pass
    stand_in.note = 1
    assert not hasattr(module, "note")


def test_arguments_that_cannot_be_named_are_not_bound() -> None:
    class Anything:
        def call(self, *values: int) -> None: ...

    assert bind(Anything().call, (1, 2), {}) is None
    assert bind(Doubler().forward, (1,), {"timestep": 2}) == {"sample": 1, "timestep": 2}
