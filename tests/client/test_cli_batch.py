"""`pixwire generate` with several prompts, `--grid`, `--open`, `pixwire submit`, completion."""

from pathlib import Path

import pytest
from command_line import Command, Inside
from pictures import png
from PIL import Image as Pillow
from scripted_server import Request, ScriptedServer

from pixwire_protocol.messages import Cancel, Submit
from pixwire_protocol.params import parse
from pixwire_protocol.registry import ErrorCode

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio"])


def prompt_of(request: Request) -> str:
    return str(parse(request.message.tail).prompt)


async def by_prompt(server: ScriptedServer, count: int) -> dict[str, Request]:
    """So many requests, which come in any order."""
    found = [await server.next(Submit) for _ in range(count)]
    return {prompt_of(request): request for request in found}


async def test_a_prompt_on_each_line(server: ScriptedServer, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a red star\n\n  a blue star \n")
    arguments = ["a green star", "--prompts", "prompts.txt", "--steps", "4", "--grid", "all.png"]
    command = await Command.start("generate", *arguments, cwd=tmp_path, url=server.url)
    requests = await by_prompt(server, 3)
    assert set(requests) == {"a green star", "a red star", "a blue star"}
    for request in requests.values():
        assert parse(request.message.tail).steps == 4
        request.accept("running")
        request.succeed([png()])
    ended = await command.end()
    assert ended.code == 0, ended.err
    names = ["a-green-star-100.png", "a-red-star-100.png", "a-blue-star-100.png"]
    assert [line.split()[0] for line in ended.out.splitlines()] == [*names, "all.png"]
    assert all((tmp_path / name).exists() for name in names)
    with Pillow.open(tmp_path / "all.png") as grid:
        assert grid.width > 3 * 256


async def test_what_fails_does_not_stop_the_others(server: ScriptedServer, tmp_path: Path) -> None:
    command = await Command.start("generate", "one", "two", "-o", "x.png", "--json", cwd=tmp_path, url=server.url)
    requests = await by_prompt(server, 2)
    requests["one"].error(ErrorCode.UNSUPPORTED, "cannot")
    requests["two"].accept("running")
    requests["two"].succeed([b"png"])
    ended = await command.end()
    assert ended.code == 1
    first, second = ended.json["results"]
    assert first["error"]["name"] == "UNSUPPORTED"
    assert second["images"][0]["path"] == "x-2.png"
    assert (tmp_path / "x-2.png").read_bytes() == b"png"
    assert not (tmp_path / "x-1.png").exists()


async def test_equal_prompts_do_not_overwrite_each_other(server: ScriptedServer, tmp_path: Path) -> None:
    command = await Command.start("generate", "same", "same", cwd=tmp_path, url=server.url)
    for _ in range(2):
        request = await server.next(Submit)
        request.accept("running")
        request.succeed([b"png"])
    ended = await command.end()
    assert ended.code == 0, ended.err
    names = [line.split()[0] for line in ended.out.splitlines()]
    assert len(set(names)) == 2
    assert all((tmp_path / name).exists() for name in names)


async def test_ctrl_c_cancels_all(server: ScriptedServer, tmp_path: Path) -> None:
    command = await Command.start("generate", "one", "two", cwd=tmp_path, url=server.url)
    jobs = {request.job for request in (await by_prompt(server, 2)).values()}
    command.interrupt()
    cancelled = set()
    for _ in range(2):
        request = await server.next(Cancel)
        cancelled.add(request.job)
        request.result("cancelled")
    assert cancelled == jobs
    ended = await command.end()
    assert ended.code == 130
    assert "interrupted; 2 of 2 jobs are cancelled" in ended.err


async def test_one_line_is_one_prompt(server: ScriptedServer, tmp_path: Path, inside: Inside) -> None:
    (tmp_path / "p").write_text("alone\n")
    ending = inside("generate", "--prompts", str(tmp_path / "p"), "-o", str(tmp_path / "o.png"), "--url", server.url)
    request = await server.next(Submit)
    request.accept("running")
    request.succeed([b"png"])
    assert (await ending).code == 0
    assert (tmp_path / "o.png").exists()


async def test_open(server: ScriptedServer, tmp_path: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("typer.launch", opened.append)
    for more, expected in (([], "o.png"), (["--grid", str(tmp_path / "g.png")], "g.png")):
        ending = inside("generate", "x", "-o", str(tmp_path / "o.png"), "--open", *more, "--url", server.url)
        request = await server.next(Submit)
        request.accept("running")
        request.succeed([png()])
        assert (await ending).code == 0
        assert opened.pop() == str(tmp_path / expected)
        assert opened == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["generate", "a", "b", "--job", "j"], "for one prompt"),
        (["generate", "a", "b", "-o", "-"], "for one prompt"),
        (["generate", "a", " "], "prompt"),
        (["generate"], "give a PROMPT"),
        (["generate", "a", "--grid", "g.txt"], "endings"),
        (["generate", "a", "--grid", "nowhere/g.png"], "no folder"),
        (["submit"], "give a PROMPT"),
        (["submit", "a", "b", "--job", "j"], "--job names one job"),
        (["submit", "a", "--steps", "0"], "steps"),
        (["generate", "--prompts", "empty"], "no prompt in"),
    ],
)
async def test_what_cannot_be(inside: Inside, arguments: list[str], said: str, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n \n")
    given = [str(tmp_path / "empty") if one == "empty" else one for one in arguments]
    ended = await inside(*given, "--url", "pixwire://localhost:1")
    assert ended.code == 2, ended
    assert said in ended.err


async def test_submit(server: ScriptedServer, inside: Inside) -> None:
    ending = inside("submit", "one", "two", "--tag", "night", "--seed", "5", "--url", server.url)
    requests = await by_prompt(server, 2)
    for request in requests.values():
        assert not request.message.watch
        assert request.message.tags == ("night",)
        request.result("queued")
    ended = await ending
    assert ended.code == 0, ended.err
    assert ended.out.splitlines() == [requests["one"].job, requests["two"].job]


async def test_submit_as_json_under_an_id(server: ScriptedServer, inside: Inside) -> None:
    ending = inside("submit", "one", "--job", "mine", "--json", "--url", server.url)
    (await server.next(Submit)).result("queued")
    assert (await ending).json == {"jobs": [{"job": "mine", "prompt": "one"}]}


async def test_submit_is_refused(server: ScriptedServer, inside: Inside) -> None:
    ending = inside("submit", "one", "--url", server.url)
    (await server.next(Submit)).error(ErrorCode.QUEUE_FULL, "full", retry="after", processed="no", retry_after_ms=1000)
    assert (await ending).code == 5


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
async def test_completion(shell: str, tmp_path: Path) -> None:
    asked = {"_PIXWIRE_COMPLETE": f"complete_{shell}", "COMP_WORDS": "pixwire gen", "COMP_CWORD": "1"}
    asked |= {"_TYPER_COMPLETE_ARGS": "pixwire gen", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    ended = await (await Command.start(cwd=tmp_path, **asked)).end()
    assert "generate" in ended.out, ended
    assert "contexts" not in ended.out
