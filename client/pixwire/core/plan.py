"""What is needed to reach a server and how to behave there: what `connect` and `Client` are told, checked. SPEC 3."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Literal

from pixwire_protocol.grease import RANDOM_BYTES as GREASE_BYTES
from pixwire_protocol.grease import make_grease
from pixwire_protocol.record import record
from pixwire_protocol.settings import Settings

from .._version import __version__
from ..arguments import MOST_SECONDS
from ..errors import invalid
from ..net.tls import TlsOptions, make_context
from ..url import Endpoint, parse_url
from .auth import Credentials, Kind, TokenSource, check_transport
from .observe import CallListener, Observer
from .policy import Policy
from .session import ClientSession

if TYPE_CHECKING:
    from ssl import SSLContext

PROBE_SECONDS = 10.0
"""With several servers: after so much silence one is asked by PING, so that a dead one gets nothing for long."""
MOST_CONNECTIONS = 64  # to one server

OnDisconnect = Literal["wait", "fail"]
ConnectionListener = Callable[[str | None], object]
"""Hears a reason when the connection is lost, and None when there is one again."""


@record
class Plan:
    """What is needed to make connections to one server, as often as it takes."""

    endpoint: Endpoint
    settings: Settings
    policy: Policy
    context: "SSLContext | None"
    credentials: Credentials | None
    on_connection: ConnectionListener | None
    on_call: CallListener | None = None

    def observer(self) -> Observer:
        """Something that watches the calls, for the log and the user's metrics."""
        return Observer(self.endpoint.url, self.on_call)

    def new_session(self, scratch: memoryview | None = None) -> ClientSession:
        """A session that was never connected. `scratch`: see `Channel`."""
        return ClientSession(self.settings, self.policy, _chance, scratch)

    def hint(self, *, connected: bool, received: int) -> str:
        """What a server may mean that hangs up at once: `connected` if a transport was there, `received` bytes."""
        if received or not connected or self.endpoint.path is not None:
            return ""
        if self.endpoint.tls:  # TLS 1.3: the client thinks that all is well by then
            return "; perhaps it wants a client certificate (certfile, keyfile)"
        return "; perhaps it is a TLS server (pixwires://)"


def _chance() -> float:
    """From 0 to below 1, for the waits between connections."""
    import random  # it loads much, and who never loses a connection does not need it

    return random.random()


def make_plan(
    url: str,
    token: TokenSource | None,
    allow_insecure_auth: bool,
    tls: TlsOptions,
    on_disconnect: OnDisconnect,
    patience: float,
    on_connection: ConnectionListener | None,
    timeout: float,
    stream_window: int,
    connection_window: int,
    max_image_bytes: int,
    on_call: CallListener | None = None,
) -> Plan:
    """Checks what the user said. Raises InvalidURL and InvalidArgument."""
    endpoint = parse_url(url)
    if on_disconnect not in ("wait", "fail"):
        raise invalid("on_disconnect", on_disconnect, "wait or fail", "on_disconnect must be 'wait' or 'fail'")
    _check_seconds("patience", patience)
    _check_seconds("timeout", timeout, MOST_SECONDS)
    if type(max_image_bytes) is not int or max_image_bytes < 1:
        allowed = "an integer from 1"
        raise invalid("max_image_bytes", max_image_bytes, allowed, f"max_image_bytes must be {allowed}")
    context = make_context(endpoint, tls)
    credentials = None
    if token is not None:
        check_transport(endpoint, allow_insecure_auth)
        credentials = Credentials(token)
    kind: Kind = "none"
    if credentials is not None:
        kind = "renewable" if credentials.renewable else "fixed"
    policy = Policy(on_disconnect == "wait", patience, timeout, max_image_bytes, kind)
    settings = _settings(stream_window, connection_window)
    return Plan(endpoint, settings, policy, context, credentials, on_connection, on_call)


def _check_seconds(name: str, value: float, most: float = inf) -> None:
    """What is no such number would show when a connection is made or breaks, and then break everything."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        allowed = "seconds from 0" if most == inf else f"seconds from 0 to {most:,.0f}"
        raise invalid(name, str(value)[:64], allowed, f"{name} must be {allowed}, not {str(value)[:64]!r}")


def several(url: str | Sequence[str], connections: int, make: Callable[[str], Plan]) -> tuple[Plan, ...]:
    """A plan for each connection: to each of the URLs, so many. Raises InvalidArgument and what `make` raises."""
    urls = (url,) if isinstance(url, str) else tuple(dict.fromkeys(url))
    if not urls:
        raise invalid("url", "[]", "at least one URL", "there is no URL to connect to; give at least one")
    if type(connections) is not int or not 1 <= connections <= MOST_CONNECTIONS:
        allowed = f"an integer from 1 to {MOST_CONNECTIONS}"
        raise invalid("connections", connections, allowed, f"connections must be {allowed}, not {connections!r}")
    plans = [make(one) for one in urls for _ in range(connections)]
    if len(plans) == 1:
        return tuple(plans)
    return tuple(replace(plan, policy=replace(plan.policy, persistent=True, probe=PROBE_SECONDS)) for plan in plans)


def _settings(stream_window: int, connection_window: int) -> Settings:
    try:
        return Settings(
            agent=f"pixwire-python/{__version__}",
            stream_window=stream_window,
            connection_window=connection_window,
            grease=make_grease(os.urandom(GREASE_BYTES)),
        )
    except ValueError as error:
        raise invalid("window", None, None, str(error)) from None
