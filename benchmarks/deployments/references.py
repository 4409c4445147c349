"""What every request should give: made by the plain pipeline, and the judgement of an image that came instead.

python -m benchmarks.deployments.references < requests.json > pixels
"""

import asyncio
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from pixwire_server.builtin_model import checker, scenes

from .outcomes import Kind, Outcome
from .trace import SIZE, Request

Pixels = npt.NDArray[np.uint8]
TOLERANCE = 2
"""Of 255, for each value of each pixel: requests that share a pass may differ in the last digits."""
BATCH, FEW = 8, 40
"""Images of one call; images that are not worth another process."""
SHAPE = (SIZE, SIZE, 3)


@dataclass(frozen=True, slots=True)
class Judge:
    """Knows the right images."""

    references: Mapping[int, Pixels]
    wanted: Mapping[int, scenes.Spec]

    def right(self, number: int, image: bytes) -> bool:
        """Whether these are the pixels of that request, within `TOLERANCE`."""
        try:
            pixels = np.asarray(Image.open(io.BytesIO(image)).convert("RGB")).astype(int)
        except OSError:
            return False
        reference = self.references[number]
        return pixels.shape == SHAPE and int(np.abs(pixels - reference.astype(int)).max()) <= TOLERANCE

    def judge(self, outcomes: Iterable[Outcome]) -> list[Outcome]:
        """The same outcomes; those with another image than was asked for are wrong."""
        return [self._judged(outcome) for outcome in outcomes]

    def _judged(self, outcome: Outcome) -> Outcome:
        if outcome.answer is None or self.right(outcome.number, outcome.answer.image):
            return outcome
        why = "another image than was asked for"
        return Outcome(outcome.number, Kind.WRONG, outcome.due, outcome.sent, outcome.over, outcome.answer, why)

    def shows_it(self, number: int, image: bytes) -> bool:
        """Whether the image shows what the prompt says: colour, shape, place, background."""
        with Image.open(io.BytesIO(image)) as picture:
            return checker.check(picture.convert("RGB"), self.wanted[number])["all"]

    def obedience(self) -> float:
        """The share of right images that show what their prompts say: how far `shows_it` can be trusted here."""
        shown = [checker.check(pixels, self.wanted[number])["all"] for number, pixels in self.references.items()]
        return sum(shown) / max(1, len(shown))


async def judge_of(requests: Sequence[Request], wanted: Mapping[int, scenes.Spec]) -> Judge:
    """Make the right images, by one process for each core."""
    makers = min(os.cpu_count() or 1, 1 + len(requests) // FEW)
    parts = [requests[maker::makers] for maker in range(makers)]
    made = await asyncio.gather(*(_made(part) for part in parts if part))
    return Judge({number: pixels for part in made for number, pixels in part.items()}, wanted)


async def _made(requests: Sequence[Request]) -> dict[int, Pixels]:
    command = (sys.executable, "-m", "benchmarks.deployments.references")
    process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    told = json.dumps([request.to_map() for request in requests]).encode()
    output, _ = await process.communicate(told)
    if process.returncode:
        raise SystemExit("the reference images could not be made; the message is above")
    pixels = np.frombuffer(output, np.uint8).reshape(-1, *SHAPE)
    return {request.number: image for request, image in zip(requests, pixels, strict=True)}


def main() -> None:
    """Requests as JSON on stdin, the pixels of their images on stdout."""
    from .model import Plain

    requests = [Request(**told) for told in json.load(sys.stdin)]
    plain = Plain()
    for start in range(0, len(requests), BATCH):
        for image in plain.make(requests[start : start + BATCH]):
            sys.stdout.buffer.write(np.asarray(image.convert("RGB")).tobytes())


if __name__ == "__main__":
    main()
