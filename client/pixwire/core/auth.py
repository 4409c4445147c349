"""Who we are, towards a server that asks: tokens and how carefully they are handled. SPEC 6.4.

A token is shown to the server and to nobody else: not in a repr, a log, an error or a traceback's text.
"""

import ipaddress
from collections.abc import Awaitable, Callable
from typing import Literal

from pixwire_protocol.registry import ErrorCode

from ..errors import RequestFailed, invalid, request_failed
from ..url import Endpoint

MECHANISM = "bearer"
MAX_TOKEN_BYTES = 3072
RENEW_EARLY = 60.0  # seconds before the end at which a long-lived token is renewed
RENEW_SHARE = 0.8  # share of its life after which a short-lived one is
WRONG_WHO = (ErrorCode.AUTH_REQUIRED, ErrorCode.AUTH_FAILED, ErrorCode.FORBIDDEN)  # coming back with the same is no use

Kind = Literal["none", "fixed", "renewable"]
TokenSource = str | Callable[[], str | Awaitable[str]]
"""A token, or a function that returns the present one whenever it is needed: at each connect and before it expires."""


class Credentials:
    """A token, or where to get one."""

    __slots__ = ("_source",)

    def __init__(self, source: TokenSource) -> None:
        if isinstance(source, str):
            check_token(source)
        elif not callable(source):
            raise invalid("token", type(source).__name__, "a str or a function", "token must be a str or a function")
        self._source = source

    @property
    def renewable(self) -> bool:
        """Whether asking again may give another token."""
        return not isinstance(self._source, str)

    def ask(self) -> str | Awaitable[str]:
        """The token, or something to await for it. Raises what the user's function raises."""
        return self._source if isinstance(self._source, str) else self._source()

    def __repr__(self) -> str:
        return f"<pixwire credentials, {'a function' if self.renewable else 'a token'}>"


class Identity:
    """What a session knows about who it is: what it can show, what it showed, what was refused. Pure.

    `kind` says what there is to show: nothing, one token, or always the present one.
    """

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._shown: str | None = None
        self._expired: str | None = None

    def can_renew(self) -> bool:
        """Whether asking for a token may give another one than before."""
        return self._kind == "renewable"

    def wanted(self, mechanisms: tuple[str, ...]) -> RequestFailed | None:
        """The server asks, by one of these mechanisms. Returns why it cannot be told, or None."""
        if MECHANISM not in mechanisms:
            known = ", ".join(mechanisms)
            text = f"the server wants to be told by {known} who asks, and this client knows {MECHANISM} alone"
            return _error(ErrorCode.AUTH_REQUIRED, text)
        if self._kind == "none":
            return _error(
                ErrorCode.AUTH_REQUIRED, "the server wants a token: connect(url, token=...), pixwire --token-file"
            )
        return None

    def show(self, token: str) -> RequestFailed | None:
        """This token is about to be shown. Returns why that makes no sense, or None."""
        if token == self._expired:
            return _error(ErrorCode.AUTH_EXPIRED, "the token has expired, and there is no other one")
        self._shown = token
        return None

    def refused(self, code: int | None, said: str, *, was_ready: bool) -> RequestFailed | None:
        """A connection ended with this code and message. Returns why none should follow, or None."""
        reason = f"the server does not let us in: {said}" if said else "the server does not let us in"
        if code in WRONG_WHO:
            return _error(ErrorCode(code), reason)
        if code == ErrorCode.AUTH_EXPIRED:
            self._expired = self._shown
            if not (was_ready and self.can_renew()):
                return _error(ErrorCode.AUTH_EXPIRED, reason)
        return None


def _error(code: ErrorCode, text: str) -> RequestFailed:
    return request_failed(code, code.name, text)


def check_token(token: object) -> str:
    """Returns the token. Raises InvalidArgument when it cannot be one; the text does not show it."""
    allowed = f"a string of 1 to {MAX_TOKEN_BYTES:,} bytes without blanks or control characters"
    if not isinstance(token, str):
        raise invalid("token", f"({type(token).__name__})", allowed, f"the token must be {allowed}")
    if not 1 <= len(token.encode(errors="replace")) <= MAX_TOKEN_BYTES or not token.isprintable() or " " in token:
        hint = "; is there a line break at its end?" if token != token.strip() else ""
        raise invalid("token", f"({len(token):,} characters)", allowed, f"the token must be {allowed}{hint}")
    return token


def check_transport(endpoint: Endpoint, allow_insecure: bool) -> None:
    """Raises InvalidArgument when a token for this server would travel readable for others. SPEC 6.4."""
    if endpoint.tls or endpoint.path is not None or is_loopback(endpoint.host) or allow_insecure:
        return
    allowed = "a pixwires:// URL, a Unix socket, loopback, or allow_insecure_auth"
    text = (
        f"a token is not sent in cleartext to {endpoint.host}: use pixwires://, "
        "or allow_insecure_auth=True inside a network where everybody may read it"
    )
    raise invalid("token", "(a token)", allowed, text)


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own; names but `localhost` are not looked up."""
    if host.rstrip(".").lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def renewal_at(now: float, expires_ms: int) -> float:
    """When to renew a token that the server takes for `expires_ms` more."""
    left = expires_ms / 1000
    return now + max(1.0, left - RENEW_EARLY, left * RENEW_SHARE)
