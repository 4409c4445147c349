"""Every fenced block of README.md and docs/ holds: Python is run or at least compiled against the real names, commands
are parsed by the programs that they call, data is read.
"""

import ast
import asyncio
import importlib.util
import inspect
import json
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

import pixwire
from pixwire.cli.app import app as command_line
from pixwire.wire.cli import app as wire
from pixwire_server import cli as server_cli
from pixwire_server import config

from .blocks import PAGES, ROOT, Block, blocks, commands

BLOCKS = blocks()
PYTHON = [block for block in BLOCKS if block.language == "python"]
COMMANDS = [(block, words) for block in BLOCKS for words in commands(block)]

FRAGMENTS = {
    "README.md:python:7": "names servers that do not exist, and starts one, as examples/embedded.py does, which is run",
    "README.md:python:8": "needs a server at that port; tests/e2e/test_http.py calls the OpenAI client like this",
    "docs/clusters.md:python:1": "names two servers that do not exist; examples/several_servers.py is run",
    "docs/guide/threads.md:python:2": "the shape of a view in Flask and Django, which are not installed here",
    "docs/http.md:python:1": "needs files and a token; tests/e2e/test_http.py calls the OpenAI client like this",
}
"""Blocks of Python that are compiled and checked, and not run, with the reason."""

ELSEWHERE = {
    "echo",
    "curl",
    "du",
    "grep",
    "jq",
    "journalctl",
    "sudo",
    "systemctl",
    "groupadd",
    "install",
    "mv",
    "cp",
    "chown",
}
"""Programs of the system: nothing of ours can be wrong in how they are called but the URLs and files."""

READ = {"json": json.loads, "toml": tomllib.loads}
SHOWN = {
    "": "transcripts and listings: their commands are parsed, their output is of another day",
    "js": "a page for a browser",
    "yaml": "Prometheus' configuration",
    "ini": "units of systemd: server/deploy is checked by systemd-analyze",
    "mermaid": "drawn by docs/site/draw_diagrams.py",
}
"""Languages whose blocks are not run, with the reason."""


def ids(value: Any) -> str:
    return value.name if isinstance(value, Block) else ""


def test_there_are_blocks() -> None:
    """So that a pattern that finds nothing does not pass for everything in order."""
    assert len(PYTHON) > 20
    assert len(COMMANDS) > 60
    assert len(PAGES) > 15


def test_every_language_is_known() -> None:
    assert {block.language for block in BLOCKS} <= {"python", "sh", "console", *READ, *SHOWN}


def test_every_reason_is_needed() -> None:
    assert set(FRAGMENTS) <= {block.name for block in PYTHON}


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.snippets], ids=ids)
def test_files_that_are_shown(block: Block) -> None:
    for path in block.snippets:
        assert (ROOT / path).is_file(), path
        if path.startswith("examples/"):
            tests = "".join(test.read_text() for test in (ROOT / "tests" / "examples").glob("*.py"))
            assert f'"{Path(path).stem}"' in tests or f"{Path(path).stem}:app" in tests, f"{path} has no test"


