"""The parent's side of one engine process (asyncio, no torch).

`EngineProcess` starts `python -m pixwire_server.engine`, sends commands and hands out reports. It restarts nothing:
that is its owner's decision. All callbacks run in the event loop; `on_exit` is the last one, after every report the
child managed to send. The child leaves by itself when this process dies, since its socket then reports end of file.
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from typing import cast

from pixwire_server.engine.api import Command, EngineConfig, Report, Shutdown
from pixwire_server.engine.codec import config_to_json
from pixwire_server.engine.link import Decoder, encode

__all__ = ["EngineConfig", "EngineProcess"]

_LEAVE_S = 5.0

_WAITING: Mapping[str, str] = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "1"}
"""How long OpenMP's threads (GNU's in turns, Intel's and LLVM's in milliseconds) spin where they wait for each other.
By default about a millisecond and 200 of them: with anything else busy on a core, the server's own loop included, the
one who spins keeps the one that is waited for from running. Two threads on two cores beside two busy processes took
1.5 s for what takes 0.05 s with these. 1000 turns is what GNU's takes by itself when it knows of too few cores.
"""
_MEMORY: Mapping[str, str] = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(256 << 20)}
"""How much freed memory glibc keeps: blocks up to the first, and the second in all at the end of its heap. By itself it
comes to at most as much for the first and twice that for the second, which a pass of several images frees again and
again: its pages then come anew from the kernel for each. 5 % of the processor time of an image of the built-in model,
more of the first ones.
"""
_UNLESS_CHOSEN = ((_WAITING, ("OMP_WAIT_POLICY", *_WAITING)), (_MEMORY, ("GLIBC_TUNABLES", *_MEMORY)))
"""What the child gets, unless the environment has one of these."""

OnReport = Callable[[Report], None]
OnExit = Callable[[int], None]


class EngineProcess(asyncio.BufferedProtocol):
    """One engine child. Not reusable: make a new one for a new child.

    The child has reported nothing until `Ready` (or `Refused`, and then exits); commands sent earlier wait in the
    socket.
    """

    def __init__(self) -> None:
        self._on_report: OnReport = lambda report: None
        self._on_exit: OnExit = lambda returncode: None
        self._decoder = Decoder()
        self._child: subprocess.Popen[bytes] | None = None
        self._transport: asyncio.WriteTransport | None = None
        self._connected = False
        self._returncode: int | None = None
        self._ended: asyncio.Future[int] | None = None

    def on_report(self, callback: OnReport) -> None:
        """Set the receiver of reports; call before `start`."""
        self._on_report = callback

    def on_exit(self, callback: OnExit) -> None:
        """Set the receiver of the return code (negative: killed by that signal); call before `start`."""
        self._on_exit = callback

    @property
    def pid(self) -> int | None:
        """The child's process id; None before `start`."""
        return self._child.pid if self._child else None

    @property
    def alive(self) -> bool:
        """Whether a child was started whose `on_exit` has not been called."""
        return self._ended is not None and not self._ended.done()

    async def start(self, config: EngineConfig) -> None:
        """Spawn the child and return; loading goes on in it. Raises OSError when it cannot be spawned."""
        if self._ended is not None:
            raise RuntimeError("this EngineProcess was started before; make a new one")
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        try:
            arguments = [str(theirs.fileno()), config_to_json(config)]
            # The child's prints belong in the log: standard output is the server's own.
            self._child = subprocess.Popen(  # noqa: ASYNC220 - a spawn is short, and works the same on every loop
                [sys.executable, "-m", "pixwire_server.engine", *arguments],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=2,
                env=_environment(),
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._ended = loop.create_future()
        self._connected = True
        threading.Thread(target=self._reap, args=(loop, self._child), name="engine-reaper", daemon=True).start()
        try:
            await loop.create_unix_connection(lambda: self, sock=ours)
        except BaseException:
            ours.close()
            self.connection_lost(None)
            self.kill()
            raise

    def send(self, command: Command) -> None:
        """Queue a command; never blocks. Silently dropped when the child is gone (`on_exit` tells)."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.writelines(encode(command))

    async def stop(self, grace: float) -> int:
        """Ask the child to leave, kill it after `grace` seconds, return its return code.

        Resident tasks are abandoned: drain them before. When the caller is cancelled the child is killed.
        """
        if self._ended is None:
            raise RuntimeError("this EngineProcess was never started")
        self.send(Shutdown())
        try:
            async with asyncio.timeout(grace):
                return await asyncio.shield(self._ended)
        except TimeoutError:
            pass
        except asyncio.CancelledError:
            self.kill()
            raise
        self.kill()
        return await asyncio.shield(self._ended)

    def kill(self) -> None:
        """Kill the child now (SIGKILL); `on_exit` follows. Harmless when it is gone."""
        if self._child is not None and self._returncode is None:
            self._child.send_signal(signal.SIGKILL)

    # ------------------------------------------------------------------------------ asyncio.BufferedProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._decoder.get_buffer()

    def buffer_updated(self, nbytes: int) -> None:
        for message in self._decoder.buffer_updated(nbytes):
            self._on_report(message)  # type: ignore[arg-type]  # the child sends reports only

    def connection_lost(self, exc: Exception | None) -> None:
        self._connected = False
        if self._returncode is None:  # it is leaving; without its socket it can do nothing else
            asyncio.get_running_loop().call_later(_LEAVE_S, self.kill)
        self._maybe_ended()

    # ------------------------------------------------------------------------------ end of the child

    def _reap(self, loop: asyncio.AbstractEventLoop, child: subprocess.Popen[bytes]) -> None:
        """Wait for the child (own thread: works on any loop, also outside the main thread, and leaves no zombie)."""
        returncode = child.wait()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
            loop.call_soon_threadsafe(self._exited, returncode)

    def _exited(self, returncode: int) -> None:
        self._returncode = returncode
        self._maybe_ended()

    def _maybe_ended(self) -> None:
        """Both the last byte and the return code are in: tell, once."""
        if self._connected or self._returncode is None or self._ended is None or self._ended.done():
            return
        self._ended.set_result(self._returncode)
        self._on_exit(self._returncode)


def _environment() -> dict[str, str]:
    """The child's: ours, with what is set for OpenMP's threads and for memory where nobody has chosen otherwise."""
    found = dict(os.environ)
    for settings, chosen in _UNLESS_CHOSEN:
        if not any(name in os.environ for name in chosen):
            found |= settings
    return found
