"""The options of `pixwire wire`: how each is called, what it says in the help, and what becomes of them."""

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from ..url import DEFAULT_URL
from .build import read_file
from .errors import InputError
from .talk import TalkOptions
from .transport import TlsOptions

Flag = typer.Option

_SERVER = "pixwire://host[:port], pixwires://host[:port] or pixwire+unix:///path."
Url = Annotated[str, typer.Argument(metavar="URL", envvar="PIXWIRE_URL", help=f"The server: {_SERVER}")]
Json = Annotated[bool, Flag("--json", help="Print JSON lines on stdout, for programs; errors too.")]
Secrets = Annotated[bool, Flag("--show-secrets", help="Show and record tokens as they are.")]
Timeout = Annotated[float, Flag("--timeout", min=0.001, help="Seconds for connecting, and again for the handshake.")]
Ca = Annotated[Path | None, Flag("--ca", help="TLS: trust this authority (PEM), not the system's.")]
Cert = Annotated[Path | None, Flag("--cert", help="TLS: our certificate (PEM).")]
Key = Annotated[Path | None, Flag("--key", help="TLS: the key of --cert (PEM).")]
Insecure = Annotated[bool, Flag("--insecure", help="TLS: look at whoever answers, trusted or not.")]
ServerName = Annotated[str | None, Flag("--server-name", help="TLS: the name to ask for. [default: the URL's host]")]
TokenFile = Annotated[
    Path | None, Flag("--token-file", help="File with the token for AUTH. [default: PIXWIRE_TOKEN, if it is set]")
]
InsecureAuth = Annotated[bool, Flag("--allow-insecure-auth", help="Send the token in cleartext over a network, too.")]

DEFAULT = DEFAULT_URL
SECONDS = 5.0
_MOST_TOKEN = 3072  # bytes (SPEC 8.3)


@dataclass(frozen=True, slots=True)
class Server:
    """What the options about a server say."""

    url: str
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    insecure: bool = False
    server_name: str | None = None
    token_file: Path | None = None
    insecure_auth: bool = False
    timeout: float = SECONDS

    @property
    def tls(self) -> TlsOptions:
        """How to do TLS."""
        return TlsOptions(self.ca, self.cert, self.key, self.insecure, self.server_name)

    @property
    def token(self) -> str | None:
        """The token in the file, or in PIXWIRE_TOKEN. Raises InputError."""
        if self.token_file is None:
            found, where = os.environ.get("PIXWIRE_TOKEN", ""), "PIXWIRE_TOKEN"
            return _token(found, where) if found else None
        where = repr(str(self.token_file))
        try:
            return _token(read_file(self.token_file).decode("utf-8").strip(), where)
        except UnicodeDecodeError:
            raise InputError(f"{where} holds no token: it is not text") from None

    def talk(self, *, raw: bool = False, look: bool = False) -> TalkOptions:
        """How to connect."""
        return TalkOptions(
            self.url,
            tls=self.tls,
            token=self.token,
            insecure_token=self.insecure_auth,
            timeout=self.timeout,
            raw=raw,
            look=look,
        )


def _token(found: str, where: str) -> str:
    """Never shown: it may be the right one for another server."""
    size = len(found.encode(errors="surrogatepass"))
    if not 1 <= size <= _MOST_TOKEN or not found.isprintable():
        raise InputError(f"{where} holds no token: 1 to {_MOST_TOKEN:,} bytes of one line, there are {size:,} bytes")
    return found


_SHARED: dict[str, tuple[Any, Any]] = {
    "ca": (Ca, None),
    "cert": (Cert, None),
    "key": (Key, None),
    "insecure": (Insecure, False),
    "server_name": (ServerName, None),
    "token_file": (TokenFile, None),
    "insecure_auth": (InsecureAuth, False),
    "timeout": (Timeout, SECONDS),
}


def with_server(command: Callable[..., int]) -> Callable[..., int]:
    """For a command with a `server: Server`: the user gets URL in its place, and the options about TLS and tokens.

    A default of the parameter is the URL's default.
    """
    own = inspect.signature(command, eval_str=True)

    def called(**values: Any) -> int:
        about = {name: values.pop(name) for name in ("url", *_SHARED)}
        return command(server=Server(**about), **values)

    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = []
    for parameter in own.parameters.values():
        name, annotation = ("url", Url) if parameter.name == "server" else (parameter.name, parameter.annotation)
        parameters.append(inspect.Parameter(name, keyword, default=parameter.default, annotation=annotation))
    parameters += (
        inspect.Parameter(name, keyword, default=default, annotation=annotation)
        for name, (annotation, default) in _SHARED.items()
    )
    called.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    called.__name__, called.__doc__ = command.__name__, command.__doc__
    return called
