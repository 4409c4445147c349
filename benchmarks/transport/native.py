"""The C floor: compiled into a temporary folder where there is a compiler; else it is missing, as the record says."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.processes import on_core
from benchmarks.transport.clients.echo import MESSAGE
from benchmarks.transport.driving import GIB, LOADS, Figures

SOURCE = Path(__file__).with_name("floor.c")


def compiler() -> str | None:
    """A C compiler, if there is one."""
    return next(filter(None, map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang"))), None)


def compile_floor(folder: Path) -> Path | None:
    """The program, or None when there is no C compiler that makes it."""
    found = compiler()
    if found is None:
        return None
    program = folder / "floor"
    done = subprocess.run([found, "-O2", "-o", str(program), str(SOURCE)], capture_output=True, check=False)
    return program if done.returncode == 0 else None


class NativeDriver:
    """Looks like a driver; runs the program anew for each command."""

    def __init__(self, program: Path, addresses: tuple[str, ...]) -> None:
        self._program = program
        self._ports = [address.rpartition(":")[2] for address in addresses]
        self._core: int | None = None

    def move(self, core: int) -> None:
        """Run on this core from now on."""
        self._core = core

    def ask(self, command: dict[str, Any]) -> Figures:
        """Requests or fetches; CPU time of the server is added by whoever asked."""
        if command["do"] == "requests":
            load = LOADS[command["load"]]
            loads = (len(MESSAGE), load.connections, load.flight, command["s"])
            found = self._run("rtt", self._ports[0], *loads)
            found["client_cpu_us"] = found.pop("client_cpu_s") / found["count"] * 1e6
        else:
            found = self._run("fetch", self._ports[1], command["size"], command["s"])
            moved = found["count"] * command["size"]
            found["client_cpu_s_per_gib"] = found.pop("client_cpu_s") / moved * GIB
        return found

    def _run(self, *arguments: object) -> Figures:
        with on_core(self._core):
            words = [str(self._program), *map(str, arguments)]
            done = subprocess.run(words, stdout=subprocess.PIPE, check=True, text=True)
        figures: Figures = json.loads(done.stdout)
        return figures
