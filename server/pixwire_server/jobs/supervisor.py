"""Keeps one engine process alive: starts it, notices its death or silence, starts the next one after a delay.

    STOPPED -start-> STARTING -Ready-> READY -exit-> WAITING -delay-> STARTING ...
                         READY -silent, hung-> DYING -exit-> WAITING       any -cannot start-> BROKEN

What the jobs make of a death is the dispatcher's business.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from enum import Enum, auto
from functools import partial
from typing import Protocol

from pixwire_server.engine import api
from pixwire_server.engine.api import changed

from .clock import Clock
from .errors import EngineLostError, StartupError
from .supervision import Liveness, RestartPolicy

_log = logging.getLogger(__name__)


class Engine(Protocol):
    """What the supervisor needs of `engine.process.EngineProcess`."""

    def on_report(self, callback: Callable[[api.Report], None]) -> None: ...
    def on_exit(self, callback: Callable[[int], None]) -> None: ...
    async def start(self, config: api.EngineConfig) -> None: ...
    def send(self, command: api.Command) -> None: ...
    async def stop(self, grace: float) -> int: ...
    def kill(self) -> None: ...


class Phase(Enum):
    """Where the engine's life is."""

    STOPPED = auto()
    STARTING = auto()
    READY = auto()
    DYING = auto()
    """Taken for dead and killed; its exit is awaited, for it may still hold the device's memory."""
    WAITING = auto()
    BROKEN = auto()


