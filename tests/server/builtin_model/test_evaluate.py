"""What the evaluation is told that cannot be: one line, and no traceback."""

import shutil
from pathlib import Path

import pytest

from pixwire_server import builtin_model
from pixwire_server.builtin_model import evaluate


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--n", "-1"], "--n: -1 is below 0"),
        (["--steps", "0"], "--steps: 0 is below 1"),
        (["--threads", "0"], "--threads: 0 is below 1"),
        (["--guidance-scale", "-2"], "--guidance-scale: -2 is below 0"),
        (["--contact", "nowhere/sheet.png"], "there is no folder nowhere"),
    ],
)
def test_senseless_arguments_are_refused(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        evaluate.main(arguments)
    assert told in capsys.readouterr().err


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=rf"^error: --model {tmp_path} is no diffusers folder"):
        evaluate.main(["--model", str(tmp_path)])


def test_a_model_that_does_not_load_is_named(tmp_path: Path) -> None:
    for file in ("model_index.json", "pixwire_defaults.json"):
        shutil.copy(builtin_model.path() / file, tmp_path)
    with pytest.raises(SystemExit, match=rf"^error: --model {tmp_path} does not load as a StableDiffusionPipeline: "):
        evaluate.main(["--model", str(tmp_path)])


def test_a_model_without_settings_needs_them_as_arguments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "plain"
    shutil.copytree(builtin_model.path(), folder, ignore=shutil.ignore_patterns("pixwire_defaults.json"))
    for given in ([], ["--steps", "3"]):
        with pytest.raises(SystemExit, match=r"^error: no settings in .*give --steps and --guidance-scale"):
            evaluate.main(["--model", str(folder), "--n", "0", *given])
    evaluate.main(["--model", str(folder), "--n", "0", "--steps", "3", "--guidance-scale", "1"])
    assert "steps 3, guidance_scale 1.0" in capsys.readouterr().out
