"""`pixwire.embedded`: the client with a server of its own, in a child process that ends with this one.

    with pixwire.embedded() as client:                      # `async with` gives an AsyncClient
        client.generate("a red circle", seed=7).save("circle.png")

The server is `pixwire-server`, which has to be installed, behind a Unix socket in a temporary folder that only this
user can enter. It is a process and not a thread, because an engine changes things that belong to a whole process
(torch's threads and number types, signals), and because a model that crashes should not take the program along.
"""

import asyncio
import contextlib
import importlib.util
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from time import monotonic as now
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from .errors import EmbeddedError

if TYPE_CHECKING:
    from .aio.client import AsyncClient
    from .sync.client import Client

START_SECONDS = 600.0  # a large model from a cold disk takes its time; a bound for a hung start
STOP_SECONDS = 20.0  # how long a server may take to stop before it is killed
MOST_PATH_BYTES = 100  # what the address of a Unix socket has room for, on every system
OPTIONS = {"drain_grace_s": 0}  # what still runs at the end is not waited for; with a journal it is done the next time
NOTHING: Mapping[str, Any] = MappingProxyType({})


def embedded(
    model: str | os.PathLike[str] | None = None,
    *,
    journal: str | os.PathLike[str] | None = None,
    server: Mapping[str, Any] = NOTHING,
    quiet: bool = False,
    **options: Any,
) -> "Embedded":
    """A client with a server of its own: `with` gives a `Client`, `async with` an `AsyncClient`.

    Args:
        model: folder of a diffusers pipeline; None: the small built-in model.
        journal: folder that keeps jobs and images, so that the next program that names it finds them, also after a
            crash; one program at a time. None: a temporary folder, and nothing outlives the `with`.
        server: options of `pixwire serve`, e.g. `{"device": "cuda", "dtype": "float16"}`.
        quiet: do not say in a line on stderr what was started and what is lost.
        options: of `pixwire.connect`: on_disconnect, stream_window, ...

    The server ends with the `with`, with this process, and when this process is killed (kill -9), too. A process that
    was forked off meanwhile may use the client, and if this one is killed the server lives as long as that one.

    Raises, when it is entered: EmbeddedError (pixwire-server is not installed, or did not start; says why), and what
    `connect` raises.
    """
    return Embedded(Server(model, journal, server), quiet, options)


class Embedded:
    """What `embedded` returns: enter it with `with` or `async with`, once at a time."""

    def __init__(self, server: "Server", quiet: bool, options: Mapping[str, Any]) -> None:
        self._server = server
        self._quiet = quiet
        self._options = options
        self._client: Any = None

    def __enter__(self) -> "Client":
        from .sync.client import Client

        self._server.start()
        try:
            self._client = Client(self._server.url, **self._options)
        except BaseException:
            self._server.stop()
            raise
        self._tell()
        return self._client  # type: ignore[no-any-return]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._client.close()
        finally:
            self._server.stop()

    async def __aenter__(self) -> "AsyncClient":
        from .aio.connecting import connect

        await self._start()
        try:
            self._client = await connect(self._server.url, **self._options)
        except BaseException:
            await asyncio.to_thread(self._server.stop)
            raise
        self._tell()
        return self._client  # type: ignore[no-any-return]

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._client.close()
        finally:
            await asyncio.shield(asyncio.to_thread(self._server.stop))

    async def _start(self) -> None:
        starting = asyncio.ensure_future(asyncio.to_thread(self._server.start))
        try:
            await asyncio.shield(starting)
        except asyncio.CancelledError:
            self._server.give_up()
            await asyncio.wait([starting])
            starting.exception()  # which nobody wants to hear of
            await asyncio.to_thread(self._server.stop)  # it may have been quicker
            raise

    def _tell(self) -> None:
        if not self._quiet and sys.stderr is not None:
            with contextlib.suppress(OSError, ValueError):  # nobody reads it, which is no reason to fail
                print(f"pixwire: {self._server}", file=sys.stderr)


