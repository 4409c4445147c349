"""The application of every peer: a request as JSON, an image as PNG, by aiohttp. Who gives up closes the connection."""

import aiohttp

from benchmarks.deployments.applications import Application
from benchmarks.deployments.applications.refusals import kind_of
from benchmarks.deployments.outcomes import Answer, Kind, NoImageError
from benchmarks.deployments.trace import Request

from .servers import LONGEST_S


class Client:
    """One pool of connections, as many as there are requests."""

    async def open(self, address: str) -> None:
        self._url = address
        self._http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def generate(self, request: Request, patience: float | None, *, detail: bool) -> Answer:
        limit = aiohttp.ClientTimeout(total=patience or LONGEST_S)
        try:
            async with self._http.post(self._url, json=request.to_map(), timeout=limit) as response:
                if response.status != 200:
                    raise NoImageError(kind_of(response.status), await response.text())
                return Answer(await response.read())
        except TimeoutError:
            raise NoImageError(Kind.EXPIRED, "the client gave up") from None
        except aiohttp.ClientConnectorError as error:
            raise NoImageError(Kind.UNREACHABLE, str(error)) from None
        except aiohttp.ClientError as error:
            raise NoImageError(Kind.LOST, repr(error)) from None

    async def close(self) -> None:
        await self._http.close()


def make() -> Application:
    return Client()
