"""What users do to a server, at random: most of it ordinary, some of it rude."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable

from crashing import CrashServer
from story import Lamp, Story, pictures
from wire_user import GoneError, RefusedError, WireUser

import pixwire
from pixwire_protocol.params import GenerateParams
from pixwire_protocol.registry import ErrorCode

PICTURES = pictures(4)
LONGEST_PAUSE_S = 0.3
RUN_OUT = {ErrorCode.JOB_EXPIRED, ErrorCode.JOB_NOT_FOUND}
"""What is said of a job whose results were given up, and later of one that is forgotten."""


class RealStory(Story):
    """With a real model nobody foretells the image."""

    async def check_images(self, user: WireUser) -> None:
        assert self.end is not None
        for number, _ in enumerate(self.end.get("artifacts", [])):
            image = await user.fetch(self.job, number)
            assert image.startswith(b"\x89PNG")


class Crowd:
    """Users of one server; what they did is counted, what went wrong for them is a problem."""

    def __init__(self, server: CrashServer, rng: random.Random, size: int, *, real: bool) -> None:
        self.did: Counter[str] = Counter()
        self.problems: list[str] = []
        self.over = False
        self._server = server
        self._rng = rng
        self._size = size
        self._lamp = Lamp()
        self._lamp.set(True)
        self._real = real
        self._names = 0
        self._habits: list[tuple[int, Callable[[random.Random], Awaitable[None]]]] = [
            (10, self._follow),
            (4, self._vanish_and_come_back),
            (3, self._cancel),
            (2, self._give_up_an_upload),
            (2, self._use_the_library),
            (2, self._be_in_a_hurry),
            (1, self._only_connect),
            (1, self._ask_for_what_is_not_there),
            (1, self._forget_it),
        ]

    async def first(self) -> None:
        """Every habit once."""
        for _, habit in self._habits:
            await habit(self._rng)
        self.did.clear()

    def start(self, group: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        return [group.create_task(self._live(random.Random(self._rng.random()))) for _ in range(self._size)]

    async def _live(self, rng: random.Random) -> None:
        weights, habits = zip(*self._habits, strict=True)
        while not self.over:
            (habit,) = rng.choices(habits, weights)
            try:
                async with asyncio.timeout(300):  # a bound for a job that never ends
                    await habit(rng)
            except (AssertionError, GoneError, RefusedError, TimeoutError, pixwire.PixwireError) as error:
                self.problems.append(f"{habit.__name__}: {type(error).__name__}: {error}")

    def _story(self, rng: random.Random) -> Story:
        self._names += 1
        self.did["jobs"] += 1
        name = f"job-{self._names}"
        picture = rng.choice([None, None, None, *PICTURES[:2]])
        steps = rng.randint(2, 6 if self._real else 40)
        make = RealStory if self._real else Story
        prompt = f"a {rng.choice(['red', 'green', 'blue'])} star, {name}"
        return make(name, prompt, steps=steps, seed=rng.getrandbits(32), count=rng.randint(1, 2), picture=picture)

    async def _connect(self) -> WireUser:
        return await WireUser.connect(self._server.socket)

    async def _follow(self, rng: random.Random) -> None:
        story = self._story(rng)
        await self._to_its_end(story)

    async def _to_its_end(self, story: Story) -> None:
        """Results may have run out of room before they were fetched; that is said, and counted."""
        try:
            await story.live(self._server.socket, self._lamp.up)
            self.did["ended " + (story.end or {})["state"]] += 1
        except RefusedError as refused:
            if refused.error.code not in RUN_OUT or not story.accepted:
                raise
            self.did["run out of time or room"] += 1

    async def _vanish_and_come_back(self, rng: random.Random) -> None:
        story = self._story(rng)
        await self._begin(story)
        user = await self._connect()
        try:
            watching = await user.watch(story.job, story.seq)
            story.see(watching.snapshot)
            for _ in range(rng.randint(0, 3)):
                if not watching.over:
                    story.see(await watching.next())
        finally:
            await user.close()
        self.did["vanished"] += 1
        await asyncio.sleep(rng.uniform(0, LONGEST_PAUSE_S))
        await self._to_its_end(story)

    async def _begin(self, story: Story) -> None:
        """Submit it, and leave at once."""
        user = await self._connect()
        try:
            chosen = {name: value for name, value in story.params.items() if value is not None}
            story.see(await user.submit(story.job, story.prompt, story.picture, **chosen))
            story.accepted = True
        finally:
            await user.close()

    async def _cancel(self, rng: random.Random) -> None:
        story = self._story(rng)
        await self._begin(story)
        await asyncio.sleep(rng.uniform(0, LONGEST_PAUSE_S))
        user = await self._connect()
        try:
            for _ in range(2):  # twice is fine
                await user.cancel(story.job)
        except RefusedError as refused:
            if refused.error.code not in RUN_OUT:
                raise
        finally:
            await user.close()
        self.did["cancels"] += 1
        await self._to_its_end(story)

    async def _be_in_a_hurry(self, rng: random.Random) -> None:
        """With a class, a tag and little time: it is refused, in time, or expired."""
        story = self._story(rng)
        limit = rng.choice(["timeout_ms", "queue_ttl_ms", "run_timeout_ms"])
        terms = {"priority": rng.choice(["low", "normal", "high"]), "tags": ("hurry",), limit: rng.randint(50, 2000)}
        chosen = {name: value for name, value in story.params.items() if value is not None}
        user = await self._connect()
        try:
            story.see(await user.submit(story.job, story.prompt, None, terms, **chosen))
        except RefusedError as refused:
            if refused.error.code != ErrorCode.DEADLINE_EXCEEDED:
                raise
            self.did["refused for their deadline"] += 1
            return
        finally:
            await user.close()
        story.accepted, story.picture = True, None
        await self._to_its_end(story)

    async def _give_up_an_upload(self, rng: random.Random) -> None:
        user = await self._connect()
        picture = PICTURES[3] + rng.randbytes(8)  # nobody has sent this one before
        stream = user.begin_upload(f"given-up-{rng.getrandbits(40)}", GenerateParams("a star").pack(), picture)
        if rng.random() < 0.7:
            user.send_part(stream, picture[: rng.randrange(1, len(picture))])
        await asyncio.sleep(rng.uniform(0, LONGEST_PAUSE_S / 3))
        await user.close()
        self.did["uploads given up"] += 1

    async def _use_the_library(self, rng: random.Random) -> None:
        story = self._story(rng)
        seen: list[int] = []
        async with await pixwire.connect(self._server.url) as client:
            image = await client.generate(
                story.prompt,
                steps=story.params["steps"],
                seed=story.seed,
                job_id=story.job,
                on_progress=lambda event: seen.append(event.seq),
            )
        assert seen == sorted(set(seen))
        if not self._real:
            story.params["count"], story.picture = 1, None
            assert image.bytes == story.expected()[0], f"{story.job}: another image"
        self.did["generated by the library"] += 1

    async def _only_connect(self, rng: random.Random) -> None:
        """Half of them do not even say hello."""
        if rng.random() < 0.5:
            user = await self._connect()
            await asyncio.sleep(rng.uniform(0, LONGEST_PAUSE_S))
            await user.close()
        else:
            _, writer = await asyncio.open_unix_connection(self._server.socket)
            writer.write(rng.randbytes(rng.randrange(1, 40)))
            await asyncio.sleep(rng.uniform(0, LONGEST_PAUSE_S))
            writer.transport.abort()
        self.did["connected only"] += 1

    async def _ask_for_what_is_not_there(self, rng: random.Random) -> None:
        user = await self._connect()
        try:
            for question in (user.status, user.cancel, user.watch, user.fetch):
                try:
                    await question(f"never-{rng.getrandbits(40)}")
                except RefusedError as refused:
                    if refused.error.code != ErrorCode.JOB_NOT_FOUND:
                        raise
                else:
                    raise AssertionError("a job that never was is there")
            await user.listed()
        finally:
            await user.close()
        self.did["asked in vain"] += 1

    async def _forget_it(self, rng: random.Random) -> None:
        """Submit and never ask again."""
        await self._begin(self._story(rng))
        self.did["forgotten by their users"] += 1
