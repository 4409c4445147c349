"""A real server in a real process, for the tests that want the whole thing."""

import gc
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Before anything imports torch: tiny tensors are slower with several threads, and exact images need one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell lets what it starts with & ignore Ctrl-C, and children inherit that: those that are sent one would hang.
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parent.parent
START_SECONDS = 120.0  # a bound for a hung start, never a measure: loading torch on a busy machine takes a while
STOP_SECONDS = 60.0
FAST_SERVER = Path(__file__).parent / "fast_server.py"


def pytest_collection_finish() -> None:
    """What has been imported by now stays to the end: no search for garbage needs to go through it again.

    That is most of a large heap (torch, diffusers, thousands of tests). What tests leave behind is found as before.
    """
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How much of the specification the suite is about; test_spec_requirements.py fails when an id has no test."""
    passed, failed = (
        any("test_spec_requirements" in report.nodeid for report in terminalreporter.stats.get(outcome, []))
        for outcome in ("passed", "failed")
    )
    if passed and not failed:
        ids = set(re.findall(r"\*\*\[(PXW-[A-Z]+-[0-9]+)\]\*\*", (ROOT / "SPEC.md").read_text()))
        vectors = sum(len(json.loads(path.read_text())) for path in (ROOT / "protocol" / "vectors").glob("*.json"))
        terminalreporter.line(f"SPEC.md: {len(ids)} requirements, each with a test or a vector; {vectors} vectors")


class ServerProcess:
    """`pixwire serve` on a free loopback port, with its own data directory and its log in a file.

    `start` returns when the server prints where it listens, so the engine is ready; `stop` is SIGTERM and waits for the
    drain; `kill` is SIGKILL. `fast`: with the engine that loads no torch, see `fast_server.py`.
    """

    def __init__(self, data_dir: Path, *options: str, fast: bool = False) -> None:
        self.data_dir = data_dir
        self.options = options
        self._program = [str(FAST_SERVER), str(data_dir.parent)] if fast else ["-m", "pixwire_server"]
        self.log_path = data_dir.with_suffix(".log")
        self.url = ""
        self.urls: list[str] = []
        """All that it listens on."""
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> "ServerProcess":
        command = [
            sys.executable,
            *self._program,
            *(() if "--listen" in self.options else ("--listen", "127.0.0.1:0")),
            "--data-dir",
            str(self.data_dir),
            *self.options,
        ]
        with self.log_path.open("a") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout is not None
        watchdog = threading.Timer(START_SECONDS, self.process.kill)
        watchdog.start()
        line = self.process.stdout.readline()
        watchdog.cancel()
        found = re.search(r"listening on ([^\s,]+)", line)
        assert found, f"the server did not start: {line!r}\n{self.log()}"
        self.url = found[1]
        self.urls = re.findall(r"[a-z+]+://[^\s,]+", line)
        return self

    def log(self) -> str:
        return self.log_path.read_text() if self.log_path.exists() else ""

    def engine_pids(self) -> list[int]:
        """The process ids of the server's children: its engine."""
        assert self.process is not None
        return [
            int(pid) for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        ]

    def _finish(self, how: signal.Signals) -> int:
        if self.process is None:
            return 0
        self.process.send_signal(how)
        code = self.process.wait(STOP_SECONDS)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.process = None
        return code

    def stop(self) -> int:
        return self._finish(signal.SIGTERM)

    def kill(self) -> int:
        return self._finish(signal.SIGKILL)


def _factory(folder: Path) -> Iterator[Callable[..., ServerProcess]]:
    made: list[ServerProcess] = []

    def make(*options: str, data_dir: Path | None = None, fast: bool = False) -> ServerProcess:
        made.append(ServerProcess(data_dir or folder / f"server-{len(made)}", *options, fast=fast))
        return made[-1]

    yield make
    for server in made:
        server.kill()


@pytest.fixture
def new_server(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Makes (not yet started) servers: `new_server("--max-resident", "1")`; what still runs at the end is killed.

    `fast=True` where the images are not the point.
    """
    yield from _factory(tmp_path)


@pytest.fixture(scope="module")
def new_module_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., ServerProcess]]:
    """The same for servers that all tests of a module share."""
    yield from _factory(tmp_path_factory.mktemp("servers"))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server with the built-in model, shared by the tests that leave it as they found it.

    It has fewer places than some tests have jobs, so that jobs join and leave while others run.
    """
    options = ("--log-level", "debug", "--max-resident", "16", "--http", "0")
    shared = ServerProcess(tmp_path_factory.mktemp("shared") / "data", *options).start()
    yield shared
    assert shared.stop() == 0, shared.log()
