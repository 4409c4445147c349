"""An application process: plays traces against its service and tells what became of every request.

    python -m benchmarks.deployments.play NAME ADDRESS

One command per line on stdin, one event per line on stdout, both JSON:

    {"requests": [...], "patience": 2.5, "detail": false, "begin": 123.4}    all at their times, from `begin` on
    {"requests": [...], "closed": true, ...}                                 one after the other
    {"requests": [...], "again": true, ...}                                  asked before it was killed

    {"event": "ready"}   {"event": "sent", "number": 1}   {"event": "over", ...}   {"event": "played", ...}

It is the client of an open loop: a request is sent when it is due, whatever became of the others.
"""

import asyncio
import base64
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvloop

from . import applications, cores
from .outcomes import Kind, NoImageError
from .trace import Request

LONGEST_LINE = 1 << 24
LEAD_S = 0.3
"""From the command to the start of a trace: time for the command to arrive."""


def tell(event: str, **fields: Any) -> None:
    """One line, at once: what was told before a kill stays told."""
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


async def ask(application: applications.Application, request: Request, due: float, order: dict[str, Any]) -> None:
    """One request, to its end, whatever that is."""
    sent, patience = time.monotonic(), order["patience"]
    tell("sent", number=request.number, due=due, sent=sent)
    answer, why = None, ""
    try:
        if not order["again"]:
            answer = await application.generate(request, patience, detail=order["detail"])
        elif isinstance(application, applications.Recovering):
            answer = await application.again(request)
        else:
            raise NoImageError(Kind.LOST, "killed with the application")
        kind = Kind.DONE
    except NoImageError as error:
        kind, why = error.kind, error.why
    except Exception as error:
        kind, why = Kind.FAILED, repr(error)
    over = time.monotonic()
    if answer is not None and patience is not None and over - due > patience:
        kind = Kind.LATE
    told = None if answer is None else asdict(answer) | {"image": base64.b64encode(answer.image).decode()}
    tell("over", number=request.number, kind=kind, due=due, sent=sent, over=over, answer=told, why=why[:200])


async def play(application: applications.Application, order: dict[str, Any]) -> None:
    """Carry out a command."""
    requests = [Request(**told) for told in order["requests"]]
    if order["closed"]:
        for request in requests:
            await ask(application, request, time.monotonic(), order)
        return

    async def at_its_time(request: Request) -> None:
        due = order["begin"] + request.at
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        await ask(application, request, due, order)

    await asyncio.gather(*(at_its_time(request) for request in requests))


def memory() -> int:
    """Bytes of memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def main(name: str, address: str) -> None:
    application = applications.make(name)
    await application.open(address)
    cores.stay(cores.CLIENT)
    tell("ready", memory=memory(), modules=len(sys.modules), torch="torch" in sys.modules)
    reader = asyncio.StreamReader(LONGEST_LINE)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        await play(application, json.loads(line))
        tell("played")
    await application.close()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
