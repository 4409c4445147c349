"""What `import pixwire` brings along."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import pixwire

REPORT = """
import json, sys
before = set(sys.modules)
import pixwire
alone = set(sys.modules) - before
pixwire.Client, pixwire.Job
threads = set(sys.modules) - before
pixwire.connect, pixwire.AsyncJob
print(json.dumps([sorted(alone), sorted(threads), sorted(set(sys.modules) - before)]))
"""
TIMING = "import time; start = time.process_time(); import {}; print(time.process_time() - start)"
ALLOWED = {"msgpack", "pixwire", "pixwire_protocol"}


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def imported() -> tuple[set[str], set[str], set[str]]:
    alone, threads, used = json.loads(python(REPORT))
    return set(alone), set(threads), set(used)


def strangers(modules: set[str]) -> set[str]:
    """Packages that are neither of the standard library nor allowed. Compiled msgpack brings Cython's own names."""
    packages = {name.partition(".")[0] for name in modules}
    return {name for name in packages - sys.stdlib_module_names - ALLOWED if "cython" not in name}


def test_nothing_but_msgpack_and_the_standard_library() -> None:
    alone, threads, used = imported()
    assert strangers(used) == set()
    assert "asyncio" not in alone
    assert "asyncio" not in threads, "the blocking client has no use for it"
    assert not {"ssl", "hashlib", "random", "html"} & threads, "loaded when they are needed: they take long"
    assert not {"ssl", "threading", "socket"} & alone, "an import opens nothing and starts nothing"
    assert "asyncio" in used


def test_it_is_quick() -> None:
    """The aim is a tenth of a second; the measure is what asyncio takes, so that a slow machine does not matter."""
    ours, theirs = (min(float(python(TIMING.format(name))) for _ in range(5)) for name in ("pixwire", "asyncio"))
    assert ours < 2.5 * theirs, f"{ours:.3f} s, asyncio {theirs:.3f} s"


def test_every_public_name_is_there() -> None:
    assert all(hasattr(pixwire, name) for name in pixwire.__all__)
    assert set(pixwire.__all__) <= set(dir(pixwire))
    assert not hasattr(pixwire, "Clinet")


def test_the_version_is_that_of_the_distribution() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert pixwire.__version__ == project["version"]


IN_TRIO = """
import trio, pixwire

async def main():
    for attempt in range(3):
        try:
            with trio.fail_after(30):
                await trio.to_thread.run_sync(pixwire.Client, "pixwire+unix:///nowhere/s")
        except pixwire.ConnectError as error:
            print(type(error).__name__)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep, 0)

pixwire.AsyncClient
trio.run(main)
"""
IN_ANYIO = """
import anyio, pixwire

async def main():
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, 0)
    try:
        await pixwire.connect("pixwire+unix:///nowhere/s")
    except pixwire.ConnectError as error:
        print(type(error).__name__)
    try:
        await anyio.to_thread.run_sync(pixwire.Client, "pixwire+unix:///nowhere/s")
    except pixwire.ConnectError as error:
        print(type(error).__name__)

anyio.run(main)
"""


@pytest.mark.parametrize(("code", "times"), [(IN_TRIO, 3), (IN_ANYIO, 2)], ids=["trio", "anyio"])
def test_other_ways_to_be_asynchronous_are_left_alone(code: str, times: int) -> None:
    pytest.importorskip("trio")
    assert python(code).split() == ["ConnectError"] * times
