"""Links to images that need no token: whoever has one may read this image until it runs out. Pure: time is an argument.

A link's key is base64url of 8 bytes (seconds since 1970 when it ends), 32 bytes (HMAC-SHA256) and the principal.
"""

import base64
import binascii
import hashlib
import hmac
from typing import Final

_TIME, _MAC = 8, 32
_PURPOSE: Final = b"pixwire image link\0"


def sign(secret: bytes, principal: str, job: str, index: int, ends: int) -> str:
    """The key for one image of one job, good until `ends` (seconds since 1970)."""
    whose, when = principal.encode(), ends.to_bytes(_TIME)
    return base64.urlsafe_b64encode(when + _mac(secret, whose, job, index, when) + whose).decode().rstrip("=")


def verify(secret: bytes, key: str, job: str, index: int, wall: float) -> str | None:
    """Whose image it is; None for a key that is wrong, another image's, or over at `wall`."""
    try:
        raw = base64.b64decode(key + "=" * (-len(key) % 4), b"-_", validate=True)
        when, mac, whose = raw[:_TIME], raw[_TIME : _TIME + _MAC], raw[_TIME + _MAC :]
        principal = whose.decode()
    except (binascii.Error, ValueError):
        return None
    if not hmac.compare_digest(mac, _mac(secret, whose, job, index, when)) or wall >= int.from_bytes(when):
        return None
    return principal


def _mac(secret: bytes, whose: bytes, job: str, index: int, when: bytes) -> bytes:
    text = b"\0".join((job.encode(), str(index).encode(), when, whose))
    return hmac.digest(secret, _PURPOSE + text, hashlib.sha256)
