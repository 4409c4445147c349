"""What a client may do per second (SPEC 11, 14): token buckets over the counts that a Connection keeps.

Pure: the time is an argument, in seconds of any monotonic clock, always the same. Connection counts, the program around
it judges:

    rates = Rates(settings.limits, now)
    after receive():    verdict = rates.check(connection.counts, now)   else connection.goaway(*verdict), close
    for each request:   wait = rates.open(now)                          else connection.send_error(... RATE_LIMITED ...)
"""

from dataclasses import dataclass
from math import ceil

from pixwire_protocol.limits import Limits, default
from pixwire_protocol.registry import ErrorCode

Verdict = tuple[ErrorCode, str]
_FREE = (1.0, float("inf"))


@dataclass(slots=True)
class Counts:
    """What the peer did so far on one connection; only ever grows.

    opens         requests, those that were refused included
    aborts        streams the peer ended before their answer had left, and ERRORs sent because of faulty frames
    pings         PINGs
    credits       CREDIT frames; credit_bytes is what they granted together
    ignorable     frames of unknown types that are skipped (0x80 to 0xBF)
    unknown       frames of other unknown types
    """

    opens: int = 0
    aborts: int = 0
    pings: int = 0
    credits: int = 0
    credit_bytes: int = 0
    ignorable: int = 0
    unknown: int = 0


class Bucket:
    """Tokens that come back at `rate` per second, at most `burst` of them (which may be infinite); full at first."""

    __slots__ = ("_at", "burst", "rate", "tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate = rate
        self.burst = burst
        self.tokens = burst
        self._at = now

    def take(self, n: int, now: float) -> bool:
        """Take n tokens. False when there are not so many: then none is taken."""
        if now > self._at:
            self._refill(now)
        if n > self.tokens:
            return False
        self.tokens -= n
        return True

    def wait(self, now: float) -> float:
        """Seconds until one token can be taken."""
        self._refill(now)
        return max(0.0, (1 - self.tokens) / self.rate)

    def fill(self) -> None:
        """All tokens are back."""
        self.tokens = self.burst

    def _refill(self, now: float) -> None:
        if now > self._at:  # a clock that stands still or jumps back gives nothing and takes nothing
            self.tokens = min(self.burst, self.tokens + (now - self._at) * self.rate)
            self._at = now


class Rates:
    """The buckets of one connection. `limits` are those that the server declared."""

    __slots__ = ("_aborts", "_credit_seen", "_credits", "_ignorable", "_opens", "_pings", "_seen", "_total")

    def __init__(self, limits: Limits, now: float) -> None:
        ping_rate, ping_burst = (1000 / limits.min_ping_ms, default("ping_burst")) if limits.min_ping_ms else _FREE
        self._opens = Bucket(limits.stream_rate, limits.stream_rate, now)
        self._aborts = Bucket(default("abort_rate"), default("abort_burst"), now)
        self._pings = Bucket(ping_rate, ping_burst, now)
        self._credits = Bucket(default("credit_rate"), default("credit_burst"), now)
        self._ignorable = Bucket(default("ignorable_rate"), default("ignorable_burst"), now)
        self._seen = Counts()
        self._total = 0
        self._credit_seen = (0, 0)

    def open(self, now: float) -> int | None:
        """A request came: None when it may be served, else the milliseconds after which one more may (RATE_LIMITED)."""
        if self._opens.take(1, now):
            return None
        return max(1, ceil(self._opens.wait(now) * 1000))

    def check(self, counts: Counts, now: float) -> Verdict | None:
        """Judge what happened since the last call. A verdict is the code and the message of the GOAWAY to send."""
        seen = self._seen
        unknown = counts.ignorable + counts.unknown
        total = counts.aborts + counts.pings + counts.credits + unknown
        if total == self._total:
            return None
        self._total = total
        new_unknown = unknown - seen.ignorable - seen.unknown
        verdict = None
        if not self._aborts.take(counts.aborts - seen.aborts, now):
            verdict = _too_many("streams ended early or by faulty frames", self._aborts)
        elif not self._pings.take(counts.pings - seen.pings, now):
            verdict = _too_many("PINGs", self._pings)
        elif not self._ignorable.take(new_unknown, now):
            verdict = _too_many("frames of unknown types", self._ignorable)
        elif not self._credits.take(counts.credits - seen.credits, now):
            verdict = self._small_credits(counts)
        seen.aborts, seen.pings, seen.credits = counts.aborts, counts.pings, counts.credits
        seen.ignorable, seen.unknown = counts.ignorable, counts.unknown
        return verdict

    def _small_credits(self, counts: Counts) -> Verdict | None:
        """Many CREDIT frames are wrong when they grant little: the mean since the bucket was full decides."""
        frames, granted = self._credit_seen
        self._credit_seen = (counts.credits, counts.credit_bytes)
        if counts.credit_bytes - granted < (counts.credits - frames) * default("credit_mean"):
            return _too_many(f"CREDIT frames of less than {default('credit_mean')} bytes", self._credits)
        self._credits.fill()
        return None


def _too_many(what: str, bucket: Bucket) -> Verdict:
    return (
        ErrorCode.EXCESSIVE_LOAD,
        f"too many {what}: {bucket.burst:g} at once and {bucket.rate:g} per second are allowed (SPEC 11)",
    )
