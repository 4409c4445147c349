"""What the operator reads when the store refuses."""

import logging

import pytest

from pixwire_protocol.registry import ErrorCode
from pixwire_server.jobs import errors
from pixwire_server.store import StoreError


def test_a_store_that_fails_is_told_in_the_log_but_not_for_every_request(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errors, "_complained", {})
    clock = iter((100.0, 101.0, 102.0, 113.0))
    monkeypatch.setattr(errors.time, "monotonic", lambda: next(clock))
    with caplog.at_level(logging.ERROR):
        codes = [errors.from_store(StoreError(text)).code for text in ("no room", "no room", "no files", "no files")]
    assert codes == [ErrorCode.INTERNAL] * 4
    assert [record.getMessage().rpartition(": ")[2] for record in caplog.records] == ["no room", "no files", "no files"]
