"""Which server the commands talk to, and as whom: the options that all of them share."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial, wraps
from pathlib import Path
from typing import Any

from ..aio.connecting import Connecting, connect
from ..arguments import Terms
from ..core.auth import TokenSource
from ..errors import PixwireError, invalid
from ..url import DEFAULT_URL
from . import options as o
from .contexts import load
from .exits import report


@dataclass(frozen=True, slots=True)
class Target:
    """A server, and what is needed to be let in."""

    url: str = DEFAULT_URL
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    allow_insecure_auth: bool = False
    cafile: Path | None = None
    certfile: Path | None = None
    keyfile: Path | None = None

    def connect(self, note: Callable[[str], object] | None = None) -> Connecting:
        """The client to be; `note` hears of lost connections.

        Raises what `pixwire.connect` raises at once, and OSError when the token cannot be read.
        """
        return connect(
            split_urls(self.url),
            token=self._token(),
            allow_insecure_auth=self.allow_insecure_auth,
            cafile=self.cafile,
            certfile=self.certfile,
            keyfile=self.keyfile,
            on_connection=None if note is None else partial(_tell, note),
        )

    def _token(self) -> TokenSource | None:
        if self.token_file is None:
            return self.token or None
        path = self.token_file
        if self.token and not self._from_environment():
            raise invalid("token", "(a token)", "--token or --token-file", "both --token and --token-file are given")
        path.read_text()  # that it cannot be read is better known now
        return lambda: path.read_text().strip()  # a token that was renewed there is taken up

    def _from_environment(self) -> bool:
        import os

        return self.token == os.environ.get(o.TOKEN_VARIABLE)


def _tell(note: Callable[[str], object], reason: str | None) -> None:
    note("connected again" if reason is None else f"connection lost: {reason}; trying again")


def split_urls(urls: str) -> list[str]:
    """One URL, or several with commas between them (in a path, write %2C for a comma that is part of it)."""
    return [one.strip() for one in urls.split(",") if one.strip()] or [urls]


def _target(
    url: o.Url = None,
    context: o.Context = None,
    token: o.Token = None,
    token_file: o.TokenFile = None,
    insecure_auth: o.InsecureAuth = False,
    cafile: o.CaFile = None,
    cert: o.CertFile = None,
    key: o.KeyFile = None,
) -> Target:
    saved = _saved(url, context)
    given: dict[str, Any] = {
        "url": url,
        "token": token,
        "token_file": token_file,
        "allow_insecure_auth": insecure_auth or None,
        "cafile": cafile,
        "cert": cert,
        "key": key,
    }
    if token or token_file:  # the one replaces the other
        saved = {name: value for name, value in saved.items() if name not in ("token", "token_file")}
    known = {**saved, **{name: value for name, value in given.items() if value is not None}}
    files = {name: Path(known[name]) if known.get(name) else None for name in ("token_file", "cafile", "cert", "key")}
    return Target(
        known.get("url", DEFAULT_URL),
        known.get("token"),
        files["token_file"],
        bool(known.get("allow_insecure_auth")),
        files["cafile"],
        files["cert"],
        files["key"],
    )


def _saved(url: str | None, context: str | None) -> Mapping[str, Any]:
    """What the context says. A context's token is for its own server, so that another URL takes nothing from it.

    Raises InvalidArgument when there is no such context, or both are given; OSError.
    """
    if url is not None:
        if context is not None:
            text = "both --url and --context are given (or PIXWIRE_URL and PIXWIRE_CONTEXT): leave one out"
            raise invalid("context", context[:64], "one of the two", text)
        return {}
    found = load()
    chosen = context or found.used
    return {} if chosen is None else found.get(chosen)


def gathered(name: str, make: Callable[..., Any]) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Gives a command that takes `name` the options of `make`, which says what that is.

    `make` may raise PixwireError and OSError: the command is not carried out then.
    """

    def gather(command: Callable[..., int]) -> Callable[..., int]:
        own, shared = inspect.signature(command), inspect.signature(make)

        @wraps(command)
        def run(**arguments: Any) -> int:
            chosen = {option: arguments.pop(option) for option in shared.parameters}
            try:
                made = make(**chosen)
            except (PixwireError, OSError) as error:
                return report(error, as_json=bool(arguments.get("as_json")))
            return command(**{name: made}, **arguments)

        parameters = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in (*own.parameters.values(), *shared.parameters.values())
            if parameter.name != name
        ]
        run.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return gather


def _terms(
    priority: o.Priority = None,
    deadline: o.Deadline = None,
    queue_ttl: o.QueueTtl = None,
    run_timeout: o.RunTimeout = None,
    tag: o.Tags = None,
) -> Terms:
    return Terms(priority, deadline, queue_ttl, run_timeout, tuple(tag or ()))


with_target = gathered("target", _target)
with_terms = gathered("terms", _terms)
"""How a job is treated: its priority, its deadlines, its tags."""
