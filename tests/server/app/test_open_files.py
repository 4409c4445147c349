"""The limit of open files: raised as far as it may be, and a low one is told."""

import logging
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from pixwire_server import open_files


@pytest.mark.parametrize(
    ("soft", "hard", "limit"),
    [
        (1024, 4096, 4096),
        (1024, 1_000_000, 65_536),
        (1024, resource.RLIM_INFINITY, 65_536),
        (100_000, 1_000_000, 100_000),
        (64, 64, 64),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, resource.RLIM_INFINITY),
    ],
)
def test_the_limit_that_is_set(soft: int, hard: int, limit: int) -> None:
    assert open_files.goal(soft, hard) == limit


@pytest.mark.parametrize(("hard", "warned"), [(64, True), (10_000, False)])
def test_too_few_are_told(
    hard: int, warned: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (32, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: wanted.append(limits))
    with caplog.at_level(logging.WARNING):
        open_files.allow_many(1024)
    assert wanted == [(hard, hard)]
    assert ("only 64 files" in caplog.text) is warned


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-", ""])
def test_no_file_takes_the_place_of_a_standard_stream(closed: str, tmp_path: Path) -> None:
    code = (
        "import os; from pixwire_server import open_files; open_files.keep_standard(); found = os.open('/', 0);"
        f" open('{tmp_path}/found', 'w').write(f'{{found}} {{[os.get_inheritable(n) for n in range(3)]}}')"
    )
    subprocess.run(["sh", "-c", f'exec {sys.executable} -c "{code}" {closed}'], check=True)
    assert (tmp_path / "found").read_text() == "3 [True, True, True]"
