"""The built-in model: a tiny text-to-image model of shapes, colours and places, trained from nothing but drawn scenes.

``path()`` is an ordinary diffusers folder; MODEL_CARD.md says what it can do.  This module imports neither torch nor
diffusers, and neither do ``scenes``, ``language`` and ``checker``.
"""

from __future__ import annotations

import pathlib

NAME = "pixwire/shapes-64"


def path() -> pathlib.Path:
    """The model folder; its pixwire_defaults.json holds the recommended steps, guidance scale, width and height."""
    return pathlib.Path(__file__).parent / "weights"
