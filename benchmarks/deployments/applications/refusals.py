"""What the answers of the HTTP door mean, and what it says about a job."""

import json

import aiohttp

from ..outcomes import Kind

REFUSALS = {422: Kind.REFUSED, 429: Kind.REFUSED, 503: Kind.REFUSED}


def kind_of(status: int) -> Kind:
    """What an HTTP status means for a request."""
    return REFUSALS.get(status, Kind.FAILED)


async def timings(http: aiohttp.ClientSession, url: str, job: str) -> dict[str, float]:
    """When a job was accepted, started and ended, as the stamped server tells. Asked when the image is there."""
    async with http.get(f"{url}/v1/jobs/{job}") as response:
        return moments(json.loads(await response.read())["timings"])


def moments(told: dict[str, float]) -> dict[str, float]:
    """The same from the `timings` of any status; empty when the server is not a stamped one."""
    if "ended_s" not in told:
        return {}
    ended = told["ended_s"]
    started = ended - told["run_ms"] / 1000
    return {"accepted": started - told["queue_ms"] / 1000, "started": started, "ended": ended}
