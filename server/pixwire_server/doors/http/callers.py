"""Who asks: the connection a request came on, and the token it shows (SPEC 6.4)."""

import ssl
import time
from dataclasses import dataclass
from typing import Final

from pixwire_protocol.messages import Auth
from pixwire_protocol.registry import ErrorCode
from pixwire_server.doors.auth import BEARER, Guard, Identity, Refused
from pixwire_server.doors.tokens import Tokens
from pixwire_server.jobs import RequestError

MAX_TOKEN: Final = 8192


@dataclass(frozen=True, slots=True)
class Caller:
    """One connection. `certificate`: whose it is, when its TLS client certificate says so. `local`: it came through a
    listener for this machine only.
    """

    peer: str = "somebody"
    certificate: Identity | None = None
    local: bool = False


class Porter:
    """Lets requests in, by the rules of the PXW door: the same tokens, principals and roles."""

    def __init__(self, tokens: Tokens | None, tls: ssl.SSLContext | None, admins: frozenset[str]) -> None:
        self._tokens = tokens
        self._admins = admins
        self._certificates = tls is not None and tls.verify_mode is not ssl.CERT_NONE

    @property
    def asks_nobody(self) -> bool:
        """Whether there is no authentication at all, neither by token nor by certificate."""
        return self._tokens is None and not self._certificates

    def admit(self, caller: Caller, authorization: str | None) -> Guard:
        """The guard of one request, whose identity is known. Raises RequestError: AUTH_REQUIRED, AUTH_FAILED,
        AUTH_EXPIRED.

        Where nobody has to say who he is, and with a certificate that says it, a token is not looked at.
        """
        local = caller.local and self.asks_nobody
        guard = Guard(self._tokens, caller.certificate, admins=self._admins, local=local)
        if guard.identity is None:
            verdict = guard.check(Auth(BEARER, bearer(authorization)), time.time())
            if isinstance(verdict, Refused):
                raise RequestError(verdict.code, verdict.why)
        check(guard)
        return guard


def check(guard: Guard) -> Identity:
    """Whose request this is, if its credentials still hold; else RequestError."""
    refused = guard.recheck(time.time())
    if refused is not None:
        raise RequestError(refused.code, refused.why)
    if guard.identity is None:
        raise RequestError(ErrorCode.AUTH_REQUIRED, "say who you are: Authorization: Bearer TOKEN")
    return guard.identity


def bearer(authorization: str | None) -> str:
    """The token in an `Authorization` field. Raises RequestError(AUTH_REQUIRED) when there is none."""
    scheme, _, token = (authorization or "").strip().partition(" ")
    token = token.strip()
    if scheme.lower() != BEARER or not 1 <= len(token) <= MAX_TOKEN:
        raise RequestError(ErrorCode.AUTH_REQUIRED, "this server wants to know who asks: Authorization: Bearer TOKEN")
    return token
