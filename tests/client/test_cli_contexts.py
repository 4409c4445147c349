"""`pixwire contexts`: what is saved, who can read it, and which server a command then talks to."""

import io
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Inside
from scripted_server import ScriptedServer

from pixwire.cli import contexts
from pixwire.cli.contexts import Contexts
from pixwire.errors import InvalidArgument
from pixwire_protocol.messages import List


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PIXWIRE_CONFIG_DIR", str(tmp_path / "config"))
    for name in ("PIXWIRE_URL", "PIXWIRE_CONTEXT", "PIXWIRE_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "config"


async def test_a_life(inside: Inside, folder: Path) -> None:
    assert (await inside("contexts", "list")).out == "no contexts; make one with: pixwire contexts add NAME --url URL\n"
    ended = await inside("contexts", "add", "home", "--url", "pixwire://localhost:1", "--token", "secret-1")
    assert (ended.code, ended.out) == (0, "home (in use)\n  url: pixwire://localhost:1\n  token: (kept)\n")
    ended = await inside("contexts", "add", "work", "--url", "pixwires://a.example,pixwires://b.example", "--json")
    assert ended.json == {"name": "work", "used": False, "url": "pixwires://a.example,pixwires://b.example"}
    ended = await inside("contexts", "list")
    assert ended.out.splitlines() == [
        "* home  pixwire://localhost:1",
        "  work  pixwires://a.example,pixwires://b.example",
    ]
    assert (await inside("contexts", "use", "work")).code == 0
    assert (await inside("contexts", "show")).out.startswith("work (in use)\n")
    assert (await inside("contexts", "remove", "work")).out == "removed work\n"
    ended = await inside("contexts", "show")
    assert ended.code == 2
    assert "no context is in use" in ended.err
    held = json.loads((folder / "contexts.json").read_text())
    assert held == {"used": None, "contexts": {"home": {"url": "pixwire://localhost:1", "token": "secret-1"}}}
    assert "secret-1" not in (await inside("contexts", "show", "home", "--json")).out


async def test_whose_server_does_not_answer_is_said(inside: Inside, folder: Path) -> None:
    """Who has forgotten which context is in use sees it."""
    await inside("contexts", "add", "gpu", "--url", "pixwire+unix:///no/such/socket")
    ended = await inside("models")
    assert ended.code == 3
    assert "the server of the context 'gpu', which is in use: --url and --context name another" in ended.err
    ended = await inside("models", "--url", "pixwire+unix:///no/other")
    assert "start a server with `pixwire serve`" in ended.err
    assert "gpu" not in ended.err


async def test_nobody_else_can_read_it(inside: Inside, folder: Path) -> None:
    before = os.umask(0)
    try:
        await inside("contexts", "add", "home", "--url", "pixwire://localhost", "--token", "secret")
    finally:
        os.umask(before)
    file = folder / "contexts.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert contexts.is_private()
    file.chmod(0o644)
    assert not contexts.is_private()
    await inside("contexts", "use", "home")
    assert contexts.is_private(), "it is private again as soon as it is written"
    assert [entry.name for entry in folder.iterdir()] == ["contexts.json"], "nothing half-written is left"


async def test_commands_talk_to_the_one_in_use(server: ScriptedServer, inside: Inside) -> None:
    server.tokens["right"] = None
    await inside("contexts", "add", "other", "--url", "pixwire://localhost:1")
    await inside("contexts", "add", "here", "--url", server.url, "--token", "right", "--use")
    for arguments in (["models"], ["models", "--context", "here"]):
        ending = inside(*arguments, "--json")
        (await server.next(List)).listed({"what": "models", "models": []})
        ended = await ending
        assert ended.code == 0, ended.err
        assert ended.json == {"models": []}
    ended = await inside("models", "--context", "other")
    assert ended.code == 3
    assert "localhost:1" in ended.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["models", "--context", "nowhere"], "there is no context 'nowhere'; there are: home"),
        (["models", "--context", "home", "--url", "pixwire://localhost"], "both --url and --context are given"),
        (["contexts", "use", "nowhere"], "there is no context 'nowhere'"),
        (["contexts", "remove", "nowhere"], "there is no context 'nowhere'"),
        (["contexts", "add", "a/b", "--url", "pixwire://localhost"], "a context's name is"),
        (["contexts", "add", "x", "--url", "http://localhost"], "not HTTP"),
        (["contexts", "add", "x", "--url", "pixwire://a,nonsense"], "nonsense"),
    ],
)
async def test_what_cannot_be(inside: Inside, arguments: list[str], said: str) -> None:
    await inside("contexts", "add", "home", "--url", "pixwire://localhost:1")
    ended = await inside(*arguments)
    assert ended.code == 2
    assert said in ended.err


