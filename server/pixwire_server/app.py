"""The composition root: builds the parts out of the configuration, runs them until a signal, takes them down.

start: tokens and certificates read, sockets bound -> journal, engine and jobs ready -> door open -> a line on stdout
SIGHUP: tokens and certificates are read again
stop:  no new connections, GOAWAY -> running jobs finish -> images on their way arrive -> engine and journal closed
"""

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import sys
import uuid
from collections.abc import Callable, Coroutine
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import uvloop

from pixwire_server import config_models, logs, open_files
from pixwire_server.config import ServerConfig
from pixwire_server.doors.access import Access, AccessError
from pixwire_server.doors.door import Door
from pixwire_server.doors.listeners import Listener, ListenError, bind_all
from pixwire_server.doors.ports import JobsPort
from pixwire_server.doors.settings import DoorSettings
from pixwire_server.doors.tls import TlsFiles
from pixwire_server.engine.api import EngineConfig
from pixwire_server.engine.process import EngineProcess
from pixwire_server.jobs import Gauges, Jobs, JobsSettings, StartupError, open_jobs

if TYPE_CHECKING:
    from pixwire_server.doors.http.door import HttpDoor
    from pixwire_server.doors.http.settings import HttpSettings
    from pixwire_server.tracing.setup import Tracing

log = logging.getLogger(__name__)

EXIT_DRAINED, EXIT_FAILED = 0, 1
DELIVERY_GRACE_S = 10.0
"""How long images may still be on their way after the last job has ended."""
AT_ONCE_S = 1.0
"""How long the engine and the journal may take to close after a second signal."""
_SIGNALS = (signal.SIGTERM, signal.SIGINT)

Outcome = TypeVar("Outcome")


class TracingRefusedError(Exception):
    """Traces are wanted and cannot be made; the text tells the operator why."""


class StoppedError(Exception):
    """A signal asked to stop what was being waited for."""


class Signals:
    """Counts SIGTERM and SIGINT: the first asks for a drain, the second for an immediate stop. SIGHUP: `on_reload`."""

    def __init__(self) -> None:
        self.on_reload: Callable[[], None] = lambda: log.info("SIGHUP: nothing was read so far")
        self.why = ""
        """Who asked for the end last, for the log."""
        self._loop = asyncio.get_running_loop()
        self._received: list[asyncio.Future[signal.Signals]] = [self._loop.create_future(), self._loop.create_future()]

    def __enter__(self) -> "Signals":
        for number in _SIGNALS:
            self._loop.add_signal_handler(number, self._on_signal, number)
        self._loop.add_signal_handler(signal.SIGHUP, lambda: self.on_reload())
        return self

    def __exit__(self, *_: object) -> None:
        for number in (*_SIGNALS, signal.SIGHUP):
            self._loop.remove_signal_handler(number)

    def _on_signal(self, number: signal.Signals) -> None:
        self.why = number.name
        for future in self._received:
            if not future.done():
                future.set_result(number)
                return

    def drain(self) -> None:
        """Behave as if SIGTERM had come, unless a signal has come before."""
        if not self.first.done():
            self._on_signal(signal.SIGTERM)
            self.why = "an operator"

    @property
    def first(self) -> "asyncio.Future[signal.Signals]":
        return self._received[0]

    @property
    def second(self) -> "asyncio.Future[signal.Signals]":
        return self._received[1]


