"""What `import pixwire` brings along."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pixwire

REPORT = """
import json, sys
before = set(sys.modules)
import pixwire
alone = set(sys.modules) - before
pixwire.connect, pixwire.AsyncJob
print(json.dumps([sorted(alone), sorted(set(sys.modules) - before)]))
"""
TIMING = "import time; start = time.process_time(); import {}; print(time.process_time() - start)"
ALLOWED = {"msgpack", "pixwire", "pixwire_protocol"}


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def imported() -> tuple[set[str], set[str]]:
    alone, used = json.loads(python(REPORT))
    return set(alone), set(used)


def strangers(modules: set[str]) -> set[str]:
    """Packages that are neither of the standard library nor allowed. Compiled msgpack brings Cython's own names."""
    packages = {name.partition(".")[0] for name in modules}
    return {name for name in packages - sys.stdlib_module_names - ALLOWED if "cython" not in name}


def test_nothing_but_msgpack_and_the_standard_library() -> None:
    alone, used = imported()
    assert strangers(used) == set()
    assert "asyncio" not in alone
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
