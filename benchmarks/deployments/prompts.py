"""Requests for pictures that a program can judge. Every one has a prompt and a seed of its own, so that nothing that
remembers texts gains by it.
"""

import random
from dataclasses import replace

from pixwire_server.builtin_model import evaluate, language, scenes

from .trace import STEPS, Request


class Prompts:
    """Requests without end, the same ones for the same `seed`; what each should show is kept for the checker."""

    def __init__(self, seed: int, steps: int = STEPS) -> None:
        self._random = random.Random(f"requests/{seed}")
        self._steps = steps
        self._seen: set[str] = set()
        self.wanted: dict[int, scenes.Spec] = {}
        self.requests: dict[int, Request] = {}

    def take(self, count: int) -> list[Request]:
        """The next `count` requests, all due at once; see `trace.poisson`."""
        return [self._next() for _ in range(count)]

    def with_steps(self, steps: int) -> Request:
        """The next request, with so many steps."""
        made = replace(self._next(), steps=steps)
        self.requests[made.number] = made
        return made

    def _next(self) -> Request:
        rng, number = self._random, len(self.requests)
        while True:
            spec = scenes.sample_spec(rng, outlined=False, **evaluate.SUITES["centred"])
            prompt = language.phrase(spec, rng)
            if prompt not in self._seen:
                break
        self._seen.add(prompt)
        self.wanted[number] = spec
        self.requests[number] = Request(number, prompt, rng.randrange(2**31), self._steps)
        return self.requests[number]
