"""Carries out what `retention` decides: results go when their time is over, tombstones when theirs is.

A little at a time: jobs are accepted and ended between two of its transactions.
"""

import asyncio
import logging

from pixwire_server.store import JobStore, Retained, StoreError

from .clock import Clock
from .retention import Retention
from .table import JobTable

_log = logging.getLogger(__name__)

BATCH = 200
"""Jobs in one transaction: some milliseconds."""

_START = (-(2**63), 0)


class Sweeper:
    """Sweeps once at the start and then every `every_s` seconds. Lives in the event loop."""

    def __init__(
        self,
        journal: JobStore,
        keeper: Retained,
        table: JobTable,
        retention: Retention,
        clock: Clock,
        every_s: float,
    ) -> None:
        self._journal = journal
        self._keeper = keeper
        self._table = table
        self._retention = retention
        self._clock = clock
        self._every_s = every_s
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """End it between two transactions. May be called again."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def sweep(self) -> None:
        """Let go what is to go now. Raises StoreError; what was done by then is done."""
        expired = await self._expire()
        forgotten = await self._forget()
        if expired or forgotten:
            _log.info("retention: %d jobs lost their results, %d are forgotten", expired, forgotten)

    async def _run(self) -> None:
        while True:
            try:
                await self.sweep()
            except StoreError as error:
                _log.warning("retention: %s; trying again in %g s", error, self._every_s)
            except Exception:
                _log.exception("retention: a defect; trying again in %g s", self._every_s)
            await asyncio.sleep(self._every_s)

    async def _expire(self) -> int:
        after, expired = _START, 0
        kept_bytes = await self._bytes_kept()
        while True:
            ended = await self._keeper.ended(after, BATCH)
            now_ms = self._clock.wall_ms()
            verdict = self._retention.judge(ended, kept_bytes, now_ms)
            if verdict.expiring:
                files = await self._journal.expire([row.position for row in verdict.expiring], now_ms)
                for row in verdict.expiring:
                    self._table.drop((row.principal, row.job), row.position)
                await self._keeper.collect(files)
                expired += len(verdict.expiring)
            if verdict.complete or len(ended) < BATCH:
                return expired
            after, kept_bytes = (ended[-1].finished_ms, ended[-1].position), verdict.kept_bytes

    async def _bytes_kept(self) -> int:
        limit = self._retention.retain_bytes
        return await self._keeper.bytes_kept(limit) if limit else 0

    async def _forget(self) -> int:
        forgotten = 0
        while True:
            before_ms = self._retention.forgotten_ms(self._clock.wall_ms())
            positions = await self._keeper.tombstones(before_ms, BATCH)
            if positions:
                await self._keeper.collect(await self._journal.forget(positions))
            forgotten += len(positions)
            if len(positions) < BATCH:
                return forgotten
