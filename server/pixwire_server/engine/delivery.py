"""From a finished run to its image files. Runs in the image pool, off the step loop."""

import torch

from pixwire_server.engine import images
from pixwire_server.engine.api import EncodedImage, GenerateTask, ModelCard
from pixwire_server.engine.metadata import making


def files(task: GenerateTask, tensor: torch.Tensor, card: ModelCard, sampler: str) -> tuple[EncodedImage, ...]:
    """The images [n, channels, height, width] in 0..1 as files of the task's media type; image i has `seed + i`.

    Raises NotFiniteError for NaN and infinity, OSError when an encoder fails or an input is gone.
    """
    encoded = []
    for seed, pixels in enumerate(images.to_pixels(tensor), task.seed):
        data = images.encode(pixels, task.media_type, making(task, seed, card, sampler))
        height, width = pixels.shape[:2]
        encoded.append(EncodedImage(data, task.media_type, width, height, seed))
    return tuple(encoded)