@pytest.mark.parametrize("block", [block for block in PYTHON if not block.snippets], ids=ids)
def test_python_names_what_there_is(block: Block) -> None:
    """It compiles, and every name of the library and every argument of its methods exists."""
    tree = compile(block.text, block.name, "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "pixwire":
            assert hasattr(pixwire, node.attr), f"pixwire.{node.attr}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
            known = set(inspect.signature(METHODS[node.func.attr]).parameters)
            assert {keyword.arg for keyword in node.keywords} <= known, ast.unparse(node)


METHODS: dict[str, Callable[..., Any]] = {
    **{
        name: getattr(pixwire.Client, name)
        for name in ("generate", "generate_many", "submit", "jobs", "models", "ping")
    },
    **{name: getattr(pixwire.Job, name) for name in ("events", "image", "images", "wait", "fetch_to", "cancel")},
    **{name: getattr(pixwire, name) for name in ("connect", "Client", "embedded", "Pipeline")},
}
del METHODS["generate"], METHODS["images"]  # the OpenAI client has methods of these names, too
METHODS["edit"] = lambda image, mask, prompt: None


async def test_python_runs(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page are run one after the other, with `client` connected to a real server."""
    monkeypatch.chdir(tmp_path)
    async with pixwire.connect(server.url) as client:
        job = await client.submit("a red circle on a blue background", seed=7)
        names: dict[str, Any] = {"pixwire": pixwire, "client": client, "torch": _torch()}
        _mask(await job.image()).save("right-half.png")
        ran = 0
        for block in PYTHON:
            if not block.snippets and block.name not in FRAGMENTS:
                if "job_id" in block.text:
                    names["job_id"] = (await client.submit("a red circle", steps=50)).id
                await _run(block, server.url, names)
                names["client"] = client  # a program may have had one of its own
                ran += 1
    assert ran >= 7
    for name in ("circle.png", "0.png", "1.png", "now.jpg"):
        assert pixwire.Image.open(tmp_path / name).width > 0
    assert names["green"].width == names["fixed"].width == 64


async def _run(block: Block, url: str, names: dict[str, Any]) -> None:
    text = block.text.replace("pixwire://localhost", url)
    code = compile(text, block.name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    if code.co_flags & inspect.CO_COROUTINE:
        await eval(code, names)
    else:  # a program, perhaps with a loop of its own
        await asyncio.to_thread(exec, code, names)
    pipe = names.pop("pipe", None)
    if pipe is not None:
        pipe.close()


def _torch() -> Any:
    return pytest.importorskip("torch")


def _mask(image: pixwire.Image) -> Any:
    from PIL import Image

    mask = Image.new("L", (image.width, image.height))
    mask.paste(255, (image.width // 2, 0, image.width, image.height))
    return mask


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language in READ and not block.snippets], ids=ids)
def test_data_is_read(block: Block) -> None:
    READ[block.language](block.text)


@pytest.mark.parametrize(("block", "words"), COMMANDS, ids=ids)
def test_commands(block: Block, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command of ours is parsed by its own parser, so that a flag that is gone is found."""
    monkeypatch.chdir(tmp_path)
    program, *arguments = words
    program = program.rpartition("/")[2]
    if program == "make":
        targets = (ROOT / "Makefile").read_text()
        assert all(f"\n{word}:" in targets for word in arguments if "=" not in word), words
    elif program in ("python", "python3", "pip"):
        check_python(program, arguments)
    elif program in ("pixwire", "pixwire-server"):
        for word in arguments:
            if word.endswith((".png", ".txt", ".toml", ".pem", ".pxwcap", ".jpg")) and "/" not in word:
                shutil.copy(ROOT / "docs" / "contact-sheet.png", word)
        check_pixwire(program, arguments)
    else:
        assert program in ELSEWHERE, f"{program}: not one of ours, and not one of the system's that are known"


def check_python(program: str, arguments: list[str]) -> None:
    if program == "pip" or arguments[0] == "-m":
        module = "pip" if program == "pip" else arguments[1]
        assert importlib.util.find_spec(module) is not None, module
        return
    script = Path(arguments[0])
    assert (ROOT / script).is_file() or (ROOT / "examples" / script).is_file(), script


def check_pixwire(program: str, arguments: list[str]) -> None:
    if arguments[:1] == ["serve"] or (program == "pixwire-server" and arguments[:1] != ["token"]):
        check_serve(arguments[1:] if arguments[:1] == ["serve"] else arguments)
    elif arguments[:1] == ["token"]:
        assert set(arguments[1:]) - {"--admin", "--days", "90"} <= {"alice", "boss"}
    elif arguments[:1] == ["wire"]:
        parse(typer.main.get_command(wire), arguments[1:])
    else:
        parse(typer.main.get_command(command_line), arguments)


def check_serve(arguments: list[str]) -> None:
    known = {f"--{name.replace('_', '-')}" for name in config.describe_fields()} | {
        "--help",
        "--config",
        "--no-exact",
    }
    assert {word for word in arguments if word.startswith("--")} <= known, arguments
    assert server_cli.PROGRAM == "pixwire serve"


def parse(command: Any, arguments: list[str], parent: Any = None) -> None:
    """Parses a command line of typer's, group by group, and carries nothing out."""
    if "--help" in arguments or "--version" in arguments:
        arguments = [word for word in arguments if word not in ("--help", "--version")]
        if not arguments:
            return
    context = command.make_context(command.name, list(arguments), parent=parent, resilient_parsing="JOB" in arguments)
    with context:
        if hasattr(command, "resolve_command"):
            _, found, rest = command.resolve_command(context, [*context._protected_args, *context.args])
            parse(found, rest, context)