class Server:
    """`pixwire-server` in a child process. All methods block. `start` and `stop` may be called again and again."""

    def __init__(
        self,
        model: str | os.PathLike[str] | None,
        journal: str | os.PathLike[str] | None,
        options: Mapping[str, Any],
    ) -> None:
        self._model = model
        self._journal = None if journal is None else Path(journal).absolute()
        self._options = options
        self._folder = Path()
        self._process: subprocess.Popen[bytes] | None = None
        self._lifeline = -1
        self._given_up = False
        self._owner = 0
        self.url = ""

    def start(self) -> None:
        """Starts it and waits until it is ready. Raises EmbeddedError; then nothing is left."""
        if importlib.util.find_spec("pixwire_server") is None:
            raise EmbeddedError("pixwire.embedded needs the server: pip install pixwire-server")
        if self._process is not None:
            raise EmbeddedError("this embedded server runs already: call pixwire.embedded() for another one")
        self._owner = os.getpid()
        self._folder = _short_folder()
        try:
            self._launch()
            self.url = self._first_line()
        except BaseException:
            self._end(kill=True)
            raise

    def stop(self) -> None:
        """Stops it, and harder when that does not help. In a process that was forked off it only lets go of it."""
        if self._owner == os.getpid():
            self._end()
        elif self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline, self._process = -1, None

    def give_up(self) -> None:
        """Makes a `start` in another thread end soon, with an error, also one that has not begun; then `stop`."""
        self._given_up = True
        if self._process is not None:
            self._process.kill()

    def __str__(self) -> str:
        model = "the built-in model" if self._model is None else os.fspath(self._model)
        pid = None if self._process is None else self._process.pid
        kept = f"jobs and images are kept in {self._journal}"
        lost = "without a journal, jobs and images are gone when it ends (journal=FOLDER keeps them)"
        return f"embedded server in process {pid}, {model}; {lost if self._journal is None else kept}"

    @property
    def _log(self) -> Path:
        return self._folder / "server.log"

    def _launch(self) -> None:
        theirs, self._lifeline = os.pipe()
        data = self._folder / "data" if self._journal is None else self._journal
        command = [sys.executable, "-m", "pixwire.embedding_child", str(theirs), str(self._folder)]
        command += ["--listen", f"pixwire+unix://{quote(str(self._folder))}/s", "--data-dir", str(data)]
        if self._model is not None:
            command += ["--model", os.fspath(self._model)]
        for name, value in {**OPTIONS, **self._options}.items():
            command += [f"--{name.replace('_', '-')}", str(value)]
        # A server of its own: what the user has configured for another one does not count here.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PIXWIRE_")}
        try:
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env=environment,
                    pass_fds=(theirs,),
                    start_new_session=True,  # Ctrl-C is this process's business
                )
        finally:
            os.close(theirs)
        if self._given_up:
            self._process.kill()

    def _first_line(self) -> str:
        """Waits for the line that tells where it listens."""
        output = cast("Any", self._process).stdout
        end, line = now() + START_SECONDS, b""
        with selectors.DefaultSelector() as selector:  # not `select`, which knows no file above number 1023
            selector.register(output, selectors.EVENT_READ)
            while b"\n" not in line:
                if not selector.select(max(0.0, end - now())):
                    raise self._failed(f"was not ready after {START_SECONDS:g} s")
                read = os.read(output.fileno(), 4096)
                if not read:
                    raise self._failed("did not start")
                line += read
        found = re.search(rb"listening on (\S+)", line)
        if found is None:
            raise self._failed("did not say where it listens")
        return found[1].decode()

    def _end(self, *, kill: bool = False) -> None:
        process, self._process = self._process, None
        folder, self._folder = self._folder, Path()
        self._given_up = False
        try:
            if process is not None:
                _end_process(process, kill=kill)
        finally:
            if self._lifeline >= 0:
                os.close(self._lifeline)
                self._lifeline = -1
            if folder != Path():  # that is the current one: there was no room for a folder of our own
                shutil.rmtree(folder, ignore_errors=True)

    def _failed(self, what: str) -> EmbeddedError:
        lines = self._log.read_text(errors="replace").strip().splitlines() if self._log.exists() else []
        return EmbeddedError(f"the embedded server {what}; its last words: {' | '.join(lines[-3:]) or '(none)'}")


def _end_process(process: "subprocess.Popen[bytes]", *, kill: bool) -> None:
    with process:  # which closes its pipes
        process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
        except BaseException:  # Ctrl-C: it does not stay either
            process.kill()
            raise


def _short_folder() -> Path:
    """A new folder whose name leaves room for a socket in it."""
    folder = Path(tempfile.mkdtemp(prefix="pixwire-"))
    if len(os.fsencode(folder / "s")) > MOST_PATH_BYTES:
        folder.rmdir()
        folder = Path(tempfile.mkdtemp(prefix="pixwire-", dir="/tmp"))
    return folder
