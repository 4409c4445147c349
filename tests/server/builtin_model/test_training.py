"""The recipe runs from nothing to a folder that loads, and resumes."""

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pixwire_server.builtin_model import evaluate, scenes
from pixwire_server.builtin_model.training import __main__ as recipe
from pixwire_server.builtin_model.training import compare, data, diagnose, text, unet, vae
from pixwire_server.builtin_model.training.loop import Budget, Loop
from pixwire_server.builtin_model.training.options import Options
from pixwire_server.builtin_model.training.variants import RECIPE, VARIANTS

TINY = [
    *(
        "--scenes",
        "24",
        "--broad-scenes",
        "24",
        "--fancy-scenes",
        "24",
        "--processes",
        "1",
        "--vae-steps",
        "2",
        "--vae-batch",
        "4",
        "--text-steps",
        "2",
    ),
    *("--text-batch", "8", "--unet-steps", "2", "--unet-batch", "4", "--polish-steps", "1"),
]
LEARNING = ["scenes", "vae", "text", "latents", "prompts", "unet", "polish", "write"]


@pytest.fixture
def options(tmp_path: Path) -> Iterator[Options]:
    made, _ = recipe.parse(["--out", str(tmp_path), *TINY])
    made.work.mkdir()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield made
    torch.set_num_threads(threads)


