"""Bodies of requests: read within their limits, and understood as JSON or as a form with files."""

import codecs
import contextlib
import hashlib
from asyncio import to_thread
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final

from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message, Receive

from pixwire_protocol.attachments import Attachment
from pixwire_protocol.registry import ErrorCode
from pixwire_server.doors.http import fields
from pixwire_server.doors.http.problems import HttpError, http_error
from pixwire_server.doors.http.protocol import DISCARDED
from pixwire_server.jobs import from_store
from pixwire_server.store import from_os

JSON: Final = "application/json"
FORM: Final = "multipart/form-data"
MAX_FIELDS: Final = 64
CHUNK: Final = 256 << 10
_CHARSETS: Final = ("utf-8", "ascii", "iso8859-1")
"""In what the texts of a form may be written. Python knows more: some take seconds for a text, with all others waiting,
or are no charsets at all.
"""
_MARKS: Final = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"))


def media_type(request: Request) -> str:
    """The type of the body, without its parameters."""
    return parse_options_header(request.headers.get("content-type"))[0].decode("latin-1").lower()


async def read_object(request: Request, limit: int) -> dict[str, Any]:
    """A body that is one JSON object. Raises HttpError (413, 415) and RequestError."""
    kind = media_type(request)
    if kind != JSON:
        raise unsupported_type(kind, JSON)
    body = bytearray()
    async for chunk in limited(request, limit).stream():
        body += chunk
    return fields.parse_object(body)


def unsupported_type(kind: str, *allowed: str) -> HttpError:
    """415."""
    message = f"Content-Type: {kind or 'none'} is not understood here; send {' or '.join(allowed)}"
    details = {"field": "Content-Type", "value": kind, "allowed": ", ".join(allowed)}
    return http_error(415, ErrorCode.UNSUPPORTED, message, details, {"accept": ", ".join(allowed)})


def limited(request: Request, limit: int) -> Request:
    """The same request, whose body may have `limit` bytes; reading more raises HttpError (413)."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise _too_large(int(announced), limit, close=int(announced) > DISCARDED)
    return Request(request.scope, _limited(request.receive, limit))


def _limited(receive: Receive, limit: int) -> Receive:
    total = 0

    async def counted() -> Message:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        if total > limit:
            raise _too_large(total, limit, close=False)
        return message

    return counted


def _too_large(size: int, limit: int, *, close: bool) -> HttpError:
    message = f"body: {size} bytes or more; this server takes at most {limit} here"
    details = {"field": "body", "value": size, "allowed": f"at most {limit} bytes"}
    return http_error(413, ErrorCode.INVALID_ARGUMENT, message, details, {"connection": "close"} if close else {})


# ---------------------------------------------------------------------- forms


class File:
    """A file of a form. It lies in memory, or on the disk when it is large."""

    def __init__(self, name: str, upload: UploadFile) -> None:
        self.name = name
        self._upload = upload
        self._changed: bytes | None = None
        self.size = upload.size or 0

    async def announce(self) -> Attachment:
        """What Jobs is told of it before it comes: its size, type and SHA-256."""
        digest, first = hashlib.sha256(), b""
        async for chunk in self.chunks():
            first = first or chunk[:16]
            await to_thread(digest.update, chunk)
        return Attachment(self.name, self.size, digest.hexdigest(), sniff(first, self._upload.content_type or ""))

    async def chunks(self) -> AsyncIterator[bytes]:
        """Its bytes, from the beginning."""
        if self._changed is not None:
            yield self._changed
            return
        await self._upload.seek(0)
        while chunk := await self._upload.read(CHUNK):
            yield chunk

    async def change(self, convert: Callable[[bytes], bytes]) -> None:
        """Put what `convert` makes of it in its place; it is called in a thread."""
        await self._upload.seek(0)
        self._changed = await to_thread(convert, await self._upload.read())
        self.size = len(self._changed)


@dataclass(frozen=True, slots=True)
class Form:
    """The texts and the files of a form, by name. A text whose name ends with `[]` is one of a list."""

    texts: dict[str, str | list[str]]
    files: dict[str, File]


@contextlib.asynccontextmanager
async def read_form(request: Request, names: tuple[str, ...], max_file: int, max_text: int) -> AsyncIterator[Form]:
    """A multipart form with files of these names only. Raises HttpError (413, 415) and RequestError (QUEUE_FULL when
    there is no room for them, too).

    `names` may end with `[]` in the form, as clients write lists; a list of two files is refused.
    """
    kind = media_type(request)
    if kind != FORM:
        raise unsupported_type(kind, FORM)
    _check_charset(request)
    whole = limited(request, len(names) * max_file + max_text)
    try:
        form = await whole.form(max_files=len(names), max_fields=MAX_FIELDS, max_part_size=max_text)
    except HTTPException as error:  # Starlette's own, for what is no form
        raise fields.wrong("body", error.detail, f"{FORM} with at most {len(names)} files") from None
    except OSError as error:  # files that are not small lie in the temporary directory
        raise from_store(from_os(error, "the temporary directory cannot hold the files of this form")) from error
    try:
        yield _sorted(form.multi_items(), names, max_file)
    finally:
        await form.close()


def _check_charset(request: Request) -> None:
    said = parse_options_header(request.headers.get("content-type"))[1].get(b"charset", b"utf-8").decode("latin-1")
    try:
        known = codecs.lookup(said).name in _CHARSETS
    except (LookupError, ValueError):
        known = False
    if not known:
        raise fields.wrong("Content-Type", said, f"a charset of {', '.join(_CHARSETS)}", "leave out the charset")


def _sorted(items: list[tuple[str, Any]], names: tuple[str, ...], max_file: int) -> Form:
    form = Form({}, {})
    for said, value in items:
        name = said.removesuffix("[]")
        words = form.texts.get(name, [])
        if said != name and isinstance(value, str) and isinstance(words, list) and name not in names:
            form.texts[name] = [*words, value]
            continue
        if name in form.texts or name in form.files:
            raise fields.wrong(said[:64], "a second value", "given once", "give it once")
        if isinstance(value, UploadFile):
            form.files[name] = _file(said, name, value, names, max_file)
        elif name in names:
            raise fields.wrong(name, value, "a file")
        else:
            form.texts[name] = value
    return form


def _file(said: str, name: str, upload: UploadFile, names: tuple[str, ...], max_file: int) -> File:
    if name not in names:
        raise fields.wrong(said[:64], "a file", f"a file named {', '.join(names)}")
    file = File(name, upload)
    if not 1 <= file.size <= max_file:
        raise fields.wrong(name, file.size, f"a file of 1 to {max_file} bytes")
    return file


def sniff(first: bytes, said: str) -> str:
    """The type of a picture by its first bytes: clients often do not know what they send. `said` when it is none."""
    if first[:4] == b"RIFF" and first[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for mark, kind in _MARKS if first.startswith(mark)), said[:64] or "application/octet-stream")
