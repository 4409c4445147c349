"""What `generate` and `submit` share: the options that say what is to be made, and where prompts come from."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..arguments import GenerateOptions
from ..errors import invalid
from . import options as o
from .generate import adapter_of
from .target import gathered

MOST_PROMPTS = 10_000


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be made: the parameters but for the prompt, and the pictures to go with them, by name."""

    options: GenerateOptions
    images: Mapping[str, Path | None]
    traceparent: str | None


def _asked(
    negative: o.Negative = None,
    steps: o.Steps = None,
    guidance: o.Guidance = None,
    seed: o.Seed = None,
    width: o.Width = None,
    height: o.Height = None,
    model: o.Model = None,
    media_type: o.MediaType = None,
    image: o.ImageFile = None,
    mask: o.MaskFile = None,
    control: o.ControlFile = None,
    strength: o.Strength = None,
    control_scale: o.ControlScale = None,
    style: o.StyleFile = None,
    ip_scale: o.IpScale = None,
    adapter: o.Adapters = None,
    traceparent: o.TraceParent = None,
) -> Asked:
    options: GenerateOptions = {
        "negative_prompt": negative,
        "width": width,
        "height": height,
        "steps": steps,
        "guidance_scale": guidance,
        "seed": seed,
        "model": model,
        "media_type": media_type,
        "strength": strength,
        "control_scale": control_scale,
        "ip_scale": ip_scale,
        "adapters": [adapter_of(text) for text in adapter or ()] or None,
    }
    return Asked(options, {"image": image, "mask": mask, "control": control, "style": style}, traceparent)


with_asked = gathered("asked", _asked)
"""Gives a command the options that say what is to be made."""


def prompts_of(arguments: Sequence[str] | None, file: Path | None) -> list[str]:
    """The prompts of the arguments and of a file (`-`: stdin), one a line; empty lines do not count.

    Raises InvalidArgument when there are too many, or the file has none; OSError, UnicodeDecodeError.
    """
    found = list(arguments or ())
    if file is not None:
        text = sys.stdin.read() if file == Path("-") else file.read_text()
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if not lines:
            raise invalid("prompts", str(file), "a prompt on each line", f"there is no prompt in {file}")
        found += lines
    if len(found) > MOST_PROMPTS:
        text = f"{len(found):,} prompts are more than the {MOST_PROMPTS:,} of one command: split the file"
        raise invalid("prompts", len(found), f"up to {MOST_PROMPTS}", text)
    return found
