"""The examples of the documentation, run as they are against a real server with the built-in model."""

import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pixwire

EXAMPLES = Path(__file__).parents[2] / "examples"
COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "white": (1, 1, 1), "black": (0, 0, 0)}

Run = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Any) -> Path:
    """Examples write where they are started, and find the server by PIXWIRE_URL."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIXWIRE_URL", server.url)
    monkeypatch.delenv("PIXWIRE_TOKEN", raising=False)
    return tmp_path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs an example as a program, in this process: `run("deadlines")`; returns its names."""

    def run_it(name: str, *arguments: str, exits: int | None = None) -> dict[str, Any]:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
        if exits is None:
            return runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        assert (ended.value.code or 0) == exits
        return {}

    return run_it


@pytest.fixture
def client(server: Any) -> Iterator[pixwire.Client]:
    with pixwire.Client(server.url) as client:
        yield client


class Program(subprocess.Popen[str]):
    """An example as a process of its own, for those that are killed."""

    def __init__(self, name: str, *arguments: str, **options: Any) -> None:
        command = [sys.executable, "-u", str(EXAMPLES / f"{name}.py"), *arguments]
        super().__init__(command, stdout=subprocess.PIPE, text=True, **options)

    def line(self) -> str:
        assert self.stdout is not None
        return self.stdout.readline()

    def __exit__(self, *error: Any) -> None:
        self.kill()
        super().__exit__(*error)


def load(name: str) -> Any:
    """The names of an example that is not run."""
    return type("Example", (), runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name=name))


def shows(picture: Any, middle: str | None = None, corner: str | None = None) -> None:
    """Checks by its pixels that a picture (a path or an image) has these colours in its middle and in its corner."""
    opened = pixwire.Image.open(picture) if isinstance(picture, str | Path) else picture
    pixels = opened.to_numpy() if isinstance(opened, pixwire.Image) else opened
    height, width, _ = pixels.shape
    for colour, (y, x) in ((middle, (height // 2, width // 2)), (corner, (2, 2))):
        if colour is not None:
            found = pixels[y - 1 : y + 2, x - 1 : x + 2].reshape(-1, 3).mean(axis=0)
            assert name_of(found) == colour, f"{colour} was wanted at {x}, {y}, here is {found}"


def name_of(rgb: Any) -> str:
    """The nearest of a few colours. Hue decides between colours, so that a dark red is red."""
    low, high = float(min(rgb)), float(max(rgb))
    if high < 60:
        return "black"
    if high - low < 50:
        return "white" if low > 180 else "grey"
    return ("red", "green", "blue")[[float(value) for value in rgb].index(high)]
