"""The deployments, each with its service and its application process, and what is done to them."""

import asyncio
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from . import services
from .outcomes import PARTS, Kind, Outcome, split
from .play import LEAD_S
from .player import Play, Player
from .services import Service
from .trace import Request


@dataclass(frozen=True, slots=True)
class Deployment:
    """One way to run the model. Those with the same `service` share its process."""

    title: str
    application: str
    service: str
    door: str = ""
    overloaded: bool = True
    """Whether it is worth its own run under load: over a Unix socket the server is the same as over TCP."""

    @property
    def inside(self) -> bool:
        """Whether the model dies with the application: then the application is what is killed."""
        return self.service == "nothing"


DEPLOYMENTS = (
    Deployment("direct HTTP", "direct_http", "pixwire", "http"),
    Deployment("broker (stand-in)", "broker", "broker"),
    Deployment("in process", "in_process", "nothing"),
    Deployment("embedded", "embedded", "nothing"),
    Deployment("HTTP jobs", "http_jobs", "pixwire", "http"),
    Deployment("PXW", "pxw", "pixwire", "tcp"),
    Deployment("PXW, Unix socket", "pxw", "pixwire", "unix", overloaded=False),
)
SERVICES: dict[str, Callable[[Path], Service]] = {
    "pixwire": services.Pixwire,
    "broker": services.Brokered,
    "nothing": services.Nothing,
}


class Stand:
    """A deployment that stands ready."""

    def __init__(self, deployment: Deployment, service: Service, folder: Path) -> None:
        self.deployment = deployment
        self.service = service
        self._player = Player(deployment.application, folder / f"{deployment.application}.log")

    @property
    def facts(self) -> dict[str, Any]:
        """What the application told of itself: memory, modules, torch."""
        return self._player.facts

    async def start(self) -> None:
        """Start the application; its service runs."""
        await self._player.start(self.service.address(self.deployment.door))

    async def stop(self) -> None:
        await self._player.stop()

    async def kill(self) -> None:
        """The application, at once; for when the benchmark itself ends early."""
        await self._player.kill()

    async def one_by_one(self, requests: Sequence[Request]) -> list[Outcome]:
        """Without any load: the next request when the one before has ended."""
        found = await self._player.play(requests, closed=True, detail=True)
        return list(found.outcomes.values())

    async def under_load(self, requests: Sequence[Request], patience: float) -> list[Outcome]:
        """At the times of the trace, whatever becomes of them."""
        found = await self._player.play(requests, begin=time.monotonic() + LEAD_S, patience=patience)
        return list(found.outcomes.values())

    async def killed(self, requests: Sequence[Request], at: float) -> list[Outcome]:
        """The trace, and `at` seconds into it kill -9; then it is started again, at once. Nobody loses patience."""
        begin, found = time.monotonic() + LEAD_S, Play()
        playing = asyncio.ensure_future(self._player.play(requests, begin=begin, into=found))
        await asyncio.sleep(begin + at - time.monotonic())
        if not self.deployment.inside:
            await self.service.kill()
            await self.service.start()
            await playing
        else:
            await self._player.kill()
            await asyncio.wait([playing])
            playing.exception()
            await self._begin_again(requests, begin, found)
        return list(found.outcomes.values())

    async def _begin_again(self, requests: Sequence[Request], begin: float, found: Play) -> None:
        """The application is started anew, asks for what it had asked for, and goes on with its trace."""
        await self.start()
        back, first = time.monotonic() - begin, dict(found.sent)
        asked = [one for one in requests if one.number in found.under_way()]
        for one in requests:
            if one.number not in first and one.at < back:
                due = begin + one.at
                found.outcomes[one.number] = Outcome(one.number, Kind.UNREACHABLE, due, due, due, None, "nobody there")
        await self._player.play([replace(one, at=back) for one in asked], begin=begin, into=found, again=True)
        for one in asked:
            due, sent = first[one.number]
            found.outcomes[one.number] = replace(found.outcomes[one.number], due=due, sent=sent)
        left = [one for one in requests if one.number not in found.outcomes]
        await self._player.play(left, begin=begin, into=found)


def parts(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """The median of each part of the way, and of all of it, in milliseconds.

    Where the service does not say, `outside` (everything but queue and compute) is not known, and nothing but `total`.
    """
    told = [found for outcome in outcomes if (found := split(outcome)) is not None]
    totals = [(outcome.over - outcome.sent) * 1000 for outcome in outcomes if outcome.kind is Kind.DONE]
    figures = {"total": statistics.median(totals)}
    if told:
        figures |= {name: statistics.median(one[name] for one in told) for name in PARTS}
        figures["outside"] = statistics.median(one["transport"] + one["delivery"] for one in told)
    return figures
