"""Which model folders are served, what is refused and in which words, and what the card says."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import pytest
import tiny_pipelines as tiny
import torch
from diffusers import PerturbedAttentionGuidance
from tiny_more import hunyuan_image, sana_sprint
from tiny_rare import flux_kontext

from pixwire_server.engine import arguments
from pixwire_server.engine.api import TXT2IMG, GenerateTask, ModelSettings, TaskInput
from pixwire_server.engine.card import check_pipeline, check_pipeline_class, describe
from pixwire_server.engine.folder import ModelRefusedError, check_folder, components
from pixwire_server.engine.loader import choose_device, choose_dtype, load
from pixwire_server.engine.variants import Variant, variants


@pytest.fixture
def folder(saved_model: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(saved_model, tmp_path / "tiny-sd"))


def config(folder: Path, **changes: Any) -> ModelSettings:
    return ModelSettings(str(folder), **changes)


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def refusal(folder: Path, **changes: Any) -> str:
    with pytest.raises(ModelRefusedError) as caught:
        load(config(folder, **changes))
    return str(caught.value)


def test_a_saved_pipeline_is_loaded_and_described(folder: Path) -> None:
    model = load(config(folder))
    card = model.card
    assert (card.name, card.pipeline_class, card.device, card.dtype) == (
        "tiny-sd",
        "StableDiffusionPipeline",
        "cpu",
        "float32",
    )
    assert (card.default_width, card.default_height, card.size_multiple) == (32, 32, 8)
    assert (card.max_width, card.max_height, card.max_steps, card.max_count) == (64, 64, 200, 16)
    assert (card.default_steps, card.default_guidance_scale) == (50, 7.5)
    assert model.previewer is not None
    assert not any(p.requires_grad for p in model.pipeline.unet.parameters())


def test_the_operators_defaults_win(folder: Path) -> None:
    defaults = {"name": "shapes/64", "steps": 12, "guidance_scale": 3, "width": 64, "height": 48, "max_width": 96}
    (folder / "pixwire_defaults.json").write_text(json.dumps(defaults))
    card = load(config(folder)).card
    assert (card.name, card.default_steps, card.default_guidance_scale) == ("shapes/64", 12, 3.0)
    assert (card.default_width, card.default_height, card.max_width, card.max_height) == (64, 48, 96, 96)


@pytest.mark.parametrize(
    ("defaults", "words"),
    [
        ({"step": 3}, "unknown key 'step'; known are name, steps,"),
        ({"name": "two\nlines"}, "printable characters"),
        ({"name": 7}, "printable characters"),
        ({"steps": 0}, "steps = 0 must be int from 1 to 200"),
        ({"steps": 2.5}, "steps = 2.5"),
        ({"width": 20}, "width = 20 is not a multiple of 8"),
        ([], "one JSON object"),
    ],
)
def test_wrong_defaults_are_refused_by_name(folder: Path, defaults: object, words: str) -> None:
    (folder / "pixwire_defaults.json").write_text(json.dumps(defaults))
    assert words in refusal(folder)


def test_a_folder_without_an_index_is_refused(tmp_path: Path) -> None:
    assert "model_index.json" in refusal(tmp_path)


def test_an_index_that_is_no_json_is_refused(folder: Path) -> None:
    (folder / "model_index.json").write_text("{")
    assert "cannot be read" in refusal(folder)


@pytest.mark.parametrize(
    ("text", "says"),
    [("{", "cannot be read"), ("[" * 100_000, "cannot be read"), ("7", "is no table of settings")],
)
def test_a_component_whose_settings_are_damaged_is_refused(folder: Path, text: str, says: str) -> None:
    (folder / "vae" / "config.json").write_text(text)
    with pytest.raises(ModelRefusedError, match=says):
        check_folder(folder)


def test_an_index_with_an_empty_component_is_no_component(folder: Path) -> None:
    edit(folder / "model_index.json", lambda index: index.update(image_encoder=[], other=[]))
    assert "other" not in components(check_folder(folder))


@pytest.mark.req("PXW-ADM-010")
def test_pickled_weights_are_refused(folder: Path) -> None:
    for weights in (folder / "unet").glob("*.safetensors"):
        weights.rename(weights.with_suffix(".bin"))
    message = refusal(folder)
    assert "pickle" in message
    assert "save_pretrained" in message


@pytest.mark.req("PXW-ADM-010")
def test_code_in_the_folder_is_refused(folder: Path) -> None:
    edit(folder / "model_index.json", lambda index: index.update(unet=["my_unet", "MyUNet"]))
    assert "component unet comes from 'my_unet'" in refusal(folder)


def test_a_pipeline_with_its_own_code_is_refused(folder: Path) -> None:
    edit(folder / "model_index.json", lambda index: index.update(_class_name=["my_pipeline", "MyPipeline"]))
    assert "code of their own" in refusal(folder)


@pytest.mark.req("PXW-ADM-010")
def test_a_component_with_remote_code_is_refused(folder: Path) -> None:
    edit(folder / "text_encoder" / "config.json", lambda values: values.update(auto_map={"AutoModel": "model.Model"}))
    assert "auto_map" in refusal(folder)


def test_an_unknown_pipeline_is_refused(folder: Path) -> None:
    edit(folder / "model_index.json", lambda index: index.update(_class_name="FutureDiffusionPipeline"))
    assert "no pipeline FutureDiffusionPipeline" in refusal(folder)


def test_missing_weights_are_refused(folder: Path) -> None:
    for weights in (folder / "vae").glob("*.safetensors"):
        weights.unlink()
    assert "cannot be loaded as StableDiffusionPipeline" in refusal(folder)


def test_a_safety_checker_is_not_loaded(folder: Path) -> None:
    checker = {"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"]}
    edit(folder / "model_index.json", lambda index: index.update(checker))
    assert load(config(folder)).pipeline.safety_checker is None


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("StableDiffusionImg2ImgPipeline", "its call takes no height, width"),
        ("StableDiffusionUpscalePipeline", "it enlarges pictures"),
        ("LattePipeline", "it makes videos"),
        ("FluxPriorReduxPipeline", "it makes embeddings"),
        ("StableDiffusionSAGPipeline", "diffusers has deprecated it"),
        ("DDPMPipeline", "takes no prompt"),
        ("WanPipeline", "takes no num_images_per_prompt"),
    ],
)
def test_pipelines_that_do_not_fit_are_refused_with_the_reason(name: str, why: str) -> None:
    with pytest.raises(ModelRefusedError, match=why):
        check_pipeline_class(getattr(diffusers, name))


@pytest.mark.parametrize(
    "name",
    ["StableDiffusionPipeline", "StableDiffusionXLPipeline", "StableDiffusion3Pipeline", "FluxPipeline",
     "PixArtSigmaPipeline", "SanaPipeline", "Lumina2Pipeline", "QwenImagePipeline", "ZImagePipeline",
     "AuraFlowPipeline", "ChromaPipeline",
     "CogView4Pipeline", "Flux2KleinPipeline", "LatentConsistencyModelPipeline"],
)  # fmt: skip
def test_text_to_image_pipelines_fit(name: str) -> None:
    check_pipeline_class(getattr(diffusers, name))


def test_a_sampler_that_ignores_seeds_is_refused() -> None:
    pipeline = tiny.sd15()
    pipeline.scheduler = type("DPMSolverSDEScheduler", (), {})()
    with pytest.raises(ModelRefusedError, match="global random state"):
        check_pipeline(pipeline)


def test_a_guidance_that_may_change_the_model_is_refused() -> None:
    pipeline = hunyuan_image()
    check_pipeline(pipeline)
    pipeline.guider = PerturbedAttentionGuidance(perturbed_guidance_layers=[0])
    with pytest.raises(ModelRefusedError, match="guidance PerturbedAttentionGuidance: it may change the model"):
        check_pipeline(pipeline)


@pytest.mark.parametrize(
    ("build", "multiple", "side"),
    [(tiny.sd3, 8, 32), (tiny.flux, 8, 256), (tiny.pixart, 8, 16), (tiny.sana, 8, 64), (tiny.zimage, 8, 1024)],
)
def test_sizes_follow_the_components(build: Callable[[], Any], multiple: int, side: int, tmp_path: Path) -> None:
    pipeline = build()
    card = describe(pipeline, variants(pipeline), tmp_path, "float32")
    assert (card.size_multiple, card.default_width, card.default_height) == (multiple, side, side)


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("13.0", "torch finds no CUDA device here; use device = cpu"),
        (None, "is built without CUDA; install a build of torch with CUDA, or use device = cpu"),
    ],
)
def test_a_gpu_that_is_not_there_is_refused(version: str | None, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", version)
    assert choose_device("auto").type == "cpu"
    with pytest.raises(ModelRefusedError, match=words):
        choose_device("cuda")


def test_devices_and_types_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ModelRefusedError, match="device = 'tpu'"):
        choose_device("tpu")
    assert choose_dtype("bfloat16", torch.device("cpu")) is torch.bfloat16
    with pytest.raises(ModelRefusedError, match="dtype = 'int8'"):
        choose_dtype("int8", torch.device("cpu"))


# ---------------------------------------------------------------------------------------------- tasks


TASK = GenerateTask(1, "a cat", "", 32, 32, 5, 4.0, 7)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"width": 36}, "width = 36 must be a multiple of 8 up to 64"),
        ({"height": 72}, "height = 72 must be a multiple of 8 up to 64"),
        ({"steps": 201}, "steps = 201 must be from 1 to 200"),
        ({"count": 17}, "count = 17 must be from 1 to 16"),
        ({"media_type": "image/gif"}, "media_type = 'image/gif' must be one of image/png, image/jpeg, image/webp"),
    ],
)
def test_tasks_that_do_not_fit_the_model_are_refused_by_name(folder: Path, change: dict[str, Any], words: str) -> None:
    model = load(config(folder))
    with pytest.raises(arguments.InvalidTaskError) as caught:
        arguments.check(replace(TASK, **change), model.card, model.variants)
    assert words in str(caught.value)


def test_a_negative_prompt_needs_a_pipeline_that_takes_one(folder: Path) -> None:
    model = load(config(folder))
    variant = model.variants[TXT2IMG, False]
    parameters = {name: p for name, p in variant.parameters.items() if name != "negative_prompt"}
    without = {(TXT2IMG, False): Variant(variant.pipeline, parameters)}
    with pytest.raises(arguments.InvalidTaskError, match="negative_prompt"):
        arguments.check(replace(TASK, negative_prompt="a dog"), model.card, without)


def test_every_image_has_a_generator_of_its_own(folder: Path) -> None:
    model = load(config(folder))
    variant = model.variants[TXT2IMG, False]
    built = arguments.build(replace(TASK, count=3, seed=2**63 - 1), variant, {})
    assert [g.initial_seed() for g in built["generator"]] == [2**63 - 1 + i for i in range(3)]
    assert built["num_images_per_prompt"] == 3
    single = arguments.build(TASK, variant, {})
    assert single["generator"].initial_seed() == 7


@pytest.mark.parametrize(("steps", "expected"), [(2, "left out"), (5, None)])
def test_a_default_for_two_steps_is_not_used_for_others(steps: int, expected: str | None, tmp_path: Path) -> None:
    variant = variants(sana_sprint())[TXT2IMG, False]
    built = arguments.build(replace(TASK, steps=steps), variant, {})
    assert built.get("intermediate_timesteps", "left out") == expected


def test_an_editing_model_takes_no_strength(tmp_path: Path) -> None:
    pipeline = flux_kontext()
    found = variants(pipeline)
    card = describe(pipeline, found, tmp_path, "float32")
    assert (card.kinds, card.default_strength) == (("txt2img", "img2img", "inpaint"), 1.0)
    task = replace(TASK, kind="img2img", inputs=(TaskInput("image", "", "image/png"),), strength=1.0, count=2)
    variant = arguments.check(task, card, found)
    assert arguments.build(task, variant, {"image": "picture"})["image"] == "picture"
    with pytest.raises(arguments.InvalidTaskError, match=r"strength = 0.5: .* edits as the prompt says"):
        arguments.check(replace(task, strength=0.5), card, found)


@pytest.mark.parametrize(("build", "takes"), [(tiny.flux, False), (tiny.qwen, True), (tiny.sd3, True)])
def test_a_negative_prompt_that_would_be_ignored_is_refused(
    build: Callable[[], Any], takes: bool, tmp_path: Path
) -> None:
    pipeline = build()
    found = variants(pipeline)
    card = replace(describe(pipeline, found, tmp_path, "float32"), max_width=64, max_height=64)
    task = replace(TASK, negative_prompt="a dog")
    if takes:
        assert arguments.build(task, arguments.check(task, card, found), {})["negative_prompt"] == "a dog"
    else:
        with pytest.raises(arguments.InvalidTaskError, match=r"negative_prompt: .* takes none; leave it out"):
            arguments.check(task, card, found)