async def unless(stop: "asyncio.Future[signal.Signals]", work: Coroutine[Any, Any, Outcome]) -> Outcome:
    """The outcome of `work`; StoppedError when `stop` is done first, after `work` was cancelled and has cleaned up."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise StoppedError
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))


def run(config: ServerConfig) -> int:
    """Serve until a signal; returns the exit code of the process."""
    open_files.keep_standard()
    logs.configure(config.log_level)
    open_files.allow_many(config.max_connections)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serve(config, _announce))


def _announce(line: str) -> None:
    try:
        print(line, flush=True)
    except OSError as error:  # whoever reads it is gone, or its disk is full: no reason to serve nobody
        log.warning("stdout cannot be written: %s; its line is: %s", error.strerror, line)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or it fails again when Python ends


async def serve(
    config: ServerConfig, announce: Callable[[str], None], make_engine: Callable[[], Any] = EngineProcess
) -> int:
    """The whole life of the server; `announce` gets the one line that says where it listens. Returns the exit code."""
    with Signals() as signals:
        try:
            access = open_access(config)
            gauges, tracing = Gauges(), _tracing() if config.otel else None
            if tracing is not None:
                tracing.listen(gauges)
            listeners = await bind_all((*config.listen, *config.http))
            settings = jobs_settings(config)
            names = ", ".join(model.name for model in settings.engine.models)
            log.info("loading %s; jobs and images are in %s", names, settings.data_dir)
            try:
                jobs = await unless(signals.first, open_jobs(settings, make_engine=make_engine, gauges=gauges))
            except BaseException:
                for listener in listeners:
                    listener.close()
                raise
        except StoppedError:
            log.info("stopped before the engine was ready")
            return EXIT_DRAINED
        except (ListenError, StartupError, TracingRefusedError, *AccessError) as error:
            return _refuse(error)
        try:
            return await unless(signals.second, _serve(config, announce, signals, jobs, listeners, access, tracing))
        except StoppedError:
            number = signals.second.result()
            log.warning("%s again: stopped at once", number.name)
            return 128 + number
        except ListenError as error:  # the port was taken while the engine was loading
            return _refuse(error)


def _refuse(error: Exception) -> int:
    print(f"pixwire serve: {logs.escape(str(error))}", file=sys.stderr)
    return EXIT_FAILED


async def _serve(
    config: ServerConfig,
    announce: Callable[[str], None],
    signals: Signals,
    jobs: Jobs,
    listeners: list[Listener],
    access: Access,
    tracing: "Tracing | None",
) -> int:
    """From ready jobs to closed ones."""
    port: JobsPort = jobs
    if tracing is not None:
        port = tracing.jobs(jobs)
    door = Door(port, door_settings(config, jobs.server_id), access.tokens, access.tls)
    http = _http_door(config, jobs, port, access, tracing) if config.http else None
    try:
        count = len(listeners) - len(config.http)
        await door.open(listeners[:count])
        if http is not None:
            http.pxw = door
            await http.open(listeners[count:])
        jobs.admin.on_drain = signals.drain
        jobs.admin.connections = lambda: door.connections + (http.connections if http else 0)
        signals.on_reload = partial(access.reload, door, http)
        announce(_greeting(jobs, listeners))
        await asyncio.wait((signals.first, jobs.fatal), return_when=asyncio.FIRST_COMPLETED)
        if not signals.first.done():
            log.error("%s", jobs.fatal.exception())
            return EXIT_FAILED
        log.info("%s: draining", signals.why)
        door.begin_drain(config.drain_grace_s)
        if http is not None:
            http.begin_drain()
        await jobs.drain(config.drain_grace_s)
        ends = [door.finish(DELIVERY_GRACE_S)]
        if http is not None:
            ends.append(http.finish(DELIVERY_GRACE_S))
        await asyncio.gather(*ends)
        log.info("drained")
        return EXIT_DRAINED
    finally:
        await door.abort()
        if http is not None:
            await http.abort()
        for listener in listeners:
            listener.close()  # those that no door had taken over
        with contextlib.suppress(TimeoutError):
            # Nobody waits for an orderly end after a second signal; the journal is whole at every moment.
            async with asyncio.timeout(AT_ONCE_S if signals.second.done() else None):
                await jobs.close()
                if tracing is not None:
                    await tracing.close()


def _greeting(jobs: Jobs, listeners: list[Listener]) -> str:
    """The line that says the server is there, for people and for programs that start it."""
    model = jobs.catalogue.default
    urls = ", ".join(listener.address.url for listener in listeners)
    return f"pixwire: listening on {urls} (model {model.name}, device {model.card.device if model.card else 'none'})"


def jobs_settings(config: ServerConfig) -> JobsSettings:
    """What the job layer is told; the built-in model stands in for a model that was not named."""
    engine = EngineConfig(
        models=config_models.settings(config, _builtin_model),
        memory_budget=config.memory_budget,
        niceness=config.niceness,
        cache_dir=str(config.data_dir / "cards"),
        max_resident=config.max_resident,
        max_rows=config.max_rows,
        threads=config.threads,
        exact=config.exact,
        log_level=config.log_level.upper(),
    )
    return JobsSettings(
        data_dir=config.data_dir,
        engine=engine,
        queue_limit=config.queue_limit,
        principal_queue_limit=config.principal_queue_limit,
        principal_running_limit=config.principal_running_limit,
        resident_bytes=config.resident_bytes or None,
        max_upload_bytes=config.max_upload_bytes,
        upload_bytes=config.upload_bytes,
        retain_s=config.retain_s,
        dedupe_s=config.dedupe_s,
        retain_bytes=config.retain_bytes,
    )


def open_access(config: ServerConfig) -> Access:
    """The tokens and certificates that the configuration names. Raises what AccessError holds."""
    tls = None
    if config.tls_cert is not None and config.tls_key is not None:
        tls = TlsFiles(config.tls_cert, config.tls_key, config.tls_client_ca)
    return Access(config.tokens, tls)


def door_settings(config: ServerConfig, server_id: str) -> DoorSettings:
    """What the door is told. The epoch is new at each start, so that clients see a restart."""
    return DoorSettings(
        agent=f"pixwire-server/{_version()}",
        server_id=server_id,
        epoch=secrets.token_hex(8),
        admins=frozenset(config.admins),
        max_connections=config.max_connections,
        max_connections_per_address=config.max_connections_per_address,
        max_streams=config.max_streams,
        stream_rate=config.stream_rate,
        max_upload=config.max_upload_bytes,
        retain_s=config.retain_s,
        dedupe_s=config.dedupe_s,
        handshake_timeout_s=config.handshake_timeout_s,
        frame_timeout_s=config.frame_timeout_s,
        idle_timeout_s=config.idle_timeout_s,
        ping_timeout_s=config.ping_timeout_s,
        write_stall_s=config.write_stall_s,
        upload_stall_s=config.upload_stall_s,
    )


def _http_door(
    config: ServerConfig, jobs: Jobs, port: JobsPort, access: Access, tracing: "Tracing | None"
) -> "HttpDoor":
    """Loaded only where it is wanted: that takes a moment."""
    from pixwire_server.doors.http.door import HttpDoor

    settings = http_settings(config, jobs.secret)
    if tracing is None:
        return HttpDoor(port, jobs.gauges, settings, access.tokens, access.http_tls)
    return HttpDoor(port, jobs.gauges, settings, access.tokens, access.http_tls, tracing.http)


def _tracing() -> "Tracing":
    """Loaded only where it is wanted, since not everybody has it. Raises TracingRefusedError."""
    try:
        from pixwire_server.tracing.setup import TracingError, open_tracing
    except ImportError as error:
        raise TracingRefusedError(
            f"otel: {error}; install what it takes with: pip install 'pixwire-server[otel]'"
        ) from error
    try:
        return open_tracing(str(uuid.uuid4()), _version())
    except TracingError as error:
        raise TracingRefusedError(f"otel: {error}") from error


def http_settings(config: ServerConfig, secret: bytes) -> "HttpSettings":
    """What the HTTP door is told."""
    from pixwire_server.doors.http.settings import HttpSettings

    return HttpSettings(
        link_secret=secret,
        admins=frozenset(config.admins),
        max_connections=config.max_connections,
        max_connections_per_address=config.max_connections_per_address,
        max_upload=config.max_upload_bytes,
        upload_bytes=config.upload_bytes,
        head_timeout_s=config.handshake_timeout_s,
        body_stall_s=config.upload_stall_s,
        write_stall_s=config.write_stall_s,
        idle_timeout_s=config.idle_timeout_s,
    )


def _builtin_model() -> Path:
    from pixwire_server import builtin_model

    return Path(builtin_model.path())


def _version() -> str:
    try:
        return metadata.version("pixwire-server")
    except metadata.PackageNotFoundError:  # running from a source tree
        return "0"
