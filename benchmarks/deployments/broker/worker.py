"""A worker of the broker: takes one message at a time, makes its image with the plain pipeline, says so.

python -m benchmarks.deployments.broker.worker HOST:PORT
"""

import asyncio
import sys
import time
from typing import Any

from ..model import Plain, png
from ..trace import Request
from .connection import Broker

AGAIN_S = 0.1


def _make(plain: Plain, body: dict[str, Any]) -> dict[str, Any]:
    started = time.monotonic()
    (image,) = plain.make([Request(**body)])
    return {"image": png(image), "started": started, "ended": time.monotonic()}


async def work(address: str, plain: Plain) -> None:
    """Until it is killed. The message that it was at when the broker went away will be sent to it again."""
    while True:
        try:
            broker = await Broker.connect(address)
        except ConnectionError:
            await asyncio.sleep(AGAIN_S)
            continue
        try:
            while True:
                message = await broker.call("pull")
                made = await asyncio.to_thread(_make, plain, message["body"])
                await broker.call("done", id=message["id"], **made)
        except ConnectionError:
            pass
        finally:
            await broker.close()


def main() -> None:
    plain = Plain()
    plain.warm_up()
    print("ready", flush=True)
    asyncio.run(work(sys.argv[1], plain))


if __name__ == "__main__":
    main()
