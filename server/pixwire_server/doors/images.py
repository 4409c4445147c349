"""Images on their way out of a stream: RESULT, then DATA straight from the file, one image after the other."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from pixwire_protocol.messages import Result
from pixwire_protocol.registry import ErrorCode
from pixwire_server.doors.ports import JobsPort
from pixwire_server.doors.replies import Replies
from pixwire_server.jobs import OpenArtifact, RequestError


@dataclass(frozen=True, slots=True)
class Part:
    """Which bytes of which image: `length` None means up to its end, `etag` None means whatever is there."""

    artifact: int = 0
    offset: int = 0
    length: int | None = None
    etag: str | None = None


class ImageSender:
    """Sends parts of a job's images on one stream and ends it after the last.

    Only one image is open at a time: the next is opened when the transport has taken the last byte of the one before,
    and only then is that one closed. Only the place of its bytes passes through here.
    """

    def __init__(
        self, replies: Replies, jobs: JobsPort, principal: str, stream: int, job_id: str, parts: Iterable[Part]
    ) -> None:
        self._replies = replies
        self._jobs = jobs
        self._principal = principal
        self._stream = stream
        self._job_id = job_id
        self._parts = deque(parts)
        self._image: OpenArtifact | None = None

    def start(self) -> None:
        """Take over the stream."""
        self._replies.hold_sender(self._stream, self)
        if self._replies.is_open(self._stream):
            self._open_next()

    def advance(self) -> None:
        if self._image is None or self._replies.connection.unsent(self._stream):
            return
        self.close()
        if self._parts:
            self._open_next()
        else:
            self._replies.drop(self._stream)

    def close(self) -> None:
        if self._image is not None:
            self._image.close()
            self._image = None

    def _open_next(self) -> None:
        part = self._parts.popleft()
        future = self._jobs.artifact(self._principal, self._job_id, part.artifact, part.etag)
        self._replies.when_done(self._stream, future, lambda image: self._opened(part, image))

    def _opened(self, part: Part, image: OpenArtifact) -> None:
        self._image = image
        size = image.info.size
        if part.offset > size:
            raise RequestError(
                ErrorCode.OFFSET_OUT_OF_RANGE,
                f"offset {part.offset} lies behind the end of artifact {part.artifact}, which has {size} bytes",
                {"field": "offset", "value": part.offset, "allowed": f"0..{size}", "size": size},
            )
        length = size - part.offset if part.length is None else min(part.length, size - part.offset)
        last = not self._parts
        info = image.info
        result = {
            "job": self._job_id,
            "artifact": part.artifact,
            "etag": info.etag,
            "size": size,
            "offset": part.offset,
            "length": length,
            "media_type": info.media_type,
            "width": info.width,
            "height": info.height,
            "seed": info.seed,
        }
        if length == 0:  # DATA is never empty: the RESULT says it all
            self._replies.send(self._stream, Result(result), end=last)
            return
        self._replies.send(self._stream, Result(result))
        self._replies.connection.send_data(self._stream, image.part(part.offset, part.offset + length), end=last)
