"""One job and a user who does not give up on it, whatever dies: what holds for every accepted job is asserted here."""

import asyncio
import io
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from fast_image import paint
from PIL import Image
from wire_user import TERMINAL, GoneError, WireUser

WITHOUT_TIME = {"retain_ms", "event", "duplicate", "params", "attachments"}
"""What may differ between two looks at a job that has ended, and what not every answer has."""


class Story:
    """Submits (again and again, under one id), follows and fetches one job over as many connections as it takes.

    Checked on the way: event numbers rise through all restarts, the seed never changes, there is one end and it never
    changes, and the image is the one the request has when nothing happens. Attempts never fall while one server lives;
    a restart may take back one that was told and not yet journalled (`jobs/ledger.py`, "a change on the way").
    """

    def __init__(
        self,
        job: str,
        prompt: str,
        *,
        steps: int = 4,
        seed: int | None = None,
        count: int = 1,
        picture: bytes | None = None,
    ) -> None:
        self.job = job
        self.picture = picture
        self.params: dict[str, Any] = {"steps": steps, "seed": seed, "count": count}
        self.prompt = prompt
        self.accepted = False
        self.answers = 0
        """How often the server said that the job is accepted."""
        self.seq = 0
        self.attempt = 1
        self.seed = seed
        self.end: dict[str, Any] | None = None
        self.connections = 0
        self.cancelling = False
        """Somebody has, or may have, asked for its cancellation."""

    async def live(self, path: Path, up: Callable[[], Awaitable[None]]) -> "Story":
        """To the end of the job; `up` returns when there is (again) a server."""
        while True:
            await up()
            try:
                user = await WireUser.connect(path)
            except GoneError:
                continue
            self.connections += 1
            self.attempt = 1
            try:
                await self._on(user)
                return self
            except GoneError:
                continue
            finally:
                await user.close()

    async def _on(self, user: WireUser) -> None:
        if not self.accepted:
            chosen = {name: value for name, value in self.params.items() if value is not None}
            answer = await user.submit(self.job, self.prompt, self.picture, **chosen)
            self.accepted = True
            self.answers += 1
            self.see(answer)
        if self.end is None:
            watching = await user.watch(self.job, self.seq)
            self.see(watching.snapshot)
            while not watching.over:
                event = await watching.next()
                assert event["seq"] > self.seq, f"{self.job}: event {event} after number {self.seq}"
                self.see(event)
            assert self.end is not None, f"{self.job}: the watch ended before the job did"
        self.see(await user.status(self.job))
        await self.check_images(user)

    def see(self, status: dict[str, Any]) -> None:
        """Something was told about the job."""
        assert status["seq"] >= self.seq, f"{self.job}: told number {status['seq']} after {self.seq}"
        self.seq = status["seq"]
        if "attempt" in status:
            assert status["attempt"] >= self.attempt
            self.attempt = status["attempt"]
        if status.get("event", "state") != "state":
            assert self.end is None, f"{self.job}: {status} after its end"
            return
        self.seed = status["seed"] if self.seed is None else self.seed
        assert status["seed"] == self.seed, f"{self.job}: its seed has changed"
        facts = {name: value for name, value in status.items() if name not in WITHOUT_TIME}
        if self.end is not None:
            assert facts == self.end, f"{self.job}: its end has changed from {self.end} to {facts}"
        elif status["state"] in TERMINAL:
            self.end = facts

    async def check_images(self, user: WireUser) -> None:
        """All images are there, once, and are those of a run that nothing disturbed."""
        assert self.end is not None
        images = self.end.get("artifacts", [])
        if self.end["state"] != "succeeded":
            assert not images
            return
        assert len(images) == self.params["count"]
        expected = self.expected()
        for number, info in enumerate(images):
            assert (info["artifact"], info["seed"]) == (number, self.end["seed"] + number)
            assert await user.fetch(self.job, number) == expected[number], f"{self.job}: another image"

    def expected(self) -> list[bytes]:
        """The images of the undisturbed run."""
        assert self.seed is not None
        what = self.prompt, "", 64, 64, self.params["steps"], 1.0
        return [paint(*what, self.seed + i, self.picture) for i in range(self.params["count"])]


def pictures(count: int) -> list[bytes]:
    """PNG files of 64 x 64 pixels, each another one."""
    made: list[bytes] = []
    for number in range(count):
        out = io.BytesIO()
        pixels = random.Random(number).randbytes(64 * 64 * 3)
        Image.frombytes("RGB", (64, 64), pixels).save(out, "PNG")
        made.append(out.getvalue())
    return made


class Lamp:
    """On while there is a server."""

    def __init__(self) -> None:
        self._on = asyncio.Event()

    async def up(self) -> None:
        await asyncio.sleep(0)
        await self._on.wait()

    def set(self, on: bool) -> None:
        (self._on.set if on else self._on.clear)()
