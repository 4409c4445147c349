"""What the fast engine paints: bytes that depend on nothing but the request."""

import hashlib

SIZE = 40_000
"""Bytes of one image: several chunks of DATA."""


def paint(
    prompt: str,
    negative_prompt: str,
    width: int,
    height: int,
    steps: int,
    guidance_scale: float,
    seed: int,
    picture: bytes | None = None,
) -> bytes:
    """The image of this request; another request has another one. `picture`: what the request begins with."""
    begun = "" if picture is None else hashlib.sha256(picture).hexdigest()
    what = repr((prompt, negative_prompt, width, height, steps, float(guidance_scale), seed, begun))
    return hashlib.shake_256(what.encode()).digest(SIZE)
