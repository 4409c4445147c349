"""Servers and clients to be tested, each in a process of its own, forked from one that has everything imported."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PYTHONPATH = os.pathsep.join(str(ROOT / part) for part in ("protocol", "client", "server"))
ENVIRON = {**os.environ, "PYTHONPATH": PYTHONPATH}


@dataclass
class Doors:
    """Starts servers under test."""

    process: subprocess.Popen[str]

    @contextmanager
    def serving(
        self,
        mutant: str | None = None,
        *,
        token: bool = False,
        unix: bool = False,
        tls: Path | None = None,
        **settings: Any,
    ) -> Iterator[dict[str, Any]]:
        """A server; gives its `url` and `pid`."""
        orders, answers = self.process.stdin, self.process.stdout
        assert orders is not None
        assert answers is not None
        order = {
            "mutant": mutant,
            "settings": {"max_upload": 1 << 20, **settings},
            "token": token,
            "unix": unix,
            "tls": None if tls is None else str(tls),
        }
        print(json.dumps(order), file=orders, flush=True)
        server = json.loads(answers.readline())
        assert "url" in server, server
        try:
            yield server
        finally:
            os.kill(server["pid"], signal.SIGKILL)


def start(script: str, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, str(HERE / script), *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRON, text=True)


def stop(process: "subprocess.Popen[str]") -> None:
    process.kill()
    for pipe in (process.stdin, process.stdout):
        close(pipe)
    process.wait()


def close(pipe: IO[str] | None) -> None:
    if pipe is not None:
        pipe.close()