def test_every_stage_runs_and_the_folder_loads(
    options: Options, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(data, "share", map)
    monkeypatch.setattr(text, "measure", lambda *_: 0.0)
    recipe.run(options, LEARNING)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert {line["stage"] for line in lines} >= {"vae", "text", "unet", "polish"}
    pipe, told = evaluate.load(options.pipeline), evaluate.defaults(options.pipeline)
    picture = evaluate.generate(pipe, ["a red circle"], steps=1, guidance_scale=told["guidance_scale"])[0]
    assert picture.size == (scenes.SIZE, scenes.SIZE)
    recipe.run(options, ["vae", "text", "unet", "polish"])
    assert capsys.readouterr().out == ""


def test_a_stopped_stage_goes_on_where_it_was(options: Options) -> None:
    module = torch.nn.Linear(3, 1)

    def loop() -> Loop:
        return Loop("toy", [module], Budget(minutes=10, steps=10, rate=0.1), options)

    first = loop()
    for _ in range(4):
        first.step(module(torch.ones(2, 3)).square().mean())
    first.save()
    average = first.averages[0].weight.clone()  # type: ignore[union-attr, operator]
    second = loop()
    assert second.step_count == 4
    assert second.progress == pytest.approx(0.4), "what is shown next depends on it"
    assert second.seconds >= first.seconds - 1
    assert torch.equal(second.averages[0].weight, average)  # type: ignore[arg-type]
    while second.running:
        second.step(module(torch.ones(2, 3)).square().mean())
    assert second.step_count == 10
    second.save()
    assert not loop().running, "no step more than the budget"


def test_a_stage_begins_with_the_weights_it_is_given(options: Options) -> None:
    given, module = torch.nn.Linear(3, 1), torch.nn.Linear(3, 1)
    torch.save([given.state_dict()], options.work / "toy.init.pt")
    begun = Loop("toy", [module], Budget(minutes=10, steps=10, rate=0.1), options)
    assert torch.equal(module.weight, given.weight)
    assert torch.equal(begun.averages[0].weight, given.weight)  # type: ignore[arg-type]


def test_a_few_scenes_are_learnt_by_heart_to_see_what_the_text_does(options: Options) -> None:
    recipe.run(options, ["scenes", "vae", "text", "latents"])
    told = diagnose.lesson(options, count=3)
    assert len(told.specs) == len(told.prompts) == len(told.latents) == 3
    assert all(len(spec.things) == 1 for spec in told.specs)
    table = diagnose.diagnose(options, ["no pooled text"], steps=1, scenes=2)
    assert set(table) == {"no pooled text"}
    assert all(0 <= share <= 1 for row in table.values() for share in row.values())


def test_what_a_variant_leaves_out_is_left_out() -> None:
    assert unet.build().add_embedding is not None
    assert not hasattr(unet.build(pooled_text=False), "add_embedding")
    weights = []
    for pooled in (True, False):
        torch.manual_seed(0)
        weights.append(unet.build(pooled_text=pooled).state_dict())
    full, bare = weights
    assert 0 < len(bare) < len(full)
    assert all(torch.equal(weight, full[key]) for key, weight in bare.items()), "what both have begins alike"
    assert [name for name, variant in VARIANTS.items() if replace(variant, note=RECIPE.note) == RECIPE] == ["recipe"]


@pytest.fixture
def run_so_far(options: Options) -> Options:
    """A run whose denoiser is still to be trained."""
    recipe.run(options, ["scenes", "vae", "text", "latents", "prompts"])
    return options


def test_every_variant_learns(run_so_far: Options) -> None:
    for name, variant in VARIANTS.items():
        loop, denoiser, encoder = compare.learn(run_so_far, name, steps=2)
        assert loop.step_count == 2 // variant.batch_factor, name
        assert loop.optimiser.param_groups[0]["lr"] > 0 or variant.cosine, name
        taught = text.load(run_so_far).state_dict()
        same = all(torch.equal(weights, taught[key]) for key, weights in encoder.state_dict().items())
        assert same == (variant.text == "taught"), name
        assert hasattr(denoiser, "add_embedding") == variant.pooled_text, name
    along, _, encoder = compare.learn(run_so_far, "text learns along", steps=4)
    assert along.modules[1] is encoder, "it is among what is trained, and its average is what is judged"


def test_a_comparison_is_kept_and_goes_on(run_so_far: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "SUITES", ("centred",))
    monkeypatch.setattr(compare, "FRESH", 8)
    job = (run_so_far, "recipe", 2, 1)
    rows = compare.work_on(job)
    assert set(rows) == {"recipe", "raw weights"}
    assert all(set(row) == {"error", "centred: shape", "centred: all"} for row in rows.values())
    assert all(row["error"] > 0 for row in rows.values())
    learn = compare.learn
    monkeypatch.setattr(compare, "learn", None)
    assert compare.work_on(job) == rows, "it is read, not trained again"
    trained = []

    def noted(*told: Any) -> Any:
        made = learn(*told)
        trained.append(made[0].step_count)
        return made

    monkeypatch.setattr(compare, "learn", noted)
    for steps, count in ((2, 0), (3, 0)):
        compare.work_on((run_so_far, "recipe", steps, count))
    assert trained == [2, 3], "with other steps or prompts it is another comparison"


def test_the_latents_are_normalised_without_changing_the_pictures(options: Options) -> None:
    torch.manual_seed(0)
    model: Any = vae.build().eval()
    pictures = data.draw_wild((0, range(8), scenes.EASY))
    pixels = data.to_tensor(pictures, "cpu")
    with torch.no_grad():
        before = model.decode(model.encode(pixels).latent_dist.mean).sample
        vae.normalise(model, model.encode(pixels).latent_dist.mean)
        latents = model.encode(pixels).latent_dist.mean
        after = model.decode(latents).sample
    assert torch.allclose(latents.std((0, 2, 3)), torch.ones(4), atol=1e-3)
    assert torch.allclose(latents.mean((0, 2, 3)), torch.zeros(4), atol=1e-3)
    assert torch.allclose(before, after, atol=1e-3)


def test_the_questions_put_to_the_text_encoder_cover_every_spec() -> None:
    rng = random.Random(0)
    for _ in range(200):
        answered = text.answers(scenes.sample_spec(rng, scenes.BROAD))
        assert all(0 <= a < len(q) for a, q in zip(answered, text.QUESTIONS, strict=True))
