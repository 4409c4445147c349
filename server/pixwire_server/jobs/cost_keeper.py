"""Writes what was learnt of the cost of passes to disk, now and then."""

import asyncio
import logging

from pixwire_server.engine import cost_file
from pixwire_server.engine.settings import EngineConfig
from pixwire_server.scheduling.cost import CostModel

_log = logging.getLogger(__name__)


class CostKeeper:
    """Lives in the event loop. What is lost in a crash is learnt again: the file is a convenience."""

    def __init__(self, config: EngineConfig, costs: CostModel, every_s: float) -> None:
        self._config = config
        self._costs = costs
        self._every_s = every_s
        self._observed = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Write a last time. May be called again."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self.save()

    async def save(self) -> None:
        """Write now, if anything was learnt since. A failure is logged: nobody depends on it."""
        observed = self._costs.observed
        if observed == self._observed:
            return
        try:
            await asyncio.to_thread(cost_file.save, self._config, self._costs.to_map())
            self._observed = observed
        except OSError as error:
            _log.warning("what passes cost cannot be kept: %s", error)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            await self.save()
