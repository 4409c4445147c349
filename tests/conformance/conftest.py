"""The programs under test, for all tests of this folder."""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "server" / "doors")]  # the helpers beside this file; tests are no package

from tested_programs import Doors, start, stop  # noqa: E402  (its folder is not on the path before)


@pytest.fixture(scope="session")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    process = start("door_process.py", str(tmp_path_factory.mktemp("doors")))
    yield Doors(process)
    stop(process)


@pytest.fixture(scope="session")
def client_command() -> Iterator[list[str]]:
    """The command line of the client under test; a mutant's name may follow."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "clients")
        process = start("client_process.py", path)
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        yield [sys.executable, "-I", "-S", str(HERE / "client_launcher.py"), path]
        stop(process)
