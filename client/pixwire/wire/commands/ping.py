"""`ping`: round trips, idle and while an image comes in."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from pixwire_protocol.messages import Fetch, Message, Ping, Status, encode
from pixwire_protocol.messages import List as ListRequest
from pixwire_protocol.registry import LIMITS, Flag

from ...cli.exits import ExitCode
from ..annotate import Item, SeenFrame
from ..errors import WireError, exit_of_code
from ..histogram import Times, histogram
from ..screen import Screen
from ..talk import Talk, TalkOptions, say_goodbye

Probe = Literal["ping", "status"]
_AT_ONCE: Final = LIMITS["ping_burst"].default * 3 // 4
"""PINGs without a pause, well within what a server takes at once; then one per min_ping_ms."""
_FETCHES: Final = 4
"""FETCHes under way at the same time, as load."""
_NOBODY: Final = "wire-ping"


@dataclass(frozen=True, slots=True)
class PingOptions:
    """count: round trips (of each kind). probe: PING, or STATUS of a job that does not exist (servers count PINGs).

    under_load: measure again while artifacts are fetched, of `job` or of the newest one that has any.
    """

    count: int = 8
    probe: Probe = "ping"
    under_load: bool = False
    job: str | None = None


async def ping(options: TalkOptions, what: PingOptions, screen: Screen) -> int:
    """Measures and prints."""
    rounds = 2 if what.under_load else 1
    with screen.busy(f"measuring {options.url}"):
        async with await Talk.connect(options) as talk:
            prober = _Prober(talk, what.probe)
            if what.probe == "ping" and what.count * rounds > _AT_ONCE:
                pause = talk.welcome.limits.min_ping_ms
                screen.note(f"beyond {_AT_ONCE} PINGs there goes one per {pause} ms (min_ping_ms of WELCOME)")
            found = {"idle": await prober.measure(what.count)}
            load: dict[str, Any] | None = None
            if what.under_load:
                job = what.job or await prober.newest_job()
                loading = _Load(prober, job)
                await loading.begin()
                found["under load"] = await prober.measure(what.count, loading)
                await loading.rest()
                load = loading.report()
            await say_goodbye(talk)
    _print(options.url, what, found, load, screen)
    return ExitCode.OK


def _print(url: str, what: PingOptions, found: dict[str, Times], load: dict[str, Any] | None, screen: Screen) -> None:
    if screen.as_json:
        times = {name.replace(" ", "_"): series.to_map() for name, series in found.items()}
        raw = {name.replace(" ", "_"): [round(value, 3) for value in series.values] for name, series in found.items()}
        screen.json({"url": url, "probe": what.probe, "unit": "ms", **times, "load": load, "sorted": raw})
        return
    for name, series in found.items():
        screen.say(f"{name + ':':<12}{series.summary()}")
    if load is not None:
        screen.say(
            f"{'load:':<12}{load['bytes']:,} bytes of job {load['job']} in {load['fetches']} FETCHes, "
            f"{load['mib_per_s']:.1f} MiB/s"
        )
    screen.say("\n".join(histogram(found)))


class _Prober:
    """Asks and listens on one connection; frames of the load are passed on to it."""

    def __init__(self, talk: Talk, probe: Probe) -> None:
        self.talk = talk
        self._probe = probe
        self._items = aiter(talk.items())
        self._stream = -1
        self._asked = 0
        self._clock = 0.0

    def open(self, message: Message) -> tuple[int, bytes]:
        """A request on a new stream."""
        self._stream += 2
        return self._stream, b"".join(map(bytes, encode(message, self._stream, Flag.END)))

    async def measure(self, count: int, load: "_Load | None" = None) -> Times:
        """That many round trips, one after the other, as fast as the server allows."""
        found = []
        for _ in range(count):
            await self._pace(load)
            found.append(await self._one(load))
        return Times.of(found)

    async def _pace(self, load: "_Load | None") -> None:
        """A server ends connections that PING more often than it said."""
        now = time.perf_counter()
        self._asked += 1
        pause = self.talk.welcome.limits.min_ping_ms / 1000
        if self._probe == "ping" and self._asked > _AT_ONCE and (left := self._clock + pause - now) > 0:
            if load is not None:
                await load.rest()
            await asyncio.sleep(left)
            if load is not None:
                await load.begin()
        self._clock = time.perf_counter()

    async def _one(self, load: "_Load | None") -> float:
        if self._probe == "ping":
            payload = os.urandom(8)
            data = b"".join(map(bytes, encode(Ping(payload))))
        else:
            stream, data = self.open(Status(job=_NOBODY))
            payload = stream.to_bytes(4)
        answers = ("PONG",) if self._probe == "ping" else ("ERROR", "RESULT")
        start = time.perf_counter()
        await self.talk.send(data)
        while True:
            item = await self.next()
            if isinstance(item, SeenFrame) and item.name in answers:
                mine = item.tail == payload if self._probe == "ping" else item.stream == int.from_bytes(payload)
                if mine:
                    return (time.perf_counter() - start) * 1000
            if load is not None:
                await load.take(item)

    async def next(self) -> Item:
        """The next thing the server says. Raises WireError when it ends the connection."""
        try:
            item = await anext(self._items)
        except StopAsyncIteration:
            raise WireError("the server ended the connection while it was measured") from None
        if isinstance(item, SeenFrame) and item.name == "GOAWAY":
            head = item.head or {}
            code = head.get("code", 0)
            if code:
                raise WireError(
                    f"the server ended the connection: {head.get('name')} {head.get('message', '')}",
                    exit_code=exit_of_code(code),
                )
        return item

    async def newest_job(self) -> str:
        """The newest job with artifacts."""
        stream, data = self.open(ListRequest(what="jobs", limit=100, states=("succeeded",)))
        await self.talk.send(data)
        async for item in _until(self):
            if isinstance(item, SeenFrame) and item.stream == stream:
                jobs = (item.head or {}).get("jobs")
                for found in jobs if isinstance(jobs, list) else ():
                    if isinstance(found, dict) and found.get("artifacts"):
                        return str(found["job"])
                break
        raise WireError(
            "there is no job with an image to fetch as load",
            "name one with --job, or make one: pixwire generate PROMPT --job ID",
            exit_code=ExitCode.NOT_FOUND,
        )


async def _until(prober: _Prober) -> AsyncIterator[Item]:
    while True:
        yield await prober.next()


class _Load:
    """FETCH after FETCH of one artifact, some always under way; between paced PINGs it rests."""

    def __init__(self, prober: _Prober, job: str) -> None:
        self._prober = prober
        self._job = job
        self._streams: set[int] = set()
        self._resting = False
        self._bytes = 0
        self._fetches = 0
        self._busy = 0.0
        self._since = 0.0

    async def begin(self) -> None:
        """Puts FETCHes under way."""
        self._resting = False
        self._since = time.perf_counter()
        for _ in range(_FETCHES):
            await self._fetch()

    async def rest(self) -> None:
        """Lets those under way end. Raises WireError when the image cannot be fetched."""
        self._resting = True
        while self._streams:
            await self.take(await self._prober.next())
        self._busy += time.perf_counter() - self._since

    async def take(self, item: Item) -> None:
        """A frame that is no answer to a probe."""
        if not isinstance(item, SeenFrame) or item.stream not in self._streams:
            return
        if item.name == "ERROR":
            head = item.head or {}
            raise WireError(
                f"cannot fetch job {self._job}: {head.get('name')} {head.get('message', '')}",
                exit_code=exit_of_code(head.get("code", 0)),
            )
        if item.name == "DATA":
            self._bytes += len(item.tail)
        if item.end:
            self._streams.discard(item.stream)
            if not self._resting:
                await self._fetch()

    async def _fetch(self) -> None:
        stream, data = self._prober.open(Fetch(job=self._job))
        self._streams.add(stream)
        self._fetches += 1
        await self._prober.talk.send(data)

    def report(self) -> dict[str, Any]:
        """What was carried before it rested."""
        rate = self._bytes / self._busy / 2**20 if self._busy else 0.0
        return {"job": self._job, "fetches": self._fetches, "bytes": self._bytes, "mib_per_s": round(rate, 3)}
