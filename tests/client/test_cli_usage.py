"""Wrong usage, help, and what is not installed: the command line without a server."""

import json
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from pixwire.cli import main
from pixwire.cli.app import app

WRONG: list[tuple[list[str], int, str]] = [
    (["generate"], 2, "PROMPT"),
    (["generate", " "], 2, "prompt"),
    (["generate", "x", "--steps", "many"], 2, "--steps"),
    (["generate", "x", "--steps", "9999"], 2, "steps"),
    (["generate", "x", "-o", "a.gif"], 2, ".gif"),
    (["generate", "x", "-o", "none/a.png"], 2, "none"),
    (["generate", "x", "-o", "a.png", "--media-type", "image/jpeg"], 2, ".jpg"),
    (["generate", "x", "-o", "-", "-n", "2"], 2, "stdout"),
    (["generate", "x", "--job", "no spaces"], 2, "job id"),
    (["generate", "x", "--url", "http://localhost"], 2, "not HTTP"),
    (["generate", "x", "--url", "pixwire+unix:///nowhere/s"], 3, "no such file"),
    (["generate", "x", "--mask", "m.png"], 2, "mask"),
    (["generate", "x", "--strength", "0.5"], 2, "strength"),
    (["generate", "x", "--image", "nowhere.png", "--url", "pixwire+unix:///nowhere/s"], 3, "no such file"),
    (["generate", "x", "--url", "pixwires://127.0.0.1:1", "--cafile", "nowhere.pem"], 2, "nowhere.pem"),
    (["generate", "x", "--url", "pixwire://example.org", "--token", "secret"], 2, "pixwires://"),
    (["generate", "x", "--token-file", "nowhere"], 1, "nowhere"),
    (["generate", "x", "--token", "a", "--token-file", __file__], 2, "both"),
    (["generate", "--prompts", "nowhere.txt"], 1, "nowhere.txt: no such file or directory"),
    (["generate", "--like", "nowhere.png"], 1, "nowhere.png: no such file or directory"),
    (["generate", "--prompts", sys.executable], 2, "no UTF-8 text"),
    (["generate", "x", "--preview", "sixel"], 2, "--preview"),
    (["jobs", "--limit", "0"], 2, "--limit"),
    (["wire", "dance"], 2, "dance"),
    (["status", "x y"], 2, "job id"),
    (["dance"], 2, "dance"),
    (["generate", "x", "--adapter", "lora:much"], 2, "no number"),
    (["generate", "x", "-o", "-", "--grid", "sheet.png"], 2, "--output"),
    (["generate", "x", "-o", "-", "--open"], 2, "--output"),
    (["top"], 2, "--once or --json"),
    (["generate", "x", "--colour", "red"], 2, "--colour"),
]


@pytest.mark.parametrize(("arguments", "code", "says"), WRONG, ids=[" ".join(row[0]) for row in WRONG])
def test_wrong_usage_is_one_line(
    arguments: list[str], code: int, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIXWIRE_URL", "pixwire://127.0.0.1:1")
    assert main(arguments) == code
    out, err = capsys.readouterr()
    assert err.startswith("pixwire wire: " if arguments[0] == "wire" else "pixwire: ")
    assert says in err
    assert err.count("\n") == 1
    assert out == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate", "x", "--steps", "many"],
        ["generate", "x", "--adapter", "lora:much"],
        ["models", "--context", "nowhere", "--url", "pixwire://localhost"],
        ["wire", "connect", "--colour"],
        ["fetch", "j", "-o", "-"],
    ],
    ids=" ".join,
)
def test_wrong_usage_as_json(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments, "--json"]) == 2
    out, err = capsys.readouterr()
    error = json.loads(out)["error"]
    assert error["exit_code"] == 2
    assert error["message"] in err


def every_command(commands: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Those of this program; `serve`, `token` and `wire` are programs of their own."""
    for command in commands.registered_commands:
        if command.name not in ("serve", "token", "wire"):
            yield (*words, command.name)
    for group in commands.registered_groups:
        if group.typer_instance is not None:
            yield from every_command(group.typer_instance, (*words, group.typer_instance.info.name))


@pytest.mark.parametrize("words", list(every_command(app)), ids=" ".join)
def test_every_command_shows_how_it_is_used(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--help"]) == 0
    out = capsys.readouterr().out
    assert "Example" in out
    assert f"  pixwire {' '.join(words)}" in out


def test_help_has_examples_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    out = capsys.readouterr().out
    assert "  130  Ctrl-C" in out
    for command in ("generate", "status", "models", "jobs", "fetch", "ping", "demo", "serve", "token", "wire"):
        assert f"  {command} " in out
    assert main(["generate", "--help"]) == 0
    out = capsys.readouterr().out
    assert 'pixwire generate "a red circle on a blue background" -o circle.png' in out
    assert "PIXWIRE_URL" in out
    assert "PIXWIRE_TOKEN" in out
    assert main(["wire", "--help"]) == 0
    assert "pixwire wire" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("missing", "arguments", "says"),
    [
        ("typer", ["ping"], "pixwire: the command line needs typer: pip install 'pixwire[cli]'"),
        ("rich", ["ping"], "pixwire: the command line needs rich: pip install 'pixwire[cli]'"),
        ("pixwire_server", ["serve"], "pixwire: serving needs the server: pip install pixwire-server"),
        ("pixwire_server", ["token", "me"], "pixwire: making a token needs the server: pip install pixwire-server"),
    ],
)
def test_what_is_not_installed(
    missing: str, arguments: list[str], says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith(("pixwire.cli.", missing))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("pixwire.cli.app", raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    assert main(arguments) == 2
    assert capsys.readouterr().err == f"{says}\n"


@pytest.mark.parametrize(
    ("given", "handed_on"),
    [
        (["serve", "--listen", "127.0.0.1:0", "--help"], ["--listen", "127.0.0.1:0", "--help"]),
        (["token", "alice", "--help"], ["token", "alice", "--help"]),
    ],
)
def test_the_server_gets_its_arguments(given: list[str], handed_on: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def serve(arguments: list[str]) -> int:
        seen.append(arguments)
        return 7

    package, module = ModuleType("pixwire_server"), ModuleType("pixwire_server.cli")
    module.main = serve  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pixwire_server", package)
    monkeypatch.setitem(sys.modules, "pixwire_server.cli", module)
    assert main(given) == 7
    assert seen == [handed_on]
