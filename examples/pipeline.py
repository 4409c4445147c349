"""A script that was written for diffusers. The two lines marked "was" are all that changed."""

import os
from typing import Any

import torch

import pixwire  # was: from diffusers import StableDiffusionPipeline

url = os.environ.get("PIXWIRE_URL", "pixwire://localhost")
pipe = pixwire.Pipeline(url)  # was: StableDiffusionPipeline.from_pretrained("...")
pipe = pipe.to("cuda")  # taken, and of no effect: the server knows its devices


def on_step_end(pipe: Any, step: int, timestep: float | None, tensors: dict[str, Any]) -> dict[str, Any]:
    print(f"step {step + 1}")
    return tensors


image = pipe(
    "a red circle on a blue background",
    num_inference_steps=12,
    guidance_scale=1.5,
    generator=torch.Generator().manual_seed(7),
    callback_on_step_end=on_step_end,
).images[0]
image.save("circle.png")
pipe.close()