class Supervisor:
    """Owns the engine. Callbacks: `on_report(report)`, `on_ready()` at each start after its Ready, `on_lost()` once per
    engine that was ready and died. Lives in the event loop.
    """

    def __init__(
        self,
        make_engine: Callable[[], Engine],
        config: api.EngineConfig,
        policy: RestartPolicy,
        clock: Clock,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.phase = Phase.STOPPED
        self.on_report: Callable[[api.Report], None] = lambda report: None
        self.on_ready: Callable[[], None] = lambda: None
        self.on_lost: Callable[[], None] = lambda: None
        self.fatal: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Fails with EngineLostError when the engine died and cannot be brought back."""
        self.fatal.add_done_callback(lambda future: future.cancelled() or future.exception())
        self._make_engine = make_engine
        self._config = config
        self._policy = policy
        self._clock = clock
        self._jitter = jitter
        self._engine: Engine | None = None
        self._first: asyncio.Future[None] | None = None
        self._refusal = ""
        self.restarts = -1
        """How often the engine had to be started again."""
        self._deaths = 0
        self._failed_starts = 0
        self._came_up = False
        self._ready_at = 0.0
        self._liveness = Liveness(policy)
        self._timer: asyncio.TimerHandle | None = None
        self._ticker: asyncio.TimerHandle | None = None
        self._launching: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        return self.phase is Phase.READY

    async def start(self) -> None:
        """Start the first engine and wait until it is ready. Raises StartupError when it does not come up."""
        self._first = asyncio.get_running_loop().create_future()
        self._launch()
        self._tick_later()
        await self._first

    def send(self, command: api.Command) -> None:
        """Pass a command to the engine; dropped when there is none, whose jobs are then handled as lost.

        What it changes in the list of models holds for the engines to come, too.
        """
        self._config = changed(self._config, command)
        if self._engine is not None:
            self._engine.send(command)

    async def stop(self) -> None:
        """End the engine and restart it no more; one that still loads its model is killed. May be called again."""
        grace = self._policy.stop_grace_s if self.ready else 0.0
        self.phase = Phase.STOPPED
        for timer in (self._timer, self._ticker):
            if timer is not None:
                timer.cancel()
        if self._launching is not None:
            await asyncio.wait([self._launching])
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.stop(grace)

    def tick(self) -> None:
        """Look at the silence of the engine; called by the timer every `tick_s`."""
        if self._engine is None or self.phase not in (Phase.STARTING, Phase.READY):
            return
        if self._liveness.tick(self.ready):
            self._take_for_dead(self._engine, "it reports nothing any more")

    def _take_for_dead(self, engine: Engine, why: str) -> None:
        """Its jobs are lost now; the next engine starts when its process has ended."""
        _log.error("engine: %s, it is killed", why)
        engine.kill()
        self.phase = Phase.DYING
        if self._came_up:
            self.on_lost()

    def _tick_later(self) -> None:
        def due() -> None:
            self._tick_later()
            self.tick()

        self._ticker = asyncio.get_running_loop().call_later(self._policy.tick_s, due)

    def _launch(self) -> None:
        self.phase = Phase.STARTING
        self.restarts += 1
        self._came_up = False
        self._refusal = ""
        self._liveness = Liveness(self._policy)
        self._engine = engine = self._make_engine()
        engine.on_report(partial(self._report, engine))
        engine.on_exit(partial(self._exited, engine))
        self._launching = asyncio.get_running_loop().create_task(self._spawn(engine))

    async def _spawn(self, engine: Engine) -> None:
        try:
            await engine.start(self._config)
        except Exception as error:
            self._engine = None
            self._refusal = f"its process cannot be started: {error}"
            if self.phase is not Phase.STOPPED:
                self._failed_start(-1)

    def _report(self, engine: Engine, report: api.Report) -> None:
        if engine is not self._engine or self.phase not in (Phase.STARTING, Phase.READY):
            return  # the last words of one that was given up
        self._liveness.seen()
        if isinstance(report, api.Ready):
            self.on_report(report)
            self._became_ready()
        elif isinstance(report, api.Refused):
            self._refusal = report.message
        elif isinstance(report, api.Heartbeat) and report.busy_s > self._policy.max_busy_s:
            self._take_for_dead(engine, f"it has been in one forward pass for {report.busy_s:.0f} s")
        else:
            self.on_report(report)

    def _became_ready(self) -> None:
        self.phase = Phase.READY
        self._came_up = True
        self._failed_starts = 0
        self._ready_at = self._clock.monotonic()
        if self._first is not None and not self._first.done():
            self._first.set_result(None)
        self.on_ready()

    def _exited(self, engine: Engine, returncode: int) -> None:
        if engine is not self._engine or self.phase is Phase.STOPPED:
            return
        self._engine = None
        phase, self.phase = self.phase, Phase.WAITING
        if not self._came_up:
            self._failed_start(returncode)
            return
        _log.error("engine: the process ended (%s)", _how(returncode))
        if phase is Phase.READY:
            self.on_lost()
        if self._clock.monotonic() - self._ready_at >= self._policy.stable_s:
            self._deaths = 0
        self._restart_later()

    def _failed_start(self, returncode: int) -> None:
        self._failed_starts += 1
        reason = self._refusal or f"its process ended before the model was loaded ({_how(returncode)}); see the log"
        hopeless = returncode == api.EXIT_REFUSED or self._failed_starts >= self._policy.max_failed_starts
        if self._first is not None and not self._first.done():
            self.phase = Phase.BROKEN
            self._first.set_exception(StartupError(f"the engine cannot start: {reason}"))
        elif hopeless:
            self.phase = Phase.BROKEN
            self.fatal.set_exception(EngineLostError(f"the engine cannot be started again: {reason}"))
        else:
            _log.error("engine: start %d failed: %s", self._failed_starts, reason)
            self._restart_later()

    def _restart_later(self) -> None:
        self._deaths += 1
        delay = self._policy.delay(self._deaths, self._jitter())
        self.phase = Phase.WAITING
        _log.info("engine: starting again in %.1f s", delay)
        self._timer = asyncio.get_running_loop().call_later(delay, self._launch)


def _how(returncode: int) -> str:
    return f"killed by signal {-returncode}" if returncode < 0 else f"exit status {returncode}"
