"""Servers and drivers as they are needed: started once, kept for all rounds, ended together."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from benchmarks import processes
from benchmarks.transport.contestants import CONTESTANTS, SERVERS, SERVERS_PACKAGE, Contestant
from benchmarks.transport.driving import GIB, Figures
from benchmarks.transport.native import NativeDriver, compile_floor

ENOUGH_CONNECTIONS = 20_000
PIXWIRE_OPTIONS = (
    *("--max-resident", "0", "--queue-limit", "1000000", "--stream-rate", "1000000"),
    *("--max-connections", str(ENOUGH_CONNECTIONS), "--idle-timeout-s", "3600", "--write-stall-s", "600"),
    *("--log-level", "error"),
)
"""No engine at work; more jobs, requests a second and connections than a default server takes; nothing is closed
because it is idle or stalled while it is counted."""
STOP_S = 10.0
STARTERS = 4
QUIET = {"MOSEC_LOG_LEVEL": "error"}
"""It has no other switch for what it says while it is imported."""
ANSWER_S = 180.0
"""A driver that says nothing for so long is killed."""


class Driving(Protocol):
    """A client that can be told what to do, and where to run."""

    def move(self, core: int) -> None: ...

    def ask(self, command: dict[str, Any]) -> Figures: ...


class Driver:
    """A driver process (`driver.py`), seen from here."""

    def __init__(self, kind: str, addresses: Sequence[str], cafile: str) -> None:
        place = json.dumps({"addresses": list(addresses), "cafile": cafile})
        self._kind = kind
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.transport.driver", kind, place],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._listen()

    def move(self, core: int) -> None:
        """Run on this core from now on, every thread of it."""
        if hasattr(os, "sched_setaffinity"):
            for task in Path(f"/proc/{self._process.pid}/task").iterdir():
                with contextlib.suppress(ProcessLookupError):
                    os.sched_setaffinity(int(task.name), {core})

    def ask(self, command: dict[str, Any]) -> Figures:
        """What the command comes to. Raises RuntimeError when the driver ends."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise RuntimeError(f"the driver {self._kind} has ended; its message is above") from error
        return self._listen()

    def _listen(self) -> Figures:
        assert self._process.stdout is not None
        watcher = threading.Timer(ANSWER_S, self._process.kill)  # so that reading ends
        watcher.start()
        try:
            for line in self._process.stdout:
                if line.startswith("done "):
                    figures: Figures = json.loads(line.removeprefix("done "))
                    return figures
        finally:
            watcher.cancel()
        raise RuntimeError(f"the driver {self._kind} ended (status {self._process.wait()}); its message is above")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._process:  # closes its input, which ends it
            try:
                self._process.communicate(timeout=STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()


@dataclass(frozen=True, slots=True)
class Setting:
    """How the servers of a stage are started. `torch`: a thread in each of them multiplies matrices."""

    sizes: tuple[int, ...] = ()
    """Of the images that pixwire's store has."""
    tls: tuple[str, str, str] | None = None
    """Certificate, key, and what the clients trust."""
    unix: bool = False
    torch: bool = False


@dataclass(slots=True)
class Running:
    """A server that runs."""

    child: processes.Child
    addresses: tuple[str, ...]

    @property
    def pids(self) -> list[int]:
        return processes.family(self.child.pid)


@dataclass(slots=True)
class Stage:
    """Servers on one core, drivers beside them. Use it in a `with`."""

    folder: Path
    setting: Setting = field(default_factory=Setting)
    servers: dict[str, Running] = field(default_factory=dict)
    drivers: dict[str, Driving] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)
    _floor: Path | None = None
    _compiled: bool = False

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def has(self, name: str) -> bool:
        """Whether this contestant can be here: the C floor where there is a compiler, TLS and Unix sockets where they
        are understood.
        """
        contestant = CONTESTANTS[name]
        server, setting = SERVERS[contestant.server], self.setting
        if setting.tls and (not server.tls or contestant.kind in ("pxw-raw", "httpx")):
            return False
        if setting.unix and (not server.unix or contestant.kind in ("pxw-raw", "httpx") or contestant.address):
            return False
        return bool(server.module) or self._c_floor() is not None

    def prepare(self, names: Iterable[str]) -> None:
        """Start what these contestants need, servers first, several at a time: starting is most of a short run."""
        wanted = [name for name in names if self.has(name)]
        with ThreadPoolExecutor(STARTERS) as starters:
            list(starters.map(self.server, {CONTESTANTS[name].server: None for name in wanted}))
            list(starters.map(self.driver, dict.fromkeys(wanted)))

    def server(self, name: str) -> Running:
        """The server, started if it is not running."""
        if name not in self.servers:
            child = self._stack.enter_context(self._start(name))  # from any thread: appending is atomic
            self.servers[name] = Running(child, tuple(child.line.removeprefix("ready ").replace(",", "").split()))
        return self.servers[name]

    def driver(self, name: str) -> Driving:
        """The contestant's client, started if it is not running."""
        if name not in self.drivers:
            contestant = CONTESTANTS[name]
            self.drivers[name] = self._driver(contestant, self.addresses(contestant))
        return self.drivers[name]

    def addresses(self, contestant: Contestant) -> tuple[str, ...]:
        """Of its server, its own first."""
        found = self.server(contestant.server).addresses
        return found[contestant.address :] + found[: contestant.address]

    def another(self, kind: str, addresses: Sequence[str]) -> Driver:
        """One more driver of any kind, kept till the end of the stage."""
        return self._stack.enter_context(Driver(kind, addresses, self._cafile))

    def run(self, name: str, places: processes.Places, command: dict[str, Any]) -> Figures:
        """Let the contestant do this, its client on its core."""
        driver, server = self.driver(name), self.server(CONTESTANTS[name].server)
        driver.move(places.client)
        if not isinstance(driver, NativeDriver):
            return driver.ask(command | {"pids": server.pids})
        before = server.child.cpu_seconds()
        found = driver.ask(command)
        used = server.child.cpu_seconds() - before
        if command["do"] == "requests":
            return found | {"server_cpu_us": used / found["count"] * 1e6}
        return found | {"server_cpu_s_per_gib": used / found["count"] / command["size"] * GIB}

    def _c_floor(self) -> Path | None:
        """The C program, compiled when it is first asked for; None without a compiler."""
        if not self._compiled:
            self._floor, self._compiled = compile_floor(self.folder), True
        return self._floor

    @property
    def _cafile(self) -> str:
        return self.setting.tls[2] if self.setting.tls else ""

    def _driver(self, contestant: Contestant, addresses: tuple[str, ...]) -> Driving:
        if contestant.kind == "native":
            floor = self._c_floor()
            assert floor is not None
            return NativeDriver(floor, addresses)
        return self.another(contestant.kind, addresses)

    def _start(self, name: str) -> AbstractContextManager[processes.Child]:
        core = processes.SAME_CORE.server
        if name == "native":
            return program([str(self._c_floor()), "serve"], core)
        module, torch = f"{SERVERS_PACKAGE}.{SERVERS[name].module}", ["--torch"] if self.setting.torch else []
        arguments = self._pixwire() if name == "pxw" else self._peer(name)
        return whole(processes.child(module, *torch, *arguments, core=core, environment=QUIET, ready="ready "))

    def _peer(self, name: str) -> list[str]:
        found = ["--unix", str(self.folder / f"{name}.sock")] if self.setting.unix else []
        return found + (["--cert", self.setting.tls[0], "--key", self.setting.tls[1]] if self.setting.tls else [])

    def _pixwire(self) -> list[str]:
        data_dir = self.folder / "data"
        images = [word for size in self.setting.sizes for word in ("--image", str(size))]
        options = [*images, *PIXWIRE_OPTIONS, "--data-dir", str(data_dir)]
        if self.setting.tls:
            cert, key, _ = self.setting.tls
            listen = ["--listen", "pixwires://127.0.0.1:0", "--http", "https://127.0.0.1:0"]
            return [*options, *listen, "--tls-cert", cert, "--tls-key", key]
        if self.setting.unix:
            return [*options, "--listen", f"pixwire+unix://{self.folder / 'pxw.sock'}"]
        return [*options, "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]


@contextlib.contextmanager
def whole(starting: AbstractContextManager[processes.Child]) -> Iterator[processes.Child]:
    """The same, and at the end whatever its children left behind is ended as well: LitServe's outlive it."""
    with starting as child:
        try:
            yield child
        finally:
            below = processes.family(child.pid)[1:]
    for pid in below:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def program(words: Sequence[str], core: int) -> Iterator[processes.Child]:
    """A program that is not Python's, on a core, once it has printed a line."""
    with processes.on_core(core):
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        try:
            yield processes.Child(process, process.stdout.readline().strip())
        finally:
            process.send_signal(signal.SIGTERM)
