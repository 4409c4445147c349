"""Servers as processes of their own, each on the core it is given: their CPU time, their memory, the network's rules.

places = processes.TWO_CORES
with processes.congestion("cubic"), processes.child("benchmarks.floor", core=places.server) as echo:
    port = int(echo.line)
    with processes.on_core(places.client): ...
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks import measure

PAGE = os.sysconf("SC_PAGE_SIZE")
STOP_S = 20.0


@dataclass(frozen=True, slots=True)
class Places:
    """The cores that server and client run on."""

    name: str
    server: int
    client: int


def _places() -> tuple[Places, Places]:
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    return Places("same core", cores[0], cores[0]), Places("two cores", cores[0], cores[min(1, len(cores) - 1)])


SAME_CORE, TWO_CORES = _places()
"""On a machine with one core both are the same."""


@contextlib.contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """What this thread starts meanwhile runs on this core only; None: on all. The thread itself returns to its own."""
    if core is None or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    measure.pin(core)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


# --- a process's costs


def cpu_seconds(pid: int) -> float:
    """CPU time that the process has used, all its threads, in seconds; in nanosecond steps where the system has them.

    Raises ProcessLookupError for a process that is gone.
    """
    if sys.platform == "linux":
        try:
            return time.clock_gettime((~pid << 3) | 2)  # the clock of another process: clock_getcpuclockid(3)
        except OSError:
            pass
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError as error:
        raise ProcessLookupError(f"process {pid} is gone, or this system has no /proc") from error
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    """Memory of the process that is in RAM. Raises ProcessLookupError for a process that is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except OSError as error:
        raise ProcessLookupError(f"process {pid} is gone, or this system has no /proc") from error


def family(pid: int) -> list[int]:
    """The process and all below it."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child_pid in task.read_text().split():
                found += family(int(child_pid))
    return found


@dataclass(slots=True)
class Child:
    """A program that runs; `line` is what it printed when it was ready. The costs are those of its children as well."""

    process: "subprocess.Popen[str]"
    line: str = ""

    @property
    def pid(self) -> int:
        return self.process.pid

    def cpu_seconds(self) -> float:
        """Of it and all below it that live; take it twice, and the difference is what happened between."""
        return sum(map(cpu_seconds, family(self.pid)))

    def resident_bytes(self) -> int:
        """Of it and all below it. What they share counts for each."""
        return sum(map(resident_bytes, family(self.pid)))

    def kill(self) -> None:
        """SIGKILL, to it alone, and wait for its end."""
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def child(
    module: str,
    *arguments: str,
    core: int | None = None,
    environment: Mapping[str, str] | None = None,
    ready: str = "",
    timeout: float = 60.0,
) -> Iterator[Child]:
    """`python -m module arguments` on a core, once it has printed a line (that contains `ready`); ended at the end.

    Ended with SIGTERM, and with SIGKILL for it and all below it when that is not enough. Raises RuntimeError when it
    ends, or has said nothing of the kind in `timeout` seconds.
    """
    with on_core(core):
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdout=subprocess.PIPE,
            text=True,
            env=None if environment is None else {**os.environ, **environment},
        )
    running = Child(process)
    try:
        running.line = _ready(process, ready, timeout, module)
        threading.Thread(target=_drain, args=(process,), daemon=True).start()
        yield running
    finally:
        _end(running)


def _ready(process: "subprocess.Popen[str]", text: str, timeout: float, name: str) -> str:
    """The first line that contains the text. A watcher ends a process that says nothing, so that reading ends too."""
    assert process.stdout is not None
    watcher = threading.Timer(timeout, process.kill)
    watcher.daemon = True
    watcher.start()
    try:
        for line in process.stdout:
            if text in line:
                return line.strip()
    finally:
        watcher.cancel()
    process.stdout.close()
    raise RuntimeError(f"{name} was not ready within {timeout:g} s, or ended (status {process.wait()}); see above")


def _drain(process: "subprocess.Popen[str]") -> None:
    """Reads on, so that a program that goes on printing does not stop at a full pipe."""
    assert process.stdout is not None
    with process.stdout as lines:
        for _ in lines:
            pass


def _end(running: Child) -> None:
    everyone = family(running.pid)
    with contextlib.suppress(ProcessLookupError):
        running.process.terminate()
    try:
        running.process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        for pid in everyone:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        running.process.wait()


# --- the network


@contextlib.contextmanager
def congestion(name: str = "cubic") -> Iterator[str | None]:
    """TCP congestion control for every connection made meanwhile, both sides alike; what it is in fact.

    It is the system's own setting, so that peers that open their sockets themselves get it too. Where this process may
    not change it, it stays; `machine()` records what was used. BBR paces loopback to half of what cubic moves.
    """
    before = measure.congestion_control()
    changed = False
    if before not in (None, name):
        with contextlib.suppress(OSError):
            measure.CONGESTION.write_text(name)
            changed = True
    used = measure.MEASURED_UNDER["congestion_control"] = measure.congestion_control()
    try:
        yield used
    finally:
        if changed and before is not None:
            measure.CONGESTION.write_text(before)
