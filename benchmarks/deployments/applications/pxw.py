"""A separate process over PXW, by TCP or a Unix socket: one call, one round trip, one connection for all."""

import uuid
from typing import Any

import pixwire

from ..outcomes import Answer, Kind, NoImageError
from ..trace import GUIDANCE, SIZE, Request
from . import Application
from .refusals import moments

LONG = 120.0


async def ask(
    client: pixwire.AsyncClient, job: str, request: Request, patience: float | None, *, detail: bool
) -> Answer:
    """One image by a pixwire client, wherever its server is."""
    how: dict[str, Any] = {
        "seed": request.seed,
        "steps": request.steps,
        "guidance_scale": GUIDANCE,
        "deadline": patience,
    }
    limit = LONG if patience is None else patience * 2
    try:
        image = await client.generate(request.prompt, width=SIZE, height=SIZE, job_id=job, timeout=limit, **how)
    except (pixwire.DeadlineExceeded, pixwire.errors.CapacityError) as error:
        raise NoImageError(Kind.REFUSED, str(error)) from None
    except (pixwire.JobExpired, pixwire.RequestTimeout) as error:
        raise NoImageError(Kind.EXPIRED, str(error)) from None
    except pixwire.JobLost as error:
        raise NoImageError(Kind.LOST, str(error)) from None
    except pixwire.ConnectionLost as error:
        raise NoImageError(Kind.UNREACHABLE if error.processed == "no" else Kind.LOST, str(error)) from None
    except pixwire.PixwireError as error:
        raise NoImageError(Kind.FAILED, repr(error)) from None
    told = (await client.job(job).status()).timings if detail else {}
    return Answer(image.bytes, **moments(dict(told or {})))


class Pxw:
    """One connection."""

    async def open(self, address: str) -> None:
        self._run = uuid.uuid4().hex[:8]
        self._client = await pixwire.connect(address, patience=LONG)

    async def generate(self, request: Request, patience: float | None, *, detail: bool) -> Answer:
        return await ask(self._client, f"{self._run}-{request.number}", request, patience, detail=detail)

    async def close(self) -> None:
        await self._client.close()


def make() -> Application:
    return Pxw()
