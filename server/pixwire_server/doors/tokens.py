"""Bearer tokens: the file that lists whose they are, and the check. Only SHA-256 digests of tokens are ever kept.

[[token]]
principal = "alice"
sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
expires = 2027-01-01T00:00:00Z    # optional
roles = ["admin"]                 # optional
"""

import hashlib
import hmac
import json
import re
import secrets
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

MAX_PRINCIPAL: Final = 256
"""Bytes of a principal's name on the wire (SPEC 8)."""
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_HEADING: Final = re.compile(r"\s*\[\[\s*token\s*\]\]")
_KEYS: Final = ("principal", "sha256", "expires", "roles")
ADMIN: Final = "admin"
"""The role of those who may look after the server: pause it, see and end everybody's jobs (SPEC 6.4)."""
ROLES: Final = (ADMIN,)


class TokensError(Exception):
    """The tokens file cannot be used. The text names the file, the line and the field, and what is allowed."""


@dataclass(frozen=True, slots=True)
class Token:
    """Who has the token with this digest; `expires` is in seconds since 1970, None: never. `roles`: what its bearer is
    besides.
    """

    principal: str
    digest: bytes
    expires: float | None = None
    roles: tuple[str, ...] = ()

    def expired(self, wall: float) -> bool:
        """Whether it is over at `wall`, in seconds since 1970."""
        return self.expires is not None and wall >= self.expires


class Tokens:
    """The tokens that are good now. `reload` reads the file again and keeps the old ones when it is bad."""

    def __init__(self, path: Path) -> None:
        """Raises TokensError."""
        self._path = path
        self._tokens = read_tokens(path)

    def __len__(self) -> int:
        return len(self._tokens)

    def expired(self, wall: float) -> list[str]:
        """The principals of the tokens that are over at `wall` (seconds since 1970): whoever shows them is refused."""
        return [token.principal for token in self._tokens if token.expired(wall)]

    def reload(self) -> None:
        """Use what the file says now; TokensError when it cannot be used, and nothing has changed then."""
        self._tokens = read_tokens(self._path)

    def find(self, token: str) -> Token | None:
        """Whose token this is, expired or not. The time it takes does not depend on which one, or how much, matches."""
        return self.find_digest(hashlib.sha256(token.encode()).digest())

    def find_digest(self, digest: bytes) -> Token | None:
        """The same for a token whose digest was kept."""
        found = None
        for token in self._tokens:
            if hmac.compare_digest(token.digest, digest):
                found = token
        return found


def read_tokens(path: Path) -> tuple[Token, ...]:
    """The tokens of a file; TokensError says what is wrong with it and where."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise TokensError(f"the tokens file {path} cannot be read: {why}") from None
    return parse_tokens(text, str(path))


def parse_tokens(text: str, name: str) -> tuple[Token, ...]:
    """`read_tokens` of `text`; `name` is what messages call the file."""
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # no TOML, an endless number, a thousand brackets
        raise TokensError(f"{name} is not TOML: {error}") from None
    unknown = next((key for key in table if key != "token"), None)
    if unknown is not None:
        raise TokensError(f"{name}: unknown key {unknown!r}; known: [[token]] with {', '.join(_KEYS)}")
    entries = table.get("token", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise TokensError(f"{name}: token must be a list of tables; write [[token]] above each one")
    if not entries:
        raise TokensError(f"{name} holds no [[token]]; make one with `python -m pixwire_server token PRINCIPAL`")
    lines = [number for number, line in enumerate(text.splitlines(), 1) if _HEADING.match(line)]
    tokens: dict[bytes, Token] = {}
    for index, entry in enumerate(entries):
        place = f"{name}, line {lines[index]}" if len(lines) == len(entries) else f"{name}, token {index + 1}"
        token = _token(entry, place)
        if token.digest in tokens:
            raise TokensError(f"{place}: sha256 is that of the token of {tokens[token.digest].principal!r}, too")
        tokens[token.digest] = token
    return tuple(tokens.values())


def _token(entry: Mapping[str, Any], place: str) -> Token:
    unknown = next((key for key in entry if key not in _KEYS), None)
    if unknown is not None:
        advice = "; a token itself never stands in this file" if unknown == "token" else ""
        raise TokensError(f"{place}: unknown key {unknown!r}; known: {', '.join(_KEYS)}{advice}")
    principal, digest = entry.get("principal"), entry.get("sha256")
    if not isinstance(principal, str) or not 1 <= len(principal.encode()) <= MAX_PRINCIPAL:
        raise TokensError(f"{place}: principal must be a text of 1 to {MAX_PRINCIPAL} bytes, it is {_shown(principal)}")
    if not principal.isprintable():
        raise TokensError(
            f"{place}: principal {principal!r} holds characters that cannot be printed; choose a plain name"
        )
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        # Not shown: whoever pastes the token itself here shall not find it in a log.
        raise TokensError(f"{place}: sha256 of {principal!r} must be 64 lower-case hexadecimal digits")
    return Token(principal, bytes.fromhex(digest), _expiry(entry.get("expires"), place), _roles(entry, place))


def _roles(entry: Mapping[str, Any], place: str) -> tuple[str, ...]:
    """A role that is misspelt must not silently be none."""
    roles = entry.get("roles", [])
    if not isinstance(roles, list) or any(role not in ROLES for role in roles):
        raise TokensError(f"{place}: roles must be a list with some of {', '.join(ROLES)}, it is {_shown(roles)}")
    return tuple(dict.fromkeys(roles))


def _expiry(value: object, place: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp()
    raise TokensError(f"{place}: expires must be a date such as 2027-01-01T00:00:00Z, it is {_shown(value)}")


def _shown(value: object) -> str:
    return "missing" if value is None else f"{value!r:.80}"


def new_token() -> str:
    """A token nobody can guess; the prefix lets secret scanners find one that was published by mistake."""
    return f"pxw_{secrets.token_urlsafe(32)}"


def entry_for(principal: str, token: str, expires: datetime | None = None, roles: Sequence[str] = ()) -> str:
    """The lines that make `token` known to a server, for its tokens file."""
    quoted = json.dumps(principal, ensure_ascii=False)  # for printable text JSON and TOML quote alike
    lines = ["[[token]]", f"principal = {quoted}", f'sha256 = "{hashlib.sha256(token.encode()).hexdigest()}"']
    if expires is not None:
        lines.append(f"expires = {expires.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}")
    if roles:
        lines.append(f"roles = {json.dumps(list(roles))}")
    return "\n".join(lines)
