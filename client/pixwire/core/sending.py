"""The uploads of one connection: a piece or two of each lies ready and leaves as the credit allows. SPEC 7.4, 7.5."""

from pixwire_protocol.connection import Connection

from ..errors import PixwireError, invalid
from ..events import UploadProgress
from ..sources import CHUNK
from .calls import AnyCall
from .uploads import Upload


class Sending:
    """Feeds the streams on which attachments travel."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.uploads: dict[int, Upload] = {}
        """By stream."""

    def start(self, stream: int, upload: Upload) -> None:
        """The request is open: its attachments follow. Raises InvalidArgument when they cannot be read any more."""
        upload.restart()
        self.uploads[stream] = upload
        self._feed(stream, upload)

    def stop(self, stream: int) -> None:
        """The server has answered, or nobody wants it any more: no more bytes."""
        self.uploads.pop(stream, None)

    def clear(self) -> None:
        """The connection is over."""
        self.uploads.clear()

    def is_incomplete(self, stream: int) -> bool:
        """Whether bytes are missing, without which the server has accepted nothing."""
        upload = self.uploads.get(stream)
        return upload is not None and upload.sent < upload.total

    def advance(self) -> list[tuple[int, PixwireError | None]]:
        """After bytes left: the streams on which some of ours were among them, or whose source is broken."""
        moved: list[tuple[int, PixwireError | None]] = []
        for stream, upload in tuple(self.uploads.items()):
            sent = upload.given - self._connection.unsent(stream)
            if sent == upload.sent:
                continue
            upload.sent = sent
            moved.append((stream, None))
            try:
                self._feed(stream, upload)
            except PixwireError as error:
                moved.append((stream, error))
        return moved

    @staticmethod
    def progress(call: AnyCall) -> UploadProgress:
        """How far the upload of this call is."""
        upload = call.upload
        sent, total = (0, 0) if upload is None else (upload.sent, upload.total)
        return UploadProgress(call.job or "", sent, total)

    def _feed(self, stream: int, upload: Upload) -> None:
        while upload.given < upload.total and self._connection.unsent(stream) < CHUNK:
            piece = upload.next()
            if not self._connection.send_data(stream, piece, upload.given == upload.total):
                self.stop(stream)  # the server has answered already
                return


def check_upload(upload: Upload | None, most: int) -> None:
    """Raises InvalidArgument when the server, which takes `most` bytes for one attachment, will not take these."""
    for number, attachment in enumerate(upload.attachments if upload is not None else ()):
        if attachment.size > most:
            takes = f"at most {most:,} bytes" if most else "no images at all"
            text = f"{attachment.name} has {attachment.size:,} bytes, but this server takes {takes}"
            raise invalid(f"attachments[{number}].size", attachment.size, takes, text)
