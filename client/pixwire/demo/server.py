"""A server process for the demo: own data folder, free port, stopped when the demo is over."""

import asyncio
import importlib.util
import os
import re
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from ..errors import PixwireError

START_SECONDS = 300.0  # loading torch and a model from a cold disk takes its time; a bound for a hung start
STOP_SECONDS = 30.0


class DemoServerError(PixwireError):
    """The demo's server did not do as it should; the text holds the end of its log."""


def need_server() -> None:
    """Raises ImportError with advice when the server is not installed."""
    for module, package in (("pixwire_server", "pixwire-server"), ("PIL", "pillow")):
        if importlib.util.find_spec(module) is None:
            raise ImportError(f"the demo needs {package}: pip install {package}")


class DemoServer:
    """`pixwire serve` in a child process; leaving this context manager stops it and checks how that went."""

    def __init__(self, model: Path | None) -> None:
        self._model = model
        self._folder = Path()
        self._process: asyncio.subprocess.Process | None = None
        self.url = ""
        self.greeting = ""

    async def __aenter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="pixwire-demo-"))
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop(check=error is None)

    @property
    def _log(self) -> Path:
        return self._folder / "server.log"

    async def _start(self) -> None:
        command = [
            sys.executable,
            "-m",
            "pixwire_server",
            "--listen",
            "127.0.0.1:0",
            "--data-dir",
            str(self._folder / "data"),
        ]
        if self._model is not None:
            command += ["--model", str(self._model)]
        # A server of its own: what the user has configured for another one does not count here.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PIXWIRE_")}
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command, stdout=asyncio.subprocess.PIPE, stderr=log, env=environment, start_new_session=True
            )
        stdout = cast("asyncio.StreamReader", self._process.stdout)  # it was asked for
        try:
            async with asyncio.timeout(START_SECONDS):
                line = (await stdout.readline()).decode(errors="replace").strip()
        except TimeoutError:
            raise self._failed(f"the server was not ready after {START_SECONDS:g} s") from None
        found = re.search(r"listening on (\S+)", line)
        if found is None:
            raise self._failed("the server did not start")
        self.url, self.greeting = found[1], line

    async def _stop(self, *, check: bool = False) -> None:
        """Stops the server with SIGTERM, or harder when that does not help, and removes its folder."""
        process = self._process
        try:
            if process is None:
                return
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
            if check and process.returncode != 0:
                raise self._failed(f"the server ended with exit code {process.returncode}")
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _failed(self, what: str) -> DemoServerError:
        log = self._log.read_text(errors="replace").strip().splitlines() if self._log.exists() else []
        return DemoServerError(f"{what}; its last words: {' | '.join(log[-3:]) or '(none)'}")
