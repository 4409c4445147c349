"""From the engine's last word on a job to its end in the journal."""

from collections.abc import Callable
from functools import partial
from typing import Any

from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.status import ArtifactInfo, JobError
from pixwire_server.engine.api import Cancelled, EncodedImage, Failed, FailureKind, Finished, JobStats
from pixwire_server.store import ArtifactStore

from . import model
from .clock import Clock
from .ledger import Ledger
from .record import Record
from .retry import StoreRetry
from .state import Cause

Outcome = Finished | Failed | Cancelled

_ERRORS: dict[str, ErrorCode] = {
    FailureKind.OUT_OF_MEMORY: ErrorCode.OUT_OF_MEMORY,
    FailureKind.PIPELINE_ERROR: ErrorCode.PIPELINE_ERROR,
    FailureKind.INVALID_ARGUMENT: ErrorCode.INVALID_ARGUMENT,
    FailureKind.MODEL_UNAVAILABLE: ErrorCode.UNSUPPORTED,
}


class Outcomes:
    """Ends jobs as the engine reported. A succeeded job's images are on disk before its end is."""

    def __init__(self, ledger: Ledger, artifacts: ArtifactStore, retry: StoreRetry, clock: Clock) -> None:
        self._ledger = ledger
        self._artifacts = artifacts
        self._retry = retry
        self._clock = clock
        self._handlers: dict[type[Outcome], Callable[[Record, Any], None]] = {
            Finished: self._finished,
            Failed: self._failed,
            Cancelled: self._cancelled,
        }

    def end(self, record: Record, outcome: Outcome, late: JobError | None = None) -> None:
        """End the job. Call it once per run, with the first outcome reported. `late`: its time is over, so whatever it
        made is not wanted any more.
        """
        if late is None:
            self._handlers[type(outcome)](record, outcome)
        elif isinstance(outcome, Failed):
            self._failed(record, outcome)
        else:
            step = outcome.step if isinstance(outcome, Cancelled) else record.job.steps
            self._ledger.settle(record, Cause.EXPIRED, error=late, step=step, **self._cost(record, outcome.stats))

    def broken(self, record: Record, defect: Exception) -> None:
        """End a job that met a defect of this program, if it has not ended: every job has an end."""
        error = model.broken(defect)
        if not record.job.state.terminal:
            self._ledger.settle(record, Cause.FAILED, error=error)

    def _finished(self, record: Record, report: Finished) -> None:
        self._ledger.begin_end(record)
        fields = self._cost(record, report.stats)
        images = [image.data for image in report.images]
        self._retry.run(
            lambda: self._artifacts.put(images),
            partial(self._stored, record, report.images, fields),
            partial(self.broken, record),
        )

    def _stored(
        self, record: Record, images: tuple[EncodedImage, ...], fields: dict[str, Any], etags: list[str]
    ) -> None:
        artifacts = tuple(
            ArtifactInfo(number, etag, len(image.data), image.media_type, image.width, image.height, image.seed)
            for number, (image, etag) in enumerate(zip(images, etags, strict=True))
        )
        record.let_go = partial(self._artifacts.release, etags)
        self._ledger.settle(record, Cause.SUCCEEDED, artifacts=artifacts, step=record.job.steps, **fields)

    def _failed(self, record: Record, report: Failed) -> None:
        code = _ERRORS.get(report.kind, ErrorCode.PIPELINE_ERROR)
        self._ledger.settle(record, Cause.FAILED, error=model.error(code, report.message), **self._times(record))

    def _cancelled(self, record: Record, report: Cancelled) -> None:
        reason = model.cancelled(record.job.cancel_reason or "")
        self._ledger.settle(record, Cause.CANCELLED, error=reason, step=report.step, **self._cost(record, report.stats))

    def _cost(self, record: Record, stats: JobStats) -> dict[str, Any]:
        stages = {
            "encode_ms": stats.encode_ms,
            "denoise_ms": stats.denoise_ms,
            "decode_ms": stats.decode_ms,
            "image_ms": stats.image_ms,
        }
        fields = self._times(record)
        fields["timings"] |= {name: round(value, 3) for name, value in stages.items()}
        fields["engine"] = {"passes": stats.passes, "pass_share": round(stats.pass_share, 6)}
        return fields

    def _times(self, record: Record) -> dict[str, Any]:
        """queue_ms: from the acceptance to the start of the last attempt; run_ms: from there to now."""
        now = self._clock.monotonic()
        return {
            "timings": {
                "queue_ms": round((record.started_at - record.accepted_at) * 1000, 3),
                "run_ms": round((now - record.started_at) * 1000, 3),
            }
        }
