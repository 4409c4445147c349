"""The engine's process: one thread computes, others read commands, write reports and show that it lives.

The reader never waits for computation, so the end of the parent (end of file on the socket) ends this process at
once, in the middle of whatever it computes. The writer keeps a slow parent from holding up the steps.
"""

import contextlib
import ctypes
import logging
import os
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from pixwire_server.engine import cost_file
from pixwire_server.engine.api import (
    EXIT_FAILED,
    EXIT_REFUSED,
    Command,
    EngineConfig,
    Heartbeat,
    Ready,
    Refused,
    Report,
    Shutdown,
)
from pixwire_server.engine.codec import config_from_json
from pixwire_server.engine.folder import LoadFailedError, ModelRefusedError, check_folders
from pixwire_server.engine.link import Decoder, encode

if TYPE_CHECKING:
    from pixwire_server.engine.service import Service

log = logging.getLogger(__name__)

HEARTBEAT_S = 1.0
_READ_SIZE = 1 << 16
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    """`python -m pixwire_server.engine FD CONFIG`: serve on the inherited socket FD; CONFIG is EngineConfig as JSON."""
    _die_with_parent()
    for number in (signal.SIGINT, signal.SIGTERM):
        # A terminal's Ctrl-C and a service manager's stop reach the whole group, but draining is the parent's decision.
        signal.signal(number, signal.SIG_IGN)
    link = Link(socket.socket(fileno=int(arguments[0])))
    config = config_from_json(arguments[1])
    _configure_logging(config.log_level)
    try:
        return _serve(link, config)
    finally:
        link.close()


def _die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies. The reader sees that, too, but not while this process is
    stopped or hangs in a driver. Linux only.
    """
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before that
        os._exit(0)


class Link:
    """The child's end of the socket pair: commands are collected and reports sent by threads of its own."""

    def __init__(self, sock: socket.socket) -> None:
        sock.set_inheritable(False)
        self._socket = sock
        self._commands: queue.SimpleQueue[Command | None] = queue.SimpleQueue()
        self._reports: queue.SimpleQueue[Report | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, name="link-reader", daemon=True).start()
        self._writer = threading.Thread(target=self._write, name="link-writer", daemon=True)
        self._writer.start()

    def emit(self, report: Report) -> None:
        """Send a report; any thread, never blocks."""
        self._reports.put(report)

    def next_command(self, timeout: float) -> Command | None:
        """The next command, waiting for it up to `timeout` seconds, or less when `wake` is called."""
        try:
            return self._commands.get(timeout > 0, timeout)
        except queue.Empty:
            return None

    def wake(self) -> None:
        """End the wait of `next_command`; any thread."""
        self._commands.put(None)

    def close(self) -> None:
        """Return when everything reported has been sent. The socket itself lasts as long as the process.

        Closing it earlier would make the parent close its end, and the reader would end this process in the middle of
        leaving, with the wrong status.
        """
        self._reports.put(None)
        self._writer.join()

    def _read(self) -> None:
        decoder = Decoder()
        try:
            while data := self._socket.recv(_READ_SIZE):
                for message in decoder.feed(data):
                    self._commands.put(message)  # type: ignore[arg-type]  # the parent sends commands only
        except OSError:
            pass  # a parent killed in the middle of a write: the same as end of file
        except Exception:
            log.exception("the parent cannot be understood")
        os._exit(0)

    def _write(self) -> None:
        try:
            while (report := self._reports.get()) is not None:
                for buffer in encode(report):
                    self._socket.sendall(buffer)
        except OSError:
            pass  # the reader notices, too, and ends the process
        except Exception:
            log.exception("a report cannot be sent")
            os._exit(1)  # a job whose end is never told would hold its place for ever


def _serve(link: Link, config: EngineConfig) -> int:
    try:
        check_folders(config.models)
        # Late imports: torch takes seconds, and by now signals, reader and the folders are taken care of.
        from pixwire_server.engine import library
        from pixwire_server.engine.loader import quiet_libraries
        from pixwire_server.engine.models import Models
        from pixwire_server.engine.service import Service

        quiet_libraries()
        os.nice(config.niceness)
        _set_threads(config)
        budget = config.memory_budget or library.memory(config.models)
        models = Models(budget=budget, cache_dir=config.cache_dir, emit=link.emit, wake=link.wake)
        infos = models.begin(config)
    except (ModelRefusedError, LoadFailedError) as error:
        log.error("%s", error)
        link.emit(Refused(str(error)))
        return EXIT_REFUSED if isinstance(error, ModelRefusedError) else EXIT_FAILED
    costs = cost_file.load(config)
    service = Service(models, link.emit, max_rows=config.max_rows, exact=config.exact, costs=costs, wake=link.wake)
    log.info("%d models, %s mode", len(infos), "exact" if config.exact else "fast")
    link.emit(Ready(infos))
    try:
        _loop(link, service, Pulse(link.emit))
    except Exception:  # nothing that a task could have caused: the device is lost, or this program is wrong
        log.exception("the engine cannot go on")
        return EXIT_FAILED
    return 0


class Pulse:
    """Sends heartbeats from a thread of its own, so that a pass of minutes does not look like a dead process."""

    def __init__(self, emit: Callable[[Report], None]) -> None:
        self._emit = emit
        self._last = (Heartbeat(0, 0), time.monotonic())
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

    def turn(self, heartbeat: Heartbeat) -> None:
        """The engine loop has come round; `heartbeat` is what it holds now."""
        self._last = (heartbeat, time.monotonic())

    def _beat(self) -> None:
        while True:
            heartbeat, turned = self._last
            self._emit(replace(heartbeat, busy_s=time.monotonic() - turned))
            time.sleep(HEARTBEAT_S)


def _loop(link: Link, service: "Service", pulse: Pulse) -> None:
    """Commands first, then one pass, until Shutdown. Sleeps only when there is nothing to compute."""
    busy = False
    while True:
        command = link.next_command(0.0 if busy else HEARTBEAT_S)
        while command is not None:
            if isinstance(command, Shutdown):
                return
            service.handle(command)
            command = link.next_command(0.0)
        busy = service.tick()
        pulse.turn(service.heartbeat())


def _set_threads(config: EngineConfig) -> None:
    """As configured, or as many as there are cores for this process, unless the environment says otherwise."""
    import torch

    if config.threads > 0 or "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(config.threads or usable_cores())


def usable_cores() -> int:
    """Cores this process may use: its affinity, and the control group's quota where there is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError), open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
        quota, period = file.read().split()
        cores = min(cores, max(1, int(quota) // int(period)))
    return cores


class LineFormatter(logging.Formatter):
    """Lines like the server's own: `2026-11-22T16:18:47.123Z info engine.service: message`, details indented below.

    A message stays one line whatever is in it: errors quote what clients sent.
    """

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        name = record.name.removeprefix("pixwire_server.")
        head = f"{stamp}.{int(record.msecs):03d}Z {record.levelname.lower()} {name}: {_printable(record.getMessage())}"
        details = self.formatException(record.exc_info).split("\n") if record.exc_info else []
        return "\n".join([head, *(f"    {_printable(line)}" for line in details)])


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _configure_logging(level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter())
    logging.getLogger().addHandler(handler)
    logging.getLogger("pixwire_server").setLevel(level.upper())
