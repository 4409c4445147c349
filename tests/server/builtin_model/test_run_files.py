"""What a run left in its folder is found, or said to be missing or of another run; senseless options are refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pixwire_server.builtin_model import scenes
from pixwire_server.builtin_model.training import __main__ as recipe
from pixwire_server.builtin_model.training import compare, data, diagnose, files, tokenizer
from pixwire_server.builtin_model.training.files import FilesError
from pixwire_server.builtin_model.training.options import Options

Main = Callable[[list[str]], None]
TOLD = ["--scenes", "6", "--broad-scenes", "4"]


@pytest.fixture
def options(tmp_path: Path) -> Options:
    """A run that has drawn its scenes, a few."""
    made = Options(tmp_path, scenes=6, broad_scenes=4, fancy_scenes=3)
    made.work.mkdir()
    for name, mix in (("scenes", scenes.EASY), ("broad", scenes.BROAD), ("fancy", scenes.FANCY)):
        data.save(made, name, data.draw_chunk((made.seed, data.indices(made, name), mix)))
    return made


def _encode(options: Options, processes: int) -> None:
    """Latents as so many processes leave them; each holds nothing but its index."""
    for name, count in (("scenes", options.scenes), ("broad", options.broad_scenes)):
        numbers = torch.arange(count).view(-1, 1, 1, 1)
        for process, part in enumerate(torch.split(numbers, -(-count // processes))):
            torch.save(part.clone(), options.work / f"latents-{name}-{process}.pt")


@pytest.mark.parametrize(
    "other", [{"scenes": 5, "broad_scenes": 5}, {"broad_scenes": 3}, {"fancy_scenes": 9}, {"seed": 1}]
)
def test_the_scenes_of_another_run_are_not_gone_on_with(options: Options, other: dict[str, Any]) -> None:
    data.check(options)
    with pytest.raises(FilesError, match=r"\.npy (holds|was drawn)"):
        recipe.run(replace(options, **other), ["prompts"])
    assert not (options.work / "prompts-scenes.pt").exists()


def test_words_that_changed_are_not_mixed_with_what_was_learnt(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe.run(options, [])
    recipe.run(options, [])
    vocab, merges = tokenizer.vocabulary()
    swapped = vocab | {"red</w>": vocab["blue</w>"], "blue</w>": vocab["red</w>"]}
    monkeypatch.setattr(tokenizer, "vocabulary", lambda: (swapped, merges))
    with pytest.raises(FilesError, match=r"vocab\.json is not of the tokens that language\.py makes now"):
        recipe.run(options, ["prompts"])
    assert not (options.work / "prompts-scenes.pt").exists()


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_latents_are_read_in_order_however_many_processes_wrote_them(options: Options, processes: int) -> None:
    _encode(options, processes)
    for asked in (replace(options, processes=1), options, replace(options, device="cuda")):
        assert files.latents(asked).flatten().tolist() == [*range(6), *range(4)]


def test_latents_of_one_process_only_are_refused(options: Options) -> None:
    _encode(options, 2)
    (options.work / "latents-scenes-1.pt").unlink()
    with pytest.raises(FilesError, match=r"of 3 scenes, --scenes is 6.*run --stages latents again"):
        files.need(options, "latents")


@pytest.mark.parametrize("stage", [stage for stage, row in recipe.STAGES.items() if row.needs])
def test_a_stage_says_which_one_must_come_before(stage: str, tmp_path: Path) -> None:
    first = recipe.STAGES[stage].needs[0]
    with pytest.raises(FilesError, match=rf"is missing; run .*training --out {tmp_path} --stages {first} first"):
        recipe.run(Options(tmp_path), [stage])


@pytest.mark.parametrize("main", [compare.main, diagnose.main])
def test_without_its_files_a_run_is_not_looked_at(main: Main, options: Options) -> None:
    told = ["--out", str(options.out), *TOLD]
    for stage in ("vae", "text", "latents"):
        with pytest.raises(SystemExit, match=rf"^error: .*/work/.* is missing; run .* --stages {stage} first"):
            main(told)
        if stage != "latents":
            (options.work / f"{stage}.pt").touch()
    _encode(options, 1)
    for name, count in (("scenes", 6), ("broad", 4)):
        torch.save(torch.zeros(count, 3, 40, dtype=torch.int16), options.work / f"prompts-{name}.pt")
    with pytest.raises(SystemExit, match=r"^error: .*scenes\.npy was drawn with another --seed than 5"):
        main([*told, "--seed", "5"])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--seed", "-1"], "--seed: -1 is below 0"),
        (["--processes", "0"], "--processes: 0 is below 1"),
        (["--broad-scenes", "0"], "--broad-scenes: 0 is below 1"),
        (["--unet-steps", "many"], "--unet-steps: invalid whole number value: 'many'"),
        (["--unet-minutes", "nan"], "--unet-minutes: nan is below 0 or no number"),
        (["--device", "abacus"], "--device: torch cannot compute on 'abacus' here"),
    ],
)
def test_senseless_options_are_refused(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        recipe.parse(["--out", "nowhere", *arguments])
    assert told in capsys.readouterr().err


def test_a_run_that_can_have_no_folder_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match=r"^error: --out .*/file: "):
        recipe.main(["--out", str(tmp_path / "file"), "--stages", "prompts"])
