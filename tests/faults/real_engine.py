"""The product's own engine process, which stops at the gate between its stages: `python real_engine.py FD CONFIG`.

The libraries below the engine are what is hooked, not the engine: the text encoder, the denoiser and the decoder are
stopped before they compute, and image encoding where the finished pixels come out of the model.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import gate

from pixwire_server.engine import child


def stopping(stage: Callable[[], str], real: Callable[..., Any]) -> Callable[..., Any]:
    """`real`, after a stop at the gate."""

    def stopped(*arguments: Any, **options: Any) -> Any:
        gate.reach(stage())
        return real(*arguments, **options)

    return stopped


def stop_at_stages() -> None:
    """Hook the classes that the built-in model is made of."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel

    from pixwire_server.engine import images

    passes = 0

    def next_pass() -> str:
        nonlocal passes
        passes += 1
        return f"pass {passes % 5}"

    CLIPTextModel.forward = stopping(lambda: "encoding", CLIPTextModel.forward)
    UNet2DConditionModel.forward = stopping(next_pass, UNet2DConditionModel.forward)
    AutoencoderKL.decode = stopping(lambda: "decoding", AutoencoderKL.decode)
    images.to_pixels = stopping(lambda: "image encoding", images.to_pixels)


if __name__ == "__main__":
    stop_at_stages()
    sys.exit(child.main(sys.argv[1:]))
