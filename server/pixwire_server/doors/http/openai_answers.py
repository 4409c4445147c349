"""Answers of the OpenAI images API. Pure: time is an argument."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pixwire_protocol.status import ArtifactInfo, JobStatus, ModelInfo
from pixwire_server.doors.http import sse
from pixwire_server.doors.http.problems import to_json
from pixwire_server.jobs import PreviewShown

_NO_TOKENS: Final = {
    "input_tokens": 0,
    "output_tokens": 0,
    "total_tokens": 0,
    "input_tokens_details": {"text_tokens": 0, "image_tokens": 0},
}
"""Nothing is billed here, and the client's type asks for it."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One finished image: its bytes, or where they are."""

    info: ArtifactInfo
    data: bytes | memoryview = b""
    url: str | None = None


def images(status: JobStatus, pictures: Sequence[Picture], created: int) -> bytes:
    """The answer to a request without `stream`. Takes a while for large images: for a thread."""
    first = pictures[0].info
    head = {
        "created": created,
        "output_format": format_name(first.media_type),
        "size": f"{first.width}x{first.height}",
        "job": status.job,
    }
    parts = [to_json(head)[:-1], b',"data":[']
    for index, picture in enumerate(pictures):
        parts.append(b"," if index else b"")
        parts += _picture(picture)
    return b"".join((*parts, b"]}"))


def _picture(picture: Picture) -> list[bytes]:
    """As JSON; base64 needs no escapes, so it is not looked at again."""
    if picture.url is not None:
        return [to_json({"url": picture.url, "seed": picture.info.seed})]
    return [b'{"b64_json":"', base64.b64encode(picture.data), b'","seed":%d}' % picture.info.seed]


def completed(operation: str, picture: Picture, created: int) -> bytes:
    """The event of a finished image."""
    info = picture.info
    name = f"{operation}.completed"
    about = _about(name, info.media_type, info.width, info.height, created) | {
        "usage": _NO_TOKENS,
        "index": info.artifact,
        "seed": info.seed,
    }
    return _event(name, about, picture.data)


def partial(operation: str, preview: PreviewShown, index: int, created: int) -> bytes:
    """The event of a picture on the way; it is smaller than the image, and of another format."""
    name = f"{operation}.partial_image"
    about = _about(name, preview.media_type, preview.width, preview.height, created) | {"partial_image_index": index}
    return _event(name, about, preview.image)


def _about(name: str, media_type: str, width: int, height: int, created: int) -> dict[str, Any]:
    return {
        "type": name,
        "created_at": created,
        "size": f"{width}x{height}",
        "output_format": format_name(media_type),
        "background": "opaque",
        "quality": "auto",
    }


def _event(name: str, about: dict[str, Any], data: bytes | memoryview) -> bytes:
    head = to_json(about)[:-1]
    return b"".join((b"event: ", name.encode(), b"\ndata: ", head, b',"b64_json":"', base64.b64encode(data), b'"}\n\n'))


def failed(problem: dict[str, Any]) -> bytes:
    """The event that ends a stream whose job failed; `problem` has the member `error`."""
    return sse.event("error", problem)


def models(infos: Sequence[ModelInfo], created: int) -> dict[str, Any]:
    """GET /v1/models: what OpenAI's clients read, and under `pixwire` what there is to know."""
    return {"object": "list", "data": [model(info, created) for info in infos]}


def model(info: ModelInfo, created: int) -> dict[str, Any]:
    """One model of that list."""
    about = {"id": info.name, "object": "model", "created": created, "owned_by": "pixwire"}
    return about | {"pixwire": info.to_map()}


def format_name(media_type: str) -> str:
    """`png` for image/png; `rgb8` for plain pixels."""
    return media_type.removeprefix("image/").removeprefix("x-")
