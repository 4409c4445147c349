"""The files of the console, and the rules under which a browser may use them.

The page holds no data: everything that it shows it asks for, with the operator's token where there is authentication.
So the files are for everybody, like the document of the API.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from pixwire_server.doors.http import ranges

INDEX: Final = "index.html"
TYPES: Final[Mapping[str, str]] = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",  # previews and images arrive as bytes
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
"""Content-Security-Policy: nothing from elsewhere, nothing inline, no markup made from text, no frame around it."""
HEADERS: Final[Mapping[str, str]] = {
    "content-security-policy": POLICY,
    "cache-control": "no-cache",  # asked for again each time, and sent again when it has changed
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class Page:
    """One file, in memory."""

    body: bytes
    media_type: str
    etag: str

    async def answer(self, request: Request) -> Response:
        """GET and HEAD."""
        headers = {**HEADERS, "etag": f'"{self.etag}"'}
        if ranges.matches(request.headers.get("if-none-match"), self.etag, weak=True):
            return Response(None, 304, headers)
        return Response(self.body, 200, {**headers, "content-type": self.media_type})


def pages() -> dict[str, Page]:
    """Every file by its path. There are no others: a path is never looked for on the disk."""
    found = {f"/console/{name}": page for name, page in _read()}
    return {"/": found[f"/console/{INDEX}"], **found}


def _read() -> Iterator[tuple[str, Page]]:
    for file in resources.files(__package__).joinpath("static").iterdir():
        media_type = TYPES.get(file.name.rpartition(".")[2])
        if media_type is not None:
            body = file.read_bytes()
            yield file.name, Page(body, media_type, hashlib.sha256(body).hexdigest()[:32])
