"""How asyncio reaches a server: TCP, TLS or a Unix socket. SPEC 3.1."""

import asyncio
import ssl
from collections.abc import Callable
from typing import TypeVar

from pixwire_protocol.registry import ALPN

from ..net.problems import describe, no_alpn
from ..url import Endpoint

P = TypeVar("P", bound=asyncio.BaseProtocol)


class DialError(Exception):
    """No transport came about; the text is for people.

    final: trying again makes no sense. reached: somebody answered.
    """

    def __init__(self, reason: str, *, final: bool = False, reached: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.final = final
        self.reached = reached


async def dial(endpoint: Endpoint, context: ssl.SSLContext | None, make: Callable[[], P]) -> P:
    """Connects, with TLS when there is a context, and returns the protocol that `make` made.

    Cancelling closes what was opened. Raises DialError.
    """
    loop = asyncio.get_running_loop()
    try:
        if endpoint.path is not None:
            return (await loop.create_unix_connection(make, endpoint.path))[1]
        if context is None:
            return (await loop.create_connection(make, endpoint.host, endpoint.port))[1]
        transport, protocol = await loop.create_connection(
            make, endpoint.host, endpoint.port, ssl=context, server_hostname=endpoint.host
        )
    except ssl.SSLCertVerificationError as error:
        raise DialError(describe(error, endpoint), final=True) from error
    except (OSError, ValueError) as error:  # ValueError: a host name that no certificate can have
        reached = isinstance(error, ssl.SSLError)
        raise DialError(describe(error, endpoint), final="NO_APPLICATION" in str(error), reached=reached) from error
    if transport.get_extra_info("ssl_object").selected_alpn_protocol() != ALPN:
        transport.abort()
        raise DialError(no_alpn(), final=True)
    return protocol
