"""The shape of the house: who may import whom, how large a module may grow, what the distributions hold."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ["protocol/pixwire_protocol", "client/pixwire", "server/pixwire_server"]
MODULES = sorted(p for package in PACKAGES for p in (ROOT / package).rglob("*.py"))
MAX_MODULE_LINES = 450
MAX_FUNCTION_LINES = 60


def test_import_rules_hold() -> None:
    # In a process of its own: it switches off the loggers of whoever runs it.
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    done = subprocess.run([*command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_modules_and_functions_can_be_seen_whole(path: Path) -> None:
    text = path.read_text()
    if text.startswith('"""Generated'):
        return  # tables written by a program are not read from top to bottom
    assert len(text.splitlines()) <= MAX_MODULE_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
            lines = node.end_lineno - node.lineno + 1
            assert lines <= MAX_FUNCTION_LINES, f"{node.name} (line {node.lineno}) has {lines} lines"


def test_the_client_distribution_needs_msgpack_alone() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert [d.split(">")[0] for d in project["dependencies"]] == ["msgpack"]


def test_one_version_for_both_distributions() -> None:
    versions = [
        tomllib.loads((ROOT / p).read_text())["project"]["version"] for p in ("pyproject.toml", "server/pyproject.toml")
    ]
    assert versions[0] == versions[1]


def test_everything_is_clean() -> None:
    """`make check` says the same, and has the types as well, which take a minute."""
    for command in (["ruff", "format", "--check", "--quiet", "."], ["ruff", "check", "--quiet", "."]):
        done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}{done.stderr}"
