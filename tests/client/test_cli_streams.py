"""The command line when stdin or stdout is closed, full, read by nobody, or of an encoding that lacks letters."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

PIXWIRE = sys.executable, "-m", "pixwire"
SECONDS = 60.0  # a bound for a command that hangs, never a measure


def run(redirection: str, *arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs a command with a redirection of the shell."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PIXWIRE_CONFIG_DIR": str(cwd), **env}
    environment.pop("PYTHONUNBUFFERED", None)
    return subprocess.run(
        ["sh", "-c", f'"$@" {redirection}', "sh", *PIXWIRE, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=environment,
        timeout=SECONDS,
    )


@pytest.mark.parametrize("arguments", [["generate", "--prompts", "-"], ["wire", "decode", "-"]], ids=" ".join)
def test_closed_stdin_is_empty(arguments: list[str], tmp_path: Path) -> None:
    ended = run("<&-", *arguments, cwd=tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)


def test_closed_stdout(tmp_path: Path) -> None:
    ended = run(">&-", "contexts", "list", cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("arguments", [["--version"], ["contexts", "list", "--json"]], ids=" ".join)
def test_nobody_reads(arguments: list[str], tmp_path: Path) -> None:
    """As with `| head`: nothing is said about it."""
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [*PIXWIRE, *arguments],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PIXWIRE_CONFIG_DIR": str(tmp_path)},
        timeout=SECONDS,
    )
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (1, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("arguments", [["--version"], ["contexts", "list", "--json"]], ids=" ".join)
def test_a_full_disk(arguments: list[str], tmp_path: Path) -> None:
    ended = run(">/dev/full", *arguments, cwd=tmp_path)
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert "No space left on device" in ended.stderr


def test_letters_that_stdout_lacks(tmp_path: Path) -> None:
    arguments = "contexts", "add", "grün", "--url", "pixwire://localhost"
    ended = run("", *arguments, cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert (ended.returncode, ended.stdout.splitlines()[0]) == (0, "gr\\xfcn (in use)")


def test_a_terminal_that_shows_no_screen(tmp_path: Path) -> None:
    """It would stay empty for ever."""
    terminal, screen = pty.openpty()
    ended = subprocess.run(
        [*PIXWIRE, "top"],
        stdin=screen,
        stdout=screen,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TERM": "dumb", "PIXWIRE_URL": "pixwire://[::1]:1"},
        timeout=SECONDS,
    )
    os.close(terminal)
    os.close(screen)
    assert ended.returncode == 2
    assert "TERM=dumb" in ended.stderr
    assert "--once" in ended.stderr
