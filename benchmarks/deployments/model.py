"""The built-in model as a plain diffusers pipeline: what the peers, the worker of the broker and the references run."""

import io
from collections.abc import Sequence
from typing import Any

from PIL import Image

from pixwire_server import builtin_model
from pixwire_server.builtin_model import evaluate

from .trace import GUIDANCE, Request


class Plain:
    """One pipeline, on one thread of the CPU. Not for several threads at a time: diffusers pipelines keep state."""

    def __init__(self) -> None:
        import torch

        from pixwire_server.engine.loader import quiet_libraries

        quiet_libraries()
        torch.set_num_threads(1)
        self._pipe: Any = evaluate.load(builtin_model.path())

    def make(self, requests: Sequence[Request]) -> list[Image.Image]:
        """Their images, made together: one batch for each number of steps that is among them."""
        made: dict[int, Image.Image] = {}
        for steps in {request.steps for request in requests}:
            places = [place for place, request in enumerate(requests) if request.steps == steps]
            made |= zip(places, self._batch([requests[place] for place in places], steps), strict=True)
        return [made[place] for place in range(len(requests))]

    def _batch(self, requests: Sequence[Request], steps: int) -> list[Image.Image]:
        import torch

        generators = [torch.Generator().manual_seed(request.seed) for request in requests]
        prompts = [request.prompt for request in requests]
        how = {"num_inference_steps": steps, "guidance_scale": GUIDANCE, "generator": generators}
        images: list[Image.Image] = self._pipe(prompts, **how).images
        return images

    def warm_up(self, rows: int = 1) -> None:
        """The first call of each batch size is slow."""
        for count in range(1, rows + 1):
            self.make([Request(-1, "a red circle", 0, 2)] * count)


def png(image: Image.Image) -> bytes:
    """The file of an image; Pillow's quickest level, since for images as small as these it does not matter."""
    data = io.BytesIO()
    image.save(data, "PNG", compress_level=1)
    return data.getvalue()
