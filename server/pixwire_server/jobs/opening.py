"""Puts the job layer together and starts it."""

import random
from collections.abc import Callable
from dataclasses import replace

from pixwire_server.engine.cost_file import COST_FILE
from pixwire_server.engine.process import EngineProcess
from pixwire_server.store import StoreOpenError, open_store

from . import resolve
from .clock import Clock
from .errors import StartupError
from .gauges import Gauges
from .service import Jobs
from .settings import JobsSettings
from .supervisor import Engine, Supervisor


async def open_jobs(
    settings: JobsSettings,
    *,
    make_engine: Callable[[], Engine] = EngineProcess,
    clock: Clock | None = None,
    draw_seed: Callable[[], int] = resolve.draw_seed,
    jitter: Callable[[], float] = random.random,
    gauges: Gauges | None = None,
) -> Jobs:
    """Open the data directory, take up its unfinished jobs, start the engine and wait until it is ready. Who listens to
    `gauges` hears of these jobs, too.

    Raises StartupError with a text for the operator: the directory is in use or cannot be written, its journal is not
    one or is damaged, the settings contradict each other, or the engine cannot start. Everything is given back then,
    also when the caller is cancelled.
    """
    clock = clock or Clock()
    settings = replace(settings, engine=replace(settings.engine, cost_file=str(settings.data_dir / COST_FILE)))
    try:
        _ = settings.retention  # before anything is opened
    except ValueError as error:
        raise StartupError(f"the settings contradict each other: {error}") from error
    try:
        store = await open_store(settings.data_dir)
    except StoreOpenError as error:
        raise StartupError(str(error)) from error
    supervisor = Supervisor(make_engine, settings.engine, settings.restart, clock, jitter)
    jobs = Jobs(settings, store, supervisor, clock, draw_seed, gauges)
    try:
        await jobs.start()
    except BaseException:
        await jobs.close()
        raise
    return jobs
