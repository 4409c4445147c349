"""The demo, with a server process that makes plain squares."""

from pathlib import Path

import pytest
from command_line import Command, Ended
from PIL import Image

FAKE = str(Path(__file__).parent / "fake_server")

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio"])


async def demo(folder: Path, *arguments: str, **environment: str) -> Ended:
    temporary = folder / "tmp"
    temporary.mkdir()
    settings = {"PYTHONPATH": FAKE, "TMPDIR": str(temporary), "PIXWIRE_LISTEN": "nonsense:of:the:user", **environment}
    ended = await (await Command.start("demo", *arguments, cwd=folder, **settings)).end()
    assert list(temporary.iterdir()) == [], "the demo leaves nothing behind"
    return ended


async def test_six_pictures_and_a_contact_sheet(tmp_path: Path) -> None:
    ended = await demo(tmp_path)
    assert ended.code == 0, ended.err
    lines = ended.out.splitlines()
    assert len(lines) == 8
    assert lines[0] == "demo-output/a-red-circle-on-a-blue-background.png"
    assert lines[6] == "demo-output/contact-sheet.png"
    assert lines[7].startswith("6 images in ")
    assert "2.0 requests per forward pass on average" in lines[7]
    for line, colour in zip(lines[:2], [(255, 0, 0), (0, 160, 0)], strict=True):
        with Image.open(tmp_path / line) as picture:
            assert picture.size == (64, 64)
            assert picture.getpixel((5, 5)) == colour
    with Image.open(tmp_path / lines[6]) as sheet:
        assert sheet.width > 3 * 256
    assert "a red circle on a blue background: succeeded" in ended.err
    assert "the server has stopped cleanly" in ended.err


async def test_one_prompt(tmp_path: Path) -> None:
    ended = await demo(tmp_path, "--prompt", "a green star", "--out", "deep/er", FAKE_REQUESTS="1")
    assert ended.code == 0, ended.err
    assert ended.out.splitlines()[:2] == ["deep/er/a-green-star.png", "deep/er/contact-sheet.png"]
    assert ended.out.splitlines()[2].startswith("1 image in ")


async def test_a_server_that_does_not_start(tmp_path: Path) -> None:
    ended = await demo(tmp_path, FAKE_BEHAVIOUR="no start")
    assert ended.code == 1
    assert ended.err.splitlines()[-1] == "pixwire: the server did not start; its last words: the model folder is empty"


async def test_jobs_that_fail(tmp_path: Path) -> None:
    ended = await demo(tmp_path, FAKE_BEHAVIOUR="fail jobs")
    assert ended.code == 1
    assert ended.err.splitlines()[-1].endswith("failed: out of paint [PIPELINE_ERROR]")


async def test_wrong_prompts_are_found_first(tmp_path: Path) -> None:
    ended = await demo(tmp_path, "--prompt", " ")
    assert ended.code == 2
    assert "prompt" in ended.err
    assert "starting" not in ended.err


async def test_prompts_that_would_have_the_same_name(tmp_path: Path) -> None:
    prompts = ("--prompt", "red", "--prompt", "red!", "--prompt", "red")
    ended = await demo(tmp_path, *prompts, FAKE_REQUESTS="2")
    assert ended.out.splitlines()[:2] == ["demo-output/red.png", "demo-output/red-2.png"]


async def test_a_server_that_ends_badly(tmp_path: Path) -> None:
    ended = await demo(tmp_path, FAKE_BEHAVIOUR="bad end")
    assert ended.code == 1
    assert "exit code 9" in ended.err


async def test_ctrl_c_stops_the_server_too(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    command = await Command.start("demo", cwd=tmp_path, PYTHONPATH=FAKE, TMPDIR=str(temporary), FAKE_REQUESTS="7")
    assert command.process.stderr is not None
    while b"running" not in (line := await command.process.stderr.readline()) and b"listening" not in line:
        assert line, "the demo ended early"
    command.interrupt()
    ended = await command.end()
    assert ended.code == 130
    assert list(temporary.iterdir()) == []
