"""Who is on the other side of a connection, and until when (SPEC 6.4). Pure: the time is an argument."""

from dataclasses import dataclass, replace
from typing import Final

from pixwire_protocol.messages import Auth
from pixwire_protocol.registry import ErrorCode
from pixwire_server.doors.tokens import ADMIN, Tokens

ANONYMOUS: Final = "anonymous"
"""Whose jobs they are where nobody has to say who he is."""
BEARER: Final = "bearer"
MAX_MS: Final = 2**53 - 1


@dataclass(frozen=True, slots=True)
class Identity:
    """A principal that is known; `expires` is in seconds since 1970, None: not before the connection ends. `roles`:
    what it may do besides having jobs.
    """

    principal: str
    expires: float | None = None
    roles: tuple[str, ...] = ()

    @property
    def is_admin(self) -> bool:
        """Whether it may look after the server."""
        return ADMIN in self.roles

    def left_ms(self, wall: float) -> int | None:
        """Milliseconds until it expires."""
        return None if self.expires is None else min(max(round((self.expires - wall) * 1000), 0), MAX_MS)


@dataclass(frozen=True, slots=True)
class Refused:
    """Credentials that do not do: the code and text of the GOAWAY. Neither says anything about the token."""

    code: ErrorCode
    why: str


_FAILED: Final = Refused(ErrorCode.AUTH_FAILED, "the credentials are wrong")
_OTHER: Final = Refused(ErrorCode.AUTH_FAILED, "a connection keeps its principal; these credentials are another's")
_EXPIRED: Final = Refused(ErrorCode.AUTH_EXPIRED, "the credentials have expired; come back with new ones")
_DEMOTED: Final = Refused(ErrorCode.AUTH_FAILED, "the credentials have lost a role; connect again to go on without it")
_WITHDRAWN: Final = Refused(ErrorCode.AUTH_FAILED, "the credentials were withdrawn")


class Guard:
    """Keeps the identity of one connection. `wall` is in seconds since 1970 everywhere.

    With `tokens` and without a certificate, the client has to say who it is; without tokens everybody is anonymous.
    Admins are: whose token says so; whose name is among `admins`, if a token or a certificate has proved it; and where
    nobody has to prove anything, whoever comes through a listener for this machine only (`local`).
    """

    __slots__ = ("_admins", "_digest", "_tokens", "identity", "mechanisms")

    def __init__(
        self,
        tokens: Tokens | None,
        certificate: Identity | None = None,
        *,
        admins: frozenset[str] = frozenset(),
        local: bool = False,
    ) -> None:
        self._tokens = tokens if certificate is None else None
        self._admins = admins
        self._digest: bytes | None = None  # of the token that let this connection in; a token itself is not kept
        self.identity: Identity | None = None
        """Who it is; None until it was said."""
        if certificate is not None:
            self.identity = self._proved(certificate)
        elif tokens is None:
            self.identity = Identity(ANONYMOUS, roles=(ADMIN,) if local else ())
        self.mechanisms: tuple[str, ...] = () if self._tokens is None else (BEARER,)
        """For WELCOME: what the client may say who it is with; empty when it need not."""

    def check(self, request: Auth, wall: float) -> Identity | Refused:
        """Judge an AUTH, the first one or a renewal; when it is good, `identity` is what it says from now on."""
        if self._tokens is None or request.mechanism != BEARER:
            return Refused(ErrorCode.AUTH_FAILED, f"mechanism {request.mechanism!r} is not known here; use {BEARER}")
        token = self._tokens.find(request.token)
        if token is None:
            return _FAILED
        if token.expired(wall):
            return _EXPIRED
        if self.identity is not None and self.identity.principal != token.principal:
            return _OTHER
        self._digest = token.digest
        self.identity = self._proved(Identity(token.principal, token.expires, token.roles))
        return self.identity

    def recheck(self, wall: float) -> Refused | None:
        """Why this connection must end: its credentials have expired, or are in the list of tokens no more."""
        if self._digest is not None and self._tokens is not None and self.identity is not None:
            token = self._tokens.find_digest(self._digest)
            if token is None or token.principal != self.identity.principal:
                return _WITHDRAWN
            now = self._proved(Identity(token.principal, token.expires, token.roles))
            if set(self.identity.roles) - set(now.roles):
                return _DEMOTED
            # A role it was not told of comes with the next connection (SPEC 6.4).
            self.identity = replace(now, roles=self.identity.roles)
        if self.identity is not None and self.identity.expires is not None and wall >= self.identity.expires:
            return _EXPIRED
        return None

    def _proved(self, identity: Identity) -> Identity:
        """With the role that the configuration gives to its name."""
        if identity.principal in self._admins and not identity.is_admin:
            return replace(identity, roles=(*identity.roles, ADMIN))
        return identity
