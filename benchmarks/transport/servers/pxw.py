"""The real pixwire server, with an engine that is never given anything to do.

    python -m benchmarks.transport.servers.pxw [--torch] [--image SIZE]... [options of `pixwire serve`]

Configuration, doors, jobs, journal and store are those of `pixwire serve --max-resident 0`. In place of the engine's
process, which would load torch and a model and then wait, stands a card of a model: starting takes a second, not ten.
"""

import argparse
import asyncio
import sys
import threading
from collections.abc import Callable, Sequence

import uvloop

from benchmarks.stored_job import store_job
from benchmarks.transport.servers.common import compute, ready
from benchmarks.transport.work import image_job
from pixwire_server import app, logs, open_files
from pixwire_server.cli import build_parser
from pixwire_server.config import load
from pixwire_server.engine import api

CARD = api.ModelCard(
    name="none",
    pipeline_class="None",
    default_steps=12,
    default_guidance_scale=1.0,
    default_width=64,
    default_height=64,
    size_multiple=8,
    max_width=1024,
    max_height=1024,
    max_steps=200,
    max_count=16,
    device="cpu",
    dtype="float32",
)

BEAT_S = 1.0


class IdleEngine:
    """Stands in for `EngineProcess`: has a model and computes nothing. With max_resident 0 it is never sent a task."""

    def __init__(self) -> None:
        self._report: Callable[[api.Report], None] = lambda report: None
        self._exit: Callable[[int], None] = lambda returncode: None

    def on_report(self, callback: Callable[[api.Report], None]) -> None:
        self._report = callback

    def on_exit(self, callback: Callable[[int], None]) -> None:
        self._exit = callback

    async def start(self, config: api.EngineConfig) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.call_soon(self._report, api.Ready((api.ModelInfo(CARD.name, api.ModelState.LOADED, CARD),)))
        self._loop.call_soon(self._beat)

    def _beat(self) -> None:
        """The real one tells that it lives, too."""
        self._report(api.Heartbeat(0, 0))
        self._timer = self._loop.call_later(BEAT_S, self._beat)

    def send(self, command: api.Command) -> None:
        if isinstance(command, api.Submit):
            raise RuntimeError("a task came: start this server with --max-resident 0")

    async def stop(self, grace: float) -> int:
        self._timer.cancel()
        return 0

    def kill(self) -> None:
        self._exit(-9)


def announce(line: str) -> None:
    """`pixwire: listening on URL, URL (model ...)`, shortened for whoever started this."""
    ready(line.partition("listening on ")[2].partition(" (")[0])


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--torch", action="store_true", help="a thread of this process multiplies matrices meanwhile")
    parser.add_argument("--image", action="append", type=int, default=[], help="size of an image that is there")
    own, rest = parser.parse_known_args(arguments)
    config = load(vars(build_parser().parse_args(rest)), None)
    for size in own.image:
        store_job(config.data_dir, image_job(size), size)
    if own.torch:
        threading.Thread(target=compute, daemon=True).start()
    logs.configure(config.log_level)
    open_files.allow_many(config.max_connections)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(app.serve(config, announce, IdleEngine))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
