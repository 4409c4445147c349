"""Certificates of a server that are over, or soon will be: said at the start and when they are read again."""

import logging
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from pki import Pki

from pixwire_server.doors.access import Access
from pixwire_server.doors.door import Door
from pixwire_server.doors.tls import TlsFiles, server_context
from pixwire_server.doors.validity import Validity, validity

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


def files(folder: Path, begins: datetime, ends: datetime) -> TlsFiles:
    """A certificate of an authority nobody knows, and its key."""
    issued = trustme.CA().issue_cert("localhost", not_before=begins, not_after=ends)
    made = TlsFiles(folder / "cert.pem", folder / "key.pem")
    issued.private_key_pem.write_to_path(made.key)
    made.certificate.unlink(missing_ok=True)
    for pem in issued.cert_chain_pems:
        pem.write_to_path(made.certificate, append=True)
    return made


@pytest.mark.parametrize(
    ("begins", "ends", "says"),
    [
        (NOW - 9 * DAY, NOW + 90 * DAY, None),
        (NOW - 9 * DAY, NOW - DAY, "expired on "),
        (NOW + DAY, NOW + 90 * DAY, "is not valid before "),
        (NOW - 9 * DAY, NOW + 3 * DAY, "expires on "),
    ],
)
def test_what_an_operator_has_to_know_is_said_at_the_start_and_on_each_reload(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    begins: datetime,
    ends: datetime,
    says: str | None,
) -> None:
    made = files(tmp_path, begins, ends)
    with caplog.at_level(logging.WARNING, "pixwire_server"):
        access = Access(None, made)
        first = [record.getMessage() for record in caplog.records]
        caplog.clear()
        access.reload(NoDoor())
    assert [record.getMessage() for record in caplog.records] == first
    if says is None:
        assert first == []
    else:
        (line,) = first
        assert line.startswith(f"the certificate {made.certificate} {says}")


class NoDoor(Door):
    """Takes a new context and does nothing with it."""

    def __init__(self) -> None:
        pass

    def use_tls(self, context: ssl.SSLContext) -> None:
        pass


@pytest.mark.parametrize("client_ca", [False, True])
def test_the_dates_are_those_of_the_certificate(pki: Pki, tmp_path: Path, client_ca: bool) -> None:
    """Also where clients have to show one, which the question does not."""
    made = files(tmp_path, NOW - DAY, NOW + 30 * DAY)
    shown = TlsFiles(made.certificate, made.key, pki.ca if client_ca else None)
    found = validity(server_context(shown, certificates_needed=client_ca), made.certificate)
    assert found == Validity(float(int((NOW - DAY).timestamp())), float(int((NOW + 30 * DAY).timestamp())))


def test_a_certificate_that_openssl_does_not_take_has_no_dates(pki: Pki, tmp_path: Path) -> None:
    """The file was replaced after it had been read."""
    for content in ("rubbish", trustme.CA().cert_pem.bytes().decode()):
        other = tmp_path / "other.pem"
        other.write_text(content)
        assert validity(pki.server(), other) is None
    assert validity(pki.server(), tmp_path / "none.pem") is None


def test_the_warning_depends_on_the_time_alone() -> None:
    good = Validity(100.0, 1e9)
    assert good.warning(1000.0) is None
    assert good.warning(99.0) == "is not valid before 1970-01-01 00:01 UTC: clients that verify it do not connect"
    assert good.warning(1e9) == "expired on 2001-09-09 01:46 UTC: clients that verify it do not connect"
    assert good.warning(1e9 - 1) == "expires on 2001-09-09 01:46 UTC"
