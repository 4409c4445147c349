"""What lets clients in, as files say it: tokens and TLS. Read at the start, and again when the operator asks."""

import logging
import ssl
import time
from pathlib import Path
from typing import Protocol

from pixwire_server.doors.door import Door
from pixwire_server.doors.tls import ALPN, TlsError, TlsFiles, server_context
from pixwire_server.doors.tokens import Tokens, TokensError
from pixwire_server.doors.validity import validity

log = logging.getLogger(__name__)

HTTP_ALPN = "http/1.1"

AccessError = (TokensError, TlsError)
"""What `Access` raises."""


class UsesTls(Protocol):
    """The HTTP door, which is not loaded where nobody asked for it."""

    def use_tls(self, context: ssl.SSLContext) -> None:
        """Serve connections that begin from now on with this context."""
        ...


class Access:
    """The tokens and the TLS context of a door. Raises TokensError or TlsError when a file cannot be used."""

    def __init__(self, tokens: Path | None, tls: TlsFiles | None) -> None:
        self.tokens = None if tokens is None else Tokens(tokens)
        self._files = tls
        self.tls, self.http_tls = self._make_contexts()
        self._warn()
        self._warn_of_certificate()

    def _warn_of_certificate(self) -> None:
        if self._files is None or self.tls is None:
            return
        found = validity(self.tls, self._files.certificate)
        warning = None if found is None else found.warning(time.time())
        if warning is not None:
            log.warning("the certificate %s %s", self._files.certificate, warning)

    def _warn(self) -> None:
        if self.tokens is not None and (expired := self.tokens.expired(time.time())):
            names = ", ".join(map(repr, expired))
            log.warning("%d of %d tokens have expired and are refused: %s", len(expired), len(self.tokens), names)

    def _make_contexts(self) -> tuple[ssl.SSLContext | None, ssl.SSLContext | None]:
        """One for PXW and one for HTTP: they speak different protocols inside."""
        if self._files is None:
            return None, None
        pxw, http = (
            server_context(self._files, certificates_needed=self.tokens is None, protocol=protocol)
            for protocol in (ALPN, HTTP_ALPN)
        )
        return pxw, http

    def reload(self, door: Door, http: UsesTls | None = None) -> None:
        """Read the files again. What cannot be used is logged and changes nothing; connections whose token is gone
        from the list end.
        """
        try:
            if self.tokens is not None:
                self.tokens.reload()
                log.info("tokens read again: there are %d", len(self.tokens))
                self._warn()
                door.recheck()
        except TokensError as error:
            log.error("%s; the tokens of before stay in use", error)
        try:
            self.tls, self.http_tls = self._make_contexts()
            if self.tls is not None:
                door.use_tls(self.tls)
                if http is not None and self.http_tls is not None:
                    http.use_tls(self.http_tls)
                log.info("certificate read again: it holds for new connections")
                self._warn_of_certificate()
        except TlsError as error:
            log.error("%s; the certificate of before stays in use", error)