async def test_a_token_goes_to_its_own_server_alone(inside: Inside) -> None:
    """With --url the context in use counts for nothing: its token would go to a stranger."""
    from pixwire.cli.target import _target

    await inside("contexts", "add", "home", "--url", "pixwire://localhost:1", "--token", "secret", "--use")
    assert _target().token == "secret"
    assert _target(url="pixwire://localhost:2").token is None
    assert _target(token="mine").token == "mine"
    assert _target(token_file=Path("f")).token is None
    assert _target().url == "pixwire://localhost:1"


async def test_files_are_found_from_other_folders(
    inside: Inside, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.chdir(folder.parent)
    await inside("contexts", "add", "home", "--url", "pixwires://localhost", "--token-file", "t", "--cafile", "c.pem")
    assert dict(contexts.load().get("home")) == {
        "url": "pixwires://localhost",
        "token_file": str(folder.parent / "t"),
        "cafile": str(folder.parent / "c.pem"),
    }


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"contexts": {"a": {"url": 7}}}', '{"contexts": {"a": {"pass": ""}}}']
)
async def test_a_file_that_is_none(inside: Inside, folder: Path, text: str) -> None:
    folder.mkdir()
    (folder / "contexts.json").write_text(text)
    ended = await inside("contexts", "list")
    assert ended.code == 2
    assert "correct or remove it" in ended.err


def _no_text(folder: Path) -> None:
    folder.mkdir()
    (folder / "contexts.json").write_bytes(b"\xff\xfe")


def _a_folder(folder: Path) -> None:
    (folder / "contexts.json").mkdir(parents=True)


def _below_a_file(folder: Path) -> None:
    folder.touch()


@pytest.mark.parametrize("spoil", [_no_text, _a_folder, _below_a_file])
async def test_a_file_that_cannot_be_read(inside: Inside, folder: Path, spoil: Callable[[Path], None]) -> None:
    """Every command says so, and one that names its server needs no list."""
    spoil(folder)
    for arguments in (["contexts", "list"], ["models"], ["contexts", "add", "x", "--url", "pixwire://localhost"]):
        ended = await inside(*arguments, "--json")
        assert ended.code in (1, 2)
        assert ended.err.count("\n") == 1
        assert str(folder / "contexts.json") in ended.error["message"]
    ended = await inside("models", "--url", "pixwire+unix:///no/such/socket")
    assert ended.code == 3
    assert "start a server with `pixwire serve`" in ended.err


async def test_no_token_on_stdin(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the program before the pipe failed: the context that was there keeps its token."""
    await inside("contexts", "add", "home", "--url", "pixwire://localhost", "--token", "secret")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\n")))
    ended = await inside("contexts", "add", "home", "--url", "pixwire://localhost", "--token", "-")
    assert ended.code == 2
    assert "nothing came" in ended.err
    assert contexts.load().get("home")["token"] == "secret"


async def test_a_context_in_use_that_is_gone(folder: Path) -> None:
    folder.mkdir()
    (folder / "contexts.json").write_text('{"used": "x", "contexts": {}}')
    assert contexts.load() == Contexts(None, {})


def test_names() -> None:
    for name in ("a", "a.b-c_1", "x" * 64):
        assert Contexts().with_one(name, {}).used == name
    for name in ("", "-a", "a b", "x" * 65, "../a"):
        with pytest.raises(InvalidArgument):
            Contexts().with_one(name, {})
