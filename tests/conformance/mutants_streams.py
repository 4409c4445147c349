"""Defects of a server in streams, credit and uploads."""

from collections.abc import Callable
from typing import Any

import playing_jobs
from mutation import mutant
from patching import around
from playing_jobs import PlayingJobs

from pixwire_protocol import judging, receiving, sending
from pixwire_protocol.errors import RemoteProtocolError
from pixwire_protocol.flow import SendWindow
from pixwire_protocol.messages import Result, encode_within
from pixwire_protocol.outbox import Outbox
from pixwire_protocol.registry import ErrorCode, Flag
from pixwire_protocol.streams import Stream
from pixwire_server.doors.session import Session
from pixwire_server.doors.tcp import PxwProtocol

# ---------------------------------------------------------------------- streams


@mutant("PXW-STR-003")
def takes_even_ids() -> None:
    def any_id(old: Any, self: Any, stream: int) -> Any:
        if stream & 1:
            return old(self, stream)
        self._machine.last_stream = max(self._machine.last_stream, stream)
        return None

    around(judging.Judging, "_on_request_header", any_id)


@mutant("PXW-STR-009")
def forgets_end() -> None:
    def endless(message: Any, stream: int, flags: int, limit: int) -> Any:
        return encode_within(message, stream, flags & ~Flag.END if type(message) is Result else flags, limit)

    sending.encode_within = endless


@mutant("PXW-STR-009")
def answers_twice() -> None:
    def twice(old: Any, self: Outbox, stream: Stream, frames: Any) -> None:
        old(self, stream, frames)
        old(self, stream, frames)

    around(Outbox, "reply", twice)


@mutant("PXW-STR-018")
def reset_cancels_the_job() -> None:
    cancels_on(Session, "handle", lambda received: type(received.message).__name__ == "Reset")


@mutant("PXW-CON-014")
def end_of_connection_cancels_jobs() -> None:
    def cancelling(old: Any, self: PxwProtocol, *arguments: Any) -> Any:
        cancel_all(self._session._jobs)
        return old(self, *arguments)

    around(PxwProtocol, "eof_received", cancelling)


def cancels_on(owner: Any, name: str, when: Callable[[Any], bool]) -> None:
    def cancelling(old: Any, self: Any, argument: Any, *rest: Any) -> Any:
        if when(argument):
            cancel_all(self._jobs)
        return old(self, argument, *rest)

    around(owner, name, cancelling)


def cancel_all(jobs: Any) -> None:
    for principal, job in list(jobs.jobs):
        jobs.cancel(principal, job, "")


@mutant("PXW-STR-020")
def no_bound_on_streams() -> None:
    def roomy(old: Any, self: Any, stream: int) -> Any:
        streams, self._machine.streams = self._machine.streams, {}
        try:
            return old(self, stream)
        finally:
            self._machine.streams = streams

    around(judging.Judging, "_on_request_header", roomy)


@mutant("PXW-STR-017")
def late_frames_are_faults() -> None:
    def strict(old: Any, self: Any, rule: Any, stream: int, length: int) -> Any:
        raise RemoteProtocolError(ErrorCode.STREAM_ID, "the stream has ended")

    around(judging.Judging, "_on_late_header", strict)


# ---------------------------------------------------------------------- credit


@mutant("PXW-FLW-001")
def data_beyond_the_streams_credit() -> None:
    around(Stream, "__init__", lambda old, self, stream, kind, send, receive: old(self, stream, kind, 1 << 30, receive))


@mutant("PXW-FLW-002")
def data_beyond_the_connections_credit() -> None:
    def generous(old: Any, self: Any, peer: Any) -> None:
        old(self, peer)
        self._machine.outbox.window.available = 1 << 30

    around(receiving.Receiving, "_meet", generous)


@mutant("PXW-FLW-005")
def credit_of_nothing() -> None:
    around(SendWindow, "grant", lambda old, self, n: old(self, n) if n > 0 else None)


@mutant("PXW-FLW-006")
def windows_without_end() -> None:
    def grow(old: Any, self: SendWindow, n: int) -> None:
        if 0 < n < 1 << 31:
            self.available += n
        else:
            old(self, n)

    around(SendWindow, "grant", grow)


@mutant("PXW-FLW-003", max_upload=1 << 20)
def takes_data_beyond_credit() -> None:
    from pixwire_protocol.flow import ReceiveWindow

    def patient(old: Any, self: ReceiveWindow, n: int, where: str) -> None:
        self.available = max(self.available, n)
        old(self, n, where)

    around(ReceiveWindow, "receive", patient)


# ---------------------------------------------------------------------- uploads


@mutant("PXW-UPL-008")
def late_data_kills_the_connection() -> None:
    def kill(old: Any, self: Any, rule: Any, stream: int, length: int) -> Any:
        if rule.is_data:
            raise RemoteProtocolError(ErrorCode.PROTOCOL_ERROR, "DATA on a stream that has ended")
        return old(self, rule, stream, length)

    around(judging.Judging, "_on_late_header", kill)


@mutant("PXW-UPL-008")
def no_early_answer() -> None:
    def begin(old: Any, self: PlayingJobs, principal: str, job: str, *rest: Any, **named: Any) -> Any:
        known = self.requests.pop((principal, job), None)
        self.stored.clear()
        answer = old(self, principal, job, *rest, **named)
        if known is not None:
            self.requests[principal, job] = known
        return answer

    around(PlayingJobs, "begin_upload", begin)


@mutant("PXW-UPL-003")
def takes_an_early_end() -> None:
    around(Stream, "upload_problem", lambda old, self, size, end: None if end else old(self, size, end))


@mutant("PXW-UPL-014")
def does_not_verify_attachments() -> None:
    PlayingJobs.verify = lambda self, attachments, data: None  # type: ignore[method-assign]


@mutant("PXW-UPL-017")
def attachments_not_in_the_fingerprint() -> None:
    playing_jobs.marks = lambda request: f"{request.kind}{request.tail!r}"


@mutant("PXW-LIM-003")
def any_number_of_tiny_data() -> None:
    judging.Judging._count_small = lambda self: None  # type: ignore[method-assign]
