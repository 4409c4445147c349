"""Job ids (SPEC 9): UUIDv7, so that ids sort by time and cannot be guessed. Pure: time and randomness are arguments."""

from typing import Final

RANDOM_BYTES: Final = 10


def new_job_id(now_ms: int, random_bytes: bytes) -> str:
    """A UUIDv7 (RFC 9562) in its usual 36-character form.

    now_ms        milliseconds since the Unix epoch, 48 bits
    random_bytes  at least 10 bytes from a good source, such as os.urandom(10); 74 bits of them are used

    Raises ValueError for a time that does not fit or too few bytes.
    """
    if not 0 <= now_ms < 1 << 48:
        raise ValueError(f"now_ms must be milliseconds since 1970 (48 bits), not {now_ms}")
    if len(random_bytes) < RANDOM_BYTES:
        raise ValueError(f"random_bytes must be at least {RANDOM_BYTES} bytes, not {len(random_bytes)}")
    noise = int.from_bytes(random_bytes[:RANDOM_BYTES])
    value = now_ms << 80 | 0x7 << 76 | (noise >> 62 & 0xFFF) << 64 | 0b10 << 62 | noise & (1 << 62) - 1
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
