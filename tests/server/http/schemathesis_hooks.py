"""What the OpenAPI document cannot say: what a picture is, that some steps have to be left, that bytes are counted."""

import io
import json
from typing import Any

import schemathesis
from hypothesis import strategies
from PIL import Image


def png(side: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), "teal").save(buffer, "PNG")
    return buffer.getvalue()


schemathesis.openapi.media_type("image/png", strategies.sampled_from([png(16), png(64)]))


@schemathesis.hook
def filter_body(context: Any, body: Any) -> bool:
    """int(steps * strength) is at least 1, and a tag has at most 64 bytes."""
    if not isinstance(body, dict):
        return True
    values = body.get("request", body)
    if isinstance(values, str | bytes):
        try:
            values = json.loads(values)
        except ValueError:
            return True
    if not isinstance(values, dict) or _long_tags(values.get("tags")):
        return not isinstance(values, dict)
    values = values.get("params", values)
    try:
        return (
            not isinstance(values, dict) or int(float(values.get("steps", 4)) * float(values.get("strength", 1))) >= 1
        )
    except (TypeError, ValueError, OverflowError):
        return True


def _long_tags(tags: Any) -> bool:
    return isinstance(tags, list) and any(
        isinstance(tag, str) and len(tag.encode(errors="replace")) > 64 for tag in tags
    )
