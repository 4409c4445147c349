"""A job layer that knows what passes take."""

from typing import Any

import pytest

from pixwire_server.engine import api
from pixwire_server.jobs import RequestError

from .conftest import Bench

STEP_S = 0.5


def learn(bench: Bench, rows: int = 2, passes: int = 5, seconds: float = STEP_S) -> None:
    """Let the engine have computed passes of the default shape; text and decoding take next to nothing."""
    [name] = {command.shape for command in bench.engine.commands if isinstance(command, api.Submit)}
    stages = (("denoise", rows, seconds), ("encode", 1, 0.0001), ("decode", 1, 0.0001))
    seen = [
        api.Pass(number, stage, name, size, 64 * 128, taken * 1000, (1,))
        for number, (stage, size, taken) in enumerate(stages * passes)
    ]
    bench.engine.report(api.Passed(tuple(seen)))


async def taught(bench: Bench, **options: Any) -> None:
    """A server that knows what a step takes: a job of 20 steps takes 10 s."""
    await bench.open(**options)
    await bench.submit("teacher")
    follower = await bench.follow("teacher")
    await bench.farm.running("teacher")
    learn(bench)
    bench.engine.finish("teacher")
    await follower.until("succeeded")
    bench.pass_time(2.0)


async def refused(future: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        await future
    return caught.value
