"""Which web pages may make a browser ask this server: its own only. Pure.

Two attacks are meant. A page of another site that sends a request which needs no preflight (a form): browsers name the
page's `Origin`. And a page whose name suddenly leads to this machine (DNS rebinding): its requests name that site as
`Host`. Programs send no `Origin`, and a `Host` that they were told to use.
"""

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit


def host_name(host: str) -> str:
    """The name in a `Host` field, without its port, in lower case."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def is_foreign(origin: str | None, host: str) -> bool:
    """Whether a browser says that the request comes from a page of another site. `origin` is None for programs."""
    if origin is None:
        return False
    try:
        return urlsplit(origin).netloc.lower() != host.lower()
    except ValueError:
        return True


def is_rebound(host: str, names: Collection[str]) -> bool:
    """Whether `host` is a name that nobody gave this server: no address, not localhost, none of `names`.

    Asked where nobody has to say who he is; elsewhere a page has no token.
    """
    name = host_name(host)
    if name == "localhost" or name in names:
        return False
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return True
    return False
