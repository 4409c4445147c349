"""Direct HTTP to the model process: one blocking request of the OpenAI images API, the image as base64 in JSON.

With aiohttp, the quickest HTTP client there is for Python, and not with `openai`, whose client costs a millisecond of
processor time more. Who loses patience closes the connection, which cancels the job.
"""

import base64
import json
from typing import Any

import aiohttp

from ..outcomes import Answer, Kind, NoImageError
from ..trace import GUIDANCE, SIZE, Request
from . import Application
from .refusals import kind_of, timings

LONG = 120.0


class DirectHttp:
    """One pool of connections, as many as there are requests."""

    async def open(self, address: str) -> None:
        self._url = address
        self._http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def generate(self, request: Request, patience: float | None, *, detail: bool) -> Answer:
        wanted: dict[str, Any] = {"prompt": request.prompt, "size": f"{SIZE}x{SIZE}", "response_format": "b64_json"}
        wanted |= {"seed": request.seed, "steps": request.steps, "guidance_scale": GUIDANCE}
        limit = aiohttp.ClientTimeout(total=patience or LONG)
        try:
            async with self._http.post(f"{self._url}/v1/images/generations", json=wanted, timeout=limit) as response:
                if response.status != 200:
                    raise NoImageError(kind_of(response.status), await response.text())
                body = json.loads(await response.read())
                image, job = base64.b64decode(body["data"][0]["b64_json"]), response.headers["x-pixwire-job"]
        except TimeoutError:
            raise NoImageError(Kind.EXPIRED, "the client gave up") from None
        except aiohttp.ClientConnectorError as error:
            raise NoImageError(Kind.UNREACHABLE, str(error)) from None
        except aiohttp.ClientError as error:  # the answer died with the service, and it has no name to ask for
            raise NoImageError(Kind.LOST, repr(error)) from None
        return Answer(image, **(await timings(self._http, self._url, job) if detail else {}))

    async def close(self) -> None:
        await self._http.close()


def make() -> Application:
    return DirectHttp()
