"""JSON documents as the journal keeps them: short, and written by the hundred at a time."""

import json
from collections.abc import Callable
from typing import Any


def encoder() -> Callable[[Any], str]:
    """What writes plain data as JSON without blanks, other letters as they are.

    `JSONEncoder.encode` builds its encoder in C anew for each text, which costs as much as a short text does. Where
    there is such an encoder it is built once here. Data must not contain themselves.
    """
    plain = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    text: Any = getattr(json.encoder, "encode_basestring", None)
    if make is None or text is None:
        return plain.encode
    chunks = make(None, plain.default, text, None, ":", ",", False, False, True)

    def encode(data: Any) -> str:
        return "".join(chunks(data, 0))

    return encode
